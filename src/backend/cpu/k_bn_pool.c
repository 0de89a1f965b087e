/* BatchNorm, ReLU and max-pool of one plane [h * w][block] as one pass each way. What is pooled is
 * x itself: the function in between is monotone in a channel, so that the largest x of a window
 * (the smallest, where the channel's weight is negative; the first, where it is 0) becomes its
 * maximum. A NaN wins its window only in evaluation: in training it is in the statistics already.
 */
#include "kernels.h"
#include "simd.h"

#if VL == 16
typedef uint8_t vb __attribute__((vector_size(16)));
#else
typedef uint8_t vb __attribute__((vector_size(8)));
#endif

/* Lanes of a comparison, and a window's places as they are counted. */
#ifdef __AVX512BW__
typedef __mmask16 lanes;
typedef __m128i places;
INLINE lanes equal(vf a, vf b)
{
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
}
INLINE vf larger(vf a, vf b)
{
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
}
INLINE vf choose(lanes l, vf a, vf b)
{
    return (vf)_mm512_mask_mov_ps((__m512)b, l, (__m512)a);
}
INLINE places place_at(int place)
{
    return _mm_set1_epi8((char)place);
}
INLINE places set_place(places p, lanes l, int place)
{
    return _mm_mask_mov_epi8(p, l, _mm_set1_epi8((char)place));
}
INLINE void store_places(uint8_t *to, places p)
{
    memcpy(to, &p, sizeof p);
}
/* g where a window's maximum is at `place`, else 0 */
INLINE vf where(vf g, const uint8_t *index, int place)
{
    __m128i b;
    memcpy(&b, index, sizeof b);
    return (vf)_mm512_maskz_mov_ps(_mm_cmpeq_epi8_mask(b, _mm_set1_epi8((char)place)), (__m512)g);
}
#else
typedef vi lanes, places;
INLINE lanes equal(vf a, vf b)
{
    return a == b;
}
INLINE vf larger(vf a, vf b)
{
    return select_vf(a > b, a, b);
}
INLINE vf choose(lanes l, vf a, vf b)
{
    return select_vf(l, a, b);
}
INLINE places place_at(int place)
{
    return isplat(place);
}
INLINE places set_place(places p, lanes l, int place)
{
    return (l & isplat(place)) | (~l & p);
}
INLINE void store_places(uint8_t *to, places p)
{
    vb b = __builtin_convertvector(p, vb);
    memcpy(to, &b, sizeof b);
}
INLINE vf where(vf g, const uint8_t *index, int place)
{
    vb b;
    memcpy(&b, index, sizeof b);
    return (vf)((vi)g & (__builtin_convertvector(b, vi) == place));
}
#endif

/* ---- forward ---- */
/* A window: its first pixel, and the rows and columns of it that lie inside the image. */
typedef struct window {
    int64_t corner;
    int ky0, ky1, kx0, kx1;
} window;

INLINE vf evaluate(const cpu_pool *p, const void *x, const window *w, vf sign, const bool bf)
{
    vf key = splat(-INFINITY), value = splat(0);
    for (int ky = w->ky0; ky < w->ky1; ky++)
        for (int kx = w->kx0; kx < w->kx1; kx++) {
            vf v = load(x, (w->corner + ky * p->w + kx) * VL, bf), k = v * sign;
            vi take = (k > key) | (k != k);
            key = select_vf(take, k, key);
            value = select_vf(take, v, value);
        }
    return value;
}
/* The largest first, then its place: the first of its equals. */
INLINE vf train(const cpu_pool *p, const void *x, const window *w, vf sign, const int kernel,
                const bool bf, places *place)
{
    const vf first = load(x, (w->corner + w->ky0 * p->w + w->kx0) * VL, bf);
    vf key = first * sign;
    for (int ky = w->ky0; ky < w->ky1; ky++)
        for (int kx = w->kx0; kx < w->kx1; kx++)
            key = larger(load(x, (w->corner + ky * p->w + kx) * VL, bf) * sign, key);
    const int start = w->ky0 * kernel + w->kx0;
    *place = place_at(start);
    for (int ky = w->ky1 - 1; ky >= w->ky0; ky--)
        for (int kx = w->kx1 - 1; kx >= w->kx0; kx--) {
            lanes here = equal(load(x, (w->corner + ky * p->w + kx) * VL, bf) * sign, key);
            *place = set_place(*place, here, ky * kernel + kx);
        }
    const lanes none = equal(sign, splat(0));
    *place = set_place(*place, none, start);
    return choose(none, first, key * sign);
}
INLINE void pool_body(const cpu_pool *p, const void *x, const float *signs, void *best,
                      uint8_t *index, const int kernel, const bool bf)
{
    const vf sign = load(signs, 0, false);
    for (int64_t oy = 0; oy < p->oh; oy++) {
        const int64_t y0 = oy * p->stride - p->pad;
        const int ky0 = y0 < 0 ? (int)-y0 : 0;
        const int ky1 = y0 + kernel > p->h ? (int)(p->h - y0) : kernel;
        for (int64_t ox = 0; ox < p->ow; ox++) {
            const int64_t x0 = ox * p->stride - p->pad, o = (oy * p->ow + ox) * VL;
            const window whole = {y0 * p->w + x0, 0, kernel, 0, kernel};
            const window part = {whole.corner, ky0, ky1, x0 < 0 ? (int)-x0 : 0,
                                 x0 + kernel > p->w ? (int)(p->w - x0) : kernel};
            vf value;
            places place;
            if (!index) {
                value = evaluate(p, x, &part, sign, bf);
            } else {
                if (part.ky1 - part.ky0 == kernel && part.kx1 - part.kx0 == kernel)
                    value = train(p, x, &whole, sign, kernel, bf, &place);
                else
                    value = train(p, x, &part, sign, kernel, bf, &place);
                store_places(index + o, place);
            }
            store(best, o, value, bf);
        }
    }
}
static void bn_pool(const cpu_pool *p, const void *x, const float *sign, void *best, uint8_t *index)
{
    if (p->kernel == 3 && p->bf)
        pool_body(p, x, sign, best, index, 3, true);
    else if (p->kernel == 3)
        pool_body(p, x, sign, best, index, 3, false);
    else if (p->bf)
        pool_body(p, x, sign, best, index, p->kernel, true);
    else
        pool_body(p, x, sign, best, index, p->kernel, false);
}

