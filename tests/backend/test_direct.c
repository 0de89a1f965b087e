/* Direct convolutions: every shape's output and input gradient in both precisions against `ref`;
 * any number of threads, and an image alone or among others, to the same bytes.
 *
 * Bounds, of |ref| + rms(ref). In float 2e-5: sums of up to some thousand products of one sign or
 * the other. In bfloat16 what `ref` reads is exact, sums are float, and the result is rounded once,
 * by up to 2^-9 of it (2^-8 with a gradient that is added to); allowed is twice that. (A bias
 * keeps 3 x 3 layers with many channels from Winograd.)
 */
#include "harness.h"

#include "direct.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FLOAT_BOUND 2e-5
#define BF16_BOUND (1.0 / 128)

typedef struct layer {
    int64_t n, c, h, w, o;
    int kernel, stride, pad;
    bool bias;
} layer;

static const layer layers[] = {
    {2, 64, 56, 56, 64, 3, 1, 1, true},
    {3, 64, 15, 57, 48, 3, 1, 1, true},
    {5, 32, 7, 7, 96, 3, 1, 1, true}, /* two images a tile, the last alone */
    {4, 20, 3, 3, 33, 3, 1, 1, false},
    {3, 16, 1, 1, 16, 3, 1, 1, false},
    {2, 16, 2, 1, 32, 3, 1, 1, true},
    {2, 64, 28, 28, 64, 3, 2, 1, false},
    {3, 40, 15, 13, 50, 3, 2, 1, false}, /* odd: phases of different sizes */
    {2, 48, 14, 30, 64, 3, 2, 1, true},
    {3, 16, 2, 2, 16, 3, 2, 1, false},
    {2, 16, 1, 1, 24, 3, 2, 1, false},
    {3, 64, 28, 28, 32, 1, 1, 0, false},
    {3, 80, 7, 7, 144, 1, 1, 0, true}, /* a line of 49 pixels */
    {2, 33, 5, 9, 20, 1, 2, 0, false},
    {4, 64, 14, 14, 128, 1, 2, 0, false},
    {2, 32, 12, 10, 48, 2, 2, 0, true},
    {2, 17, 13, 11, 18, 2, 2, 0, false}, /* the last row and column reach nothing */
    {2, 32, 9, 9, 32, 3, 1, 0, false},
    {2, 32, 9, 9, 32, 2, 1, 1, false},
    {2, 32, 16, 16, 32, 5, 1, 2, false}, /* more padding than this handles: oneDNN's */
    {2, 3, 64, 64, 64, 7, 2, 3, false},  /* plain planes */
    {2, 3, 37, 29, 24, 7, 2, 3, true},
    {3, 1, 20, 33, 32, 3, 1, 1, false},
    {2, 3, 32, 48, 40, 3, 2, 1, false},
    {2, 3, 33, 34, 96, 4, 4, 0, true},
    {2, 3, 48, 32, 32, 16, 16, 0, true},
    {1, 4, 9, 8, 16, 3, 2, 1, false},
    {1, 128, 14, 14, 512, 1, 1, 0, false}, /* one image: shared by output channels */
};

