/* Reading: what is accepted, where values stand, and how each mistake is told. */
#include "superclip/json.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static sc_json_doc *parse(const char *text)
{
    sc_json_doc *doc;
    if (sc_json_parse("c.json", text, strlen(text), &doc) != SC_OK)
        fail_msg("%s", sc_message());
    return doc;
}

static void comments_and_commas_do_not_move_lines(void **state)
{
    (void)state;
    sc_json_doc *doc = parse("\xEF\xBB\xBF// first line \"quoted\"\n"
                             "[ /* a\n comment */ {\n"
                             "    \"name\": \"a//b /* not a comment */ \\\" \", // why\r\n"
                             "    \"list\": [1, 2,\n 3,],\n"
                             "    \"deep\": {\"x\": {\"y\": null,},},\n"
                             "  }, // last\n"
                             "]\n// the end");
    const sc_json *root = sc_json_root(doc), *config = sc_json_first(root);
    assert_int_equal(sc_json_type_of(root), SC_JSON_ARRAY);
    assert_int_equal(sc_json_line(root), 2);
    assert_int_equal(sc_json_count(root), 1);
    assert_int_equal(sc_json_line(config), 3);
    assert_null(sc_json_key(config));
    assert_null(sc_json_next(config));
    const sc_json *name = sc_json_get(config, "name");
    assert_string_equal(sc_json_string(name), "a//b /* not a comment */ \" ");
    assert_int_equal(sc_json_line(name), 4);
    const sc_json *list = sc_json_next(name);
    assert_string_equal(sc_json_key(list), "list");
    assert_int_equal(sc_json_count(list), 3);
    assert_int_equal(sc_json_line(sc_json_next(sc_json_next(sc_json_first(list)))), 6);
    const sc_json *y = sc_json_get(sc_json_get(sc_json_get(config, "deep"), "x"), "y");
    assert_int_equal(sc_json_type_of(y), SC_JSON_NULL);
    assert_int_equal(sc_json_line(y), 7);
    assert_null(sc_json_get(config, "missing"));
    assert_null(sc_json_get(list, "name"));
    sc_json_free(doc);
}

static void a_value_is_on_the_line_of_its_key(void **state)
{
    (void)state;
    sc_json_doc *doc = parse("{\n\"epochs\"\n:\n\n 5 }");
    const sc_json *v = sc_json_get(sc_json_root(doc), "epochs");
    assert_int_equal(sc_json_line(v), 2);
    assert_int_equal(sc_json_fail(doc, v, "must be at least %d", 6), SC_EUSAGE);
    assert_string_equal(sc_message(), "c.json:2: key 'epochs': must be at least 6");
    sc_json_free(doc);
    doc = parse("[{\"texts\": [\"a\",\n 7]}]");
    v = sc_json_first(sc_json_get(sc_json_first(sc_json_root(doc)), "texts"));
    sc_json_fail(doc, sc_json_next(v), "is %s",
                 sc_json_type_name(sc_json_type_of(sc_json_next(v))));
    assert_string_equal(sc_message(), "c.json:2: key 'texts': is a number");
    sc_json_fail(doc, sc_json_root(doc), "is empty");
    assert_string_equal(sc_message(), "c.json:1: is empty");
    sc_json_fail(doc, NULL, "is empty");
    assert_string_equal(sc_message(), "c.json: is empty");
    sc_json_free(doc);
}

static void numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
        bool integer;
        int64_t as_integer;
    } rows[] = {
        {"0", 0, true, 0},
        {"-0", 0, true, 0},
        {"1e-4", 1e-4, false, 0},
        {"0.1", 0.1, false, 0},
        {"32.0", 32, true, 32},
        {"1E2", 100, true, 100},
        {"-17", -17, true, -17},
        {"9007199254740992", 0x1p53, true, 9007199254740992},
        {"9007199254740993", 0x1p53, false, 0}, /* reads as 2^53: not exact */
        {"-9007199254740993", -0x1p53, false, 0},
        {"1e300", 1e300, false, 0},
        {"1e-999", 0, true, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sc_json_doc *doc = parse(rows[i].text);
        const sc_json *v = sc_json_root(doc);
        int64_t integer = -1;
        assert_int_equal(sc_json_type_of(v), SC_JSON_NUMBER);
        assert_true(sc_json_number(v) == rows[i].value);
        assert_int_equal(sc_json_is_integer(v, &integer), rows[i].integer);
        if (rows[i].integer)
            assert_int_equal(integer, rows[i].as_integer);
        sc_json_free(doc);
    }
}

