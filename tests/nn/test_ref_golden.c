/* ref against PyTorch in double: every op, forward and backward; augment bit for bit against
 * torchvision on PIL images. Each case runs twice, the second time adding to the input gradients.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "../golden/golden_node.h"
#include "fake_comm.h"

/* Both sides compute in double; sums of up to a few hundred terms in another order. */
#define TOLERANCE 1e-12

static sc_device *open_ref(void)
{
    sc_device *d = NULL;
    const sc_device_options o = {.threads = 1, .precision = SC_FP64};
    assert_int_equal(sc_backend_ref()->open(&o, &d), SC_OK);
    return d;
}

/* Which tensors of a case are results. */
static bool is_result(const char *name)
{
    return strncmp(name, "out", 3) == 0 || strncmp(name, "din", 3) == 0 ||
           strncmp(name, "dparam", 6) == 0 || strncmp(name, "after", 5) == 0;
}

static int compare_case(sc_device *d, const golden_case *c, bool accumulate, double tolerance)
{
    golden_node n;
    int compared = 0;
    sc_status status = golden_node_open(d, fake_comm_alone(), c, accumulate, &n);
    if (status == SC_OK)
        status = golden_node_run(&n);
    if (status != SC_OK)
        fail_msg("%s: %s", c->name, sc_message());
    for (int i = 0; i < c->n_tensors; i++) {
        if (!is_result(c->tensors[i].name))
            continue;
        double error = golden_node_error(&n, c, c->tensors[i].name);
        if (!(error <= tolerance))
            fail_msg("%s: %s differs by %g", c->name, c->tensors[i].name, error);
        compared++;
    }
    golden_node_close(&n);
    return compared;
}

static void compare_file(const char *path, double tolerance, int at_least)
{
    golden_file *f = golden_open(path);
    assert_non_null(f);
    sc_device *d = open_ref();
    int compared = 0;
    for (size_t i = 0; i < f->count; i++)
        for (int accumulate = 0; accumulate < 2; accumulate++)
            compared += compare_case(d, &f->cases[i], accumulate, tolerance);
    assert_in_range(compared, at_least, 100000);
    d->backend->close(d);
    golden_free(f);
}

static void test_ops(void **state)
{
    (void)state;
    compare_file(SC_TEST_DIR "/golden/ops.golden", TOLERANCE, 300);
    compare_file(SC_TEST_DIR "/golden/tokens.golden", TOLERANCE, 60);
}

static void test_augment(void **state)
{
    (void)state;
    compare_file(SC_TEST_DIR "/golden/augment.golden", 0, 10);
}

/* Every op that has a gradient or pixels appears in the golden files (all_gather has its own test).
 */
static void test_every_op_has_a_case(void **state)
{
    (void)state;
    bool seen[SC_OP_COUNT] = {[SC_OP_ALL_GATHER] = true};
    const char *const paths[] = {SC_TEST_DIR "/golden/ops.golden",
                                 SC_TEST_DIR "/golden/tokens.golden",
                                 SC_TEST_DIR "/golden/augment.golden"};
    for (int k = 0; k < 3; k++) {
        golden_file *f = golden_open(paths[k]);
        assert_non_null(f);
        for (size_t i = 0; i < f->count; i++)
            seen[golden_op(f->cases[i].op)] = true;
        golden_free(f);
    }
    for (int op = 0; op < SC_OP_COUNT; op++)
        if (!seen[op])
            fail_msg("no golden case for %s", sc_op_name((sc_op)op));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ops),
        cmocka_unit_test(test_augment),
        cmocka_unit_test(test_every_op_has_a_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
