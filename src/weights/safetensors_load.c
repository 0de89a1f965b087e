#include "input_file.h"
#include "safetensors.h"

#include "superclip/json.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t max_header = 100000000; /* the format's own bound */

typedef struct placed_tensor {
    const char *name;
    sc_dtype dtype;
    sc_shape shape;
    uint64_t begin, end;
} placed_tensor;

static sc_status bad(const char *path, const char *name, const char *what)
{
    return sc_fail(SC_EFORMAT, "%s: tensor '%.100s': %s", path, name, what);
}

static sc_status read_offset(const char *path, const char *name, const sc_json *v, uint64_t *out)
{
    int64_t i;
    if (!v || !sc_json_is_integer(v, &i) || i < 0)
        return bad(path, name, "data_offsets are not two positions");
    *out = (uint64_t)i;
    return SC_OK;
}

static sc_status read_shape(const char *path, const char *name, const sc_json *v, sc_shape *out)
{
    *out = (sc_shape){0};
    if (!v || sc_json_type_of(v) != SC_JSON_ARRAY)
        return bad(path, name, "no shape");
    if (sc_json_count(v) > SC_MAX_DIMS)
        return bad(path, name, "more than 8 dimensions are not read");
    for (const sc_json *d = sc_json_first(v); d; d = sc_json_next(d)) {
        int64_t size;
        if (!sc_json_is_integer(d, &size) || size < 0)
            return bad(path, name, "a dimension of its shape is not a size");
        out->d[out->n++] = size;
    }
    return SC_OK;
}

static sc_status read_dtype(const char *path, const char *name, const sc_json *v, sc_dtype *out)
{
    if (!v || sc_json_type_of(v) != SC_JSON_STRING)
        return bad(path, name, "no dtype");
    for (int i = 0; i < SC_SAFETENSORS_TYPES; i++)
        if (!strcmp(sc_safetensors_types[i].name, sc_json_string(v))) {
            *out = sc_safetensors_types[i].dtype;
            return SC_OK;
        }
    return sc_fail(SC_EFORMAT, "%s: tensor '%.100s': dtype %.20s is not read", path, name,
                   sc_json_string(v));
}

static sc_status read_entry(const char *path, const sc_json *v, placed_tensor *out)
{
    const char *name = sc_json_key(v);
    if (sc_json_type_of(v) != SC_JSON_OBJECT)
        return bad(path, name, "its description is not an object");
    *out = (placed_tensor){.name = name};
    SC_TRY(read_dtype(path, name, sc_json_get(v, "dtype"), &out->dtype));
    SC_TRY(read_shape(path, name, sc_json_get(v, "shape"), &out->shape));
    const sc_json *offsets = sc_json_get(v, "data_offsets");
    if (!offsets || sc_json_type_of(offsets) != SC_JSON_ARRAY || sc_json_count(offsets) != 2)
        return bad(path, name, "data_offsets are not two positions");
    SC_TRY(read_offset(path, name, sc_json_first(offsets), &out->begin));
    SC_TRY(read_offset(path, name, sc_json_next(sc_json_first(offsets)), &out->end));
    int64_t count = sc_shape_count(&out->shape);
    size_t bytes;
    if (count < 0 || sc_mul_overflow((size_t)count, sc_dtype_size(out->dtype), &bytes) ||
        out->end < out->begin || out->end - out->begin != bytes)
        return bad(path, name, "its shape and its data_offsets do not fit each other");
    return SC_OK;
}

static int by_place(const void *a, const void *b)
{
    const placed_tensor *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The tensors have to cover the data exactly: no hole, no overlap, no tail. */
static sc_status check_cover(const char *path, const placed_tensor *t, size_t n, uint64_t bytes)
{
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (t[i].begin != at)
            return bad(path, t[i].name, "its data does not begin where the one before ends");
        at = t[i].end;
    }
    if (at != bytes)
        return sc_fail(SC_EFORMAT, "%s: its tensors need %llu bytes of data, it has %llu", path,
                       (unsigned long long)at, (unsigned long long)bytes);
    return SC_OK;
}

