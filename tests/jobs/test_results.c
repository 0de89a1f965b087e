/* Histories, best epochs, fold results and the summary. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "superclip/jobs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sc_epoch_metrics metrics(double first)
{
    return (sc_epoch_metrics){first + 0.1,      first + 0.2,  first + 0.3,  first + 0.4,
                              first + 0.5,      first + 0.6,  first + 0.7,  first + 0.8,
                              first + 0.9,      first + 0.11, first + 0.12, first + 0.13,
                              1.0 / (3 + first)};
}

static sc_history two_epochs(void)
{
    sc_history h = {0};
    for (int e = 0; e < 2; e++) {
        sc_epoch_metrics m = metrics(e);
        assert_int_equal(sc_history_push(&h, &m), SC_OK);
    }
    return h;
}

/* ---- history.json ------------------------------------------------------------------ */

static void expect_keys(const sc_json *object, const char *const *keys, size_t n)
{
    const sc_json *v = sc_json_first(object);
    for (size_t i = 0; i < n; i++, v = sc_json_next(v)) {
        assert_non_null(v);
        assert_string_equal(sc_json_key(v), keys[i]);
    }
    assert_null(v);
}

static sc_json_doc *save_and_read(const sc_history *h, bool superclip)
{
    char path[] = "/tmp/sc_history_XXXXXX";
    close(mkstemp(path));
    assert_int_equal(sc_history_save(h, superclip, path), SC_OK);
    sc_json_doc *doc = NULL;
    assert_int_equal(sc_json_read_file(path, &doc), SC_OK);
    unlink(path);
    return doc;
}

static void history_json_has_the_users_keys_in_order(void **state)
{
    (void)state;
    static const char *const all[] = {"train_loss",
                                      "train_acc",
                                      "val_loss",
                                      "val_acc",
                                      "val_mAP",
                                      "val_precision",
                                      "val_recall",
                                      "val_f1",
                                      "train_class_loss",
                                      "train_contrastive_loss",
                                      "val_class_loss",
                                      "val_contrastive_loss",
                                      "lr"};
    static const char *const plain[] = {"train_loss", "train_acc", "val_loss",
                                        "val_acc",    "val_mAP",   "val_precision",
                                        "val_recall", "val_f1",    "lr"};
    sc_history h = two_epochs();
    sc_json_doc *doc = save_and_read(&h, true);
    expect_keys(sc_json_root(doc), all, 13);
    sc_json_free(doc);
    doc = save_and_read(&h, false);
    expect_keys(sc_json_root(doc), plain, 9);
    const sc_json *lr = sc_json_get(sc_json_root(doc), "lr");
    assert_int_equal(sc_json_count(lr), 2);
    assert_true(sc_json_number(sc_json_first(lr)) == 1.0 / 3);
    sc_json_free(doc);
    sc_history_free(&h);
}

static void a_history_reads_back_bit_for_bit(void **state)
{
    (void)state;
    sc_history h = two_epochs(), back;
    for (int e = 0; e < 100; e++) { /* growth, and figures without a short decimal */
        sc_epoch_metrics m = metrics(1 / (e + 7.0));
        assert_int_equal(sc_history_push(&h, &m), SC_OK);
    }
    for (int superclip = 0; superclip < 2; superclip++) {
        sc_json_doc *doc = save_and_read(&h, superclip);
        assert_int_equal(sc_history_read(doc, sc_json_root(doc), superclip, &back), SC_OK);
        assert_int_equal(back.count, 102);
        for (int e = 0; e < 102; e++) {
            sc_epoch_metrics expected = h.epochs[e];
            if (!superclip)
                expected.train_class_loss = expected.train_contrastive_loss =
                    expected.val_class_loss = expected.val_contrastive_loss = 0;
            assert_memory_equal(&back.epochs[e], &expected, sizeof expected);
        }
        sc_history_free(&back);
        sc_json_free(doc);
    }
    sc_history_free(&h);
}

static void a_damaged_history_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{}", "[]", "{\"train_loss\": 3}",
        "{\"train_loss\":[1],\"train_acc\":[1,2],\"val_loss\":[1],\"val_acc\":[1],\"val_mAP\":[1],"
        "\"val_precision\":[1],\"val_recall\":[1],\"val_f1\":[1],\"lr\":[1]}",
        "{\"train_loss\":[1],\"train_acc\":[\"x\"],\"val_loss\":[1],\"val_acc\":[1],\"val_mAP\":[1]"
        ","
        "\"val_precision\":[1],\"val_recall\":[1],\"val_f1\":[1],\"lr\":[1]}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sc_json_doc *doc = NULL;
        sc_history h;
        assert_int_equal(sc_json_parse("h.json", bad[i], strlen(bad[i]), &doc), SC_OK);
        assert_int_not_equal(sc_history_read(doc, sc_json_root(doc), false, &h), SC_OK);
        assert_non_null(strstr(sc_message(), "damaged"));
        assert_null(h.epochs);
        sc_json_free(doc);
    }
}

