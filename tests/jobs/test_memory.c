/* Every allocation of the planner and of the histories fails once, without a crash or a leak. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "superclip/jobs.h"

#include <stdlib.h>
#include <string.h>

static long countdown; /* 0: off; 1: the next allocation fails */

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);

static bool fails_now(void)
{
    return countdown > 0 && --countdown == 0;
}

void *__wrap_malloc(size_t n)
{
    return fails_now() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t count, size_t n)
{
    return fails_now() ? NULL : __real_calloc(count, n);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails_now() ? NULL : __real_realloc(p, n);
}

static void planning(void **state)
{
    (void)state;
    sc_job jobs[6];
    for (int i = 0; i < 6; i++)
        jobs[i] = (sc_job){.fold = i + 1,
                           .epochs = 1,
                           .train_rows = 100.0 * (i + 1),
                           .val_rows = 20,
                           .batch = 8,
                           .row_flops = 1e9,
                           .done = i == 3};
    static const int worlds[] = {4, 40}; /* searched whole, and by improvement */
    for (int w = 0; w < 2; w++) {
        sc_machine m = {.ranks = worlds[w],
                        .ranks_per_node = 4,
                        .flops = 1e10,
                        .bandwidth = 1e9,
                        .latency = 1e-4};
        long failures = 0;
        for (bool whole = false; !whole; failures++) {
            sc_plan best, second;
            countdown = failures + 1;
            sc_status status = sc_plan_make(jobs, 6, &m, 0, &best, &second);
            whole = countdown > 0;
            countdown = 0;
            assert_int_equal(status, whole ? SC_OK : SC_ENOMEM);
            assert_true(whole || (!best.group_size && !second.group_size));
            sc_plan_free(&best);
            sc_plan_free(&second);
        }
        assert_true(failures > 30);
    }
}

static void histories(void **state)
{
    (void)state;
    sc_epoch_metrics m = {0};
    for (long k = 1; k < 6; k++) {
        sc_history h = {0};
        int pushed = 0;
        countdown = k;
        for (int e = 0; e < 40; e++)
            pushed += sc_history_push(&h, &m) == SC_OK;
        countdown = 0;
        assert_int_equal(h.count, pushed); /* a failed push leaves the rest as it was */
        assert_true(pushed >= 39);
        sc_history_free(&h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planning),
        cmocka_unit_test(histories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
