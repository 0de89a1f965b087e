/* Ops on plain rows: add, layer_norm, l2_normalize, group_mean, all_gather. */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>

static inline char *offset(const void *p, int64_t i, bool bf)
{
    return (char *)(uintptr_t)p + (size_t)i * (bf ? 2 : 4);
}

/* ---- add ---- */
static sc_status add_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const bool a = cpu_bf16(d, &n->in[0].desc), b = cpu_bf16(d, &n->in[1].desc),
               y = cpu_bf16(d, &n->out[0].desc);
    const int64_t count = cpu_count(&n->out[0].desc);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += CPU_GRAIN)
        d->k.add(offset(n->out[0].data, i, y), y, offset(n->in[0].data, i, a), a,
                 offset(n->in[1].data, i, b), b, count - i < CPU_GRAIN ? count - i : CPU_GRAIN);
    return SC_OK;
}
static sc_status add_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        if (n->in[i].grad)
            cpu_convert(d, n->in[i].grad, cpu_bf16(d, &n->in[i].desc), n->out[0].grad,
                        cpu_bf16(d, &n->out[0].desc), cpu_count(&n->out[0].desc),
                        n->in[i].accumulate);
    return SC_OK;
}
const cpu_op cpu_op_add = {NULL, NULL, NULL, add_forward, add_backward};

/* ---- layer_norm: saved = mean and 1/std a row ---- */
#define SLICES \
    16 /* partial sums of the weight gradient: a number of the shape, not of the threads */

static sc_status ln_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d;
    if (!n->training)
        return SC_OK;
    *saved = cpu_align((size_t)cpu_rows_of(&n->in[0].desc) * 2 * sizeof(float));
    *scratch = cpu_align((size_t)cpu_width(&n->in[0].desc) * 2 * SLICES * sizeof(float));
    return SC_OK;
}
static sc_status ln_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    const int64_t rows = cpu_rows_of(&n->in[0].desc), width = cpu_width(&n->in[0].desc);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        d->k.layer_norm(offset(n->out[0].data, r * width, yb), yb,
                        offset(n->in[0].data, r * width, xb), xb, width, n->params[0].value,
                        n->params[1].value, (float)n->attrs.eps,
                        n->training ? (float *)n->saved + 2 * r : NULL);
    return SC_OK;
}
static sc_status ln_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    const int64_t rows = cpu_rows_of(&n->in[0].desc), width = cpu_width(&n->in[0].desc);
    const bool dw = n->params[0].grad, db = n->params[1].grad;
    float *partial = n->scratch;
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < SLICES; s++) {
        float *w = partial + 2 * s * width, *b = w + width;
        memset(w, 0, (size_t)width * 2 * sizeof(float));
        for (int64_t r = rows * s / SLICES; r < rows * (s + 1) / SLICES; r++)
            d->k.layer_norm_back(n->in[0].grad ? offset(n->in[0].grad, r * width, xb) : NULL, xb,
                                 n->in[0].accumulate, offset(n->out[0].grad, r * width, yb), yb,
                                 offset(n->in[0].data, r * width, xb), xb, width,
                                 n->params[0].value, (const float *)n->saved + 2 * r, dw ? w : NULL,
                                 db ? b : NULL);
    }
    for (int i = 0; i < 2; i++)
        if (n->params[i].grad) {
            memset(n->params[i].grad, 0, (size_t)width * sizeof(float));
            d->k.column_sum(n->params[i].grad, partial + i * width, false, SLICES, width,
                            2 * width);
        }
    return SC_OK;
}
const cpu_op cpu_op_layer_norm = {ln_memory, NULL, NULL, ln_forward, ln_backward};

/* ---- l2_normalize: saved = the divisor of each row ---- */
static sc_status l2_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d;
    (void)scratch;
    if (cpu_bf16(d, &n->out[0].desc))
        return sc_fail(SC_EUNSUPPORTED, "cpu: l2_normalize writes EXACT values only");
    *saved = n->training ? cpu_align((size_t)cpu_rows_of(&n->in[0].desc) * sizeof(float)) : 0;
    return SC_OK;
}
static sc_status l2_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const bool xb = cpu_bf16(d, &n->in[0].desc);
    const int64_t rows = cpu_rows_of(&n->in[0].desc), width = cpu_width(&n->in[0].desc);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        float norm = d->k.l2_normalize((float *)n->out[0].data + r * width,
                                       offset(n->in[0].data, r * width, xb), xb, width);
        if (n->training)
            ((float *)n->saved)[r] = norm;
    }
    return SC_OK;
}
static sc_status l2_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    if (!n->in[0].grad)
        return SC_OK;
    const bool xb = cpu_bf16(d, &n->in[0].desc);
    const int64_t rows = cpu_rows_of(&n->in[0].desc), width = cpu_width(&n->in[0].desc);
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        d->k.l2_normalize_back(offset(n->in[0].grad, r * width, xb), xb, n->in[0].accumulate,
                               (const float *)n->out[0].grad + r * width,
                               (const float *)n->out[0].data + r * width, ((float *)n->saved)[r],
                               width);
    return SC_OK;
}
const cpu_op cpu_op_l2_normalize = {l2_memory, NULL, NULL, l2_forward, l2_backward};

