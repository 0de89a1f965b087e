/* The gradient of convolution weights against a plain loop, over fixed and drawn shapes, in float
 * and in bfloat16. Operands are small integers, so every sum is exact in any order and the results
 * must be equal; scratch and result begin as NaN, so that nothing stale is used and nothing is left
 * out. Then any number of threads, to the same bytes; and the bias.
 */
#include "kernels.h"
#include "wgrad.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DRAWN 160
#define WHOLE 3000000.0 /* multiplications up to which every element is checked, else: */
#define SAMPLES 300

/* Units of several images and of rows of one, halves of an odd image, slices, groups of channel
 * blocks either way, rows of taps in several tiles. */
static const cpu_wgrad_shape layers[] = {
    {.n = 9, .ci = 4, .co = 4, .h = 40, .w = 33, .kernel = 3, .stride = 1, .pad = 1},
    {.n = 2, .ci = 9, .co = 10, .h = 29, .w = 30, .kernel = 3, .stride = 2, .pad = 1},
    {.n = 12, .ci = 17, .co = 19, .h = 7, .w = 7, .kernel = 3, .stride = 1, .pad = 1},
    {.n = 5, .ci = 20, .co = 37, .h = 14, .w = 14, .kernel = 1, .stride = 1},
    {.n = 7, .ci = 5, .co = 8, .h = 15, .w = 13, .kernel = 1, .stride = 2},
    {.n = 3, .ci = 1, .co = 4, .planes = 3, .h = 61, .w = 64, .kernel = 7, .stride = 2, .pad = 3},
    {.n = 3, .ci = 1, .co = 7, .planes = 3, .h = 48, .w = 48, .kernel = 16, .stride = 16},
    {.n = 1, .ci = 2, .co = 3, .h = 1, .w = 1, .kernel = 3, .stride = 1, .pad = 1},
    {.n = 1, .ci = 3, .co = 1, .h = 13, .w = 1, .kernel = 5, .stride = 1, .pad = 2},
};

static uint32_t draw(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}
static int64_t below(uint32_t *state, int64_t n)
{
    return (int64_t)draw(state) % n;
}
static cpu_wgrad_shape drawn(uint32_t *state)
{
    cpu_wgrad_shape s;
    do {
        s = (cpu_wgrad_shape){.n = 1 + below(state, 7),
                              .ci = 1 + below(state, 4),
                              .co = 1 + below(state, 5),
                              .planes = below(state, 3) == 0 ? 1 + below(state, 4) : 0,
                              .h = 1 + below(state, 24),
                              .w = 1 + below(state, 24),
                              .kernel = 1 + below(state, 7),
                              .stride = 1 + below(state, 4)};
        s.pad = below(state, s.kernel + 1);
        s.ci = s.planes ? 1 : s.ci;
    } while (s.h + 2 * s.pad < s.kernel || s.w + 2 * s.pad < s.kernel);
    return s;
}
static cpu_wgrad_shape complete(cpu_wgrad_shape s, bool bf, int threads)
{
    s.oh = (s.h + 2 * s.pad - s.kernel) / s.stride + 1;
    s.ow = (s.w + 2 * s.pad - s.kernel) / s.stride + 1;
    s.bf = bf;
    s.threads = threads;
    return s;
}

/* The kernels of this processor; wgrad is NULL where it has none. */
static cpu_kernels kernels_here(bool bf)
{
    cpu_kernels k;
    memset(&k, 0, sizeof k);
    cpu_kernels_base(&k);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        if (!bf)
            cpu_kernels_avx512(&k);
        else if (__builtin_cpu_supports("avx512bf16"))
            cpu_kernels_avx512_bf16(&k);
    }
#else
    (void)bf;
#endif
    return k;
}

static int64_t elements(const cpu_wgrad_shape *s)
{
    return s->planes ? s->planes : 16;
}
static int64_t x_count(const cpu_wgrad_shape *s)
{
    return s->n * s->ci * elements(s) * s->h * s->w;
}
static int64_t y_count(const cpu_wgrad_shape *s)
{
    return s->n * s->co * 16 * s->oh * s->ow;
}
static int64_t w_count(const cpu_wgrad_shape *s)
{
    return s->co * 16 * s->ci * elements(s) * s->kernel * s->kernel;
}
static void *owned(size_t bytes, int fill)
{
    void *p = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    assert_non_null(p);
    memset(p, fill, (bytes + 63) & ~(size_t)63);
    return p;
}
/* As the kernels read it, from floats that bfloat16 holds exactly. */
static void *operand(const float *v, int64_t count, bool bf)
{
    uint16_t *p = owned((size_t)count * (bf ? 2 : 4), 0);
    if (!bf)
        return memcpy(p, v, (size_t)count * sizeof *v);
    for (int64_t i = 0; i < count; i++)
        p[i] = sc_f32_to_bf16(v[i]);
    return p;
}
static float *filled(uint32_t *state, int64_t count, bool whole)
{
    float *v = owned((size_t)count * sizeof *v, 0);
    for (int64_t i = 0; i < count; i++)
        v[i] = whole ? (float)(below(state, 9) - 4)
                     : sc_bf16_to_f32(sc_f32_to_bf16((float)below(state, 2001) / 1000 - 1));
    return v;
}
static float *gradient(const cpu_wgrad_shape *s, const float *x, const float *dy)
{
    const cpu_kernels k = kernels_here(s->bf);
    float *dw = owned((size_t)w_count(s) * sizeof *dw, 0xff);
    void *a = operand(x, x_count(s), s->bf), *b = operand(dy, y_count(s), s->bf),
         *scratch = owned(cpu_wgrad_scratch(s), 0xff);
    cpu_wgrad(k.wgrad, s, a, b, dw, scratch);
    free(a);
    free(b);
    free(scratch);
    return dw;
}

