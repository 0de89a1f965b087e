/* max_pool and avg_pool. Plain values (C <= 4) are copied into one block and back. */
#include "cpu.h"

#include <omp.h>
#include <string.h>

typedef struct dims {
    int64_t n, c, b, nb, planes, hw, ohw;
    size_t element, in_bytes, out_bytes; /* of the blocked values */
    bool bf, plain;
} dims;

static dims dims_of(const cpu_device *d, const sc_op_node *n)
{
    const sc_value_desc *x = &n->in[0].desc, *y = &n->out[0].desc;
    dims m = {.n = x->shape.d[0],
              .c = x->shape.d[1],
              .b = d->k.block,
              .hw = x->shape.d[2] * x->shape.d[3],
              .ohw = y->shape.n == 4 ? y->shape.d[2] * y->shape.d[3] : 1};
    m.nb = cpu_round16(m.c) / m.b;
    m.planes = m.n * m.nb;
    m.element = cpu_element(d, x);
    m.in_bytes = cpu_align((size_t)(m.planes * m.hw * m.b) * m.element);
    m.out_bytes = cpu_align((size_t)(m.planes * m.ohw * m.b) * m.element);
    m.bf = cpu_bf16(d, x);
    m.plain = !cpu_blocked(x);
    return m;
}
static size_t at(const dims *m, int64_t t, int64_t hw)
{
    return (size_t)(t * hw * m->b) * m->element;
}

/* ---- max_pool: saved = the winner's place in each window, one byte ---- */
/* A thread's row of the backward pass; the rows lead the scratch. */
static size_t row_bytes(const sc_op_node *n, const dims *m)
{
    return cpu_align((size_t)(n->in[0].desc.shape.d[3] * m->b) * sizeof(float));
}
static sc_status max_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    if (n->in[0].desc.kind != n->out[0].desc.kind || n->attrs.kernel < 1 || n->attrs.kernel > 15)
        return sc_fail(SC_EUNSUPPORTED, "cpu: max_pool of mixed kinds or with a window above 15");
    dims m = dims_of(d, n);
    if (n->training)
        *saved = cpu_align((size_t)(m.planes * m.ohw * m.b));
    *scratch =
        row_bytes(n, &m) * (size_t)d->head.threads + (m.plain ? m.in_bytes + m.out_bytes : 0);
    return SC_OK;
}
static cpu_pool pool_of(const sc_op_node *n, const dims *m)
{
    const int64_t *x = n->in[0].desc.shape.d, *y = n->out[0].desc.shape.d;
    return (cpu_pool){.h = x[2],
                      .w = x[3],
                      .oh = y[2],
                      .ow = y[3],
                      .kernel = n->attrs.kernel,
                      .stride = n->attrs.stride,
                      .pad = n->attrs.pad,
                      .bf = m->bf};
}
static sc_status max_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    dims m = dims_of(d, n);
    cpu_pool p = pool_of(n, &m);
    const char *x = n->in[0].data;
    char *y = n->out[0].data;
    uint8_t *index = n->training ? n->saved : NULL;
    if (m.plain) {
        cpu_block(d, &n->in[0].desc, x, n->scratch);
        x = n->scratch;
        y = (char *)n->scratch + m.in_bytes;
    }
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m.planes; t++)
        d->k.max_pool(&p, x + at(&m, t, m.hw), y + at(&m, t, m.ohw),
                      index ? index + t * m.ohw * m.b : NULL);
    if (m.plain)
        cpu_unblock(d, &n->out[0].desc, y, n->out[0].data);
    return SC_OK;
}
static sc_status max_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    if (!n->in[0].grad)
        return SC_OK;
    dims m = dims_of(d, n);
    cpu_pool p = pool_of(n, &m);
    char *dx = n->in[0].grad;
    const char *dy = n->out[0].grad;
    const uint8_t *index = n->saved;
    const size_t row = row_bytes(n, &m);
    if (m.plain) {
        dx = (char *)n->scratch + row * (size_t)d->head.threads;
        if (n->in[0].accumulate)
            cpu_block(d, &n->in[0].desc, n->in[0].grad, dx);
        cpu_block(d, &n->out[0].desc, dy, dx + m.in_bytes);
        dy = dx + m.in_bytes;
    }
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m.planes; t++)
        d->k.max_pool_back(&p, dy + at(&m, t, m.ohw), index + t * m.ohw * m.b, dx + at(&m, t, m.hw),
                           n->in[0].accumulate,
                           (float *)((char *)n->scratch + row * (size_t)omp_get_thread_num()));
    if (m.plain)
        cpu_unblock(d, &n->in[0].desc, dx, n->in[0].grad);
    return SC_OK;
}
const cpu_op cpu_op_max_pool = {max_memory, NULL, NULL, max_forward, max_backward};

/* ---- avg_pool ---- */
static sc_status avg_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)saved;
    dims m = dims_of(d, n);
    *scratch = m.plain ? m.in_bytes : 0;
    return SC_OK;
}
static sc_status avg_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    dims m = dims_of(d, n);
    const char *x = n->in[0].data;
    char *y = n->out[0].data;
    const bool bf = cpu_bf16(d, &n->out[0].desc);
    const size_t element = cpu_element(d, &n->out[0].desc);
    if (m.plain) {
        cpu_block(d, &n->in[0].desc, x, n->scratch);
        x = n->scratch;
    }
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m.planes; t++) {
        float mean[16];
        int64_t c = t % m.nb * m.b, part = m.c - c < m.b ? m.c - c : m.b;
        d->k.plane_mean(x + at(&m, t, m.hw), m.hw, m.bf, mean);
        if (part > 0)
            d->k.convert(y + (size_t)(t / m.nb * m.c + c) * element, bf, mean, false, part, false);
    }
    return SC_OK;
}
static sc_status avg_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    if (!n->in[0].grad)
        return SC_OK;
    dims m = dims_of(d, n);
    char *dx = m.plain ? n->scratch : n->in[0].grad;
    const char *dy = n->out[0].grad;
    const bool bf = cpu_bf16(d, &n->out[0].desc);
    const size_t element = cpu_element(d, &n->out[0].desc);
    if (m.plain && n->in[0].accumulate)
        cpu_block(d, &n->in[0].desc, n->in[0].grad, dx);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m.planes; t++) {
        float g[16] = {0};
        int64_t c = t % m.nb * m.b, part = m.c - c < m.b ? m.c - c : m.b;
        if (part > 0)
            d->k.convert(g, false, dy + (size_t)(t / m.nb * m.c + c) * element, bf, part, false);
        for (int l = 0; l < 16; l++)
            g[l] /= (float)m.hw;
        d->k.plane_fill(dx + at(&m, t, m.hw), m.hw, m.bf, g, n->in[0].accumulate);
    }
    if (m.plain)
        cpu_unblock(d, &n->in[0].desc, dx, n->in[0].grad);
    return SC_OK;
}
const cpu_op cpu_op_avg_pool = {avg_memory, NULL, NULL, avg_forward, avg_backward};
