/* Ops of the text tower: embed, select_row. */
#include "cpu.h"

#include <string.h>

static inline char *offset(const void *p, int64_t i, bool bf)
{
    return (char *)(uintptr_t)p + (size_t)i * (bf ? 2 : 4);
}

/* ---- embed ---- */
static sc_status embed_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const int32_t *tokens = n->in[0].data;
    const int64_t texts = n->in[0].desc.shape.d[0], length = n->in[0].desc.shape.d[1],
                  width = cpu_width(&n->out[0].desc), vocabulary = n->params[0].desc.shape.d[0];
    const bool yb = cpu_bf16(d, &n->out[0].desc);
    const float *table = n->params[0].value, *positions = n->params[1].value,
                *types = n->n_params > 2 ? n->params[2].value : NULL;
    for (int64_t i = 0; i < texts * length; i++)
        if (tokens[i] < 0 || tokens[i] >= vocabulary)
            return sc_fail(SC_EINTERNAL, "cpu: embed: token id %d in a vocabulary of %lld",
                           tokens[i], (long long)vocabulary);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < texts * length; i++) {
        void *y = offset(n->out[0].data, i * width, yb);
        d->k.add(y, yb, table + tokens[i] * width, false, positions + i % length * width, false,
                 width);
        if (types)
            d->k.convert(y, yb, types, false, width, true);
    }
    return SC_OK;
}
/* Threads own columns, so every element is summed in token order by one of them. */
static sc_status embed_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const int32_t *tokens = n->in[0].data;
    const int64_t texts = n->in[0].desc.shape.d[0], length = n->in[0].desc.shape.d[1],
                  width = cpu_width(&n->out[0].desc), grain = 64;
    const bool yb = cpu_bf16(d, &n->out[0].desc);
    float *table = n->params[0].grad, *positions = n->params[1].grad,
          *types = n->n_params > 2 ? n->params[2].grad : NULL;
    for (int i = 0; i < n->n_params; i++)
        if (n->params[i].grad)
            cpu_zero(n->params[i].grad,
                     cpu_param_elements(&d->head, &n->params[i].desc) * sizeof(float));
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < width; c += grain) {
        int64_t part = width - c < grain ? width - c : grain;
        for (int64_t i = 0; i < texts * length; i++) {
            const void *dy = offset(n->out[0].grad, i * width + c, yb);
            if (table)
                d->k.convert(table + tokens[i] * width + c, false, dy, yb, part, true);
            if (positions)
                d->k.convert(positions + i % length * width + c, false, dy, yb, part, true);
            if (types)
                d->k.convert(types + c, false, dy, yb, part, true);
        }
    }
    return SC_OK;
}
const cpu_op cpu_op_embed = {NULL, NULL, NULL, embed_forward, embed_backward};

/* ---- select_row ---- */
static int32_t row_of(const sc_op_node *n, int64_t text)
{
    return n->n_in > 1 ? ((const int32_t *)n->in[1].data)[text] : 0;
}
static sc_status select_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const int64_t texts = n->in[0].desc.shape.d[0], length = n->in[0].desc.shape.d[1],
                  width = cpu_width(&n->in[0].desc);
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    for (int64_t t = 0; t < texts; t++) {
        const int32_t row = row_of(n, t);
        if (row < 0 || row >= length)
            return sc_fail(SC_EINTERNAL, "cpu: select_row: row %d of %lld", row,
                           (long long)length);
        d->k.convert(offset(n->out[0].data, t * width, yb), yb,
                     offset(n->in[0].data, (t * length + row) * width, xb), xb, width, false);
    }
    return SC_OK;
}
static sc_status select_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const int64_t texts = n->in[0].desc.shape.d[0], length = n->in[0].desc.shape.d[1],
                  width = cpu_width(&n->in[0].desc);
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    if (!n->in[0].grad)
        return SC_OK;
    if (!n->in[0].accumulate)
        cpu_zero(n->in[0].grad, (size_t)cpu_count(&n->in[0].desc) * (xb ? 2 : 4));
    for (int64_t t = 0; t < texts; t++)
        d->k.convert(offset(n->in[0].grad, (t * length + row_of(n, t)) * width, xb), xb,
                     offset(n->out[0].grad, t * width, yb), yb, width, true);
    return SC_OK;
}
const cpu_op cpu_op_select_row = {NULL, NULL, NULL, select_forward, select_backward};
