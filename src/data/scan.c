/* Class folders -> the sample list. Classes and files are sorted by bytes; that order is the index.
 */
#include "image_priv.h"
#include "pack_priv.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "superclip/codec.h"

typedef struct names {
    char **items;
    size_t count, cap;
} names;

static sc_status names_add(names *n, const char *s)
{
    if (n->count == n->cap) {
        size_t cap = n->cap ? 2 * n->cap : 64;
        char **items = sc_realloc(n->items, cap, sizeof *items);
        if (!items)
            return SC_ENOMEM;
        n->items = items;
        n->cap = cap;
    }
    char *copy = sc_strdup(s);
    if (!copy)
        return SC_ENOMEM;
    n->items[n->count++] = copy;
    return SC_OK;
}

static void names_free(names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->items[i]);
    free(n->items);
    *n = (names){0};
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted names of a folder that `wanted` accepts; hidden ones never. */
static sc_status list_folder(const char *folder,
                             bool (*wanted)(const char *folder, const char *name), names *out)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return sc_fail(errno == ENOENT || errno == ENOTDIR ? SC_EUSAGE : SC_EIO,
                       "%s: the folder cannot be read: %s", folder, strerror(errno));
    sc_status status = SC_OK;
    while (status == SC_OK) {
        errno = 0;
        struct dirent *e = readdir(dir);
        if (!e) {
            if (errno)
                status =
                    sc_fail(SC_EIO, "%s: the folder cannot be read: %s", folder, strerror(errno));
            break;
        }
        if (e->d_name[0] != '.' && wanted(folder, e->d_name))
            status = names_add(out, e->d_name);
    }
    closedir(dir);
    if (out->count > 0)
        qsort(out->items, out->count, sizeof *out->items, by_bytes);
    return status;
}

static bool is_class_folder(const char *folder, const char *name)
{
    char *path = sc_path_join(folder, name);
    struct stat st;
    bool yes = path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    free(path);
    return yes;
}

static bool is_image_name(const char *folder, const char *name)
{
    (void)folder;
    return sc_image_name(name);
}

static bool is_shard_name(const char *folder, const char *name)
{
    int shard, shards, end = 0;
    (void)folder;
    return sscanf(name, "shard-%d-of-%d.h5%n", &shard, &shards, &end) == 2 && end > 0 && !name[end];
}

