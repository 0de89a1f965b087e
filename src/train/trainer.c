/* One job: open, epochs until the last one or early stopping, close. */
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

/* ---- open and close -------------------------------------------------------------------------- */

static sc_status check_options(const sc_train_options *o)
{
    if (o->split->train_count < 1 || o->split->val_count < 1)
        return sc_fail(SC_EUSAGE, "fold %d has %lld training and %lld validation images", o->fold,
                       (long long)o->split->train_count, (long long)o->split->val_count);
    if (o->batch_size < 1 || o->epochs < 1)
        return sc_fail(SC_EINTERNAL, "batch_size %d, epochs %d", o->batch_size, o->epochs);
    return SC_OK;
}

/* Weights of the loss and of the sampler, both from the fold's training counts. */
static sc_status make_weights(sc_trainer *t)
{
    const sc_train_options *o = t->o;
    int64_t *counts = sc_alloc((size_t)t->classes, sizeof *counts);
    double *w = sc_alloc((size_t)t->classes, sizeof *w);
    t->class_weights = sc_alloc((size_t)t->classes, sizeof *t->class_weights);
    if (!counts || !w || !t->class_weights) {
        free(counts);
        free(w);
        return SC_ENOMEM;
    }
    for (int64_t i = 0; i < o->split->train_count; i++)
        counts[t->labels[o->split->train[i]]]++;
    sc_class_weights(counts, t->classes, o->weight_method, o->weight_smooth, w);
    for (int c = 0; c < t->classes; c++)
        t->class_weights[c] = o->weighted_loss ? w[c] : 1;
    free(counts);
    if (o->weighted_sampling)
        t->sampler_weights = w;
    else
        free(w);
    return SC_OK;
}

static sc_status make_buffers(sc_trainer *t)
{
    const sc_fold *f = t->o->split;
    size_t classes = (size_t)t->classes, dim = (size_t)t->o->embed_dim, rows = (size_t)t->batch;
    t->train_order = sc_alloc((size_t)f->train_count, sizeof *t->train_order);
    t->val_order = sc_alloc((size_t)f->val_count, sizeof *t->val_order);
    t->logits = sc_alloc(rows * classes, sizeof *t->logits);
    t->image_features = sc_alloc(rows * dim, sizeof *t->image_features);
    t->class_features = sc_alloc(classes * dim, sizeof *t->class_features);
    t->class_features_raw = sc_alloc(classes * dim, sizeof(double));
    t->probabilities = sc_alloc((size_t)f->val_count * classes, sizeof *t->probabilities);
    t->val_labels = sc_alloc((size_t)f->val_count, sizeof *t->val_labels);
    t->timing.step_ms = sc_alloc((size_t)t->train_batches, sizeof *t->timing.step_ms);
    t->timing.steps_cap = t->train_batches;
    return t->train_order && t->val_order && t->logits && t->image_features && t->class_features &&
                   t->class_features_raw && t->probabilities && t->val_labels && t->timing.step_ms
               ? SC_OK
               : SC_ENOMEM;
}

/* Where the rows are on the device already, the loader only draws: one thread ahead of the steps.
 */
static sc_status open_source(sc_trainer *t)
{
    const sc_train_options *o = t->o;
    int threads = o->loader_threads;
    SC_TRY(sc_resident_take(o->resident, o->dataset, o->split->train_count + o->split->val_count,
                            o->augment, threads, o->log, &t->rows));
    const bool resident = t->rows.set != NULL;
    if (resident && threads > 1)
        threads = 1;
    return sc_row_source_open(&(sc_row_source_options){.dataset = o->dataset,
                                                       .threads = threads,
                                                       .batch = t->batch,
                                                       .rank = t->comm->rank,
                                                       .ranks = t->comm->size,
                                                       .without_pixels = resident},
                              &t->source);
}

