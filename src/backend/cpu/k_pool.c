/* Pooling of one plane [h * w][block]. */
#include "kernels.h"
#include "simd.h"

#if VL == 16
typedef uint8_t vb __attribute__((vector_size(16)));
#else
typedef uint8_t vb __attribute__((vector_size(8)));
#endif

INLINE void max_pool_body(const cpu_pool *p, const void *x, void *y, uint8_t *index, const bool bf)
{
    for (int64_t oy = 0; oy < p->oh; oy++) {
        int64_t y0 = oy * p->stride - p->pad;
        int ky0 = y0 < 0 ? (int)-y0 : 0;
        int ky1 = y0 + p->kernel > p->h ? (int)(p->h - y0) : p->kernel;
        for (int64_t ox = 0; ox < p->ow; ox++) {
            int64_t x0 = ox * p->stride - p->pad;
            int kx0 = x0 < 0 ? (int)-x0 : 0;
            int kx1 = x0 + p->kernel > p->w ? (int)(p->w - x0) : p->kernel;
            vf best = splat(-INFINITY);
            vi place = isplat(ky0 * p->kernel + kx0);
            for (int ky = ky0; ky < ky1; ky++)
                for (int kx = kx0; kx < kx1; kx++) {
                    vf v = load(x, ((y0 + ky) * p->w + x0 + kx) * VL, bf);
                    vi take = (v > best) | (v != v);
                    best = select_vf(take, v, best);
                    place = (take & isplat(ky * p->kernel + kx)) | (~take & place);
                }
            int64_t o = (oy * p->ow + ox) * VL;
            store(y, o, best, bf);
            if (index) {
                vb b = __builtin_convertvector(place, vb);
                memcpy(index + o, &b, sizeof b);
            }
        }
    }
}
static void max_pool(const cpu_pool *p, const void *x, void *y, uint8_t *index)
{
    if (p->bf)
        max_pool_body(p, x, y, index, true);
    else
        max_pool_body(p, x, y, index, false);
}

/* The windows that cover input coordinate i: first <= o <= last. */
INLINE void windows(int64_t i, const cpu_pool *p, int64_t count, int64_t *first, int64_t *last)
{
    int64_t a = i + p->pad - p->kernel + 1, b = (i + p->pad) / p->stride;
    *first = a <= 0 ? 0 : (a + p->stride - 1) / p->stride;
    *last = b < count ? b : count - 1;
}
INLINE void max_pool_back_body(const cpu_pool *p, const void *dy, const uint8_t *index, void *dx,
                               const bool add, const bool bf)
{
    for (int64_t iy = 0; iy < p->h; iy++) {
        int64_t oy0, oy1;
        windows(iy, p, p->oh, &oy0, &oy1);
        for (int64_t ix = 0; ix < p->w; ix++) {
            int64_t ox0, ox1, at = (iy * p->w + ix) * VL;
            windows(ix, p, p->ow, &ox0, &ox1);
            vf sum = add ? load(dx, at, bf) : splat(0.0f);
            for (int64_t oy = oy0; oy <= oy1; oy++)
                for (int64_t ox = ox0; ox <= ox1; ox++) {
                    int64_t o = (oy * p->ow + ox) * VL;
                    int32_t place = (int32_t)((iy + p->pad - oy * p->stride) * p->kernel + ix +
                                              p->pad - ox * p->stride);
                    vb b;
                    memcpy(&b, index + o, sizeof b);
                    vi mine = __builtin_convertvector(b, vi) == place;
                    sum += (vf)((vi)load(dy, o, bf) & mine);
                }
            store(dx, at, sum, bf);
        }
    }
}
static void max_pool_back(const cpu_pool *p, const void *dy, const uint8_t *index, void *dx,
                          bool add)
{
    if (p->bf)
        max_pool_back_body(p, dy, index, dx, add, true);
    else
        max_pool_back_body(p, dy, index, dx, add, false);
}

INLINE void plane_mean_body(const void *x, int64_t hw, float *mean, const bool bf)
{
    vd sum = {0};
    for (int64_t start = 0; start < hw; start += 64) {
        int64_t end = start + 64 < hw ? start + 64 : hw;
        vf s = {0};
        for (int64_t i = start; i < end; i++)
            s += load(x, i * VL, bf);
        sum += to_double(s);
    }
    vf m = __builtin_convertvector(sum / (double)hw, vf);
    memcpy(mean, &m, sizeof m);
}
static void plane_mean(const void *x, int64_t hw, bool bf, float *mean)
{
    if (bf)
        plane_mean_body(x, hw, mean, true);
    else
        plane_mean_body(x, hw, mean, false);
}

INLINE void plane_fill_body(void *x, int64_t hw, const float *value, const bool add, const bool bf)
{
    vf v = load(value, 0, false);
    for (int64_t i = 0; i < hw; i++)
        store(x, i * VL, add ? load(x, i * VL, bf) + v : v, bf);
}
static void plane_fill(void *x, int64_t hw, bool bf, const float *value, bool add)
{
    if (bf)
        plane_fill_body(x, hw, value, add, true);
    else
        plane_fill_body(x, hw, value, add, false);
}

void KERNEL(fill_pool)(cpu_kernels *k)
{
    k->max_pool = max_pool;
    k->max_pool_back = max_pool_back;
    k->plane_mean = plane_mean;
    k->plane_fill = plane_fill;
}
