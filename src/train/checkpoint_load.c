/* Back from a checkpoint. The leader chooses the file (the latest, or the one before it when that
 * is damaged); the others read the same one; everyone checks that all replicas became equal.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "trainer.h"

/* Every fold has its own training images: going on from another fold's weights would validate on
 * images that were trained on. */
static sc_status check_fold(const char *path, const sc_object *root, const sc_train_options *o)
{
    const sc_object *fold = sc_obj_get(root, "fold");
    if (!fold || fold->type != SC_OBJ_INT)
        return sc_fail(SC_EFORMAT, "%s has no proper 'fold'", path);
    if (fold->i == o->fold)
        return SC_OK;
    return sc_fail(SC_EUSAGE,
                   "%s is of fold %lld, this job is fold %d and validates on images that fold %lld "
                   "trains on; %s",
                   path, (long long)fold->i, o->fold, (long long)fold->i,
                   o->resume_from ? "name a checkpoint of this fold"
                                  : "put this fold's own file back, or give --restart");
}

static sc_status check_owner(const char *path, const sc_object *root, const sc_train_options *o)
{
    const sc_object *own = sc_obj_get(sc_obj_get(root, "sc_state"), "identity");
    if (!own || own->type != SC_OBJ_STRING)
        return sc_fail(SC_EFORMAT, "%s: sc_state has no proper 'identity'", path);
    SC_TRY(sc_identity_check(path, own->s, o->identity, o->unknown,
                             o->resume_from
                                 ? "--resume-from wants the same settings; with others, start from "
                                   "its weights with --init-from"
                                 : "give --restart to train anew, or another name"));
    return check_fold(path, root, o);
}

sc_status sc_ckpt_read(const char *path, const sc_train_options *o, sc_pth **file,
                       sc_train_state *state)
{
    *file = NULL;
    *state = (sc_train_state){0};
    sc_pth *f = NULL;
    sc_status status = SC_OK;
    SC_TRY(sc_pth_open(path, &f));
    SC_TRY_GOTO(sc_pth_verify(f));
    const sc_object *root = sc_pth_root(f);
    SC_TRY_GOTO(sc_state_from_object(path, sc_obj_get(root, "sc_state"), state));
    SC_TRY_GOTO(check_owner(path, root, o));
    *file = f;
    return SC_OK;
done:
    sc_pth_close(f);
    sc_train_state_free(state);
    return status;
}

/* exp_avg and exp_avg_sq of every trainable weight, by torch's numbers, under the weights' names.
 */
static sc_status list_moments(const sc_trainer *t, const char *path, const sc_object *entries,
                              sc_pth_list *m, sc_pth_list *v)
{
    int64_t number = 0;
    for (size_t i = 0; i < sc_params_count(t->params); i++) {
        sc_param_info info = sc_params_info(t->params, i);
        if (info.kind != SC_PARAM_WEIGHT)
            continue;
        const sc_object *e = NULL;
        for (size_t k = 0; k < entries->count; k++)
            if (entries->keys[k]->type == SC_OBJ_INT && entries->keys[k]->i == number)
                e = entries->items[k];
        number++;
        if (!info.trainable)
            continue;
        const sc_object *a = e ? sc_obj_get(e, "exp_avg") : NULL;
        const sc_object *b = e ? sc_obj_get(e, "exp_avg_sq") : NULL;
        if (!a || !b || a->type != SC_OBJ_TENSOR || b->type != SC_OBJ_TENSOR)
            return sc_fail(SC_EFORMAT, "%s: no optimiser state of %s (number %lld)", path,
                           info.name, (long long)number - 1);
        SC_TRY(sc_pth_list_add(m, info.name, a));
        SC_TRY(sc_pth_list_add(v, info.name, b));
    }
    return SC_OK;
}

static sc_status read_moments(sc_trainer *t, const char *path, sc_pth *file,
                              const sc_object *entries)
{
    sc_pth_list m = {.file = file}, v = {.file = file};
    sc_status status = list_moments(t, path, entries, &m, &v);
    if (status == SC_OK) {
        const sc_tensor_reader a = sc_pth_list_reader(&m), b = sc_pth_list_reader(&v);
        status = sc_params_read_moments(t->params, &a, &b);
    }
    sc_pth_list_free(&m);
    sc_pth_list_free(&v);
    return status;
}

static sc_status read_model(sc_trainer *t, sc_pth *file, const char *key, const sc_object *dict)
{
    sc_pth_list list = {.file = file};
    sc_status status = sc_pth_list_dict(&list, key, dict);
    if (status == SC_OK) {
        const sc_tensor_reader r = sc_pth_list_reader(&list);
        status = sc_params_read(t->params, &r);
    }
    sc_pth_list_free(&list);
    return status;
}

static sc_status apply(sc_trainer *t, const char *path, sc_pth *file)
{
    const sc_object *root = sc_pth_root(file);
    const sc_object *model = sc_obj_get(root, "model_state_dict");
    const sc_object *optimizer = sc_obj_get(root, "optimizer_state_dict");
    const sc_object *updates = sc_obj_get(sc_obj_get(root, "sc_state"), "updates");
    const sc_object *entries = optimizer ? sc_obj_get(optimizer, "state") : NULL;
    if (!model || !entries || !updates || updates->type != SC_OBJ_INT || updates->i < 0)
        return sc_fail(SC_EFORMAT, "%s lacks model_state_dict, optimizer_state_dict or updates",
                       path);
    SC_TRY(read_model(t, file, "model_state_dict", model));
    if (updates->i > 0)
        SC_TRY(read_moments(t, path, file, entries));
    sc_params_set_step(t->params, updates->i);
    return SC_OK;
}

