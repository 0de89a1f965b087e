/* Opening the CPU: refusals, threads against the affinity mask, precision and what the log says;
 * and AdamW against a double.
 */
#include "superclip/backend.h"

#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct lines {
    int count;
    char last[256];
} lines;
static void keep(void *ctx, sc_log_level level, const char *line)
{
    (void)level;
    lines *l = ctx;
    l->count++;
    snprintf(l->last, sizeof l->last, "%s", line);
}

static void test_refusals(void **state)
{
    (void)state;
    sc_device *d = NULL;
    sc_device_options o = {0, SC_FP32, NULL};
    assert_int_equal(sc_backend_cpu()->open(&o, &d), SC_EUSAGE);
    o = (sc_device_options){1, SC_FP64, NULL};
    assert_int_equal(sc_backend_cpu()->open(&o, &d), SC_EUNSUPPORTED);
    assert_null(d);
}

static void test_threads_are_capped(void **state)
{
    (void)state;
    lines l = {0};
    sc_log log = {keep, &l};
    sc_device *d = NULL;
    sc_device_options o = {CPU_SETSIZE, SC_FP32, &log};
    cpu_set_t before;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(sc_backend_cpu()->open(&o, &d), SC_OK);
    assert_in_range(d->threads, 1, CPU_SETSIZE);
    if (d->threads < CPU_SETSIZE) {
        assert_int_equal(l.count, 1);
        assert_non_null(strstr(l.last, "threads asked for"));
    }
    sc_backend_cpu()->close(d);
    sched_setaffinity(0, sizeof before, &before);
}

static void test_binding_is_lifted(void **state)
{
    (void)state;
    cpu_set_t before, one, after;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    if (CPU_COUNT(&before) < 2)
        skip();
    CPU_ZERO(&one);
    for (size_t i = 0; CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    lines l = {0};
    sc_log log = {keep, &l};
    sc_device *d = NULL;
    sc_device_options o = {1, SC_FP32, &log};
    assert_int_equal(sc_backend_cpu()->open(&o, &d), SC_OK);
    sc_backend_cpu()->close(d);
    assert_int_equal(l.count, 0); /* one thread on one processor: nothing to do */
    o.threads = 2;
    assert_int_equal(sc_backend_cpu()->open(&o, &d), SC_OK);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_int_equal(d->threads, 2);
    assert_true(CPU_COUNT(&after) >= 2);
    assert_int_equal(l.count, 1);
    assert_non_null(strstr(l.last, "binding lifted"));
    sc_backend_cpu()->close(d);
    sched_setaffinity(0, sizeof before, &before);
}

static void test_bf16_or_a_line(void **state)
{
    (void)state;
    lines l = {0};
    sc_log log = {keep, &l};
    sc_device *d = NULL;
    sc_device_options o = {1, SC_BF16_MIXED, &log};
    assert_int_equal(sc_backend_cpu()->open(&o, &d), SC_OK);
    assert_int_equal(l.count, d->precision == SC_BF16_MIXED ? 0 : 1);
    if (l.count)
        assert_non_null(strstr(l.last, "bfloat16"));
    assert_non_null(strstr(d->description, "oneDNN"));
    sc_backend_cpu()->close(d);
}

static void test_adamw(void **state)
{
    (void)state;
    enum { N = 10007 };
    sc_device *d = NULL;
    sc_device_options o = {2, SC_FP32, NULL};
    assert_int_equal(sc_backend_cpu()->open(&o, &d), SC_OK);
    float *x = calloc(4 * N, sizeof *x);
    double *y = calloc(3 * N, sizeof *y);
    for (int i = 0; i < N; i++) {
        x[i] = (float)sin(i);
        y[i] = (double)x[i];
    }
    for (int step = 1; step <= 5; step++) {
        const sc_adamw a = {1e-2, 0.9, 0.999, 1e-8, 0.1, step};
        for (int i = 0; i < N; i++) {
            double g = i % 10 == 0 ? 0 : cos(i * step) * pow(10, i % 9 - 6);
            x[N + i] = (float)g;
            g = (double)x[N + i];
            double *m = y + N + i, *v = y + 2 * N + i;
            *m = 0.9 * *m + (1 - 0.9) * g;
            *v = 0.999 * *v + (1 - 0.999) * g * g;
            y[i] = y[i] * (1 - 1e-2 * 0.1) - 1e-2 / (1 - pow(0.9, step)) * *m /
                                                 (sqrt(*v) / sqrt(1 - pow(0.999, step)) + 1e-8);
        }
        assert_int_equal(d->backend->adamw(d, &a, N, x, x + N, x + 2 * N, x + 3 * N), SC_OK);
    }
    for (int i = 0; i < N; i++)
        if (!(fabs((double)x[i] - y[i]) <= 2e-7 * (1 + fabs(y[i]))))
            fail_msg("element %d: %.9g, not %.9g", i, (double)x[i], y[i]);
    free(x);
    free(y);
    d->backend->close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_threads_are_capped),
        cmocka_unit_test(test_binding_is_lifted),
        cmocka_unit_test(test_bf16_or_a_line),
        cmocka_unit_test(test_adamw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
