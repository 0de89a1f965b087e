/* Status, log, memory, text, names, UTF-8, element types. */
#include "superclip/base.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void messages_are_one_line_with_a_place(void **state)
{
    (void)state;
    assert_int_equal(sc_fail(SC_EIO, "%s: broken\nin two lines\t%d", "a.txt", 7), SC_EIO);
    assert_string_equal(sc_message(), "a.txt: broken in two lines 7");
    assert_non_null(strstr(sc_message_place(), "test_base.c:"));
    assert_int_equal(sc_fail_prefix(SC_EIO, "job %d", 3), SC_EIO);
    assert_string_equal(sc_message(), "job 3: a.txt: broken in two lines 7");
    /* handing a message on may name the old one as an argument */
    sc_fail(SC_EFORMAT, "%s", sc_message());
    assert_string_equal(sc_message(), "job 3: a.txt: broken in two lines 7");
    sc_message_clear();
    assert_string_equal(sc_message(), "");
}

static void messages_are_text_whatever_is_quoted(void **state)
{
    (void)state;
    sc_fail(SC_EFORMAT, "%.4s|%s", "a\xE4\xB8\xAD", "\x1B[2J\xC2\x9B\xFF\xC3\xA9\xE4\xB8");
    assert_string_equal(sc_message(), "a\xE4\xB8\xAD| [2J  ?\xC3\xA9??");
    sc_fail_prefix(SC_EFORMAT, "%.2s", "\xE4\xB8\xAD");
    assert_true(sc_utf8_valid(sc_message(), strlen(sc_message())));
}

