/* The table of a shard's datasets, and reading and writing at places in a file. */
#include "pack_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "superclip/codec.h"

const char *sc_set_name(sc_set s)
{
    static const char *const names[SC_SETS] = {"images/eval",  "images/train", "labels",
                                               "index",        "paths",        "crc32c/eval",
                                               "crc32c/train", "source_sha256"};
    return names[s];
}

size_t sc_set_row_bytes(sc_set s, const sc_shard_shape *shape)
{
    size_t eval = (size_t)shape->img_size, train = (size_t)sc_train_size(shape->img_size);
    switch (s) {
    case SC_SET_EVAL:
        return eval * eval * 3;
    case SC_SET_TRAIN:
        return train * train * 3;
    case SC_SET_INDEX:
        return 8;
    case SC_SET_PATHS:
        return shape->path_bytes;
    case SC_SET_SHA256:
        return 32;
    default:
        return 4;
    }
}

uint64_t sc_set_bytes(sc_set s, const sc_shard_shape *shape)
{
    return (uint64_t)shape->n * sc_set_row_bytes(s, shape);
}

sc_status sc_pwrite_all(int fd, const char *path, const void *data, size_t n, uint64_t offset)
{
    const char *p = data;
    while (n > 0) {
        ssize_t done = pwrite(fd, p, n, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return sc_fail(SC_EIO, "%s: cannot be written: %s", path,
                           done < 0 ? strerror(errno) : "no room");
        p += done;
        n -= (size_t)done;
        offset += (uint64_t)done;
    }
    return SC_OK;
}

sc_status sc_pread_all(int fd, const char *path, void *data, size_t n, uint64_t offset)
{
    char *p = data;
    while (n > 0) {
        ssize_t done = pread(fd, p, n, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return sc_fail(SC_EIO, "%s: cannot be read: %s", path, strerror(errno));
        if (done == 0)
            return sc_fail(SC_EFORMAT, "%s: ends early, it was cut off", path);
        p += done;
        n -= (size_t)done;
        offset += (uint64_t)done;
    }
    return SC_OK;
}

sc_status sc_fsync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sc_fail(SC_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    int failed = fsync(fd) != 0 ? errno : 0;
    close(fd);
    /* some network file systems cannot sync a folder */
    if (failed && failed != EINVAL)
        return sc_fail(SC_EIO, "%s: cannot be written to disk: %s", path, strerror(failed));
    return SC_OK;
}

static sc_status digest_range(const char *path, int fd, uint64_t from, uint64_t to, sc_sha256 *h)
{
    uint8_t block[16384];
    while (from < to) {
        size_t n = to - from < sizeof block ? (size_t)(to - from) : sizeof block;
        SC_TRY(sc_pread_all(fd, path, block, n, from));
        sc_sha256_update(h, block, n);
        from += n;
    }
    return SC_OK;
}

sc_status sc_shard_metadata_digest(const char *path, int fd, const sc_shard_shape *shape,
                                   const sc_shard_map *map, uint8_t digest[32])
{
    int order[SC_SETS];
    for (int i = 0; i < SC_SETS; i++) {
        int j = i;
        for (; j > 0 && map->offset[order[j - 1]] > map->offset[i]; j--)
            order[j] = order[j - 1];
        order[j] = i;
    }
    sc_sha256 h;
    sc_sha256_init(&h);
    uint64_t at = 0;
    for (int i = 0; i < SC_SETS; i++) {
        uint64_t start = map->offset[order[i]], size = sc_set_bytes((sc_set)order[i], shape);
        if (start < at || start > map->bytes || size > map->bytes - start)
            return sc_fail(SC_EFORMAT, "%s: the sets overlap or lie outside of the file", path);
        if (start - at > 64 << 20)
            return sc_fail(SC_EFORMAT, "%s: has a gap of %llu bytes before %s", path,
                           (unsigned long long)(start - at), sc_set_name((sc_set)order[i]));
        SC_TRY(digest_range(path, fd, at, start, &h));
        at = start + size;
    }
    SC_TRY(digest_range(path, fd, at, map->bytes, &h));
    sc_sha256_final(&h, digest);
    return SC_OK;
}
