/* Private to the row source: its ring of batches and the loaders that fill it.
 *
 * Batch b of the epoch lives in slot b % slots. Loaders take small runs of rows, in order, under
 * the lock and read them outside it; the consumer gives slots back in order. Everything below
 * "under the lock" is shared; the epoch's own fields change only while no loader works.
 */
#ifndef SUPERCLIP_DATA_ROW_SOURCE_H
#define SUPERCLIP_DATA_ROW_SOURCE_H

#include "superclip/data.h"

#include <pthread.h>

typedef struct row_slot {
    int64_t batch;                                 /* in the epoch; -1: none */
    int64_t first, rows_global, rows, local_first; /* as in sc_batch */
    int64_t taken, done;                           /* rows given to loaders, rows finished */
    sc_status status;                              /* of the lowest row that failed */
    int64_t failed_row;
    char message[1024];
    uint8_t *pixels;
    sc_augment *draws;
} row_slot;

struct sc_row_source {
    sc_row_source_options o;
    int slots;
    row_slot *ring;
    int64_t row_capacity; /* rows of `draws` in every slot */
    size_t byte_capacity; /* bytes of `pixels` in every slot */

    /* the epoch */
    int64_t *order;
    int32_t *labels; /* of order's samples */
    int64_t count, order_capacity;
    int64_t batches;
    bool augment;
    sc_row_kind kind;
    int size, row; /* S and P */
    size_t row_bytes;
    int64_t run; /* rows a loader takes at once */
    uint64_t random_state;
    int epoch, fold;
    bool begun;

    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t work;  /* loaders wait: a slot became free, or stop */
    pthread_cond_t ready; /* the consumer waits: a slot is full, or no loader is busy */
    int64_t fill;         /* batch whose rows are being given out */
    int64_t release;      /* batches below are given back */
    int64_t give;         /* next batch of the consumer */
    int64_t failed_batch; /* lowest batch with a failed row: nothing behind it is read */
    int busy;
    bool paused, stop;
    double waited;

    pthread_t *threads;
    int started;
};

/* Sets a slot up for batch b of the epoch: which rows of it are this rank's. */
void row_slot_open(const sc_row_source *s, row_slot *slot, int64_t b);
/* Reads rows [from, to) of the slot's slice; *failed is the row that failed. */
sc_status row_slot_load(const sc_row_source *s, row_slot *slot, int64_t from, int64_t to,
                        int64_t *failed);
/* Starts the loader threads; on failure some may run and row_loaders_stop ends them. */
sc_status row_loaders_start(sc_row_source *s);
void row_loaders_stop(sc_row_source *s);
/* Waits until no loader works and keeps it so; resume lets them go on. */
void row_loaders_pause(sc_row_source *s);
void row_loaders_resume(sc_row_source *s);

#endif
