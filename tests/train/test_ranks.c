/* Many ranks (threads behind the collective contract), failures, stopping, best. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "job.h"
#include "superclip/weights.h"

static void must(sc_status have, sc_status want)
{
    if (have != want)
        fail_msg("status %s, wanted %s: %s", sc_status_name(have), sc_status_name(want),
                 sc_message());
}

static void same_history(const sc_history *a, const sc_history *b, double tol, int ranks)
{
    assert_int_equal(a->count, b->count);
    for (int e = 0; e < a->count; e++) {
        const double *x = (const double *)(const void *)&a->epochs[e];
        const double *y = (const double *)(const void *)&b->epochs[e];
        for (size_t k = 0; k < sizeof(sc_epoch_metrics) / sizeof(double); k++)
            if (!(fabs(x[k] - y[k]) <= tol))
                fail_msg("%d ranks, epoch %d, figure %zu: %.17g and %.17g", ranks, e + 1, k, x[k],
                         y[k]);
    }
}

/* 4 epochs of 3 steps, with sampling and augmentation: 12 steps; 8 ranks have empty slices. */
static void any_number_of_ranks(void **state)
{
    (void)state;
    job j;
    sc_train_result one, r;
    job_init(&j);
    j.o.epochs = 4;
    j.o.weighted_sampling = true;
    must(job_run(&j, &one), SC_OK);
    static const int ranks[] = {2, 3, 8};
    for (int k = 0; k < 3; k++) {
        j.o.restart = true;
        must(job_run_ranks(&j, ranks[k], &r), SC_OK);
        same_history(&one.history, &r.history, 1e-9, ranks[k]);
        sc_train_result_free(&r);
    }
    sc_train_result_free(&one);
    job_free(&j);
}

static double loss_distance(const sc_train_result *a, const sc_train_result *b, int epoch)
{
    const sc_epoch_metrics *x = &a->history.epochs[epoch], *y = &b->history.epochs[epoch];
    return fmax(fabs(x->train_loss / y->train_loss - 1), fabs(x->val_loss / y->val_loss - 1));
}

/* One step an epoch, in fp32: the first epoch's validation is after one step, the third's after
 * three. */
static void any_number_of_ranks_in_fp32(void **state)
{
    (void)state;
    job j;
    sc_train_result one, r;
    job_init(&j);
    j.backend = sc_backend_cpu();
    j.precision = SC_FP32;
    j.o.batch_size = 14;
    j.o.epochs = 3;
    j.o.learning_rate = 1e-3;
    must(job_run(&j, &one), SC_OK);
    for (int ranks = 3; ranks <= 8; ranks += 5) {
        j.o.restart = true;
        must(job_run_ranks(&j, ranks, &r), SC_OK);
        assert_true(loss_distance(&r, &one, 0) <= 1e-5);
        assert_true(loss_distance(&r, &one, 2) <= 3e-3);
        sc_train_result_free(&r);
    }
    sc_train_result_free(&one);
    job_free(&j);
}

