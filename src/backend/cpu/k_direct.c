/* Register tiles of direct convolutions (direct.h): each word of weights meets up to 14 pixels,
 * each word of a pixel 32 output channels. */
#include "direct.h"
#include "simd.h"

#ifdef __AVX512F__

/* Of the pixels of a tile, whose sums are registers then. Not with a sanitizer: a check of every
 * load takes the compiler minutes. */
#ifdef __SANITIZE_ADDRESS__
#define UNROLL _Pragma("GCC unroll 1")
#else
#define UNROLL _Pragma("GCC unroll 14")
#endif

INLINE __m512 word(const char *p)
{
    float v;
    memcpy(&v, p, sizeof v);
    return _mm512_set1_ps(v);
}
INLINE __m512 product(__m512 sum, __m512 a, __m512 b, const bool bf)
{
#ifdef __AVX512BF16__
    if (bf)
        return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
#endif
    (void)bf;
    return _mm512_fmadd_ps(a, b, sum);
}

/* Sums of pixels [lo, hi) of each line under one tap. Their addresses are few bases and multiples
 * of the step: all stay in registers. */
#define TAP(lo, hi)                                                                       \
    do {                                                                                  \
        const char *base[6];                                                              \
        for (int s = 0; s < S; s++)                                                       \
            for (int g = 0; g < GROUPS; g++)                                              \
                base[s * GROUPS + g] = x[s] + t->tap[c] + 5 * g * step;                   \
        for (int64_t k = 0; k < t->steps; k++) {                                          \
            const __m512 b0 = _mm512_loadu_ps(w + k * 64),                                \
                         b1 = N > 1 ? _mm512_loadu_ps(w + t->w_second + k * 64) : b0;     \
            UNROLL for (int r = 0; r < S * L; r++)                                        \
            {                                                                             \
                const int p = r % L;                                                      \
                if (p < (lo) || p >= (hi))                                                \
                    continue;                                                             \
                const __m512 a = word(base[r / L * GROUPS + p / 5] + k * 4 + off[p % 5]); \
                u[r] = product(u[r], a, b0, bf);                                          \
                if (N > 1)                                                                \
                    v[r] = product(v[r], a, b1, bf);                                      \
            }                                                                             \
        }                                                                                 \
    } while (0)

/* S lines of L pixels, N blocks of output channels */
INLINE void tile(const cpu_direct_tile *t, const int S, const int N, const int L, const bool bf)
{
    enum { MOST = CPU_DIRECT_PIXELS };
    const int GROUPS = (L + 4) / 5;
    const int64_t step = t->x_step, off[5] = {0, step, 2 * step, 3 * step, 4 * step};
    __m512 u[MOST], v[MOST];
    UNROLL
    for (int r = 0; r < S * L; r++)
        u[r] = v[r] = _mm512_setzero_ps();
    for (int64_t b = 0; b < t->blocks; b++)
        for (int64_t row = 0; row < t->rows; row++) {
            const char *w = t->w + b * t->w_block + row * t->w_row;
            const int64_t at = b * t->x_block + row * t->x_row;
            const char *x[2] = {t->x[0] + at, S > 1 ? t->x[1] + at : NULL};
            for (int64_t c = 0; c < t->taps; c++, w += t->steps * 64)
                switch (t->edge[c]) {
                case CPU_EDGE_ALL:
                    TAP(0, L);
                    break;
                case CPU_EDGE_NOT_FIRST:
                    TAP(1, L);
                    break;
                case CPU_EDGE_NOT_LAST:
                    TAP(0, L - 1);
                    break;
                default:
                    break;
                }
        }
    const vf zero = {0}, bias0 = t->bias ? load(t->bias, 0, false) : zero,
             bias1 = t->bias && N > 1 ? load(t->bias, 16, false) : zero;
    UNROLL
    for (int r = 0; r < S * L; r++) {
        char *y = t->y[r / L] + r % L * t->y_step, *z = y + t->y_second;
        const vf a = (vf)u[r] + bias0, b = (vf)v[r] + bias1;
        store(y, 0, t->add ? load(y, 0, bf) + a : a, bf);
        if (N > 1)
            store(z, 0, t->add ? load(z, 0, bf) + b : b, bf);
    }
}

#define TILE(S, N, L, type, bf)                                         \
    static void tile_##type##_##S##_##N##_##L(const cpu_direct_tile *t) \
    {                                                                   \
        tile(t, S, N, L, bf);                                           \
    }
/* clang-format off */
#define HALF(X, S, N, ...)                                                                   \
    X(S, N, 1, __VA_ARGS__) X(S, N, 2, __VA_ARGS__) X(S, N, 3, __VA_ARGS__)                  \
    X(S, N, 4, __VA_ARGS__) X(S, N, 5, __VA_ARGS__) X(S, N, 6, __VA_ARGS__)                  \
    X(S, N, 7, __VA_ARGS__)
