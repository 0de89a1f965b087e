/* clang-format off */
/* Winograd's transforms between bfloat16 planes [h * w][16] and the 16 positions of a tile, in float up
 * to one rounding. d: 4 x 4 pixels, tiles overlapping by 2; g: 3 x 3 weights; y: 2 x 2 results.
 *     V = B^T d B    U = G g G^T    y = A^T M A    Z = A y A^T    dg = G^T P G
 *     B^T = 1  0 -1  0    G = 1    0    0      A^T = 1  1  1  0
 *           0  1  1  0        1/2  1/2  1/2          0  1 -1  1
 *           0 -1  1  0        1/2 -1/2  1/2
 *           0 -1  0  1        0    0    1
 * (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, section 4.1, with the other sign in
 * the last row of B^T and the last column of A^T, so that Z needs no negation.)
 */
/* clang-format on */
#include "kernels.h"
#include "simd.h"
#include "winograd.h"

#ifdef __AVX512BF16__

INLINE __m512 wide(__m256i h)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
INLINE __m512 load_bf(const uint16_t *p)
{
    return wide(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
INLINE __m256i round_bf(__m512 v)
{
    return (__m256i)_mm512_cvtneps_pbh(v);
}
/* lo in the first 16 elements, hi behind them */
INLINE __m512i round_two(__m512 lo, __m512 hi)
{
    return (__m512i)_mm512_cvtne2ps_pbh(hi, lo);
}
/* lo and hi by turns: the order in which vdpbf16ps adds pairs */
INLINE __m512i round_pairs(__m512 lo, __m512 hi)
{
    const __m512i turns =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(turns, round_two(lo, hi));
}

/* How the tiles of a run are stored: one behind the other, 16 channels each, or two by turns.
 * `place` is the tile's number in its block; a pair begins at an even one. */
typedef struct target {
    uint16_t *to;
    int64_t step; /* elements from one of the 16 positions to the next */
    bool pairs;
} target;

INLINE void put_two(const target t, int position, int64_t place, __m512 a, __m512 b)
{
    uint16_t *to = t.to + position * t.step + place * 16;
    _mm512_storeu_si512(to, t.pairs ? round_pairs(a, b) : round_two(a, b));
}
/* A tile alone: the first of a pair (the second may stay 0 for ever) or the second. */
INLINE void put_one(const target t, int position, int64_t place, __m512 a)
{
    uint16_t *to = t.to + position * t.step + place * 16;
    __m256i h = round_bf(a);
    if (!t.pairs) {
        _mm256_storeu_si256((__m256i *)(void *)to, h);
    } else if (place % 2 == 0) {
        _mm512_storeu_si512(to, _mm512_cvtepu16_epi32(h));
    } else {
        to -= 16;
        __m512i other = _mm512_loadu_si512(to);
        __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16);
        _mm512_storeu_si512(to, _mm512_or_si512(other, high));
    }
}

/* ---- V ---- */
typedef struct rows {
    const uint16_t *p[4];
    int64_t step[4]; /* 16, or 0 for a row of zeros */
    int64_t w;
} rows;

static const uint16_t zeros[16];

/* B^T times column x of the four rows */
INLINE void input_column(const rows *r, int64_t x, __m512 c[4])
{
    if (x < 0 || x >= r->w) {
        c[0] = c[1] = c[2] = c[3] = _mm512_setzero_ps();
        return;
    }
    __m512 d0 = load_bf(r->p[0] + x * r->step[0]), d1 = load_bf(r->p[1] + x * r->step[1]);
    __m512 d2 = load_bf(r->p[2] + x * r->step[2]), d3 = load_bf(r->p[3] + x * r->step[3]);
    c[0] = _mm512_sub_ps(d0, d2);
    c[1] = _mm512_add_ps(d1, d2);
    c[2] = _mm512_sub_ps(d2, d1);
    c[3] = _mm512_sub_ps(d3, d1);
}
INLINE void input_run(const cpu_wino_run *r, const target t, int64_t place)
{
    rows in = {.w = r->w};
    for (int j = 0; j < 4; j++) {
        int64_t y = 2 * r->ty - 1 + j;
        bool inside = y >= 0 && y < r->h;
        in.p[j] = inside ? (const uint16_t *)r->plane + y * r->w * 16 : zeros;
        in.step[j] = inside ? 16 : 0;
    }
    int64_t x = 2 * r->tx - 1, end = place + r->count;
    __m512 c0[4], c1[4], c2[4], c3[4], c4[4], c5[4];
    input_column(&in, x, c0);
    input_column(&in, x + 1, c1);
    if (t.pairs && place % 2) {
        input_column(&in, x + 2, c2);
        input_column(&in, x + 3, c3);
#pragma GCC unroll 4
        for (int a = 0; a < 4; a++) {
            put_one(t, 4 * a, place, _mm512_sub_ps(c0[a], c2[a]));
            put_one(t, 4 * a + 1, place, _mm512_add_ps(c1[a], c2[a]));
            put_one(t, 4 * a + 2, place, _mm512_sub_ps(c2[a], c1[a]));
            put_one(t, 4 * a + 3, place, _mm512_sub_ps(c3[a], c1[a]));
            c0[a] = c2[a];
            c1[a] = c3[a];
        }
        x += 2;
        place++;
    }
    for (; place + 1 < end; place += 2, x += 4) {
        input_column(&in, x + 2, c2);
        input_column(&in, x + 3, c3);
        input_column(&in, x + 4, c4);
        input_column(&in, x + 5, c5);
#pragma GCC unroll 4
        for (int a = 0; a < 4; a++) {
            put_two(t, 4 * a, place, _mm512_sub_ps(c0[a], c2[a]), _mm512_sub_ps(c2[a], c4[a]));
            put_two(t, 4 * a + 1, place, _mm512_add_ps(c1[a], c2[a]), _mm512_add_ps(c3[a], c4[a]));
            put_two(t, 4 * a + 2, place, _mm512_sub_ps(c2[a], c1[a]), _mm512_sub_ps(c4[a], c3[a]));
            put_two(t, 4 * a + 3, place, _mm512_sub_ps(c3[a], c1[a]), _mm512_sub_ps(c5[a], c3[a]));
            c0[a] = c4[a];
            c1[a] = c5[a];
        }
    }
    if (place < end) {
        input_column(&in, x + 2, c2);
        input_column(&in, x + 3, c3);
#pragma GCC unroll 4
        for (int a = 0; a < 4; a++) {
            put_one(t, 4 * a, place, _mm512_sub_ps(c0[a], c2[a]));
            put_one(t, 4 * a + 1, place, _mm512_add_ps(c1[a], c2[a]));
            put_one(t, 4 * a + 2, place, _mm512_sub_ps(c2[a], c1[a]));
            put_one(t, 4 * a + 3, place, _mm512_sub_ps(c3[a], c1[a]));
        }
    }
}
static void wino_input(const cpu_wino_run *r, uint16_t *v, int64_t step, int64_t place)
{
    input_run(r, (target){v, step, false}, place);
}
static void wino_input_pairs(const cpu_wino_run *r, uint16_t *v, int64_t step, int64_t place)
{
    input_run(r, (target){v, step, true}, place);
}

/* ---- Z ---- */
INLINE __m512 pixel(const uint16_t *row, int64_t x, int64_t w)
{
    return row && x < w ? load_bf(row + x * 16) : _mm512_setzero_ps();
}
/* A times the two rows of column x */
INLINE void gradient_column(const uint16_t *const row[2], int64_t x, int64_t w, __m512 c[4])
{
    c[0] = pixel(row[0], x, w);
    c[3] = pixel(row[1], x, w);
    c[1] = _mm512_add_ps(c[0], c[3]);
    c[2] = _mm512_sub_ps(c[0], c[3]);
}
static void wino_gradient_pairs(const cpu_wino_run *r, uint16_t *to, int64_t step, int64_t place)
{
    const target t = {to, step, true};
    const uint16_t *first = (const uint16_t *)r->plane + 2 * r->ty * r->w * 16;
    const uint16_t *const row[2] = {first, 2 * r->ty + 1 < r->h ? first + r->w * 16 : NULL};
    int64_t x = 2 * r->tx, end = place + r->count;
    __m512 a[4], b[4], c[4], d[4];
    while (place < end) {
        gradient_column(row, x, r->w, a);
        gradient_column(row, x + 1, r->w, b);
        if (place % 2 == 0 && place + 1 < end) {
            gradient_column(row, x + 2, r->w, c);
            gradient_column(row, x + 3, r->w, d);
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) {
                put_two(t, 4 * k, place, a[k], c[k]);
                put_two(t, 4 * k + 1, place, _mm512_add_ps(a[k], b[k]), _mm512_add_ps(c[k], d[k]));
                put_two(t, 4 * k + 2, place, _mm512_sub_ps(a[k], b[k]), _mm512_sub_ps(c[k], d[k]));
                put_two(t, 4 * k + 3, place, b[k], d[k]);
            }
            place += 2;
            x += 4;
        } else {
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) {
                put_one(t, 4 * k, place, a[k]);
                put_one(t, 4 * k + 1, place, _mm512_add_ps(a[k], b[k]));
                put_one(t, 4 * k + 2, place, _mm512_sub_ps(a[k], b[k]));
                put_one(t, 4 * k + 3, place, b[k]);
            }
            place++;
            x += 2;
        }
    }
}

