/* No kernel leaves the order of two threads' accesses to chance, or reads 16 bytes from an address
 * that is no multiple of it: every row of the op table with every access watched (shim/races.h).
 * That the results are right is cuda_ops' to tell.
 */
#include "check_ops.h"
#include "cuda.h"
#include "shim/faults.h"
#include "shim/shim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LAUNCH_FAILURE = 719 };

static void expect(int error, const char *words)
{
    if (words == NULL) {
        assert_string_equal(shim_fault(), "");
        assert_int_equal(error, 0);
        return;
    }
    assert_int_equal(error, LAUNCH_FAILURE);
    if (!strstr(shim_fault(), words))
        fail_msg("told as: %s", shim_fault());
    shim_clear_fault();
}
static void test_faults(void **state)
{
    (void)state;
    int out[64], each[5] = {0};
    float from[16] __attribute__((aligned(16))) = {0}, to[8] __attribute__((aligned(16)));
    for (int descending = 0; descending < 2; descending++) {
        shim_set_order(descending);
        expect(fault_exchange(FAULT_SYNCTHREADS, out), NULL);
        expect(fault_exchange(FAULT_SYNCWARP, out), NULL);
        expect(fault_exchange(FAULT_SHUFFLE, out), "without a barrier");
        expect(fault_exchange(FAULT_NOTHING, out), "without a barrier");
        expect(fault_overwrite(1, out), NULL);
        expect(fault_overwrite(0, out), "without a barrier");
        expect(fault_last_adds(FAULT_FENCES, 5, each, out), NULL);
        assert_int_equal(out[0], 15);
        expect(fault_last_adds(FAULT_NO_FENCE_WRITING, 5, each, out), "without a fence");
        expect(fault_last_adds(FAULT_NO_FENCE_READING, 5, each, out), "without a fence");
        expect(fault_one_place(1, 1, out), NULL);
        expect(fault_one_place(1, 2, out), "over what was written of thread");
        expect(fault_one_place(2, 1, out), "over what was written of another block");
        expect(fault_misaligned(from + 4, to), NULL);
        expect(fault_misaligned(from + 1, to), "misaligned");
    }
    shim_set_order(0);
}

static sc_status run(const op_case *c, sc_precision_mode precision, bool training)
{
    const case_run how = {.backend = sc_backend_cuda(),
                          .precision = precision,
                          .threads = 1,
                          .training = training,
                          .backward = training};
    case_result r = {0};
    const sc_status status = run_case(c, &how, &r);
    case_result_free(&r);
    if (*shim_fault())
        fail_msg("%s: %s", c->name, shim_fault());
    return status;
}
static void test_table(void **state)
{
    (void)state;
    size_t count, more;
    const op_case *c = op_cases(&count), *larger = check_larger(&more);
    for (size_t i = 0; i < count + more; i++)
        for (int k = 0; k < 3; k++) {
            const op_case *each = i < count ? &c[i] : &larger[i - count];
            if (!each->then && run(each, k == 1 ? SC_BF16_MIXED : SC_FP32, k < 2) != SC_OK)
                fail_msg("%s: %s", each->name, sc_message());
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_faults), cmocka_unit_test(test_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
