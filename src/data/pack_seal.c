/* Turning shards whose rows are written into a set: small sets, checksums, manifest, all on disk.
 */
#include "pack_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "superclip/codec.h"

sc_status sc_pack_make_shards(const sc_pack_plan *p, char *const *class_names, int classes)
{
    if (mkdir(p->set, 0777) != 0)
        return sc_fail(SC_EIO, "%s: the folder cannot be made: %s", p->set, strerror(errno));
    for (int s = 0; s < p->shards; s++) {
        char name[40];
        sc_shard_file_name(s, p->shards, name);
        char *path = sc_path_join(p->set, name);
        sc_shard_shape shape = sc_plan_shape(p, s);
        sc_shard_map map;
        sc_status status =
            path ? sc_shard_create(path, &shape, class_names, classes, &map) : SC_ENOMEM;
        free(path);
        SC_TRY(status);
    }
    return SC_OK;
}

/* One sample's entry of a small set. */
static void fill_entry(sc_set s, const sc_pack_rows *rows, int64_t i, const sc_shard_shape *shape,
                       uint8_t *out)
{
    int64_t source = rows->source[i];
    const sc_pack_record *r = &rows->records[source];
    const char *path = rows->list->paths[source];
    switch (s) {
    case SC_SET_LABELS:
        memcpy(out, &rows->list->labels[source], 4);
        break;
    case SC_SET_INDEX:
        memcpy(out, &i, 8);
        break;
    case SC_SET_PATHS:
        memset(out, 0, shape->path_bytes);
        memcpy(out, path, strlen(path));
        break;
    case SC_SET_CRC_EVAL:
        memcpy(out, &r->crc_eval, 4);
        break;
    case SC_SET_CRC_TRAIN:
        memcpy(out, &r->crc_train, 4);
        break;
    default:
        memcpy(out, r->sha256, 32);
    }
}

static sc_status write_small_sets(const char *path, int fd, const sc_pack_rows *rows,
                                  const sc_shard_shape *shape, sc_shard_entry *e,
                                  sc_data_hash *hash)
{
    void *sets[SC_SETS] = {NULL};
    sc_status status = SC_OK;
    for (int s = SC_FIRST_SMALL_SET; s < SC_SETS; s++) {
        size_t row = sc_set_row_bytes((sc_set)s, shape);
        uint8_t *data = sets[s] = sc_alloc((size_t)shape->n, row);
        if (!data) {
            status = SC_ENOMEM;
            goto done;
        }
        for (int64_t i = 0; i < shape->n; i++)
            fill_entry((sc_set)s, rows, e->first + i, shape, data + (size_t)i * row);
        size_t bytes = (size_t)shape->n * row;
        e->crc32c[s] = sc_crc32c(0, data, bytes);
        SC_TRY_GOTO(sc_pwrite_all(fd, path, data, bytes, e->map.offset[s]));
    }
    sc_data_hash_add(hash, shape, sets);
done:
    for (int s = 0; s < SC_SETS; s++)
        free(sets[s]);
    return status;
}

static sc_status seal_shard(const sc_pack_plan *p, int shard, const sc_pack_rows *rows,
                            sc_shard_entry *e, sc_data_hash *hash)
{
    sc_shard_shape shape = sc_plan_shape(p, shard);
    e->first = sc_plan_first(p, shard);
    e->samples = shape.n;
    sc_shard_file_name(shard, p->shards, e->file);
    char *path = sc_path_join(p->set, e->file);
    int fd = -1;
    sc_status status = SC_ENOMEM;
    if (!path)
        goto done;
    SC_TRY_GOTO(sc_shard_locate(path, &shape, &e->map));
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        status = sc_fail(SC_EIO, "%s: cannot be opened: %s", path, strerror(errno));
        goto done;
    }
    SC_TRY_GOTO(write_small_sets(path, fd, rows, &shape, e, hash));
    SC_TRY_GOTO(sc_shard_metadata_digest(path, fd, &shape, &e->map, e->metadata_sha256));
    if (fsync(fd) != 0)
        status = sc_fail(SC_EIO, "%s: cannot be written to disk: %s", path, strerror(errno));
done:
    if (fd >= 0)
        close(fd);
    free(path);
    return status;
}

/* ---- hashing whole shards, several at once
 * -------------------------------------------------------- */

typedef struct hashing {
    const sc_pack_plan *plan;
    sc_shard_entry *entries;
    pthread_mutex_t lock;
    int next;
    sc_status status;
    char *message;
} hashing;

static void *hash_worker(void *arg)
{
    hashing *h = arg;
    for (;;) {
        pthread_mutex_lock(&h->lock);
        int shard = h->status == SC_OK && h->next < h->plan->shards ? h->next++ : -1;
        pthread_mutex_unlock(&h->lock);
        if (shard < 0)
            return NULL;
        char *path = sc_path_join(h->plan->set, h->entries[shard].file);
        sc_status status = path ? sc_sha256_file(path, h->entries[shard].sha256) : SC_ENOMEM;
        free(path);
        if (status == SC_OK)
            continue;
        pthread_mutex_lock(&h->lock);
        if (h->status == SC_OK) {
            h->status = status;
            h->message = sc_strdup(sc_message());
        }
        pthread_mutex_unlock(&h->lock);
    }
}

static sc_status hash_shards(const sc_pack_plan *p, int threads, sc_shard_entry *entries)
{
    enum { MOST = 64 };
    pthread_t extra[MOST];
    hashing h = {.plan = p, .entries = entries};
    int n = threads < p->shards ? threads : p->shards, started = 0;
    pthread_mutex_init(&h.lock, NULL);
    for (; started < n - 1 && started < MOST; started++)
        if (pthread_create(&extra[started], NULL, hash_worker, &h) != 0)
            break;
    hash_worker(&h);
    for (int t = 0; t < started; t++)
        pthread_join(extra[t], NULL);
    pthread_mutex_destroy(&h.lock);
    if (h.status != SC_OK && h.message)
        sc_fail(h.status, "%s", h.message);
    free(h.message);
    return h.status;
}

sc_status sc_pack_seal(const sc_pack_options *o, const sc_pack_plan *p, const sc_pack_rows *rows,
                       sc_skipped *skipped, int64_t skipped_count)
{
    const sc_source_list *l = rows->list;
    sc_manifest m = {.img_size = p->img_size,
                     .samples = p->n,
                     .path_bytes = p->path_bytes,
                     .class_names = l->class_names,
                     .classes = l->classes,
                     .window = o->decode.window,
                     .window_lo = o->decode.window_lo,
                     .window_hi = o->decode.window_hi,
                     .shard_count = p->shards,
                     .skipped = skipped,
                     .skipped_count = skipped_count};
    sc_data_hash *hash = sc_data_hash_new(p->img_size, l->class_names, l->classes);
    char *path = sc_path_join(p->set, SC_MANIFEST);
    m.shards = sc_alloc((size_t)p->shards, sizeof *m.shards);
    sc_status status = hash && path && m.shards ? SC_OK : SC_ENOMEM;
    for (int s = 0; status == SC_OK && s < p->shards; s++)
        status = seal_shard(p, s, rows, &m.shards[s], hash);
    if (hash)
        sc_data_hash_end(hash, m.data_sha256);
    if (status == SC_OK)
        status = hash_shards(p, o->threads, m.shards);
    if (status == SC_OK)
        status = sc_manifest_save(&m, path);
    if (status == SC_OK)
        status = sc_fsync_path(p->set);
    free(m.shards);
    free(path);
    return status;
}