/* ---- backward ---- */
typedef struct back {
    const cpu_bn_back *a;
    const cpu_pool *p;
    const uint8_t *index;
} back;

INLINE vf arriving(const cpu_bn_back *a, int64_t o, const bool bf)
{
    return keep_bits(load(a->dy, o * VL, bf), ((const lane_bits *)a->mask)[o]);
}
/* row[ix] += dy of every window of output row oy whose maximum is at (its row ky, column ix). */
INLINE void back_row(const back *b, int64_t oy, int ky, float *row, const bool bf)
{
    const cpu_pool *p = b->p;
    for (int64_t ox = 0; ox < p->ow; ox++) {
        const int64_t x0 = ox * p->stride - p->pad, o = oy * p->ow + ox;
        const vf g = arriving(b->a, o, bf);
        for (int kx = 0; kx < p->kernel; kx++) {
            if (x0 + kx < 0 || x0 + kx >= p->w)
                continue;
            vf sum =
                load(row, (x0 + kx) * VL, false) + where(g, b->index + o * VL, ky * p->kernel + kx);
            store(row, (x0 + kx) * VL, sum, false);
        }
    }
}
/* The same for windows of 3 and stride 2, of which the first begins a pixel before the row: even
 * columns have one window, odd ones two. first: row is not filled yet. */
INLINE void back_row_3_2(const back *b, int64_t oy, int ky, float *row, const bool first,
                         const bool bf)
{
    const cpu_pool *p = b->p;
    const int64_t o = oy * p->ow;
    vf g = arriving(b->a, o, bf);
    for (int64_t ox = 0; ox < p->ow; ox++) {
        const uint8_t *index = b->index + (o + ox) * VL;
        vf even = where(g, index, ky * 3 + 1), odd = where(g, index, ky * 3 + 2);
        if (ox + 1 < p->ow) {
            g = arriving(b->a, o + ox + 1, bf);
            odd += where(g, index + VL, ky * 3);
        }
        if (!first)
            even += load(row, 2 * ox * VL, false);
        store(row, 2 * ox * VL, even, false);
        if (2 * ox + 1 == p->w)
            break;
        if (!first)
            odd += load(row, (2 * ox + 1) * VL, false);
        store(row, (2 * ox + 1) * VL, odd, false);
    }
}
INLINE void finish_row(const cpu_bn_back *a, int64_t at, int64_t width, const float *row,
                       const bool bf, const bool past)
{
    const vf mean = load(a->mean, 0, false), scale = load(a->scale, 0, false),
             mean_dy = load(a->mean_dy, 0, false), slope = load(a->slope, 0, false);
    for (int64_t i = 0; i < width * VL; i += VL) {
        vf v = scale * (load(row, i, false) - mean_dy - (load(a->x, at + i, bf) - mean) * slope);
        if (a->add_dx)
            v += load(a->dx, at + i, bf);
        if (past)
            stream(a->dx, at + i, v, bf);
        else
            store(a->dx, at + i, v, bf);
    }
}
INLINE void pool_back_body(const back *b, float *row, const bool quick, const bool bf,
                           const bool past)
{
    const cpu_pool *p = b->p;
    for (int64_t iy = 0; iy < p->h; iy++) {
        const int64_t begin = iy + p->pad - p->kernel + 1;
        int64_t oy = begin <= 0 ? 0 : (begin + p->stride - 1) / p->stride;
        if (quick) {
            back_row_3_2(b, oy, (int)(iy + 1 - oy * 2), row, true, bf);
            if (++oy < p->oh && oy * 2 <= iy + 1)
                back_row_3_2(b, oy, (int)(iy + 1 - oy * 2), row, false, bf);
        } else {
            memset(row, 0, (size_t)(p->w * VL) * sizeof(float));
            for (; oy < p->oh && oy * p->stride <= iy + p->pad; oy++)
                back_row(b, oy, (int)(iy + p->pad - oy * p->stride), row, bf);
        }
        finish_row(b->a, iy * p->w * VL, p->w, row, bf, past);
    }
    if (past)
        drain();
}
static void bn_pool_back(const cpu_bn_back *a, const cpu_pool *p, const uint8_t *index, float *row)
{
    const back b = {a, p, index};
    const bool quick = p->kernel == 3 && p->stride == 2 && p->pad == 1;
    if (quick && a->stream && p->bf)
        pool_back_body(&b, row, true, true, true);
    else if (quick && a->stream)
        pool_back_body(&b, row, true, false, true);
    else if (quick && p->bf)
        pool_back_body(&b, row, true, true, false);
    else if (quick)
        pool_back_body(&b, row, true, false, false);
    else if (p->bf)
        pool_back_body(&b, row, false, true, false);
    else
        pool_back_body(&b, row, false, false, false);
}

void KERNEL(fill_bn_pool)(cpu_kernels *k)
{
    k->bn_pool = bn_pool;
    k->bn_pool_back = bn_pool_back;
}
