/* batch_norm, with the optional residual and ReLU. Statistics are taken plane by plane (one channel
 * block of one image) and combined in double in a fixed order, then over the ranks of node->comm:
 * the same bits with any number of threads, and every rank normalises by the same numbers.
 *
 * Saved: mean, what its rounding to float lost, and 1/std a channel, the ReLU's sign bits, and in
 * `count` the values a channel had. What was lost is put back per channel: a mean far above the
 * deviation costs no digits.
 * Plain values (C <= 4) are copied into one block and back.
 */
#include "cpu.h"

#include <math.h>
#include <string.h>

typedef struct saved {
    float *mean, *lost, *rstd; /* exact mean = mean - lost */
    uint8_t *mask;             /* bits, [n * blocks][hw] of lane_bits */
    double *count;
} saved;

typedef struct dims {
    int64_t n, c, cp, hw, b, nb, planes, stored; /* stored: elements of the blocked value */
    size_t element, bytes;                       /* bytes: of the blocked value */
    bool bf, plain;
} dims;

enum { X, Y_OR_DY, RESIDUAL, DX, DRESIDUAL, COPIES };

static dims dims_of(const cpu_device *d, const sc_op_node *n)
{
    const sc_value_desc *v = &n->in[0].desc;
    dims m = {.n = v->shape.d[0], .c = v->shape.d[1], .hw = v->shape.d[2] * v->shape.d[3]};
    m.cp = cpu_round16(m.c);
    m.b = d->k.block;
    m.nb = m.cp / m.b;
    m.planes = m.n * m.nb;
    m.stored = m.n * m.cp * m.hw;
    m.element = cpu_element(d, v);
    m.bytes = cpu_align((size_t)m.stored * m.element);
    m.bf = cpu_bf16(d, v);
    m.plain = !cpu_blocked(v);
    return m;
}
static size_t sums_bytes(const dims *m)
{
    return cpu_align((size_t)m->planes * sizeof(cpu_plane_stats));
}
/* Totals of all channels, own and of every rank: (mean, m2) or (dy, dyx) [2 * cp], count. */
static size_t totals_bytes(const dims *m, int ranks)
{
    return cpu_align((size_t)(2 * m->cp + 1) * sizeof(double) * (size_t)(ranks + 1));
}
static size_t coefficient_bytes(const dims *m)
{
    return cpu_align((size_t)m->cp * 5 * sizeof(float));
}
static bool batch_statistics(const sc_op_node *n)
{
    return n->training && !n->attrs.running;
}

static sc_status bn_memory(cpu_device *d, const sc_op_node *n, size_t *saved_bytes, size_t *scratch)
{
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i].desc.kind != n->out[0].desc.kind)
            return sc_fail(SC_EUNSUPPORTED, "cpu: batch_norm of mixed value kinds");
    dims m = dims_of(d, n);
    *scratch = sums_bytes(&m) + totals_bytes(&m, n->comm->size) + coefficient_bytes(&m) +
               (m.plain ? COPIES * m.bytes : 0);
    if (n->training)
        *saved_bytes = 64 + cpu_align((size_t)m.cp * 3 * sizeof(float)) +
                       (n->attrs.relu ? cpu_align((size_t)m.stored / 8) : 0);
    return SC_OK;
}
static saved saved_of(const sc_op_node *n, const dims *m)
{
    char *p = n->saved;
    saved s = {.count = (double *)p, .mean = (float *)(p + 64)};
    s.lost = s.mean + m->cp;
    s.rstd = s.lost + m->cp;
    if (n->attrs.relu)
        s.mask = (uint8_t *)p + 64 + cpu_align((size_t)m->cp * 3 * sizeof(float));
    return s;
}
typedef struct workspace {
    void *planes;
    double *totals;
    float *coefficients;
    char *copies;
} workspace;
static workspace workspace_of(const sc_op_node *n, const dims *m)
{
    char *p = n->scratch;
    workspace w = {.planes = p};
    w.totals = (double *)(p += sums_bytes(m));
    w.coefficients = (float *)(p += totals_bytes(m, n->comm->size));
    w.copies = p + coefficient_bytes(m);
    return w;
}
/* A blocked view of a value: itself, or a copy in scratch. NULL stays NULL. */
static void *view(cpu_device *d, const sc_op_node *n, const dims *m, const workspace *w, int which,
                  const void *p, bool fill)
{
    if (!m->plain || !p)
        return (void *)(uintptr_t)p;
    void *copy = w->copies + (size_t)which * m->bytes;
    if (fill)
        cpu_block(d, &n->in[0].desc, p, copy);
    return copy;
}
static void put_back(cpu_device *d, const sc_op_node *n, const dims *m, const void *copy, void *p)
{
    if (m->plain && p)
        cpu_unblock(d, &n->in[0].desc, copy, p);
}
/* Element address: plane t of a blocked value; NULL stays NULL. */
static void *plane_at(const void *p, const dims *m, int64_t t)
{
    return p ? (char *)(uintptr_t)p + (size_t)(t * m->hw * m->b) * m->element : NULL;
}
static uint8_t *mask_at(uint8_t *mask, const dims *m, int64_t t)
{
    return mask ? mask + (size_t)(t * m->hw * m->b / 8) : NULL;
}

