/* The first PyTorch versions: an uncompressed tar of `storages`, `tensors` and `pickle`, in which
 * the object refers to its tensors by number. Field widths as in POSIX.1-1988 (ustar). */
#include "pth.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 512, WINDOW = 4096, MOST_ITEMS = 1 << 20 };

typedef struct range {
    uint64_t at, end;
} range;

typedef struct tar_tensor {
    int64_t key;
    sc_pickle_tensor tensor;
} tar_tensor;

struct sc_pth_tar {
    range storages, tensors, pickle;
    sc_pickle_storage *items; /* in the order of `places` before these are sorted */
    int64_t *keys;
    char (*names)[24];
    size_t count;
    tar_tensor *table;
    size_t table_count;
};

static sc_status bad(const sc_pth *f, const char *what)
{
    return sc_fail(SC_EFORMAT, "%s: damaged tar file of an old PyTorch: %s", f->path, what);
}

/* ---- members --------------------------------------------------------------------------------- */

static bool octal(const uint8_t *p, size_t n, uint64_t *v)
{
    *v = 0;
    for (size_t i = 0; i < n && p[i] && p[i] != ' '; i++) {
        if (p[i] < '0' || p[i] > '7')
            return false;
        *v = *v * 8 + (uint64_t)(p[i] - '0');
    }
    return true;
}

static sc_status find_members(const sc_pth *f, sc_pth_tar *t)
{
    const struct {
        const char *name;
        range *to;
    } wanted[] = {{"storages", &t->storages}, {"tensors", &t->tensors}, {"pickle", &t->pickle}};
    uint64_t at = 0, size;
    uint8_t head[BLOCK];
    while (f->file.size - at >= BLOCK) {
        SC_TRY(sc_input_read(&f->file, head, BLOCK, at));
        if (!head[0])
            break;
        at += BLOCK;
        if (memcmp(head + 257, "ustar", 5) != 0 || !octal(head + 124, 12, &size) ||
            size > f->file.size - at)
            return bad(f, "a member's header");
        head[100] = 0;
        const char *name = (char *)head + (head[0] == '.' && head[1] == '/' ? 2 : 0);
        for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
            if (!strcmp(name, wanted[i].name))
                *wanted[i].to = (range){at, at + size};
        uint64_t step = (size + BLOCK - 1) / BLOCK * BLOCK;
        at = step > f->file.size - at ? f->file.size : at + step;
    }
    if (!t->storages.end || !t->tensors.end || !t->pickle.end)
        return bad(f, "storages, tensors or pickle is missing");
    return SC_OK;
}

/* ---- the small pickles between the data ------------------------------------------------------ */

static sc_status small_pickle(const sc_pth *f, range *r, const char *record, sc_unpickler *u,
                              sc_pv **out)
{
    uint8_t data[WINDOW];
    size_t n = r->end - r->at < WINDOW ? (size_t)(r->end - r->at) : WINDOW, used = 0;
    SC_TRY(sc_input_read(&f->file, data, n, r->at));
    SC_TRY(sc_unpickle_first(u, f->path, record, data, n, &used, out));
    r->at += used;
    return SC_OK;
}

static sc_status item_count(const sc_pth *f, range *r, const char *record, size_t *count)
{
    sc_unpickler u = {0};
    sc_pv *v;
    sc_status status = small_pickle(f, r, record, &u, &v);
    /* each item takes many bytes, so a count beyond the file's size is a lie */
    if (status == SC_OK && (v->type != SC_PV_INT || v->u.i < 0 || v->u.i > MOST_ITEMS ||
                            (uint64_t)v->u.i > r->end - r->at))
        status = bad(f, "a count is out of range");
    *count = status == SC_OK ? (size_t)v->u.i : 0;
    sc_unpickle_free(&u);
    return status;
}

/* A tuple (number, anything, class) as `wanted` says. */
static bool is_triple(const sc_pv *v, int first, int second, int third)
{
    const int wanted[] = {first, second, third};
    if (v->type != SC_PV_TUPLE || v->count != 3)
        return false;
    for (int i = 0; i < 3; i++)
        if (wanted[i] >= 0 && v->u.items[i]->type != (sc_pv_type)wanted[i])
            return false;
    return true;
}

