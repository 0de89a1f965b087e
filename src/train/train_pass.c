/* The training half of an epoch: fetch, agree, step, account. */
#include <math.h>
#include <string.h>

#include "trainer.h"

double sc_trainer_lr(const sc_train_options *o, int epoch)
{
    return 0.5 * o->learning_rate * (1 + cos(M_PI * epoch / o->epochs));
}

static int argmax(const double *v, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (v[i] > v[best])
            best = i;
    return best;
}

sc_status sc_trainer_bad_temperature(const sc_trainer *t, int64_t step)
{
    return sc_fail(SC_ENUMERIC,
                   "fold %d, epoch %d, step %lld: the learned temperature fell below 0; lower "
                   "learning_rate or raise temperature",
                   t->o->fold, t->state.epoch + 1, (long long)step);
}

/* Signs of the logits z = x.t / tau against those of x.t tell the temperature's sign without
 * fetching a parameter; the largest logit is far from any rounding. */
static sc_status check_temperature(sc_trainer *t, sc_program *p, int64_t rows)
{
    int64_t dim = t->spec.embed_dim, at = 0;
    if (!t->o->loss.superclip)
        return SC_OK;
    SC_TRY(sc_trainer_read(t, p, "image_features", t->image_features, rows * dim));
    SC_TRY(sc_trainer_read(t, p, "class_features", t->class_features, t->classes * dim));
    for (int64_t i = 0; i < rows * t->classes; i++)
        if (fabs(t->logits[i]) > fabs(t->logits[at]))
            at = i;
    const double *x = t->image_features + at / t->classes * dim;
    const double *c = t->class_features + at % t->classes * dim;
    double dot = 0;
    for (int64_t i = 0; i < dim; i++)
        dot += x[i] * c[i];
    if (dot * t->logits[at] < 0)
        return sc_trainer_bad_temperature(t, t->state.step + 1);
    return SC_OK;
}

sc_status sc_trainer_count_batch(sc_trainer *t, const int32_t *labels, int64_t rows,
                                 const char *pass, sc_pass_sums *sums, const double losses[3])
{
    if (!isfinite(losses[0]) || !isfinite(losses[1]) || !isfinite(losses[2]))
        return sc_fail(
            SC_ENUMERIC,
            "fold %d, epoch %d, %s batch %lld: the loss is not finite (total %g, class %g, "
            "contrastive %g); lower learning_rate or raise temperature",
            t->o->fold, t->state.epoch + 1, pass, (long long)sums->batches + 1, losses[0],
            losses[1], losses[2]);
    for (int k = 0; k < 3; k++)
        sums->loss[k] += losses[k];
    for (int64_t i = 0; i < rows; i++)
        sums->correct += argmax(t->logits + i * t->classes, t->classes) == labels[i];
    sums->rows += rows;
    sums->batches++;
    return SC_OK;
}

static sc_status add_batch(sc_trainer *t, sc_program *p, const sc_batch *b, double losses[3])
{
    SC_TRY(sc_trainer_read(t, p, "losses", losses, 3));
    SC_TRY(sc_trainer_read(t, p, "logits", t->logits, b->rows_global * t->classes));
    return sc_trainer_count_batch(t, b->labels, b->rows_global, "training", &t->state.sums, losses);
}

void sc_trainer_report_batch(const sc_trainer *t, bool validating, int64_t batch, int64_t batches,
                             const sc_pass_sums *sums, const double losses[3])
{
    if (!t->events || !t->events->batch)
        return;
    sc_batch_progress p = {.validating = validating,
                           .epoch = t->state.epoch + 1,
                           .epochs = t->o->epochs,
                           .batch = batch,
                           .batches = batches,
                           .loss = losses[0],
                           .class_loss = losses[1],
                           .contrastive_loss = losses[2],
                           .acc = sums->rows ? 100 * (double)sums->correct / (double)sums->rows : 0,
                           .superclip = t->o->loss.superclip};
    t->events->batch(t->events->ctx, &p);
}

static sc_adamw adamw_of(const sc_trainer *t)
{
    return (sc_adamw){.lr = sc_trainer_lr(t->o, t->state.epoch),
                      .beta1 = 0.9,
                      .beta2 = 0.999,
                      .eps = 1e-8,
                      .weight_decay = t->o->weight_decay};
}

static sc_status compute(sc_trainer *t, sc_program *p, const sc_batch *b, sc_step_dump *dump,
                         double losses[3])
{
    const sc_adamw adamw = adamw_of(t);
    SC_TRY(sc_trainer_write_batch(t, p, b));
    sc_profile_lap(t->profile, SC_TIME_INPUT);
    SC_TRY(sc_program_forward(p));
    sc_profile_lap(t->profile, SC_TIME_FORWARD);
    SC_TRY(add_batch(t, p, b, losses));
    SC_TRY(check_temperature(t, p, b->rows_global));
    sc_profile_lap(t->profile, SC_TIME_LOSSES);
    if (!dump) {
        SC_TRY(sc_program_update(p, &adamw));
        sc_profile_lap(t->profile, SC_TIME_BACKWARD);
        return SC_OK;
    }
    SC_TRY(sc_program_backward(p));
    sc_profile_lap(t->profile, SC_TIME_BACKWARD);
    SC_TRY(sc_program_reduce(p));
    sc_profile_lap(t->profile, SC_TIME_REDUCE);
    SC_TRY(sc_step_dump_gradients(t, p, b, dump));
    SC_TRY(sc_params_update(t->params, &adamw));
    sc_profile_lap(t->profile, SC_TIME_ADAMW);
    return SC_OK;
}

