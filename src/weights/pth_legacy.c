/* torch.save before 1.6: five pickles (a magic number, the protocol, the writer's system, the
 * object, the storages' keys), then every storage as a count of 64 bits and its elements, without
 * padding. */
#include "pth.h"

#include <stdlib.h>
#include <string.h>

enum { MAGIC_BYTES = 15, PROTOCOL = 1001 };

static sc_status bad(const sc_pth *f, const char *what)
{
    return sc_fail(SC_EFORMAT, "%s: damaged file of an old PyTorch: %s", f->path, what);
}

/* ---- the pickles ----------------------------------------------------------------------------- */

typedef struct stream {
    const uint8_t *data;
    size_t n, at;
} stream;

static sc_status next_pickle(const sc_pth *f, stream *s, const char *record, sc_unpickler *u,
                             sc_pv **out)
{
    size_t used = 0;
    sc_status status =
        sc_unpickle_first(u, f->path, record, s->data + s->at, s->n - s->at, &used, out);
    s->at += used;
    return status;
}

static const sc_pv *entry(const sc_pv *dict, const char *key)
{
    for (uint32_t i = 0; dict->type == SC_PV_DICT && i + 1 < dict->count; i += 2)
        if (dict->u.items[i]->type == SC_PV_STRING && !strcmp(dict->u.items[i]->u.s, key))
            return dict->u.items[i + 1];
    return NULL;
}

static sc_status check_head(const sc_pth *f, stream *s)
{
    sc_unpickler u = {0};
    sc_pv *v;
    s->at = MAGIC_BYTES;
    sc_status status = next_pickle(f, s, "the protocol number", &u, &v);
    if (status == SC_OK && (v->type != SC_PV_INT || v->u.i != PROTOCOL))
        status = bad(f, "its protocol is not 1001");
    sc_unpickle_free(&u);
    if (status != SC_OK)
        return status;
    status = next_pickle(f, s, "the system's description", &u, &v);
    const sc_pv *little = status == SC_OK ? entry(v, "little_endian") : NULL;
    if (little && little->type == SC_PV_BOOL && !little->u.b)
        status = bad(f, "it was written on a big-endian machine");
    sc_unpickle_free(&u);
    return status;
}

/* ---- the storages ---------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
    return strcmp(((const sc_storage_place *)a)->key, ((const sc_storage_place *)b)->key);
}

static int by_storage_key(const void *a, const void *b)
{
    return strcmp((*(const sc_pickle_storage *const *)a)->key,
                  (*(const sc_pickle_storage *const *)b)->key);
}

/* The storages that the object names, by key: only they tell the element types. */
static sc_status named_storages(const sc_pth *f, const sc_pickle_storage ***out, size_t *count)
{
    size_t n = 0;
    for (const sc_pickle_storage *s = f->machine.storages; s; s = s->next)
        n++;
    const sc_pickle_storage **all = *out = sc_alloc(n, sizeof *all);
    if (!all)
        return sc_fail_prefix(SC_ENOMEM, "%s", f->path);
    *count = 0;
    for (const sc_pickle_storage *s = f->machine.storages; s; s = s->next)
        all[(*count)++] = s;
    qsort(all, n, sizeof *all, by_storage_key);
    return SC_OK;
}

static sc_status place_one(sc_pth *f, const sc_pickle_storage *const *named, size_t count,
                           const sc_pv *key, uint64_t *at)
{
    const sc_pickle_storage wanted = {.key = key->type == SC_PV_STRING ? key->u.s : ""};
    const sc_pickle_storage *probe = &wanted;
    const sc_pickle_storage *const *s =
        count ? bsearch(&probe, named, count, sizeof *named, by_storage_key) : NULL;
    uint8_t head[8];
    if (!s)
        return bad(f, "it holds a storage that no tensor names");
    SC_TRY(sc_input_read(&f->file, head, sizeof head, *at));
    uint64_t elements = sc_le64(head), bytes;
    *at += sizeof head;
    if (elements > f->file.size ||
        (bytes = elements * sc_dtype_size((*s)->dtype)) > f->file.size - *at)
        return bad(f, "a storage reaches beyond its end");
    f->places[f->place_count++] =
        (sc_storage_place){.key = (*s)->key, .bytes = bytes, .offset = *at};
    *at += bytes;
    return SC_OK;
}

static sc_status find_storages(sc_pth *f, const sc_pv *keys, uint64_t at)
{
    const sc_pickle_storage **named = NULL;
    size_t count = 0;
    if (keys->type != SC_PV_LIST)
        return bad(f, "its list of storages is none");
    f->places = sc_alloc(keys->count, sizeof *f->places);
    if (!f->places)
        return sc_fail_prefix(SC_ENOMEM, "%s", f->path);
    SC_TRY(named_storages(f, &named, &count));
    sc_status status = SC_OK;
    for (uint32_t i = 0; i < keys->count && status == SC_OK; i++)
        status = place_one(f, named, count, keys->u.items[i], &at);
    free(named);
    if (status == SC_OK)
        qsort(f->places, f->place_count, sizeof *f->places, by_key);
    for (size_t i = 1; i < f->place_count && status == SC_OK; i++)
        if (!strcmp(f->places[i - 1].key, f->places[i].key))
            status = bad(f, "two storages have the same key");
    return status;
}

/* The pickles lie in the file's first n bytes, or they do not and this fails. */
static sc_status read_head(sc_pth *f, size_t n, sc_pv **root)
{
    sc_unpickler keys_machine = {0};
    sc_pv *keys;
    uint8_t *data = sc_alloc(n, 1);
    if (!data)
        return sc_fail_prefix(SC_ENOMEM, "%s", f->path);
    stream s = {data, n, 0};
    sc_status status = sc_input_read(&f->file, data, n, 0);
    if (status == SC_OK)
        status = check_head(f, &s);
    if (status == SC_OK)
        status = next_pickle(f, &s, "the object", &f->machine, root);
    f->tree_left = 256 * (uint64_t)s.at + ((uint64_t)1 << 16);
    if (status == SC_OK)
        status = next_pickle(f, &s, "the list of storages", &keys_machine, &keys);
    if (status == SC_OK)
        status = find_storages(f, keys, s.at);
    sc_unpickle_free(&keys_machine);
    free(data);
    return status;
}

/* How long the pickles are shows when they have been run: a little of the file is tried first. */
sc_status sc_pth_open_legacy(sc_pth *f)
{
    sc_pv *root = NULL;
    size_t n = 1 << 18;
    for (;; n *= 8) {
        bool all = n >= f->file.size || n >= SC_PTH_MOST_PICKLE;
        if (n > f->file.size)
            n = (size_t)f->file.size;
        sc_status status = read_head(f, n, &root);
        if (status == SC_OK)
            break;
        if (all || status != SC_EFORMAT)
            return status;
        sc_unpickle_free(&f->machine);
        free(f->places);
        f->places = NULL;
        f->place_count = 0;
    }
    f->data_left = 16 * f->file.size + ((uint64_t)4 << 20);
    return sc_pth_make_tree(f, root);
}