/* ---- y ---- */
INLINE __m512i add_two(const uint16_t *p, __m512 a, __m512 b)
{
    return round_two(_mm512_add_ps(load_bf(p), a), _mm512_add_ps(load_bf(p + 16), b));
}
INLINE void output_run(const cpu_wino_run *r, const float *m, int64_t step, int64_t tile,
                       const bool add)
{
    uint16_t *plane = r->plane;
    for (int64_t k = 0; k < r->count; k++, m += tile) {
        int64_t y = 2 * r->ty, x = 2 * (r->tx + k);
        uint16_t *to = plane + (y * r->w + x) * 16;
        __m512 s[2][4];
#pragma GCC unroll 4
        for (int b = 0; b < 4; b++) {
            __m512 m0 = _mm512_loadu_ps(m + b * step), m1 = _mm512_loadu_ps(m + (4 + b) * step);
            __m512 m2 = _mm512_loadu_ps(m + (8 + b) * step);
            __m512 m3 = _mm512_loadu_ps(m + (12 + b) * step);
            s[0][b] = _mm512_add_ps(m0, _mm512_add_ps(m1, m2));
            s[1][b] = _mm512_add_ps(_mm512_sub_ps(m1, m2), m3);
        }
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++, to += r->w * 16) {
            if (y + j >= r->h)
                break;
            __m512 a = _mm512_add_ps(s[j][0], _mm512_add_ps(s[j][1], s[j][2]));
            __m512 b = _mm512_add_ps(_mm512_sub_ps(s[j][1], s[j][2]), s[j][3]);
            if (x + 1 < r->w)
                _mm512_storeu_si512(to, add ? add_two(to, a, b) : round_two(a, b));
            else
                _mm256_storeu_si256((__m256i *)(void *)to,
                                    round_bf(add ? _mm512_add_ps(load_bf(to), a) : a));
        }
    }
}
static void wino_output(const cpu_wino_run *r, const float *m, int64_t step, int64_t tile, bool add)
{
    if (add)
        output_run(r, m, step, tile, true);
    else
        output_run(r, m, step, tile, false);
}

