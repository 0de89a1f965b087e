/* The CPU backend in fp32 against PyTorch's doubles, every golden case, plain and accumulating;
 * augment bit for bit against torchvision on PIL images.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "../golden/golden_node.h"

/* Of the largest value: float sums of a few hundred terms, and inputs that round to float first. */
#define TOLERANCE 5e-6

static bool is_result(const char *name)
{
    return strncmp(name, "out", 3) == 0 || strncmp(name, "din", 3) == 0 ||
           strncmp(name, "dparam", 6) == 0 || strncmp(name, "after", 5) == 0;
}

static int compare_case(sc_device *d, const sc_comm *alone, const golden_case *c, bool accumulate,
                        double tolerance)
{
    golden_node n;
    int compared = 0;
    sc_status status = golden_node_open(d, alone, c, accumulate, &n);
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
    sc_device *d = NULL;
    const sc_device_options o = {.threads = 2, .precision = SC_FP32};
    assert_int_equal(sc_backend_cpu()->open(&o, &d), SC_OK);
    sc_comm *alone = sc_comm_single();
    int compared = 0;
    for (size_t i = 0; i < f->count; i++)
        for (int accumulate = 0; accumulate < 2; accumulate++)
            compared += compare_case(d, alone, &f->cases[i], accumulate, tolerance);
    assert_in_range(compared, at_least, 100000);
    alone->free(alone);
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ops), cmocka_unit_test(test_augment)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
