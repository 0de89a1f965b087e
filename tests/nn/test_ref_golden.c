/* ref against PyTorch in double: every op, forward and backward; augment bit for bit against
 * torchvision on PIL images. Each case runs twice, the second time adding to the input gradients.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../golden/golden_compare.h"
#include "../golden/golden_node.h"

/* Both sides compute in double; sums of up to a few hundred terms in another order. */
#define TOLERANCE 1e-12

static void test_ops(void **state)
{
    (void)state;
    golden_compare(sc_backend_ref(), SC_FP64, SC_TEST_DIR "/golden/ops.golden", TOLERANCE, 300);
    golden_compare(sc_backend_ref(), SC_FP64, SC_TEST_DIR "/golden/tokens.golden", TOLERANCE, 60);
}

static void test_augment(void **state)
{
    (void)state;
    golden_compare(sc_backend_ref(), SC_FP64, SC_TEST_DIR "/golden/augment.golden", 0, 10);
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
