/* batch_norm, with the optional residual and ReLU, and alone with ReLU also with the max_pool
 * behind it (sc_op_node.next).
 *
 * Saved: mean, what its rounding to float lost, and 1/std a channel, the ReLU's sign bits, and in
 * `count` the values a channel had. What was lost is put back per channel: a mean far above the
 * deviation costs no digits. With a pool the sign bits are those of its output, and the x that each
 * window chose is saved with its place: only these are normalised, and only these get a gradient
 * other than through the statistics.
 * Plain values (C <= 4) are copied into one block and back.
 */
#include "batch_norm.h"

#include <omp.h>
#include <string.h>

enum { X, Y_OR_DY, RESIDUAL, DX, DRESIDUAL, COPIES };

static cpu_bn_dims dims_of(const cpu_device *d, const sc_op_node *n)
{
    const sc_value_desc *v = &n->in[0].desc;
    cpu_bn_dims m = {.n = v->shape.d[0], .c = v->shape.d[1], .hw = v->shape.d[2] * v->shape.d[3]};
    m.cp = cpu_round16(m.c);
    m.b = d->k.block;
    m.nb = m.cp / m.b;
    m.planes = m.n * m.nb;
    m.stored = m.n * m.cp * m.hw;
    m.element = cpu_element(d, v);
    m.bytes = cpu_align((size_t)m.stored * m.element);
    m.bf = cpu_bf16(d, v);
    m.plain = !cpu_blocked(v);
    m.y_hw = m.hw;
    if (n->next) {
        const int64_t *x = v->shape.d, *y = n->next->out[0].desc.shape.d;
        m.pooled = true;
        m.pool = (cpu_pool){.h = x[2],
                            .w = x[3],
                            .oh = y[2],
                            .ow = y[3],
                            .kernel = n->next->attrs.kernel,
                            .stride = n->next->attrs.stride,
                            .pad = n->next->attrs.pad,
                            .bf = m.bf};
        m.y_hw = y[2] * y[3];
    }
    m.y_stored = m.n * m.cp * m.y_hw;
    return m;
}
static size_t sums_bytes(const cpu_bn_dims *m)
{
    return cpu_align((size_t)m->planes * sizeof(cpu_plane_stats));
}
/* Totals of all channels, own and of every rank: (mean, m2) or (dy, dyx) [2 * cp], count. */
static size_t totals_bytes(const cpu_bn_dims *m, int ranks)
{
    return cpu_align((size_t)(2 * m->cp + 1) * sizeof(double) * (size_t)(ranks + 1));
}
static size_t coefficient_bytes(const cpu_bn_dims *m)
{
    return cpu_align((size_t)m->cp * 5 * sizeof(float));
}
/* Results of this size are out of the caches before the next op reads them. */
static bool is_far(const cpu_bn_dims *m)
{
    return m->bytes >= (size_t)24 << 20;
}
static size_t row_bytes(const cpu_bn_dims *m)
{
    return m->pooled ? cpu_align((size_t)(m->pool.w * m->b) * sizeof(float)) : 0;
}
static size_t mask_bytes(const sc_op_node *n, const cpu_bn_dims *m)
{
    return n->attrs.relu ? cpu_align((size_t)m->y_stored / 8) : 0;
}
static size_t best_bytes(const cpu_bn_dims *m)
{
    return m->pooled ? cpu_align((size_t)m->y_stored * m->element) : 0;
}

bool cpu_bn_joins(const sc_op_node *n, const sc_op_node *next)
{
    return next->op == SC_OP_MAX_POOL && n->attrs.relu && n->n_in == 1 &&
           cpu_blocked(&n->in[0].desc) && n->in[0].desc.kind == n->out[0].desc.kind &&
           next->out[0].desc.kind == n->out[0].desc.kind && next->attrs.kernel >= 1 &&
           next->attrs.kernel <= 15;
}

