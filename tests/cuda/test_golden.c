/* The kernels in fp32 over the shim against PyTorch's doubles, every golden case; augment bit for
 * bit against torchvision on PIL images.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../golden/golden_compare.h"
#include "cuda.h"

/* Of the largest value: float sums of a few hundred terms, and inputs that round to float first. */
#define TOLERANCE 5e-6

static void test_ops(void **state)
{
    (void)state;
    golden_compare(sc_backend_cuda(), SC_FP32, SC_TEST_DIR "/golden/ops.golden", TOLERANCE, 300);
    golden_compare(sc_backend_cuda(), SC_FP32, SC_TEST_DIR "/golden/tokens.golden", TOLERANCE, 60);
}
static void test_augment(void **state)
{
    (void)state;
    golden_compare(sc_backend_cuda(), SC_FP32, SC_TEST_DIR "/golden/augment.golden", 0, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ops), cmocka_unit_test(test_augment)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
