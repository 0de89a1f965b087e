/* The row source: an epoch's batches in order, read ahead by loader threads. */
#include "row_source.h"

#include <inttypes.h>
#include <stdlib.h>

#define DEFAULT_AHEAD 2
#define MAX_AHEAD 64
#define MAX_THREADS 256
#define RUN_BYTES (64 * 1024) /* least bytes a loader reads between two locks */

static sc_status check_options(const sc_row_source_options *o)
{
    if (o->batch < 1)
        return sc_fail(SC_EINTERNAL, "row source: a batch of %" PRId64 " rows", o->batch);
    if (o->ranks < 1 || o->rank < 0 || o->rank >= o->ranks)
        return sc_fail(SC_EINTERNAL, "row source: rank %d of %d", o->rank, o->ranks);
    if (o->threads < 0 || o->threads > MAX_THREADS)
        return sc_fail(SC_EUSAGE, "num_workers is %d: it must be 0 to %d", o->threads, MAX_THREADS);
    if (o->depth < 0 || o->depth > MAX_AHEAD)
        return sc_fail(SC_EINTERNAL, "row source: %d batches ahead, at most %d", o->depth,
                       MAX_AHEAD);
    return SC_OK;
}

sc_status sc_row_source_open(const sc_row_source_options *o, sc_row_source **out)
{
    *out = NULL;
    SC_TRY(check_options(o));
    sc_row_source *s = sc_alloc(1, sizeof *s);
    if (!s)
        return SC_ENOMEM;
    s->o = *o;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->ready, NULL);
    s->paused = true; /* until an epoch begins */
    /* One slot is in the consumer's hands while the others are filled. */
    s->slots = o->threads == 0 ? 1 : 1 + (o->depth > 0 ? o->depth : DEFAULT_AHEAD);
    s->ring = sc_alloc((size_t)s->slots, sizeof *s->ring);
    sc_status status = s->ring ? SC_OK : SC_ENOMEM;
    if (status == SC_OK && o->threads > 0)
        status = row_loaders_start(s);
    if (status != SC_OK) {
        sc_row_source_close(s);
        return status;
    }
    *out = s;
    return SC_OK;
}

