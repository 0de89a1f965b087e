/* Pooling of one plane [h * w][block]. */
#include "kernels.h"
#include "simd.h"

#if VL == 16
typedef uint8_t vb __attribute__((vector_size(16)));
#else
typedef uint8_t vb __attribute__((vector_size(8)));
#endif

/* One window's maximum; rows ky0..ky1 and columns kx0..kx1 of it lie inside the image. */
INLINE void window_max(const cpu_pool *p, const void *x, int64_t corner, int ky0, int ky1, int kx0,
                       int kx1, const int kernel, const bool bf, vf *best, vi *place)
{
    vf b = splat(-INFINITY);
    vi w = isplat(ky0 * kernel + kx0);
    for (int ky = ky0; ky < ky1; ky++)
        for (int kx = kx0; kx < kx1; kx++) {
            vf v = load(x, (corner + ky * p->w + kx) * VL, bf);
            vi take = (v > b) | (v != v);
            b = select_vf(take, v, b);
            w = (take & isplat(ky * kernel + kx)) | (~take & w);
        }
    *best = b;
    *place = w;
}
INLINE void max_pool_body(const cpu_pool *p, const void *x, void *y, uint8_t *index,
                          const int kernel, const bool bf)
{
    for (int64_t oy = 0; oy < p->oh; oy++) {
        int64_t y0 = oy * p->stride - p->pad;
        int ky0 = y0 < 0 ? (int)-y0 : 0;
        int ky1 = y0 + kernel > p->h ? (int)(p->h - y0) : kernel;
        for (int64_t ox = 0; ox < p->ow; ox++) {
            int64_t x0 = ox * p->stride - p->pad, o = (oy * p->ow + ox) * VL;
            vf best;
            vi place;
            if (ky1 - ky0 == kernel && x0 >= 0 && x0 + kernel <= p->w)
                window_max(p, x, y0 * p->w + x0, 0, kernel, 0, kernel, kernel, bf, &best, &place);
            else
                window_max(p, x, y0 * p->w + x0, ky0, ky1, x0 < 0 ? (int)-x0 : 0,
                           x0 + kernel > p->w ? (int)(p->w - x0) : kernel, kernel, bf, &best,
                           &place);
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
    if (p->kernel == 3 && p->bf)
        max_pool_body(p, x, y, index, 3, true);
    else if (p->kernel == 3)
        max_pool_body(p, x, y, index, 3, false);
    else if (p->bf)
        max_pool_body(p, x, y, index, p->kernel, true);
    else
        max_pool_body(p, x, y, index, p->kernel, false);
}

/* row[ix] += dy of every window of output row oy whose maximum is at (its row ky, column ix). */
INLINE void back_row(const cpu_pool *p, const void *dy, const uint8_t *index, int64_t oy, int ky,
                     float *row, const int kernel, const bool bf)
{
    for (int64_t ox = 0; ox < p->ow; ox++) {
        int64_t x0 = ox * p->stride - p->pad, o = (oy * p->ow + ox) * VL;
        const vf g = load(dy, o, bf);
        vb b;
        memcpy(&b, index + o, sizeof b);
        const vi place = __builtin_convertvector(b, vi) - ky * kernel;
        for (int kx = 0; kx < kernel; kx++) {
            if (x0 + kx < 0 || x0 + kx >= p->w)
                continue;
            vf sum = load(row, (x0 + kx) * VL, false) + (vf)((vi)g & (place == kx));
            store(row, (x0 + kx) * VL, sum, false);
        }
    }
}
/* An input row at a time: it is summed in float, in the order of the windows that cover it. */
INLINE void max_pool_back_body(const cpu_pool *p, const void *dy, const uint8_t *index, void *dx,
                               bool add, float *row, const int kernel, const bool bf)
{
    for (int64_t iy = 0; iy < p->h; iy++) {
        const int64_t at = iy * p->w * VL, first = iy + p->pad - kernel + 1;
        if (add)
            for (int64_t i = 0; i < p->w * VL; i += VL)
                store(row, i, load(dx, at + i, bf), false);
        else
            memset(row, 0, (size_t)(p->w * VL) * sizeof(float));
        for (int64_t oy = first <= 0 ? 0 : (first + p->stride - 1) / p->stride;
             oy < p->oh && oy * p->stride <= iy + p->pad; oy++)
            back_row(p, dy, index, oy, (int)(iy + p->pad - oy * p->stride), row, kernel, bf);
        for (int64_t i = 0; i < p->w * VL; i += VL)
            store(dx, at + i, load(row, i, false), bf);
    }
}
static void max_pool_back(const cpu_pool *p, const void *dy, const uint8_t *index, void *dx,
                          bool add, float *row)
{
    if (p->kernel == 3 && p->bf)
        max_pool_back_body(p, dy, index, dx, add, row, 3, true);
    else if (p->kernel == 3)
        max_pool_back_body(p, dy, index, dx, add, row, 3, false);
    else if (p->bf)
        max_pool_back_body(p, dy, index, dx, add, row, p->kernel, true);
    else
        max_pool_back_body(p, dy, index, dx, add, row, p->kernel, false);
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
