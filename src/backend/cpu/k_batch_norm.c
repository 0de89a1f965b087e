/* BatchNorm over one plane [hw][block]. */
#include "kernels.h"
#include "simd.h"

/* Pixels whose two passes (mean, then squared deviations) stay in the first-level cache. */
#define CHUNK 256

INLINE void stats_body(const void *x, int64_t hw, cpu_plane_stats *out, const bool bf)
{
    vd mean = {0}, m2 = {0};
    for (int64_t start = 0; start < hw; start += CHUNK) {
        int64_t n = hw - start < CHUNK ? hw - start : CHUNK, at = start * VL;
        vf s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
        int64_t i = 0;
        for (; i + 4 <= n; i += 4) {
            s0 += load(x, at + i * VL, bf);
            s1 += load(x, at + (i + 1) * VL, bf);
            s2 += load(x, at + (i + 2) * VL, bf);
            s3 += load(x, at + (i + 3) * VL, bf);
        }
        for (; i < n; i++)
            s0 += load(x, at + i * VL, bf);
        vf local = ((s0 + s1) + (s2 + s3)) / splat((float)n);
        vf d, q0 = {0}, q1 = {0}, r = {0};
        for (i = 0; i + 2 <= n; i += 2) {
            d = load(x, at + i * VL, bf) - local;
            q0 += d * d;
            r += d;
            d = load(x, at + (i + 1) * VL, bf) - local;
            q1 += d * d;
            r += d;
        }
        for (; i < n; i++) {
            d = load(x, at + i * VL, bf) - local;
            q0 += d * d;
            r += d;
        }
        /* r is what rounding left of the sum of deviations: it corrects mean and m2 (Chan et al.)
         */
        double nd = (double)n, before = (double)start, all = before + nd;
        vd rd = to_double(r), chunk_mean = to_double(local) + rd / nd;
        vd chunk_m2 = to_double(q0 + q1) - rd * rd / nd;
        vd delta = chunk_mean - mean;
        mean += delta * (nd / all);
        m2 += chunk_m2 + delta * delta * (before * nd / all);
    }
    memcpy(out->mean, &mean, sizeof mean);
    memcpy(out->m2, &m2, sizeof m2);
}
static void bn_stats(const void *x, int64_t hw, bool bf, cpu_plane_stats *out)
{
    if (bf)
        stats_body(x, hw, out, true);
    else
        stats_body(x, hw, out, false);
}

INLINE void apply_body(const cpu_bn_apply *a, const bool bf, const bool residual, const bool relu,
                       const bool mask, const bool past)
{
    const vf mean = load(a->mean, 0, false), scale = load(a->scale, 0, false),
             shift = load(a->shift, 0, false);
    lane_bits *bits = a->mask;
    for (int64_t i = 0; i < a->hw; i++) {
        vf v = (load(a->x, i * VL, bf) - mean) * scale + shift;
        if (residual)
            v += load(a->residual, i * VL, bf);
        if (mask)
            bits[i] = positive_bits(v);
        if (relu)
            v = select_vf(v <= 0, splat(0.0f), v); /* NaN passes through */
        if (past)
            stream(a->y, i * VL, v, bf);
        else
            store(a->y, i * VL, v, bf);
    }
}
INLINE void apply_typed(const cpu_bn_apply *a, const bool bf, const bool past)
{
    if (!a->relu) {
        if (a->residual)
            apply_body(a, bf, true, false, false, past);
        else
            apply_body(a, bf, false, false, false, past);
    } else if (a->mask) {
        if (a->residual)
            apply_body(a, bf, true, true, true, past);
        else
            apply_body(a, bf, false, true, true, past);
    } else {
        apply_body(a, bf, a->residual != NULL, true, false, past);
    }
}
static void bn_apply(const cpu_bn_apply *a)
{
    if (a->stream) {
        if (a->bf)
            apply_typed(a, true, true);
        else
            apply_typed(a, false, true);
        drain();
    } else if (a->bf) {
        apply_typed(a, true, false);
    } else {
        apply_typed(a, false, false);
    }
}