/* ---- group_mean ---- */
static int64_t members(const int32_t *group, int64_t rows, int64_t g)
{
    int64_t count = 0;
    for (int64_t t = 0; t < rows; t++)
        count += group[t] == g;
    return count;
}
static sc_status group_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    const int64_t rows = n->in[0].desc.shape.d[0], groups = n->out[0].desc.shape.d[0],
                  width = cpu_width(&n->in[0].desc);
    const int32_t *group = n->in[1].data;
    if (yb)
        return sc_fail(SC_EUNSUPPORTED, "cpu: group_mean writes EXACT values only");
    for (int64_t t = 0; t < rows; t++)
        if (group[t] < 0 || group[t] >= groups)
            return sc_fail(SC_EINTERNAL, "cpu: group_mean: row %lld is of group %d of %lld",
                           (long long)t, group[t], (long long)groups);
#pragma omp parallel for schedule(static)
    for (int64_t g = 0; g < groups; g++) {
        float *y = (float *)n->out[0].data + g * width;
        const float count = (float)members(group, rows, g);
        memset(y, 0, (size_t)width * sizeof(float));
        for (int64_t t = 0; t < rows; t++)
            if (group[t] == g)
                d->k.convert(y, false, offset(n->in[0].data, t * width, xb), xb, width, true);
        for (int64_t e = 0; e < width && count > 0; e++)
            y[e] /= count;
    }
    return SC_OK;
}
static sc_status group_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d;
    (void)saved;
    *scratch = cpu_align((size_t)cpu_count(&n->in[0].desc) * sizeof(float));
    return SC_OK;
}
static sc_status group_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    if (!n->in[0].grad)
        return SC_OK;
    const bool xb = cpu_bf16(d, &n->in[0].desc);
    const int64_t rows = n->in[0].desc.shape.d[0], width = cpu_width(&n->in[0].desc);
    const int32_t *group = n->in[1].data;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < rows; t++) {
        float *row = (float *)n->scratch + t * width;
        const float *dy = (const float *)n->out[0].grad + group[t] * width;
        const float count = (float)members(group, rows, group[t]);
        for (int64_t e = 0; e < width; e++)
            row[e] = dy[e] / count;
        d->k.convert(offset(n->in[0].grad, t * width, xb), xb, row, false, width,
                     n->in[0].accumulate);
    }
    return SC_OK;
}
const cpu_op cpu_op_group_mean = {group_memory, NULL, NULL, group_forward, group_backward};

/* ---- all_gather: travels as float; scratch = own rows and all rows when bfloat16 ---- */
static int64_t row_elements(const sc_op_node *n)
{
    int64_t e = 1;
    for (int i = 1; i < n->in[0].desc.shape.n; i++)
        e *= n->in[0].desc.shape.d[i];
    return e;
}
static sc_status gather_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)saved;
    if (cpu_blocked(&n->in[0].desc))
        return sc_fail(SC_EUNSUPPORTED, "cpu: all_gather of images");
    if (cpu_bf16(d, &n->in[0].desc) || cpu_bf16(d, &n->out[0].desc))
        *scratch = cpu_align((size_t)cpu_count(&n->in[0].desc) * sizeof(float)) +
                   cpu_align((size_t)cpu_count(&n->out[0].desc) * sizeof(float));
    return SC_OK;
}
static sc_status gather_prepare(cpu_device *d, const sc_op_node *n, void **state)
{
    (void)d;
    int64_t *counts = sc_alloc((size_t)n->comm->size, sizeof *counts);
    if (!counts)
        return SC_ENOMEM;
    for (int r = 0; r < n->comm->size; r++)
        counts[r] = n->rows[r] * row_elements(n);
    *state = counts;
    return SC_OK;
}
static void gather_release(cpu_device *d, void *state)
{
    (void)d;
    free(state);
}
static sc_status gather_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    const int64_t own = cpu_count(&n->in[0].desc), all = cpu_count(&n->out[0].desc);
    const void *send = n->in[0].data;
    void *receive = n->out[0].data;
    if (xb || yb) {
        send = n->scratch;
        receive = (char *)n->scratch + cpu_align((size_t)own * sizeof(float));
        cpu_convert(d, n->scratch, false, n->in[0].data, xb, own, false);
    }
    SC_TRY(n->comm->all_gather(n->comm, send, receive, state, SC_F32));
    if (xb || yb)
        cpu_convert(d, n->out[0].data, yb, receive, false, all, false);
    return SC_OK;
}
static sc_status gather_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    const int64_t *counts = state;
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    int64_t first = 0;
    for (int r = 0; r < n->comm->rank; r++)
        first += counts[r];
    if (n->in[0].grad)
        cpu_convert(d, n->in[0].grad, xb, offset(n->out[0].grad, first, yb), yb,
                    cpu_count(&n->in[0].desc), n->in[0].accumulate);
    return SC_OK;
}
const cpu_op cpu_op_all_gather = {gather_memory, gather_prepare, gather_release, gather_forward,
                                  gather_backward};
