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

static void mix(uint32_t *out, const float *x, int64_t plane, int64_t channels, int64_t count,
                int64_t step)
{
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < count; i++)
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
INLINE __m512i low_halves(const uint16_t *p)
{
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
static void pairs(uint32_t *out, const uint16_t *a, const uint16_t *b, int64_t count, int64_t step)
{
    for (int64_t i = 0; i < count; i++, out += 16) {
        __m512i v = a ? low_halves(a + i * step * 16) : _mm512_setzero_si512();
        if (b)
            v = _mm512_or_si512(v, _mm512_slli_epi32(low_halves(b + i * step * 16), 16));
        _mm512_storeu_si512(out, v);
    }
}
static void mix_pairs(uint32_t *out, const uint16_t *a, const uint16_t *b, int64_t plane,
                      int64_t channels, int64_t count, int64_t step)
{
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < count; i++)
            out[i * channels + c] = (a ? a[c * plane + i * step] : 0u) |
                                    (b ? (uint32_t)b[c * plane + i * step] << 16 : 0u);
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
