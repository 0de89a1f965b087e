/* Whole steps on what stands in for CUDA: as one recording, queued without one, and op by op give
 * the same bytes under every order in which streams may run, and those of `ref` within rounding. A
 * wait between branches that is forgotten is found; what fails while a step is recorded costs no
 * step.
 */
#include "step_job.h"

#include "shim/shim.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const sc_backend *sc_backend_cuda(void);

static int warnings;
static void count_warning(void *ctx, sc_log_level level, const char *line)
{
    (void)ctx, (void)line;
    warnings += level == SC_LOG_WARN;
}
static const sc_log counting = {count_warning, NULL};

static sc_comm *alone;
static step_how usual(sc_precision_mode precision)
{
    return (step_how){.backend = sc_backend_cuda(),
                      .precision = precision,
                      .comm = alone,
                      .steps = JOB_STEPS,
                      .log = &counting};
}
static void run(const step_how *how, step_outcome *out)
{
    if (step_job(how, out) != SC_OK)
        fail_msg("%s", out->message);
    assert_int_equal(shim_allocations(), 0);
}
static bool equal(const step_outcome *a, const step_outcome *b)
{
    return a->checksum == b->checksum && memcmp(a->losses, b->losses, sizeof a->losses) == 0 &&
           memcmp(a->features, b->features, sizeof a->features) == 0 &&
           memcmp(a->evaluated, b->evaluated, sizeof a->evaluated) == 0;
}
static void test_one_result(void **state)
{
    (void)state;
    static const struct {
        sc_precision_mode precision;
        bool freeze_text, freeze_image;
        int recorded, queued; /* runs */
    } variants[] = {{SC_FP32, false, false, 2, 1},
                    {SC_BF16_MIXED, false, false, 1, 1},
                    {SC_FP32, true, false, 1, 0},
                    {SC_BF16_MIXED, false, true, 1, 0}};
    unsigned long seed = 1;
    for (size_t k = 0; k < sizeof variants / sizeof *variants; k++) {
        step_how how = usual(variants[k].precision);
        step_outcome apart, other;
        how.freeze_text = variants[k].freeze_text;
        how.freeze_image = variants[k].freeze_image;
        how.apart = true;
        run(&how, &apart);
        how.apart = false;
        for (int n = 0; n < variants[k].recorded + variants[k].queued; n++, seed++) {
            how.eager = n >= variants[k].recorded;
            shim_set_schedule(seed);
            run(&how, &other);
            if (!equal(&apart, &other))
                fail_msg("variant %zu, %s, schedule %lu: other bytes", k,
                         how.eager ? "not recorded" : "recorded", seed);
            sc_tensor_set_free(&other.values);
        }
        sc_tensor_set_free(&apart.values);
    }
    assert_int_equal(warnings, 0);
}
/* fp32 against double: as far as three steps of Adam let one say it (tests/backend/test_model.c).
 */
static void test_against_ref(void **state)
{
    (void)state;
    step_how how = usual(SC_FP32);
    step_outcome cuda, ref;
    how.steps = 3;
    run(&how, &cuda);
    how.backend = sc_backend_ref();
    how.precision = SC_FP64;
    run(&how, &ref);
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < 3; i++)
            assert_true(fabsf(cuda.losses[k][i] - ref.losses[k][i]) <=
                        (k == 0 ? 1e-5f : 3e-3f) * ref.losses[k][i]);
    sc_tensor_set_free(&cuda.values);
    sc_tensor_set_free(&ref.values);
}
/* A replayed step: three inputs and a mark, the temperature, constants, faults, the graph, two
 * readings with a mark, and two looks at marks. */
static void test_calls(void **state)
{
    (void)state;
    step_how how = usual(SC_FP32);
    step_outcome out;
    how.counted = 4;
    run(&how, &out);
    sc_tensor_set_free(&out.values);
    assert_in_range(out.calls, 8, 14);
    assert_in_range(out.eval_calls, 6, 10);
    how.eager = true;
    run(&how, &out);
    sc_tensor_set_free(&out.values);
    assert_true(out.calls > 150);
    assert_true(out.eval_calls > 20);
}
#ifndef __SANITIZE_ADDRESS__ /* many whole runs for their bytes alone */
/* The bytes of three steps differ, or a step cannot be recorded, when the nth wait is left out. */
static bool missed(const step_how *how, long n, unsigned long seeds, const step_outcome *right)
{
    bool seen = false;
    for (unsigned long seed = 1; seed <= seeds && !seen; seed++) {
        step_outcome other;
        shim_set_schedule(seed);
        shim_drop_wait(n);
        warnings = 0;
        seen = step_job(how, &other) != SC_OK || warnings > 0 || !equal(right, &other);
        sc_tensor_set_free(&other.values);
        assert_int_equal(shim_allocations(), 0);
    }
    return seen;
}
/* Each wait between branches is left out once, of a step that is queued and of one that is
 * recorded: all are needed, and all are found. */
static void test_forgotten_waits(void **state)
{
    (void)state;
    step_how how = usual(SC_FP32);
    step_outcome right;
    how.train_only = true;
    how.steps = 1;
    shim_drop_wait(-1);
    run(&how, &right);
    sc_tensor_set_free(&right.values);
    const long waits = shim_waits();
    assert_in_range(waits, 8, 20);
    how.steps = 3;
    run(&how, &right);
    sc_tensor_set_free(&right.values);
    for (int eager = 0; eager < 2; eager++) {
        how.eager = eager != 0;
        /* Of the second step. The first wait lets the side begin: queued, it has nothing new to
         * wait for. */
        for (long n = waits + eager; n < 2 * waits; n++)
            if (!missed(&how, n, 24, &right))
                fail_msg("wait %ld of %ld, %s, is not missed", n - waits, waits,
                         eager ? "queued" : "recorded");
        assert_false(missed(&how, 1000, 2, &right));
    }
    shim_drop_wait(-1);
    shim_set_schedule(1);
    warnings = 0;
}
#endif
static void test_failures(void **state)
{
    (void)state;
    static const char *const calls[] = {"cudaStreamBeginCapture", "cudaStreamEndCapture",
                                        "cudaGraphInstantiate"};
    step_how how = usual(SC_BF16_MIXED);
    step_outcome right, other;
    how.train_only = true;
    how.steps = 3; /* two of a full batch: the second is recorded */
    run(&how, &right);
    sc_tensor_set_free(&right.values);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        warnings = 0;
        shim_fail_call(calls[i], 1);
        run(&how, &other);
        assert_true(equal(&right, &other));
        sc_tensor_set_free(&other.values);
        assert_int_equal(warnings, 1);
    }
    warnings = 0;
    how.steps = 4;
    shim_fail_call("cudaGraphLaunch", 2);
    assert_int_not_equal(step_job(&how, &other), SC_OK);
    assert_non_null(strstr(other.message, "a recorded step"));
    assert_int_equal(shim_allocations(), 0);
    shim_fail_call("cudaHostAlloc", 5);
    assert_int_not_equal(step_job(&how, &other), SC_OK);
    assert_int_equal(shim_allocations(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_result),
                                       cmocka_unit_test(test_against_ref),
                                       cmocka_unit_test(test_calls),
#ifndef __SANITIZE_ADDRESS__
                                       cmocka_unit_test(test_forgotten_waits),
#endif
                                       cmocka_unit_test(test_failures)};
    alone = sc_comm_single();
    const int failed = alone ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
    if (alone)
        alone->free(alone);
    return failed;
}
