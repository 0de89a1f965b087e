/* Several ranks, one of them without rows, give what one rank gives. Between the launches the
 * collectives go through host memory.
 */
#include "cuda.h"
#include "rank_runs.h"
#include "shim/shim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_split_rows(void **state)
{
    (void)state;
    rank_runs_compare(sc_backend_cuda(), 31);
    assert_int_equal(shim_allocations(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_split_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