#define REST(X, N, ...)                                                                      \
    X(1, N, 8, __VA_ARGS__) X(1, N, 9, __VA_ARGS__) X(1, N, 10, __VA_ARGS__)                 \
    X(1, N, 11, __VA_ARGS__) X(1, N, 12, __VA_ARGS__) X(1, N, 13, __VA_ARGS__)               \
    X(1, N, 14, __VA_ARGS__)
#define TILES(X, ...)                                                                        \
    HALF(X, 1, 1, __VA_ARGS__) HALF(X, 1, 2, __VA_ARGS__) HALF(X, 2, 1, __VA_ARGS__)         \
    HALF(X, 2, 2, __VA_ARGS__) REST(X, 1, __VA_ARGS__) REST(X, 2, __VA_ARGS__)
/* clang-format on */
#define ENTRY(S, N, L, type, bf) .tile[bf][S - 1][N - 1][L] = tile_##type##_##S##_##N##_##L,

TILES(TILE, f32, 0)
#ifdef __AVX512BF16__
TILES(TILE, bf16, 1)
#endif

/* Swaps the off-diagonal quarters of ever smaller squares. */
static void turn(const float *w, float *out)
{
    __m512 r[16];
    for (int i = 0; i < 16; i++)
        r[i] = _mm512_loadu_ps(w + i * 16);
    for (int d = 8; d > 0; d /= 2) {
        int32_t upper[16], lower[16];
        for (int l = 0; l < 16; l++) {
            upper[l] = l & d ? 16 + l - d : l;
            lower[l] = l & d ? 16 + l : l + d;
        }
        const __m512i up = _mm512_loadu_si512(upper), low = _mm512_loadu_si512(lower);
        for (int i = 0; i < 16; i++)
            if (!(i & d)) {
                const __m512 a = r[i], b = r[i + d];
                r[i] = _mm512_permutex2var_ps(a, up, b);
                r[i + d] = _mm512_permutex2var_ps(a, low, b);
            }
    }
    for (int i = 0; i < 16; i++)
        _mm512_storeu_ps(out + i * 16, r[i]);
}
static void pairs(const float *w, int64_t rows, uint16_t *out)
{
    for (int64_t i = 0; i < rows; i += 2, out += 32) {
        const vf zero = {0}, a = load(w, i * 16, false),
                 b = i + 1 < rows ? load(w, i * 16 + 16, false) : zero;
        const vu low = __builtin_convertvector(narrow(a), vu),
                 high = __builtin_convertvector(narrow(b), vu), both = low | high << 16;
        memcpy(out, &both, sizeof both);
    }
}

#define WEAVE(type)                                                                           \
    INLINE void weave_##type(const type *x, const int channels, int64_t plane, int64_t width, \
                             type *out)                                                       \
    {                                                                                         \
        for (int64_t i = 0; i < width; i++)                                                   \
            for (int c = 0; c < channels; c++)                                                \
                out[i * channels + c] = x[c * plane + i];                                     \
    }                                                                                         \
    static void weave_row_##type(const type *x, int channels, int64_t plane, int64_t width,   \
                                 int64_t before, int64_t count, type *out)                    \
    {                                                                                         \
        const int64_t room = (count - before) / channels;                                     \
        width = width < room ? width : room;                                                  \
        const int64_t end = before + width * channels;                                        \
        memset(out, 0, (size_t)before * sizeof *out);                                         \
        memset(out + end, 0, (size_t)(count - end) * sizeof *out);                            \
        if (channels == 3)                                                                    \
            weave_##type(x, 3, plane, width, out + before);                                   \
        else                                                                                  \
            weave_##type(x, channels, plane, width, out + before);                            \
    }
WEAVE(uint16_t)
WEAVE(uint32_t)
static void weave(const void *x, bool bf, int channels, int64_t plane, int64_t width,
                  int64_t before, int64_t count, void *out)
{
    if (bf)
        weave_row_uint16_t(x, channels, plane, width, before, count, out);
    else
        weave_row_uint32_t(x, channels, plane, width, before, count, out);
}

const cpu_direct_kernels *KERNEL(direct_kernels)(void)
{
    static const cpu_direct_kernels kernels = {
        TILES(ENTRY, f32, 0)
#ifdef __AVX512BF16__
            TILES(ENTRY, bf16, 1)
#endif
                .turn = turn,
        .pairs = pairs,
        .weave = weave,
    };
    return &kernels;
}

#else

const cpu_direct_kernels *KERNEL(direct_kernels)(void)
{
    return NULL;
}

#endif
