/* Every row of the op table on the CPU backend against `ref`, forward, backward, accumulating and
 * in evaluation, in fp32 and (where the processor can) bf16; and twice, to the same bytes.
 *
 * Tolerances are of |ref| + rms(ref):
 *  fp32 4e-6: sums of at most a few thousand products in float; measured 8e-7 at worst.
 *  bf16 1.2e-2: inputs and weights are exact in bf16, so what is left is the rounding of stored
 * values (2^-9 relative, and once more of an intermediate such as an activation's argument or its
 * gradient).
 *  bf16 2.5e-2 where convolutions go by Winograd: both transformed operands are rounded (2^-8 /
 * sqrt 3 rms times 0.7 for a mantissa's spread, each) and the transforms amplify that by sqrt(25 /
 * 9): 0.4 % of rms(ref), six times which no value of a hundred thousand passes.
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double tolerance(const op_case *c, sc_precision_mode p)
{
    bool winograd = c->op == SC_OP_CONV2D && c->attrs.kernel == 3 && c->attrs.stride == 1;
    return p == SC_FP32 ? 4e-6 : winograd ? 2.5e-2 : 1.2e-2;
}

static void compare(const op_case *c, const char *mode, const char *what, int i, const double *got,
                    const double *want, int64_t count, double tol)
{
    if (!want && !got)
        return;
    if (!want || !got)
        fail_msg("%s (%s): %s %d is missing", c->name, mode, what, i);
    double e = worst_error(got, want, count, tol);
    if (getenv("SC_TEST_ERRORS"))
        print_message("%-32s %-18s %s %d: %.2e\n", c->name, mode, what, i, e * tol);
    if (!(e <= 1))
        fail_msg("%s (%s): %s %d is off by %.3g tolerances", c->name, mode, what, i, e);
}

static void run_or_fail(const op_case *c, const case_run *how, case_result *r)
{
    sc_status s = run_case(c, how, r);
    if (s != SC_OK)
        fail_msg("%s on %s: %s: %s", c->name, how->backend->name, sc_status_name(s), sc_message());
}

static void against_ref(const op_case *c, case_run how, const char *mode)
{
    case_result got, want;
    double tol = tolerance(c, how.precision);
    how.backend = sc_backend_cpu();
    run_or_fail(c, &how, &got);
    how.backend = sc_backend_ref();
    how.precision = SC_FP64;
    run_or_fail(c, &how, &want);
    for (int i = 0; i < c->n_out; i++)
        compare(c, mode, "output", i, got.out[i], want.out[i], want.out_count[i], tol);
    for (int i = 0; i < c->n_in; i++)
        compare(c, mode, "input gradient", i, got.in_grad[i], want.in_grad[i], want.in_count[i],
                tol);
    for (int i = 0; i < c->n_param; i++) {
        compare(c, mode, "parameter gradient", i, got.param_grad[i], want.param_grad[i],
                want.param_count[i], tol);
        compare(c, mode, "parameter", i, got.param[i], want.param[i], want.param_count[i], tol);
    }
    if (c->then && !got.joined)
        fail_msg("%s (%s): the two ops were not joined", c->name, mode);
    case_result_free(&got);
    case_result_free(&want);
}

static bool bf16_here(void)
{
    sc_device_options o = {1, SC_BF16_MIXED, NULL};
    sc_device *d = NULL;
    assert_int_equal(sc_backend_cpu()->open(&o, &d), SC_OK);
    bool yes = d->precision == SC_BF16_MIXED;
    sc_backend_cpu()->close(d);
    return yes;
}

static void all_modes(sc_precision_mode precision)
{
    size_t count;
    const op_case *c = op_cases(&count);
    for (size_t i = 0; i < count; i++) {
        case_run how = {.precision = precision, .threads = 2, .training = true, .backward = true};
        against_ref(&c[i], how, "training");
        how.accumulate = true;
        against_ref(&c[i], how, "accumulating");
        how.training = how.backward = how.accumulate = false;
        against_ref(&c[i], how, "evaluation");
    }
}
static void test_fp32(void **state)
{
    (void)state;
    all_modes(SC_FP32);
}
static void test_bf16(void **state)
{
    (void)state;
    if (!bf16_here()) {
        print_message("no bf16 instructions here: skipped\n");
        skip();
    }
    all_modes(SC_BF16_MIXED);
}

static void same_bytes(const op_case *c, const double *a, const double *b, int64_t count)
{
    if (a && memcmp(a, b, (size_t)count * sizeof *a) != 0)
        fail_msg("%s: two runs differ", c->name);
}
static void test_deterministic(void **state)
{
    (void)state;
    size_t count;
    const op_case *c = op_cases(&count);
    for (size_t i = 0; i < count; i++) {
        case_result a, b;
        case_run how = {.backend = sc_backend_cpu(),
                        .precision = SC_BF16_MIXED,
                        .threads = 2,
                        .training = true,
                        .backward = true};
        run_or_fail(&c[i], &how, &a);
        run_or_fail(&c[i], &how, &b);
        for (int k = 0; k < c[i].n_out; k++)
            same_bytes(&c[i], a.out[k], b.out[k], a.out_count[k]);
        for (int k = 0; k < c[i].n_in; k++)
            same_bytes(&c[i], a.in_grad[k], b.in_grad[k], a.in_count[k]);
        for (int k = 0; k < c[i].n_param; k++)
            same_bytes(&c[i], a.param_grad[k], b.param_grad[k], a.param_count[k]);
        case_result_free(&a);
        case_result_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fp32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_deterministic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
