/* BERT's tokenizer against golden ids (tests/oracle/bert_tokenizer.py), its settings, and what
 * damaged files say.
 */
#include "superclip/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOLDEN SC_TEST_DIR "/golden/"
#define SPECIALS "[PAD]\n[UNK]\n[CLS]\n[SEP]\n"

typedef struct folder {
    char path[64], vocab[96], config[96];
} folder;

static folder make_folder(void)
{
    folder f = {.path = "/tmp/sc_bert_XXXXXX"};
    assert_non_null(mkdtemp(f.path));
    snprintf(f.vocab, sizeof f.vocab, "%s/vocab.txt", f.path);
    snprintf(f.config, sizeof f.config, "%s/tokenizer_config.json", f.path);
    return f;
}

static void write_text(const char *path, const char *text)
{
    assert_int_equal(sc_write_file(path, text, strlen(text)), SC_OK);
}

static sc_tokenizer *open_bert(const char *path)
{
    sc_tokenizer *t = NULL;
    if (sc_tokenizer_open(SC_TOKENIZER_BERT, path, &t) != SC_OK)
        fail_msg("%s", sc_message());
    assert_int_equal(sc_tokenizer_context(t), 128);
    return t;
}

/* Ids as text: "2 5 3", and "cut" before them when the text was. */
static void expect_ids(const sc_tokenizer *t, const char *text, const char *want)
{
    int32_t *ids = NULL;
    int n = 0;
    bool cut = false;
    sc_text got;
    sc_text_init(&got);
    assert_int_equal(sc_tokenizer_encode(t, text, &ids, &n, &cut), SC_OK);
    for (int i = 0; i < n; i++)
        sc_text_putf(&got, "%s%d", i > 0 ? " " : cut ? "1 " : "0 ", ids[i]);
    if (strcmp(got.data, want) != 0)
        fail_msg("'%s' gives %s, not %s", text, got.data, want);
    sc_text_free(&got);
    free(ids);
}

/* ---- golden ids --------------------------------------------------------------------------------
 */

/* "cut ids... | cut ids... : hex"; column 0 or 1 of the ids. */
static void check_line(const sc_tokenizer *t, char *line, int column)
{
    char *hex = strstr(line, " : ");
    assert_non_null(hex);
    *hex = '\0';
    hex += 3;
    char *second = strstr(line, " | ");
    assert_non_null(second);
    *second = '\0';
    const size_t n = strcspn(hex, "\n") / 2;
    char *text = test_calloc(n + 1, 1);
    for (size_t i = 0; i < n; i++) {
        const char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        text[i] = (char)strtol(digits, NULL, 16);
    }
    expect_ids(t, text, column == 0 ? line : second + 3);
    test_free(text);
}

static void check_golden(const char *vocab, int column)
{
    sc_tokenizer *t = open_bert(vocab);
    char *data = NULL;
    size_t size = 0;
    int lines = 0;
    assert_int_equal(sc_read_file(GOLDEN "tokenizer_bert_ids.txt", 1 << 20, &data, &size), SC_OK);
    for (char *line = data, *next; *line; line = next, lines++) {
        next = strchr(line, '\n') + 1;
        check_line(t, line, column);
    }
    assert_true(lines > 1000);
    free(data);
    sc_tokenizer_free(t);
}

static void without_settings_it_is_cased(void **state)
{
    (void)state;
    const folder f = make_folder();
    char *vocab = NULL;
    size_t size = 0;
    assert_int_equal(sc_read_file(GOLDEN "tokenizer_bert/vocab.txt", 1 << 20, &vocab, &size),
                     SC_OK);
    assert_int_equal(sc_write_file(f.vocab, vocab, size), SC_OK);
    free(vocab);
    check_golden(f.vocab, 0);
    sc_remove_tree(f.path);
}

static void settings_beside_it_are_read(void **state)
{
    (void)state;
    check_golden(GOLDEN "tokenizer_bert/vocab.txt", 1);
}

/* ---- settings and files ------------------------------------------------------------------------
 */

