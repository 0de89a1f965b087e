/* After compile nothing is allocated: malloc and its family are counted in this program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fake_comm.h"
#include "tiny_model.h"

static long calls; /* since the program began */

#if !defined(__SANITIZE_ADDRESS__)
/* glibc's own entry points, behind the names that every library here calls. */
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);

void *malloc(size_t n)
{
    calls++;
    return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    calls++;
    return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    calls++;
    return __libc_realloc(p, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    calls++;
    return __libc_memalign(alignment, n);
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steps_allocate_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
