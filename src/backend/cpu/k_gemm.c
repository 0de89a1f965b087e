/* Products of bfloat16 matrices summed in float, both operands packed by pairs along the sum: what
 * vdpbf16ps adds at once. Results stay in registers over the whole sum. */
#include "kernels.h"
#include "simd.h"
#include "winograd.h"

#ifdef __AVX512BF16__

/* 32 bits: one pair of A for all lanes */
INLINE __m512bh pair(const uint16_t *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return (__m512bh)_mm512_set1_epi32(v);
}
INLINE __m512bh lanes(const uint16_t *p)
{
    return (__m512bh)_mm512_loadu_si512(p);
}

/* c [R][32] = sum over blocks of a [R][8 pairs] and b [8 pairs][32 columns] */
INLINE void rows_by_32(const int R, const uint16_t *a, int64_t a_block, const uint16_t *b,
                       int64_t blocks, float *c)
{
    __m512 x[14], y[14];
#pragma GCC unroll 14
    for (int r = 0; r < R; r++)
        x[r] = y[r] = _mm512_setzero_ps();
    for (int64_t k = 0; k < blocks; k++, a += a_block, b += 8 * 64)
#pragma GCC unroll 8
        for (int p = 0; p < 8; p++) {
            __m512bh b0 = lanes(b + p * 64), b1 = lanes(b + p * 64 + 32);
#pragma GCC unroll 14
            for (int r = 0; r < R; r++) {
                __m512bh v = pair(a + r * 16 + p * 2);
                x[r] = _mm512_dpbf16_ps(x[r], v, b0);
                y[r] = _mm512_dpbf16_ps(y[r], v, b1);
            }
        }
#pragma GCC unroll 14
    for (int r = 0; r < R; r++) {
        _mm512_storeu_ps(c + r * 32, x[r]);
        _mm512_storeu_ps(c + r * 32 + 16, y[r]);
    }
}
#define CASE(n)                                  \
    case n:                                      \
        rows_by_32(n, a, a_block, b, blocks, c); \
        break;
void KERNEL(gemm_rows)(int count, const uint16_t *a, int64_t a_block, const uint16_t *b,
                       int64_t blocks, float *c)
{
    switch (count) {
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
        CASE(5)
        CASE(6)
        CASE(7)
        CASE(8)
        CASE(9)
        CASE(10)
        CASE(11)
        CASE(12)
        CASE(13)
        CASE(14)
    }
}

/* c [8 of 16 rows][16] of one or two column blocks (+)= sum over pairs of a [16 rows] and b [16].
 * What is added to comes last: it may lie far away, and is asked for at the beginning; so is
 * `next`, where the rows of the next product begin. */
INLINE void pairs_8(const int columns, const uint16_t *a, const uint16_t *b, int64_t b_block,
                    int64_t pairs, float *c, int64_t c_block, const bool add, const uint16_t *next)
{
    __m512 x[8], y[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) {
        x[r] = y[r] = _mm512_setzero_ps();
        _mm_prefetch(c + r * 16, _MM_HINT_T0);
        if (columns > 1)
            _mm_prefetch(c + c_block + r * 16, _MM_HINT_T0);
    }
    for (int64_t k = 0; k < pairs; k++, a += 32, b += 32, next += 32) {
        __m512bh b0 = lanes(b), b1 = columns > 1 ? lanes(b + b_block) : b0;
        _mm_prefetch(next, _MM_HINT_T0);
#pragma GCC unroll 8
        for (int r = 0; r < 8; r++) {
            __m512bh v = pair(a + r * 2);
            x[r] = _mm512_dpbf16_ps(x[r], v, b0);
            if (columns > 1)
                y[r] = _mm512_dpbf16_ps(y[r], v, b1);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < 8; r++) {
        if (add)
            x[r] = _mm512_add_ps(_mm512_loadu_ps(c + r * 16), x[r]);
        _mm512_storeu_ps(c + r * 16, x[r]);
        if (columns > 1) {
            if (add)
                y[r] = _mm512_add_ps(_mm512_loadu_ps(c + c_block + r * 16), y[r]);
            _mm512_storeu_ps(c + c_block + r * 16, y[r]);
        }
    }
}
void KERNEL(gemm_pairs)(int columns, const uint16_t *a, const uint16_t *b, int64_t b_block,
                        int64_t pairs, float *c, int64_t c_block, bool add, const uint16_t *next)
{
    if (columns == 1)
        pairs_8(1, a, b, b_block, pairs, c, c_block, add, next);
    else
        pairs_8(2, a, b, b_block, pairs, c, c_block, add, next);
}

#endif