static op_case case_of(const layer *l)
{
    const int64_t oh = (l->h + 2 * l->pad - l->kernel) / l->stride + 1,
                  ow = (l->w + 2 * l->pad - l->kernel) / l->stride + 1;
    op_case c = {.name = "direct", .op = SC_OP_CONV2D, .n_in = 1, .n_out = 1};
    c.n_param = l->bias ? 2 : 1;
    c.attrs.kernel = l->kernel;
    c.attrs.stride = l->stride;
    c.attrs.pad = l->pad;
    c.in[0] = (case_tensor){SC_COMPUTE, {4, {l->n, l->c, l->h, l->w}}, FILL_NORMAL, 0.4, 1, false};
    c.in[0].no_grad = l->c <= 4;
    c.out[0] = (case_tensor){SC_COMPUTE, {4, {l->n, l->o, oh, ow}}, FILL_NORMAL, 0, 0, false};
    c.param[0] = (case_tensor){
        SC_EXACT, {4, {l->o, l->c, l->kernel, l->kernel}}, FILL_NORMAL, 0, 0.05, false};
    c.param[1] = (case_tensor){SC_EXACT, {1, {l->o}}, FILL_NORMAL, 0, 1, false};
    return c;
}
static case_result run(const op_case *c, const case_run *how)
{
    case_result r;
    if (run_case(c, how, &r) != SC_OK)
        fail_msg("%s: %s", how->backend->name, sc_message());
    return r;
}
static void near(const layer *l, const char *what, const double *got, const double *want,
                 int64_t count, double bound)
{
    double e = worst_error(got, want, count, bound);
    if (!(e <= 1))
        fail_msg("%d x %d @ %d x %d to %d, %d/%d+%d: %s is off by %.3g of the bound", (int)l->n,
                 (int)l->c, (int)l->h, (int)l->w, (int)l->o, l->kernel, l->stride, l->pad, what, e);
}
static void against_ref(const layer *l, sc_precision_mode precision, bool accumulate)
{
    const op_case c = case_of(l);
    case_run how = {.backend = sc_backend_cpu(),
                    .precision = precision,
                    .threads = 2,
                    .training = true,
                    .backward = true,
                    .accumulate = accumulate};
    const double bound = precision == SC_FP32 ? FLOAT_BOUND : BF16_BOUND;
    case_result got = run(&c, &how);
    how.backend = sc_backend_ref();
    how.precision = SC_FP64;
    case_result want = run(&c, &how);
    near(l, "output", got.out[0], want.out[0], want.out_count[0], bound);
    if (!c.in[0].no_grad)
        near(l, accumulate ? "added input gradient" : "input gradient", got.in_grad[0],
             want.in_grad[0], want.in_count[0], bound);
    case_result_free(&got);
    case_result_free(&want);
}
static void test_float(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        against_ref(&layers[i], SC_FP32, i % 2 == 0);
}
static bool bf16_here(void)
{
    const sc_device_options o = {1, SC_BF16_MIXED, NULL};
    sc_device *d = NULL;
    assert_int_equal(sc_backend_cpu()->open(&o, &d), SC_OK);
    bool yes = d->precision == SC_BF16_MIXED;
    sc_backend_cpu()->close(d);
    return yes;
}
static void test_bf16(void **state)
{
    (void)state;
    if (!bf16_here())
        skip();
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        against_ref(&layers[i], SC_BF16_MIXED, i % 2 == 1);
}

static void same(const char *what, const double *a, const double *b, int64_t count)
{
    if (memcmp(a, b, (size_t)count * sizeof *a) != 0)
        fail_msg("%s differs", what);
}
static const layer some[] = {{3, 48, 15, 14, 80, 3, 2, 1, true},
                             {3, 32, 7, 6, 96, 3, 1, 1, true},
                             {3, 64, 5, 9, 48, 1, 1, 0, false},
                             {3, 3, 40, 40, 64, 7, 2, 3, false}};
static void each(void (*check)(const layer *, case_run))
{
    const sc_precision_mode precisions[2] = {SC_FP32, SC_BF16_MIXED};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        for (int p = 0; p < 2; p++)
            check(&some[i], (case_run){.backend = sc_backend_cpu(),
                                       .precision = precisions[p],
                                       .threads = 1,
                                       .training = true,
                                       .backward = true});
}
static void threads_alike(const layer *l, case_run how)
{
    const op_case c = case_of(l);
    case_result one = run(&c, &how);
    for (how.threads = 2; how.threads <= 5; how.threads++) {
        case_result many = run(&c, &how);
        same("output", many.out[0], one.out[0], one.out_count[0]);
        if (!c.in[0].no_grad)
            same("input gradient", many.in_grad[0], one.in_grad[0], one.in_count[0]);
        case_result_free(&many);
    }
    case_result_free(&one);
}
static void test_threads(void **state)
{
    (void)state;
    each(threads_alike);
}
/* A rank's slice rounds like the whole batch. */
static void rows_apart(const layer *l, case_run how)
{
    layer first = *l;
    first.n = 1;
    const op_case many = case_of(l), one = case_of(&first);
    case_result a = run(&many, &how), b = run(&one, &how);
    same("output", a.out[0], b.out[0], b.out_count[0]);
    if (!many.in[0].no_grad)
        same("input gradient", a.in_grad[0], b.in_grad[0], b.in_count[0]);
    case_result_free(&a);
    case_result_free(&b);
}
static void test_rows_apart(void **state)
{
    (void)state;
    each(rows_apart);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_rows_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