void sc_row_source_close(sc_row_source *s)
{
    if (!s)
        return;
    row_loaders_stop(s);
    for (int i = 0; s->ring && i < s->slots; i++) {
        free(s->ring[i].pixels);
        free(s->ring[i].draws);
    }
    free(s->ring);
    free(s->order);
    free(s->labels);
    pthread_cond_destroy(&s->ready);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static sc_status take_order(sc_row_source *s, const sc_epoch_request *r)
{
    const int64_t samples = sc_dataset_count(s->o.dataset);
    const int32_t *labels = sc_dataset_labels(s->o.dataset);
    if (r->count > s->order_capacity) {
        free(s->order);
        free(s->labels);
        s->order_capacity = 0;
        s->order = sc_alloc((size_t)r->count, sizeof *s->order);
        s->labels = sc_alloc((size_t)r->count, sizeof *s->labels);
        if (!s->order || !s->labels)
            return SC_ENOMEM;
        s->order_capacity = r->count;
    }
    for (int64_t i = 0; i < r->count; i++) {
        const int64_t sample = r->order[i];
        if (sample < 0 || sample >= samples)
            return sc_fail(SC_EINTERNAL,
                           "row source: position %" PRId64 " of the order is sample %" PRId64
                           " of %" PRId64,
                           i, sample, samples);
        s->order[i] = sample;
        s->labels[i] = labels[sample];
    }
    return SC_OK;
}

/* Room in every slot for the largest slice of the epoch: rank 0's of a full batch. Grows only, so
 * the epochs after the first training and validation pass allocate nothing. */
static sc_status reserve_slots(sc_row_source *s)
{
    const int64_t batch = s->count < s->o.batch ? s->count : s->o.batch;
    const int64_t rows = (batch + s->o.ranks - 1) / s->o.ranks;
    size_t bytes;
    if (sc_mul_overflow((size_t)rows, s->o.without_pixels ? 0 : s->row_bytes, &bytes))
        return sc_fail(SC_ENOMEM, "a batch of %" PRId64 " rows does not fit into memory", rows);
    for (int i = 0; bytes > s->byte_capacity && i < s->slots; i++) {
        free(s->ring[i].pixels);
        s->ring[i].pixels = sc_alloc(bytes, 1);
        if (!s->ring[i].pixels) {
            s->byte_capacity = 0;
            return SC_ENOMEM;
        }
    }
    if (bytes > s->byte_capacity)
        s->byte_capacity = bytes;
    for (int i = 0; rows > s->row_capacity && i < s->slots; i++) {
        free(s->ring[i].draws);
        s->ring[i].draws = sc_alloc((size_t)rows, sizeof *s->ring[i].draws);
        if (!s->ring[i].draws) {
            s->row_capacity = 0;
            return SC_ENOMEM;
        }
    }
    if (rows > s->row_capacity)
        s->row_capacity = rows;
    return SC_OK;
}

static sc_status begin_epoch(sc_row_source *s, const sc_epoch_request *r)
{
    if (r->count < 0 || r->count > UINT32_MAX || r->first_batch < 0)
        return sc_fail(SC_EINTERNAL, "row source: %" PRId64 " samples from batch %" PRId64,
                       r->count, r->first_batch);
    s->count = r->count;
    s->batches = (r->count + s->o.batch - 1) / s->o.batch;
    if (r->first_batch > s->batches)
        return sc_fail(SC_EINTERNAL, "row source: batch %" PRId64 " of an epoch of %" PRId64,
                       r->first_batch, s->batches);
    s->augment = r->augment;
    s->kind = r->augment ? SC_ROW_TRAIN : SC_ROW_EVAL;
    s->size = sc_dataset_img_size(s->o.dataset);
    s->row = sc_dataset_row_size(s->o.dataset, s->kind);
    s->row_bytes = (size_t)s->row * (size_t)s->row * 3;
    s->run = 1 + (int64_t)(RUN_BYTES / s->row_bytes);
    s->random_state = r->random_state;
    s->epoch = r->epoch;
    s->fold = r->fold;
    SC_TRY(take_order(s, r));
    SC_TRY(reserve_slots(s));
    for (int i = 0; i < s->slots; i++)
        s->ring[i].batch = -1;
    s->fill = s->release = s->give = r->first_batch;
    s->failed_batch = INT64_MAX;
    s->waited = 0.0;
    return SC_OK;
}

sc_status sc_row_source_begin(sc_row_source *s, const sc_epoch_request *r)
{
    row_loaders_pause(s);
    s->begun = false;
    SC_TRY(begin_epoch(s, r));
    s->begun = true;
    row_loaders_resume(s);
    return SC_OK;
}

/* threads = 0: the caller's thread reads the batch now. */
static void load_here(sc_row_source *s, row_slot *slot)
{
    int64_t failed = -1;
    if (slot->batch == s->give) /* asked again after a failure */
        return;
    row_slot_open(s, slot, s->give);
    slot->status = row_slot_load(s, slot, 0, slot->rows, &failed);
    slot->done = slot->rows;
    if (slot->status != SC_OK)
        snprintf(slot->message, sizeof slot->message, "%s", sc_message());
}

static void wait_for(sc_row_source *s, const row_slot *slot)
{
    double start = 0.0;
    pthread_mutex_lock(&s->lock);
    s->release = s->give;
    pthread_cond_broadcast(&s->work);
    while (slot->batch != s->give || slot->done != slot->rows) {
        if (start == 0.0)
            start = sc_now();
        pthread_cond_wait(&s->ready, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    if (start != 0.0)
        s->waited += sc_now() - start;
}

sc_status sc_row_source_next(sc_row_source *s, sc_batch *out)
{
    *out = (sc_batch){.first = s->count};
    if (!s->begun)
        return sc_fail(SC_EINTERNAL, "row source: next without a begun epoch");
    if (s->give >= s->batches)
        return SC_OK;
    row_slot *slot = &s->ring[s->give % s->slots];
    if (s->o.threads == 0) {
        const double start = sc_now();
        load_here(s, slot);
        s->waited += sc_now() - start;
    } else {
        wait_for(s, slot);
    }
    if (slot->status != SC_OK)
        return sc_fail(slot->status, "%s", slot->message);
    *out = (sc_batch){.first = slot->first,
                      .rows_global = slot->rows_global,
                      .rows = slot->rows,
                      .local_first = slot->local_first,
                      .samples = s->order + slot->first,
                      .labels = s->labels + slot->first,
                      .kind = s->kind,
                      .pixels = slot->pixels,
                      .draws = slot->draws};
    s->give++;
    return SC_OK;
}

double sc_row_source_wait_seconds(const sc_row_source *s)
{
    return s->waited;
}
