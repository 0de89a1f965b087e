/* --help and docs/options.md against the option table. */
#include "../../src/config/option.h"
#include "parsing.h"

#define DOCS SC_TEST_DIR "/../docs/options.md"

static void every_option_is_in_help_and_docs(void **state)
{
    (void)state;
    char *help = sc_options_help("sc_mpi"), *docs = sc_options_markdown();
    assert_non_null(help);
    assert_non_null(docs);
    for (int i = 0; i < sc_option_count; i++) {
        const sc_option *o = &sc_option_table[i];
        char word[96];
        assert_true(o->flag || o->key);
        snprintf(word, sizeof word, "--%s%s%s", o->flag ? o->flag : "set ", o->flag ? "" : o->key,
                 "");
        assert_non_null(strstr(help, word));
        snprintf(word, sizeof word, "`%s%s`", o->key ? "" : "--", o->key ? o->key : o->flag);
        assert_non_null(strstr(docs, word));
        if (o->off_flag)
            assert_non_null(strstr(help, o->off_flag));
        if (o->alias)
            assert_non_null(strstr(docs, o->alias));
    }
    free(help);
    free(docs);
}

static void help_fits_eighty_columns(void **state)
{
    (void)state;
    char *help = sc_options_help("sc_mpi");
    for (const char *line = help; *line;) {
        size_t n = strcspn(line, "\n");
        if (n > 80)
            fail_msg("%zu columns: %.*s", n, (int)n, line);
        assert_true(n == 0 || line[n - 1] != ' ');
        assert_int_equal(line[n], '\n');
        line += n + 1;
    }
    assert_non_null(strstr(help, "mpirun -np 8 sc_mpi train_clip_config.json"));
    free(help);
}

/* A key's flag is the key with dashes; only the encoders keep the old script's shorter flags. */
static void rows_are_sound(void **state)
{
    (void)state;
    for (int i = 0; i < sc_option_count; i++) {
        const sc_option *o = &sc_option_table[i];
        assert_non_null(o->group);
        assert_non_null(o->help);
        assert_true(o->type == SC_OPT_BOOL || o->type == SC_OPT_ACTION || o->value);
        assert_true(!o->needs || sc_option_by_key(o->needs));
        assert_true(o->initial || o->nullable || o->type == SC_OPT_ACTION || o->type == SC_OPT_SET);
        assert_true(!o->identity || o->key);
        const char *expected = o->alias ? o->alias : o->key;
        for (const char *c = o->flag; o->key && c && *c; c++, expected++)
            assert_int_equal(*c, *expected == '_' ? '-' : *expected);
        for (int k = 0; k < i; k++) {
            const sc_option *other = &sc_option_table[k];
            assert_false(o->key && other->key && strcmp(o->key, other->key) == 0);
            assert_false(o->flag && other->flag && strcmp(o->flag, other->flag) == 0);
        }
    }
}

static void the_committed_page_is_the_tables(void **state)
{
    (void)state;
    char *docs = sc_options_markdown(), *file = NULL;
    size_t n = 0;
    if (getenv("SC_UPDATE"))
        assert_int_equal(sc_write_file(DOCS, docs, strlen(docs)), SC_OK);
    assert_int_equal(sc_read_file(DOCS, 1 << 20, &file, &n), SC_OK);
    if (strcmp(file, docs) != 0)
        fail_msg("docs/options.md is not what the table says; renew it with SC_UPDATE=1");
    free(file);
    free(docs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_is_in_help_and_docs),
        cmocka_unit_test(help_fits_eighty_columns),
        cmocka_unit_test(rows_are_sound),
        cmocka_unit_test(the_committed_page_is_the_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