static sc_status read_u64(const sc_pth *f, range *r, uint64_t *v)
{
    uint8_t bytes[8];
    if (r->end - r->at < 8)
        return bad(f, "it ends too early");
    SC_TRY(sc_input_read(&f->file, bytes, 8, r->at));
    r->at += 8;
    *v = sc_le64(bytes);
    return SC_OK;
}

/* ---- storages -------------------------------------------------------------------------------- */

static sc_status read_storage(sc_pth *f, sc_pth_tar *t, range *r, size_t i)
{
    sc_unpickler u = {0};
    sc_pv *v;
    uint64_t elements, bytes;
    sc_status status = small_pickle(f, r, "storages", &u, &v);
    sc_dtype dtype = SC_F32;
    if (status == SC_OK && (!is_triple(v, SC_PV_INT, -1, SC_PV_GLOBAL) ||
                            v->u.items[2]->u.global->role != SC_ROLE_STORAGE))
        status = bad(f, "a storage's description");
    else if (status == SC_OK) {
        t->keys[i] = v->u.items[0]->u.i;
        dtype = v->u.items[2]->u.global->dtype;
    }
    sc_unpickle_free(&u);
    SC_TRY(status);
    SC_TRY(read_u64(f, r, &elements));
    if (elements > r->end || (bytes = elements * sc_dtype_size(dtype)) > r->end - r->at)
        return bad(f, "a storage reaches beyond its end");
    snprintf(t->names[i], sizeof t->names[i], "%lld", (long long)t->keys[i]);
    t->items[i] = (sc_pickle_storage){
        .key = t->names[i], .dtype = dtype, .count = elements, .length = elements};
    f->places[i] = (sc_storage_place){.key = t->names[i], .bytes = bytes, .offset = r->at};
    r->at += bytes;
    return SC_OK;
}

static int by_place_key(const void *a, const void *b)
{
    return strcmp(((const sc_storage_place *)a)->key, ((const sc_storage_place *)b)->key);
}

static int by_item_key(const void *a, const void *b)
{
    return strcmp(((const sc_pickle_storage *)a)->key, ((const sc_pickle_storage *)b)->key);
}