static void strings_are_decoded(void **state)
{
    (void)state;
    sc_json_doc *doc = parse("[\"\\u4e2d\\uD83D\\uDE00\\n\\t\\/\\\\\", true, false, \"\"]");
    const sc_json *v = sc_json_first(sc_json_root(doc));
    assert_string_equal(sc_json_string(v), "\xE4\xB8\xAD\xF0\x9F\x98\x80\n\t/\\");
    int64_t unused;
    assert_false(sc_json_is_integer(v, &unused));
    v = sc_json_next(v);
    assert_true(sc_json_bool(v));
    v = sc_json_next(v);
    assert_false(sc_json_bool(v));
    assert_string_equal(sc_json_string(sc_json_next(v)), "");
    sc_json_free(doc);
}

typedef struct mistake {
    const char *text, *place, *what; /* the message begins with place and holds what */
} mistake;

static const mistake mistakes[] = {
    {"", "c.json:1: ", "empty"},
    {" \n // nothing\n", "c.json:3: ", "empty"},
    {"{\n \"a\": 1,\n \"b\": 2,\n \"a\": 3}", "c.json:4: key 'a': ", "twice (first in line 2)"},
    {"{\"a\": 1, \"\\u0061\": 3}", "c.json:1: key 'a': ", "twice"},
    {"{\"o\": {\"k\": 1, \"k\": 1}}", "c.json:1: key 'k': ", "twice"},
    {"{\"lr\":\n 1e999}", "c.json:1: key 'lr': ", "too large"},
    {"{\"lr\": -1e999}", "c.json:1: key 'lr': ", "too large"},
    {"{\"n\": 01}", "c.json:1: key 'n': ", "begin with 0"},
    {"{\"n\": -01}", "c.json:1: key 'n': ", "begin with 0"},
    {"{\"n\": 1.}", "c.json:1: key 'n': ", "behind its point"},
    {"{\"n\": .5}", "c.json:1: key 'n': ", "expected a value"},
    {"{\"n\": +5}", "c.json:1: key 'n': ", "expected a value"},
    {"{\"n\": 1e}", "c.json:1: key 'n': ", "exponent"},
    {"{\"n\": -}", "c.json:1: key 'n': ", "digit"},
    {"{\"n\": 0x10}", "c.json:1: key 'n': ", "found 'x'"},
    {"{\"n\": NaN}", "c.json:1: key 'n': ", "expected a value"},
    {"{\"n\": True}", "c.json:1: key 'n': ", "expected a value"},
    {"{\"n\": truely}", "c.json:1: key 'n': ", "found 'l'"},
    {"{\"n\": 'x'}", "c.json:1: key 'n': ", "expected a value"},
    {"[1]\n\n[2]", "c.json:3: ", "nothing may follow"},
    {"[1]]", "c.json:1: ", "nothing may follow"},
    {"[1,\n2", "c.json:2: ", "the text ends here"},
    {"{\"a\": 1\n \"b\": 2}", "c.json:2: key 'a': ", "expected ','"},
    {"[1 2]", "c.json:1: ", "expected ','"},
    {"[1}", "c.json:1: ", "found '}'"},
    {"[,]", "c.json:1: ", "found ','"},
    {"[1,,]", "c.json:1: ", "found ','"},
    {"[1,,2]", "c.json:1: ", "found ','"},
    {"{,}", "c.json:1: ", "key in double quotes"},
    {"{\"a\":,}", "c.json:1: key 'a': ", "found ','"},
    {"{a: 1}", "c.json:1: ", "key in double quotes"},
    {"{\"a\" 1}", "c.json:1: key 'a': ", "expected ':'"},
    {"{\"a\": \"x\n\"}", "c.json:1: key 'a': ", "no closing quote"},
    {"{\"a\": \"x", "c.json:1: key 'a': ", "no closing quote"},
    {"{\"a\": \"x\ty\"}", "c.json:1: key 'a': ", "control character"},
    {"{\"a\": \"\\q\"}", "c.json:1: key 'a': ", "unknown escape"},
    {"{\"a\": \"C:\\dir\"}", "c.json:1: key 'a': ", "unknown escape"},
    {"{\"a\": \"\\u12g4\"}", "c.json:1: key 'a': ", "four hexadecimal"},
    {"{\"a\": \"\\u0000\"}", "c.json:1: key 'a': ", "u0000"},
    {"{\"a\": \"\\ud800\"}", "c.json:1: key 'a': ", "surrogate"},
    {"{\"a\": \"\\ud800\\u0041\"}", "c.json:1: key 'a': ", "surrogate"},
    {"{\"a\": \"\\udc00\"}", "c.json:1: key 'a': ", "surrogate"},
    {"{\n\"a\": \"\xFF\"}", "c.json:2: key 'a': ", "UTF-8"},
    {"{\"a\": \"\xD6\xD0\"}", "c.json:1: key 'a': ", "UTF-8"},
    {"\n/* never\n ends", "c.json:2: ", "never ends"},
    {"[1] /", "c.json:1: ", "nothing may follow"},
    {"{\"outer\": {\"x\": 1},\n}x", "c.json:2: ", "nothing may follow"},
    {"[{\"name\": [1, {\"y\": 2}, oops]}]", "c.json:1: key 'name': ", "found 'o'"},
};

