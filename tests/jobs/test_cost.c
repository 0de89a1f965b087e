/* What a job costs on a group of ranks, and how its rows are split. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "superclip/jobs.h"

static void a_job_costs_what_its_parts_cost(void **state)
{
    (void)state;
    sc_job j = {.epochs = 2,
                .train_rows = 100,
                .val_rows = 50,
                .batch = 32,
                .row_flops = 10,
                .repeated_flops = 30,
                .reduced_bytes = 1000,
                .collectives = 3};
    sc_machine m = {.ranks = 8, .flops = 1, .bandwidth = 100, .latency = 0.5};
    /* one rank: 3 x 10 x 100 rows, 4 steps of 30, 10 x 50 rows, a third of 30 */
    assert_true(fabs(sc_job_seconds(&j, &m, 1) - 2 * (3000 + 120 + 500 + 10)) < 1e-9);
    /* three ranks: 11 + 11 + 11 + 2 rows each, a ring of 4/3 of the bytes, trees of two levels */
    double step = 1000.0 / 100 * 4 / 3 + 0.5 * 2 + 3 * 0.5 * 2;
    double expected = 2 * (3 * 10 * 35 + 120 + 10 * (11 + 6) + 10 + 4 * step + 2 * 1.0);
    assert_true(fabs(sc_job_seconds(&j, &m, 3) - expected) < 1e-9);
}

static void rows_are_split_evenly(void **state)
{
    (void)state;
    for (int ranks = 1; ranks <= 40; ranks++) {
        for (int64_t rows = 0; rows <= 70; rows++) {
            int64_t share[40], sum = 0;
            sc_split_rows(rows, ranks, share);
            for (int r = 0; r < ranks; r++) {
                sum += share[r];
                assert_true(share[r] == rows / ranks || share[r] == rows / ranks + 1);
                assert_true(r == 0 || share[r] <= share[r - 1]);
            }
            assert_true(sum == rows);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_costs_what_its_parts_cost),
        cmocka_unit_test(rows_are_split_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
