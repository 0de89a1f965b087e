/* The row pass with the byte dot products of AVX-512 VNNI: sixteen taps of RGB at once. A 22-bit
 * weight is three signed bytes, k = a * 2^16 + b * 2^8 + c with b and c in -128..127, each summed
 * exactly; the three sums meet modulo 2^32, where the true sum fits. The column pass is AVX2's: it
 * is a small part.
 */
#include "resize_priv.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdlib.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vnni")))

enum { STEP = 16 }; /* taps */

/* Of one step of one output: byte j of word 4 g + channel is the weight of tap 4 g + j. */
typedef struct weights {
    __m512i a, b, c;
} weights;

TARGET static void set_step(const int32_t *k, int taps, int step, weights *out)
{
    union {
        int8_t bytes[64];
        __m512i v;
    } part[3] = {{{0}}, {{0}}, {{0}}};
    for (int i = 0; i < STEP && STEP * step + i < taps; i++) {
        int32_t v = k[STEP * step + i];
        int8_t c = (int8_t)(v & 255);
        v = (v - c) >> 8;
        int8_t b = (int8_t)(v & 255);
        int8_t a = (int8_t)((v - b) >> 8);
        for (int channel = 0; channel < 3; channel++) {
            int at = i / 4 * 16 + channel * 4 + i % 4;
            part[0].bytes[at] = a;
            part[1].bytes[at] = b;
            part[2].bytes[at] = c;
        }
    }
    *out = (weights){part[0].v, part[1].v, part[2].v};
}

/* 16 pixels at p -> in each 16-byte lane four pixels, channel-wise: RRRR GGGG BBBB 0000. */
TARGET static inline __m512i pixels16(const uint8_t *p, __m512i order)
{
    return _mm512_maskz_permutexvar_epi8(0x0fff0fff0fff0fffu, order,
                                         _mm512_loadu_si512((const void *)p));
}

TARGET static __m512i make_order(void)
{
    union {
        uint8_t bytes[64];
        __m512i v;
    } u;
    for (int i = 0; i < 64; i++)
        u.bytes[i] = (uint8_t)((i / 16 * 4 + i % 4) * 3 + i % 16 / 4 % 3);
    return u.v;
}

/* One output pixel: in every lane the sums (R, G, B, 0) of its taps. */
TARGET static inline __m512i sum_taps(const weights *w, size_t steps, const uint8_t *p,
                                      __m512i order)
{
    __m512i a = _mm512_setzero_si512(), b = a, c = a;
    for (size_t s = 0; s < steps; s++, p += 3 * STEP) {
        __m512i v = pixels16(p, order);
        a = _mm512_dpbusd_epi32(a, v, w[s].a);
        b = _mm512_dpbusd_epi32(b, v, w[s].b);
        c = _mm512_dpbusd_epi32(c, v, w[s].c);
    }
    return _mm512_add_epi32(_mm512_slli_epi32(_mm512_add_epi32(_mm512_slli_epi32(a, 8), b), 8), c);
}

TARGET static inline __m512i add_lanes(__m512i x, __m512i y)
{
    return _mm512_add_epi32(_mm512_shuffle_i32x4(x, y, 0x88), _mm512_shuffle_i32x4(x, y, 0xdd));
}

/* The sums of four output pixels -> 12 bytes, 16 stored. */
TARGET static inline void store4(__m512i v0, __m512i v1, __m512i v2, __m512i v3, uint8_t *out)
{
    __m512i sums = add_lanes(add_lanes(v0, v1), add_lanes(v2, v3));
    sums = _mm512_srai_epi32(_mm512_add_epi32(sums, _mm512_set1_epi32(1 << 21)), 22);
    sums = _mm512_max_epi32(sums, _mm512_setzero_si512());
    __m128i bytes = _mm512_cvtusepi32_epi8(sums);
    const __m128i pack = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    _mm_storeu_si128((__m128i *)(void *)out, _mm_shuffle_epi8(bytes, pack));
}

typedef struct block {
    const uint8_t *in;
    size_t in_stride;
    uint8_t *out;
    size_t out_stride;
    int rows;
} block;

/* Four output pixels of a block of rows. */
TARGET static void four(const weights *w, size_t steps, const size_t lo[4], __m512i order, block b)
{
    for (int y = 0; y < b.rows; y++, b.in += b.in_stride, b.out += b.out_stride)
        store4(sum_taps(w, steps, b.in + lo[0], order),
               sum_taps(w + steps, steps, b.in + lo[1], order),
               sum_taps(w + 2 * steps, steps, b.in + lo[2], order),
               sum_taps(w + 3 * steps, steps, b.in + lo[3], order), b.out);
}

/* The same for up to 16 taps, where the weights stay in registers. */
TARGET static void four_narrow(const weights *w, const size_t lo[4], __m512i order, block b)
{
    const weights w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
    const size_t lo0 = lo[0], lo1 = lo[1], lo2 = lo[2], lo3 = lo[3];
    for (int y = 0; y < b.rows; y++, b.in += b.in_stride, b.out += b.out_stride)
        store4(sum_taps(&w0, 1, b.in + lo0, order), sum_taps(&w1, 1, b.in + lo1, order),
               sum_taps(&w2, 1, b.in + lo2, order), sum_taps(&w3, 1, b.in + lo3, order), b.out);
}

/* The last output fills its quad up: its copies are stored behind the row. */
static inline size_t at_most(size_t o, const sc_resize_axis *a)
{
    return o < (size_t)a->m ? o : (size_t)a->m - 1;
}

/* All weights first; then a few rows at a time, which stay in the first cache while the weights
 * pass. */
TARGET static void avx512_rows(const sc_resize_axis *a, const uint8_t *src, size_t src_stride,
                               int rows, uint8_t *dst, size_t dst_stride)
{
    enum { BLOCK = 8 };
    size_t steps = ((size_t)a->taps + STEP - 1) / STEP, quads = ((size_t)a->m + 3) / 4;
    weights *w = NULL;
    if (rows == 0)
        return;
    if (posix_memalign((void **)&w, 64, quads * 4 * steps * sizeof *w) != 0) {
        sc_resize_plain.rows(a, src, src_stride, rows, dst, dst_stride);
        return;
    }
    for (size_t o = 0; o < quads * 4; o++)
        for (size_t s = 0; s < steps; s++)
            set_step(a->k + at_most(o, a) * (size_t)a->stride, a->taps, (int)s, &w[o * steps + s]);
    __m512i order = make_order();
    for (int y = 0; y < rows; y += BLOCK)
        for (size_t o = 0; o < quads * 4; o += 4) {
            size_t lo[4];
            for (size_t i = 0; i < 4; i++)
                lo[i] = 3 * (size_t)a->lo[at_most(o + i, a)];
            block b = {src + (size_t)y * src_stride, src_stride,
                       dst + (size_t)y * dst_stride + 3 * o, dst_stride,
                       rows - y < BLOCK ? rows - y : BLOCK};
            if (steps == 1)
                four_narrow(w + o, lo, order, b);
            else
                four(w + o * steps, steps, lo, order, b);
        }
    free(w);
}

static void avx512_columns(const sc_resize_axis *a, const uint8_t *src, size_t src_stride,
                           size_t bytes, uint8_t *dst, size_t dst_stride)
{
    sc_resize_avx2.columns(a, src, src_stride, bytes, dst, dst_stride);
}

/* slack: 15 taps of padding and the 16 bytes that a load reads more; taps: what AVX2's columns
 * allow. */
const sc_resize_kernels sc_resize_avx512 = {"avx512", avx512_rows, avx512_columns, 64, 4096};
#endif
