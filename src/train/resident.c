/* Data sets on the device: who has which, and how they get there. */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

#define CHUNK_BYTES ((size_t)8 << 20) /* of rows that are read at once */

typedef struct resident_set {
    struct resident_set *next;
    char *hash;
    sc_row_store *rows[2]; /* by sc_row_kind */
    size_t bytes;
    int users;
    bool refused; /* told that it does not fit */
} resident_set;

struct sc_resident {
    sc_device *device;
    size_t room;
    bool required;
    pthread_mutex_t lock; /* held while a set is uploaded, too: who waits wants it as well */
    resident_set *sets;
    size_t bytes; /* of all sets */
};

sc_status sc_resident_open(sc_device *d, size_t room, bool required, sc_resident **out)
{
    *out = NULL;
    if (!sc_row_store_possible(d))
        return sc_fail(SC_EUNSUPPORTED, "backend '%s' keeps no data on a device", d->backend->name);
    sc_resident *r = sc_alloc(1, sizeof *r);
    if (!r)
        return SC_ENOMEM;
    *r = (sc_resident){.device = d, .room = room, .required = required};
    pthread_mutex_init(&r->lock, NULL);
    *out = r;
    return SC_OK;
}

static void drop_rows(sc_resident *r, resident_set *s)
{
    for (int kind = 0; kind < 2; kind++) {
        sc_row_store_free(s->rows[kind]);
        s->rows[kind] = NULL;
    }
    r->bytes -= s->bytes;
    s->bytes = 0;
}

