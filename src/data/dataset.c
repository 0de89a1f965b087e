/* A packed set, opened: small sets in memory, rows by pread. HDF5 sees a shard only after the bytes
 * that it would interpret have passed the manifest's checksum, and is closed again before the first
 * row is read.
 */
#include "pack_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct sc_dataset {
    char *dir;
    sc_manifest manifest;
    int *fds; /* [shards] */
    int32_t *labels;
    char *paths; /* [samples][path_bytes] */
    uint32_t *crc[2];
    _Atomic uint8_t *checked[2]; /* row was read and found right */
    bool cache;
    struct stat opened; /* the manifest, before it was read */
};

bool sc_is_packed(const char *dir)
{
    char *path = sc_path_join(dir, SC_MANIFEST);
    bool yes = path && sc_file_exists(path);
    free(path);
    return yes;
}

static sc_status open_shard(sc_dataset *d, int shard, const char *path)
{
    const sc_shard_entry *e = &d->manifest.shards[shard];
    sc_shard_shape shape = sc_manifest_shape(&d->manifest, shard);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sc_fail(errno == ENOENT ? SC_EFORMAT : SC_EIO,
                       "%s: the manifest names this shard, but it cannot be opened: %s", path,
                       strerror(errno));
    d->fds[shard] = fd;
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return sc_fail(SC_EFORMAT, "%s: is not a regular file", path);
    if ((uint64_t)st.st_size != e->map.bytes)
        return sc_fail(SC_EFORMAT,
                       "%s: has %lld bytes, the manifest says %llu: cut off or from another set; "
                       "pack the images again",
                       path, (long long)st.st_size, (unsigned long long)e->map.bytes);
    uint8_t digest[32];
    SC_TRY(sc_shard_metadata_digest(path, fd, &shape, &e->map, digest));
    if (memcmp(digest, e->metadata_sha256, 32) != 0)
        return sc_fail(SC_EFORMAT,
                       "%s: its HDF5 structure does not have the manifest's checksum: damaged or "
                       "from another set; pack the images again",
                       path);
    sc_shard_map found;
    SC_TRY(sc_shard_locate(path, &shape, &found));
    for (int s = 0; s < SC_SETS; s++)
        if (found.offset[s] != e->map.offset[s])
            return sc_fail(SC_EFORMAT, "%s: %s lies at byte %llu, the manifest says %llu", path,
                           sc_set_name((sc_set)s), (unsigned long long)found.offset[s],
                           (unsigned long long)e->map.offset[s]);
    return SC_OK;
}

/* Values that a later reader would trip over, whatever the checksums say. */
static sc_status judge_small_sets(const sc_dataset *d, int shard, const char *path,
                                  void *const sets[SC_SETS])
{
    const sc_shard_entry *e = &d->manifest.shards[shard];
    size_t width = d->manifest.path_bytes;
    for (int64_t i = 0; i < e->samples; i++) {
        int32_t label = ((const int32_t *)sets[SC_SET_LABELS])[i];
        int64_t index = ((const int64_t *)sets[SC_SET_INDEX])[i];
        const char *name = (const char *)sets[SC_SET_PATHS] + (size_t)i * width;
        size_t length = strnlen(name, width);
        if (label < 0 || label >= d->manifest.classes)
            return sc_fail(SC_EFORMAT, "%s: row %lld: label %d, but there are %d classes", path,
                           (long long)i, label, d->manifest.classes);
        if (index != e->first + i)
            return sc_fail(SC_EFORMAT, "%s: row %lld: index %lld instead of %lld", path,
                           (long long)i, (long long)index, (long long)(e->first + i));
        if (length == 0 || length == width || !sc_utf8_valid(name, length))
            return sc_fail(SC_EFORMAT, "%s: row %lld: its path is not a UTF-8 name", path,
                           (long long)i);
    }
    return SC_OK;
}

