#include "sync.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Small writes are gathered; large ones go straight to the kernel. */
enum { BUFFER_BYTES = 1 << 16 };

struct sc_atomic_file {
    int fd;
    char *path;               /* as the caller wrote it: for messages */
    char *target, *temporary; /* what is replaced, and by what */
    uint64_t flushed;         /* bytes that sequential writes have handed to the kernel */
    size_t used;
    sc_status failed; /* the first failure: commit must not publish a file with a hole */
    unsigned char buffer[BUFFER_BYTES];
};

static sc_status io_failure(const sc_atomic_file *f, const char *what)
{
    return sc_fail(SC_EIO, "%s: %s: %s", f->path, what, strerror(errno));
}

static void release(sc_atomic_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    free(f->path);
    free(f->target);
    free(f->temporary);
    free(f);
}

/* A link stays one: the file it points to is replaced. */
static char *resolve(const char *path)
{
    struct stat st;
    char *real = lstat(path, &st) == 0 && S_ISLNK(st.st_mode) ? realpath(path, NULL) : NULL;
    return real ? real : sc_strdup(path);
}

sc_status sc_atomic_open(const char *path, sc_atomic_file **out)
{
    *out = NULL;
    sc_atomic_file *f = sc_alloc(1, sizeof *f);
    if (!f)
        return SC_ENOMEM;
    f->fd = -1;
    f->path = sc_strdup(path);
    f->target = f->path ? resolve(path) : NULL;
    f->temporary = f->target ? sc_format("%s.tmp.%ld", f->target, (long)gettid()) : NULL;
    sc_status status = f->temporary ? SC_OK : SC_ENOMEM;
    struct stat st;
    if (status == SC_OK && stat(f->target, &st) == 0 && !S_ISREG(st.st_mode))
        status = sc_fail(SC_EIO, "%s: is not a regular file and is not replaced", path);
    if (status == SC_OK) {
        /* a leftover of a killed thread with our id is ours to replace, a planted link is not
         * followed */
        unlink(f->temporary);
        f->fd = open(f->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (f->fd < 0)
            status = sc_fail(SC_EIO, "%s: cannot be written: %s", path, strerror(errno));
    }
    if (status != SC_OK) {
        release(f);
        return status;
    }
    *out = f;
    return SC_OK;
}

static sc_status write_at(sc_atomic_file *f, const void *data, size_t n, uint64_t offset)
{
    const char *p = data;
    while (n > 0) {
        size_t chunk = n < ((size_t)1 << 30) ? n : (size_t)1 << 30;
        ssize_t done = pwrite(f->fd, p, chunk, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            if (done == 0)
                errno = ENOSPC;
            f->failed = io_failure(f, "cannot be written");
            return f->failed;
        }
        p += done;
        n -= (size_t)done;
        offset += (uint64_t)done;
    }
    return SC_OK;
}

static sc_status flush(sc_atomic_file *f)
{
    SC_TRY(write_at(f, f->buffer, f->used, f->flushed));
    f->flushed += f->used;
    f->used = 0;
    return SC_OK;
}

sc_status sc_atomic_write(sc_atomic_file *f, const void *data, size_t n)
{
    if (f->failed)
        return f->failed;
    if (n > sizeof f->buffer - f->used)
        SC_TRY(flush(f));
    if (n > sizeof f->buffer / 2) {
        SC_TRY(flush(f));
        SC_TRY(write_at(f, data, n, f->flushed));
        f->flushed += n;
        return SC_OK;
    }
    if (n)
        memcpy(f->buffer + f->used, data, n);
    f->used += n;
    return SC_OK;
}

sc_status sc_atomic_pwrite(sc_atomic_file *f, const void *data, size_t n, uint64_t offset)
{
    if (f->failed)
        return f->failed;
    SC_TRY(flush(f)); /* so that a patch of gathered bytes is not overwritten by them later */
    return write_at(f, data, n, offset);
}

uint64_t sc_atomic_tell(const sc_atomic_file *f)
{
    return f->flushed + f->used;
}

sc_status sc_atomic_commit(sc_atomic_file *f)
{
    sc_status status = f->failed ? f->failed : flush(f);
    if (status == SC_OK && sc_sync_fd(f->fd) != 0)
        status = io_failure(f, "cannot be synchronised");
    if (status == SC_OK) {
        int fd = f->fd;
        f->fd = -1;
        if (close(fd) != 0 && errno != EINTR) /* network file systems report late errors here */
            status = io_failure(f, "cannot be closed");
    }
    if (status == SC_OK && rename(f->temporary, f->target) != 0)
        status = io_failure(f, "cannot be replaced");
    if (status != SC_OK) {
        sc_atomic_abort(f);
        return status;
    }
    status = sc_sync_parent(f->target);
    release(f);
    return status;
}

void sc_atomic_abort(sc_atomic_file *f)
{
    if (!f)
        return;
    unlink(f->temporary);
    release(f);
}

sc_status sc_write_file(const char *path, const void *data, size_t n)
{
    sc_atomic_file *f;
    SC_TRY(sc_atomic_open(path, &f));
    sc_status status = sc_atomic_write(f, data, n);
    if (status != SC_OK) {
        sc_atomic_abort(f);
        return status;
    }
    return sc_atomic_commit(f);
}
