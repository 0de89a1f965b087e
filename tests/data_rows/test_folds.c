/* Folds against scikit-learn's (tests/oracle/folds.py), and the data that cannot be folded. */
#include "superclip/data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int64_t *read_numbers(char **text, int64_t n)
{
    int64_t *out = test_malloc((size_t)(n + 1) * sizeof *out);
    for (int64_t i = 0; i < n; i++)
        out[i] = strtoll(*text, text, 10);
    return out;
}

static void check_fold(const sc_fold *f, const int64_t *fold_of, int64_t n, int fold)
{
    int64_t train = 0, val = 0;
    for (int64_t i = 0; i < n; i++) {
        if (fold_of[i] == fold) {
            assert_true(val < f->val_count);
            assert_int_equal(f->val[val++], i);
        } else {
            assert_true(train < f->train_count);
            assert_int_equal(f->train[train++], i);
        }
    }
    assert_int_equal(val, f->val_count);
    assert_int_equal(train, f->train_count);
}

static void count_warning(void *ctx, sc_log_level level, const char *line)
{
    (void)line;
    if (level == SC_LOG_WARN)
        ++*(int *)ctx;
}

static void equal_scikit_learn(void **state)
{
    (void)state;
    char *data = NULL, *p;
    size_t size = 0;
    int cases = 0, warnings = 0;
    const sc_log log = {count_warning, &warnings};
    assert_int_equal(sc_read_file(SC_TEST_DIR "/golden/folds.txt", 16 << 20, &data, &size), SC_OK);
    for (p = data; *p; cases++) {
        const int n_splits = (int)strtol(p, &p, 10);
        const uint32_t seed = (uint32_t)strtoul(p, &p, 10);
        const int64_t n = strtoll(p, &p, 10);
        int64_t *numbers = read_numbers(&p, n), *fold_of = read_numbers(&p, n);
        int32_t *labels = test_malloc((size_t)n * sizeof *labels);
        sc_fold *folds = NULL;
        for (int64_t i = 0; i < n; i++)
            labels[i] = (int32_t)numbers[i];
        assert_int_equal(sc_folds_make(labels, n, NULL, n_splits, seed, &log, &folds), SC_OK);
        for (int f = 0; f < n_splits; f++)
            check_fold(&folds[f], fold_of, n, f);
        sc_folds_free(folds, n_splits);
        test_free(labels);
        test_free(numbers);
        test_free(fold_of);
        p += strspn(p, "\n");
    }
    assert_true(cases >= 60);
    assert_true(warnings > 0);
    free(data);
}

static void refuse(const int32_t *labels, int64_t n, int n_splits, const char *expected)
{
    sc_fold *folds = NULL;
    sc_message_clear();
    assert_int_equal(sc_folds_make(labels, n, NULL, n_splits, 42, NULL, &folds), SC_EUSAGE);
    assert_null(folds);
    if (!strstr(sc_message(), expected))
        fail_msg("'%s' does not say '%s'", sc_message(), expected);
}

static void data_that_cannot_be_folded(void **state)
{
    (void)state;
    static const int32_t one_class[] = {3, 3, 3, 3, 3}, small[] = {0, 0, 1, 1, 2, 2};
    refuse(one_class, 5, 2, "at least 2 classes");
    refuse(small, 6, 1, "n_splits is 1");
    refuse(small, 6, 0, "n_splits is 0");
    refuse(small, 6, 7, "only 6 samples");
    refuse(small, 0, 2, "only 0 samples");
    refuse(small, 6, 3, "no class has that many");
    refuse(small, 1, 2, "there is only 1 sample:");
}

static void warns_of_each_small_class(void **state)
{
    (void)state;
    static const int32_t labels[] = {0, 0, 0, 0, 1, 2, 2, 2, 3, 3};
    int warnings = 0;
    const sc_log log = {count_warning, &warnings};
    sc_fold *folds = NULL;
    assert_int_equal(sc_folds_make(labels, 10, NULL, 3, 1, &log, &folds), SC_OK);
    assert_int_equal(warnings, 2);
    sc_folds_free(folds, 3);
    sc_folds_free(NULL, 3);
}

static void keep_line(void *ctx, sc_log_level level, const char *line)
{
    (void)level;
    snprintf(ctx, 300, "%s", line);
}

static void names_the_class(void **state)
{
    (void)state;
    static const int32_t labels[] = {0, 0, 0, 0, 1, 2, 2, 2}, small[] = {0, 1, 1}, one[] = {1, 1};
    static const char *const names[] = {"cat", "old dog", "eel"};
    char line[300] = "";
    const sc_log log = {keep_line, line};
    sc_fold *folds = NULL;
    assert_int_equal(sc_folds_make(labels, 8, names, 3, 1, &log, &folds), SC_OK);
    assert_string_equal(line, "class 'old dog' has 1 sample, fewer than n_splits = 3: some folds "
                              "validate without it");
    sc_folds_free(folds, 3);
    assert_int_equal(sc_folds_make(small, 3, names, 3, 1, &log, &folds), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "(the largest, class 'old dog', has 2)"));
    assert_int_equal(sc_folds_make(one, 2, names, 2, 1, &log, &folds), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "the data has only class 'old dog'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_scikit_learn),
        cmocka_unit_test(data_that_cannot_be_folded),
        cmocka_unit_test(warns_of_each_small_class),
        cmocka_unit_test(names_the_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
