/* Stop and go on: whatever the step, however often, on any number of ranks, the files are those of
 * an uninterrupted run. Damaged checkpoints, foreign checkpoints, finished jobs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "outputs.h"

static void set_options(job *j)
{
    j->o.weighted_sampling = true;
    j->o.epochs = 3; /* of 3 steps */
}

static contents reference(void)
{
    job j;
    sc_train_result r;
    job_init(&j);
    set_options(&j);
    must(job_run(&j, &r), SC_OK);
    contents c = read_all(&j);
    size_t n;
    assert_null(job_file(&j, "checkpoint_latest.prev.pth", &n));
    sc_train_result_free(&r);
    job_free(&j);
    return c;
}

static void stopped_before_every_step(void **state)
{
    (void)state;
    contents want = reference();
    for (int k = 1; k <= 9; k++) {
        job j;
        sc_train_result r;
        job_init(&j);
        set_options(&j);
        j.stop_at = k;
        must(job_run(&j, &r), SC_EINTERRUPTED);
        sc_train_result_free(&r);
        j.stop_at = 0;
        must(job_run(&j, &r), SC_OK);
        assert_true(r.resumed);
        assert_int_equal(r.history.count, 3);
        sc_train_result_free(&r);
        expect_same(&j, &want, "stopped before step", k);
        job_free(&j);
    }
    free_all(&want);
}

static void stopped_again_and_again(void **state)
{
    (void)state;
    contents want = reference();
    job j;
    sc_train_result r;
    sc_status status;
    int runs = 0;
    job_init(&j);
    set_options(&j);
    j.stop_at = 2; /* one step a run */
    j.o.checkpoint_interval_s = 0;
    while ((status = job_run(&j, &r)) == SC_EINTERRUPTED && ++runs < 50)
        sc_train_result_free(&r);
    must(status, SC_OK);
    assert_int_equal(runs, 9);
    sc_train_result_free(&r);
    expect_same(&j, &want, "runs", runs);
    job_free(&j);
    free_all(&want);
}

/* A crash leaves the newest checkpoint of a step and nothing later. */
static void checkpoints_at_every_step_change_nothing(void **state)
{
    (void)state;
    contents want = reference();
    job j;
    sc_train_result r;
    job_init(&j);
    set_options(&j);
    j.o.checkpoint_interval_s = 0;
    must(job_run(&j, &r), SC_OK);
    sc_train_result_free(&r);
    expect_same(&j, &want, "checkpoints", 9);
    job_free(&j);
    free_all(&want);
}

/* Flips a byte near the middle: a tensor's, found by the CRC. */
static void damage(const job *j, const char *name, bool truncate_it)
{
    char *path = sc_path_join(j->dir, name);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    if (truncate_it)
        assert_int_equal(ftruncate(fileno(f), n / 3), 0);
    else {
        fseek(f, n / 2, SEEK_SET);
        int c = fgetc(f);
        fseek(f, n / 2, SEEK_SET);
        fputc(c ^ 1, f);
    }
    fclose(f);
    free(path);
}

static void stop_with_fallback(job *j)
{
    sc_train_result r;
    job_init(j);
    set_options(j);
    j->o.checkpoint_interval_s = 0;
    j->stop_at = 6;
    must(job_run(j, &r), SC_EINTERRUPTED);
    sc_train_result_free(&r);
    j->stop_at = 0;
}

static void damaged_latest_falls_back(void **state)
{
    (void)state;
    contents want = reference();
    for (int how = 0; how < 3; how++) {
        job j;
        sc_train_result r;
        stop_with_fallback(&j);
        if (how < 2)
            damage(&j, "checkpoint_latest.pth", how);
        else
            job_remove(&j, "checkpoint_latest.pth");
        must(job_run(&j, &r), SC_OK);
        assert_true(r.resumed);
        sc_train_result_free(&r);
        expect_same(&j, &want, "damage", how);
        job_free(&j);
    }
    free_all(&want);
}