sc_status sc_trainer_build(sc_trainer *t, const sc_train_options *o, sc_device *device,
                           const sc_comm *comm, const sc_train_events *events)
{
    *t = (sc_trainer){.o = o, .device = device, .comm = comm, .events = events};
    SC_TRY(check_options(o));
    int64_t largest =
        o->split->train_count > o->split->val_count ? o->split->train_count : o->split->val_count;
    t->leader = comm->rank == 0;
    t->classes = sc_dataset_classes(o->dataset);
    t->labels = sc_dataset_labels(o->dataset);
    t->batch = o->batch_size < largest ? o->batch_size : largest;
    t->train_batches = (o->split->train_count + t->batch - 1) / t->batch;
    t->val_batches = (o->split->val_count + t->batch - 1) / t->batch;
    t->last_write = sc_now();
    SC_TRY(make_weights(t));
    SC_TRY(make_buffers(t));
    sc_val_order(o->split, o->random_state, o->fold, t->val_order);
    SC_TRY(sc_text_batch_make(o->class_texts, sc_dataset_class_names(o->dataset), t->classes,
                              o->context, &t->texts));
    return sc_trainer_compile(t);
}

static sc_status open(sc_trainer *t, const sc_train_options *o, sc_device *device,
                      const sc_comm *comm, const sc_train_events *events)
{
    sc_profile *profile = NULL;
    if (o->profile)
        SC_TRY(sc_profile_open(device, comm, &profile));
    sc_status status =
        sc_trainer_build(t, o, device, profile ? sc_profile_comm(profile) : comm, events);
    t->profile = profile;
    SC_TRY(status);
    SC_TRY(sc_late_open(t));
    SC_TRY(open_source(t));
    return t->leader ? sc_ckpt_writer_open(&t->writer) : SC_OK;
}

void sc_trainer_close(sc_trainer *t)
{
    sc_ckpt_writer_close(t->writer);
    sc_row_source_close(t->source);
    sc_late_close(t->late);
    sc_trainer_release_programs(t);
    if (t->o)
        sc_resident_give_back(t->o->resident, &t->rows);
    sc_profile_close(t->profile);
    sc_text_batch_free(&t->texts);
    sc_train_state_free(&t->state);
    sc_timing_free(&t->timing);
    free(t->train_order);
    free(t->val_order);
    free(t->class_weights);
    free(t->sampler_weights);
    free(t->logits);
    free(t->image_features);
    free(t->class_features);
    free(t->class_features_raw);
    free(t->probabilities);
    free(t->val_labels);
    *t = (sc_trainer){0};
}

/* ---- epochs ---------------------------------------------------------------------------------- */

static sc_status save_history(const sc_trainer *t)
{
    char *path = sc_path_join(t->o->dir, "history.json");
    if (!path)
        return SC_ENOMEM;
    sc_status status = sc_history_save(&t->state.history, t->o->loss.superclip, path);
    free(path);
    return status;
}

/* Best first: a checkpoint_latest on disk means that everything before it is there too. */
static sc_status save_epoch(sc_trainer *t, bool is_best)
{
    if (is_best && t->o->save_best)
        SC_TRY(sc_trainer_save_best(t));
    if (is_best)
        SC_TRY(sc_trainer_save_predictions(t));
    SC_TRY(save_history(t));
    return sc_timing_save(&t->timing, t->o->dir);
}

/* Into the history, the best and the early-stopping counter; then to disk. */
static sc_status account(sc_trainer *t, const sc_epoch_metrics *m, const sc_epoch_timing *timing)
{
    sc_train_state *s = &t->state;
    const sc_train_options *o = t->o;
    SC_TRY(sc_history_push(&s->history, m));
    SC_TRY(sc_timing_epoch(&t->timing, timing));
    bool is_best = sc_best_update(&s->best, o->best_metric, 0, s->epoch, m);
    if (o->patience >= 0)
        s->stale =
            sc_best_update(&s->watch, o->monitor, o->min_delta, s->epoch, m) ? 0 : s->stale + 1;
    s->stopped_early = o->patience >= 0 && s->stale >= o->patience && s->stale > 0;
    if (t->leader)
        SC_TRY(save_epoch(t, is_best));
    if (t->events && t->events->epoch)
        t->events->epoch(t->events->ctx, s->epoch + 1, o->epochs, m, is_best);
    return SC_OK;
}

