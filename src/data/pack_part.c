/* One process's share of a packing: read, hash, decode, resize twice, write the two rows at their
 * places. What else finish has to know of each sample goes into <tmp>/part-NNNNN.
 */
#include "pack_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "superclip/codec.h"

typedef struct part {
    const sc_pack_options *o;
    const sc_source_list *l;
    sc_pack_plan plan;
    int first_shard, last_shard; /* that this part touches */
    sc_shard_map *maps;          /* [last - first + 1] */
    int *fds;
    int64_t first, count;
    sc_pack_record *records;
    sc_row_maker *maker;
    pthread_mutex_t lock;
    pthread_cond_t progress;
    /* under `lock` */
    int64_t next, done;
    int running;
    sc_text reasons;
    bool any_bad;
    sc_status status;
    char *message;
} part;

/* ---- one sample -------------------------------------------------------------------------------
 */

typedef struct rows {
    uint8_t *eval, *train;
} rows;

/* SC_EFORMAT: a bad image, sc_message() says why; other errors end the packing. */
static sc_status make_rows(part *p, int64_t i, sc_pack_record *r, const rows *out)
{
    const char *name = p->l->paths[i];
    if (!sc_utf8_valid(name, strlen(name)))
        return sc_fail(SC_EFORMAT, "the name is not UTF-8");
    char *path = sc_path_join(p->o->src, name), *data = NULL;
    if (!path)
        return SC_ENOMEM;
    size_t n = 0;
    sc_status status = sc_image_read(path, &data, &n); /* the listing names the file itself */
    free(path);
    SC_TRY(status);
    sc_sha256 h;
    sc_sha256_init(&h);
    sc_sha256_update(&h, data, n);
    sc_sha256_final(&h, r->sha256);

    const int sizes[2] = {p->plan.img_size, sc_train_size(p->plan.img_size)};
    uint8_t *const rows_of[2] = {out->eval, out->train};
    sc_decode_notes notes;
    status = sc_row_maker_rows(p->maker, name, data, n, sizes, rows_of, 2, &notes);
    free(data);
    if (status == SC_OK) {
        r->grey16 = notes.grey16;
        r->grey16_low = notes.grey16 && notes.grey16_max < 4096;
    }
    return status;
}

static sc_status write_rows(part *p, int64_t i, sc_pack_record *r, const rows *in)
{
    int shard = sc_plan_shard_of(&p->plan, i), at = shard - p->first_shard;
    sc_shard_shape shape = sc_plan_shape(&p->plan, shard);
    uint64_t row = (uint64_t)(i - sc_plan_first(&p->plan, shard));
    size_t eval = sc_set_row_bytes(SC_SET_EVAL, &shape),
           train = sc_set_row_bytes(SC_SET_TRAIN, &shape);
    r->crc_eval = sc_crc32c(0, in->eval, eval);
    r->crc_train = sc_crc32c(0, in->train, train);
    SC_TRY(sc_pwrite_all(p->fds[at], p->plan.set, in->eval, eval,
                         p->maps[at].offset[SC_SET_EVAL] + row * eval));
    return sc_pwrite_all(p->fds[at], p->plan.set, in->train, train,
                         p->maps[at].offset[SC_SET_TRAIN] + row * train);
}

static void judge(part *p, sc_pack_record *r, sc_status status)
{
    pthread_mutex_lock(&p->lock);
    if (status == SC_EFORMAT) {
        r->bad = 1;
        r->reason = (uint32_t)p->reasons.len;
        p->any_bad = true;
        sc_text_add(&p->reasons, sc_message(), strlen(sc_message()) + 1);
    } else if (status != SC_OK && p->status == SC_OK) {
        p->status = status;
        p->message = sc_strdup(sc_message());
    }
    p->done++;
    pthread_cond_signal(&p->progress);
    pthread_mutex_unlock(&p->lock);
}

