/* Every row of the op table on the CUDA backend over the shim, against `ref`: forward, backward,
 * accumulating and in evaluation, fp32 and bf16, with the tolerances of the CPU backend. Threads
 * and blocks in ascending and descending order give the same bytes: no result depends on who comes
 * first. Convolutions and products run on what stands in for cuDNN and cuBLASLt.
 */
#include "check_ops.h"
#include "cuda.h"
#include "shim/shim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void all_modes(sc_precision_mode precision)
{
    const case_run how = {.backend = sc_backend_cuda(), .precision = precision, .threads = 1};
    size_t count;
    const op_case *c = op_cases(&count);
    for (size_t i = 0; i < count; i++)
        if (check_modes(&c[i], how, shim_set_order, NULL) != SC_OK)
            fail_msg("%s", sc_message());
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

static void test_larger(void **state)
{
    (void)state;
    size_t count;
    const op_case *c = check_larger(&count);
    for (size_t i = 0; i < count; i++)
        for (int bf = 0; bf < 2; bf++) {
            const case_run how = {.backend = sc_backend_cuda(),
                                  .precision = bf ? SC_BF16_MIXED : SC_FP32,
                                  .threads = 1,
                                  .training = true,
                                  .backward = true};
            if (check_case(&c[i], &how, "training", shim_set_order, NULL) != SC_OK)
                fail_msg("%s", sc_message());
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
