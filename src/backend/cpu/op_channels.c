/* Ops with a number for each channel of an image: channel_norm, layer_scale, scale_channels.
 * Work is cut into planes (a channel block of one image) or tiles of pixels.
 */
#include "cpu.h"

#include <string.h>

static char *offset(const void *p, int64_t i, bool bf)
{
    return p ? (char *)(uintptr_t)p + (size_t)i * (bf ? 2 : 4) : NULL;
}

typedef struct dims {
    int64_t images, channels, padded, hw, b, nb, planes, plane; /* plane: elements of one */
} dims;
static dims dims_of(const cpu_device *d, const sc_value_desc *x)
{
    dims m = {.images = x->shape.d[0],
              .channels = x->shape.d[1],
              .padded = cpu_round16(x->shape.d[1]),
              .hw = x->shape.d[2] * x->shape.d[3],
              .b = d->k.block};
    m.nb = m.padded / m.b;
    m.planes = m.images * m.nb;
    m.plane = m.hw * m.b;
    return m;
}
static sc_status need_blocks(const sc_op_node *n, const char *op)
{
    if (cpu_blocked(&n->in[0].desc))
        return SC_OK;
    return sc_fail(SC_EUNSUPPORTED, "cpu: %s of fewer than 5 channels", op);
}

/* ---- channel_norm: saved = mean and 1/std a pixel; scratch = partial sums ---- */
#define SLICES 16 /* a number of the shape, not of the threads */

static int64_t tiles_of(const dims *m)
{
    return (m->hw + CPU_NORM_TILE - 1) / CPU_NORM_TILE;
}
static sc_status cn_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    const dims m = dims_of(d, &n->in[0].desc);
    SC_TRY(need_blocks(n, "channel_norm"));
    if (!n->training)
        return SC_OK;
    *saved = cpu_align((size_t)(m.images * m.hw) * 2 * sizeof(float));
    *scratch = cpu_align((size_t)m.padded * 2 * SLICES * sizeof(float));
    return SC_OK;
}
/* Tile t of all images. */
static cpu_channel_norm tile_of(cpu_device *d, const sc_op_node *n, const dims *m, int64_t t)
{
    const int64_t image = t / tiles_of(m), first = t % tiles_of(m) * CPU_NORM_TILE;
    const int64_t at = image * m->nb * m->plane + first * m->b;
    cpu_channel_norm a = {.x_bf = cpu_bf16(d, &n->in[0].desc),
                          .y_bf = cpu_bf16(d, &n->out[0].desc),
                          .add = n->in[0].accumulate,
                          .hw = m->hw,
                          .channels = m->channels,
                          .eps = (float)n->attrs.eps,
                          .weight = n->params[0].value,
                          .bias = n->params[1].value};
    a.pixels = m->hw - first < CPU_NORM_TILE ? m->hw - first : CPU_NORM_TILE;
    a.x = offset(n->in[0].data, at, a.x_bf);
    a.y = offset(n->out[0].data, at, a.y_bf);
    a.dy = offset(n->out[0].grad, at, a.y_bf);
    a.dx = offset(n->in[0].grad, at, a.x_bf);
    if (n->training)
        a.stats = (float *)n->saved + 2 * (image * m->hw + first);
    return a;
}
static sc_status cn_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const dims m = dims_of(d, &n->in[0].desc);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m.images * tiles_of(&m); t++) {
        const cpu_channel_norm a = tile_of(d, n, &m, t);
        d->k.channel_norm(&a);
    }
    return SC_OK;
}
static sc_status cn_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const dims m = dims_of(d, &n->in[0].desc);
    const int64_t tiles = m.images * tiles_of(&m);
    float *partial = n->scratch;
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < SLICES; s++) {
        float *dweight = partial + 2 * s * m.padded, *dbias = dweight + m.padded;
        memset(dweight, 0, (size_t)m.padded * 2 * sizeof(float));
        for (int64_t t = tiles * s / SLICES; t < tiles * (s + 1) / SLICES; t++) {
            cpu_channel_norm a = tile_of(d, n, &m, t);
            a.dweight = dweight;
            a.dbias = dbias;
            d->k.channel_norm_back(&a);
        }
    }
    for (int i = 0; i < 2; i++)
        if (n->params[i].grad) {
            memset(n->params[i].grad, 0, (size_t)m.channels * sizeof(float));
            d->k.column_sum(n->params[i].grad, partial + i * m.padded, false, SLICES, m.channels,
                            2 * m.padded);
        }
    return SC_OK;
}
const cpu_op cpu_op_channel_norm = {cn_memory, NULL, NULL, cn_forward, cn_backward};