static sc_status read_storages(sc_pth *f, sc_pth_tar *t)
{
    range r = t->storages;
    SC_TRY(item_count(f, &r, "storages", &t->count));
    f->places = sc_alloc(t->count, sizeof *f->places);
    t->items = sc_alloc(t->count, sizeof *t->items);
    t->keys = sc_alloc(t->count, sizeof *t->keys);
    t->names = sc_alloc(t->count, sizeof *t->names);
    if (!f->places || !t->items || !t->keys || !t->names)
        return sc_fail_prefix(SC_ENOMEM, "%s", f->path);
    for (size_t i = 0; i < t->count; i++)
        SC_TRY(read_storage(f, t, &r, i));
    f->place_count = t->count;
    qsort(f->places, t->count, sizeof *f->places, by_place_key);
    qsort(t->items, t->count, sizeof *t->items, by_item_key);
    for (size_t i = 1; i < t->count; i++)
        if (!strcmp(t->items[i - 1].key, t->items[i].key))
            return bad(f, "two storages have the same number");
    sc_unpickler u = {0};
    sc_pv *views;
    sc_status status = small_pickle(f, &r, "storages", &u, &views);
    if (status == SC_OK && (views->type != SC_PV_LIST || views->count))
        status = sc_fail(SC_EFORMAT,
                         "%s: holds storages inside storages, which is not read; load it in "
                         "PyTorch and torch.save it again",
                         f->path);
    sc_unpickle_free(&u);
    return status;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static sc_status read_tensor(const sc_pth *f, sc_pth_tar *t, range *r, size_t i)
{
    sc_unpickler u = {0};
    sc_pv *v;
    tar_tensor *out = &t->table[i];
    char key[24] = "";
    sc_status status = small_pickle(f, r, "tensors", &u, &v);
    if (status == SC_OK && !is_triple(v, SC_PV_INT, SC_PV_INT, SC_PV_GLOBAL))
        status = bad(f, "a tensor's description");
    else if (status == SC_OK) {
        out->key = v->u.items[0]->u.i;
        snprintf(key, sizeof key, "%lld", (long long)v->u.items[1]->u.i);
    }
    sc_unpickle_free(&u);
    SC_TRY(status);
    const sc_pickle_storage wanted = {.key = key};
    const sc_pickle_storage *s =
        t->count ? bsearch(&wanted, t->items, t->count, sizeof wanted, by_item_key) : NULL;
    uint64_t dims, size;
    if (!s)
        return bad(f, "a tensor's storage is missing");
    SC_TRY(read_u64(f, r, &dims));
    dims &= 0xFFFFFFFFu; /* the other four bytes were never set */
    if (dims > SC_MAX_DIMS)
        return bad(f, "a tensor has more than 8 dimensions");
    out->tensor = (sc_pickle_tensor){.storage = s, .dtype = s->dtype, .shape.n = (int)dims};
    for (uint64_t k = 0; k < 2 * dims; k++) {
        SC_TRY(read_u64(f, r, &size));
        if (size > INT64_MAX)
            return bad(f, "a tensor's size or stride is negative");
        int64_t *to = k < dims ? out->tensor.shape.d : out->tensor.stride;
        to[k % dims] = (int64_t)size;
    }
    return read_u64(f, r, &out->tensor.offset);
}

static int by_number(const void *a, const void *b)
{
    int64_t x = ((const tar_tensor *)a)->key, y = ((const tar_tensor *)b)->key;
    return (x > y) - (x < y);
}

static sc_status read_tensors(sc_pth *f, sc_pth_tar *t)
{
    range r = t->tensors;
    SC_TRY(item_count(f, &r, "tensors", &t->table_count));
    t->table = sc_alloc(t->table_count, sizeof *t->table);
    if (!t->table)
        return sc_fail_prefix(SC_ENOMEM, "%s", f->path);
    for (size_t i = 0; i < t->table_count; i++)
        SC_TRY(read_tensor(f, t, &r, i));
    qsort(t->table, t->table_count, sizeof *t->table, by_number);
    return SC_OK;
}

static sc_status resolve(sc_unpickler *u, int64_t id, sc_pv **out)
{
    const sc_pth_tar *t = u->by_number_ctx;
    const tar_tensor wanted = {.key = id};
    const tar_tensor *x = t->table_count
                              ? bsearch(&wanted, t->table, t->table_count, sizeof wanted, by_number)
                              : NULL;
    if (!x)
        return sc_pickle_fail(u, "tensor number %lld is unknown", (long long)id);
    return sc_pickle_new_tensor(u, &x->tensor, x->tensor.storage->length, out);
}

sc_status sc_pth_open_tar(sc_pth *f)
{
    sc_pth_tar *t = f->tar = sc_alloc(1, sizeof *t);
    sc_pv *root = NULL;
    if (!t)
        return sc_fail_prefix(SC_ENOMEM, "%s", f->path);
    SC_TRY(find_members(f, t));
    SC_TRY(read_storages(f, t));
    SC_TRY(read_tensors(f, t));
    uint64_t n = t->pickle.end - t->pickle.at;
    if (n > SC_PTH_MOST_PICKLE)
        return bad(f, "its pickle is too long");
    uint8_t *data = sc_alloc(n, 1);
    if (!data)
        return sc_fail_prefix(SC_ENOMEM, "%s", f->path);
    f->machine.by_number = resolve;
    f->machine.by_number_ctx = t;
    sc_status status = sc_input_read(&f->file, data, n, t->pickle.at);
    if (status == SC_OK)
        status = sc_unpickle(&f->machine, f->path, "pickle", data, n, &root);
    free(data);
    f->tree_left = 256 * n + ((uint64_t)1 << 16);
    f->data_left = 16 * f->file.size + ((uint64_t)4 << 20);
    return status == SC_OK ? sc_pth_make_tree(f, root) : status;
}

void sc_pth_tar_free(sc_pth_tar *t)
{
    if (!t)
        return;
    free(t->items);
    free(t->keys);
    free(t->names);
    free(t->table);
    free(t);
}