INLINE void back_sums_body(const cpu_bn_back *a, cpu_plane_sums *out, const bool bf,
                           const bool mask)
{
    const vf mean = load(a->mean, 0, false), rstd = load(a->rstd, 0, false);
    const lane_bits *bits = a->mask;
    vd sum = {0}, dot = {0};
    for (int64_t start = 0; start < a->hw; start += CHUNK) {
        int64_t end = start + CHUNK < a->hw ? start + CHUNK : a->hw;
        vf s0 = {0}, s1 = {0}, p0 = {0}, p1 = {0};
        int64_t i = start;
        for (; i + 2 <= end; i += 2) {
            vf g0 = load(a->dy, i * VL, bf), g1 = load(a->dy, (i + 1) * VL, bf);
            if (mask) {
                g0 = keep_bits(g0, bits[i]);
                g1 = keep_bits(g1, bits[i + 1]);
            }
            s0 += g0;
            s1 += g1;
            p0 += g0 * (load(a->x, i * VL, bf) - mean);
            p1 += g1 * (load(a->x, (i + 1) * VL, bf) - mean);
        }
        if (i < end) {
            vf g = load(a->dy, i * VL, bf);
            if (mask)
                g = keep_bits(g, bits[i]);
            s0 += g;
            p0 += g * (load(a->x, i * VL, bf) - mean);
        }
        sum += to_double(s0 + s1);
        dot += to_double(p0 + p1);
    }
    dot *= to_double(rstd);
    memcpy(out->dy, &sum, sizeof sum);
    memcpy(out->dyx, &dot, sizeof dot);
}
static void bn_back_sums(const cpu_bn_back *a, cpu_plane_sums *out)
{
    if (a->bf) {
        if (a->mask)
            back_sums_body(a, out, true, true);
        else
            back_sums_body(a, out, true, false);
    } else if (a->mask) {
        back_sums_body(a, out, false, true);
    } else {
        back_sums_body(a, out, false, false);
    }
}

/* At most one of the two results is streamed: dx. */
INLINE void back_apply_body(const cpu_bn_back *a, const bool bf, const bool mask, const bool dx,
                            const bool residual, const bool past)
{
    const vf mean = load(a->mean, 0, false), scale = load(a->scale, 0, false),
             mean_dy = load(a->mean_dy, 0, false), slope = load(a->slope, 0, false);
    const lane_bits *bits = a->mask;
    const bool add_dx = a->add_dx, add_residual = a->add_dresidual;
    for (int64_t i = 0; i < a->hw; i++) {
        vf g = load(a->dy, i * VL, bf);
        if (mask)
            g = keep_bits(g, bits[i]);
        if (dx) {
            vf v = scale * (g - mean_dy - (load(a->x, i * VL, bf) - mean) * slope);
            if (add_dx)
                v += load(a->dx, i * VL, bf);
            if (past)
                stream(a->dx, i * VL, v, bf);
            else
                store(a->dx, i * VL, v, bf);
        }
        if (residual) {
            if (add_residual)
                g += load(a->dresidual, i * VL, bf);
            store(a->dresidual, i * VL, g, bf);
        }
    }
}
INLINE void back_apply_typed(const cpu_bn_back *a, const bool bf, const bool past)
{
    if (a->dx && !a->dresidual) {
        if (a->mask)
            back_apply_body(a, bf, true, true, false, past);
        else
            back_apply_body(a, bf, false, true, false, past);
    } else if (a->dx) {
        back_apply_body(a, bf, a->mask != NULL, true, true, past);
    } else if (a->dresidual) {
        back_apply_body(a, bf, a->mask != NULL, false, true, false);
    }
}
static void bn_back_apply(const cpu_bn_back *a)
{
    if (a->stream) {
        if (a->bf)
            back_apply_typed(a, true, true);
        else
            back_apply_typed(a, false, true);
        drain();
    } else if (a->bf) {
        back_apply_typed(a, true, false);
    } else {
        back_apply_typed(a, false, false);
    }
}

void KERNEL(fill_batch_norm)(cpu_kernels *k)
{
    k->bn_stats = bn_stats;
    k->bn_apply = bn_apply;
    k->bn_back_sums = bn_back_sums;
    k->bn_back_apply = bn_back_apply;
}