static int64_t nanoseconds(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static sc_status grow(sc_source_list *l, size_t more, size_t *cap)
{
    size_t want = (size_t)l->count + more;
    if (want <= *cap)
        return SC_OK;
    size_t n = want > 2 * *cap ? want : 2 * *cap;
    void *p;
    if (!(p = sc_realloc(l->paths, n, sizeof *l->paths)))
        return SC_ENOMEM;
    l->paths = p;
    if (!(p = sc_realloc(l->labels, n, sizeof *l->labels)))
        return SC_ENOMEM;
    l->labels = p;
    if (!(p = sc_realloc(l->sizes, n, sizeof *l->sizes)))
        return SC_ENOMEM;
    l->sizes = p;
    if (!(p = sc_realloc(l->mtimes_ns, n, sizeof *l->mtimes_ns)))
        return SC_ENOMEM;
    l->mtimes_ns = p;
    if (!(p = sc_realloc(l->ctimes_ns, n, sizeof *l->ctimes_ns)))
        return SC_ENOMEM;
    l->ctimes_ns = p;
    *cap = n;
    return SC_OK;
}

static sc_status add_class(const char *src, const char *name, int label, sc_source_list *l,
                           size_t *cap)
{
    names files = {0};
    char *folder = sc_path_join(src, name);
    sc_status status = SC_ENOMEM;
    if (!folder)
        goto done;
    if (!sc_utf8_valid(name, strlen(name))) {
        status = sc_fail(SC_EUSAGE, "%s: the class folder's name is not UTF-8; rename it", folder);
        goto done;
    }
    SC_TRY_GOTO(list_folder(folder, is_image_name, &files));
    if (files.count == 0) {
        status = sc_fail(SC_EUSAGE,
                         "%s: a class folder without images (.jpg .jpeg .png .bmp .tif .tiff "
                         ".webp); remove the folder or add images",
                         folder);
        goto done;
    }
    SC_TRY_GOTO(grow(l, files.count, cap));
    for (size_t i = 0; i < files.count; i++) {
        struct stat st = {0};
        char *path = sc_format("%s/%s", name, files.items[i]);
        char *full = sc_path_join(folder, files.items[i]);
        if (!path || !full) {
            free(path);
            free(full);
            status = SC_ENOMEM;
            goto done;
        }
        if (stat(full, &st) != 0)
            memset(&st, 0, sizeof st); /* judged when it is read */
        free(full);
        l->paths[l->count] = path;
        l->labels[l->count] = label;
        l->sizes[l->count] = st.st_size;
        l->mtimes_ns[l->count] = nanoseconds(st.st_mtim);
        l->ctimes_ns[l->count] = nanoseconds(st.st_ctim);
        l->count++;
    }
done:
    names_free(&files);
    free(folder);
    return status;
}

sc_status sc_source_scan(const char *src, const sc_log *log, sc_source_list *out)
{
    (void)log;
    memset(out, 0, sizeof *out);
    names classes = {0}, shards = {0};
    size_t cap = 0;
    sc_status status;
    SC_TRY_GOTO(list_folder(src, is_class_folder, &classes));
    if (classes.count == 0) {
        SC_TRY_GOTO(list_folder(src, is_shard_name, &shards));
        status = shards.count > 0
                     ? sc_fail(SC_EUSAGE,
                               "%s: holds shards (%s) but no " SC_MANIFEST
                               ": copy the whole packed set, or pack the images again",
                               src, shards.items[0])
                     : sc_fail(SC_EUSAGE,
                               "%s: no class folders inside; expected %s/<class name>/<image>", src,
                               src);
        goto done;
    }
    char real[PATH_MAX];
    out->folder = sc_strdup(realpath(src, real) ? real : src);
    out->class_names = sc_alloc(classes.count, sizeof *out->class_names);
    if (!out->class_names || !out->folder) {
        status = SC_ENOMEM;
        goto done;
    }
    for (size_t c = 0; c < classes.count; c++) {
        SC_TRY_GOTO(add_class(src, classes.items[c], (int)c, out, &cap));
        out->class_names[c] = classes.items[c];
        classes.items[c] = NULL;
        out->classes++;
    }
done:
    names_free(&classes);
    names_free(&shards);
    if (status != SC_OK)
        sc_source_list_free(out);
    return status;
}

void sc_source_list_free(sc_source_list *l)
{
    for (int c = 0; c < l->classes; c++)
        free(l->class_names[c]);
    for (int64_t i = 0; i < l->count; i++)
        free(l->paths[i]);
    free(l->class_names);
    free(l->paths);
    free(l->labels);
    free(l->sizes);
    free(l->mtimes_ns);
    free(l->ctimes_ns);
    free(l->folder);
    memset(l, 0, sizeof *l);
}

void sc_source_key(const sc_source_list *l, const sc_pack_options *o, char key[65])
{
    sc_sha256 h;
    sc_sha256_init(&h);
    char head[256];
    int n =
        snprintf(head, sizeof head, "%s %d S=%d K=%d skip=%d px=%.17g window=%d %.17g %.17g",
                 SC_SHARD_FORMAT, SC_SHARD_VERSION, o->img_size, o->shards, o->skip_bad,
                 o->decode.max_pixels, o->decode.window, o->decode.window_lo, o->decode.window_hi);
    sc_sha256_update(&h, head, (size_t)n + 1);
    const char *folder = l->folder ? l->folder : "";
    sc_sha256_update(&h, folder, strlen(folder) + 1);
    for (int64_t i = 0; i < l->count; i++) {
        sc_sha256_update(&h, l->paths[i], strlen(l->paths[i]) + 1);
        sc_sha256_update(&h, &l->sizes[i], sizeof l->sizes[i]);
        sc_sha256_update(&h, &l->mtimes_ns[i], sizeof l->mtimes_ns[i]);
        if (l->ctimes_ns) /* cp -p and rsync -t keep the mtime of a file that they replace */
            sc_sha256_update(&h, &l->ctimes_ns[i], sizeof l->ctimes_ns[i]);
    }
    uint8_t digest[32];
    sc_sha256_final(&h, digest);
    sc_sha256_hex(digest, key);
}
