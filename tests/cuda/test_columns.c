/* Sums down so many rows that they are cut into splits, against the same sums in double: biases,
 * layer_norm's parameters, scales, depthwise weights. Twice the same bits, whatever the order in
 * which blocks and threads run.
 */
#include "kernels.h"
#include "shim/shim.h"
#include "superclip/base.h"
#include "superclip/tensor.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct array {
    double *v;     /* what the device holds, as doubles */
    sc_cuda_in on; /* the device's */
} array;
static void *device(size_t bytes)
{
    void *p = NULL;
    assert_int_equal(sc_cuda_malloc(bytes > 0 ? bytes : 1, &p), 0);
    return p;
}
static array random_array(uint32_t seed, size_t count, bool bf)
{
    array a = {calloc(count, sizeof *a.v), {NULL, bf ? SC_CUDA_BF16 : SC_CUDA_F32}};
    float *f = calloc(count, sizeof *f);
    uint16_t *b = calloc(count, sizeof *b);
    assert_true(a.v && f && b);
    for (size_t i = 0; i < count; i++) {
        const uint32_t key[2] = {seed, 3}, counter[4] = {(uint32_t)i, 0, 0, 0};
        uint32_t w[4];
        sc_philox4x32(key, counter, w);
        f[i] = 2 * sc_uniform24(w[0]) - 0.75f;
        b[i] = sc_f32_to_bf16(f[i]);
        a.v[i] = (double)(bf ? sc_bf16_to_f32(b[i]) : f[i]);
    }
    void *p = device(count * (bf ? 2 : 4));
    assert_int_equal(sc_cuda_copy(NULL, p, bf ? (void *)b : (void *)f, count * (bf ? 2 : 4)), 0);
    a.on.p = p;
    free(f);
    free(b);
    return a;
}
static void free_array(array *a)
{
    free(a->v);
    assert_int_equal(sc_cuda_free((void *)(uintptr_t)a->on.p), 0);
}
/* Sums of `terms` numbers about as large as 1, in floats at first. */
static void near(const float *got, const double *want, size_t count, double terms)
{
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - want[i]) <= 1e-7 * terms))
            fail_msg("%zu of %zu: %.9g, not %.9g", i, count, (double)got[i], want[i]);
}

/* What one test sums: into out, with work of so many bytes. */
typedef struct summing {
    void (*run)(const struct summing *s, float *out, double *parts);
    size_t parts, count;
    array x, y;
    const float *mean, *rstd;
    int64_t rows;
    int width, pitch;
    sc_cuda_depthwise depthwise;
    sc_cuda_channels channels;
    bool each;
} summing;
static void check(const summing *s, const double *want, double terms)
{
    float *first = device(s->count * 4), *again = device(s->count * 4);
    double *parts = device(s->parts);
    assert_true(s->parts > 0); /* else this test tests nothing */
    shim_set_order(0);
    s->run(s, first, parts);
    shim_set_order(1);
    s->run(s, again, parts);
    shim_set_order(0);
    assert_memory_equal(first, again, s->count * 4);
    near(first, want, s->count, terms);
    assert_int_equal(sc_cuda_free(first), 0);
    assert_int_equal(sc_cuda_free(again), 0);
    assert_int_equal(sc_cuda_free(parts), 0);
    assert_string_equal(shim_fault(), "");
}

static void run_bias(const summing *s, float *out, double *parts)
{
    assert_int_equal(sc_cuda_column_sum(NULL, s->x.on, out, s->rows, s->width, parts), 0);
}
static void biases(void **state)
{
    (void)state;
    static const struct {
        int64_t rows;
        int width;
    } shapes[] = {{769, 33}, {1025, 40}, {4099, 8}, {2000, 1000}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int bf = 0; bf < 2; bf++) {
            const int64_t rows = shapes[i].rows;
            const int width = shapes[i].width;
            summing s = {.run = run_bias,
                         .parts = sc_cuda_column_parts(rows, width, 1),
                         .count = (size_t)width,
                         .x = random_array(7, (size_t)(rows * width), bf),
                         .rows = rows,
                         .width = width};
            double *want = calloc((size_t)width, sizeof *want);
            for (int64_t r = 0; r < rows; r++)
                for (int e = 0; e < width; e++)
                    want[e] += s.x.v[r * width + e];
            check(&s, want, (double)rows);
            free(want);
            free_array(&s.x);
        }
    assert_int_equal(sc_cuda_column_parts(144, 512, 1), 0); /* a text tower's are one launch */
}