static sc_status read_small_sets(sc_dataset *d, int shard, const char *path, sc_data_hash *hash)
{
    const sc_shard_entry *e = &d->manifest.shards[shard];
    sc_shard_shape shape = sc_manifest_shape(&d->manifest, shard);
    size_t n = (size_t)e->samples, first = (size_t)e->first;
    sc_status status = SC_ENOMEM;
    void *index = sc_alloc(n, 8), *sources = sc_alloc(n, 32);
    void *sets[SC_SETS] = {[SC_SET_LABELS] = d->labels + first,
                           [SC_SET_INDEX] = index,
                           [SC_SET_PATHS] = d->paths + first * d->manifest.path_bytes,
                           [SC_SET_CRC_EVAL] = d->crc[SC_ROW_EVAL] + first,
                           [SC_SET_CRC_TRAIN] = d->crc[SC_ROW_TRAIN] + first,
                           [SC_SET_SHA256] = sources};
    if (!index || !sources)
        goto done;
    for (int s = SC_FIRST_SMALL_SET; s < SC_SETS; s++) {
        size_t bytes = (size_t)sc_set_bytes((sc_set)s, &shape);
        SC_TRY_GOTO(sc_pread_all(d->fds[shard], path, sets[s], bytes, e->map.offset[s]));
        if (sc_crc32c(0, sets[s], bytes) != e->crc32c[s]) {
            status = sc_fail(SC_EFORMAT,
                             "%s: %s does not have the manifest's checksum: the file is damaged; "
                             "pack the images again",
                             path, sc_set_name((sc_set)s));
            goto done;
        }
    }
    SC_TRY_GOTO(judge_small_sets(d, shard, path, sets));
    sc_data_hash_add(hash, &shape, sets);
done:
    free(index);
    free(sources);
    return status;
}

static sc_status open_shards(sc_dataset *d, const char *manifest_path)
{
    sc_manifest *m = &d->manifest;
    sc_data_hash *hash = sc_data_hash_new(m->img_size, m->class_names, m->classes);
    sc_status status = hash ? SC_OK : SC_ENOMEM;
    for (int s = 0; status == SC_OK && s < m->shard_count; s++) {
        char *path = sc_path_join(d->dir, m->shards[s].file);
        status = path ? open_shard(d, s, path) : SC_ENOMEM;
        if (status == SC_OK)
            status = read_small_sets(d, s, path, hash);
        free(path);
    }
    char hex[65];
    if (hash)
        sc_data_hash_end(hash, hex);
    if (status == SC_OK && strcmp(hex, m->data_sha256) != 0)
        status = sc_fail(SC_EFORMAT,
                         "%s: class names or samples do not have the checksum in 'data_sha256': "
                         "the file was changed; pack the images again",
                         manifest_path);
    return status;
}

/* Memory for the small sets; the shards' true sizes bound it before anything is allocated. */
static sc_status allocate(sc_dataset *d, const char *manifest_path)
{
    const sc_manifest *m = &d->manifest;
    size_t n = (size_t)m->samples, shards = (size_t)m->shard_count;
    for (int s = 0; s < m->shard_count; s++) {
        sc_shard_shape shape = sc_manifest_shape(m, s);
        uint64_t bytes = 0;
        for (int set = 0; set < SC_SETS; set++)
            bytes += sc_set_bytes((sc_set)set, &shape);
        char *path = sc_path_join(d->dir, m->shards[s].file);
        struct stat st;
        bool fits = path && stat(path, &st) == 0 && (uint64_t)st.st_size >= bytes;
        free(path);
        if (!fits)
            return sc_fail(SC_EFORMAT,
                           "%s: %s is missing or too small for its %lld samples; pack the images "
                           "again",
                           manifest_path, m->shards[s].file, (long long)m->shards[s].samples);
    }
    d->fds = sc_alloc(shards, sizeof *d->fds);
    d->labels = sc_alloc(n, sizeof *d->labels);
    d->paths = sc_alloc(n, m->path_bytes);
    if (!d->fds || !d->labels || !d->paths)
        return SC_ENOMEM;
    for (size_t s = 0; s < shards; s++)
        d->fds[s] = -1;
    for (int k = 0; k < 2; k++) {
        d->crc[k] = sc_alloc(n, sizeof *d->crc[k]);
        d->checked[k] = sc_alloc(n, sizeof *d->checked[k]);
        if (!d->crc[k] || !d->checked[k])
            return SC_ENOMEM;
    }
    return SC_OK;
}

sc_status sc_dataset_open(const char *dir, int img_size, const sc_log *log, sc_dataset **out)
{
    (void)log;
    *out = NULL;
    char *manifest_path = sc_path_join(dir, SC_MANIFEST);
    sc_dataset *d = sc_alloc(1, sizeof *d);
    sc_status status = SC_ENOMEM;
    if (!manifest_path || !d || !(d->dir = sc_strdup(dir)))
        goto done;
    if (stat(manifest_path, &d->opened) != 0)
        memset(&d->opened, 0, sizeof d->opened);
    SC_TRY_GOTO(sc_manifest_read(manifest_path, &d->manifest));
    if (img_size > 0 && d->manifest.img_size != img_size) {
        status = sc_fail(SC_EUSAGE,
                         "%s: packed for img_size %d, but the config asks for %d; pack the images "
                         "again with --img-size %d, or change img_size",
                         dir, d->manifest.img_size, img_size, img_size);
        goto done;
    }
    SC_TRY_GOTO(allocate(d, manifest_path));
    SC_TRY_GOTO(open_shards(d, manifest_path));
    *out = d;
    d = NULL;
done:
    sc_dataset_close(d);
    free(manifest_path);
    return status;
}

