/* Tiles of a weight gradient and the words they read (wgrad.h). */
#include "kernels.h"
#include "simd.h"
#include "wgrad.h"

#ifdef __AVX512F__

INLINE __m512 splat_word(const uint32_t *p)
{
    float v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_ps(v);
}
INLINE __m512 multiply_add(__m512 c, __m512 a, __m512 b, const bool bf)
{
#ifdef __AVX512BF16__
    if (bf)
        return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
#else
    (void)bf;
#endif
    return _mm512_fmadd_ps(a, b, c);
}

/* What is added to comes last: it may lie far away, and is asked for at the beginning. */
INLINE void tile_of(const int R, const int C, const bool bf, const cpu_wgrad_tile *t)
{
    __m512 x[CPU_WGRAD_ROWS], y[CPU_WGRAD_ROWS];
    float *c0 = t->c, *c1 = t->c + t->c_block;
    const int64_t step = t->a_step, block = t->b_block;
    const char *ahead = t->ahead, *const ahead_end = t->ahead_end;
#pragma GCC unroll 14
    for (int r = 0; r < R; r++) {
        x[r] = y[r] = _mm512_setzero_ps();
        _mm_prefetch(c0 + r * 16, _MM_HINT_T0);
        if (C > 1)
            _mm_prefetch(c1 + r * 16, _MM_HINT_T0);
    }
    for (int64_t i = 0; i < t->images; i++)
        for (int64_t l = 0; l < t->lines; l++) {
            const uint32_t *a = t->a + i * t->a_image + l * t->a_line,
                           *b = t->b + i * t->b_image + l * t->b_line, *end = b + t->width * 16;
            for (; b != end; a += step, b += 16) {
                _mm_prefetch(ahead, _MM_HINT_T1);
                ahead = ahead < ahead_end ? ahead + 64 : ahead;
                const __m512 b0 = _mm512_loadu_ps(b), b1 = C > 1 ? _mm512_loadu_ps(b + block) : b0;
#pragma GCC unroll 14
                for (int r = 0; r < R; r++) {
                    const __m512 v = splat_word(a + r);
                    x[r] = multiply_add(x[r], v, b0, bf);
                    if (C > 1)
                        y[r] = multiply_add(y[r], v, b1, bf);
                }
            }
        }
    if (t->add)
#pragma GCC unroll 14
        for (int r = 0; r < R; r++) {
            x[r] = _mm512_add_ps(x[r], _mm512_loadu_ps(c0 + r * 16));
            if (C > 1)
                y[r] = _mm512_add_ps(y[r], _mm512_loadu_ps(c1 + r * 16));
        }
#pragma GCC unroll 14
    for (int r = 0; r < R; r++) {
        _mm512_storeu_ps(c0 + r * 16, x[r]);
        if (C > 1)
            _mm512_storeu_ps(c1 + r * 16, y[r]);
    }
}
#define CASE(n, bf)               \
    case n:                       \
        if (columns > 1)          \
            tile_of(n, 2, bf, t); \
        else                      \
            tile_of(n, 1, bf, t); \
        break;
#define CASES(bf) \
    CASE(1, bf)   \
    CASE(2, bf)   \
    CASE(3, bf)   \
    CASE(4, bf)   \
    CASE(5, bf)   \
    CASE(6, bf)   \
    CASE(7, bf)   \
    CASE(8, bf)   \
    CASE(9, bf)   \
    CASE(10, bf)  \
    CASE(11, bf)  \
    CASE(12, bf)  \
    CASE(13, bf)  \
    CASE(14, bf)
static void tile(int rows, int columns, const cpu_wgrad_tile *t)
{
    switch (rows) {
        CASES(false)
    }
}

/* Pixels of three planes, 16 of each, one after the other. Word l of vector k is plane (16 k + l)
 * mod 3 of pixel (16 k + l) / 3: of the first two planes by one choice (the second's begin at 16),
 * of the third by another. */
INLINE void mix_three(uint32_t *out, const __m512i v[3])
{
    static const int32_t two[3][16] = {{0, 16, 0, 1, 17, 1, 2, 18, 2, 3, 19, 3, 4, 20, 4, 5},
                                       {21, 5, 6, 22, 6, 7, 23, 7, 8, 24, 8, 9, 25, 9, 10, 26},
                                       {10, 11, 27, 11, 12, 28, 12, 13, 29, 13, 14, 30, 14, 15, 31,
                                        15}},
                         third[3][16] = {
                             {0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5},
                             {5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10},
                             {10, 11, 11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15}};
    static const __mmask16 of_third[3] = {0x4924, 0x2492, 0x9249};
#pragma GCC unroll 3
    for (int k = 0; k < 3; k++) {
        const __m512i w = _mm512_permutex2var_epi32(v[0], _mm512_loadu_si512(two[k]), v[1]);
        _mm512_storeu_si512(out + 16 * k, _mm512_mask_permutexvar_epi32(
                                              w, of_third[k], _mm512_loadu_si512(third[k]), v[2]));
    }
}
static void mix(uint32_t *out, const float *x, int64_t plane, int64_t channels, int64_t count,
                int64_t step)
{
    int64_t done = 0;
    if (channels == 3 && step == 1)
        for (; done + 16 <= count; done += 16) {
            __m512i v[3];
            for (int c = 0; c < 3; c++)
                v[c] = _mm512_loadu_si512(x + c * plane + done);
            mix_three(out + done * 3, v);
        }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = done; i < count; i++)
            memcpy(out + i * channels + c, x + c * plane + i * step, sizeof *out);
}
static void add(float *out, const float *in, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] += in[i];
}

#ifdef __AVX512BF16__
static void tile_pairs(int rows, int columns, const cpu_wgrad_tile *t)
{
    switch (rows) {
        CASES(true)
    }
}
INLINE __m512i halves(const uint16_t *p)
{
    return p ? _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p))
             : _mm512_setzero_si512();
}
INLINE __m512i two_halves(const uint16_t *a, const uint16_t *b)
{
    return _mm512_or_si512(halves(a), _mm512_slli_epi32(halves(b), 16));
}
static void pairs(uint32_t *out, const uint16_t *a, const uint16_t *b, int64_t count, int64_t step)
{
    for (int64_t i = 0; i < count; i++, out += 16)
        _mm512_storeu_si512(out,
                            two_halves(a ? a + i * step * 16 : NULL, b ? b + i * step * 16 : NULL));
}
static void mix_pairs(uint32_t *out, const uint16_t *a, const uint16_t *b, int64_t plane,
                      int64_t channels, int64_t count, int64_t step)
{
    int64_t done = 0;
    if (channels == 3 && step == 1)
        for (; done + 16 <= count; done += 16) {
            __m512i v[3];
            for (int c = 0; c < 3; c++)
                v[c] = two_halves(a ? a + c * plane + done : NULL, b ? b + c * plane + done : NULL);
            mix_three(out + done * 3, v);
        }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = done; i < count; i++) {
            const int64_t at = c * plane + i * step;
            out[i * channels + c] = (a ? a[at] : 0u) | (b ? (uint32_t)b[at] << 16 : 0u);
        }
}
#endif

const cpu_wgrad_kernels *KERNEL(wgrad_kernels)(void)
{
    static const cpu_wgrad_kernels kernels = {
        .tile = tile,
        .mix = mix,
        .add = add,
#ifdef __AVX512BF16__
        .tile_pairs = tile_pairs,
        .pairs = pairs,
        .mix_pairs = mix_pairs,
#endif
    };
    return &kernels;
}

#else

const cpu_wgrad_kernels *KERNEL(wgrad_kernels)(void)
{
    return NULL;
}

#endif
