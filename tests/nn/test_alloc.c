/* Memory: after compile nothing is allocated, and wherever memory runs out before that the failure
 * is a status and nothing leaks. malloc and its family are this program's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fake_comm.h"
#include "tiny_model.h"

static long calls;        /* since the program began */
static long live;         /* blocks not freed */
static long fail_at = -1; /* the call that finds no memory */

#if !defined(__SANITIZE_ADDRESS__)
/* glibc's own entry points, behind the names that every library here calls. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);
void __libc_free(void *p);

static bool out_of_memory(void)
{
    return calls++ == fail_at;
}

static void *count(void *p)
{
    live += p != NULL;
    return p;
}

void *malloc(size_t n)
{
    return out_of_memory() ? NULL : count(__libc_malloc(n));
}

void *calloc(size_t n, size_t size)
{
    return out_of_memory() ? NULL : count(__libc_calloc(n, size));
}

void *realloc(void *p, size_t n)
{
    if (out_of_memory())
        return NULL;
    return p == NULL ? count(__libc_realloc(p, n)) : __libc_realloc(p, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    return out_of_memory() ? NULL : count(__libc_memalign(alignment, n));
}

void free(void *p)
{
    live -= p != NULL;
    __libc_free(p);
}
#define COUNTED 1
#else
#define COUNTED 0 /* the sanitizer has malloc for itself */
#endif

static void step(tiny *t, bool write)
{
    const sc_adamw adamw = {1e-3, 0.9, 0.999, 1e-8, 0.01, 0};
    const int64_t rows = 5;
    double loss, logits[5 * TINY_CLASSES];
    if (write)
        assert_int_equal(tiny_write(t, fake_comm_alone(), &rows, 0), SC_OK);
    assert_int_equal(tiny_gradients(t, &loss), SC_OK);
    assert_int_equal(sc_params_update(t->params, &adamw), SC_OK);
    assert_int_equal(sc_program_read(t->program, "logits", logits), SC_OK);
    assert_int_not_equal(sc_params_checksum(t->params), 0);
}

static void test_steps_allocate_nothing(void **state)
{
    (void)state;
    const int64_t rows = 5;
    tiny_options o = tiny_defaults();
    tiny t;
    assert_int_equal(tiny_open(&o, fake_comm_alone(), &rows, false, &t), SC_OK);
    long before_write = calls;
    step(&t, true); /* tiny_write itself allocates: the counter works */
    assert_true(!COUNTED || calls > before_write);
    long before = calls;
    for (int k = 0; k < 3; k++)
        step(&t, false);
    assert_int_equal(calls - before, 0);
    tiny_close(&t);
}

/* From opening the device to a trained step and an export, failing at call k. */
static sc_status whole_life(void)
{
    const int64_t rows = 3;
    tiny_options o = tiny_defaults();
    tiny t;
    sc_tensor_set set = {0};
    double loss;
    sc_status status = tiny_open(&o, fake_comm_alone(), &rows, false, &t);
    if (status == SC_OK)
        status = tiny_write(&t, fake_comm_alone(), &rows, 0);
    if (status == SC_OK)
        status = tiny_gradients(&t, &loss);
    if (status == SC_OK)
        status = sc_params_export(t.params, &set);
    if (status == SC_OK)
        status = sc_params_import(t.params, &set);
    sc_tensor_set_free(&set);
    tiny_close(&t);
    return status;
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    if (!COUNTED)
        skip();
    assert_int_equal(whole_life(), SC_OK); /* anything kept for ever is allocated now */
    long first = calls, before = live;
    assert_int_equal(whole_life(), SC_OK);
    long needed = calls - first;
    assert_int_equal(live, before);
    assert_true(needed > 100);
    for (long k = 0; k < needed; k++) {
        before = live;
        fail_at = calls + k;
        sc_status status = whole_life();
        fail_at = -1;
        if (status != SC_ENOMEM || live != before)
            fail_msg("allocation %ld of %ld: status %s, %ld blocks left", k, needed,
                     sc_status_name(status), live - before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steps_allocate_nothing),
                                       cmocka_unit_test(test_every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
