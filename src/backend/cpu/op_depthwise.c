/* depthwise_conv2d on blocked planes. Scratch: the weights as [block][k * k][lanes], each thread's
 * rows, and partial sums of the weights' gradient, a set for each slice of the images.
 */
#include "cpu.h"

#include <omp.h>
#include <string.h>

/* A number of the shape, not of the threads. */
#define SLICES 8

typedef struct parts {
    int64_t images, channels, b, nb, taps, slices;
    size_t weights, rows, sums; /* floats of each part of the scratch; rows: of one thread */
} parts;

static cpu_depthwise plane_of(const sc_op_node *n)
{
    const int64_t *x = n->in[0].desc.shape.d, *y = n->out[0].desc.shape.d;
    return (cpu_depthwise){.h = x[2],
                           .w = x[3],
                           .oh = y[2],
                           .ow = y[3],
                           .kernel = n->attrs.kernel,
                           .stride = n->attrs.stride,
                           .pad = n->attrs.pad};
}
static parts parts_of(const cpu_device *d, const sc_op_node *n)
{
    const cpu_depthwise plane = plane_of(n);
    parts p = {.images = n->in[0].desc.shape.d[0],
               .channels = n->in[0].desc.shape.d[1],
               .b = d->k.block,
               .taps = (int64_t)n->attrs.kernel * n->attrs.kernel};
    p.nb = cpu_round16(p.channels) / p.b;
    p.slices = p.images < SLICES ? p.images : SLICES;
    p.weights = (size_t)(p.nb * p.taps * p.b);
    p.rows = (size_t)d->k.depthwise_floats(&plane);
    p.sums = n->training ? (size_t)(p.slices * p.nb * (p.taps + 1) * p.b) : 0;
    return p;
}

static sc_status dw_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)saved;
    if (!cpu_blocked(&n->in[0].desc))
        return sc_fail(SC_EUNSUPPORTED, "cpu: depthwise_conv2d of fewer than 5 channels");
    if (n->attrs.kernel > CPU_DEPTHWISE_KERNEL)
        return sc_fail(SC_EUNSUPPORTED, "cpu: depthwise_conv2d with a kernel of %d, above %d",
                       n->attrs.kernel, CPU_DEPTHWISE_KERNEL);
    const parts p = parts_of(d, n);
    *scratch = cpu_align((p.weights + p.sums + p.rows * (size_t)d->head.threads) * sizeof(float));
    return SC_OK;
}

/* [C][k * k] -> [block][k * k][lanes] */
static void block_weights(const parts *p, const float *from, float *to)
{
#pragma omp parallel for schedule(static)
    for (int64_t block = 0; block < p->nb; block++)
        for (int64_t t = 0; t < p->taps; t++)
            for (int64_t l = 0; l < p->b; l++) {
                const int64_t c = block * p->b + l;
                to[(block * p->taps + t) * p->b + l] =
                    c < p->channels ? from[c * p->taps + t] : 0.0f;
            }
}
static char *plane_at(const void *p, int64_t plane, int64_t hw, int64_t b, bool bf)
{
    return (char *)(uintptr_t)p + (size_t)(plane * hw * b) * (bf ? 2 : 4);
}

typedef struct planes {
    parts p;
    cpu_depthwise plane;
    float *weights, *sums, *rows;
    const void *x;
    void *y, *dx; /* y: in the backward pass its gradient */
} planes;
static planes planes_of(cpu_device *d, const sc_op_node *n)
{
    planes r = {.p = parts_of(d, n), .plane = plane_of(n), .weights = n->scratch};
    r.sums = r.weights + r.p.weights;
    r.rows = r.sums + r.p.sums;
    r.plane.x_bf = cpu_bf16(d, &n->in[0].desc);
    r.plane.y_bf = cpu_bf16(d, &n->out[0].desc);
    r.plane.add = n->in[0].accumulate;
    return r;
}
/* Plane t of all images, with its weights. */
static cpu_depthwise one_plane(const planes *r, int64_t t)
{
    cpu_depthwise p = r->plane;
    p.x = plane_at(r->x, t, p.h * p.w, r->p.b, p.x_bf);
    p.y = plane_at(r->y, t, p.oh * p.ow, r->p.b, p.y_bf);
    if (r->dx)
        p.dx = plane_at(r->dx, t, p.h * p.w, r->p.b, p.x_bf);
    p.weight = r->weights + t % r->p.nb * r->p.taps * r->p.b;
    return p;
}
static float *thread_rows(const planes *r)
{
    return r->rows + (size_t)omp_get_thread_num() * r->p.rows;
}

static sc_status dw_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    planes r = planes_of(d, n);
    r.x = n->in[0].data;
    r.y = n->out[0].data;
    block_weights(&r.p, n->params[0].value, r.weights);
    const float *bias = n->n_params > 1 ? n->params[1].value : NULL;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < r.p.images * r.p.nb; t++) {
        cpu_depthwise p = one_plane(&r, t);
        if (bias)
            p.bias = bias + t % r.p.nb * r.p.b;
        d->k.depthwise(&p, thread_rows(&r));
    }
    return SC_OK;
}

/* The slices' sums, added up in their order, to PyTorch's layout. */
static void join_weights(const planes *r, float *dw, float *db)
{
    const parts *p = &r->p;
    const int64_t set = (p->taps + 1) * p->b;
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < p->channels; c++)
        for (int64_t t = 0; t <= p->taps; t++) {
            const float *from = r->sums + c / p->b * set + t * p->b + c % p->b;
            float sum = 0;
            for (int64_t s = 0; s < p->slices; s++)
                sum += from[s * p->nb * set];
            if (t < p->taps && dw)
                dw[c * p->taps + t] = sum;
            else if (t == p->taps && db)
                db[c] = sum;
        }
}
static void sum_weights(cpu_device *d, const planes *r)
{
    const parts *p = &r->p;
    const int64_t set = (p->taps + 1) * p->b;
#pragma omp parallel for schedule(static)
    for (int64_t u = 0; u < p->slices * p->nb; u++) {
        const int64_t slice = u / p->nb, block = u % p->nb;
        float *dw = r->sums + u * set;
        memset(dw, 0, (size_t)set * sizeof(float));
        for (int64_t i = p->images * slice / p->slices; i < p->images * (slice + 1) / p->slices;
             i++) {
            const cpu_depthwise plane = one_plane(r, i * p->nb + block);
            d->k.depthwise_weights(&plane, thread_rows(r), dw, dw + p->taps * p->b);
        }
    }
}
static sc_status dw_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    planes r = planes_of(d, n);
    r.x = n->in[0].data;
    r.y = n->out[0].grad;
    r.dx = n->in[0].grad;
    if (n->in[0].grad) {
        block_weights(&r.p, n->params[0].value, r.weights);
#pragma omp parallel for schedule(static)
        for (int64_t t = 0; t < r.p.images * r.p.nb; t++) {
            const cpu_depthwise p = one_plane(&r, t);
            d->k.depthwise_data(&p, thread_rows(&r));
        }
    }
    float *dw = n->params[0].grad, *db = n->n_params > 1 ? n->params[1].grad : NULL;
    if (!dw && !db)
        return SC_OK;
    sum_weights(d, &r);
    join_weights(&r, dw, db);
    return SC_OK;
}
const cpu_op cpu_op_depthwise_conv2d = {dw_memory, NULL, NULL, dw_forward, dw_backward};
