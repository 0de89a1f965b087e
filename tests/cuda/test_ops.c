/* Every row of the op table on the CUDA backend over the shim, against `ref`: forward, backward,
 * accumulating and in evaluation, fp32 and bf16, with the tolerances of the CPU backend
 * (tests/backend/test_ops.c says why). Threads and blocks in ascending and descending order give
 * the same bytes: no result depends on who comes first. Convolutions and products run on what
 * stands in for cuDNN and cuBLASLt.
 */
#include "cuda.h"
#include "harness.h"
#include "shim/shim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double tolerance(sc_precision_mode p)
{
    return p == SC_FP32 ? 4e-6 : 1.2e-2;
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
static void same(const op_case *c, const double *a, const double *b, int64_t count)
{
    if ((a == NULL) != (b == NULL) || (a && memcmp(a, b, (size_t)count * sizeof *a) != 0))
        fail_msg("%s: the order of threads changes the result", c->name);
}
static void run_or_fail(const op_case *c, const char *mode, const case_run *how, case_result *r)
{
    sc_status s = run_case(c, how, r);
    if (s != SC_OK)
        fail_msg("%s (%s) on %s: %s: %s", c->name, mode, how->backend->name, sc_status_name(s),
                 sc_message());
}

static void against_ref(const op_case *c, case_run how, const char *mode)
{
    case_result got, turned, want;
    double tol = tolerance(how.precision);
    how.backend = sc_backend_cuda();
    run_or_fail(c, mode, &how, &got);
    shim_set_order(1);
    run_or_fail(c, mode, &how, &turned);
    shim_set_order(0);
    how.backend = sc_backend_ref();
    how.precision = SC_FP64;
    run_or_fail(c, mode, &how, &want);
    for (int i = 0; i < c->n_out; i++) {
        compare(c, mode, "output", i, got.out[i], want.out[i], want.out_count[i], tol);
        same(c, got.out[i], turned.out[i], got.out_count[i]);
    }
    for (int i = 0; i < c->n_in; i++) {
        compare(c, mode, "input gradient", i, got.in_grad[i], want.in_grad[i], want.in_count[i],
                tol);
        same(c, got.in_grad[i], turned.in_grad[i], got.in_count[i]);
    }
    for (int i = 0; i < c->n_param; i++) {
        compare(c, mode, "parameter gradient", i, got.param_grad[i], want.param_grad[i],
                want.param_count[i], tol);
        compare(c, mode, "parameter", i, got.param[i], want.param[i], want.param_count[i], tol);
        same(c, got.param_grad[i], turned.param_grad[i], got.param_count[i]);
        same(c, got.param[i], turned.param[i], got.param_count[i]);
    }
    case_result_free(&got);
    case_result_free(&turned);
    case_result_free(&want);
}

static void all_modes(sc_precision_mode precision)
{
    size_t count;
    const op_case *c = op_cases(&count);
    for (size_t i = 0; i < count; i++) {
        case_run how = {.precision = precision, .threads = 1, .training = true, .backward = true};
        against_ref(&c[i], how, "training");
        how.accumulate = true;
        against_ref(&c[i], how, "accumulating");
        how.training = how.backward = how.accumulate = false;
        against_ref(&c[i], how, "evaluation");
    }
    assert_int_equal(shim_allocations(), 0);
}
static void test_fp32(void **state)
{
    (void)state;
    all_modes(SC_FP32);
}
static void test_bf16(void **state)
{
    (void)state;
    all_modes(SC_BF16_MIXED);
}

/* Shapes beyond the table: several splits of a channel, several tiles of channels, long heads. */
#define TENSOR(k, b, ...)                                                                          \
    {                                                                                              \
        k, {sizeof((int[]){__VA_ARGS__}) / sizeof(int), {__VA_ARGS__}}, FILL_NORMAL, 0.3, b, false \
    }
static const op_case larger[] = {
    {.name = "batch_norm 3 tiles, 5 splits",
     .op = SC_OP_BATCH_NORM,
     .attrs = {.eps = 1e-5, .momentum = 0.1, .relu = true},
     .n_in = 2,
     .n_out = 1,
     .n_param = 5,
     .in = {TENSOR(SC_COMPUTE, 1, 3, 136, 19, 21), TENSOR(SC_COMPUTE, 1, 3, 136, 19, 21)},
     .out = {TENSOR(SC_COMPUTE, 1, 3, 136, 19, 21)},
     .param = {TENSOR(SC_EXACT, 0.3, 136),
               TENSOR(SC_EXACT, 0.5, 136),
               {SC_EXACT, {1, {136}}, FILL_NORMAL, 0, 1, true},
               {SC_EXACT, {1, {136}}, FILL_POSITIVE, 0.5, 2, true},
               {SC_INT32, {1, {1}}, FILL_INT, 1, 0, true}}},
    {.name = "batch_norm mean 1000",
     .op = SC_OP_BATCH_NORM,
     .attrs = {.eps = 1e-5, .momentum = 0.1},
     .n_in = 1,
     .n_out = 1,
     .n_param = 5,
     .in = {{SC_COMPUTE, {4, {4, 8, 23, 29}}, FILL_NORMAL, 1000, 8, false}},
     .out = {TENSOR(SC_COMPUTE, 1, 4, 8, 23, 29)},
     .param = {TENSOR(SC_EXACT, 0.3, 8),
               TENSOR(SC_EXACT, 0.5, 8),
               {SC_EXACT, {1, {8}}, FILL_NORMAL, 0, 1, true},
               {SC_EXACT, {1, {8}}, FILL_POSITIVE, 0.5, 2, true},
               {SC_INT32, {1, {1}}, FILL_INT, 1, 0, true}}},
    {.name = "attention 96 tokens, head 64",
     .op = SC_OP_ATTENTION,
     .attrs = {.heads = 1},
     .n_in = 1,
     .n_out = 1,
     .in = {TENSOR(SC_COMPUTE, 1, 1, 96, 192)},
     .out = {TENSOR(SC_COMPUTE, 1, 1, 96, 64)}},
    {.name = "attention head 128",
     .op = SC_OP_ATTENTION,
     .attrs = {.heads = 1},
     .n_in = 1,
     .n_out = 1,
     .in = {TENSOR(SC_COMPUTE, 1, 1, 40, 384)},
     .out = {TENSOR(SC_COMPUTE, 1, 1, 40, 128)}},
    {.name = "attention full, head 128",
     .op = SC_OP_ATTENTION,
     .attrs = {.heads = 1},
     .n_in = 4,
     .n_out = 1,
     .in = {TENSOR(SC_COMPUTE, 1, 3, 40, 128),
            TENSOR(SC_COMPUTE, 1, 3, 40, 128),
            TENSOR(SC_COMPUTE, 1, 3, 40, 128),
            {SC_INT32, {1, {3}}, FILL_INT, 40, 0, false}},
     .out = {TENSOR(SC_COMPUTE, 1, 3, 40, 128)}},
    {.name = "layer_norm 1032 wide",
     .op = SC_OP_LAYER_NORM,
     .attrs = {.eps = 1e-5},
     .n_in = 1,
     .n_out = 1,
     .n_param = 2,
     .in = {TENSOR(SC_EXACT, 1, 9, 3, 1032)},
     .out = {TENSOR(SC_COMPUTE, 1, 9, 3, 1032)},
     .param = {TENSOR(SC_EXACT, 0.3, 1032), TENSOR(SC_EXACT, 0.5, 1032)}},
    {.name = "superclip_loss 70 images",
     .op = SC_OP_SUPERCLIP_LOSS,
     .attrs =
         {.loss = {.superclip = true, .class_weight = 1, .contrastive_weight = 1, .tau0 = 0.07}},
     .n_in = 4,
     .n_out = 2,
     .n_param = 1,
     .in = {{SC_EXACT, {2, {70, 24}}, FILL_UNIT, 0, 1, false},
            {SC_EXACT, {2, {5, 24}}, FILL_UNIT, 0, 1, false},
            {SC_INT32, {1, {70}}, FILL_INT, 5, 0, false},
            {SC_EXACT, {1, {5}}, FILL_POSITIVE, 0.25, 4, true}},
     .out = {{SC_EXACT, {1, {3}}, FILL_NORMAL, 0, 0, false},
             {SC_EXACT, {2, {70, 5}}, FILL_NORMAL, 0, 0, true}},
     .param = {{SC_EXACT, {0, {0}}, FILL_POSITIVE, 0.25, 0.5, false}}},
    {.name = "avg_pool 3 tiles",
     .op = SC_OP_AVG_POOL,
     .n_in = 1,
     .n_out = 1,
     .in = {TENSOR(SC_COMPUTE, 1, 2, 140, 9, 7)},
     .out = {TENSOR(SC_EXACT, 1, 2, 140)}},
};
static void test_larger(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof larger / sizeof *larger; i++)
        for (int bf = 0; bf < 2; bf++) {
            case_run how = {.precision = bf ? SC_BF16_MIXED : SC_FP32,
                            .threads = 1,
                            .training = true,
                            .backward = true};
            against_ref(&larger[i], how, "training");
        }
}

static void test_unsupported(void **state)
{
    (void)state;
    const case_run how = {.backend = sc_backend_cuda(), .precision = SC_FP32, .threads = 1};
    case_result r;
    op_case longer = *op_case_find("attention 33 tokens");
    longer.in[0].shape.d[1] = longer.out[0].shape.d[1] = 97;
    assert_int_equal(run_case(&longer, &how, &r), SC_EUNSUPPORTED);
    assert_non_null(strstr(sc_message(), "97 tokens"));
    case_result_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fp32), cmocka_unit_test(test_bf16),
                                       cmocka_unit_test(test_larger),
                                       cmocka_unit_test(test_unsupported)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
