/* Threads that decode and resize images some batches ahead of the model. Image i of the list is row
 * i % batch of batch i / batch whatever its neighbours are: a bad one leaves a row that nobody
 * looks at.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "superclip/infer.h"

enum { SLOTS = 3 /* one in the model's hands */, MOST_THREADS = 256 };

typedef struct slot {
    uint8_t **rows; /* [size_count] */
    char **reasons; /* [batch] */
    int64_t done;
} slot;

struct sc_image_reader {
    sc_image_reader_options o;
    int64_t total, batches;
    sc_row_maker *maker;
    slot slots[SLOTS];
    pthread_t *threads;
    int started;
    pthread_mutex_t lock;
    pthread_cond_t room, ready;
    /* under `lock` */
    int64_t next;  /* item to be taken */
    int64_t given; /* batches in the caller's hands or behind */
    int64_t dark;
    sc_status status; /* what ends everything */
    char message[1024];
    bool stop;
};

static size_t row_bytes(const sc_image_reader *r, int k)
{
    return (size_t)r->o.sizes[k] * (size_t)r->o.sizes[k] * 3;
}

/* ---- one image
 * ----------------------------------------------------------------------------------- */

static sc_status read_file(sc_image_reader *r, const char *file, uint8_t *const *rows,
                           sc_decode_notes *notes)
{
    char *data;
    size_t n;
    if (!sc_utf8_valid(file, strlen(file)))
        return sc_fail(SC_EFORMAT, "the name is not UTF-8");
    SC_TRY(sc_image_read(file, &data, &n));
    sc_status status =
        sc_row_maker_rows(r->maker, file, data, n, r->o.sizes, rows, r->o.size_count, notes);
    free(data);
    return status;
}

/* SC_EFORMAT with *bad: this image alone; any other failure ends everything. */
static sc_status load(sc_image_reader *r, int64_t i, bool *bad, bool *dark)
{
    const sc_image_item *item = &r->o.list->items[i];
    slot *s = &r->slots[i / r->o.batch % SLOTS];
    size_t row = (size_t)(i % r->o.batch);
    if (item->set)
        return sc_dataset_row(item->set, SC_ROW_EVAL, item->row,
                              s->rows[0] + row * row_bytes(r, 0));
    uint8_t *rows[r->o.size_count];
    for (int k = 0; k < r->o.size_count; k++)
        rows[k] = s->rows[k] + row * row_bytes(r, k);
    sc_decode_notes notes = {0};
    sc_status status = read_file(r, item->file, rows, &notes);
    *bad = status == SC_EFORMAT;
    *dark = status == SC_OK && notes.grey16 && notes.grey16_max < 4096;
    for (int k = 0; *bad && k < r->o.size_count; k++)
        memset(rows[k], 0, row_bytes(r, k));
    return status;
}

/* ---- threads
 * ------------------------------------------------------------------------------------- */

static bool may_take(const sc_image_reader *r)
{
    int64_t free_from = r->given > 0 ? r->given - 1 : 0; /* the newest batch is being looked at */
    return r->next < r->total && r->next / r->o.batch < free_from + SLOTS;
}

static void note(sc_image_reader *r, int64_t i, sc_status status, bool bad, bool dark)
{
    slot *s = &r->slots[i / r->o.batch % SLOTS];
    if (bad && !(s->reasons[i % r->o.batch] = sc_strdup(sc_message())))
        bad = false, status = SC_ENOMEM;
    if (status != SC_OK && !bad && r->status == SC_OK) {
        r->status = status;
        snprintf(r->message, sizeof r->message, "%s", sc_message());
        r->stop = true;
        pthread_cond_broadcast(&r->room);
    }
    r->dark += dark;
    s->done++;
}

static void *worker(void *arg)
{
    sc_image_reader *r = arg;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (!r->stop && !may_take(r))
            pthread_cond_wait(&r->room, &r->lock);
        if (r->stop)
            break;
        int64_t i = r->next++;
        pthread_mutex_unlock(&r->lock);
        bool bad = false, dark = false;
        sc_status status = load(r, i, &bad, &dark);
        pthread_mutex_lock(&r->lock);
        note(r, i, status, bad, dark);
        pthread_cond_signal(&r->ready);
    }
    pthread_cond_signal(&r->ready);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- open, next, close
 * ----------------------------------------------------------------------------- */