/* The next sample of this part, or -1; *write: its rows will still be wanted. */
static int64_t take(part *p, bool *write)
{
    pthread_mutex_lock(&p->lock);
    int64_t i = p->status == SC_OK && p->next < p->count ? p->next++ : -1;
    *write = !p->any_bad || p->o->skip_bad;
    pthread_mutex_unlock(&p->lock);
    return i;
}

static bool pack_one(part *p, const rows *buffers)
{
    bool write;
    int64_t i = take(p, &write);
    if (i < 0)
        return false;
    sc_pack_record *r = &p->records[i];
    sc_status status = make_rows(p, p->first + i, r, buffers);
    if (status == SC_OK && write)
        status = write_rows(p, p->first + i, r, buffers);
    judge(p, r, status);
    return true;
}

static sc_status rows_new(const part *p, rows *out)
{
    sc_shard_shape one = {1, p->plan.img_size, p->plan.path_bytes};
    out->eval = sc_alloc(sc_set_row_bytes(SC_SET_EVAL, &one), 1);
    out->train = sc_alloc(sc_set_row_bytes(SC_SET_TRAIN, &one), 1);
    return out->eval && out->train ? SC_OK : SC_ENOMEM;
}

static void rows_free(rows *r)
{
    free(r->eval);
    free(r->train);
}

/* ---- workers ----------------------------------------------------------------------------------
 */

