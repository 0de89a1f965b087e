/* What a user names becomes a list of images. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "superclip/infer.h"

/* ---- items
 * --------------------------------------------------------------------------------------- */

/* Name of the folder that a path's last part lies in; NULL: the path does not say. */
static char *folder_of(const char *path)
{
    const char *end = strrchr(path, '/');
    while (end && end > path && end[-1] == '/')
        end--;
    if (!end || end == path)
        return NULL;
    const char *start = end;
    while (start > path && start[-1] != '/')
        start--;
    return sc_strndup(start, (size_t)(end - start));
}

/* Takes over the strings of `item`. */
static sc_status add_item(sc_image_list *l, sc_image_item item)
{
    bool ok = item.path && (item.file || item.set);
    if (ok && l->count == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        sc_image_item *items = sc_realloc(l->items, cap, sizeof *items);
        ok = items != NULL;
        if (ok) {
            l->items = items;
            l->cap = cap;
        }
    }
    if (ok) {
        l->items[l->count++] = item;
        return SC_OK;
    }
    free(item.path);
    free(item.file);
    free(item.folder);
    return SC_ENOMEM;
}

/* file: heap or NULL. */
static sc_status add_file(sc_image_list *l, const char *path, char *file)
{
    return add_item(
        l, (sc_image_item){.path = sc_strdup(path), .file = file, .folder = folder_of(path)});
}

/* ---- folders
 * ------------------------------------------------------------------------------------- */

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A folder with an image's name stays an image: it is told as one that cannot be read. */
static sc_status add_entry(sc_image_list *l, const char *path, int depth);

static sc_status add_folder(sc_image_list *l, const char *path, int depth)
{
    struct dirent **names;
    int n = scandir(path, &names, NULL, by_bytes);
    if (n < 0)
        return sc_fail(SC_EIO, "%s: the folder cannot be read: %s", path, strerror(errno));
    sc_status status = SC_OK;
    for (int i = 0; i < n; i++) {
        if (names[i]->d_name[0] != '.' && status == SC_OK) {
            char *inside = sc_path_join(path, names[i]->d_name);
            status = inside ? add_entry(l, inside, depth) : SC_ENOMEM;
            free(inside);
        }
        free(names[i]);
    }
    free(names);
    return status;
}

static sc_status add_entry(sc_image_list *l, const char *path, int depth)
{
    if (sc_image_name(path))
        return add_file(l, path, sc_strdup(path));
    return depth > 0 && is_folder(path) ? add_folder(l, path, depth - 1) : SC_OK;
}

/* ---- packed sets
 * ----------------------------------------------------------------------------------- */

static sc_status add_set(sc_image_list *l, const char *path, const sc_log *log)
{
    sc_dataset **sets = sc_realloc(l->sets, (size_t)l->set_count + 1, sizeof *sets);
    if (!sets)
        return SC_ENOMEM;
    l->sets = sets;
    sc_dataset *d;
    SC_TRY(sc_dataset_open(path, 0, log, &d));
    sets[l->set_count++] = d;
    const char *const *names = sc_dataset_class_names(d);
    const int32_t *labels = sc_dataset_labels(d);
    for (int64_t i = 0; i < sc_dataset_count(d); i++)
        SC_TRY(add_item(l, (sc_image_item){.path = sc_strdup(sc_dataset_path(d, i)),
                                           .set = d,
                                           .row = i,
                                           .folder = sc_strdup(names[labels[i]])}));
    return SC_OK;
}

/* ---- what is named
 * --------------------------------------------------------------------------------- */

sc_status sc_image_list_add(sc_image_list *l, const char *path, const sc_log *log)
{
    struct stat st;
    size_t before = l->count;
    if (stat(path, &st) != 0)
        return sc_fail(SC_EUSAGE, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return add_file(l, path, sc_strdup(path));
    if (sc_is_packed(path))
        return add_set(l, path, log);
    SC_TRY(add_folder(l, path, 1));
    return l->count > before
               ? SC_OK
               : sc_fail(SC_EUSAGE,
                         "%s: no images (.jpg .jpeg .png .bmp .tif .tiff .webp) in this folder or "
                         "in the folders inside it",
                         path);
}

sc_status sc_image_list_add_lines(sc_image_list *l, const char *file, const char *root)
{
    char *text;
    size_t n, before = l->count;
    SC_TRY(sc_read_file(file, (size_t)1 << 30, &text, &n));
    sc_status status = SC_OK;
    if (memchr(text, '\0', n))
        status = sc_fail(SC_EUSAGE, "%s: is not a text of image paths, one a line", file);
    for (char *line = text, *next; line && status == SC_OK; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        size_t length = strlen(line);
        if (length && line[length - 1] == '\r')
            line[--length] = '\0';
        if (length)
            status = add_file(l, line,
                              root && *line != '/' ? sc_path_join(root, line) : sc_strdup(line));
    }
    free(text);
    if (status == SC_OK && l->count == before)
        status = sc_fail(SC_EUSAGE, "%s: names no image; expected one path a line", file);
    return status;
}

void sc_image_list_free(sc_image_list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        free(l->items[i].path);
        free(l->items[i].file);
        free(l->items[i].folder);
    }
    for (int i = 0; i < l->set_count; i++)
        sc_dataset_close(l->sets[i]);
    free(l->items);
    free(l->sets);
    *l = (sc_image_list){0};
}
