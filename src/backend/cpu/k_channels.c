/* Kernels with a number for each channel: layer norm over the channels of a pixel, and scaled
 * planes. Layer norm walks a tile of pixels block by block, so that memory is read in runs; sums of
 * a pixel stay in vectors (lanes are channels) until its last block.
 */
#include "kernels.h"
#include "simd.h"

/* Element offset of a pixel's block; planes of one image lie `hw` pixels apart. */
INLINE int64_t place(const cpu_channel_norm *a, int64_t block, int64_t pixel)
{
    return (block * a->hw + pixel) * VL;
}
/* 1 in the lanes of a block that are channels. */
INLINE vf channel_mask(const cpu_channel_norm *a, int64_t block)
{
    const int64_t left = a->channels - block * VL;
    return left >= VL ? splat(1.0f) : left <= 0 ? splat(0.0f) : first_lanes(splat(1.0f), (int)left);
}

INLINE void norm_body(const cpu_channel_norm *a, const bool x_bf, const bool y_bf)
{
    const int64_t blocks = (a->channels + 15) / 16 * 16 / VL;
    const float count = (float)a->channels;
    vf sum[CPU_NORM_TILE], mean[CPU_NORM_TILE];
    for (int64_t i = 0; i < a->pixels; i++)
        sum[i] = splat(0.0f);
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t i = 0; i < a->pixels; i++)
            sum[i] += load(a->x, place(a, b, i), x_bf);
    for (int64_t i = 0; i < a->pixels; i++) {
        mean[i] = splat(sum_lanes(sum[i]) / count);
        sum[i] = splat(0.0f);
    }
    for (int64_t b = 0; b < blocks; b++) {
        const vf mask = channel_mask(a, b);
        for (int64_t i = 0; i < a->pixels; i++) {
            const vf v = (load(a->x, place(a, b, i), x_bf) - mean[i]) * mask;
            sum[i] += v * v;
        }
    }
    for (int64_t i = 0; i < a->pixels; i++) {
        const float rstd = 1.0f / sqrtf(sum_lanes(sum[i]) / count + a->eps);
        sum[i] = splat(rstd);
        if (a->stats) {
            a->stats[2 * i] = mean[i][0];
            a->stats[2 * i + 1] = rstd;
        }
    }
    for (int64_t b = 0; b < blocks; b++) {
        const vf w = load(a->weight, b * VL, false), bias = load(a->bias, b * VL, false);
        for (int64_t i = 0; i < a->pixels; i++) {
            const vf xhat = (load(a->x, place(a, b, i), x_bf) - mean[i]) * sum[i];
            store(a->y, place(a, b, i), xhat * w + bias, y_bf);
        }
    }
}
static void channel_norm(const cpu_channel_norm *a)
{
    if (a->x_bf && a->y_bf)
        norm_body(a, true, true);
    else if (a->x_bf)
        norm_body(a, true, false);
    else if (a->y_bf)
        norm_body(a, false, true);
    else
        norm_body(a, false, false);
}

/* With g = dy * weight: dx = rstd * (g - mean(g) - xhat * mean(g * xhat)). Weight is 0 in padding
 * lanes, and so is g; xhat is not. */