/* ---- layer_scale: x + gamma * h; scratch = the sum of dy * h of each plane ---- */
static sc_status ls_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)saved;
    const dims m = dims_of(d, &n->in[0].desc);
    *scratch = n->training ? cpu_align((size_t)(m.images * m.padded) * sizeof(float)) : 0;
    return need_blocks(n, "layer_scale");
}
static sc_status ls_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const dims m = dims_of(d, &n->in[0].desc);
    const bool xb = cpu_bf16(d, &n->in[0].desc), hb = cpu_bf16(d, &n->in[1].desc),
               yb = cpu_bf16(d, &n->out[0].desc);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m.planes; t++) {
        const cpu_plane_scale a = {.base = offset(n->in[0].data, t * m.plane, xb),
                                   .x = offset(n->in[1].data, t * m.plane, hb),
                                   .out = offset(n->out[0].data, t * m.plane, yb),
                                   .scale = (const float *)n->params[0].value + t % m.nb * m.b,
                                   .hw = m.hw,
                                   .base_bf = xb,
                                   .x_bf = hb,
                                   .out_bf = yb};
        d->k.plane_scale(&a);
    }
    return SC_OK;
}
static sc_status ls_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const dims m = dims_of(d, &n->in[0].desc);
    const bool hb = cpu_bf16(d, &n->in[1].desc), yb = cpu_bf16(d, &n->out[0].desc);
    if (n->in[0].grad)
        cpu_convert(d, n->in[0].grad, cpu_bf16(d, &n->in[0].desc), n->out[0].grad, yb,
                    cpu_count(&n->out[0].desc), n->in[0].accumulate);
    float *partial = n->scratch;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m.planes; t++) {
        const char *dy = offset(n->out[0].grad, t * m.plane, yb);
        const cpu_plane_scale a = {.x = dy,
                                   .out = offset(n->in[1].grad, t * m.plane, hb),
                                   .scale = (const float *)n->params[0].value + t % m.nb * m.b,
                                   .hw = m.hw,
                                   .x_bf = yb,
                                   .out_bf = hb,
                                   .add = n->in[1].accumulate};
        if (n->params[0].grad)
            d->k.plane_dot(dy, yb, offset(n->in[1].data, t * m.plane, hb), hb, m.hw,
                           partial + t * m.b);
        if (a.out)
            d->k.plane_scale(&a);
    }
    if (n->params[0].grad) {
        memset(n->params[0].grad, 0, (size_t)m.channels * sizeof(float));
        d->k.column_sum(n->params[0].grad, partial, false, m.images, m.channels, m.padded);
    }
    return SC_OK;
}
const cpu_op cpu_op_layer_scale = {ls_memory, NULL, NULL, ls_forward, ls_backward};

/* ---- scale_channels: x * s, s [n, C] as it lies in memory, without padding ---- */
static sc_status sc_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d, (void)saved, (void)scratch;
    return need_blocks(n, "scale_channels");
}
/* Channels of plane t, and where they begin in s. */
static int64_t plane_channels(const dims *m, int64_t t, int64_t *at)
{
    const int64_t first = t % m->nb * m->b, left = m->channels - first;
    *at = t / m->nb * m->channels + (left > 0 ? first : 0);
    return left < 0 ? 0 : left < m->b ? left : m->b;
}
static sc_status sc_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const dims m = dims_of(d, &n->in[0].desc);
    const bool xb = cpu_bf16(d, &n->in[0].desc), sb = cpu_bf16(d, &n->in[1].desc),
               yb = cpu_bf16(d, &n->out[0].desc);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m.planes; t++) {
        float scale[16] = {0};
        int64_t at, count = plane_channels(&m, t, &at);
        d->k.convert(scale, false, offset(n->in[1].data, at, sb), sb, count, false);
        const cpu_plane_scale a = {.x = offset(n->in[0].data, t * m.plane, xb),
                                   .out = offset(n->out[0].data, t * m.plane, yb),
                                   .scale = scale,
                                   .hw = m.hw,
                                   .x_bf = xb,
                                   .out_bf = yb};
        d->k.plane_scale(&a);
    }
    return SC_OK;
}
static sc_status sc_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const dims m = dims_of(d, &n->in[0].desc);
    const bool xb = cpu_bf16(d, &n->in[0].desc), sb = cpu_bf16(d, &n->in[1].desc),
               yb = cpu_bf16(d, &n->out[0].desc);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < m.planes; t++) {
        float scale[16] = {0}, sum[16];
        int64_t at, count = plane_channels(&m, t, &at);
        const char *dy = offset(n->out[0].grad, t * m.plane, yb);
        if (n->in[1].grad) {
            d->k.plane_dot(dy, yb, offset(n->in[0].data, t * m.plane, xb), xb, m.hw, sum);
            d->k.convert(offset(n->in[1].grad, at, sb), sb, sum, false, count, n->in[1].accumulate);
        }
        d->k.convert(scale, false, offset(n->in[1].data, at, sb), sb, count, false);
        const cpu_plane_scale a = {.x = dy,
                                   .out = offset(n->in[0].grad, t * m.plane, xb),
                                   .scale = scale,
                                   .hw = m.hw,
                                   .x_bf = yb,
                                   .out_bf = xb,
                                   .add = n->in[0].accumulate};
        if (a.out)
            d->k.plane_scale(&a);
    }
    return SC_OK;
}
const cpu_op cpu_op_scale_channels = {sc_memory, NULL, NULL, sc_forward, sc_backward};