/* (mean, M2, count) of every channel over all ranks into totals: Chan's pairwise combination. */
static void combine(double *into, const double *from, int64_t cp)
{
    double na = into[2 * cp], nb = from[2 * cp], all = na + nb;
    if (nb == 0)
        return;
    for (int64_t c = 0; c < cp; c++) {
        double delta = from[c] - into[c];
        into[c] += delta * (nb / all);
        into[cp + c] += from[cp + c] + delta * delta * (na * nb / all);
    }
    into[2 * cp] = all;
}
static void own_statistics(cpu_device *d, const dims *m, const void *x, cpu_plane_stats *planes,
                           double *own)
{
    memset(own, 0, (size_t)(2 * m->cp + 1) * sizeof(double));
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m->planes; t++)
        d->k.bn_stats(plane_at(x, m, t), m->hw, m->bf, &planes[t]);
    const double hw = (double)m->hw;
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < m->nb; block++)
        for (int64_t i = 0; i < m->n; i++) {
            const cpu_plane_stats *s = &planes[i * m->nb + block];
            double before = (double)i * hw, all = before + hw;
            for (int64_t l = 0; l < m->b; l++) {
                double *mean = own + block * m->b + l, delta = s->mean[l] - *mean;
                *mean += delta * (hw / all);
                mean[m->cp] += s->m2[l] + delta * delta * (before * hw / all);
            }
        }
    own[2 * m->cp] = (double)m->n * hw;
}
/* Leaves the statistics of all ranks at w->totals. */
static sc_status all_statistics(cpu_device *d, const sc_op_node *n, const dims *m,
                                const workspace *w, const void *x)
{
    own_statistics(d, m, x, w->planes, w->totals);
    if (n->comm->size == 1)
        return SC_OK;
    int64_t count = 2 * m->cp + 1;
    double *ranks = w->totals + count;
    for (int r = 0; r < n->comm->size;
         r++) /* as F64 sums of disjoint pieces: no counts array needed */
        memset(ranks + r * count, 0, (size_t)count * sizeof(double));
    memcpy(ranks + n->comm->rank * count, w->totals, (size_t)count * sizeof(double));
    SC_TRY(n->comm->all_reduce(n->comm, ranks, (size_t)(count * n->comm->size), SC_F64, SC_SUM));
    memset(w->totals, 0, (size_t)count * sizeof(double));
    for (int r = 0; r < n->comm->size; r++)
        combine(w->totals, ranks + r * count, m->cp);
    return SC_OK;
}

/* Fills s and moves the running statistics. */
static void settle(const sc_op_node *n, const dims *m, const double *totals, const saved *s)
{
    float *rm = n->params[2].value, *rv = n->params[3].value;
    const double count = totals[2 * m->cp], f = n->attrs.momentum;
    for (int64_t c = 0; c < m->cp; c++) {
        double var = count > 0 ? totals[m->cp + c] / count : 0;
        s->mean[c] = (float)totals[c];
        s->lost[c] = (float)((double)s->mean[c] - totals[c]);
        s->rstd[c] = (float)(1.0 / sqrt(var + n->attrs.eps));
        if (c >= m->c || count <= 0)
            continue;
        double unbiased = totals[m->cp + c] / (count > 1 ? count - 1 : 1);
        rm[c] = (float)((1 - f) * (double)rm[c] + f * totals[c]);
        rv[c] = (float)((1 - f) * (double)rv[c] + f * unbiased);
    }
}
static void running(const sc_op_node *n, const dims *m, const saved *s)
{
    const float *rm = n->params[2].value, *rv = n->params[3].value;
    for (int64_t c = 0; c < m->cp; c++) {
        s->mean[c] = rm[c];
        s->lost[c] = 0;
        s->rstd[c] = (float)(1.0 / sqrt((double)rv[c] + n->attrs.eps));
    }
}

static sc_status bn_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    dims m = dims_of(d, n);
    workspace w = workspace_of(n, &m);
    float *scale = w.coefficients, *shift = scale + m.cp;
    saved s = {.mean = shift + m.cp, .lost = shift + 2 * m.cp, .rstd = shift + 3 * m.cp};
    if (n->training)
        s = saved_of(n, &m);
    const void *x = view(d, n, &m, &w, X, n->in[0].data, true);
    const void *residual = n->n_in > 1 ? view(d, n, &m, &w, RESIDUAL, n->in[1].data, true) : NULL;
    void *y = view(d, n, &m, &w, Y_OR_DY, n->out[0].data, false);
    if (batch_statistics(n)) {
        SC_TRY(all_statistics(d, n, &m, &w, x));
        settle(n, &m, w.totals, &s);
        *s.count = w.totals[2 * m.cp];
    } else {
        running(n, &m, &s);
    }
    const float *weight = n->params[0].value, *bias = n->params[1].value;
    for (int64_t c = 0; c < m.cp; c++) {
        scale[c] = weight[c] * s.rstd[c];
        shift[c] = bias[c] + scale[c] * s.lost[c];
    }
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m.planes; t++) {
        int64_t c = t % m.nb * m.b;
        cpu_bn_apply a = {.x = plane_at(x, &m, t),
                          .residual = plane_at(residual, &m, t),
                          .y = plane_at(y, &m, t),
                          .mask = mask_at(s.mask, &m, t),
                          .hw = m.hw,
                          .mean = s.mean + c,
                          .scale = scale + c,
                          .shift = shift + c,
                          .relu = n->attrs.relu,
                          .bf = m.bf};
        d->k.bn_apply(&a);
    }
    put_back(d, n, &m, y, n->out[0].data);
    return SC_OK;
}

