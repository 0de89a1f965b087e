/* Allocations of a training fail one at a time: the job ends with a message or without harm, never
 * with a crash, a leak or a damaged file, and the same command then gives the usual bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "job.h"

static atomic_long countdown; /* 0: off; 1: the next allocation fails */
static atomic_long seen;

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);

static bool fails_now(void)
{
    atomic_fetch_add(&seen, 1);
    long left = atomic_load(&countdown);
    return left > 0 && atomic_fetch_sub(&countdown, 1) == 1;
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

static void small(job *j)
{
    job_init(j);
    j->o.epochs = 1;
    j->o.batch_size = 14;
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    job j;
    sc_train_result r;
    size_t n, m;
    small(&j);
    atomic_store(&seen, 0);
    assert_int_equal(job_run(&j, &r), SC_OK);
    long total = atomic_load(&seen), step = 1;
    sc_train_result_free(&r);
    char *want = job_file(&j, "checkpoint_latest.pth", &n);
    job_free(&j);
    assert_true(total > 1000);
    for (long k = 1; k <= total;
         k += step, step = 1 + k / 8) { /* closely at the start, then samples */
        small(&j);
        atomic_store(&countdown, k);
        sc_status status = job_run(&j, &r);
        atomic_store(&countdown, 0);
        if (status == SC_OK)
            sc_train_result_free(&r);
        else if (status != SC_ENOMEM)
            fail_msg("allocation %ld of %ld: %s: %s", k, total, sc_status_name(status),
                     sc_message());
        if (job_run(&j, &r) != SC_OK)
            fail_msg("after allocation %ld failed: %s", k, sc_message());
        sc_train_result_free(&r);
        char *have = job_file(&j, "checkpoint_latest.pth", &m);
        assert_int_equal(n, m);
        assert_memory_equal(want, have, n);
        free(have);
        job_free(&j);
    }
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_fails_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
