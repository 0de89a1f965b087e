#include "pickle.h"
#include "zip.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64 };
static const uint64_t max_pickle_bytes = (uint64_t)64 << 20;

/* What the tree may cost. Python values can be shared, so a short stream could spell out a huge
 * tree: these bounds are proportional to the file and far above what torch.save makes. */
typedef struct loader {
    sc_zip_reader zip;
    sc_unpickler machine;
    const char *path;
    char *prefix;
    uint64_t tree_left; /* bytes of objects */
    uint64_t data_left; /* bytes of tensor data */
} loader;

/* ---- storages -------------------------------------------------------------------------------- */

static sc_status find_storage(const loader *l, const sc_pickle_storage *s, sc_zip_entry **out)
{
    char *name = sc_format("%s/data/%s", l->prefix, s->key);
    if (!name)
        return SC_ENOMEM;
    sc_zip_entry *e = sc_zip_find(&l->zip, name);
    sc_status status = SC_OK;
    if (!e)
        status = sc_fail(SC_EFORMAT, "%s: member '%.100s' is missing", l->path, name);
    else if (e->size != s->count * sc_dtype_size(s->dtype))
        status = sc_fail(SC_EFORMAT,
                         "%s: member '%s' has %llu bytes, but its tensor's storage holds %llu "
                         "elements of %s",
                         l->path, e->name, (unsigned long long)e->size,
                         (unsigned long long)s->count, sc_dtype_name(s->dtype));
    free(name);
    *out = e;
    return status;
}

static sc_status charge(const loader *l, uint64_t *left, uint64_t bytes)
{
    if (bytes > *left)
        return sc_fail(SC_EFORMAT,
                       "%s: its content would need far more memory than the file's size "
                       "explains",
                       l->path);
    *left -= bytes;
    return SC_OK;
}

/* The bytes of a storage that several tensors, or a view, look at; kept until the end. */
static sc_status cached_storage(loader *l, sc_zip_entry *e)
{
    if (e->cache)
        return SC_OK;
    SC_TRY(charge(l, &l->data_left, e->size));
    void *bytes = sc_alloc(e->size, 1);
    if (!bytes)
        return sc_fail_prefix(SC_ENOMEM, "%s", l->path);
    sc_status status = sc_zip_read(&l->zip, e, bytes);
    if (status == SC_OK)
        e->cache = bytes;
    else
        free(bytes);
    return status;
}

static bool whole_storage(const sc_pickle_tensor *t)
{
    int64_t step = 1;
    for (int i = t->shape.n - 1; i >= 0; i--) {
        if (t->shape.d[i] != 1 && t->stride[i] != step)
            return false;
        step *= t->shape.d[i];
    }
    return t->offset == 0 && t->dtype == t->storage->dtype && (uint64_t)step == t->storage->count;
}

static void copy_row(uint8_t *dst, const uint8_t *src, int64_t n, size_t stride_bytes, size_t item)
{
    if (stride_bytes == item) {
        memcpy(dst, src, (size_t)n * item);
        return;
    }
    for (int64_t i = 0; i < n; i++, dst += item, src += stride_bytes)
        memcpy(dst, src, item);
}

/* Row-major copy of a strided view; the reduction has checked that it stays inside the storage. */
static void gather(const sc_pickle_tensor *t, const uint8_t *storage, uint8_t *dst)
{
    size_t item = sc_dtype_size(t->dtype);
    int last = t->shape.n - 1;
    int64_t index[SC_MAX_DIMS] = {0};
    int64_t row = last >= 0 ? t->shape.d[last] : 1;
    size_t row_stride = last >= 0 ? (size_t)t->stride[last] * item : item;
    for (;;) {
        uint64_t at = t->offset;
        for (int i = 0; i < last; i++)
            at += (uint64_t)index[i] * (uint64_t)t->stride[i];
        copy_row(dst, storage + at * item, row, row_stride, item);
        dst += (size_t)row * item;
        int i = last - 1;
        while (i >= 0 && ++index[i] == t->shape.d[i])
            index[i--] = 0;
        if (i < 0)
            return;
    }
}

