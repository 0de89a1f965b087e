/* The register tile of a matrix product and the packing of its operands (kernels.h).
 *
 * Six rows by four vectors (two where there are sixteen registers) are summed in registers over the
 * whole depth: no partial sum is ever stored, and how the tiles are shared out changes no result.
 */
#include "kernels.h"
#include "simd.h"

#ifdef __AVX512F__
#define VECTORS 4
#else
#define VECTORS 2
#endif
#define COLS (VECTORS * VL)

INLINE vu load_words(const uint32_t *p)
{
    vu v;
    memcpy(&v, p, sizeof v);
    return v;
}
INLINE void store_words(uint32_t *p, vu v)
{
    memcpy(p, &v, sizeof v);
}

/* The compiler would rather load a vector again for every row than hold it. */
#ifdef __AVX512F__
#define HOLD(v) __asm__("" : "+v"(v))
#else
#define HOLD(v) (void)(v)
#endif

/* acc + a * b; a word of bf16 is two products */
INLINE vf multiply_add(vf acc, vu a, vu b, const bool bf)
{
#ifdef __AVX512BF16__
    if (bf)
        return (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)a, (__m512bh)b);
#endif
    (void)bf;
    return acc + (vf)a * (vf)b;
}

INLINE void depth_step(vf acc[6][VECTORS], const uint32_t *a, int64_t a_row, const uint32_t *b,
                       const int rows, const bool bf)
{
    vu bv[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) {
        bv[v] = load_words(b + v * VL);
        HOLD(bv[v]);
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        vu av = a[r * a_row] - (vu){0};
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            acc[r][v] = multiply_add(acc[r][v], av, bv[v], bf);
    }
}

INLINE void tile_body(const cpu_tile *t, float *c, const int rows, const bool bf)
{
    vf acc[6][VECTORS];
    const uint32_t *a = t->a, *b = t->b;
    const int64_t a_row = t->a_row, a_step = t->a_step;
    int64_t ahead = t->ahead_lines < t->depth ? t->ahead_lines : t->depth, d = 0;
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            acc[r][v] = splat(0);
    for (; d < ahead; d++, a += a_step, b += COLS) {
        const int64_t at = (d >> 2) * t->ahead_stride + (d & 3) * 64;
        for (int i = 0; i < t->aheads; i++)
            __builtin_prefetch(t->ahead[i] + at, 0, 2);
        depth_step(acc, a, a_row, b, rows, bf);
    }
    for (; d < t->depth; d++, a += a_step, b += COLS)
        depth_step(acc, a, a_row, b, rows, bf);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            store(c, r * COLS + v * VL, acc[r][v], false);
}
INLINE void tile_rows(const cpu_tile *t, int rows, float *c, const bool bf)
{
    switch (rows) {
    case 6:
        tile_body(t, c, 6, bf);
        break;
    case 5:
        tile_body(t, c, 5, bf);
        break;
    case 4:
        tile_body(t, c, 4, bf);
        break;
    case 3:
        tile_body(t, c, 3, bf);
        break;
    case 2:
        tile_body(t, c, 2, bf);
        break;
    default:
        tile_body(t, c, 1, bf);
        break;
    }
}
static void tile(const cpu_tile *t, int rows, float *c, bool bf)
{
    if (bf)
        tile_rows(t, rows, c, true);
    else
        tile_rows(t, rows, c, false);
}

/* ---- packing ---- */

/* VL elements of a row as 16 (32) bits a lane in the compute type; those from n on are 0. */
INLINE vf take(const void *p, int64_t i, int64_t n, bool bf)
{
    return n >= VL ? load(p, i, bf) : n > 0 ? load_part(p, i, (int)n, bf) : splat(0);
}
INLINE vu pair(vf even, vf odd)
{
    return __builtin_convertvector(narrow(even), vu) | __builtin_convertvector(narrow(odd), vu)
                                                           << 16;
}