static void every_setting_counts(void **state)
{
    (void)state;
    static const struct {
        const char *config, *ids; /* of "É e 中中" */
    } cases[] = {
        {"{}", "0 2 1 4 6 6 3"},
        {"{\"do_lower_case\": false, \"strip_accents\": null}", "0 2 1 4 6 6 3"},
        {"{\"do_lower_case\": true}", "0 2 4 4 6 6 3"},
        {"{\"do_lower_case\": true, \"strip_accents\": false}", "0 2 5 4 6 6 3"},
        {"{\"strip_accents\": true}", "0 2 1 4 6 6 3"},
        {"{\"tokenize_chinese_chars\": false, \"unk_token\": \"[UNK]\"}", "0 2 1 4 6 7 3"},
        {"{\"cls_token\": {\"content\": \"[CLS]\", \"special\": true}}", "0 2 1 4 6 6 3"},
    };
    const folder f = make_folder();
    write_text(f.vocab, SPECIALS "e\né\n中\n##中\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(f.config, cases[i].config);
        sc_tokenizer *t = open_bert(f.vocab);
        expect_ids(t, "É e 中中", cases[i].ids);
        assert_int_equal(sc_tokenizer_unknown(t), 1);
        sc_tokenizer_free(t);
    }
    sc_remove_tree(f.path);
}

static void line_ends_and_doubles(void **state)
{
    (void)state;
    const folder f = make_folder();
    /* as Python reads it: three kinds of line ends; the later of two equal lines counts */
    write_text(f.vocab, "[PAD]\r\n[UNK]\r[CLS]\n[SEP]\na\n\nb c\na\n##\xC2\x85");
    sc_tokenizer *t = open_bert(f.vocab);
    assert_int_equal(sc_tokenizer_vocabulary(t), 9);
    expect_ids(t, "a b c", "0 2 7 1 1 3");
    sc_tokenizer_free(t);
    sc_remove_tree(f.path);
}

static void refuse(const folder *f, const char *expected)
{
    sc_tokenizer *t = NULL;
    sc_message_clear();
    assert_int_not_equal(sc_tokenizer_open(SC_TOKENIZER_BERT, f->vocab, &t), SC_OK);
    assert_null(t);
    if (!strstr(sc_message(), expected) || !strstr(sc_message(), f->path))
        fail_msg("'%s' does not say '%s'", sc_message(), expected);
}

static void damage_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *vocab, *config, *expected;
    } cases[] = {
        {"", NULL, "has no line '[PAD]'"},
        {"[PAD]\n[UNK]\n[SEP]\n", NULL, "has no line '[CLS]'"},
        {"{\"a\": 1}\n", NULL, "not the vocab.txt of a BERT model"},
        {SPECIALS "a\n\xff\n", NULL, "vocab.txt:6: not UTF-8"},
        {SPECIALS, "[1]", "must be an object"},
        {SPECIALS, "{\"do_lower_case\": 1}", "key 'do_lower_case': must be true or false"},
        {SPECIALS, "{\"strip_accents\": \"no\"}", "key 'strip_accents'"},
        {SPECIALS, "{\"do_basic_tokenize\": false}", "key 'do_basic_tokenize'"},
        {SPECIALS, "{\"unk_token\": \"<unk>\"}", "'<unk>' is not supported"},
        {SPECIALS, "{\"mask_token\": {\"content\": \"<mask>\"}}", "'<mask>' is not supported"},
        {SPECIALS, "{\"do_lower_case\": true", "tokenizer_config.json:1"},
    };
    const folder f = make_folder();
    refuse(&f, "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(f.vocab, cases[i].vocab);
        write_text(f.config, cases[i].config ? cases[i].config : "{}");
        refuse(&f, cases[i].expected);
    }
    sc_remove_tree(f.path);
    sc_tokenizer *t = NULL;
    assert_int_equal(sc_tokenizer_open(SC_TOKENIZER_BERT, NULL, &t), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "'tokenizer'"));
}

static void wrong_text_is_refused(void **state)
{
    (void)state;
    sc_tokenizer *t = open_bert(GOLDEN "tokenizer_bert/vocab.txt");
    int32_t *ids = NULL;
    int n;
    assert_int_equal(sc_tokenizer_encode(t, "a\xc3", &ids, &n, NULL), SC_EUSAGE);
    assert_null(ids);
    sc_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_settings_it_is_cased),
        cmocka_unit_test(settings_beside_it_are_read),
        cmocka_unit_test(every_setting_counts),
        cmocka_unit_test(line_ends_and_doubles),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(wrong_text_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