static void all_damaged_is_refused(void **state)
{
    (void)state;
    job j;
    sc_train_result r;
    stop_with_fallback(&j);
    damage(&j, "checkpoint_latest.pth", false);
    damage(&j, "checkpoint_latest.prev.pth", true);
    must(job_run(&j, &r), SC_EFORMAT);
    assert_non_null(strstr(sc_message(), "--restart"));
    sc_train_result_free(&r);
    must(job_run_ranks(&j, 3, &r), SC_EFORMAT);
    sc_train_result_free(&r);
    job_remove(&j, "checkpoint_latest.prev.pth");
    must(job_run(&j, &r), SC_EFORMAT);
    assert_non_null(strstr(sc_message(), "--restart"));
    sc_train_result_free(&r);
    j.o.restart = true;
    must(job_run(&j, &r), SC_OK);
    assert_false(r.resumed);
    sc_train_result_free(&r);
    job_free(&j);
}

static void other_settings_are_refused(void **state)
{
    (void)state;
    job j;
    sc_train_result r;
    bool finished;
    stop_with_fallback(&j);
    j.o.identity = "{\"batch_size\": 6, \"learning_rate\": 0.003, \"new\": true}";
    must(job_run(&j, &r), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "batch_size (there 5, now 6)"));
    assert_non_null(strstr(sc_message(), "new (there absent, now true)"));
    assert_null(strstr(sc_message(), "learning_rate"));
    must(sc_train_finished(&j.o, &finished, &r), SC_EUSAGE);
    must(job_run_ranks(&j, 2, &r), SC_EUSAGE);
    sc_train_result_free(&r);
    job_free(&j);
}

/* Its training images are among the other fold's validation images. */
static void another_fold_is_refused(void **state)
{
    (void)state;
    job j;
    sc_train_result r;
    bool finished;
    job_init(&j);
    must(job_run(&j, &r), SC_OK);
    sc_train_result_free(&r);
    char *latest = sc_path_join(j.dir, "checkpoint_latest.pth");
    must(sc_train_check_start(&j.o), SC_OK);
    j.o.fold = 1; /* the file is fold 2's */
    must(sc_train_finished(&j.o, &finished, &r), SC_EUSAGE);
    assert_false(finished);
    assert_non_null(strstr(sc_message(), "is of fold 2, this job is fold 1"));
    assert_non_null(strstr(sc_message(), "--restart"));
    must(job_run(&j, &r), SC_EUSAGE);
    j.o.resume_from = latest;
    must(job_run(&j, &r), SC_EUSAGE);
    assert_null(strstr(sc_message(), "--restart"));
    must(sc_train_check_start(&j.o), SC_EUSAGE);
    j.o.fold = 2;
    must(sc_train_check_start(&j.o), SC_OK);
    free(latest);
    job_free(&j);
}

static void a_start_is_judged_without_training(void **state)
{
    (void)state;
    job j;
    sc_train_result r;
    job_init(&j);
    must(job_run(&j, &r), SC_OK);
    sc_train_result_free(&r);
    char *latest = sc_path_join(j.dir, "checkpoint_latest.pth");
    char *best = sc_path_join(j.dir, "checkpoint_best.pth");
    char *history = sc_path_join(j.dir, "history.json");
    sc_dataset *data = j.o.dataset;
    j.o.dataset = NULL; /* asked before there is one */
    j.o.init_from = best;
    must(sc_train_check_start(&j.o), SC_OK);
    j.o.embed_dim += 1;
    must(sc_train_check_start(&j.o), SC_EFORMAT);
    assert_non_null(strstr(sc_message(), best));
    assert_non_null(strstr(sc_message(), "projection"));
    j.o.embed_dim -= 1;
    j.o.init_from = history;
    must(sc_train_check_start(&j.o), SC_EFORMAT);
    j.o.init_from = NULL;
    j.o.resume_from = best; /* weights alone */
    must(sc_train_check_start(&j.o), SC_EFORMAT);
    assert_non_null(strstr(sc_message(), "--init-from"));
    j.o.resume_from = latest;
    j.o.identity = "{\"batch_size\": 6, \"learning_rate\": 0.003}";
    must(sc_train_check_start(&j.o), SC_EUSAGE);
    assert_null(strstr(sc_message(), "--restart"));
    j.o.unknown = "other batch_size";
    must(sc_train_check_start(&j.o), SC_OK);
    j.o.unknown = "batch_sizes size";
    must(sc_train_check_start(&j.o), SC_EUSAGE);
    j.o.unknown = NULL;
    j.o.dataset = data;
    free(latest);
    free(best);
    free(history);
    job_free(&j);
}

