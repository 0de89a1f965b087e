/* The loader threads of the row source. */
#include "row_source.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void row_slot_open(const sc_row_source *s, row_slot *slot, int64_t b)
{
    const int64_t ranks = s->o.ranks, rank = s->o.rank;
    slot->batch = b;
    slot->first = b * s->o.batch;
    slot->rows_global = s->count - slot->first;
    if (slot->rows_global > s->o.batch)
        slot->rows_global = s->o.batch;
    /* The rule of sc_split_rows (room jobs, which data may not include): contiguous pieces in rank
     * order, the first ranks take one row more. */
    const int64_t share = slot->rows_global / ranks, more = slot->rows_global % ranks;
    slot->rows = share + (rank < more);
    slot->local_first = rank * share + (rank < more ? rank : more);
    slot->taken = 0;
    slot->done = 0;
    slot->status = SC_OK;
    slot->failed_row = INT64_MAX;
}

sc_status row_slot_load(const sc_row_source *s, row_slot *slot, int64_t from, int64_t to,
                        int64_t *failed)
{
    for (int64_t i = from; i < to; i++) {
        const int64_t position = slot->first + slot->local_first + i;
        const sc_status status = s->o.without_pixels
                                     ? SC_OK
                                     : sc_dataset_row(s->o.dataset, s->kind, s->order[position],
                                                      slot->pixels + (size_t)i * s->row_bytes);
        if (status != SC_OK) {
            *failed = i;
            return status;
        }
        if (s->augment)
            sc_augment_draw(s->random_state, s->epoch, position, s->fold, s->size, s->row,
                            &slot->draws[i]);
        else
            memset(&slot->draws[i], 0, sizeof slot->draws[i]);
    }
    return SC_OK;
}

/* The next run of rows to read, if there is one now. Under the lock. */
static bool take_rows(sc_row_source *s, row_slot **slot, int64_t *from, int64_t *to)
{
    while (!s->paused && s->fill < s->batches && s->fill <= s->failed_batch &&
           s->fill < s->release + s->slots) {
        row_slot *k = &s->ring[s->fill % s->slots];
        if (k->batch != s->fill)
            row_slot_open(s, k, s->fill);
        if (k->taken == k->rows) { /* given out, or this rank has no row of it */
            s->fill++;
            if (k->rows == 0)
                pthread_cond_signal(&s->ready);
            continue;
        }
        *slot = k;
        *from = k->taken;
        *to = k->rows - k->taken < s->run ? k->rows : k->taken + s->run;
        k->taken = *to;
        return true;
    }
    return false;
}

/* Under the lock. Of several failed rows of a batch the lowest is told, however threads ran. */
static void note_failure(sc_row_source *s, row_slot *slot, int64_t row, sc_status status)
{
    if (slot->batch < s->failed_batch)
        s->failed_batch = slot->batch;
    if (row >= slot->failed_row)
        return;
    slot->failed_row = row;
    slot->status = status;
    snprintf(slot->message, sizeof slot->message, "%s", sc_message());
}

static void *loader(void *arg)
{
    sc_row_source *s = arg;
    row_slot *slot = NULL;
    int64_t from = 0, to = 0;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->stop && !take_rows(s, &slot, &from, &to))
            pthread_cond_wait(&s->work, &s->lock);
        if (s->stop)
            break;
        s->busy++;
        pthread_mutex_unlock(&s->lock);
        int64_t failed = -1;
        const sc_status status = row_slot_load(s, slot, from, to, &failed);
        pthread_mutex_lock(&s->lock);
        s->busy--;
        slot->done += to - from;
        if (status != SC_OK)
            note_failure(s, slot, failed, status);
        if (slot->done == slot->rows || s->busy == 0)
            pthread_cond_signal(&s->ready);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

sc_status row_loaders_start(sc_row_source *s)
{
    sigset_t all, old;
    s->threads = sc_alloc((size_t)s->o.threads, sizeof *s->threads);
    if (!s->threads)
        return SC_ENOMEM;
    /* Signals belong to the thread that trains. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = 0;
    while (s->started < s->o.threads && error == 0) {
        error = pthread_create(&s->threads[s->started], NULL, loader, s);
        s->started += error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error != 0)
        return sc_fail(SC_ENOMEM, "cannot start loader thread %d of %d: %s; lower num_workers",
                       s->started + 1, s->o.threads, strerror(error));
    return SC_OK;
}

void row_loaders_stop(sc_row_source *s)
{
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < s->started; i++)
        pthread_join(s->threads[i], NULL);
    s->started = 0;
    free(s->threads);
    s->threads = NULL;
}

void row_loaders_pause(sc_row_source *s)
{
    pthread_mutex_lock(&s->lock);
    s->paused = true;
    while (s->busy > 0)
        pthread_cond_wait(&s->ready, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void row_loaders_resume(sc_row_source *s)
{
    pthread_mutex_lock(&s->lock);
    s->paused = false;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
}
