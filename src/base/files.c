#include "sync.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads to the file's end; the size seen at open is only a first guess (/proc says 0, logs grow).
 */
static sc_status read_all(int fd, const char *path, size_t guess, size_t max_bytes, char **data,
                          size_t *n)
{
    size_t cap = guess < max_bytes ? guess + 1 : max_bytes + 1, used = 0;
    char *p = sc_alloc(cap + 1, 1);
    if (!p)
        return sc_fail_prefix(SC_ENOMEM, "%s", path);
    for (;;) {
        if (used == cap) {
            size_t more = cap > max_bytes / 2 ? max_bytes + 1 : cap * 2;
            char *q = sc_realloc(p, more + 1, 1);
            if (!q) {
                free(p);
                return sc_fail_prefix(SC_ENOMEM, "%s", path);
            }
            p = q;
            cap = more;
        }
        ssize_t got = read(fd, p + used, cap - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            sc_status status = sc_fail(SC_EIO, "%s: cannot be read: %s", path, strerror(errno));
            free(p);
            return status;
        }
        used += (size_t)got;
        if (used > max_bytes) {
            free(p);
            return sc_fail(SC_EFORMAT, "%s: is larger than the %zu bytes allowed here", path,
                           max_bytes);
        }
        if (got == 0)
            break;
    }
    p[used] = '\0';
    *data = p;
    *n = used;
    return SC_OK;
}

sc_status sc_read_file(const char *path, size_t max_bytes, char **data, size_t *n)
{
    *data = NULL;
    *n = 0;
    if (max_bytes > SIZE_MAX / 2)
        max_bytes = SIZE_MAX / 2;
    /* a named pipe must not block us */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return sc_fail(SC_EIO, "%s: cannot be opened: %s", path, strerror(errno));
    struct stat st;
    sc_status status;
    if (fstat(fd, &st) != 0)
        status = sc_fail(SC_EIO, "%s: cannot be read: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = sc_fail(SC_EIO, "%s: is not a regular file", path);
    else if (st.st_size > 0 && (uintmax_t)st.st_size > max_bytes)
        status = sc_fail(SC_EFORMAT, "%s: has %jd bytes, more than the %zu allowed here", path,
                         (intmax_t)st.st_size, max_bytes);
    else
        status = read_all(fd, path, (size_t)st.st_size, max_bytes, data, n);
    close(fd);
    return status;
}

int sc_sync_fd(int fd)
{
    int rc;
    do
        rc = fsync(fd);
    while (rc != 0 && errno == EINTR);
    return rc;
}

sc_status sc_sync_parent(const char *path)
{
    char *copy = sc_strdup(path); /* dirname writes into its argument */
    if (!copy)
        return SC_ENOMEM;
    sc_status status = SC_OK;
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* some file systems cannot sync a folder (EINVAL), some folders may be written, not read:
     * nothing more can be done there */
    if (fd < 0 ? errno != EACCES : sc_sync_fd(fd) != 0 && errno != EINVAL && errno != EROFS)
        status =
            sc_fail(SC_EIO, "%s: its folder cannot be synchronised: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    free(copy);
    return status;
}

static sc_status make_one_dir(const char *path)
{
    struct stat st;
    if (mkdir(path, 0777) == 0)
        return sc_sync_parent(path);
    int why = errno;
    if (why == EEXIST) {
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            return SC_OK;
        return sc_fail(SC_EIO, "%s: exists and is not a folder", path);
    }
    /* "/", a folder of a read-only system, an automounter: fine when it is there */
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return SC_OK;
    return sc_fail(SC_EIO, "%s: cannot be created: %s", path, strerror(why));
}

sc_status sc_make_dirs(const char *path)
{
    if (!*path)
        return sc_fail(SC_EUSAGE, "an empty folder name");
    char *copy = sc_strdup(path);
    if (!copy)
        return SC_ENOMEM;
    sc_status status = SC_OK;
    for (char *p = copy + 1; *p && status == SC_OK; p++) {
        if (*p != '/' || p[-1] == '/')
            continue;
        *p = '\0';
        status = make_one_dir(copy);
        *p = '/';
    }
    if (status == SC_OK)
        status = make_one_dir(copy);
    free(copy);
    return status;
}

/* Works on open folders, so a link planted meanwhile cannot lead out of the tree. */
static sc_status remove_at(int parent, const char *name, const char *shown)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return SC_OK;
    if (errno != EISDIR && errno != EPERM)
        return sc_fail(SC_EIO, "%s: cannot be removed: %s", shown, strerror(errno));
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        sc_status status = sc_fail(SC_EIO, "%s: cannot be removed: %s", shown, strerror(errno));
        if (fd >= 0)
            close(fd);
        return status;
    }
    sc_status status = SC_OK;
    struct dirent *e;
    while (status == SC_OK && (e = readdir(dir))) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        char *inner = sc_path_join(shown, e->d_name);
        status = inner ? remove_at(dirfd(dir), e->d_name, inner) : SC_ENOMEM;
        free(inner);
    }
    closedir(dir);
    if (status == SC_OK && unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        status = sc_fail(SC_EIO, "%s: cannot be removed: %s", shown, strerror(errno));
    return status;
}

sc_status sc_remove_tree(const char *path)
{
    return remove_at(AT_FDCWD, path, path);
}

bool sc_file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

char *sc_path_join(const char *a, const char *b)
{
    size_t n = strlen(a);
    if (n == 0 || *b == '/')
        return sc_strdup(b);
    return sc_format("%s%s%s", a, a[n - 1] == '/' ? "" : "/", b);
}