static sc_status bn_memory(cpu_device *d, const sc_op_node *n, size_t *saved_bytes, size_t *scratch)
{
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i].desc.kind != n->out[0].desc.kind)
            return sc_fail(SC_EUNSUPPORTED, "cpu: batch_norm of mixed value kinds");
    cpu_bn_dims m = dims_of(d, n);
    *scratch = sums_bytes(&m) + totals_bytes(&m, n->comm->size) + coefficient_bytes(&m) +
               row_bytes(&m) * (size_t)d->head.threads + (m.plain ? COPIES * m.bytes : 0);
    if (n->training)
        *saved_bytes = 64 + cpu_align((size_t)m.cp * 3 * sizeof(float)) + mask_bytes(n, &m) +
                       best_bytes(&m) + (m.pooled ? cpu_align((size_t)m.y_stored) : 0);
    return SC_OK;
}
static cpu_bn_saved saved_of(const sc_op_node *n, const cpu_bn_dims *m)
{
    char *p = n->saved;
    cpu_bn_saved s = {.count = (double *)p, .mean = (float *)(p + 64)};
    s.lost = s.mean + m->cp;
    s.rstd = s.lost + m->cp;
    p += 64 + cpu_align((size_t)m->cp * 3 * sizeof(float));
    if (n->attrs.relu)
        s.mask = (uint8_t *)p;
    if (m->pooled) {
        s.best = p + mask_bytes(n, m);
        s.index = (uint8_t *)s.best + best_bytes(m);
    }
    return s;
}
static cpu_bn_room room_of(const sc_op_node *n, const cpu_bn_dims *m)
{
    char *p = n->scratch;
    cpu_bn_room w = {.planes = p};
    w.totals = (double *)(p += sums_bytes(m));
    w.coefficients = (float *)(p += totals_bytes(m, n->comm->size));
    w.rows = (float *)(p += coefficient_bytes(m));
    w.copies = p; /* plain values are not pooled */
    return w;
}
/* A blocked view of a value: itself, or a copy in scratch. NULL stays NULL. */
static void *view(cpu_device *d, const sc_op_node *n, const cpu_bn_dims *m, const cpu_bn_room *w,
                  int which, const void *p, bool fill)
{
    if (!m->plain || !p)
        return (void *)(uintptr_t)p;
    void *copy = w->copies + (size_t)which * m->bytes;
    if (fill)
        cpu_block(d, &n->in[0].desc, p, copy);
    return copy;
}
static void put_back(cpu_device *d, const sc_op_node *n, const cpu_bn_dims *m, const void *copy,
                     void *p)
{
    if (m->plain && p)
        cpu_unblock(d, &n->in[0].desc, copy, p);
}
static const sc_node_value *result_of(const sc_op_node *n)
{
    return n->next ? &n->next->out[0] : &n->out[0];
}

static sc_status bn_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    cpu_bn_dims m = dims_of(d, n);
    cpu_bn_room w = room_of(n, &m);
    float *scale = w.coefficients, *shift = scale + m.cp;
    cpu_bn_saved s = {.mean = shift + m.cp, .lost = shift + 2 * m.cp, .rstd = shift + 3 * m.cp};
    if (n->training)
        s = saved_of(n, &m);
    const void *x = view(d, n, &m, &w, X, n->in[0].data, true);
    const void *residual = n->n_in > 1 ? view(d, n, &m, &w, RESIDUAL, n->in[1].data, true) : NULL;
    void *y = view(d, n, &m, &w, Y_OR_DY, result_of(n)->data, false);
    char *best = n->training ? s.best : y;
    SC_TRY(cpu_bn_statistics(d, n, &m, &w, x, &s, best, s.index));
    const void *from = m.pooled ? best : x;
    const float *weight = n->params[0].value, *bias = n->params[1].value;
    for (int64_t c = 0; c < m.cp; c++) {
        scale[c] = weight[c] * s.rstd[c];
        shift[c] = bias[c] + scale[c] * s.lost[c];
    }
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m.planes; t++) {
        int64_t c = t % m.nb * m.b;
        cpu_bn_apply a = {.x = cpu_bn_y_plane(from, &m, t),
                          .residual = cpu_bn_y_plane(residual, &m, t),
                          .y = cpu_bn_y_plane(y, &m, t),
                          .mask = cpu_bn_mask(s.mask, &m, t),
                          .hw = m.y_hw,
                          .mean = s.mean + c,
                          .scale = scale + c,
                          .shift = shift + c,
                          .relu = n->attrs.relu,
                          .bf = m.bf,
                          .stream = is_far(&m) && !m.pooled};
        d->k.bn_apply(&a);
    }
    put_back(d, n, &m, y, n->out[0].data);
    return SC_OK;
}