static sc_status run_step(sc_trainer *t, sc_program *p, const sc_batch *b, double losses[3])
{
    sc_step_dump *dump = NULL;
    sc_status status = SC_OK;
    if (t->dumped < t->o->dump_steps)
        status = sc_step_dump_begin(t, b, &dump);
    if (status == SC_OK)
        status = compute(t, p, b, dump, losses);
    status = sc_trainer_inside(t, status);
    if (status == SC_OK && dump)
        status = sc_step_dump_finish(t, b, dump);
    sc_step_dump_free(dump);
    return status;
}

/* One batch of the pass, trained on or skipped. */
static sc_status step(sc_trainer *t, const sc_batch *b)
{
    sc_program *p = b->rows_global == t->train.full_rows ? t->train.full : t->train.tail;
    double losses[3] = {0}, start = sc_now();
    const bool trains = sc_program_can_train(p);
    if (trains && t->late && t->dumped >= t->o->dump_steps) {
        const sc_adamw adamw = adamw_of(t);
        SC_TRY(sc_trainer_inside(t, sc_late_step(t, p, b, &adamw)));
        sc_timing_step(&t->timing, sc_now() - start);
        t->state.step++;
        return SC_OK; /* reported when it is settled */
    }
    SC_TRY(sc_late_settle(t));
    if (trains) {
        SC_TRY(run_step(t, p, b, losses));
        sc_timing_step(&t->timing, sc_now() - start);
        sc_trainer_profile_step(t);
    } else if (!t->warned_skip) {
        t->warned_skip = true;
        if (t->leader)
            sc_warn(t->o->log,
                    "fold %d: the last training batch of every epoch (%lld image%s) is skipped: "
                    "BatchNorm would see one value per channel; another batch_size avoids this",
                    t->o->fold, (long long)b->rows_global, b->rows_global == 1 ? "" : "s");
    }
    t->state.step++;
    sc_trainer_report_batch(t, false, t->state.step, t->train_batches, &t->state.sums, losses);
    return SC_OK;
}

/* Writing is the leader's business; what goes wrong there is told at the next step boundary. */
static void checkpoint_if_due(sc_trainer *t)
{
    double interval = t->o->checkpoint_interval_s;
    if (!t->leader || sc_now() - t->last_write < interval)
        return;
    if (interval > 0 && sc_ckpt_writer_busy(t->writer))
        return;
    t->writing = sc_late_settle(t);
    if (t->writing == SC_OK)
        t->writing = sc_trainer_save_latest(t);
    if (t->writing != SC_OK)
        snprintf(t->writing_message, sizeof t->writing_message, "%s", sc_message());
}

/* Nothing is under way any more, and nothing that kernels found wrong is left to tell. */
static sc_status settle_all(sc_trainer *t)
{
    if (!t->late)
        return SC_OK;
    SC_TRY(sc_late_settle(t));
    return sc_trainer_inside(t, t->device->backend->sync(t->device));
}

sc_status sc_trainer_train_pass(sc_trainer *t)
{
    const sc_train_options *o = t->o;
    sc_batch b;
    bool stop = false;
    sc_status status = sc_train_order(o->split, t->labels, t->sampler_weights, t->classes,
                                      o->random_state, t->state.epoch, o->fold, t->train_order);
    if (status == SC_OK)
        status = sc_row_source_begin(t->source, &(sc_epoch_request){.order = t->train_order,
                                                                    .count = o->split->train_count,
                                                                    .first_batch = t->state.step,
                                                                    .augment = o->augment,
                                                                    .random_state = o->random_state,
                                                                    .epoch = t->state.epoch,
                                                                    .fold = o->fold});
    while (t->state.step < t->train_batches) {
        if (status == SC_OK)
            status = sc_row_source_next(t->source, &b);
        sc_profile_lap(t->profile, SC_TIME_LOADER);
        SC_TRY(sc_trainer_agree(t, status, &stop));
        sc_profile_lap(t->profile, SC_TIME_RANKS);
        if (stop && t->late)
            SC_TRY(sc_trainer_agree(t, settle_all(t), NULL));
        if (stop)
            return sc_fail(SC_EINTERRUPTED, "fold %d: stopped in epoch %d before step %lld",
                           o->fold, t->state.epoch + 1, (long long)t->state.step + 1);
        status = step(t, &b);
        if (status != SC_OK)
            continue; /* told to the others at the next boundary */
        checkpoint_if_due(t);
        sc_profile_lap(t->profile, SC_TIME_SAVING);
    }
    if (status == SC_OK)
        status = settle_all(t);
    return sc_trainer_agree(t, status, NULL);
}