static bool is_file_bad(sc_status s)
{
    return s == SC_EFORMAT;
}

/* Which file, opened. *path NULL: none, a fresh start. Leader only. */
static sc_status choose(sc_trainer *t, char **path, sc_pth **file, sc_train_state *state)
{
    const sc_train_options *o = t->o;
    *path = NULL;
    *file = NULL;
    if (o->resume_from) {
        *path = sc_strdup(o->resume_from);
        return *path ? sc_ckpt_read(*path, o, file, state) : SC_ENOMEM;
    }
    char *latest = sc_path_join(o->dir, SC_CKPT_LATEST), *prev = sc_path_join(o->dir, SC_CKPT_PREV);
    sc_status status = latest && prev ? SC_OK : SC_ENOMEM;
    if (o->restart) { /* what is there belongs to another training: no fallback for this one */
        t->keep_prev = true;
        if (status == SC_OK)
            (void)unlink(prev);
        free(latest);
        free(prev);
        return status;
    }
    bool has_latest = status == SC_OK && sc_file_exists(latest);
    bool has_prev = status == SC_OK && sc_file_exists(prev);
    if (has_latest) {
        status = sc_ckpt_read(latest, o, file, state);
        if (status == SC_OK)
            *path = sc_strdup(latest);
        else if (is_file_bad(status) && !has_prev)
            sc_fail_prefix(status, "no whole checkpoint to continue from (--restart trains anew)");
    }
    if (has_prev && (!has_latest || is_file_bad(status))) {
        if (has_latest)
            sc_warn(o->log, "fold %d: %s; going on from the checkpoint before it, %s", o->fold,
                    sc_message(), prev);
        t->keep_prev = has_latest;
        status = sc_ckpt_read(prev, o, file, state);
        if (status == SC_OK)
            *path = sc_strdup(prev);
        else if (is_file_bad(status))
            sc_fail_prefix(status, "no whole checkpoint to continue from (--restart trains anew)");
    }
    if (status == SC_OK && *file && !*path)
        status = SC_ENOMEM;
    free(latest);
    free(prev);
    return status;
}

/* The leader's choice for everyone; "" means none. */
static sc_status share_path(sc_trainer *t, char **path)
{
    int32_t n = t->leader && *path ? (int32_t)strlen(*path) : 0;
    SC_TRY(t->comm->broadcast(t->comm, &n, sizeof n, 0));
    if (n == 0)
        return SC_OK;
    if (!t->leader)
        *path = sc_alloc((size_t)n + 1, 1);
    SC_TRY(sc_trainer_agree(t, *path ? SC_OK : SC_ENOMEM, NULL));
    return t->comm->broadcast(t->comm, *path, (size_t)n, 0);
}

/* Ranks that read different bytes (a stale network file) would train apart without a word. */
sc_status sc_trainer_check_replicas(sc_trainer *t)
{
    int64_t mine = (int64_t)sc_params_checksum(t->params) << 20 ^ (int64_t)t->state.epoch << 40 ^
                   t->state.step;
    int64_t low = mine, high = mine;
    if (t->comm->size == 1)
        return SC_OK;
    SC_TRY(t->comm->all_reduce(t->comm, &low, 1, SC_I64, SC_MIN));
    SC_TRY(t->comm->all_reduce(t->comm, &high, 1, SC_I64, SC_MAX));
    if (low != high)
        return sc_fail(
            SC_EIO,
            "fold %d: the ranks read different weights from files of the same name; put the same "
            "files on all nodes",
            t->o->fold);
    return SC_OK;
}

static bool fits(const sc_trainer *t, const sc_train_state *s)
{
    return s->step <= t->train_batches && s->sums.batches <= s->step;
}

sc_status sc_trainer_resume(sc_trainer *t)
{
    char *path = NULL;
    sc_pth *file = NULL;
    sc_train_state state = {0};
    if (t->leader)
        sc_remove_leftovers(t->o->dir);
    sc_status status = t->leader ? choose(t, &path, &file, &state) : SC_OK;
    SC_TRY_GOTO(sc_trainer_agree(t, status, NULL));
    SC_TRY_GOTO(share_path(t, &path));
    if (!path)
        goto done;
    if (!t->leader)
        status = sc_ckpt_read(path, t->o, &file, &state);
    if (status == SC_OK && !fits(t, &state))
        status = sc_fail(SC_EFORMAT, "%s: step %lld of an epoch of %lld", path,
                         (long long)state.step, (long long)t->train_batches);
    if (status == SC_OK)
        status = apply(t, path, file);
    SC_TRY_GOTO(sc_trainer_agree(t, status, NULL));
    sc_train_state_free(&t->state);
    t->state = state;
    state = (sc_train_state){0};
    t->resumed = true;
    status = sc_trainer_check_replicas(t);
    if (status == SC_OK && t->leader) {
        status = sc_timing_resume(&t->timing, t->o->dir, t->state.epoch);
        sc_info(t->o->log, "fold %d: continuing from %s: epoch %d, step %lld", t->o->fold, path,
                t->state.epoch + 1, (long long)t->state.step);
    }
done:
    sc_train_state_free(&state);
    sc_pth_close(file);
    free(path);
    return status;
}