void sc_resident_close(sc_resident *r)
{
    if (!r)
        return;
    for (resident_set *s = r->sets, *next; s; s = next) {
        next = s->next;
        drop_rows(r, s);
        free(s->hash);
        free(s);
    }
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static size_t row_bytes(const sc_dataset *d, sc_row_kind kind)
{
    const size_t side = (size_t)sc_dataset_row_size(d, kind);
    return side * side * 3;
}

size_t sc_resident_bytes(const sc_dataset *d, bool augment)
{
    const size_t row = row_bytes(d, SC_ROW_EVAL) + (augment ? row_bytes(d, SC_ROW_TRAIN) : 0);
    return (size_t)sc_dataset_count(d) * row;
}

/* ---- upload ------------------------------------------------------------------------------------
 */

/* The loader reads ahead, in the order of the files, and checks every row. */
static sc_status fill(sc_dataset *d, sc_row_kind kind, int threads, sc_row_store *store)
{
    const int64_t count = sc_dataset_count(d);
    sc_row_source *source = NULL;
    sc_batch b;
    int64_t *order = sc_alloc((size_t)count, sizeof *order);
    if (!order)
        return SC_ENOMEM;
    for (int64_t i = 0; i < count; i++)
        order[i] = i;
    sc_status status = sc_row_source_open(
        &(sc_row_source_options){.dataset = d,
                                 .threads = threads,
                                 .batch = 1 + (int64_t)(CHUNK_BYTES / row_bytes(d, kind)),
                                 .ranks = 1},
        &source);
    if (status == SC_OK)
        status = sc_row_source_begin(
            source,
            &(sc_epoch_request){.order = order, .count = count, .augment = kind == SC_ROW_TRAIN});
    while (status == SC_OK) {
        status = sc_row_source_next(source, &b);
        if (status != SC_OK || b.rows_global == 0)
            break;
        status = sc_row_store_fill(store, b.first, b.rows, b.pixels);
    }
    sc_row_source_close(source);
    free(order);
    return status == SC_OK ? sc_row_store_filled(store) : status;
}

static sc_status upload(sc_resident *r, resident_set *s, sc_dataset *d, sc_row_kind kind,
                        int threads)
{
    const size_t bytes = (size_t)sc_dataset_count(d) * row_bytes(d, kind);
    sc_row_store *store = NULL;
    SC_TRY(sc_row_store_new(r->device, sc_dataset_count(d), row_bytes(d, kind), &store));
    const sc_status status = fill(d, kind, threads, store);
    if (status != SC_OK) {
        sc_row_store_free(store);
        return status;
    }
    s->rows[kind] = store;
    s->bytes += bytes;
    r->bytes += bytes;
    return SC_OK;
}

/* ---- taking ------------------------------------------------------------------------------------
 */

static resident_set *find(sc_resident *r, const sc_dataset *d)
{
    for (resident_set *s = r->sets; s; s = s->next)
        if (strcmp(s->hash, sc_dataset_hash(d)) == 0)
            return s;
    resident_set *s = sc_alloc(1, sizeof *s);
    char *hash = sc_strdup(sc_dataset_hash(d));
    if (!s || !hash) {
        free(s);
        free(hash);
        return NULL;
    }
    *s = (resident_set){.next = r->sets, .hash = hash};
    r->sets = s;
    return s;
}

/* Gives sets up that no job uses, until `bytes` more fit. */
static bool make_room(sc_resident *r, size_t bytes)
{
    for (resident_set *s = r->sets; s && bytes > r->room - r->bytes; s = s->next)
        if (s->users == 0)
            drop_rows(r, s);
    return bytes <= r->room - r->bytes;
}

/* An error, or a line the first time. */
static sc_status refuse(const sc_resident *r, resident_set *s, const char *why, const sc_log *log)
{
    if (r->required)
        return sc_fail(SC_EUSAGE,
                       "--data-on-gpu on: %s; lower batch_size, img_size or --jobs-per-gpu, or "
                       "leave --data-on-gpu at auto",
                       why);
    if (!s->refused)
        sc_info(log, "Data: read batch by batch: %s", why);
    s->refused = true;
    return SC_OK;
}

static sc_status bring(sc_resident *r, resident_set *s, sc_dataset *d, bool augment, int threads,
                       const sc_log *log, bool *there)
{
    const double began = sc_now();
    const bool wanted[2] = {[SC_ROW_EVAL] = true, [SC_ROW_TRAIN] = augment};
    size_t need = 0;
    for (sc_row_kind kind = SC_ROW_EVAL; kind <= SC_ROW_TRAIN; kind++)
        if (wanted[kind] && !s->rows[kind])
            need += (size_t)sc_dataset_count(d) * row_bytes(d, kind);
    *there = need == 0;
    if (*there)
        return SC_OK;
    s->users++; /* its other kind of rows stays */
    const bool fits = make_room(r, need);
    sc_status status = SC_OK;
    for (sc_row_kind kind = SC_ROW_EVAL; fits && kind <= SC_ROW_TRAIN && status == SC_OK; kind++)
        if (wanted[kind] && !s->rows[kind])
            status = upload(r, s, d, kind, threads);
    s->users--;
    char why[512];
    if (!fits) {
        (void)snprintf(why, sizeof why,
                       "on the GPU it would take %.2f GB, and %.2f GB are missing beside the jobs",
                       (double)need / 1e9, (double)(need - (r->room - r->bytes)) / 1e9);
        return refuse(r, s, why, log);
    }
    if (status == SC_ENOMEM) { /* somebody else's memory grew */
        (void)snprintf(why, sizeof why, "%s", sc_message());
        if (s->users == 0)
            drop_rows(r, s);
        return refuse(r, s, why, log);
    }
    SC_TRY(status);
    sc_info(log, "Data: %" PRId64 " images on the GPU, %.2f GB in %.1f s", sc_dataset_count(d),
            (double)s->bytes / 1e9, sc_now() - began);
    *there = true;
    return SC_OK;
}

sc_status sc_resident_take(sc_resident *r, sc_dataset *d, int64_t used, bool augment, int threads,
                           const sc_log *log, sc_resident_rows *out)
{
    *out = (sc_resident_rows){0};
    /* A few images of many (--overfit) are in memory soon without the others. */
    if (!r || (!r->required && used < sc_dataset_count(d) / 2))
        return SC_OK;
    bool there = false;
    pthread_mutex_lock(&r->lock);
    resident_set *s = find(r, d);
    sc_status status = s ? bring(r, s, d, augment, threads, log, &there) : SC_ENOMEM;
    if (status == SC_OK && there) {
        s->users++;
        out->set = s;
        out->of[SC_ROW_EVAL] = s->rows[SC_ROW_EVAL];
        out->of[SC_ROW_TRAIN] = s->rows[SC_ROW_TRAIN];
    }
    pthread_mutex_unlock(&r->lock);
    return status;
}

void sc_resident_give_back(sc_resident *r, sc_resident_rows *rows)
{
    if (!rows->set)
        return;
    pthread_mutex_lock(&r->lock);
    rows->set->users--;
    pthread_mutex_unlock(&r->lock);
    *rows = (sc_resident_rows){0};
}
