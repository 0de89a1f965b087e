/* sc_state: what a step needs beyond parameters and moments, as Python values in checkpoint_latest.
 */
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

enum { STATE_VERSION = 1 };

/* One row a column of the history. */
static const struct {
    const char *key;
    size_t offset;
} columns[] = {
#define COLUMN(name)                            \
    {                                           \
#name, offsetof(sc_epoch_metrics, name) \
    }
    COLUMN(train_loss),
    COLUMN(train_acc),
    COLUMN(val_loss),
    COLUMN(val_acc),
    COLUMN(val_mAP),
    COLUMN(val_precision),
    COLUMN(val_recall),
    COLUMN(val_f1),
    COLUMN(train_class_loss),
    COLUMN(train_contrastive_loss),
    COLUMN(val_class_loss),
    COLUMN(val_contrastive_loss),
    COLUMN(lr),
#undef COLUMN
};
enum { COLUMNS = sizeof columns / sizeof columns[0] };

void sc_train_state_free(sc_train_state *s)
{
    sc_history_free(&s->history);
    *s = (sc_train_state){0};
}

static sc_object *history_object(const sc_history *h)
{
    sc_object *dict = sc_obj_dict();
    for (int c = 0; c < COLUMNS; c++) {
        sc_object *list = sc_obj_list();
        for (int e = 0; e < h->count; e++) {
            double v;
            memcpy(&v, (const char *)&h->epochs[e] + columns[c].offset, sizeof v);
            sc_obj_append(list, sc_obj_float(v));
        }
        sc_obj_put(dict, columns[c].key, list);
    }
    return dict;
}

static sc_object *best_object(const sc_best *b)
{
    sc_object *dict = sc_obj_dict();
    sc_obj_put(dict, "any", sc_obj_bool(b->any));
    sc_obj_put(dict, "value", sc_obj_float(b->value));
    sc_obj_put(dict, "epoch", sc_obj_int(b->epoch));
    return dict;
}

sc_object *sc_state_to_object(const sc_trainer *t)
{
    const sc_train_state *s = &t->state;
    sc_object *dict = sc_obj_dict(), *losses = sc_obj_list();
    for (int k = 0; k < 3; k++)
        sc_obj_append(losses, sc_obj_float(s->sums.loss[k]));
    sc_obj_put(dict, "version", sc_obj_int(STATE_VERSION));
    sc_obj_put(dict, "identity", sc_obj_string(t->o->identity));
    sc_obj_put(dict, "epoch", sc_obj_int(s->epoch));
    sc_obj_put(dict, "step", sc_obj_int(s->step));
    sc_obj_put(dict, "updates", sc_obj_int(sc_params_step(t->params)));
    sc_obj_put(dict, "loss_sums", losses);
    sc_obj_put(dict, "correct", sc_obj_int(s->sums.correct));
    sc_obj_put(dict, "rows", sc_obj_int(s->sums.rows));
    sc_obj_put(dict, "batches", sc_obj_int(s->sums.batches));
    sc_obj_put(dict, "best", best_object(&s->best));
    sc_obj_put(dict, "watch", best_object(&s->watch));
    sc_obj_put(dict, "stale", sc_obj_int(s->stale));
    sc_obj_put(dict, "stopped_early", sc_obj_bool(s->stopped_early));
    sc_obj_put(dict, "finished", sc_obj_bool(s->finished));
    sc_obj_put(dict, "history", history_object(&s->history));
    return dict;
}

/* ---- and back ------------------------------------------------------------------------------- */

/* Reads typed entries of a dictionary; the first one that is missing or of another type fails. */
typedef struct reader {
    const char *path;
    const sc_object *dict;
    sc_status status;
} reader;

static const sc_object *entry(reader *r, const char *key, sc_object_type type)
{
    const sc_object *v = r->status == SC_OK ? sc_obj_get(r->dict, key) : NULL;
    if (v && v->type == type)
        return v;
    if (r->status == SC_OK)
        r->status = sc_fail(SC_EFORMAT, "%s: sc_state has no proper '%s'", r->path, key);
    return NULL;
}

static int64_t read_int(reader *r, const char *key, int64_t low, int64_t high)
{
    const sc_object *v = entry(r, key, SC_OBJ_INT);
    if (v && (v->i < low || v->i > high))
        r->status = sc_fail(SC_EFORMAT, "%s: sc_state '%s' is %lld", r->path, key, (long long)v->i);
    return v && r->status == SC_OK ? v->i : 0;
}