static sc_status end_epoch(sc_trainer *t, const sc_epoch_metrics *m, const sc_epoch_timing *timing)
{
    sc_train_state *s = &t->state;
    SC_TRY(sc_trainer_agree(t, account(t, m, timing), NULL));
    s->epoch++;
    s->step = 0;
    s->sums = (sc_pass_sums){0};
    return SC_OK;
}

static sc_status run_epoch(sc_trainer *t)
{
    double start = sc_now();
    int64_t rows_before = t->state.sums.rows;
    sc_epoch_metrics m;
    sc_epoch_timing timing = {0};
    if (t->state.step < t->train_batches)
        SC_TRY(sc_trainer_train_pass(t));
    sc_profile_lap(t->profile, SC_TIME_RANKS);
    timing.train_seconds = sc_now() - start;
    timing.loader_wait_seconds = sc_row_source_wait_seconds(t->source);
    timing.images_per_second =
        timing.train_seconds > 0 ? (double)(t->state.sums.rows - rows_before) / timing.train_seconds
                                 : 0;
    start = sc_now();
    SC_TRY(sc_trainer_validate(t, &m));
    timing.val_seconds = sc_now() - start;
    SC_TRY(end_epoch(t, &m, &timing));
    sc_trainer_profile_epoch(t);
    return SC_OK;
}

static sc_status save_on_stop(sc_trainer *t)
{
    sc_status status = SC_OK;
    if (t->leader) {
        status = sc_trainer_save_latest(t);
        if (status == SC_OK)
            status = sc_ckpt_writer_flush(t->writer);
    }
    return sc_trainer_agree(t, status, NULL);
}

static sc_status finish(sc_trainer *t)
{
    sc_status status = SC_OK;
    if (!t->state.finished) {
        t->state.finished = true;
        if (t->leader)
            status = sc_trainer_save_latest(t);
    }
    if (status == SC_OK && t->leader)
        status = sc_trainer_finish_files(t);
    return sc_trainer_agree(t, status, NULL);
}

static sc_status run(sc_trainer *t)
{
    SC_TRY(sc_trainer_resume(t));
    if (!t->resumed) {
        SC_TRY(sc_trainer_start_weights(t));
        SC_TRY(sc_trainer_log_floors(t));
    }
    if (t->state.epoch < t->o->epochs && !t->state.stopped_early)
        t->state.finished = false;
    while (t->state.epoch < t->o->epochs && !t->state.stopped_early) {
        sc_status status = run_epoch(t);
        if (status == SC_EINTERRUPTED)
            SC_TRY(save_on_stop(t));
        SC_TRY(status);
    }
    return finish(t);
}

static void give_result(sc_trainer *t, sc_train_result *out)
{
    sc_train_state *s = &t->state;
    out->best = s->best;
    out->stopped_early = s->stopped_early;
    out->resumed = t->resumed;
    sc_fold_result_of(&s->history, &s->best, &out->fold);
    out->fold.fold = t->o->fold;
    out->history = s->history;
    s->history = (sc_history){0};
}

sc_status sc_train_job(const sc_train_options *o, sc_device *device, const sc_comm *comm,
                       const sc_train_events *events, sc_train_result *out)
{
    sc_trainer *t = sc_alloc(1, sizeof *t);
    *out = (sc_train_result){0};
    if (!t)
        return SC_ENOMEM;
    sc_status status = open(t, o, device, comm, events);
    t->comm = comm; /* also when opening failed early: the others must hear of it */
    status = sc_trainer_agree(t, status, NULL);
    if (status == SC_OK)
        status = run(t);
    if (status == SC_OK)
        give_result(t, out);
    sc_trainer_close(t);
    free(t);
    return status;
}

void sc_train_result_free(sc_train_result *r)
{
    sc_history_free(&r->history);
    *r = (sc_train_result){0};
}
