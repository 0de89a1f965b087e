/* Texts of the data's classes: given, from the template, unknown, missing. */
#include "parsing.h"

static const char *const classes[] = {"Corail", "Exeter V40", "植入物"};

static sc_class_text *texts_of(parsing *p, const char *json, sc_status expected)
{
    sc_class_text *t = NULL;
    expect_ok(p, json, "@");
    sc_text_clear(&p->warnings);
    assert_int_equal(sc_config_class_texts(&p->options.configs[0], classes, 3, &p->log, &t),
                     expected);
    return t;
}

static void the_template_names_the_class(void **state)
{
    parsing *p = *state;
    sc_class_text *t = texts_of(p, "{\"text_template\": \"{class_name}: a {class_name}.\"}", SC_OK);
    assert_string_equal(t[1].class_name, "Exeter V40");
    assert_int_equal(t[1].count, 1);
    assert_string_equal(t[1].texts[0], "Exeter V40: a Exeter V40.");
    assert_string_equal(t[2].texts[0], "植入物: a 植入物.");
    assert_string_equal(warnings(p), "");
    sc_class_texts_free(t, 3);
}

static void given_texts_are_taken_as_they_are(void **state)
{
    parsing *p = *state;
    sc_class_text *t =
        texts_of(p,
                 "{\"text_template\": \"x {class_name}\", \"class_texts_dict\": "
                 "{\"植入物\": \"{class_name}\", \"Corail\": [\"a stem\", \"a hip\"],"
                 " \"Exeter V40\": \"cemented\"}}",
                 SC_OK);
    assert_string_equal(t[0].class_name, "Corail");
    assert_int_equal(t[0].count, 2);
    assert_string_equal(t[0].texts[0], "a stem");
    assert_string_equal(t[0].texts[1], "a hip");
    assert_string_equal(t[1].texts[0], "cemented");
    assert_string_equal(t[2].texts[0], "{class_name}");
    assert_string_equal(warnings(p), "");
    sc_class_texts_free(t, 3);
}

static void a_missing_class_gets_the_template_and_a_warning(void **state)
{
    parsing *p = *state;
    sc_class_text *t = texts_of(p,
                                "{\"text_template\": \"x {class_name}\", \"class_texts_dict\": "
                                "{\"Corail\": \"a\", \"植入物\": \"b\"}}",
                                SC_OK);
    assert_string_equal(t[1].texts[0], "x Exeter V40");
    assert_non_null(strstr(warnings(p), "class 'Exeter V40' has no text of its own"));
    sc_class_texts_free(t, 3);
}

static void an_unknown_class_is_an_error(void **state)
{
    parsing *p = *state;
    texts_of(p, "{\"class_texts_dict\": {\"Corial\": \"a\"}}", SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "class 'Corial' has a text but no folder"));
    assert_non_null(strstr(sc_message(), "did you mean 'Corail'"));
    assert_memory_equal(sc_message(), p->file, strlen(p->file));
    write_text(p->texts, "{\"zzzzzzzzzz\": \"a\"}");
    char json[160];
    snprintf(json, sizeof json, "{\"class_texts_file\": \"%s\"}", p->texts);
    texts_of(p, json, SC_EUSAGE);
    assert_memory_equal(sc_message(), p->texts, strlen(p->texts));
}

static void classes_that_share_a_text_are_warned_of(void **state)
{
    parsing *p = *state;
    sc_class_text *t = texts_of(p, "{\"text_template\": \"an implant\"}", SC_OK);
    assert_non_null(strstr(warnings(p), "has no {class_name}: 3 classes share one text"));
    sc_class_texts_free(t, 3);
    t = texts_of(p,
                 "{\"class_texts_dict\": {\"Corail\": [\"a\", \"b\"], \"Exeter V40\": \"c\", "
                 "\"植入物\": [\"a\", \"b\"]}}",
                 SC_OK);
    assert_non_null(strstr(warnings(p), "classes 'Corail' and '植入物' have the same text"));
    sc_class_texts_free(t, 3);
    /* one class of three from a template without the name is not ambiguous */
    t = texts_of(p,
                 "{\"text_template\": \"other\", \"class_texts_dict\": {\"Corail\": \"a\", "
                 "\"植入物\": \"b\"}}",
                 SC_OK);
    assert_null(strstr(warnings(p), "told apart"));
    sc_class_texts_free(t, 3);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, parsing_setup, parsing_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_template_names_the_class),
        CASE(given_texts_are_taken_as_they_are),
        CASE(a_missing_class_gets_the_template_and_a_warning),
        CASE(an_unknown_class_is_an_error),
        CASE(classes_that_share_a_text_are_warned_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