INLINE void pack_rows_body(uint32_t *out, int64_t out_step, const cpu_pack *s, const bool src_bf,
                           const bool bf)
{
    const size_t size = src_bf ? 2 : 4;
    const int64_t per = bf ? 2 : 1;
    for (int64_t d = 0; d < s->depth; d += per, out += out_step) {
        const char *row = (const char *)s->src + (size_t)(d * s->stride) * size,
                   *next = row + (size_t)s->stride * size;
        for (int64_t c = 0; c < s->room; c += VL) {
            vf even = take(row, c, s->cols - c, src_bf);
            if (bf) {
                vf odd = d + 1 < s->depth ? take(next, c, s->cols - c, src_bf) : splat(0);
                store_words(out + c, pair(even, odd));
            } else {
                store(out, c, even, false);
            }
        }
    }
}
static void pack_rows(uint32_t *out, int64_t out_step, const cpu_pack *s, bool src_bf, bool bf)
{
    if (bf && src_bf)
        pack_rows_body(out, out_step, s, true, true);
    else if (bf)
        pack_rows_body(out, out_step, s, false, true);
    else
        pack_rows_body(out, out_step, s, false, false);
}

/* Two vectors' lanes in turn, lower or upper half: log2(VL) rounds of it transpose a square. */
#if VL == 16
#define LOWER                                                  \
    (vi)                                                       \
    {                                                          \
        0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23 \
    }
#define UPPER                                                        \
    (vi)                                                             \
    {                                                                \
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31 \
    }
#define ROUNDS 4
#else
#define LOWER                    \
    (vi)                         \
    {                            \
        0, 8, 1, 9, 2, 10, 3, 11 \
    }
#define UPPER                      \
    (vi)                           \
    {                              \
        4, 12, 5, 13, 6, 14, 7, 15 \
    }
#define ROUNDS 3
#endif
INLINE void transpose(vu x[VL])
{
#pragma GCC unroll 4
    for (int round = 0; round < ROUNDS; round++) {
        vu y[VL];
#pragma GCC unroll 8
        for (int i = 0; i < VL / 2; i++) {
            y[2 * i] = __builtin_shuffle(x[i], x[i + VL / 2], LOWER);
            y[2 * i + 1] = __builtin_shuffle(x[i], x[i + VL / 2], UPPER);
        }
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++)
            x[i] = y[i];
    }
}
/* VL words of a row from element i on, of which n elements are left. */
INLINE vu words_of(const float *row, int64_t i, int64_t n, const bool bf)
{
    if (!bf)
        return (vu)take(row, i, n, false);
#ifdef __AVX512BF16__
    vf low = take(row, i, n, false), high = take(row, i + VL, n - VL, false);
    return (vu)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
#else
    return (vu){0};
#endif
}
INLINE void pack_columns_body(uint32_t *out, int64_t out_step, const cpu_pack *s, const bool bf)
{
    const int64_t per = bf ? 2 : 1, words = (s->depth + per - 1) / per;
    for (int64_t c = 0; c < s->room; c += VL)
        for (int64_t w = 0; w < words; w += VL) {
            vu x[VL];
#pragma GCC unroll 16
            for (int64_t r = 0; r < VL; r++)
                x[r] = c + r < s->cols ? words_of((const float *)s->src + (c + r) * s->stride,
                                                  w * per, s->depth - w * per, bf)
                                       : (vu){0};
            transpose(x);
            if (words - w >= VL)
#pragma GCC unroll 16
                for (int64_t r = 0; r < VL; r++)
                    store_words(out + (w + r) * out_step + c, x[r]);
            else
                for (int64_t r = 0; r < words - w; r++)
                    store_words(out + (w + r) * out_step + c, x[r]);
        }
}
static void pack_columns(uint32_t *out, int64_t out_step, const cpu_pack *s, bool bf)
{
    if (bf)
        pack_columns_body(out, out_step, s, true);
    else
        pack_columns_body(out, out_step, s, false);
}

/* ---- what becomes of a row of a tile ---- */
INLINE void tile_store_body(void *out, const float *c, const float *bias, int64_t count,
                            const bool bf, const bool add)
{
    for (int64_t i = 0; i < count; i += VL) {
        int64_t n = count - i;
        vf v = load(c, i, false);
        if (bias)
            v += take(bias, i, n, false);
        if (add)
            v += take(out, i, n, bf);
        if (n >= VL)
            store(out, i, v, bf);
        else
            store_part(out, i, (int)n, v, bf);
    }
}
static void tile_store(void *out, bool bf, const float *c, const float *bias, int64_t count,
                       bool add)
{
    if (bf)
        tile_store_body(out, c, bias, count, true, add);
    else
        tile_store_body(out, c, bias, count, false, add);
}

void KERNEL(fill_linear)(cpu_kernels *k)
{
    k->tile_cols = COLS;
    k->tile = tile;
    k->tile_store = tile_store;
    k->pack_rows = pack_rows;
    k->pack_columns = pack_columns;
}