/* ---- U ---- */
/* G times three values */
INLINE void weight_column(__m512 g0, __m512 g1, __m512 g2, __m512 u[4])
{
    const __m512 half = _mm512_set1_ps(0.5f);
    __m512 outer = _mm512_mul_ps(half, _mm512_add_ps(g0, g2)), inner = _mm512_mul_ps(half, g1);
    u[0] = g0;
    u[1] = _mm512_add_ps(outer, inner);
    u[2] = _mm512_sub_ps(outer, inner);
    u[3] = g2;
}
/* w: nine vectors of 16 columns, `stride` floats apart; the last first when `turned` */
INLINE void weight_tile(const float *w, int64_t stride, bool turned, __m512 u[16])
{
    __m512 g[9], t[3][4];
    for (int k = 0; k < 9; k++)
        g[k] = _mm512_loadu_ps(w + (turned ? 8 - k : k) * stride);
    for (int x = 0; x < 3; x++)
        weight_column(g[x], g[3 + x], g[6 + x], t[x]);
    for (int a = 0; a < 4; a++)
        weight_column(t[0][a], t[1][a], t[2][a], u + 4 * a);
}
/* w [9][16][16] -> 8 pairs of rows [2 columns' block apart: row][16][2] in each position */
static void wino_weights(const float *w, bool turned, uint16_t *to, int64_t step, int64_t row)
{
    float across[9 * 256];
    if (turned) {
        for (int k = 0; k < 9; k++)
            for (int i = 0; i < 16; i++)
                for (int o = 0; o < 16; o++)
                    across[k * 256 + o * 16 + i] = w[k * 256 + i * 16 + o];
        w = across;
    }
    for (int i = 0; i < 16; i += 2) {
        __m512 a[16], b[16];
        weight_tile(w + i * 16, 256, turned, a);
        weight_tile(w + i * 16 + 16, 256, turned, b);
        for (int k = 0; k < 16; k++)
            _mm512_storeu_si512(to + k * step + i / 2 * row, round_pairs(a[k], b[k]));
    }
}

