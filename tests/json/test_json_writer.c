/* Writing, and that what is written reads back the same. */
#include "superclip/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Expected texts are Python's repr of the same numbers. */
static void doubles_are_short_and_exact(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } rows[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {3, "3.0"},
        {0.1, "0.1"},
        {1e-5, "1e-05"},
        {1e-4, "0.0001"},
        {2.5e-7, "2.5e-07"},
        {1e15, "1000000000000000.0"},
        {1e16, "1e+16"},
        {1e22, "1e+22"},
        {123456.789, "123456.789"},
        {-1.5, "-1.5"},
        {1.0 / 3, "0.3333333333333333"},
        {2.0 / 3, "0.6666666666666666"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {100, "100.0"},
        {12345678901234567.0, "1.2345678901234568e+16"},
        {0.00012, "0.00012"},
        {9007199254740993.0, "9007199254740992.0"},
        {0x1p-44, "5.684341886080802e-14"},
        {0x1p-1017, "7.120236347223045e-307"},
        {INFINITY, "null"},
        {-INFINITY, "null"},
        {NAN, "null"},
    };
    char out[32];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sc_format_double(rows[i].v, out);
        assert_string_equal(out, rows[i].text);
    }
}

static void every_double_reads_back(void **state)
{
    (void)state;
    const uint32_t key[2] = {1, 2};
    char out[32];
    for (uint32_t i = 0; i < 200000; i++) {
        uint32_t counter[4] = {i, 0, 0, 0}, words[4];
        double v;
        sc_philox4x32(key, counter, words);
        if (i % 2)
            words[1] = (words[1] & 0x800FFFFFu) | (1023 - 70 + i % 140) << 20; /* usual sizes */
        memcpy(&v, words, sizeof v);
        if (!isfinite(v))
            continue;
        sc_format_double(v, out);
        assert_true(strtod(out, NULL) == v);
    }
}

static void layout(void **state)
{
    (void)state;
    sc_json_writer w;
    sc_jw_init(&w);
    sc_jw_object(&w, NULL);
    sc_jw_string(&w, "name", "a \"quoted\"\n\xE4\xB8\xAD\x01\x7f");
    sc_jw_string(&w, "none", NULL);
    sc_jw_list(&w, "empty");
    sc_jw_end(&w);
    sc_jw_inline_list(&w, "row");
    sc_jw_int(&w, NULL, -1);
    sc_jw_number(&w, NULL, 0.5);
    sc_jw_inline_list(&w, NULL);
    sc_jw_bool(&w, NULL, true);
    sc_jw_end(&w);
    sc_jw_end(&w);
    sc_jw_list(&w, "list");
    sc_jw_null(&w, NULL);
    sc_jw_object(&w, NULL);
    sc_jw_end(&w);
    sc_jw_end(&w);
    sc_jw_string(&w, "bad", "x\xFFy");
    sc_jw_end(&w);
    assert_int_equal(sc_text_status(&w.text), SC_OK);
    assert_string_equal(w.text.data,
                        "{\n"
                        "  \"name\": \"a \\\"quoted\\\"\\n\xE4\xB8\xAD\\u0001\\u007f\",\n"
                        "  \"none\": null,\n"
                        "  \"empty\": [],\n"
                        "  \"row\": [-1, 0.5, [true]],\n"
                        "  \"list\": [\n"
                        "    null,\n"
                        "    {}\n"
                        "  ],\n"
                        "  \"bad\": \"x\xEF\xBF\xBDy\"\n"
                        "}");
    sc_jw_free(&w);
}

static void copies_and_compact(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\": 1, \"b\": [2.0, 1e-05, 12345678901234567, \"s\", null, true], "
        "\"c\": {\"d\": {}}}";
    sc_json_doc *doc;
    assert_int_equal(sc_json_parse("t", text, strlen(text), &doc), SC_OK);
    sc_json_writer w;
    sc_jw_init(&w);
    w.compact = true;
    sc_jw_value(&w, NULL, sc_json_root(doc));
    assert_string_equal(w.text.data, text);
    sc_jw_free(&w);
    sc_json_free(doc);
}

static void unbalanced_brackets_are_bugs(void **state)
{
    (void)state;
    sc_json_writer w;
    sc_jw_init(&w);
    sc_jw_object(&w, NULL);
    assert_int_equal(sc_jw_save(&w, "/tmp/never"), SC_EINTERNAL);
    sc_jw_end(&w);
    sc_jw_end(&w);
    assert_int_equal(sc_text_status(&w.text), SC_ENOMEM);
    sc_jw_free(&w);
    sc_jw_init(&w);
    for (int i = 0; i < 1000; i++)
        sc_jw_list(&w, NULL);
    assert_true(w.text.failed);
    sc_jw_free(&w);
}

static void saved_files_end_with_a_newline(void **state)
{
    (void)state;
    char path[] = "/tmp/sc_json_XXXXXX", *data;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    sc_json_writer w;
    sc_jw_init(&w);
    sc_jw_list(&w, NULL);
    sc_jw_end(&w);
    assert_int_equal(sc_jw_save(&w, path), SC_OK);
    sc_jw_free(&w);
    size_t n;
    assert_int_equal(sc_read_file(path, 100, &data, &n), SC_OK);
    assert_string_equal(data, "[]\n");
    free(data);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubles_are_short_and_exact),
        cmocka_unit_test(every_double_reads_back),
        cmocka_unit_test(layout),
        cmocka_unit_test(copies_and_compact),
        cmocka_unit_test(unbalanced_brackets_are_bugs),
        cmocka_unit_test(saved_files_end_with_a_newline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
