/* Winograd convolutions in bfloat16: every direction of many shapes against `ref`, by largest and
 * by root-mean-square error; any number of threads, to the same bytes; rank slices without rows;
 * and that fp32, strides, other kernels and few channels never go this way.
 *
 * Bounds. Largest: 3e-2 of |ref| + rms(ref), seven times what follows. Root mean square, in parts
 * of rms(ref): an operand's rounding is d = 2^-8 / sqrt 3 * 0.74 (a mantissa's spread) = 1.7e-3;
 * two operands times the transforms' amplification sqrt(25 / 9), and the result once: sqrt(2 * 25 /
 * 9 + 1) d = 4.3e-3. The gradient of the weights stays in float: sqrt(2 * 25 / 9) d = 3.9e-3.
 * Allowed: 5.5e-3, for few samples.
 */
#include "harness.h"

#include "winograd.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LARGEST 3e-2
#define RMS 5.5e-3

typedef struct layer {
    int64_t n, c, h, w, o;
} layer;

static const layer layers[] = {
    {2, 128, 14, 14, 128}, {3, 128, 7, 7, 160}, {5, 144, 9, 13, 80}, {1, 128, 4, 4, 64},
    {1, 128, 28, 30, 64},  {7, 130, 7, 7, 70},  {1, 192, 1, 1, 64},  {2, 128, 2, 2, 96},
    {2, 32, 21, 12, 48},   {33, 64, 6, 6, 32},  {1, 48, 40, 40, 48}, {4, 272, 14, 5, 33},
    {2, 64, 40, 56, 64},   {9, 512, 7, 7, 64},
};

static op_case case_of(const layer *l)
{
    op_case c = {.name = "winograd", .op = SC_OP_CONV2D, .n_in = 1, .n_out = 1, .n_param = 1};
    c.attrs.kernel = 3;
    c.attrs.stride = c.attrs.pad = 1;
    c.in[0] = (case_tensor){SC_COMPUTE, {4, {l->n, l->c, l->h, l->w}}, FILL_NORMAL, 0.4, 1, false};
    c.out[0] = (case_tensor){SC_COMPUTE, {4, {l->n, l->o, l->h, l->w}}, FILL_NORMAL, 0, 0, false};
    c.param[0] = (case_tensor){SC_EXACT, {4, {l->o, l->c, 3, 3}}, FILL_NORMAL, 0, 0.05, false};
    return c;
}
static case_result run(const op_case *c, const case_run *how)
{
    case_result r;
    if (run_case(c, how, &r) != SC_OK)
        fail_msg("%s: %s", how->backend->name, sc_message());
    return r;
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

static double rms_error(const double *got, const double *want, int64_t count)
{
    double e = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        e += (got[i] - want[i]) * (got[i] - want[i]);
        size += want[i] * want[i];
    }
    return sqrt(e / size);
}
static void near(const layer *l, const char *what, const double *got, const double *want,
                 int64_t count)
{
    double e = worst_error(got, want, count, LARGEST), rms = rms_error(got, want, count);
    if (getenv("SC_TEST_ERRORS"))
        print_message("%3d x %3d @ %2d x %2d to %3d: %-22s largest %.2e, rms %.2e\n", (int)l->n,
                      (int)l->c, (int)l->h, (int)l->w, (int)l->o, what, e * LARGEST, rms);
    if (!(e <= 1) || !(rms <= RMS))
        fail_msg("%d x %d @ %d x %d to %d: %s is off by %.3g of the bound, %.3g rms", (int)l->n,
                 (int)l->c, (int)l->h, (int)l->w, (int)l->o, what, e, rms);
}
static void against_ref(const layer *l, bool accumulate)
{
    const op_case c = case_of(l);
    case_run how = {.backend = sc_backend_cpu(),
                    .precision = SC_BF16_MIXED,
                    .threads = 2,
                    .training = true,
                    .backward = true,
                    .accumulate = accumulate};
    case_result got = run(&c, &how);
    how.backend = sc_backend_ref();
    how.precision = SC_FP64;
    case_result want = run(&c, &how);
    near(l, "output", got.out[0], want.out[0], want.out_count[0]);
    near(l, accumulate ? "added input gradient" : "input gradient", got.in_grad[0], want.in_grad[0],
         want.in_count[0]);
    near(l, "weight gradient", got.param_grad[0], want.param_grad[0], want.param_count[0]);
    case_result_free(&got);
    case_result_free(&want);
}
static void test_against_ref(void **state)
{
    (void)state;
    if (!bf16_here())
        skip();
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        against_ref(&layers[i], i % 2 == 1);
}