/* One element; o and i count channels. */
static double plain(const cpu_wgrad_shape *s, const float *x, const float *dy, int64_t o, int64_t i,
                    int64_t ky, int64_t kx)
{
    double sum = 0;
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t y = 0; y < s->oh; y++)
            for (int64_t q = 0; q < s->ow; q++) {
                const int64_t iy = y * s->stride + ky - s->pad, ix = q * s->stride + kx - s->pad;
                if (iy < 0 || iy >= s->h || ix < 0 || ix >= s->w)
                    continue;
                const int64_t from =
                    s->planes ? ((n * s->planes + i) * s->h + iy) * s->w + ix
                              : (((n * s->ci + i / 16) * s->h + iy) * s->w + ix) * 16 + i % 16;
                const int64_t to = (((n * s->co + o / 16) * s->oh + y) * s->ow + q) * 16 + o % 16;
                sum += (double)x[from] * (double)dy[to];
            }
    return sum;
}
static void check_element(const cpu_wgrad_shape *s, const float *x, const float *dy,
                          const float *dw, int64_t at)
{
    const int64_t e = elements(s), k = s->kernel, ol = at % 16, il = at / 16 % e,
                  kx = at / (16 * e) % k, ky = at / (16 * e * k) % k,
                  ib = at / (16 * e * k * k) % s->ci, ob = at / (16 * e * k * k * s->ci);
    const double want = plain(s, x, dy, ob * 16 + ol, ib * 16 + il, ky, kx);
    if (!((double)dw[at] == want))
        fail_msg("%d x %d of %d @ %d x %d to %d, %dx%d/%d padded %d, %s: %g instead of %g at output"
                 " %d, input %d, tap %d, %d",
                 (int)s->n, (int)s->ci, (int)e, (int)s->h, (int)s->w, (int)s->co, (int)k, (int)k,
                 (int)s->stride, (int)s->pad, s->bf ? "bf16" : "fp32", (double)dw[at], want,
                 (int)(ob * 16 + ol), (int)(ib * 16 + il), (int)ky, (int)kx);
}
static void check_layer(const cpu_wgrad_shape *s, uint32_t *state)
{
    float *x = filled(state, x_count(s), true), *dy = filled(state, y_count(s), true),
          *dw = gradient(s, x, dy);
    const int64_t count = w_count(s);
    if ((double)count * (double)(s->n * s->oh * s->ow) <= WHOLE)
        for (int64_t at = 0; at < count; at++)
            check_element(s, x, dy, dw, at);
    else
        for (int q = 0; q < SAMPLES; q++)
            check_element(s, x, dy, dw, below(state, count));
    for (int64_t at = 0; at < count; at++)
        assert_true(isfinite(dw[at]));
    free(x);
    free(dy);
    free(dw);
}
static void check_type(bool bf)
{
    if (!kernels_here(bf).wgrad)
        skip();
    uint32_t state = 7;
    for (size_t l = 0; l < sizeof layers / sizeof *layers; l++) {
        const cpu_wgrad_shape s = complete(layers[l], bf, 2);
        check_layer(&s, &state);
    }
    for (int q = 0; q < DRAWN; q++) {
        const cpu_wgrad_shape s = complete(drawn(&state), bf, 1 + q % 3);
        check_layer(&s, &state);
    }
}
static void test_float(void **state)
{
    (void)state;
    check_type(false);
}
static void test_bfloat16(void **state)
{
    (void)state;
    check_type(true);
}

static void test_threads(void **state)
{
    (void)state;
    for (int bf = 0; bf < 2; bf++) {
        if (!kernels_here(bf).wgrad)
            skip();
        for (size_t l = 0; l < 6; l++) {
            uint32_t seed = 11;
            cpu_wgrad_shape s = complete(layers[l], bf, 1);
            float *x = filled(&seed, x_count(&s), false), *dy = filled(&seed, y_count(&s), false),
                  *one = gradient(&s, x, dy);
            for (s.threads = 2; s.threads <= 5; s.threads++) {
                float *many = gradient(&s, x, dy);
                assert_memory_equal(many, one, (size_t)w_count(&s) * sizeof *one);
                free(many);
            }
            free(x);
            free(dy);
            free(one);
        }
    }
}

static void test_bias(void **state)
{
    (void)state;
    for (int bf = 0; bf < 2; bf++) {
        const cpu_kernels k = kernels_here(bf);
        if (!k.wgrad)
            skip();
        uint32_t seed = 13;
        const cpu_wgrad_shape s = complete(layers[1], bf, 2);
        float *dy = filled(&seed, y_count(&s), true), db[160];
        void *b = operand(dy, y_count(&s), bf);
        assert_true(s.co * 16 == sizeof db / sizeof *db);
        cpu_wgrad_bias(&k, &s, b, db);
        for (int64_t o = 0; o < s.co * 16; o++) {
            double want = 0;
            for (int64_t n = 0; n < s.n; n++)
                for (int64_t q = 0; q < s.oh * s.ow; q++)
                    want += (double)dy[((n * s.co + o / 16) * s.oh * s.ow + q) * 16 + o % 16];
            assert_true((double)db[o] == want);
        }
        free(dy);
        free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float),
        cmocka_unit_test(test_bfloat16),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_bias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
