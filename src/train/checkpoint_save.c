/* Checkpoints as Python trees. The tensors are not in the tree: each is written from where it lies,
 * so that no second copy of the model exists; only the disk is waited for elsewhere (writer.c).
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trainer.h"

/* Nothing that is not finite, and no temperature <= 0, may replace a good checkpoint. */
static sc_status check_tensor(const sc_trainer *t, const sc_tensor *x)
{
    int64_t n = sc_shape_count(&x->shape), bad = -1;
    if (x->dtype == SC_F32) {
        const float *v = x->data;
        for (int64_t i = 0; i < n && bad < 0; i++)
            if (!isfinite(v[i]))
                bad = i;
    } else if (x->dtype == SC_F64) {
        const double *v = x->data;
        for (int64_t i = 0; i < n && bad < 0; i++)
            if (!isfinite(v[i]))
                bad = i;
    }
    if (bad >= 0)
        return sc_fail(SC_ENUMERIC,
                       "fold %d, epoch %d: %s is not finite (element %lld) after %lld updates; no "
                       "checkpoint is written; lower learning_rate",
                       t->o->fold, t->state.epoch + 1, x->name, (long long)bad,
                       (long long)sc_params_step(t->params));
    if (strcmp(x->name, "temperature") == 0 && !(sc_tensor_get(x, 0) > 0))
        return sc_fail(
            SC_ENUMERIC,
            "fold %d, epoch %d: the learned temperature is %g; it must stay above 0: lower "
            "learning_rate or raise temperature",
            t->o->fold, t->state.epoch + 1, sc_tensor_get(x, 0));
    return SC_OK;
}

/* Part k of parameter i has the number i * PARTS + k. */
enum { PARTS = 3 };

static sc_object *later(const sc_trainer *t, size_t i, sc_param_part part)
{
    sc_param_info info = sc_params_info(t->params, i);
    sc_dtype type = info.kind == SC_PARAM_COUNTER ? SC_I64 : t->device->backend->real;
    return sc_obj_tensor_later(type, info.shape, (int64_t)i * PARTS + part);
}

typedef struct giver {
    const sc_trainer *t;
    void *room;
} giver;

static sc_status give(void *ctx, int64_t number, const void **bytes)
{
    const giver *g = ctx;
    size_t i = (size_t)(number / PARTS);
    sc_param_part part = (sc_param_part)(number % PARTS);
    sc_param_info info = sc_params_info(g->t->params, i);
    SC_TRY(sc_params_view(g->t->params, i, part, g->room, bytes));
    if (part != SC_PART_VALUE || info.kind == SC_PARAM_COUNTER)
        return SC_OK;
    const sc_tensor x = {.name = (char *)info.name,
                         .dtype = g->t->device->backend->real,
                         .shape = info.shape,
                         .data = (void *)*bytes};
    return check_tensor(g->t, &x);
}

static sc_object *model_state(const sc_trainer *t)
{
    sc_object *dict = sc_obj_ordered_dict();
    for (size_t i = 0; i < sc_params_count(t->params); i++)
        sc_obj_put(dict, sc_params_info(t->params, i).name, later(t, i, SC_PART_VALUE));
    return dict;
}

static sc_object *step_tensor(int64_t step)
{
    sc_tensor x;
    if (sc_tensor_new(NULL, SC_F32, (sc_shape){0}, &x) != SC_OK)
        return NULL;
    sc_tensor_set_element(&x, 0, (double)step);
    return sc_obj_tensor(&x);
}

/* torch.optim.AdamW's numbering: weights in state-dict order, buffers left out. A weight without
 * gradient (frozen, or the temperature without the SuperCLIP loss) keeps its number, has no entry.
 */
static void optimizer_entries(const sc_trainer *t, sc_object *entries, sc_object *numbers)
{
    int64_t step = sc_params_step(t->params);
    int number = 0;
    for (size_t i = 0; i < sc_params_count(t->params); i++) {
        sc_param_info info = sc_params_info(t->params, i);
        if (info.kind != SC_PARAM_WEIGHT)
            continue;
        if (info.trainable && step > 0) {
            sc_object *e = sc_obj_dict();
            sc_obj_put(e, "step", step_tensor(step));
            sc_obj_put(e, "exp_avg", later(t, i, SC_PART_EXP_AVG));
            sc_obj_put(e, "exp_avg_sq", later(t, i, SC_PART_EXP_AVG_SQ));
            sc_obj_put_key(entries, sc_obj_int(number), e);
        }
        sc_obj_append(numbers, sc_obj_int(number++));
    }
}