/* ---- dg ---- */
/* G^T times four values */
INLINE void back_column(__m512 p0, __m512 p1, __m512 p2, __m512 p3, __m512 g[3])
{
    const __m512 half = _mm512_set1_ps(0.5f);
    __m512 sum = _mm512_mul_ps(half, _mm512_add_ps(p1, p2));
    g[0] = _mm512_add_ps(p0, sum);
    g[1] = _mm512_mul_ps(half, _mm512_sub_ps(p1, p2));
    g[2] = _mm512_add_ps(sum, p3);
}
/* p [16 positions][16][16] -> dw [9][16][16] */
static void wino_weight_gradient(const float *p, int64_t step, float *dw)
{
    for (int i = 0; i < 16; i++) {
        __m512 t[4][3], g[3];
        for (int b = 0; b < 4; b++)
            back_column(_mm512_loadu_ps(p + b * step + i * 16),
                        _mm512_loadu_ps(p + (4 + b) * step + i * 16),
                        _mm512_loadu_ps(p + (8 + b) * step + i * 16),
                        _mm512_loadu_ps(p + (12 + b) * step + i * 16), t[b]);
        for (int y = 0; y < 3; y++) {
            back_column(t[0][y], t[1][y], t[2][y], t[3][y], g);
            for (int x = 0; x < 3; x++)
                _mm512_storeu_ps(dw + (3 * y + x) * 256 + i * 16, g[x]);
        }
    }
}

const cpu_wino_kernels *KERNEL(wino_kernels)(void)
{
    static const cpu_wino_kernels kernels = {
        .input = wino_input,
        .input_pairs = wino_input_pairs,
        .gradient_pairs = wino_gradient_pairs,
        .output = wino_output,
        .weights = wino_weights,
        .weight_gradient = wino_weight_gradient,
        .gemm_rows = KERNEL(gemm_rows),
        .gemm_pairs = KERNEL(gemm_pairs),
    };
    return &kernels;
}

#else

const cpu_wino_kernels *KERNEL(wino_kernels)(void)
{
    return NULL;
}

#endif
