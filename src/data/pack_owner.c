/* The temporary folder of a packing belongs to one process: a file in it names the owner, and it
 * changes hands (made, found dead, removed) under a lock beside it.
 */
#include "pack_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OWNER "owner"

/* ---- the owner
 * ------------------------------------------------------------------------------------ */

/* When the process started, so that a reused process number is not taken for it; 0 when there is
 * none, or only what is left of a dead one that its parent has not asked about (state Z or X). */
static unsigned long long start_of(long pid)
{
    char path[64], *data = NULL;
    size_t n;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    if (sc_read_file(path, 4096, &data, &n) != SC_OK)
        return 0;
    unsigned long long start = 0;
    char *p = strrchr(data, ')'); /* the name may hold anything */
    if (p && p[1] == ' ' && (p[2] == 'Z' || p[2] == 'X'))
        p = NULL;
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    if (p)
        start = strtoull(p, NULL, 10);
    free(data);
    return start;
}

typedef struct owner {
    char host[256];
    long pid;
    unsigned long long start;
    int made;
} owner;

static void owner_me(owner *w)
{
    *w = (owner){.pid = (long)getpid()};
    gethostname(w->host, sizeof w->host - 1);
    w->start = start_of(w->pid);
}

static bool owner_read(const char *tmp, owner *w)
{
    char *path = sc_path_join(tmp, OWNER), *data = NULL;
    size_t n;
    bool ok = path && sc_read_file(path, 4096, &data, &n) == SC_OK &&
              sscanf(data, "%255s %ld %llu %d", w->host, &w->pid, &w->start, &w->made) == 4;
    free(path);
    free(data);
    return ok;
}

static bool owner_same(const owner *a, const owner *b)
{
    return strcmp(a->host, b->host) == 0 && a->pid == b->pid && a->start == b->start;
}

/* When something in the folder or its set was last written: rows come all the time. */
static time_t last_written(const char *tmp)
{
    struct stat st;
    time_t last = stat(tmp, &st) == 0 ? st.st_mtime : 0;
    char *set = sc_path_join(tmp, "set");
    DIR *dir = set ? opendir(set) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtime > last)
            last = st.st_mtime;
    if (dir)
        closedir(dir);
    free(set);
    return last;
}

static sc_status write_owner(const char *tmp, int made)
{
    owner me;
    owner_me(&me);
    char text[400];
    int n = snprintf(text, sizeof text, "%s %ld %llu %d\n", me.host[0] ? me.host : "-", me.pid,
                     me.start, made);
    char *path = sc_path_join(tmp, OWNER);
    sc_status status = path ? sc_write_file(path, text, (size_t)n) : SC_ENOMEM;
    free(path);
    return status;
}

bool sc_tmp_owner_of(const char *tmp, sc_tmp_owner *out)
{
    owner there, me;
    char *message = sc_strdup(sc_message()); /* looking around must not cost the caller's */
    bool known = owner_read(tmp, &there);
    owner_me(&me);
    if (known)
        *out = (sc_tmp_owner){.is_me = owner_same(&there, &me), .made = there.made};
    if (message && *message)
        sc_fail(SC_OK, "%s", message);
    free(message);
    return known;
}

static sc_status refuse_busy(const char *tmp)
{
    return sc_fail(SC_EUSAGE,
                   "%s: another process is packing there now; wait for it, or remove the folder "
                   "when that process is gone",
                   tmp);
}

/* ---- the lock
 * ------------------------------------------------------------------------------------- */

/* A file that its holder removed before we got the lock on it locks nothing. */
static bool still_there(const sc_tmp_lock *h)
{
    struct stat open_one, named;
    return fstat(h->fd, &open_one) == 0 && stat(h->path, &named) == 0 &&
           open_one.st_ino == named.st_ino && open_one.st_dev == named.st_dev;
}

sc_status sc_tmp_lock_take(const char *tmp, sc_tmp_lock *h)
{
    *h = (sc_tmp_lock){.path = sc_format("%s.lock", tmp), .fd = -1};
    if (!h->path)
        return SC_ENOMEM;
    for (int tries = 0; tries < 3000; tries++) { /* a minute: the holder may be clearing much */
        h->fd = open(h->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (h->fd < 0)
            return sc_fail(SC_EIO, "%s: the folder cannot be made: %s", tmp, strerror(errno));
        bool got = flock(h->fd, LOCK_EX | LOCK_NB) == 0;
        bool busy = !got && (errno == EWOULDBLOCK || errno == EINTR);
        if (got && still_there(h))
            return SC_OK;
        close(h->fd);
        h->fd = -1;
        if (!got && !busy)
            return SC_OK;
        if (busy)
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    return refuse_busy(tmp);
}

void sc_tmp_lock_release(sc_tmp_lock *h)
{
    if (h->path && h->fd >= 0)
        unlink(h->path);
    if (h->fd >= 0)
        close(h->fd);
    free(h->path);
    *h = (sc_tmp_lock){.fd = -1};
}

/* ---- the folder
 * ----------------------------------------------------------------------------------- */

/* A folder somebody is still working in is refused; what a dead packing left is removed. Every
 * owner is written under the lock; where the file system has none, a young folder may belong to
 * somebody who has not come to writing his owner yet. */
sc_status sc_tmp_clear_old(const char *tmp, const sc_tmp_lock *lock)
{
    struct stat st;
    owner old, me;
    if (lstat(tmp, &st) != 0)
        return SC_OK;
    owner_me(&me);
    bool owned = owner_read(tmp, &old);
    if (!owned && lock->fd < 0 && time(NULL) - st.st_mtime < 60)
        return refuse_busy(tmp);
    if (owned && !owner_same(&old, &me)) {
        bool here = strcmp(old.host, me.host) == 0;
        bool alive = here && (kill((pid_t)old.pid, 0) == 0 || errno == EPERM) &&
                     start_of(old.pid) == old.start;
        bool fresh = !here && time(NULL) - last_written(tmp) < 300;
        if (alive || fresh)
            return sc_fail(SC_EUSAGE,
                           "%s: process %ld on %s is packing there now; wait for it, or remove the "
                           "folder when that process is gone",
                           tmp, old.pid, old.host);
    }
    return sc_remove_tree(tmp);
}

/* Keeps sc_message(). */
static bool remove_quietly(const char *tmp)
{
    char *message = sc_strdup(sc_message());
    bool gone = sc_remove_tree(tmp) == SC_OK;
    if (message && *message)
        sc_fail(SC_OK, "%s", message);
    free(message);
    return gone;
}

sc_status sc_tmp_make(const char *tmp, int made)
{
    if (mkdir(tmp, 0777) != 0)
        return errno == EEXIST
                   ? refuse_busy(tmp)
                   : sc_fail(SC_EIO, "%s: the folder cannot be made: %s", tmp, strerror(errno));
    sc_status status = write_owner(tmp, made);
    if (status != SC_OK)
        remove_quietly(tmp);
    return status;
}

bool sc_tmp_remove(const char *tmp)
{
    sc_tmp_lock lock;
    char *message = sc_strdup(sc_message());
    (void)sc_tmp_lock_take(tmp, &lock); /* a full disk has no room for it; the folder goes anyway */
    if (message && *message)
        sc_fail(SC_OK, "%s", message);
    free(message);
    bool gone = remove_quietly(tmp);
    sc_tmp_lock_release(&lock);
    return gone;
}