/* Sums of g and g * xhat: own ones to dbias and dweight, those of all ranks stay in w->totals. */
static sc_status back_sums(cpu_device *d, const sc_op_node *n, const cpu_bn_dims *m,
                           const cpu_bn_room *w, const cpu_bn_back *base, const cpu_bn_saved *s)
{
    cpu_plane_sums *planes = w->planes;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m->planes; t++) {
        int64_t c = t % m->nb * m->b;
        cpu_bn_back a = *base;
        a.x = m->pooled ? cpu_bn_y_plane(s->best, m, t) : cpu_bn_plane(base->x, m, t);
        a.dy = cpu_bn_y_plane(base->dy, m, t);
        a.hw = m->y_hw;
        a.mask = cpu_bn_mask(s->mask, m, t);
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
    if (cpu_bn_of_batch(n) && n->comm->size > 1)
        SC_TRY(n->comm->all_reduce(n->comm, w->totals, (size_t)(2 * m->cp), SC_F64, SC_SUM));
    return SC_OK;
}

static sc_status bn_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    cpu_bn_dims m = dims_of(d, n);
    cpu_bn_room w = room_of(n, &m);
    cpu_bn_saved s = saved_of(n, &m);
    bool residual = n->n_in > 1 && n->in[1].grad;
    cpu_bn_back base = {
        .x = view(d, n, &m, &w, X, n->in[0].data, true),
        .dy = view(d, n, &m, &w, Y_OR_DY, result_of(n)->grad, true),
        .dx = view(d, n, &m, &w, DX, n->in[0].grad, n->in[0].accumulate),
        .dresidual =
            residual ? view(d, n, &m, &w, DRESIDUAL, n->in[1].grad, n->in[1].accumulate) : NULL,
        .hw = m.hw,
        .mean = s.mean,
        .rstd = s.rstd,
        .bf = m.bf,
        .add_dx = n->in[0].accumulate,
        .add_dresidual = residual && n->in[1].accumulate,
        .stream = is_far(&m) && n->in[0].grad && !n->in[0].accumulate};
    SC_TRY(back_sums(d, n, &m, &w, &base, &s));
    if (!base.dx && !base.dresidual)
        return SC_OK;
    float *scale = w.coefficients, *mean_dy = scale + m.cp, *slope = mean_dy + m.cp;
    const float *weight = n->params[0].value;
    for (int64_t c = 0; c < m.cp; c++) {
        double per = cpu_bn_of_batch(n) && *s.count > 0 ? 1 / *s.count : 0;
        scale[c] = weight[c] * s.rstd[c];
        slope[c] = (float)(w.totals[m.cp + c] * per * (double)s.rstd[c]);
        mean_dy[c] = (float)(w.totals[c] * per + (double)s.lost[c] * (double)slope[c]);
    }
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m.planes; t++) {
        int64_t c = t % m.nb * m.b;
        cpu_bn_back a = base;
        a.x = cpu_bn_plane(base.x, &m, t);
        a.dy = cpu_bn_y_plane(base.dy, &m, t);
        a.mask = cpu_bn_mask(s.mask, &m, t);
        a.dx = cpu_bn_plane(base.dx, &m, t);
        a.dresidual = cpu_bn_plane(base.dresidual, &m, t);
        a.mean += c;
        a.scale = scale + c;
        a.mean_dy = mean_dy + c;
        a.slope = slope + c;
        if (m.pooled)
            d->k.bn_pool_back(&a, &m.pool, s.index + t * m.y_hw * m.b,
                              w.rows + omp_get_thread_num() * m.pool.w * m.b);
        else
            d->k.bn_back_apply(&a);
    }
    put_back(d, n, &m, base.dx, n->in[0].grad);
    if (residual)
        put_back(d, n, &m, base.dresidual, n->in[1].grad);
    return SC_OK;
}

const cpu_op cpu_op_batch_norm = {bn_memory, NULL, NULL, bn_forward, bn_backward};