static void long_messages_are_cut_between_characters(void **state)
{
    (void)state;
    char text[4097];
    for (size_t shift = 0; shift < 3; shift++) {
        memset(text, 'a', shift);
        for (size_t i = shift; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\xE4\xB8\xAD", 4);
        sc_fail(SC_EIO, "%s", text);
        assert_true(strlen(sc_message()) > 2000);
        assert_true(sc_utf8_valid(sc_message(), strlen(sc_message())));
        sc_fail_prefix(SC_EIO, "%s", "file");
        assert_true(sc_utf8_valid(sc_message(), strlen(sc_message())));
        assert_int_equal(strncmp(sc_message(), "file: ", 6), 0);
    }
}

static void *fail_elsewhere(void *unused)
{
    sc_fail(SC_EIO, "another thread");
    return unused;
}

static void each_thread_has_its_message(void **state)
{
    (void)state;
    pthread_t thread;
    sc_fail(SC_EIO, "mine");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    pthread_join(thread, NULL);
    assert_string_equal(sc_message(), "mine");
}

static void every_status_has_a_name(void **state)
{
    (void)state;
    for (int s = SC_OK; s <= SC_EINTERNAL; s++)
        assert_string_not_equal(sc_status_name((sc_status)s), "unknown");
    assert_string_equal(sc_status_name(SC_OK), "ok");
    assert_string_equal(sc_status_name((sc_status)99), "unknown");
}

typedef struct heard {
    char line[64];
    sc_log_level level;
} heard;

static void hear(void *ctx, sc_log_level level, const char *line)
{
    heard *h = ctx;
    snprintf(h->line, sizeof h->line, "%s", line);
    h->level = level;
}

static void a_log_gets_single_lines(void **state)
{
    (void)state;
    heard h = {{0}, SC_LOG_INFO};
    sc_log log = {hear, &h};
    sc_warn(&log, "%d images\nskipped", 3);
    assert_string_equal(h.line, "3 images skipped");
    assert_int_equal(h.level, SC_LOG_WARN);
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    size_t n;
    assert_true(sc_mul_overflow(SIZE_MAX, 2, &n));
    assert_false(sc_mul_overflow(SIZE_MAX, 1, &n));
    assert_int_equal(n, SIZE_MAX);
    assert_false(sc_mul_overflow(0, SIZE_MAX, &n));
    assert_null(sc_alloc(SIZE_MAX / 2, 3));
    assert_non_null(strstr(sc_message(), "out of memory"));
    assert_null(sc_realloc(NULL, SIZE_MAX / 2, 3));
    void *p = sc_alloc(0, 8);
    assert_non_null(p);
    free(p);
}

static void texts_grow(void **state)
{
    (void)state;
    sc_text t;
    sc_text_init(&t);
    for (int i = 0; i < 1000; i++)
        sc_text_putf(&t, "%d,", i);
    sc_text_puts(&t, "end");
    sc_text_add(&t, "\0x", 2);
    assert_int_equal(sc_text_status(&t), SC_OK);
    assert_int_equal(t.len, 3890 + 3 + 2);
    assert_memory_equal(t.data + t.len - 5, "end\0x", 6);
    sc_text_clear(&t);
    assert_int_equal(t.len, 0);
    assert_string_equal(t.data, "");
    t.failed = true; /* after a failed growth nothing is added any more */
    sc_text_puts(&t, "lost");
    assert_int_equal(t.len, 0);
    assert_int_equal(sc_text_status(&t), SC_ENOMEM);
    sc_text_free(&t);
    char *s = sc_format("%s-%03d", "a", 7);
    assert_string_equal(s, "a-007");
    free(s);
    s = sc_strndup("abcdef", 3);
    assert_string_equal(s, "abc");
    free(s);
}

static void arenas_give_zeroed_aligned_memory(void **state)
{
    (void)state;
    sc_arena *a = sc_arena_new(0);
    assert_non_null(a);
    for (size_t n = 1; n < 3000; n = n * 3 / 2 + 1) {
        unsigned char *p = sc_arena_alloc(a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xAB, n);
    }
    assert_string_equal(sc_arena_strdup(a, "name"), "name");
    assert_null(sc_arena_alloc(a, SIZE_MAX - 8));
    sc_arena_free(a);
    sc_arena_free(NULL);
}

static void near_names_are_found(void **state)
{
    (void)state;
    static const char *const names[] = {"batch_size", "embed_dim", "epochs", "fold",
                                        "learning_rate"};
    const size_t n = sizeof names / sizeof names[0];
    assert_string_equal(sc_nearest("batchsize", names, n), "batch_size");
    assert_string_equal(sc_nearest("Batch-Size", names, n), "batch_size");
    assert_string_equal(sc_nearest("epoch", names, n), "epochs");
    assert_string_equal(sc_nearest("learnign_rate", names, n), "learning_rate");
    assert_string_equal(sc_nearest("flod", names, n), "fold");
    assert_null(sc_nearest("temperature", names, n));
    assert_null(sc_nearest("x", names, n));
    assert_null(sc_nearest("", names, n));
    assert_null(sc_nearest("epochs", names, 0));
}

static void utf8_is_checked(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "abc",
                                       "\xC3\xBC",
                                       "\xE4\xB8\xAD",
                                       "\xF0\x9F\x98\x80",
                                       "\xED\x9F\xBF",
                                       "\xEE\x80\x80",
                                       "\xF4\x8F\xBF\xBF"};
    static const char *const bad[] = {"\x80",
                                      "\xC0\xAF",
                                      "\xC1\xBF",
                                      "\xC3",
                                      "\xE0\x9F\xBF",
                                      "\xED\xA0\x80",
                                      "\xE4\xB8",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xFF",
                                      "a\xFEz"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(sc_utf8_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(sc_utf8_valid(bad[i], strlen(bad[i])));
}

static void element_types_have_torch_sizes(void **state)
{
    (void)state;
    static const struct {
        sc_dtype t;
        size_t size;
        const char *name;
    } rows[] = {{SC_F32, 4, "float32"}, {SC_F64, 8, "float64"}, {SC_BF16, 2, "bfloat16"},
                {SC_F16, 2, "float16"}, {SC_I64, 8, "int64"},   {SC_I32, 4, "int32"},
                {SC_I16, 2, "int16"},   {SC_I8, 1, "int8"},     {SC_U8, 1, "uint8"},
                {SC_BOOL, 1, "bool"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(sc_dtype_size(rows[i].t), rows[i].size);
        assert_string_equal(sc_dtype_name(rows[i].t), rows[i].name);
    }
    assert_int_equal(sc_dtype_size((sc_dtype)77), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_one_line_with_a_place),
        cmocka_unit_test(messages_are_text_whatever_is_quoted),
        cmocka_unit_test(long_messages_are_cut_between_characters),
        cmocka_unit_test(each_thread_has_its_message),
        cmocka_unit_test(every_status_has_a_name),
        cmocka_unit_test(a_log_gets_single_lines),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(texts_grow),
        cmocka_unit_test(arenas_give_zeroed_aligned_memory),
        cmocka_unit_test(near_names_are_found),
        cmocka_unit_test(utf8_is_checked),
        cmocka_unit_test(element_types_have_torch_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