/* Sums of g and g * xhat: own ones to dbias and dweight, those of all ranks stay in w->totals. */
static sc_status back_sums(cpu_device *d, const sc_op_node *n, const dims *m, const workspace *w,
                           const cpu_bn_back *base, const saved *s)
{
    cpu_plane_sums *planes = w->planes;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m->planes; t++) {
        int64_t c = t % m->nb * m->b;
        cpu_bn_back a = *base;
        a.x = plane_at(base->x, m, t);
        a.dy = plane_at(base->dy, m, t);
        a.mask = mask_at(s->mask, m, t);
        a.mean += c;
        a.rstd += c;
        d->k.bn_back_sums(&a, &planes[t]);
    }
    memset(w->totals, 0, (size_t)(2 * m->cp) * sizeof(double));
    for (int64_t t = 0; t < m->planes; t++)
        for (int64_t l = 0; l < m->b; l++) {
            w->totals[t % m->nb * m->b + l] += planes[t].dy[l];
            w->totals[m->cp + t % m->nb * m->b + l] += planes[t].dyx[l];
        }
    float *dweight = n->params[0].grad, *dbias = n->params[1].grad;
    for (int64_t c = 0; c < m->cp; c++) {
        w->totals[m->cp + c] += w->totals[c] * (double)s->lost[c] * (double)s->rstd[c];
        if (dbias)
            dbias[c] = (float)w->totals[c];
        if (dweight)
            dweight[c] = (float)w->totals[m->cp + c];
    }
    if (batch_statistics(n) && n->comm->size > 1)
        SC_TRY(n->comm->all_reduce(n->comm, w->totals, (size_t)(2 * m->cp), SC_F64, SC_SUM));
    return SC_OK;
}

static sc_status bn_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    dims m = dims_of(d, n);
    workspace w = workspace_of(n, &m);
    saved s = saved_of(n, &m);
    bool residual = n->n_in > 1 && n->in[1].grad;
    cpu_bn_back base = {
        .x = view(d, n, &m, &w, X, n->in[0].data, true),
        .dy = view(d, n, &m, &w, Y_OR_DY, n->out[0].grad, true),
        .dx = view(d, n, &m, &w, DX, n->in[0].grad, n->in[0].accumulate),
        .dresidual =
            residual ? view(d, n, &m, &w, DRESIDUAL, n->in[1].grad, n->in[1].accumulate) : NULL,
        .hw = m.hw,
        .mean = s.mean,
        .rstd = s.rstd,
        .bf = m.bf,
        .add_dx = n->in[0].accumulate,
        .add_dresidual = residual && n->in[1].accumulate};
    SC_TRY(back_sums(d, n, &m, &w, &base, &s));
    float *scale = w.coefficients, *mean_dy = scale + m.cp, *slope = mean_dy + m.cp;
    const float *weight = n->params[0].value;
    for (int64_t c = 0; c < m.cp; c++) {
        double per = batch_statistics(n) && *s.count > 0 ? 1 / *s.count : 0;
        scale[c] = weight[c] * s.rstd[c];
        slope[c] = (float)(w.totals[m.cp + c] * per * (double)s.rstd[c]);
        mean_dy[c] = (float)(w.totals[c] * per + (double)s.lost[c] * (double)slope[c]);
    }
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m.planes; t++) {
        int64_t c = t % m.nb * m.b;
        cpu_bn_back a = base;
        a.x = plane_at(base.x, &m, t);
        a.dy = plane_at(base.dy, &m, t);
        a.mask = mask_at(s.mask, &m, t);
        a.dx = plane_at(base.dx, &m, t);
        a.dresidual = plane_at(base.dresidual, &m, t);
        a.mean += c;
        a.scale = scale + c;
        a.mean_dy = mean_dy + c;
        a.slope = slope + c;
        d->k.bn_back_apply(&a);
    }
    put_back(d, n, &m, base.dx, n->in[0].grad);
    if (residual)
        put_back(d, n, &m, base.dresidual, n->in[1].grad);
    return SC_OK;
}

const cpu_op cpu_op_batch_norm = {bn_memory, NULL, NULL, bn_forward, bn_backward};
