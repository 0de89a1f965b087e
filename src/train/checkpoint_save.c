/* Checkpoints as Python trees. The parameters are copied when a save begins, so that the next steps
 * may change them while the writer's thread is still at work.
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

/* The set's tensors move into the dictionary. */
static void move_tensor(sc_object *dict, sc_tensor *x)
{
    char *name = x->name;
    x->name = NULL;
    sc_object *o = sc_obj_tensor(x);
    if (name)
        sc_obj_put(dict, name, o);
    free(name);
    *x = (sc_tensor){0};
}

static sc_status model_state(const sc_trainer *t, sc_object **out)
{
    sc_tensor_set set = {0};
    sc_status status = sc_params_export(t->params, &set);
    for (size_t i = 0; i < set.count && status == SC_OK; i++)
        status = check_tensor(t, &set.items[i]);
    *out = NULL;
    if (status == SC_OK) {
        *out = sc_obj_ordered_dict();
        for (size_t i = 0; i < set.count; i++)
            move_tensor(*out, &set.items[i]);
    }
    sc_tensor_set_free(&set);
    return status;
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
static sc_status optimizer_entries(const sc_trainer *t, sc_object *entries, sc_object *numbers)
{
    int64_t step = sc_params_step(t->params);
    sc_tensor_set m = {0}, v = {0};
    if (step > 0)
        SC_TRY(sc_params_export_moments(t->params, &m, &v));
    int number = 0;
    for (size_t i = 0; i < sc_params_count(t->params); i++) {
        sc_param_info info = sc_params_info(t->params, i);
        if (info.kind != SC_PARAM_WEIGHT)
            continue;
        sc_tensor *a = sc_tensor_set_find(&m, info.name), *b = sc_tensor_set_find(&v, info.name);
        if (a && b) {
            sc_object *e = sc_obj_dict();
            sc_obj_put(e, "step", step_tensor(step));
            sc_object *avg = sc_obj_tensor(a);
            *a = (sc_tensor){0};
            sc_obj_put(e, "exp_avg", avg);
            sc_object *sq = sc_obj_tensor(b);
            *b = (sc_tensor){0};
            sc_obj_put(e, "exp_avg_sq", sq);
            sc_obj_put_key(entries, sc_obj_int(number), e);
        }
        sc_obj_append(numbers, sc_obj_int(number++));
    }
    sc_tensor_set_free(&m);
    sc_tensor_set_free(&v);
    return SC_OK;
}

static sc_status optimizer_state(const sc_trainer *t, sc_object **out)
{
    sc_object *entries = sc_obj_dict(), *numbers = sc_obj_list();
    sc_status status = optimizer_entries(t, entries, numbers);
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
    *out = sc_obj_dict();
    sc_obj_put(*out, "state", entries);
    sc_obj_put(*out, "param_groups", groups);
    return status;
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
    sc_object *root = sc_obj_dict(), *model = NULL, *optimizer = NULL, *config = NULL;
    sc_status status = SC_OK;
    sc_obj_put(root, "epoch", sc_obj_int(epoch));
    sc_obj_put(root, "fold", sc_obj_int(t->o->fold));
    SC_TRY_GOTO(model_state(t, &model));
    sc_obj_put(root, "model_state_dict", model);
    if (latest) {
        status = optimizer_state(t, &optimizer);
        sc_obj_put(root, "optimizer_state_dict", optimizer);
        SC_TRY_GOTO(status);
    }
    sc_obj_put(root, "scheduler_state_dict", scheduler_state(t, ahead));
    put_figures(t, root);
    SC_TRY_GOTO(sc_object_from_json("config", t->o->config_json, &config));
    sc_obj_put(root, "config", config);
    put_classes(t, root);
    if (latest)
        sc_obj_put(root, "sc_state", sc_state_to_object(t));
done:
    if (status != SC_OK) {
        sc_obj_free(root);
        root = NULL;
    }
    *out = root;
    return status;
}

static sc_status submit(sc_trainer *t, sc_object *root, const char *name, const char *prev_name)
{
    char *path = sc_path_join(t->o->dir, name);
    char *prev = prev_name ? sc_path_join(t->o->dir, prev_name) : NULL;
    sc_status status = SC_ENOMEM;
    if (path && (prev || !prev_name))
        status = sc_ckpt_writer_submit(t->writer, root, path, prev);
    else
        sc_obj_free(root);
    free(path);
    free(prev);
    return status;
}

sc_status sc_trainer_save_latest(sc_trainer *t)
{
    const sc_train_state *s = &t->state;
    sc_object *root;
    /* the file before this one first: two snapshots at once would be twice the memory */
    SC_TRY(sc_ckpt_writer_flush(t->writer));
    bool between = s->step == 0 && s->sums.batches == 0 && s->epoch > 0;
    SC_TRY(build(t, true, between ? s->epoch - 1 : s->epoch, s->epoch, &root));
    SC_TRY(submit(t, root, SC_CKPT_LATEST, t->keep_prev ? NULL : SC_CKPT_PREV));
    t->keep_prev = false;
    t->last_write = sc_now();
    return SC_OK;
}

sc_status sc_trainer_save_best(sc_trainer *t)
{
    sc_object *root;
    SC_TRY(sc_ckpt_writer_flush(t->writer));
    SC_TRY(build(t, false, t->state.epoch, t->state.epoch + 1, &root));
    return submit(t, root, SC_CKPT_BEST, NULL);
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
