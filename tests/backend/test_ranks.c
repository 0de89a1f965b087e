/* Several ranks, one of them without rows, give what one rank gives. */
#include "rank_runs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_split_rows(void **state)
{
    (void)state;
    rank_runs_compare(sc_backend_cpu(), 31);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_split_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