/* ---- best epoch -------------------------------------------------------------------- */

static int best_of(const char *metric, double min_delta, const double *values, int n)
{
    sc_best best = {0};
    for (int e = 0; e < n; e++) {
        sc_epoch_metrics m = {.val_loss = values[e], .val_acc = values[e], .val_mAP = values[e]};
        sc_best_update(&best, metric, min_delta, e, &m);
    }
    return best.any ? best.epoch : -1;
}

static void the_best_is_the_first_strict_extreme(void **state)
{
    (void)state;
    static const double up[] = {10, 30, 30, 20}, down[] = {3, 1, 1, 2};
    assert_int_equal(best_of("val_mAP", 0, up, 4), 1);
    assert_int_equal(best_of("val_acc", 0, up, 4), 1);
    assert_int_equal(best_of("val_loss", 0, down, 4), 1);
    static const double zero[] = {0, 0, 0};
    assert_int_equal(best_of("val_acc", 0, zero, 3), 0);
    static const double worse[] = {-5, -6};
    assert_int_equal(best_of("val_acc", 0, worse, 2), 0);
}

static void min_delta_must_be_exceeded(void **state)
{
    (void)state;
    static const double up[] = {10, 10.5, 11}, down[] = {3, 2.5, 2};
    assert_int_equal(best_of("val_acc", 0.5, up, 3), 2);
    assert_int_equal(best_of("val_acc", 1, up, 3), 0);
    assert_int_equal(best_of("val_loss", 0.5, down, 3), 2);
    assert_int_equal(best_of("val_loss", 2, down, 3), 0);
}

static void not_a_number_is_never_the_best(void **state)
{
    (void)state;
    static const double v[] = {NAN, 2, NAN, 3};
    assert_int_equal(best_of("val_acc", 0, v, 4), 3);
    assert_int_equal(best_of("val_acc", 0, v, 1), -1);
    assert_int_equal(best_of("val_nothing", 0, v + 1, 1), -1);
}

/* ---- fold results and summary ------------------------------------------------------ */

static void a_fold_result_is_the_last_and_the_best_epoch(void **state)
{
    (void)state;
    sc_history h = two_epochs();
    sc_best best = {.any = true, .value = 0.5, .epoch = 0};
    sc_fold_result r = {.config = 3, .fold = 2};
    sc_fold_result_of(&h, &best, &r);
    assert_int_equal(r.config, 3);
    assert_int_equal(r.fold, 2);
    assert_false(r.failed);
    assert_true(r.train_loss == 1.1 && r.train_acc == 1.2 && r.val_loss == 1.3);
    assert_true(r.val_acc == 1.4 && r.val_mAP == 1.5);
    assert_true(r.best_val_acc == 0.4 && r.best_val_mAP == 0.5 && r.best_precision == 0.6);
    assert_true(r.best_recall == 0.7 && r.best_f1 == 0.8);
    assert_int_equal(r.best_epoch, 1);
    sc_history_free(&h);
    sc_fold_result_of(&h, &best, &r);
    assert_true(r.failed);
}

static char *summary(const sc_fold_result *folds, int count)
{
    sc_json_writer w;
    sc_jw_init(&w);
    sc_jw_object(&w, NULL);
    sc_summary_write(folds, count, &w);
    sc_jw_end(&w);
    assert_int_equal(sc_text_status(&w.text), SC_OK);
    char *text = sc_strdup(w.text.data);
    sc_jw_free(&w);
    return text;
}

static sc_json_doc *summary_doc(const sc_fold_result *folds, int count)
{
    char *text = summary(folds, count);
    sc_json_doc *doc = NULL;
    assert_int_equal(sc_json_parse("summary", text, strlen(text), &doc), SC_OK);
    free(text);
    return doc;
}

static const char *const figure_names[] = {
    "train_loss",   "train_acc",    "val_loss",       "val_acc",     "val_mAP",
    "best_val_acc", "best_val_mAP", "best_precision", "best_recall", "best_f1"};
static const size_t figure_offsets[] = {
    offsetof(sc_fold_result, train_loss),   offsetof(sc_fold_result, train_acc),
    offsetof(sc_fold_result, val_loss),     offsetof(sc_fold_result, val_acc),
    offsetof(sc_fold_result, val_mAP),      offsetof(sc_fold_result, best_val_acc),
    offsetof(sc_fold_result, best_val_mAP), offsetof(sc_fold_result, best_precision),
    offsetof(sc_fold_result, best_recall),  offsetof(sc_fold_result, best_f1)};

