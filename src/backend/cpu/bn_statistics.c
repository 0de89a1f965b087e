/* What batch_norm normalises by. Statistics are taken plane by plane (one channel block of one
 * image) and combined in double in a fixed order, then over the ranks of node->comm: the same bits
 * with any number of threads, and every rank normalises by the same numbers. */
#include "batch_norm.h"

#include <math.h>
#include <string.h>

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
static void look_at_planes(cpu_device *d, const cpu_bn_dims *m, const void *x, const float *sign,
                           cpu_plane_stats *planes, char *best, uint8_t *index)
{
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m->planes; t++) {
        const void *plane = cpu_bn_plane(x, m, t);
        if (planes)
            d->k.bn_stats(plane, m->hw, m->bf, &planes[t]);
        if (m->pooled)
            d->k.bn_pool(&m->pool, plane, sign + t % m->nb * m->b, cpu_bn_y_plane(best, m, t),
                         index ? index + t * m->y_hw * m->b : NULL);
    }
}
static void own_statistics(const cpu_bn_dims *m, const cpu_plane_stats *planes, double *own)
{
    memset(own, 0, (size_t)(2 * m->cp + 1) * sizeof(double));
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
static sc_status all_statistics(const sc_op_node *n, const cpu_bn_dims *m, const cpu_bn_room *w)
{
    own_statistics(m, w->planes, w->totals);
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
static void settle(const sc_op_node *n, const cpu_bn_dims *m, const double *totals,
                   const cpu_bn_saved *s)
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
static void running(const sc_op_node *n, const cpu_bn_dims *m, const cpu_bn_saved *s)
{
    const float *rm = n->params[2].value, *rv = n->params[3].value;
    for (int64_t c = 0; c < m->cp; c++) {
        s->mean[c] = rm[c];
        s->lost[c] = 0;
        s->rstd[c] = (float)(1.0 / sqrt((double)rv[c] + n->attrs.eps));
    }
}

sc_status cpu_bn_statistics(cpu_device *d, const sc_op_node *n, const cpu_bn_dims *m,
                            const cpu_bn_room *w, const void *x, const cpu_bn_saved *s, char *best,
                            uint8_t *index)
{
    const bool batch = cpu_bn_of_batch(n);
    float *sign = w->coefficients;
    const float *weight = n->params[0].value;
    for (int64_t c = 0; c < m->cp; c++)
        sign[c] = weight[c] > 0 ? 1.0f : weight[c] < 0 ? -1.0f : 0.0f;
    if (batch || m->pooled)
        look_at_planes(d, m, x, sign, batch ? w->planes : NULL, best, index);
    if (!batch) {
        running(n, m, s);
        return SC_OK;
    }
    SC_TRY(all_statistics(n, m, w));
    settle(n, m, w->totals, s);
    *s->count = w->totals[2 * m->cp];
    return SC_OK;
}