static sc_status load_tensor(loader *l, const sc_pickle_tensor *t, sc_tensor *out)
{
    sc_zip_entry *e;
    SC_TRY(find_storage(l, t->storage, &e));
    int64_t count = sc_shape_count(&t->shape);
    uint64_t bytes;
    if (__builtin_mul_overflow((uint64_t)count, sc_dtype_size(t->dtype), &bytes))
        bytes = UINT64_MAX;
    SC_TRY(charge(l, &l->data_left, bytes));
    bool whole = whole_storage(t);
    if (!whole && count > 0)
        SC_TRY(cached_storage(l, e));
    sc_status status = sc_tensor_new(NULL, t->dtype, t->shape, out);
    if (status != SC_OK)
        return sc_fail_prefix(status, "%s", l->path);
    if (!whole && count > 0)
        gather(t, e->cache, out->data);
    else if (whole && (status = sc_zip_read(&l->zip, e, out->data)) != SC_OK)
        sc_tensor_free(out);
    return status;
}

/* ---- values to a tree ------------------------------------------------------------------------ */

static sc_status convert(loader *l, const sc_pv *v, int depth, sc_object **out);

static sc_status convert_items(loader *l, const sc_pv *v, int depth, sc_object *into)
{
    bool dict = v->type == SC_PV_DICT || v->type == SC_PV_ORDERED_DICT;
    for (uint32_t i = 0; i < v->count; i += dict ? 2 : 1) {
        sc_object *key = NULL, *item = NULL;
        if (dict)
            SC_TRY(convert(l, v->u.items[i], depth + 1, &key));
        sc_status status = convert(l, v->u.items[i + (dict ? 1 : 0)], depth + 1, &item);
        if (status != SC_OK) {
            sc_obj_free(key);
            return status;
        }
        if (dict)
            sc_obj_put_key(into, key, item);
        else
            sc_obj_append(into, item);
        if (into->failed)
            return sc_fail(SC_ENOMEM, "%s: out of memory", l->path);
    }
    return SC_OK;
}

static sc_status convert_tensor(loader *l, const sc_pv *v, sc_object **out)
{
    sc_tensor t;
    SC_TRY(load_tensor(l, v->u.tensor, &t));
    *out = sc_obj_tensor(&t);
    return *out ? SC_OK : SC_ENOMEM;
}

static sc_object *new_value(const sc_pv *v)
{
    switch (v->type) {
    case SC_PV_NONE:
        return sc_obj_none();
    case SC_PV_BOOL:
        return sc_obj_bool(v->u.b);
    case SC_PV_INT:
        return sc_obj_int(v->u.i);
    case SC_PV_FLOAT:
        return sc_obj_float(v->u.f);
    case SC_PV_STRING:
        return sc_obj_string(v->u.s);
    case SC_PV_LIST:
        return sc_obj_list();
    case SC_PV_TUPLE:
        return sc_obj_tuple();
    case SC_PV_DICT:
        return sc_obj_dict();
    case SC_PV_ORDERED_DICT:
        return sc_obj_ordered_dict();
    case SC_PV_TENSOR:
    case SC_PV_GLOBAL:
    case SC_PV_STORAGE:
        break;
    }
    return NULL;
}

static sc_status convert(loader *l, const sc_pv *v, int depth, sc_object **out)
{
    *out = NULL;
    if (depth > MAX_DEPTH)
        return sc_fail(SC_EFORMAT, "%s: its values are nested too deeply, or contain themselves",
                       l->path);
    if (v->type == SC_PV_GLOBAL || v->type == SC_PV_STORAGE)
        return sc_fail(SC_EFORMAT, "%s: holds %s where a value should be", l->path,
                       sc_pv_type_name(v));
    SC_TRY(charge(l, &l->tree_left,
                  sizeof(sc_object) + 32 + (v->type == SC_PV_STRING ? strlen(v->u.s) : 0)));
    if (v->type == SC_PV_TENSOR)
        return convert_tensor(l, v, out);
    *out = new_value(v);
    if (!*out)
        return sc_fail_prefix(SC_ENOMEM, "%s", l->path);
    sc_status status = convert_items(l, v, depth, *out);
    if (status != SC_OK) {
        sc_obj_free(*out);
        *out = NULL;
    }
    return status;
}

/* ---- the archive ----------------------------------------------------------------------------- */

