/* The beginning and the abandoning of a packing: whether DST may be made, the temporary folder
 * beside it, and the shard files with room for every sample.
 */
#include "pack_priv.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

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

/* Makes the temporary folder this process's own: of several that try, one. */
static sc_status take_tmp(const sc_pack_options *o, const sc_pack_plan *p, const char *parent,
                          int made)
{
    sc_tmp_lock lock;
    sc_status status = sc_tmp_lock_take(p->tmp, &lock);
    if (status != SC_OK)
        goto done;
    SC_TRY_GOTO(sc_tmp_clear_old(p->tmp, &lock));
    SC_TRY_GOTO(judge_dst(o)); /* again: somebody may have finished it while we waited */
    SC_TRY_GOTO(judge_room(o, p, parent));
    status = sc_tmp_make(p->tmp, made);
done:
    sc_tmp_lock_release(&lock);
    return status;
}

sc_status sc_pack_begin(const sc_pack_options *o, const sc_source_list *l)
{
    sc_pack_plan p = {0};
    int made = 0;
    char *parent = parent_of(o->dst);
    sc_status status = parent ? SC_OK : SC_ENOMEM;
    if (status == SC_OK)
        status = judge_options(o, l);
    if (status != SC_OK)
        goto done;
    SC_TRY_GOTO(judge_dst(o));
    SC_TRY_GOTO(sc_pack_plan_make(o, l->count, l->paths, &p));
    SC_TRY_GOTO(judge_nesting(o, parent));
    SC_TRY_GOTO(make_parents(parent, &made));
    status = judge_nesting(o, parent);
    if (status == SC_OK)
        status = take_tmp(o, &p, parent, made);
    if (status == SC_OK) {
        status = sc_pack_make_shards(&p, l->class_names, l->classes);
        if (status != SC_OK)
            sc_tmp_remove(p.tmp);
    }
    if (status != SC_OK)
        remove_parents(o->dst, made);
done:
    sc_pack_plan_free(&p);
    free(parent);
    return status;
}

/* Removes the temporary folder when `mine` is false or this process began it. */
static void abandon(const sc_pack_options *o, bool mine)
{
    char *tmp = sc_pack_tmp_path(o->dst);
    sc_tmp_owner owner;
    if (tmp && sc_tmp_owner_of(tmp, &owner) && (!mine || owner.is_me)) {
        sc_tmp_remove(tmp);
        remove_parents(o->dst, owner.made);
    }
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