INLINE void norm_back_body(const cpu_channel_norm *a, const bool x_bf, const bool y_bf)
{
    const int64_t blocks = (a->channels + 15) / 16 * 16 / VL;
    vf sum_g[CPU_NORM_TILE], sum_gx[CPU_NORM_TILE];
    for (int64_t i = 0; i < a->pixels; i++)
        sum_g[i] = sum_gx[i] = splat(0.0f);
    for (int64_t b = 0; b < blocks; b++) {
        const vf w = load(a->weight, b * VL, false);
        vf dw = load(a->dweight, b * VL, false), db = load(a->dbias, b * VL, false);
        for (int64_t i = 0; i < a->pixels; i++) {
            const vf mean = splat(a->stats[2 * i]), rstd = splat(a->stats[2 * i + 1]);
            const vf d = load(a->dy, place(a, b, i), y_bf);
            const vf xhat = (load(a->x, place(a, b, i), x_bf) - mean) * rstd;
            sum_g[i] += d * w;
            sum_gx[i] += d * w * xhat;
            dw += d * xhat;
            db += d;
        }
        store(a->dweight, b * VL, dw, false);
        store(a->dbias, b * VL, db, false);
    }
    if (!a->dx)
        return;
    for (int64_t i = 0; i < a->pixels; i++) {
        sum_g[i] = splat(sum_lanes(sum_g[i]) / (float)a->channels);
        sum_gx[i] = splat(sum_lanes(sum_gx[i]) / (float)a->channels);
    }
    for (int64_t b = 0; b < blocks; b++) {
        const vf w = load(a->weight, b * VL, false), mask = channel_mask(a, b);
        for (int64_t i = 0; i < a->pixels; i++) {
            const vf mean = splat(a->stats[2 * i]), rstd = splat(a->stats[2 * i + 1]);
            const vf xhat = (load(a->x, place(a, b, i), x_bf) - mean) * rstd;
            const vf g = load(a->dy, place(a, b, i), y_bf) * w;
            vf v = mask * rstd * (g - sum_g[i] - xhat * sum_gx[i]);
            if (a->add)
                v += load(a->dx, place(a, b, i), x_bf);
            store(a->dx, place(a, b, i), v, x_bf);
        }
    }
}
static void channel_norm_back(const cpu_channel_norm *a)
{
    if (a->x_bf && a->y_bf)
        norm_back_body(a, true, true);
    else if (a->x_bf)
        norm_back_body(a, true, false);
    else if (a->y_bf)
        norm_back_body(a, false, true);
    else
        norm_back_body(a, false, false);
}

/* out (+)= base + scale * x over a plane; base may be NULL. */
INLINE void scale_body(const cpu_plane_scale *a, const bool add, const bool base_bf,
                       const bool x_bf, const bool out_bf)
{
    const vf s = load(a->scale, 0, false);
    for (int64_t i = 0; i < a->hw * VL; i += VL) {
        vf v = s * load(a->x, i, x_bf);
        if (a->base)
            v += load(a->base, i, base_bf);
        if (add)
            v += load(a->out, i, out_bf);
        store(a->out, i, v, out_bf);
    }
}
static void plane_scale(const cpu_plane_scale *a)
{
    if (!a->base_bf && !a->x_bf && !a->out_bf)
        scale_body(a, a->add, false, false, false);
    else if (a->x_bf && a->out_bf && !a->add && !a->base)
        scale_body(a, false, false, true, true);
    else if (!a->base_bf && a->x_bf && !a->out_bf)
        scale_body(a, a->add, false, true, false);
    else
        scale_body(a, a->add, a->base_bf, a->x_bf, a->out_bf);
}
/* The sum of a * b over a plane; a run's sum in float, runs in double. */
INLINE void dot_body(const void *a, const bool a_bf, const void *b, const bool b_bf, int64_t hw,
                     float *out)
{
    vd sum = {0};
    for (int64_t start = 0; start < hw; start += 64) {
        const int64_t end = start + 64 < hw ? start + 64 : hw;
        vf s = {0};
        for (int64_t i = start; i < end; i++)
            s += load(a, i * VL, a_bf) * load(b, i * VL, b_bf);
        sum += to_double(s);
    }
    const vf v = __builtin_convertvector(sum, vf);
    store(out, 0, v, false);
}
static void plane_dot(const void *a, bool a_bf, const void *b, bool b_bf, int64_t hw, float *out)
{
    if (a_bf && b_bf)
        dot_body(a, true, b, true, hw, out);
    else if (a_bf)
        dot_body(a, true, b, false, hw, out);
    else if (b_bf)
        dot_body(a, false, b, true, hw, out);
    else
        dot_body(a, false, b, false, hw, out);
}

void KERNEL(fill_channels)(cpu_kernels *k)
{
    k->channel_norm = channel_norm;
    k->channel_norm_back = channel_norm_back;
    k->plane_scale = plane_scale;
    k->plane_dot = plane_dot;
}