static void summaries_equal_numpys(void **state)
{
    (void)state;
    sc_json_doc *golden = NULL;
    assert_int_equal(sc_json_read_file(SC_TEST_DIR "/golden/jobs/summary.json", &golden), SC_OK);
    int cases = 0, compared = 0;
    for (const sc_json *c = sc_json_first(sc_json_root(golden)); c; c = sc_json_next(c), cases++) {
        sc_fold_result folds[10] = {0};
        int64_t n = 0;
        assert_true(sc_json_is_integer(sc_json_get(c, "folds"), &n) && n <= 10);
        for (int f = 0; f < 10; f++) {
            const sc_json *v =
                sc_json_first(sc_json_get(sc_json_get(c, "values"), figure_names[f]));
            for (int k = 0; k < n; k++, v = sc_json_next(v)) {
                double x = sc_json_number(v);
                folds[n - 1 - k].fold = k + 1; /* handed over in reverse: it sorts by fold */
                memcpy((char *)&folds[n - 1 - k] + figure_offsets[f], &x, sizeof x);
            }
        }
        sc_json_doc *doc = summary_doc(folds, (int)n);
        const sc_json *mine = sc_json_first(sc_json_get(sc_json_root(doc), "average_results"));
        const sc_json *theirs = sc_json_first(sc_json_get(c, "average_results"));
        for (; theirs; theirs = sc_json_next(theirs), mine = sc_json_next(mine), compared++) {
            assert_non_null(mine);
            assert_string_equal(sc_json_key(mine), sc_json_key(theirs));
            double a = sc_json_number(mine), b = sc_json_number(theirs);
            /* the order of at most ten additions differs */
            assert_true(fabs(a - b) <= 1e-14 * (1 + fabs(b)));
        }
        assert_null(mine);
        sc_json_free(doc);
    }
    assert_int_equal(cases, 5);
    assert_int_equal(compared, 100);
    sc_json_free(golden);
}

static void fold_results_list_every_fold_in_order(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "fold_train_loss",     "fold_train_acc",    "fold_val_loss",     "fold_val_acc",
        "fold_val_mAP",        "fold_best_val_acc", "fold_best_val_mAP", "fold_best_epoch",
        "fold_best_precision", "fold_best_recall",  "fold_best_f1"};
    sc_fold_result folds[2] = {{.fold = 2, .val_acc = 20, .best_epoch = 7},
                               {.fold = 1, .val_acc = 10, .best_epoch = 5}};
    sc_json_doc *doc = summary_doc(folds, 2);
    const sc_json *results = sc_json_get(sc_json_root(doc), "fold_results");
    expect_keys(results, keys, 11);
    const sc_json *acc = sc_json_first(sc_json_get(results, "fold_val_acc"));
    assert_true(sc_json_number(acc) == 10 && sc_json_number(sc_json_next(acc)) == 20);
    int64_t epoch;
    assert_true(sc_json_is_integer(sc_json_first(sc_json_get(results, "fold_best_epoch")), &epoch));
    assert_int_equal(epoch, 5);
    assert_null(sc_json_get(sc_json_root(doc), "failed_folds"));
    assert_null(sc_json_get(sc_json_root(doc), "folds"));
    sc_json_free(doc);
}

static void failed_folds_are_left_out_and_named(void **state)
{
    (void)state;
    sc_fold_result folds[3] = {{.fold = 3, .failed = true, .val_acc = 99},
                               {.fold = 1, .val_acc = 10},
                               {.fold = 2, .val_acc = 20}};
    sc_json_doc *doc = summary_doc(folds, 3);
    const sc_json *root = sc_json_root(doc);
    assert_int_equal(sc_json_count(sc_json_get(sc_json_get(root, "fold_results"), "fold_val_acc")),
                     2);
    const sc_json *averages = sc_json_get(root, "average_results");
    assert_true(sc_json_number(sc_json_get(averages, "avg_val_acc")) == 15);
    assert_true(sc_json_number(sc_json_get(averages, "std_val_acc")) == 5);
    const sc_json *failed = sc_json_get(root, "failed_folds");
    assert_int_equal(sc_json_count(failed), 1);
    assert_true(sc_json_number(sc_json_first(failed)) == 3);
    const sc_json *there = sc_json_get(root, "folds");
    assert_int_equal(sc_json_count(there), 2);
    assert_true(sc_json_number(sc_json_first(there)) == 1);
    assert_true(sc_json_number(sc_json_next(sc_json_first(there))) == 2);
    sc_json_free(doc);
    char *none = summary(folds, 1);
    assert_non_null(strstr(none, "\"avg_val_acc\": null"));
    free(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(history_json_has_the_users_keys_in_order),
        cmocka_unit_test(a_history_reads_back_bit_for_bit),
        cmocka_unit_test(a_damaged_history_is_refused),
        cmocka_unit_test(the_best_is_the_first_strict_extreme),
        cmocka_unit_test(min_delta_must_be_exceeded),
        cmocka_unit_test(not_a_number_is_never_the_best),
        cmocka_unit_test(a_fold_result_is_the_last_and_the_best_epoch),
        cmocka_unit_test(summaries_equal_numpys),
        cmocka_unit_test(fold_results_list_every_fold_in_order),
        cmocka_unit_test(failed_folds_are_left_out_and_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