static sc_object *optimizer_state(const sc_trainer *t)
{
    sc_object *entries = sc_obj_dict(), *numbers = sc_obj_list();
    optimizer_entries(t, entries, numbers);
    sc_object *group = sc_obj_dict(), *betas = sc_obj_tuple(), *groups = sc_obj_list();
    sc_obj_append(betas, sc_obj_float(0.9));
    sc_obj_append(betas, sc_obj_float(0.999));
    sc_obj_put(group, "lr", sc_obj_float(sc_trainer_lr(t->o, t->state.epoch)));
    sc_obj_put(group, "betas", betas);
    sc_obj_put(group, "eps", sc_obj_float(1e-8));
    sc_obj_put(group, "weight_decay", sc_obj_float(t->o->weight_decay));
    sc_obj_put(group, "amsgrad", sc_obj_bool(false));
    sc_obj_put(group, "foreach", sc_obj_none());
    sc_obj_put(group, "maximize", sc_obj_bool(false));
    sc_obj_put(group, "capturable", sc_obj_bool(false));
    sc_obj_put(group, "differentiable", sc_obj_bool(false));
    sc_obj_put(group, "fused", sc_obj_none());
    sc_obj_put(group, "initial_lr", sc_obj_float(t->o->learning_rate));
    sc_obj_put(group, "params", numbers);
    sc_obj_append(groups, group);
    sc_object *dict = sc_obj_dict();
    sc_obj_put(dict, "state", entries);
    sc_obj_put(dict, "param_groups", groups);
    return dict;
}

static sc_object *float_list(double v)
{
    sc_object *list = sc_obj_list();
    sc_obj_append(list, sc_obj_float(v));
    return list;
}

static sc_object *scheduler_state(const sc_trainer *t, int epoch)
{
    sc_object *d = sc_obj_dict();
    sc_obj_put(d, "T_max", sc_obj_int(t->o->epochs));
    sc_obj_put(d, "eta_min", sc_obj_float(0));
    sc_obj_put(d, "base_lrs", float_list(t->o->learning_rate));
    sc_obj_put(d, "last_epoch", sc_obj_int(epoch));
    sc_obj_put(d, "_step_count", sc_obj_int(epoch + 1));
    sc_obj_put(d, "_get_lr_called_within_step", sc_obj_bool(false));
    sc_obj_put(d, "_last_lr", float_list(sc_trainer_lr(t->o, epoch)));
    return d;
}

/* Figures of the newest finished epoch and of the best one; None before there is one. */
static void put_figures(const sc_trainer *t, sc_object *root)
{
    const sc_history *h = &t->state.history;
    const sc_best *b = &t->state.best;
    const sc_epoch_metrics *m = h->count ? &h->epochs[h->count - 1] : NULL;
    const sc_epoch_metrics *best = b->any ? &h->epochs[b->epoch] : NULL;
#define PUT(key, from, name) \
    sc_obj_put(root, key, (from) ? sc_obj_float((from)->name) : sc_obj_none())
    PUT("train_loss", m, train_loss);
    PUT("train_acc", m, train_acc);
    PUT("val_loss", m, val_loss);
    PUT("val_acc", m, val_acc);
    PUT("val_mAP", m, val_mAP);
    sc_obj_put(root, "best_metric", sc_obj_string(t->o->best_metric));
    sc_obj_put(root, "best_epoch", b->any ? sc_obj_int(b->epoch) : sc_obj_none());
    PUT("best_val_loss", best, val_loss);
    PUT("best_val_acc", best, val_acc);
    PUT("best_val_mAP", best, val_mAP);
    PUT("best_precision", best, val_precision);
    PUT("best_recall", best, val_recall);
    PUT("best_f1", best, val_f1);
#undef PUT
}

