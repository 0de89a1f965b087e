/* The beginning and the abandoning of a packing: the temporary folder beside DST, who owns it, and
 * the shard files with room for every sample.
 */
#include "pack_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define OWNER "owner"

char *sc_printable_name(const char *name)
{
    sc_text t;
    sc_text_init(&t);
    bool valid = sc_utf8_valid(name, strlen(name));
    for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
        if (*p < 32 || *p == 127 || (*p >= 128 && !valid))
            sc_text_putf(&t, "\\x%02X", *p);
        else
            sc_text_add(&t, p, 1);
    }
    if (t.failed) {
        sc_text_free(&t);
        return NULL;
    }
    return t.data ? t.data : sc_strdup("");
}

/* ---- the owner of a temporary folder
 * ------------------------------------------------------------- */

/* When the process started, so that a reused process number is not taken for it; 0 when there is none,
 * or only what is left of a dead one that its parent has not asked about (state Z or X). */
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
    int made; /* levels of DST's parents that begin made */
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

/* A folder somebody is still working in is refused; what a dead packing left is removed. */
static sc_status clear_old(const char *tmp)
{
    struct stat st;
    owner old, me;
    if (lstat(tmp, &st) != 0)
        return SC_OK;
    owner_me(&me);
    if (owner_read(tmp, &old) && !owner_same(&old, &me)) {
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

/* ---- DST
 * ----------------------------------------------------------------------------------------- */

static char *parent_of(const char *dst)
{
    char *p = sc_strdup(dst);
    if (!p)
        return NULL;
    size_t n = strlen(p);
    while (n > 1 && p[n - 1] == '/')
        p[--n] = '\0';
    char *slash = strrchr(p, '/');
    if (!slash)
        strcpy(p, ".");
    else if (slash == p)
        p[1] = '\0';
    else
        *slash = '\0';
    return p;
}

static bool is_empty_folder(const char *path)
{
    return rmdir(path) == 0 && mkdir(path, 0777) == 0;
}

static sc_status judge_dst(const sc_pack_options *o)
{
    struct stat st;
    if (lstat(o->dst, &st) != 0)
        return SC_OK;
    if (!o->force)
        return sc_fail(SC_EUSAGE,
                       "%s: exists already; give another folder, or --force to replace it", o->dst);
    if (!S_ISDIR(st.st_mode) || (!sc_is_packed(o->dst) && !is_empty_folder(o->dst)))
        return sc_fail(
            SC_EUSAGE,
            "%s: is not a packed set, --force does not replace it; remove it yourself or "
            "give another folder",
            o->dst);
    return SC_OK;
}

/* DST may lie inside SRC_DIR only under a hidden name, which no scan takes for a class. */
static sc_status judge_nesting(const sc_pack_options *o, const char *parent)
{
    char src[PATH_MAX], dst[PATH_MAX];
    if (!realpath(o->src, src) || !realpath(parent, dst))
        return SC_OK; /* a parent that is not there yet is judged again when it is made */
    size_t n = strlen(src);
    if (strncmp(dst, src, n) != 0 || (dst[n] != '\0' && dst[n] != '/' && n > 1))
        return SC_OK;
    const char *first = dst + n + strspn(dst + n, "/");
    if (!*first) {
        size_t end = strlen(o->dst);
        while (end > 1 && o->dst[end - 1] == '/')
            end--;
        first = o->dst + end;
        while (first > o->dst && first[-1] != '/')
            first--;
    }
    if (*first == '.')
        return SC_OK;
    return sc_fail(SC_EUSAGE,
                   "%s: lies inside the image folder %s and would be taken for a class; give a "
                   "folder outside of it",
                   o->dst, o->src);
}

static sc_status judge_options(const sc_pack_options *o, const sc_source_list *l)
{
    if (o->img_size < 16 || o->img_size > 4096)
        return sc_fail(SC_EUSAGE, "--img-size %d: must be in 16..4096", o->img_size);
    if (o->decode.window && !(o->decode.window_lo < o->decode.window_hi))
        return sc_fail(SC_EUSAGE, "--window %g,%g: the first number must be below the second",
                       o->decode.window_lo, o->decode.window_hi);
    if (l->count == 0)
        return sc_fail(SC_EUSAGE, "%s: holds no images", o->src);
    return SC_OK;
}

static sc_status judge_room(const sc_pack_options *o, const sc_pack_plan *p, const char *folder)
{
    struct statvfs fs;
    if (statvfs(folder, &fs) != 0)
        return SC_OK;
    double need = 0, free_bytes = (double)fs.f_bavail * (double)fs.f_frsize;
    for (int s = 0; s < p->shards; s++) {
        sc_shard_shape shape = sc_plan_shape(p, s);
        for (int set = 0; set < SC_SETS; set++)
            need += (double)sc_set_bytes((sc_set)set, &shape);
    }
    if (need > free_bytes)
        return sc_fail(SC_EIO, "%s: the packed set needs %.1f MB, but only %.1f MB are free there",
                       o->dst, need / 1e6, free_bytes / 1e6);
    return SC_OK;
}

/* Makes DST's parent; *made = how many levels were missing. */
static sc_status make_parents(const char *parent, int *made)
{
    struct stat st;
    char *p = sc_strdup(parent);
    *made = 0;
    while (p && stat(p, &st) != 0 && errno == ENOENT) {
        char *up = parent_of(p);
        ++*made;
        free(p);
        p = up;
    }
    free(p);
    return *made ? sc_make_dirs(parent) : SC_OK;
}

static void remove_parents(const char *dst, int made)
{
    char *p = parent_of(dst);
    for (; p && made > 0 && rmdir(p) == 0; made--) {
        char *up = parent_of(p);
        free(p);
        p = up;
    }
    free(p);
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

sc_status sc_pack_begin(const sc_pack_options *o, const sc_source_list *l)
{
    sc_pack_plan p = {0};
    int made = 0;
    bool begun = false;
    char *parent = parent_of(o->dst);
    sc_status status = parent ? SC_OK : SC_ENOMEM;
    if (status == SC_OK)
        status = judge_options(o, l);
    if (status != SC_OK)
        goto done;
    SC_TRY_GOTO(judge_dst(o));
    SC_TRY_GOTO(sc_pack_plan_make(o, l->count, l->paths, &p));
    SC_TRY_GOTO(judge_nesting(o, parent));
    SC_TRY_GOTO(clear_old(p.tmp));
    SC_TRY_GOTO(make_parents(parent, &made));
    begun = true;
    SC_TRY_GOTO(judge_nesting(o, parent));
    SC_TRY_GOTO(judge_room(o, &p, parent));
    if (mkdir(p.tmp, 0777) != 0) {
        status = sc_fail(SC_EIO, "%s: the folder cannot be made: %s", p.tmp, strerror(errno));
        goto done;
    }
    SC_TRY_GOTO(write_owner(p.tmp, made));
    SC_TRY_GOTO(sc_pack_make_shards(&p, l->class_names, l->classes));
done:
    if (status != SC_OK && begun) {
        char *message = sc_strdup(sc_message());
        sc_remove_tree(p.tmp);
        remove_parents(o->dst, made);
        status = sc_fail(status, "%s", message ? message : "packing failed");
        free(message);
    }
    sc_pack_plan_free(&p);
    free(parent);
    return status;
}

/* Removes the temporary folder when `mine` is false or this process began it. */
static void abandon(const sc_pack_options *o, bool mine)
{
    char *tmp = sc_pack_tmp_path(o->dst), *message = sc_strdup(sc_message());
    owner old = {.made = 0}, me;
    owner_me(&me);
    bool known = tmp && owner_read(tmp, &old);
    if (known && (!mine || owner_same(&old, &me))) {
        sc_remove_tree(tmp);
        remove_parents(o->dst, old.made);
    }
    if (message && *message) /* looking around must not cost the caller's message */
        sc_fail(SC_OK, "%s", message);
    free(message);
    free(tmp);
}

void sc_pack_clear(const sc_pack_options *o)
{
    abandon(o, false);
}

void sc_pack_abandon(const sc_pack_options *o)
{
    abandon(o, true);
}
