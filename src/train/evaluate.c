/* Validation: class features once, then every batch against them, in a fixed permutation. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

static sc_status encode_texts(sc_trainer *t)
{
    SC_TRY(sc_program_forward(t->text_program));
    SC_TRY(sc_program_read(t->text_program, "class_features", t->class_features_raw));
    if (t->eval.full)
        SC_TRY(sc_program_write(t->eval.full, "class_features", t->class_features_raw));
    if (t->eval.tail)
        SC_TRY(sc_program_write(t->eval.tail, "class_features", t->class_features_raw));
    return SC_OK;
}

void sc_softmax(const double *z, int n, double *p)
{
    double top = z[0], sum = 0;
    for (int k = 1; k < n; k++)
        top = z[k] > top ? z[k] : top;
    for (int k = 0; k < n; k++)
        sum += p[k] = exp(z[k] - top);
    for (int k = 0; k < n; k++)
        p[k] /= sum;
}

static int by_index(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Probabilities land in sample order, whatever the order of the pass. */
static void keep_probabilities(sc_trainer *t, const int64_t *samples, const int32_t *labels,
                               int64_t rows)
{
    const sc_fold *f = t->o->split;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t *place =
            bsearch(&samples[i], f->val, (size_t)f->val_count, sizeof *f->val, by_index);
        int64_t row = place - f->val;
        sc_softmax(t->logits + i * t->classes, t->classes, t->probabilities + row * t->classes);
        t->val_labels[row] = labels[i];
    }
}

sc_status sc_trainer_count_validated(sc_trainer *t, const int64_t *samples, const int32_t *labels,
                                     int64_t rows, sc_pass_sums *sums, const double losses[3])
{
    SC_TRY(sc_trainer_count_batch(t, labels, rows, "validation", sums, losses));
    keep_probabilities(t, samples, labels, rows);
    sc_trainer_report_batch(t, true, sums->batches, t->val_batches, sums, losses);
    return SC_OK;
}

static sc_status step(sc_trainer *t, const sc_batch *b, sc_pass_sums *sums)
{
    sc_program *p = b->rows_global == t->eval.full_rows ? t->eval.full : t->eval.tail;
    double losses[3];
    if (t->late)
        return sc_late_validate(t, p, b, sums);
    SC_TRY(sc_trainer_write_batch(t, p, b));
    SC_TRY(sc_program_forward(p));
    sc_profile_lap(t->profile, SC_TIME_EVAL_FORWARD);
    SC_TRY(sc_trainer_read(t, p, "losses", losses, 3));
    SC_TRY(sc_trainer_read(t, p, "logits", t->logits, b->rows_global * t->classes));
    return sc_trainer_count_validated(t, b->samples, b->labels, b->rows_global, sums, losses);
}

/* Nothing is under way any more, and nothing that kernels found wrong is left to tell. */
static sc_status settle(sc_trainer *t, sc_pass_sums *sums)
{
    if (!t->late)
        return SC_OK;
    SC_TRY(sc_late_settle_validation(t, sums));
    return t->device->backend->sync(t->device);
}

static sc_status finish(const sc_trainer *t, const sc_pass_sums *val, sc_epoch_metrics *m)
{
    const sc_pass_sums *train = &t->state.sums;
    double n = train->batches ? (double)train->batches : 1,
           v = val->batches ? (double)val->batches : 1;
    sc_eval_metrics e;
    SC_TRY(sc_eval_metrics_of(t->probabilities, t->val_labels, t->o->split->val_count, t->classes,
                              &e));
    *m = (sc_epoch_metrics){
        .train_loss = train->loss[0] / n,
        .train_class_loss = train->loss[1] / n,
        .train_contrastive_loss = train->loss[2] / n,
        .train_acc = train->rows ? 100 * (double)train->correct / (double)train->rows : 0,
        .val_loss = val->loss[0] / v,
        .val_class_loss = val->loss[1] / v,
        .val_contrastive_loss = val->loss[2] / v,
        .val_acc = e.acc,
        .val_mAP = e.mAP,
        .val_precision = e.precision,
        .val_recall = e.recall,
        .val_f1 = e.f1,
        .lr = sc_trainer_lr(t->o, t->state.epoch)};
    return SC_OK;
}

sc_status sc_trainer_validate(sc_trainer *t, sc_epoch_metrics *m)
{
    const sc_train_options *o = t->o;
    sc_pass_sums sums = {0};
    sc_batch b;
    bool stop = false;
    sc_status status = SC_OK;
    if (!o->sync_bn && t->comm->size > 1) /* each rank has its own statistics: rank 0's count */
        SC_TRY(sc_params_broadcast_buffers(t->params, t->comm));
    sc_profile_lap(t->profile, SC_TIME_EVAL_OTHER);
    status = encode_texts(t);
    sc_profile_lap(t->profile, SC_TIME_EVAL_FORWARD);
    if (status == SC_OK)
        status = sc_row_source_begin(t->source, &(sc_epoch_request){.order = t->val_order,
                                                                    .count = o->split->val_count,
                                                                    .random_state = o->random_state,
                                                                    .fold = o->fold});
    for (int64_t i = 0; i < t->val_batches; i++) {
        if (status == SC_OK)
            status = sc_row_source_next(t->source, &b);
        sc_profile_lap(t->profile, SC_TIME_EVAL_LOADER);
        SC_TRY(sc_trainer_agree(t, status, &stop));
        if (stop)
            return sc_fail(SC_EINTERRUPTED, "fold %d: stopped in the validation of epoch %d",
                           o->fold, t->state.epoch + 1);
        status = sc_trainer_inside(t, step(t, &b, &sums));
        sc_profile_lap(t->profile, SC_TIME_EVAL_OTHER);
    }
    if (status == SC_OK)
        status = sc_trainer_inside(t, settle(t, &sums));
    if (status == SC_OK)
        status = finish(t, &sums, m);
    status = sc_trainer_agree(t, status, NULL);
    sc_profile_lap(t->profile, SC_TIME_EVAL_OTHER);
    return status;
}