static void run_norm(const summing *s, float *out, double *parts)
{
    assert_int_equal(sc_cuda_layer_norm_back_params(NULL, s->x.on, s->y.on, s->mean, s->rstd, out,
                                                    out + s->width, s->rows, s->width, s->pitch,
                                                    parts),
                     0);
}
static void norm_parameters(void **state)
{
    (void)state;
    enum { ROWS = 1500, WIDTH = 21, PITCH = 24 };
    for (int bf = 0; bf < 2; bf++) {
        array mean = random_array(1, ROWS, false), rstd = random_array(2, ROWS, false);
        summing s = {.run = run_norm,
                     .parts = sc_cuda_column_parts(ROWS, WIDTH, 2),
                     .count = 2 * WIDTH,
                     .x = random_array(3, ROWS * PITCH, bf),
                     .y = random_array(4, ROWS * PITCH, false),
                     .mean = mean.on.p,
                     .rstd = rstd.on.p,
                     .rows = ROWS,
                     .width = WIDTH,
                     .pitch = PITCH};
        double want[2 * WIDTH] = {0};
        for (int r = 0; r < ROWS; r++)
            for (int e = 0; e < WIDTH; e++) {
                const double g = s.y.v[r * PITCH + e];
                want[e] += g * (s.x.v[r * PITCH + e] - mean.v[r]) * rstd.v[r];
                want[WIDTH + e] += g;
            }
        check(&s, want, ROWS);
        array *const all[] = {&mean, &rstd, &s.x, &s.y};
        for (int i = 0; i < 4; i++)
            free_array(all[i]);
    }
}

static void run_dot(const summing *s, float *out, double *parts)
{
    assert_int_equal(sc_cuda_channel_dot(NULL, &s->channels, s->x.on, s->y.on, s->each,
                                         (sc_cuda_out){out, SC_CUDA_F32, false}, parts),
                     0);
}
static void scales(void **state)
{
    (void)state;
    enum { IMAGES = 3, PIXELS = 1100, PADDED = 40, PLAIN = 35 };
    for (int each = 0; each < 2; each++) {
        summing s = {.run = run_dot,
                     .count = each ? IMAGES * PLAIN : PLAIN,
                     .x = random_array(5, IMAGES * PIXELS * PADDED, true),
                     .y = random_array(6, IMAGES * PIXELS * PADDED, false),
                     .channels = {IMAGES, PIXELS, PADDED, PLAIN},
                     .each = each};
        s.parts = sc_cuda_channel_parts(&s.channels, each);
        double want[IMAGES * PLAIN] = {0};
        for (int n = 0; n < IMAGES; n++)
            for (int k = 0; k < PIXELS; k++)
                for (int c = 0; c < PLAIN; c++) {
                    const int i = (n * PIXELS + k) * PADDED + c;
                    want[(each ? n * PLAIN : 0) + c] += s.x.v[i] * s.y.v[i];
                }
        check(&s, want, each ? PIXELS : IMAGES * PIXELS);
        free_array(&s.x);
        free_array(&s.y);
    }
}

static void run_depthwise(const summing *s, float *out, double *parts)
{
    assert_int_equal(sc_cuda_depthwise_weight(NULL, &s->depthwise, s->x.on, s->y.on, out, parts),
                     0);
}
static void depthwise(int kernel, int stride, bool bf)
{
    enum { N = 2, H = 47, W = 41, PLAIN = 9, PADDED = 16 };
    const int pad = kernel / 2, oh = (H + 2 * pad - kernel) / stride + 1,
              ow = (W + 2 * pad - kernel) / stride + 1, taps = kernel * kernel;
    summing s = {.run = run_depthwise,
                 .count = (size_t)(PLAIN * taps),
                 .x = random_array(8, N * H * W * PADDED, bf),
                 .y = random_array(9, (size_t)(N * oh * ow * PADDED), bf),
                 .depthwise = {.n = N,
                               .plain = PLAIN,
                               .padded = PADDED,
                               .h = H,
                               .w = W,
                               .oh = oh,
                               .ow = ow,
                               .kernel = kernel,
                               .stride = stride,
                               .pad = pad}};
    s.parts = sc_cuda_depthwise_parts(&s.depthwise);
    double *want = calloc(s.count, sizeof *want);
    assert_non_null(want);
    for (int64_t at = 0; at < (int64_t)N * oh * ow * taps; at++) {
        const int q = (int)(at % kernel), p = (int)(at / kernel % kernel);
        const int64_t pixel = at / taps;
        const int j = (int)(pixel % ow), i = (int)(pixel / ow % oh), n = (int)(pixel / ow / oh);
        const int r = i * stride - pad + p, t = j * stride - pad + q;
        for (int c = 0; c < PLAIN && r >= 0 && r < H && t >= 0 && t < W; c++)
            want[c * taps + p * kernel + q] +=
                s.y.v[pixel * PADDED + c] * s.x.v[((n * H + r) * W + t) * PADDED + c];
    }
    check(&s, want, N * oh * ow);
    free(want);
    free_array(&s.x);
    free_array(&s.y);
}
static void depthwise_weights(void **state)
{
    (void)state;
    depthwise(7, 1, true);
    depthwise(5, 2, false);
    depthwise(3, 1, false);
    depthwise(2, 1, true); /* tap by tap */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(biases), cmocka_unit_test(norm_parameters),
                                       cmocka_unit_test(scales),
                                       cmocka_unit_test(depthwise_weights)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