static void put_classes(const sc_trainer *t, sc_object *root)
{
    const char *const *names = sc_dataset_class_names(t->o->dataset);
    sc_object *to_idx = sc_obj_dict(), *texts = sc_obj_dict(), *ids = sc_obj_dict();
    for (int c = 0; c < t->classes; c++) {
        const sc_train_text *x = &t->o->class_texts[c];
        sc_object *text_list = sc_obj_list(), *id_lists = sc_obj_list();
        for (int i = 0; i < x->count; i++) {
            sc_object *row = sc_obj_list();
            for (int k = 0; k < x->lengths[i]; k++)
                sc_obj_append(row, sc_obj_int(x->ids[i][k]));
            sc_obj_append(id_lists, row);
            sc_obj_append(text_list, sc_obj_string(x->texts[i]));
        }
        sc_obj_put(to_idx, names[c], sc_obj_int(c));
        if (x->count == 1) { /* as the users' files have it: a text, or a list of several */
            sc_obj_put(texts, names[c], sc_obj_string(x->texts[0]));
            sc_obj_free(text_list);
        } else
            sc_obj_put(texts, names[c], text_list);
        sc_obj_put(ids, names[c], id_lists);
    }
    sc_obj_put(root, "class_to_idx", to_idx);
    sc_obj_put(root, "class_texts", texts);
    sc_obj_put(root, "class_token_ids", ids);
}

/* `epoch` counts from 0: the finished one, or the one in progress. `ahead` is the epoch whose
 * learning rate comes next, as after scheduler.step(). */
static sc_status build(const sc_trainer *t, bool latest, int epoch, int ahead, sc_object **out)
{
    sc_object *root = sc_obj_dict(), *config = NULL;
    *out = NULL;
    sc_obj_put(root, "epoch", sc_obj_int(epoch));
    sc_obj_put(root, "fold", sc_obj_int(t->o->fold));
    sc_obj_put(root, "model_state_dict", model_state(t));
    if (latest)
        sc_obj_put(root, "optimizer_state_dict", optimizer_state(t));
    sc_obj_put(root, "scheduler_state_dict", scheduler_state(t, ahead));
    put_figures(t, root);
    sc_status status = sc_object_from_json("config", t->o->config_json, &config);
    if (status != SC_OK) {
        sc_obj_free(root);
        return status;
    }
    sc_obj_put(root, "config", config);
    put_classes(t, root);
    if (latest)
        sc_obj_put(root, "sc_state", sc_state_to_object(t));
    *out = root;
    return SC_OK;
}

/* Every byte is on its way to the disk when this returns: the next step may change the parameters.
 */
static sc_status write_out(sc_trainer *t, const sc_object *root, const char *name,
                           const char *prev_name)
{
    char *path = sc_path_join(t->o->dir, name);
    char *prev = prev_name ? sc_path_join(t->o->dir, prev_name) : NULL;
    giver g = {t, sc_alloc(sc_params_room(t->params), 1)};
    sc_atomic_file *file = NULL;
    sc_status status = path && g.room && (prev || !prev_name) ? SC_OK : SC_ENOMEM;
    if (status == SC_OK)
        status = sc_pth_write(path, root, &(sc_tensor_source){give, &g}, &file);
    if (status == SC_OK)
        status = sc_ckpt_writer_submit(t->writer, file, path, prev);
    free(g.room);
    free(path);
    free(prev);
    return status;
}

sc_status sc_trainer_save_latest(sc_trainer *t)
{
    const sc_train_state *s = &t->state;
    sc_object *root;
    /* the file before this one first: its temporary name may be the same */
    SC_TRY(sc_ckpt_writer_flush(t->writer));
    bool between = s->step == 0 && s->sums.batches == 0 && s->epoch > 0;
    SC_TRY(build(t, true, between ? s->epoch - 1 : s->epoch, s->epoch, &root));
    sc_status status = write_out(t, root, SC_CKPT_LATEST, t->keep_prev ? NULL : SC_CKPT_PREV);
    sc_obj_free(root);
    SC_TRY(status);
    t->keep_prev = false;
    t->last_write = sc_now();
    return SC_OK;
}

sc_status sc_trainer_save_best(sc_trainer *t)
{
    sc_object *root;
    SC_TRY(sc_ckpt_writer_flush(t->writer));
    SC_TRY(build(t, false, t->state.epoch, t->state.epoch + 1, &root));
    sc_status status = write_out(t, root, SC_CKPT_BEST, NULL);
    sc_obj_free(root);
    return status;
}

sc_status sc_trainer_finish_files(sc_trainer *t)
{
    SC_TRY(sc_ckpt_writer_flush(t->writer));
    char *prev = sc_path_join(t->o->dir, SC_CKPT_PREV);
    if (!prev)
        return SC_ENOMEM;
    sc_status status = SC_OK;
    if (unlink(prev) != 0 && errno != ENOENT)
        status = sc_fail(SC_EIO, "%s: cannot be removed: %s", prev, strerror(errno));
    free(prev);
    return status;
}