void sc_dataset_close(sc_dataset *d)
{
    if (!d)
        return;
    for (int s = 0; d->fds && s < d->manifest.shard_count; s++)
        if (d->fds[s] >= 0)
            close(d->fds[s]);
    for (int k = 0; k < 2; k++) {
        free(d->crc[k]);
        free((void *)d->checked[k]);
    }
    free(d->fds);
    free(d->labels);
    free(d->paths);
    free(d->dir);
    sc_manifest_free(&d->manifest);
    free(d);
}

int64_t sc_dataset_count(const sc_dataset *d)
{
    return d->manifest.samples;
}
int sc_dataset_classes(const sc_dataset *d)
{
    return d->manifest.classes;
}
const char *const *sc_dataset_class_names(const sc_dataset *d)
{
    return (const char *const *)d->manifest.class_names;
}
const int32_t *sc_dataset_labels(const sc_dataset *d)
{
    return d->labels;
}
const char *sc_dataset_path(const sc_dataset *d, int64_t i)
{
    return d->paths + (size_t)i * d->manifest.path_bytes;
}
int sc_dataset_img_size(const sc_dataset *d)
{
    return d->manifest.img_size;
}
const char *sc_dataset_hash(const sc_dataset *d)
{
    return d->manifest.data_sha256;
}
int sc_dataset_row_size(const sc_dataset *d, sc_row_kind kind)
{
    return kind == SC_ROW_EVAL ? d->manifest.img_size : sc_train_size(d->manifest.img_size);
}

static int shard_of(const sc_manifest *m, int64_t i)
{
    int lo = 0, hi = m->shard_count - 1;
    while (lo < hi) {
        int mid = lo + (hi - lo + 1) / 2;
        if (m->shards[mid].first <= i)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

void sc_dataset_is_cache(sc_dataset *d)
{
    d->cache = true;
}

/* The manifest is gone afterwards, or it is a newer packing's. */
static bool drop_manifest(const sc_dataset *d)
{
    struct stat now;
    char *path = sc_path_join(d->dir, SC_MANIFEST);
    bool dropped = path != NULL;
    if (path && stat(path, &now) == 0 && now.st_ino == d->opened.st_ino &&
        now.st_mtim.tv_sec == d->opened.st_mtim.tv_sec &&
        now.st_mtim.tv_nsec == d->opened.st_mtim.tv_nsec)
        dropped = unlink(path) == 0 || errno == ENOENT; /* every rank may meet the row */
    free(path);
    return dropped;
}

static sc_status damaged_row(const sc_dataset *d, const char *file, sc_set set, int64_t row,
                             const char *image)
{
    const char *what_to_do = !d->cache ? "pack the images again with pack_hdf5 --force"
                             : drop_manifest(d)
                                 ? "the cache entry was dropped, run the same command again to "
                                   "pack it anew"
                                 : "remove this folder and run the same command again";
    return sc_fail(SC_EFORMAT,
                   "%s/%s: %s row %lld (%s) does not have its checksum: the file is damaged; %s",
                   d->dir, file, sc_set_name(set), (long long)row, image, what_to_do);
}

sc_status sc_dataset_row(sc_dataset *d, sc_row_kind kind, int64_t i, uint8_t *dst)
{
    const sc_manifest *m = &d->manifest;
    if (i < 0 || i >= m->samples)
        return sc_fail(SC_EINTERNAL, "%s: row %lld of %lld asked for", d->dir, (long long)i,
                       (long long)m->samples);
    const sc_shard_entry *e = &m->shards[shard_of(m, i)];
    sc_set set = kind == SC_ROW_EVAL ? SC_SET_EVAL : SC_SET_TRAIN;
    sc_shard_shape shape = {e->samples, m->img_size, m->path_bytes};
    size_t bytes = sc_set_row_bytes(set, &shape);
    uint64_t at = e->map.offset[set] + (uint64_t)(i - e->first) * bytes;
    sc_status status = sc_pread_all(d->fds[e - m->shards], e->file, dst, bytes, at);
    if (status != SC_OK)
        return sc_fail_prefix(status, "%s: row %lld", d->dir, (long long)i);
    if (atomic_load_explicit(&d->checked[kind][i], memory_order_relaxed))
        return SC_OK;
    if (sc_crc32c(0, dst, bytes) != d->crc[kind][i])
        return damaged_row(d, e->file, set, i - e->first, sc_dataset_path(d, i));
    atomic_store_explicit(&d->checked[kind][i], 1, memory_order_relaxed);
    return SC_OK;
}
