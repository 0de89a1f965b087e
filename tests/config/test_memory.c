/* Every allocation fails once: the result is SC_ENOMEM, nothing crashes, and (under
 * AddressSanitizer) nothing leaks. malloc, calloc and realloc of our own objects are wrapped by the
 * linker. */
#include "parsing.h"

static long countdown; /* 0: off; 1: the next allocation fails */

static bool fails_now(void)
{
    return countdown > 0 && --countdown == 0;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);

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

static void a_quiet_log(void *ctx, sc_log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
}

static const char config[] =
    "[{\"class_texts_dict\": {\"a\": [\"x\", \"y\"], \"b\": \"z\"}, \"epochs\": 3},"
    " {\"name\": \"n\", \"focal_gamma\": 1.0}, {\"name\": \"n\"}, {}]";

static void parsing_survives_every_failed_allocation(void **state)
{
    parsing *p = *state;
    write_text(p->file, config);
    char *argv[] = {
        (char *)(uintptr_t) "sc_mpi",   p->file,
        (char *)(uintptr_t) "--set",    (char *)(uintptr_t) "text_template=a {class_name}",
        (char *)(uintptr_t) "--no-amp", (char *)(uintptr_t) "--data-dir=d"};
    sc_log log = {a_quiet_log, NULL};
    long failures = 0;
    for (long k = 1;; k++) {
        sc_options o;
        countdown = k;
        sc_status status = sc_options_parse(6, argv, &log, &o);
        bool reached = countdown == 0;
        countdown = 0;
        if (status == SC_OK) {
            sc_options_free(&o);
            if (!reached)
                break;
            continue;
        }
        assert_int_equal(status, SC_ENOMEM);
        failures++;
    }
    print_message("%ld failed allocations\n", failures);
    assert_true(failures > 50);
}

static void texts_and_identity_survive_too(void **state)
{
    parsing *p = *state;
    static const char *const classes[] = {"a", "b", "c"};
    expect_ok(p, config, "@");
    const sc_config *c = &p->options.configs[0];
    sc_log log = {a_quiet_log, NULL};
    bool whole = false;
    for (long k = 1; !whole; k++) {
        sc_class_text *t = NULL;
        countdown = k;
        sc_status status = sc_config_class_texts(c, classes, 3, &log, &t);
        whole = countdown > 0;
        countdown = 0;
        assert_true(status == SC_OK || status == SC_ENOMEM);
        if (status == SC_OK)
            sc_class_texts_free(t, 3);
    }
    for (whole = false; !whole;) {
        static long k;
        countdown = ++k;
        char *identity = sc_config_identity(c);
        whole = countdown > 0;
        countdown = 0;
        assert_true(identity || !whole);
        free(identity);
        countdown = k;
        char *help = sc_options_help("sc_mpi");
        countdown = 0;
        free(help);
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, parsing_setup, parsing_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(parsing_survives_every_failed_allocation),
        CASE(texts_and_identity_survive_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