static sc_status give_placed(uint64_t data, const placed_tensor *t, size_t n, sc_tensor_set *set,
                             uint64_t **offsets)
{
    *offsets = sc_alloc(n, sizeof **offsets);
    if (!*offsets)
        return SC_ENOMEM;
    for (size_t i = 0; i < n; i++) {
        sc_tensor x = {.name = sc_strdup(t[i].name), .dtype = t[i].dtype, .shape = t[i].shape};
        if (!x.name)
            return SC_ENOMEM;
        SC_TRY(sc_tensor_set_add(set, &x));
        (*offsets)[i] = data + t[i].begin;
    }
    return SC_OK;
}

static sc_status place_tensors(const sc_input_file *f, uint64_t data, const sc_json *root,
                               sc_tensor_set *set, uint64_t **offsets)
{
    if (sc_json_type_of(root) != SC_JSON_OBJECT)
        return sc_fail(SC_EFORMAT, "%s: its header is not an object", f->path);
    placed_tensor *placed = sc_alloc(sc_json_count(root), sizeof *placed);
    if (!placed)
        return SC_ENOMEM;
    size_t n = 0;
    sc_status status = SC_OK;
    for (const sc_json *v = sc_json_first(root); v && status == SC_OK; v = sc_json_next(v))
        if (strcmp(sc_json_key(v), "__metadata__") != 0)
            status = read_entry(f->path, v, &placed[n++]);
    if (status == SC_OK) {
        qsort(placed, n, sizeof *placed, by_place);
        status = check_cover(f->path, placed, n, f->size - data);
    }
    if (status == SC_OK)
        status = give_placed(data, placed, n, set, offsets);
    free(placed);
    return status;
}

static sc_status read_header(const sc_input_file *f, uint64_t *data, sc_json_doc **doc)
{
    uint8_t length[8];
    if (f->size < sizeof length)
        return sc_fail(SC_EFORMAT, "%s: is too short for a safetensors file", f->path);
    SC_TRY(sc_input_read(f, length, sizeof length, 0));
    uint64_t n = sc_le64(length);
    if (n > max_header || n > f->size - 8)
        return sc_fail(SC_EFORMAT, "%s: is not a safetensors file, or is cut off inside its header",
                       f->path);
    char *text = sc_alloc((size_t)n + 1, 1);
    if (!text)
        return sc_fail_prefix(SC_ENOMEM, "%s", f->path);
    sc_status status = sc_input_read(f, text, n, 8);
    if (status == SC_OK && text[0] != '{')
        status = sc_fail(SC_EFORMAT, "%s: is not a safetensors file", f->path);
    if (status == SC_OK) {
        status = sc_json_parse(f->path, text, (size_t)n, doc);
        if (status ==
            SC_EUSAGE) /* a file nobody wrote by hand: damage, not a mistake of the user */
            status = sc_fail(SC_EFORMAT, "%s (the header of a safetensors file)", sc_message());
    }
    free(text);
    *data = 8 + n;
    return status;
}

sc_status sc_safetensors_list(const sc_input_file *f, sc_tensor_set *set, uint64_t **offsets)
{
    sc_json_doc *doc = NULL;
    uint64_t data = 0;
    *set = (sc_tensor_set){0};
    *offsets = NULL;
    sc_status status = read_header(f, &data, &doc);
    if (status == SC_OK)
        status = place_tensors(f, data, sc_json_root(doc), set, offsets);
    sc_json_free(doc);
    return status == SC_ENOMEM ? sc_fail_prefix(status, "%s", f->path) : status;
}

static sc_status read_all(const sc_input_file *f, sc_tensor_set *set, const uint64_t *offsets)
{
    for (size_t i = 0; i < set->count; i++) {
        sc_tensor *t = &set->items[i], whole;
        sc_status status = sc_tensor_new(NULL, t->dtype, t->shape, &whole);
        if (status != SC_OK)
            return sc_fail_prefix(status, "%s", f->path);
        t->data = whole.data;
        t->owned = true;
        SC_TRY(sc_input_read(f, t->data, sc_tensor_bytes(t), offsets[i]));
    }
    return SC_OK;
}

sc_status sc_safetensors_load(const char *path, sc_tensor_set *out)
{
    sc_input_file f;
    uint64_t *offsets = NULL;
    *out = (sc_tensor_set){0};
    SC_TRY(sc_input_open(path, &f));
    sc_status status = sc_safetensors_list(&f, out, &offsets);
    if (status == SC_OK)
        status = read_all(&f, out, offsets);
    free(offsets);
    sc_input_close(&f);
    if (status != SC_OK)
        sc_tensor_set_free(out);
    return status;
}
