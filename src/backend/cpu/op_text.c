/* Ops of the text tower: embed, attention, select_row. */
#include "cpu.h"

#include <omp.h>
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
    const float *table = n->params[0].value, *positions = n->params[1].value;
    for (int64_t i = 0; i < texts * length; i++)
        if (tokens[i] < 0 || tokens[i] >= vocabulary)
            return sc_fail(SC_EINTERNAL, "cpu: embed: token id %d in a vocabulary of %lld",
                           tokens[i], (long long)vocabulary);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < texts * length; i++)
        d->k.add(offset(n->out[0].data, i * width, yb), yb, table + tokens[i] * width, false,
                 positions + i % length * width, false, width);
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
    float *table = n->params[0].grad, *positions = n->params[1].grad;
    for (int i = 0; i < 2; i++)
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
        }
    }
    return SC_OK;
}
const cpu_op cpu_op_embed = {NULL, NULL, NULL, embed_forward, embed_backward};

/* ---- attention: a task a text and head; scratch = work of each thread ---- */
static int64_t work_floats(const cpu_device *d, const sc_op_node *n)
{
    int64_t head = cpu_width(&n->out[0].desc) / n->attrs.heads;
    return cpu_round16(d->k.attention_floats(n->in[0].desc.shape.d[1], head));
}
static sc_status attention_memory(cpu_device *d, const sc_op_node *n, size_t *saved,
                                  size_t *scratch)
{
    (void)saved;
    *scratch = (size_t)(work_floats(d, n) * d->head.threads) * sizeof(float);
    return SC_OK;
}
static sc_status attention_run(cpu_device *d, const sc_op_node *n, bool back)
{
    const int64_t texts = n->in[0].desc.shape.d[0], length = n->in[0].desc.shape.d[1],
                  width = cpu_width(&n->out[0].desc), floats = work_floats(d, n);
    const int heads = n->attrs.heads;
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < texts * heads; t++) {
        int64_t row = t / heads * length;
        cpu_attention a = {.qkv = offset(n->in[0].data, row * 3 * width, xb),
                           .length = length,
                           .width = width,
                           .heads = heads,
                           .bf_qkv = xb,
                           .bf_y = yb,
                           .bf_dqkv = xb,
                           .add = n->in[0].accumulate,
                           .work = (float *)n->scratch + omp_get_thread_num() * floats};
        if (back) {
            a.dy = offset(n->out[0].grad, row * width, yb);
            a.dqkv = offset(n->in[0].grad, row * 3 * width, xb);
            d->k.attention_back(&a, (int)(t % heads));
        } else {
            a.y = offset(n->out[0].data, row * width, yb);
            d->k.attention(&a, (int)(t % heads));
        }
    }
    return SC_OK;
}
static sc_status attention_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    return attention_run(d, n, false);
}
static sc_status attention_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    return n->in[0].grad ? attention_run(d, n, true) : SC_OK;
}
const cpu_op cpu_op_attention = {attention_memory, NULL, NULL, attention_forward,
                                 attention_backward};

/* ---- select_row ---- */
static sc_status select_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const int64_t texts = n->in[0].desc.shape.d[0], length = n->in[0].desc.shape.d[1],
                  width = cpu_width(&n->in[0].desc);
    const int32_t *index = n->in[1].data;
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    for (int64_t t = 0; t < texts; t++) {
        if (index[t] < 0 || index[t] >= length)
            return sc_fail(SC_EINTERNAL, "cpu: select_row: row %d of %lld", index[t],
                           (long long)length);
        d->k.convert(offset(n->out[0].data, t * width, yb), yb,
                     offset(n->in[0].data, (t * length + index[t]) * width, xb), xb, width, false);
    }
    return SC_OK;
}
static sc_status select_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const int64_t texts = n->in[0].desc.shape.d[0], length = n->in[0].desc.shape.d[1],
                  width = cpu_width(&n->in[0].desc);
    const int32_t *index = n->in[1].data;
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    if (!n->in[0].grad)
        return SC_OK;
    if (!n->in[0].accumulate)
        cpu_zero(n->in[0].grad, (size_t)cpu_count(&n->in[0].desc) * (xb ? 2 : 4));
    for (int64_t t = 0; t < texts; t++)
        d->k.convert(offset(n->in[0].grad, (t * length + index[t]) * width, xb), xb,
                     offset(n->out[0].grad, t * width, yb), yb, width, true);
    return SC_OK;
}
const cpu_op cpu_op_select_row = {NULL, NULL, NULL, select_forward, select_backward};