static void finished_jobs_are_known(void **state)
{
    (void)state;
    job j;
    sc_train_result first, again;
    bool finished;
    job_init(&j);
    must(sc_train_finished(&j.o, &finished, &again), SC_OK);
    assert_false(finished);
    must(job_run(&j, &first), SC_OK);
    must(sc_train_finished(&j.o, &finished, &again), SC_OK);
    assert_true(finished);
    assert_int_equal(again.history.count, 2);
    assert_memory_equal(again.history.epochs, first.history.epochs,
                        2 * sizeof *first.history.epochs);
    assert_memory_equal(&again.fold.best_epoch, &first.fold.best_epoch, sizeof(int));
    sc_train_result_free(&again);
    j.o.epochs = 1;
    must(sc_train_finished(&j.o, &finished, &again), SC_OK);
    assert_true(finished);
    sc_train_result_free(&again);
    j.o.epochs = 3;
    must(sc_train_finished(&j.o, &finished, &again), SC_OK);
    assert_false(finished);
    must(job_run(&j, &again), SC_OK); /* one more epoch */
    assert_true(again.resumed);
    assert_int_equal(again.history.count, 3);
    sc_train_result_free(&again);
    j.o.restart = true;
    must(sc_train_finished(&j.o, &finished, &again), SC_OK);
    assert_false(finished);
    sc_train_result_free(&first);
    job_free(&j);
}

static void resume_on_other_ranks(void **state)
{
    (void)state;
    job j;
    sc_train_result whole, r;
    job_init(&j);
    set_options(&j);
    must(job_run(&j, &whole), SC_OK);
    job_free(&j);
    job_init(&j);
    set_options(&j);
    j.stop_at = 5;
    must(job_run_ranks(&j, 4, &r), SC_EINTERRUPTED);
    sc_train_result_free(&r);
    j.stop_at = 0;
    must(job_run_ranks(&j, 3, &r), SC_OK);
    assert_true(r.resumed);
    assert_int_equal(r.history.count, 3);
    for (int e = 0; e < 3; e++)
        assert_float_equal(r.history.epochs[e].train_loss, whole.history.epochs[e].train_loss,
                           1e-9);
    sc_train_result_free(&r);
    sc_train_result_free(&whole);
    job_free(&j);
}

static void resume_from_a_named_file(void **state)
{
    (void)state;
    contents want = reference();
    job j, k;
    sc_train_result r;
    stop_with_fallback(&j);
    char *path = sc_path_join(j.dir, "checkpoint_latest.pth");
    job_init(&k);
    set_options(&k);
    k.o.resume_from = path;
    must(job_run(&k, &r), SC_OK);
    sc_train_result_free(&r);
    size_t n; /* the best epoch may lie before the stop: its files are in the other folder */
    char *history = job_file(&k, "history.json", &n);
    assert_int_equal(n, want.n[0]);
    assert_memory_equal(history, want.data[0], n);
    free(history);
    free(path);
    path = sc_path_join(j.dir, "checkpoint_best.pth");
    k.o.resume_from = path;
    must(job_run(&k, &r), SC_EFORMAT);
    assert_non_null(strstr(sc_message(), "--init-from"));
    k.o.resume_from = NULL;
    k.o.restart = true;
    k.o.init_from = path;
    must(job_run(&k, &r), SC_OK);
    assert_false(r.resumed);
    sc_train_result_free(&r);
    free(path);
    job_free(&j);
    job_free(&k);
    free_all(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopped_before_every_step),
        cmocka_unit_test(stopped_again_and_again),
        cmocka_unit_test(checkpoints_at_every_step_change_nothing),
        cmocka_unit_test(damaged_latest_falls_back),
        cmocka_unit_test(all_damaged_is_refused),
        cmocka_unit_test(other_settings_are_refused),
        cmocka_unit_test(another_fold_is_refused),
        cmocka_unit_test(a_start_is_judged_without_training),
        cmocka_unit_test(finished_jobs_are_known),
        cmocka_unit_test(resume_on_other_ranks),
        cmocka_unit_test(resume_from_a_named_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