static void twice_the_same_bytes(void **state)
{
    (void)state;
    char *bytes[2];
    size_t n[2];
    for (int k = 0; k < 2; k++) {
        job j;
        sc_train_result r;
        job_init(&j);
        j.o.loader_threads = k ? 3 : 0;
        must(job_run_ranks(&j, 3, &r), SC_OK);
        bytes[k] = job_file(&j, "checkpoint_latest.pth", &n[k]);
        sc_train_result_free(&r);
        job_free(&j);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    free(bytes[0]);
    free(bytes[1]);
}

/* A row that only one rank reads: all fail, none hangs, with the reader's message. */
static void a_bad_row_fails_every_rank(void **state)
{
    (void)state;
    job j;
    sc_train_result r;
    for (int threads = 0; threads < 3; threads += 2) {
        job_init(&j);
        j.o.loader_threads = threads;
        j.data.bad_row = j.fold.train[3];
        must(job_run_ranks(&j, 3, &r), SC_EFORMAT);
        assert_non_null(strstr(sc_message(), "is damaged"));
        j.data.bad_row = j.fold.val[6];
        must(job_run_ranks(&j, 3, &r), SC_EFORMAT);
        must(job_run(&j, &r), SC_EFORMAT);
        job_free(&j);
    }
}

static void a_loss_that_is_not_finite_fails_the_job(void **state)
{
    (void)state;
    job j;
    sc_train_result r;
    size_t n;
    job_init(&j);
    j.o.learning_rate = 1e300;
    must(job_run(&j, &r), SC_ENUMERIC);
    assert_null(job_file(&j, "checkpoint_latest.pth", &n));
    assert_null(job_file(&j, "history.json", &n));
    must(job_run_ranks(&j, 2, &r), SC_ENUMERIC);
    j.o.learning_rate = INFINITY;
    j.o.checkpoint_interval_s = 0; /* the parameters themselves are looked at before a save */
    must(job_run(&j, &r), SC_ENUMERIC);
    assert_null(job_file(&j, "checkpoint_latest.pth", &n));
    job_free(&j);
}

/* AdamW's first step moves every parameter by lr: with this seed the temperature goes down. The
 * next step sees it, and so does a checkpoint before. */
static void a_temperature_below_0_fails_the_job(void **state)
{
    (void)state;
    job j;
    sc_train_result r;
    size_t n;
    job_init(&j);
    j.o.random_state = 3;
    j.o.learning_rate = 0.6;
    j.o.temperature = 0.5;
    must(job_run(&j, &r), SC_ENUMERIC);
    assert_non_null(strstr(sc_message(), "step 2: the learned temperature fell below 0"));
    must(job_run_ranks(&j, 3, &r), SC_ENUMERIC);
    j.o.checkpoint_interval_s = 0;
    must(job_run(&j, &r), SC_ENUMERIC);
    assert_non_null(strstr(sc_message(), "the learned temperature is -0."));
    assert_null(job_file(&j, "checkpoint_latest.pth", &n));
    job_free(&j);
}

/* ---- --dump-steps ------------------------------------------------------------------------------
 */

static void dump(job *j, int ranks, const char *folder, sc_tensor_set *out)
{
    sc_train_result r;
    char *dir = sc_path_join(j->dir, folder), *path = sc_path_join(dir, "step_0002.safetensors");
    j->o.dump_steps = 2;
    j->o.dump_dir = dir;
    j->o.restart = true;
    must(job_run_ranks(j, ranks, &r), SC_OK);
    must(sc_safetensors_load(path, out), SC_OK);
    sc_train_result_free(&r);
    free(path);
    free(dir);
}

static const sc_tensor *find(const sc_tensor_set *set, const char *name)
{
    const sc_tensor *t = sc_tensor_set_find(set, name);
    if (!t)
        fail_msg("no %s in the dump", name);
    return t;
}

static void a_dumped_step_is_the_group_s(void **state)
{
    (void)state;
    job j;
    sc_tensor_set one, three;
    job_init(&j);
    j.o.epochs = 1;
    dump(&j, 1, "one", &one);
    dump(&j, 3, "three", &three);
    assert_int_equal(one.count, three.count);
    for (size_t i = 0; i < one.count; i++) {
        const sc_tensor *a = &one.items[i], *b = find(&three, a->name);
        assert_true(sc_shape_equal(&a->shape, &b->shape));
        for (int64_t k = 0; k < sc_shape_count(&a->shape); k++) {
            double x = sc_tensor_get(a, k), y = sc_tensor_get(b, k);
            double tol = a->dtype == SC_F64 ? 1e-9 : 0;
            if (!(fabs(x - y) <= tol))
                fail_msg("%s[%lld]: %.17g on one rank, %.17g on three", a->name, (long long)k, x,
                         y);
        }
    }
    assert_int_equal(find(&one, "draw.jitter_order")->shape.d[1], 4);
    find(&one, "grad.temperature");
    find(&one, "updated.image_encoder.backbone.1.running_mean");
    sc_tensor_set_free(&one);
    sc_tensor_set_free(&three);
    job_free(&j);
}

/* Without augmentation the dumped pixels are the rows, byte for byte. */
static void dumped_pixels_are_exact(void **state)
{
    (void)state;
    job j;
    sc_tensor_set set;
    uint8_t row[32 * 32 * 3];
    for (int bf16 = 0; bf16 < 2; bf16++) {
        job_init(&j);
        j.o.epochs = 1;
        j.o.augment = false;
        if (bf16) {
            j.backend = sc_backend_cpu();
            j.precision = SC_BF16_MIXED;
        }
        dump(&j, 2, "rows", &set);
        const sc_tensor *samples = find(&set, "samples"), *pixels = find(&set, "pixels");
        assert_int_equal(pixels->shape.d[0], samples->shape.d[0]);
        for (int64_t i = 0; i < samples->shape.d[0]; i++) {
            int64_t sample = (int64_t)sc_tensor_get(samples, i);
            must(sc_dataset_row(&j.data, SC_ROW_EVAL, sample, row), SC_OK);
            assert_memory_equal((const uint8_t *)pixels->data + (size_t)i * sizeof row, row,
                                sizeof row);
        }
        sc_tensor_set_free(&set);
        job_free(&j);
    }
}

static void early_stopping(void **state)
{
    (void)state;
    job j;
    sc_train_result r, again;
    bool finished;
    job_init(&j);
    j.o.epochs = 9;
    j.o.patience = 2;
    j.o.min_delta = 1e6; /* nothing improves on the first epoch that much */
    j.o.learning_rate = 1e-4;
    must(job_run(&j, &r), SC_OK);
    assert_true(r.stopped_early);
    assert_int_equal(r.history.count, 3);
    must(sc_train_finished(&j.o, &finished, &again), SC_OK);
    assert_true(finished);
    assert_true(again.stopped_early);
    sc_train_result_free(&again);
    sc_train_result_free(&r);
    job_free(&j);
}

static void best_is_the_first_maximum(void **state)
{
    (void)state;
    job j;
    sc_train_result r;
    job_init(&j);
    j.o.epochs = 5;
    must(job_run(&j, &r), SC_OK);
    int best = 0;
    for (int e = 1; e < r.history.count; e++)
        if (r.history.epochs[e].val_mAP > r.history.epochs[best].val_mAP)
            best = e;
    assert_int_equal(r.best.epoch, best);
    assert_int_equal(r.fold.best_epoch, best + 1);
    assert_float_equal(r.fold.best_f1, r.history.epochs[best].val_f1, 0);
    sc_train_result_free(&r);
    job_free(&j);
    job_init(&j);
    j.o.save_best = false;
    must(job_run(&j, &r), SC_OK);
    size_t n;
    assert_null(job_file(&j, "checkpoint_best.pth", &n));
    char *csv = job_file(&j, "val_predictions.csv", &n);
    assert_non_null(csv);
    const char *head = "path,label,predicted,prob_bridge,\"prob_cr, \"\"own\"\"\",prob_implant\n";
    assert_int_equal(strncmp(csv, head, strlen(head)), 0);
    free(csv);
    sc_train_result_free(&r);
    job_free(&j);
}

/* 14 images in batches of 13: the last batch has one, and 32 px leave one pixel at the last stage.
 */
static void a_single_value_a_channel_is_skipped(void **state)
{
    (void)state;
    job j;
    sc_train_result one, two;
    job_init(&j);
    j.o.batch_size = 13;
    must(job_run(&j, &one), SC_OK);
    job_free(&j);
    job_init(&j);
    j.o.batch_size = 13;
    must(job_run_ranks(&j, 2, &two), SC_OK);
    same_history(&one.history, &two.history, 1e-9, 2);
    sc_train_result_free(&one);
    sc_train_result_free(&two);
    job_free(&j);
}

static void batch_above_everything(void **state)
{
    (void)state;
    job j;
    sc_train_result r;
    size_t bytes;
    job_init(&j);
    j.o.batch_size = 1000;
    j.o.sync_bn = false;
    must(job_run_ranks(&j, 2, &r), SC_OK);
    sc_train_result_free(&r);
    sc_device *d;
    const sc_device_options options = {1, SC_FP64, j.o.log};
    must(j.backend->open(&options, &d), SC_OK);
    must(sc_train_memory(&j.o, d, 4, &bytes), SC_OK);
    assert_true(bytes > 400000 * 8 * 4 && bytes < (size_t)1 << 30);
    j.backend->close(d);
    job_free(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_ranks),
        cmocka_unit_test(any_number_of_ranks_in_fp32),
        cmocka_unit_test(twice_the_same_bytes),
        cmocka_unit_test(a_bad_row_fails_every_rank),
        cmocka_unit_test(a_loss_that_is_not_finite_fails_the_job),
        cmocka_unit_test(a_temperature_below_0_fails_the_job),
        cmocka_unit_test(a_dumped_step_is_the_group_s),
        cmocka_unit_test(dumped_pixels_are_exact),
        cmocka_unit_test(early_stopping),
        cmocka_unit_test(best_is_the_first_maximum),
        cmocka_unit_test(a_single_value_a_channel_is_skipped),
        cmocka_unit_test(batch_above_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
