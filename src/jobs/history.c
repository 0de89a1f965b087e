/* history.json: one list a key, an entry an epoch. */
#include "superclip/jobs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct column {
    const char *key;
    size_t offset;
    bool superclip; /* only with the SuperCLIP loss */
} column;

#define COLUMN(name, part)                            \
    {                                                 \
#name, offsetof(sc_epoch_metrics, name), part \
    }
static const column columns[] = {
    COLUMN(train_loss, false),
    COLUMN(train_acc, false),
    COLUMN(val_loss, false),
    COLUMN(val_acc, false),
    COLUMN(val_mAP, false),
    COLUMN(val_precision, false),
    COLUMN(val_recall, false),
    COLUMN(val_f1, false),
    COLUMN(train_class_loss, true),
    COLUMN(train_contrastive_loss, true),
    COLUMN(val_class_loss, true),
    COLUMN(val_contrastive_loss, true),
    COLUMN(lr, false),
};
enum { COLUMNS = sizeof columns / sizeof columns[0] };

static double get(const sc_epoch_metrics *m, const column *c)
{
    double v;
    memcpy(&v, (const char *)m + c->offset, sizeof v);
    return v;
}

sc_status sc_history_push(sc_history *h, const sc_epoch_metrics *m)
{
    if (h->count == h->cap) {
        int cap = h->cap ? 2 * h->cap : 16;
        sc_epoch_metrics *grown = sc_realloc(h->epochs, (size_t)cap, sizeof *grown);
        if (!grown)
            return SC_ENOMEM;
        h->epochs = grown;
        h->cap = cap;
    }
    h->epochs[h->count++] = *m;
    return SC_OK;
}

void sc_history_free(sc_history *h)
{
    free(h->epochs);
    *h = (sc_history){0};
}

void sc_history_write(const sc_history *h, bool superclip, sc_json_writer *w)
{
    for (int i = 0; i < COLUMNS; i++) {
        if (columns[i].superclip && !superclip)
            continue;
        sc_jw_list(w, columns[i].key);
        for (int e = 0; e < h->count; e++)
            sc_jw_number(w, NULL, get(&h->epochs[e], &columns[i]));
        sc_jw_end(w);
    }
}

sc_status sc_history_save(const sc_history *h, bool superclip, const char *path)
{
    sc_json_writer w;
    sc_jw_init(&w);
    sc_jw_object(&w, NULL);
    sc_history_write(h, superclip, &w);
    sc_jw_end(&w);
    sc_status status = sc_jw_save(&w, path);
    sc_jw_free(&w);
    return status;
}

/* A number; null reads back as not-a-number, which is what the writer made it from. */
static sc_status read_entry(const sc_json_doc *doc, const sc_json *v, const column *c,
                            sc_epoch_metrics *m)
{
    double value = NAN;
    if (sc_json_type_of(v) == SC_JSON_NUMBER)
        value = sc_json_number(v);
    else if (sc_json_type_of(v) != SC_JSON_NULL)
        return sc_json_fail(doc, v, "'%s' holds %s, not numbers; the file is damaged", c->key,
                            sc_json_type_name(sc_json_type_of(v)));
    memcpy((char *)m + c->offset, &value, sizeof value);
    return SC_OK;
}

static sc_status read_column(const sc_json_doc *doc, const sc_json *object, const column *c,
                             sc_history *h, bool first)
{
    const sc_json *list = sc_json_get(object, c->key);
    if (!list || sc_json_type_of(list) != SC_JSON_ARRAY)
        return sc_json_fail(doc, object, "the list '%s' is missing; the history is damaged",
                            c->key);
    if (!first && sc_json_count(list) != (size_t)h->count)
        return sc_json_fail(doc, list, "has %zu entries, other lists %d; the history is damaged",
                            sc_json_count(list), h->count);
    int e = 0;
    for (const sc_json *v = sc_json_first(list); v; v = sc_json_next(v), e++) {
        if (first)
            SC_TRY(sc_history_push(h, &(sc_epoch_metrics){0}));
        SC_TRY(read_entry(doc, v, c, &h->epochs[e]));
    }
    return SC_OK;
}

sc_status sc_history_read(const sc_json_doc *doc, const sc_json *object, bool superclip,
                          sc_history *out)
{
    *out = (sc_history){0};
    for (int i = 0; i < COLUMNS; i++) {
        if (columns[i].superclip && !superclip)
            continue;
        sc_status status = read_column(doc, object, &columns[i], out, i == 0);
        if (status != SC_OK) {
            sc_history_free(out);
            return status;
        }
    }
    return SC_OK;
}