/* A file of another kind gets the name of its kind. */
static sc_status recognise(const char *path)
{
    static const uint8_t legacy[] = {0x80, 0x02, 0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9};
    uint8_t head[512] = {0};
    sc_input_file f;
    SC_TRY(sc_input_open(path, &f));
    size_t n = f.size < sizeof head ? (size_t)f.size : sizeof head;
    sc_status status = sc_input_read(&f, head, n, 0);
    sc_input_close(&f);
    SC_TRY(status);
    if (n == 0)
        return sc_fail(SC_EFORMAT, "%s: is empty (0 bytes)", path);
    if (!memcmp(head, "PK\3\4", 4))
        return SC_OK;
    const char *advice = "load it in PyTorch and torch.save it again";
    if (!memcmp(head, legacy, sizeof legacy))
        return sc_fail(SC_EFORMAT,
                       "%s: is a torch.save file from before PyTorch 1.6, which is not "
                       "read; %s",
                       path, advice);
    if (!memcmp(head + 257, "ustar", 5))
        return sc_fail(SC_EFORMAT,
                       "%s: is a tar file of the first PyTorch versions, which is not "
                       "read; %s",
                       path, advice);
    if (n > 9 && head[8] == '{')
        return sc_fail(SC_EFORMAT, "%s: is not a .pth file; it looks like safetensors", path);
    if (head[0] == '<' || head[0] == '{' || head[0] == 'v')
        return sc_fail(SC_EFORMAT,
                       "%s: is text, not a .pth file (a web page or a pointer saved in "
                       "its place?); download it again",
                       path);
    return sc_fail(SC_EFORMAT, "%s: is not a .pth file (torch.save's zip format)", path);
}

/* A small record as text, NUL-terminated; `size` 0 when it is not there. */
static sc_status read_record(const loader *l, const char *record, uint64_t max, uint8_t **data,
                             size_t *size)
{
    *data = NULL;
    *size = 0;
    char *name = sc_format("%s/%s", l->prefix, record);
    if (!name)
        return SC_ENOMEM;
    const sc_zip_entry *e = sc_zip_find(&l->zip, name);
    free(name);
    if (!e)
        return SC_OK;
    if (e->size > max)
        return sc_fail(SC_EFORMAT, "%s: member '%s' has %llu bytes, at most %llu are read", l->path,
                       e->name, (unsigned long long)e->size, (unsigned long long)max);
    uint8_t *bytes = sc_alloc(e->size + 1, 1);
    if (!bytes)
        return sc_fail_prefix(SC_ENOMEM, "%s", l->path);
    sc_status status = sc_zip_read(&l->zip, e, bytes);
    if (status != SC_OK) {
        free(bytes);
        return status;
    }
    *data = bytes;
    *size = e->size;
    return SC_OK;
}

static sc_status check_kind(const loader *l)
{
    uint8_t *order;
    size_t n;
    char *constants = sc_format("%s/constants.pkl", l->prefix);
    if (!constants)
        return SC_ENOMEM;
    bool script = sc_zip_find(&l->zip, constants) != NULL;
    free(constants);
    if (script)
        return sc_fail(SC_EFORMAT,
                       "%s: is a TorchScript archive, which is not read; save its "
                       "state_dict() with torch.save",
                       l->path);
    SC_TRY(read_record(l, "byteorder", 16, &order, &n));
    sc_status status = SC_OK;
    if (order && strcmp((char *)order, "little") != 0)
        status = sc_fail(SC_EFORMAT, "%s: byte order '%s' is not read, only 'little'", l->path,
                         (char *)order);
    free(order);
    return status;
}

static sc_status load(loader *l, sc_object **out)
{
    const char *slash = strchr(l->zip.first, '/');
    l->prefix = slash ? sc_strndup(l->zip.first, (size_t)(slash - l->zip.first)) : sc_strdup("");
    if (!l->prefix)
        return SC_ENOMEM;
    SC_TRY(check_kind(l));
    uint8_t *pickle;
    size_t n;
    SC_TRY(read_record(l, "data.pkl", max_pickle_bytes, &pickle, &n));
    if (!pickle)
        return sc_fail(SC_EFORMAT, "%s: holds no data.pkl: a zip file, but not one of torch.save",
                       l->path);
    l->tree_left = 256 * (uint64_t)n + ((uint64_t)1 << 16);
    l->data_left = 16 * l->zip.file.size + ((uint64_t)4 << 20);
    sc_pv *root;
    sc_status status = sc_unpickle(&l->machine, l->path, "data.pkl", pickle, n, &root);
    free(pickle);
    return status == SC_OK ? convert(l, root, 0, out) : status;
}

sc_status sc_pth_load(const char *path, sc_object **out)
{
    loader l = {.path = path};
    *out = NULL;
    SC_TRY(recognise(path));
    SC_TRY(sc_zip_open(path, &l.zip));
    sc_status status = load(&l, out);
    sc_unpickle_free(&l.machine);
    sc_zip_close(&l.zip);
    free(l.prefix);
    return status;
}