static bool read_bool(reader *r, const char *key)
{
    const sc_object *v = entry(r, key, SC_OBJ_BOOL);
    return v && v->b;
}

static double read_float(reader *r, const char *key)
{
    const sc_object *v = entry(r, key, SC_OBJ_FLOAT);
    return v ? v->f : 0;
}

static sc_best read_best(reader *r, const char *key)
{
    const sc_object *v = entry(r, key, SC_OBJ_DICT);
    reader inner = {r->path, v, r->status};
    sc_best b = {0};
    if (v) {
        b.any = read_bool(&inner, "any");
        b.value = read_float(&inner, "value");
        b.epoch = (int)read_int(&inner, "epoch", 0, INT32_MAX);
        r->status = inner.status;
    }
    return b;
}

static void read_history(reader *r, int epochs, sc_history *out)
{
    const sc_object *dict = entry(r, "history", SC_OBJ_DICT);
    const sc_epoch_metrics zero = {0};
    for (int e = 0; e < epochs && r->status == SC_OK; e++)
        r->status = sc_history_push(out, &zero);
    for (int c = 0; c < COLUMNS && r->status == SC_OK; c++) {
        reader inner = {r->path, dict, SC_OK};
        const sc_object *list = entry(&inner, columns[c].key, SC_OBJ_LIST);
        r->status = inner.status;
        if (list && list->count != (size_t)epochs)
            r->status = sc_fail(SC_EFORMAT, "%s: the history has %zu entries of %s for %d epochs",
                                r->path, list->count, columns[c].key, epochs);
        for (int e = 0; e < epochs && r->status == SC_OK; e++) {
            if (list->items[e]->type != SC_OBJ_FLOAT)
                r->status =
                    sc_fail(SC_EFORMAT, "%s: the history of %s holds something else than floats",
                            r->path, columns[c].key);
            memcpy((char *)&out->epochs[e] + columns[c].offset, &list->items[e]->f, sizeof(double));
        }
    }
}

static void read_sums(reader *r, sc_pass_sums *s)
{
    const sc_object *losses = entry(r, "loss_sums", SC_OBJ_LIST);
    if (losses && losses->count != 3)
        r->status =
            sc_fail(SC_EFORMAT, "%s: sc_state 'loss_sums' has %zu entries", r->path, losses->count);
    for (int k = 0; k < 3 && r->status == SC_OK; k++)
        s->loss[k] = losses->items[k]->type == SC_OBJ_FLOAT ? losses->items[k]->f : 0;
    s->correct = read_int(r, "correct", 0, INT64_MAX);
    s->rows = read_int(r, "rows", 0, INT64_MAX);
    s->batches = read_int(r, "batches", 0, INT64_MAX);
}

sc_status sc_state_from_object(const char *path, const sc_object *dict, sc_train_state *out)
{
    *out = (sc_train_state){0};
    reader r = {path, dict, SC_OK};
    if (!dict || dict->type != SC_OBJ_DICT)
        return sc_fail(
            SC_EFORMAT,
            "%s holds no sc_state: training cannot continue from it; start from its weights "
            "with --init-from",
            path);
    if (read_int(&r, "version", 1, INT32_MAX) != STATE_VERSION && r.status == SC_OK)
        return sc_fail(SC_EFORMAT, "%s was written by a later version of sc_mpi", path);
    out->epoch = (int)read_int(&r, "epoch", 0, INT32_MAX);
    out->step = read_int(&r, "step", 0, INT64_MAX);
    read_sums(&r, &out->sums);
    out->best = read_best(&r, "best");
    out->watch = read_best(&r, "watch");
    out->stale = (int)read_int(&r, "stale", 0, INT32_MAX);
    out->stopped_early = read_bool(&r, "stopped_early");
    out->finished = read_bool(&r, "finished");
    read_history(&r, out->epoch, &out->history);
    if (r.status == SC_OK && out->best.any && out->best.epoch >= out->epoch)
        r.status = sc_fail(SC_EFORMAT, "%s: its best epoch lies ahead of it", path);
    if (r.status != SC_OK)
        sc_train_state_free(out);
    return r.status;
}