static void same(const char *what, const double *a, const double *b, int64_t count)
{
    if (memcmp(a, b, (size_t)count * sizeof *a) != 0)
        fail_msg("%s differs", what);
}
/* Only the thread count changes: no sum may depend on it. */
static void test_threads(void **state)
{
    (void)state;
    if (!bf16_here())
        skip();
    const op_case c = case_of(&(layer){5, 144, 15, 14, 160});
    case_run how = {.backend = sc_backend_cpu(),
                    .precision = SC_BF16_MIXED,
                    .threads = 1,
                    .training = true,
                    .backward = true};
    case_result one = run(&c, &how);
    for (how.threads = 2; how.threads <= 5; how.threads++) {
        case_result many = run(&c, &how);
        same("output", many.out[0], one.out[0], one.out_count[0]);
        same("input gradient", many.in_grad[0], one.in_grad[0], one.in_count[0]);
        same("weight gradient", many.param_grad[0], one.param_grad[0], one.param_count[0]);
        case_result_free(&many);
    }
    case_result_free(&one);
}

/* A slice without rows: no output, and a gradient of zeros. */
static void test_no_rows(void **state)
{
    (void)state;
    if (!bf16_here())
        skip();
    const op_case c = case_of(&(layer){0, 128, 14, 14, 128});
    const case_run how = {.backend = sc_backend_cpu(),
                          .precision = SC_BF16_MIXED,
                          .threads = 2,
                          .training = true,
                          .backward = true};
    case_result r = run(&c, &how);
    assert_int_equal(r.out_count[0], 0);
    for (int64_t i = 0; i < r.param_count[0]; i++)
        assert_true(r.param_grad[0][i] == 0);
    case_result_free(&r);
}

/* An image's result is the same alone and among others: a rank's slice rounds like the whole batch.
 */
static void test_rows_apart(void **state)
{
    (void)state;
    if (!bf16_here())
        skip();
    const op_case many = case_of(&(layer){3, 128, 7, 9, 64}),
                  one = case_of(&(layer){1, 128, 7, 9, 64});
    const case_run how = {.backend = sc_backend_cpu(),
                          .precision = SC_BF16_MIXED,
                          .threads = 2,
                          .training = true,
                          .backward = true};
    case_result a = run(&many, &how), b = run(&one, &how);
    same("output", a.out[0], b.out[0], b.out_count[0]);
    same("input gradient", a.in_grad[0], b.in_grad[0], b.in_count[0]);
    case_result_free(&a);
    case_result_free(&b);
}

/* Exact in fp32, and close in the shapes that stay direct. */
static void test_elsewhere(void **state)
{
    (void)state;
    const op_case c = case_of(&(layer){2, 128, 8, 8, 64});
    case_run how = {
        .backend = sc_backend_cpu(), .precision = SC_FP32, .threads = 2, .training = true};
    case_result got = run(&c, &how);
    how.backend = sc_backend_ref();
    how.precision = SC_FP64;
    case_result want = run(&c, &how);
    assert_true(rms_error(got.out[0], want.out[0], want.out_count[0]) < 1e-6);
    case_result_free(&got);
    case_result_free(&want);
    for (int way = CPU_WINO_FORWARD; way <= CPU_WINO_WEIGHTS; way++) {
        const int64_t few[4] = {2, 16, 14, 14}, wide[4] = {2, 512, 14, 14}, odd[4] = {2, 512, 3, 3},
                      small[4] = {2, 512, 2, 2};
        assert_false(cpu_wino_pays((cpu_wino_direction)way, few, few));
        assert_true(cpu_wino_pays((cpu_wino_direction)way, wide, wide));
        assert_false(cpu_wino_pays((cpu_wino_direction)way, odd, odd));
        assert_false(cpu_wino_pays((cpu_wino_direction)way, small, small));
        const int64_t batch[4] = {1, 512, 14, 14}; /* the rows decide nothing */
        assert_true(cpu_wino_pays((cpu_wino_direction)way, batch, batch));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_ref), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_no_rows),     cmocka_unit_test(test_rows_apart),
        cmocka_unit_test(test_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