static void every_mistake_names_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        sc_json_doc *doc = NULL;
        const mistake *m = &mistakes[i];
        sc_message_clear();
        if (sc_json_parse("c.json", m->text, strlen(m->text), &doc) != SC_EUSAGE)
            fail_msg("accepted: %s", m->text);
        assert_null(doc);
        if (strncmp(sc_message(), m->place, strlen(m->place)) != 0 ||
            !strstr(sc_message(), m->what))
            fail_msg("for %s: %s", m->text, sc_message());
    }
}

static void nul_bytes_and_depth_are_refused(void **state)
{
    (void)state;
    sc_json_doc *doc;
    assert_int_equal(sc_json_parse("c.json", "[1]\0", 4, &doc), SC_EUSAGE);
    assert_int_equal(sc_json_parse("c.json", "[\"a\0b\"]", 7, &doc), SC_EUSAGE);
    enum { DEPTH = 100000 };
    char *deep = malloc(2 * DEPTH);
    assert_non_null(deep);
    memset(deep, '[', DEPTH);
    memset(deep + DEPTH, ']', DEPTH);
    assert_int_equal(sc_json_parse("c.json", deep, 2 * DEPTH, &doc), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "too deeply"));
    assert_int_equal(sc_json_parse("c.json", deep + DEPTH - 128, 256, &doc), SC_OK);
    sc_json_free(doc);
    free(deep);
}

static void many_keys_take_no_quadratic_time(void **state)
{
    (void)state;
    enum { KEYS = 200000 };
    sc_text t;
    sc_text_init(&t);
    sc_text_puts(&t, "{");
    for (int i = 0; i < KEYS; i++)
        sc_text_putf(&t, "\"k%d\":%d,\n", (int)((i * 7919LL) % KEYS), i);
    sc_text_puts(&t, "}");
    sc_json_doc *doc;
    double start = sc_now();
    assert_int_equal(sc_json_parse("c.json", t.data, t.len, &doc), SC_OK);
    assert_true(sc_now() - start < 10); /* 0.2 s here; all pairs would take minutes */
    assert_int_equal(sc_json_count(sc_json_root(doc)), KEYS);
    sc_json_free(doc);
    sc_text_free(&t);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    sc_json_doc *doc;
    assert_int_equal(sc_json_read_file("/nowhere/x.json", &doc), SC_EIO);
    assert_non_null(strstr(sc_message(), "/nowhere/x.json"));
    assert_null(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comments_and_commas_do_not_move_lines),
        cmocka_unit_test(a_value_is_on_the_line_of_its_key),
        cmocka_unit_test(numbers),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(every_mistake_names_its_place),
        cmocka_unit_test(nul_bytes_and_depth_are_refused),
        cmocka_unit_test(many_keys_take_no_quadratic_time),
        cmocka_unit_test(a_missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
