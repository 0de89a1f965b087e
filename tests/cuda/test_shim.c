/* The shim sees what the device leaves undefined. */
#include "shim/faults.h"
#include "shim/shim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { INVALID_CONFIGURATION = 9, LAUNCH_FAILURE = 719 };

static void expect(int error, const char *words)
{
    assert_int_equal(error, LAUNCH_FAILURE);
    if (!strstr(shim_fault(), words))
        fail_msg("told as: %s", shim_fault());
    shim_clear_fault();
}
static void test_faults(void **state)
{
    (void)state;
    for (int descending = 0; descending < 2; descending++) {
        shim_set_order(descending);
        expect(fault_divergent_barrier(), "not all threads reach");
        expect(fault_two_barriers(), "different places");
        expect(fault_partial_shuffle(), "not all threads reach");
        expect(fault_lane_outside_mask(), "outside its mask");
        expect(fault_too_much_shared(), "more shared memory");
#ifndef __SANITIZE_ADDRESS__
        expect(fault_behind_shared(), "behind its end");
#endif
    }
    shim_set_order(0);
}
static void test_configuration(void **state)
{
    (void)state;
    assert_int_equal(fault_too_many_threads(), INVALID_CONFIGURATION);
    assert_int_equal(fault_empty_grid(), INVALID_CONFIGURATION);
    assert_int_equal(fault_dynamic(0, 0), INVALID_CONFIGURATION);
    assert_int_equal(fault_dynamic(1, 0), 0);
    assert_int_equal(fault_dynamic(0, 1), INVALID_CONFIGURATION); /* another kernel asked */
    assert_string_equal(shim_fault(), "");
}
static void test_order_shows_a_missing_barrier(void **state)
{
    (void)state;
    int right = 0, without = 0;
    for (int descending = 0; descending < 2; descending++)
        for (int with = 0; with < 2; with++) {
            int out[40], good = 1;
            shim_set_order(descending);
            assert_int_equal(fault_neighbours(with, out, 40), 0);
            for (int i = 0; i < 40; i++)
                good = good && out[i] == (i + 1) % 40;
            *(with ? &right : &without) += good;
        }
    shim_set_order(0);
    assert_int_equal(right, 2);
    assert_int_equal(without, 0);
}
static void test_sum(void **state)
{
    (void)state;
    float x[3 * 1000], out[3];
    for (int i = 0; i < 3000; i++)
        x[i] = (float)(i % 97);
    for (int descending = 0; descending < 2; descending++) {
        shim_set_order(descending);
        assert_int_equal(fault_free_sum(x, 1000, 3, out), 0);
        for (int b = 0; b < 3; b++) {
            float want = 0;
            for (int i = 0; i < 1000; i++)
                want += x[1000 * b + i];
            assert_true(out[b] == want);
        }
    }
    shim_set_order(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults), cmocka_unit_test(test_configuration),
        cmocka_unit_test(test_order_shows_a_missing_barrier), cmocka_unit_test(test_sum)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
