/* The tokenizer against golden ids (tests/oracle/tokenizer.py), and what damaged files say. */
#include "superclip/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GOLDEN SC_TEST_DIR "/golden/"

/* Text of a golden line's hex, up to its newline. */
static char *text_of_hex(const char *hex)
{
    const size_t n = strcspn(hex, "\n") / 2;
    char *text = test_calloc(n + 1, 1);
    for (size_t i = 0; i < n; i++) {
        const char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        text[i] = (char)strtol(digits, NULL, 16);
    }
    return text;
}

static void check_line(const sc_tokenizer *t, const char *line, int number)
{
    const char *hex = strstr(line, " : ") + 3;
    char *text = text_of_hex(hex), *next;
    const bool want_cut = strtol(line, &next, 10) != 0;
    int32_t *ids = NULL;
    int n = 0;
    bool cut = !want_cut, same = true;
    assert_int_equal(sc_tokenizer_encode(t, text, &ids, &n, &cut), SC_OK);
    int i = 0;
    for (const char *p = next; strncmp(p, " : ", 3) != 0; p = next, i++) {
        const long want = strtol(p, &next, 10);
        same = same && i < n && ids[i] == want;
    }
    if (!same || i != n || cut != want_cut)
        fail_msg("line %d: other ids for '%s'", number, text);
    free(ids);
    test_free(text);
}

static void check_golden(const char *path, const char *golden, int vocabulary)
{
    sc_tokenizer *t = NULL;
    char *data = NULL;
    size_t size = 0;
    int lines = 0;
    assert_int_equal(sc_tokenizer_open(SC_TOKENIZER_CLIP, path, &t), SC_OK);
    assert_int_equal(sc_tokenizer_vocabulary(t), vocabulary);
    assert_int_equal(sc_tokenizer_context(t), 77);
    assert_int_equal(sc_read_file(golden, 1 << 20, &data, &size), SC_OK);
    for (const char *line = data; *line; line = strchr(line, '\n') + 1)
        check_line(t, line, ++lines);
    assert_true(lines > 90);
    free(data);
    sc_tokenizer_free(t);
}

static void without_merges(void **state)
{
    (void)state;
    check_golden(NULL, GOLDEN "tokenizer_plain_ids.txt", 514);
}

static void with_merges(void **state)
{
    (void)state;
    check_golden(GOLDEN "tokenizer_merges.txt", GOLDEN "tokenizer_merges_ids.txt", 714);
    check_golden(GOLDEN "tokenizer_merges.txt.gz", GOLDEN "tokenizer_merges_ids.txt", 714);
}

static void with_hugging_face_files(void **state)
{
    (void)state;
    check_golden(GOLDEN "tokenizer_hf/merges.txt", GOLDEN "tokenizer_hf_ids.txt", 714);
    check_golden(GOLDEN "tokenizer_hf/vocab.json", GOLDEN "tokenizer_hf_ids.txt", 714);
}

static void wrong_text_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\x80"};
    sc_tokenizer *t = NULL;
    int32_t *ids = NULL;
    int n;
    bool cut;
    assert_int_equal(sc_tokenizer_open(SC_TOKENIZER_CLIP, NULL, &t), SC_OK);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(sc_tokenizer_encode(t, texts[i], &ids, &n, &cut), SC_EUSAGE);
        assert_non_null(strstr(sc_message(), "UTF-8"));
        assert_null(ids);
    }
    sc_tokenizer_free(t);
}

/* ---- files made here ---------------------------------------------------------------------------
 */
typedef struct folder {
    char path[64], merges[96], vocab[96];
} folder;

static folder make_folder(void)
{
    folder f = {.path = "/tmp/sc_text_XXXXXX"};
    assert_non_null(mkdtemp(f.path));
    snprintf(f.merges, sizeof f.merges, "%s/merges.txt", f.path);
    snprintf(f.vocab, sizeof f.vocab, "%s/vocab.json", f.path);
    return f;
}

static void write_text(const char *path, const char *text)
{
    assert_int_equal(sc_write_file(path, text, strlen(text)), SC_OK);
}

/* Opening must fail and the message must hold `expected`, behind the file's name. */
static void refuse(const char *path, const char *named, const char *expected)
{
    sc_tokenizer *t = NULL;
    sc_message_clear();
    assert_int_not_equal(sc_tokenizer_open(SC_TOKENIZER_CLIP, path, &t), SC_OK);
    assert_null(t);
    if (!strstr(sc_message(), expected) || !strstr(sc_message(), named))
        fail_msg("'%s' does not say '%s' of %s", sc_message(), expected, named);
}