/* A packed set holds pixels of one size only. */
static sc_status check_sets(const sc_image_reader_options *o)
{
    for (int i = 0; i < o->list->set_count; i++) {
        int have = sc_dataset_img_size(o->list->sets[i]);
        for (int k = 0; k < o->size_count; k++)
            if (o->sizes[k] != have)
                return sc_fail(SC_EUSAGE,
                               "the packed images of %s are of img_size %d, a checkpoint wants %d; "
                               "name the image folder itself",
                               sc_dataset_path(o->list->sets[i], 0), have, o->sizes[k]);
    }
    return SC_OK;
}

static sc_status start(sc_image_reader *r)
{
    int wanted = r->o.threads < MOST_THREADS ? r->o.threads : MOST_THREADS;
    r->threads = sc_alloc((size_t)wanted, sizeof *r->threads);
    if (!r->threads)
        return SC_ENOMEM;
    for (; r->started < wanted; r->started++)
        if (pthread_create(&r->threads[r->started], NULL, worker, r) != 0)
            return r->started ? SC_OK : sc_fail(SC_ENOMEM, "cannot start a thread for images");
    return SC_OK;
}

static sc_status allocate(sc_image_reader *r)
{
    for (int s = 0; s < SLOTS; s++) {
        r->slots[s].rows = sc_alloc((size_t)r->o.size_count, sizeof *r->slots[s].rows);
        r->slots[s].reasons = sc_alloc((size_t)r->o.batch, sizeof *r->slots[s].reasons);
        if (!r->slots[s].rows || !r->slots[s].reasons)
            return SC_ENOMEM;
        for (int k = 0; k < r->o.size_count; k++)
            if (!(r->slots[s].rows[k] = sc_alloc((size_t)r->o.batch, row_bytes(r, k))))
                return SC_ENOMEM;
    }
    return SC_OK;
}

sc_status sc_image_reader_open(const sc_image_reader_options *o, sc_image_reader **out)
{
    *out = NULL;
    SC_TRY(check_sets(o));
    sc_image_reader *r = sc_alloc(1, sizeof *r);
    if (!r)
        return SC_ENOMEM;
    r->o = *o;
    r->total = (int64_t)o->list->count;
    r->batches = (r->total + o->batch - 1) / o->batch;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->room, NULL);
    pthread_cond_init(&r->ready, NULL);
    sc_status status = sc_row_maker_open(o->decode, &r->maker);
    if (status == SC_OK)
        status = allocate(r);
    if (status == SC_OK)
        status = start(r);
    if (status == SC_OK)
        *out = r;
    else
        sc_image_reader_close(r);
    return status;
}

static void empty(sc_image_reader *r, slot *s)
{
    for (int64_t i = 0; s->reasons && i < r->o.batch; i++) {
        free(s->reasons[i]);
        s->reasons[i] = NULL;
    }
    s->done = 0;
}

sc_status sc_image_reader_next(sc_image_reader *r, sc_image_batch *out)
{
    *out = (sc_image_batch){.first = r->given * r->o.batch};
    pthread_mutex_lock(&r->lock);
    if (r->given > 0)
        empty(r, &r->slots[(r->given - 1) % SLOTS]);
    sc_status status = r->status;
    if (status == SC_OK && r->given < r->batches) {
        int64_t left = r->total - out->first;
        slot *s = &r->slots[r->given++ % SLOTS];
        pthread_cond_broadcast(&r->room);
        out->count = left < r->o.batch ? left : r->o.batch;
        while (s->done < out->count && r->status == SC_OK)
            pthread_cond_wait(&r->ready, &r->lock);
        status = r->status;
        out->rows = s->rows;
        out->reasons = s->reasons;
        out->dark = r->dark;
    }
    if (status != SC_OK)
        sc_fail(status, "%s", r->message);
    pthread_mutex_unlock(&r->lock);
    return status;
}

void sc_image_reader_close(sc_image_reader *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->room);
    pthread_mutex_unlock(&r->lock);
    for (int i = 0; i < r->started; i++)
        pthread_join(r->threads[i], NULL);
    for (int s = 0; s < SLOTS; s++) {
        empty(r, &r->slots[s]);
        for (int k = 0; r->slots[s].rows && k < r->o.size_count; k++)
            free(r->slots[s].rows[k]);
        free(r->slots[s].rows);
        free(r->slots[s].reasons);
    }
    pthread_cond_destroy(&r->ready);
    pthread_cond_destroy(&r->room);
    pthread_mutex_destroy(&r->lock);
    sc_row_maker_free(r->maker);
    free(r->threads);
    free(r);
}
