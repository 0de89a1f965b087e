#include "input_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

sc_status sc_input_open(const char *path, sc_input_file *out)
{
    *out = (sc_input_file){.path = path, .fd = -1};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a named pipe must not block us */
    struct stat st;
    if (fd < 0)
        return sc_fail(SC_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    sc_status status = SC_OK;
    if (fstat(fd, &st) != 0)
        status = sc_fail(SC_EIO, "%s: cannot be read: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = sc_fail(SC_EIO, "%s: is not a regular file", path);
    if (status != SC_OK) {
        close(fd);
        return status;
    }
    out->fd = fd;
    out->size = (uint64_t)st.st_size;
    return SC_OK;
}

void sc_input_close(sc_input_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

sc_status sc_input_read(const sc_input_file *f, void *dst, uint64_t n, uint64_t offset)
{
    if (offset > f->size || n > f->size - offset)
        return sc_fail(SC_EFORMAT, "%s: is cut off: bytes %llu to %llu of %llu are wanted", f->path,
                       (unsigned long long)offset, (unsigned long long)offset + n,
                       (unsigned long long)f->size);
    char *p = dst;
    while (n > 0) {
        size_t chunk = n < ((uint64_t)1 << 30) ? (size_t)n : (size_t)1 << 30;
        ssize_t got = pread(f->fd, p, chunk, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return sc_fail(SC_EIO, "%s: cannot be read: %s", f->path, strerror(errno));
        if (got == 0)
            return sc_fail(SC_EFORMAT, "%s: became shorter while it was read", f->path);
        p += got;
        n -= (uint64_t)got;
        offset += (uint64_t)got;
    }
    return SC_OK;
}