static void damaged_merges_name_file_and_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"", "holds no merges"},
        {"#version: 0.2\n", "holds no merges"},
        {"a b\nab c\n", "merges.txt:1: "},
        {"#version\na b\nabc\n", "merges.txt:3: 'abc'"},
        {"#version\na b\nab c d\n", "merges.txt:3: "},
        {"#version\na b\n\nab c\n", "merges.txt:3: "},
        {"#version\na b\n c\n", "merges.txt:3: "},
        {"#version\na b\na \n", "merges.txt:3: "},
        {"#version\na b\nxy c\n", "merges.txt:3: 'xy'"},
        {"#version\na b\nc xy\n", "merges.txt:3: 'xy'"},
        {"#version\na b\nb c\na b\n", "merges.txt:4: the merge of line 2"},
        {"#version\na b\n\xff \xfe\n", "merges.txt:3: not UTF-8"},
    };
    const folder f = make_folder();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(f.merges, cases[i].text);
        refuse(f.merges, f.merges, cases[i].expected);
    }
    write_text(f.merges, "\x1f\x8b\x08garbage");
    refuse(f.merges, f.merges, "");
    unlink(f.merges);
    refuse(f.merges, f.merges, "");
    sc_remove_tree(f.path);
}

static void line_ends_and_equal_spellings(void **state)
{
    (void)state;
    const folder f = make_folder();
    sc_tokenizer *t = NULL;
    int32_t *ids = NULL;
    int n;
    bool cut;
    /* "abc" can be made in two ways: both make the later symbol, 512 + 3 */
    write_text(f.merges, "#version\r\na b\r\nab c\r\nb c\r\na bc\r\nc d</w>");
    assert_int_equal(sc_tokenizer_open(SC_TOKENIZER_CLIP, f.merges, &t), SC_OK);
    assert_int_equal(sc_tokenizer_vocabulary(t), 512 + 5 + 2);
    assert_int_equal(sc_tokenizer_encode(t, "abcx cd", &ids, &n, &cut), SC_OK);
    assert_int_equal(n, 5);
    assert_int_equal(ids[0], 517);
    assert_int_equal(ids[1], 515);
    assert_int_equal(ids[2], 256 + 'x' - '!');
    assert_int_equal(ids[3], 516);
    assert_int_equal(ids[4], 518);
    free(ids);
    sc_tokenizer_free(t);
    sc_remove_tree(f.path);
}

/* The golden vocab.json with `edit` in place of the entry of "the</w>". */
static void write_vocabulary(const char *path, const char *edit)
{
    char *data = NULL;
    size_t size = 0;
    sc_text out;
    assert_int_equal(sc_read_file(GOLDEN "tokenizer_hf/vocab.json", 1 << 20, &data, &size), SC_OK);
    char *found = strstr(data, "\"the</w>\": ");
    assert_non_null(found);
    sc_text_init(&out);
    sc_text_add(&out, data, (size_t)(found - data));
    sc_text_puts(&out, edit);
    sc_text_puts(&out, strchr(found, ','));
    assert_int_equal(sc_write_file(path, out.data, out.len), SC_OK);
    sc_text_free(&out);
    free(data);
}

static void damaged_vocabulary_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *edit, *expected;
    } cases[] = {
        {"\"thee</w>\": 7", "thee"},
        {"\"the</w>\": 714", "below 714"},
        {"\"the</w>\": -1", "below 714"},
        {"\"the</w>\": 1.5", "below 714"},
        {"\"the</w>\": \"x\"", "below 714"},
        {"\"the</w>\": 3", "two tokens"},
        {"\"one\": 1, \"two\": 2", "do not belong together"},
    };
    const folder f = make_folder();
    char *merges = NULL;
    size_t size = 0;
    refuse(f.vocab, f.merges, ""); /* no merges.txt beside it */
    assert_int_equal(sc_read_file(GOLDEN "tokenizer_hf/merges.txt", 1 << 20, &merges, &size),
                     SC_OK);
    write_text(f.merges, merges);
    free(merges);
    refuse(f.vocab, f.vocab, ""); /* no vocab.json */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_vocabulary(f.vocab, cases[i].edit);
        refuse(f.merges, f.vocab, cases[i].expected);
    }
    write_text(f.vocab, "[1, 2]");
    refuse(f.vocab, f.vocab, "object");
    sc_remove_tree(f.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_merges),
        cmocka_unit_test(with_merges),
        cmocka_unit_test(with_hugging_face_files),
        cmocka_unit_test(wrong_text_is_refused),
        cmocka_unit_test(damaged_merges_name_file_and_line),
        cmocka_unit_test(line_ends_and_equal_spellings),
        cmocka_unit_test(damaged_vocabulary_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