static void *worker(void *arg)
{
    part *p = arg;
    rows buffers;
    sc_status status = rows_new(p, &buffers);
    while (status == SC_OK && pack_one(p, &buffers))
        ;
    rows_free(&buffers);
    pthread_mutex_lock(&p->lock);
    if (status != SC_OK && p->status == SC_OK)
        p->status = status;
    p->running--;
    pthread_cond_signal(&p->progress);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Callbacks run on the caller's thread only, and without the lock. */
static void report(part *p, int64_t done)
{
    if (p->o->progress)
        p->o->progress(p->o->progress_ctx, done, p->count);
    if (!p->o->stop || done == p->count || !p->o->stop(p->o->progress_ctx))
        return;
    pthread_mutex_lock(&p->lock);
    if (p->status == SC_OK) {
        p->status = SC_EINTERRUPTED;
        p->message = sc_format("%s: packing was stopped after %lld of %lld images", p->o->dst,
                               (long long)done, (long long)p->count);
    }
    pthread_mutex_unlock(&p->lock);
}

static void wait_for_workers(part *p)
{
    pthread_mutex_lock(&p->lock);
    while (p->running > 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&p->progress, &p->lock, &until);
        int64_t done = p->done;
        pthread_mutex_unlock(&p->lock);
        report(p, done);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
}

static void run_workers(part *p)
{
    enum { MOST = 256 };
    pthread_t threads[MOST];
    int wanted = p->o->threads > MOST ? MOST : p->o->threads, started = 0;
    for (; wanted > 1 && started < wanted; started++) {
        pthread_mutex_lock(&p->lock);
        p->running++;
        pthread_mutex_unlock(&p->lock);
        if (pthread_create(&threads[started], NULL, worker, p) != 0) {
            pthread_mutex_lock(&p->lock);
            p->running--;
            pthread_mutex_unlock(&p->lock);
            break;
        }
    }
    if (started > 0) {
        wait_for_workers(p);
        for (int t = 0; t < started; t++)
            pthread_join(threads[t], NULL);
        return;
    }
    rows buffers;
    sc_status status = rows_new(p, &buffers);
    if (p->status == SC_OK)
        p->status = status;
    while (p->status == SC_OK && pack_one(p, &buffers))
        report(p, p->done);
    rows_free(&buffers);
}

/* ---- the part ---------------------------------------------------------------------------------
 */

static sc_status open_shards(part *p)
{
    if (p->count == 0)
        return SC_OK;
    p->first_shard = sc_plan_shard_of(&p->plan, p->first);
    p->last_shard = sc_plan_shard_of(&p->plan, p->first + p->count - 1);
    size_t n = (size_t)(p->last_shard - p->first_shard + 1);
    p->maps = sc_alloc(n, sizeof *p->maps);
    p->fds = sc_alloc(n, sizeof *p->fds);
    if (!p->maps || !p->fds)
        return SC_ENOMEM;
    for (size_t s = 0; s < n; s++)
        p->fds[s] = -1;
    for (size_t s = 0; s < n; s++) {
        char name[40];
        int shard = p->first_shard + (int)s;
        sc_shard_file_name(shard, p->plan.shards, name);
        char *path = sc_path_join(p->plan.set, name);
        sc_shard_shape shape = sc_plan_shape(&p->plan, shard);
        sc_status status = path ? sc_shard_locate(path, &shape, &p->maps[s]) : SC_ENOMEM;
        if (status == SC_OK && (p->fds[s] = open(path, O_WRONLY | O_CLOEXEC)) < 0)
            status = sc_fail(SC_EIO, "%s: cannot be opened: %s", path, strerror(errno));
        free(path);
        SC_TRY(status);
    }
    return SC_OK;
}

/* Rows must be on disk (and visible to the other hosts) before the part says it is done. */
static sc_status close_shards(part *p)
{
    sc_status status = SC_OK;
    for (int s = 0; p->fds && s <= p->last_shard - p->first_shard; s++) {
        if (p->fds[s] < 0)
            continue;
        bool failed = p->status == SC_OK && fsync(p->fds[s]) != 0;
        failed = close(p->fds[s]) != 0 || failed;
        if (failed && status == SC_OK)
            status = sc_fail(SC_EIO, "%s: cannot be written: %s", p->plan.tmp, strerror(errno));
    }
    return status;
}

static sc_status save_records(const part *p, int number)
{
    char *path = sc_pack_part_path(&p->plan, number);
    sc_atomic_file *f = NULL;
    if (!path)
        return SC_ENOMEM;
    sc_status status = sc_atomic_open(path, &f);
    free(path);
    SC_TRY(status);
    status = sc_atomic_write(f, p->records, (size_t)p->count * sizeof *p->records);
    if (status == SC_OK && p->reasons.len)
        status = sc_atomic_write(f, p->reasons.data, p->reasons.len);
    if (status == SC_OK)
        return sc_atomic_commit(f);
    sc_atomic_abort(f);
    return status;
}

sc_status sc_pack_part(const sc_pack_options *o, const sc_source_list *l, int number, int parts)
{
    part p = {.o = o, .l = l};
    sc_status status = SC_ENOMEM;
    sc_text_init(&p.reasons);
    pthread_mutex_init(&p.lock, NULL);
    pthread_cond_init(&p.progress, NULL);
    p.first = sc_pack_part_first(l, number, parts);
    p.count = sc_pack_part_first(l, number + 1, parts) - p.first;
    p.records = sc_alloc((size_t)p.count, sizeof *p.records);
    if (!p.records)
        goto done;
    SC_TRY_GOTO(sc_row_maker_open(&o->decode, &p.maker));
    SC_TRY_GOTO(sc_pack_plan_make(o, l->count, l->paths, &p.plan));
    SC_TRY_GOTO(open_shards(&p));
    report(&p, 0);
    run_workers(&p);
    status = p.status;
    if (status != SC_OK && p.message)
        sc_fail(status, "%s", p.message);
    if (status == SC_OK)
        status = sc_text_status(&p.reasons);
    if (status == SC_OK)
        status = close_shards(&p);
    else
        close_shards(&p);
    if (status == SC_OK)
        status = save_records(&p, number);
    if (status == SC_OK)
        report(&p, p.done);
    free(p.fds);
    p.fds = NULL;
done:
    close_shards(&p);
    free(p.fds);
    free(p.maps);
    free(p.records);
    free(p.message);
    sc_text_free(&p.reasons);
    sc_pack_plan_free(&p.plan);
    pthread_cond_destroy(&p.progress);
    sc_row_maker_free(p.maker);
    pthread_mutex_destroy(&p.lock);
    return status;
}
