#include "safetensors.h"

#include "superclip/json.h"

#include <stdlib.h>
#include <string.h>

const sc_safetensors_type sc_safetensors_types[SC_SAFETENSORS_TYPES] = {
    {"I64", SC_I64}, {"F64", SC_F64}, {"F32", SC_F32}, {"I32", SC_I32}, {"BF16", SC_BF16},
    {"F16", SC_F16}, {"I16", SC_I16}, {"I8", SC_I8},   {"U8", SC_U8},   {"BOOL", SC_BOOL},
};

static int rank_of(sc_dtype t)
{
    int i = 0;
    while (i < SC_SAFETENSORS_TYPES - 1 && sc_safetensors_types[i].dtype != t)
        i++;
    return i;
}

static int by_type_and_name(const void *a, const void *b)
{
    const sc_tensor *x = *(const sc_tensor *const *)a, *y = *(const sc_tensor *const *)b;
    int difference = rank_of(x->dtype) - rank_of(y->dtype);
    return difference ? difference : strcmp(x->name, y->name);
}

static void put_metadata(sc_json_writer *w, const char *const *metadata)
{
    bool format = false;
    sc_jw_object(w, "__metadata__");
    for (const char *const *m = metadata; m && m[0] && m[1]; m += 2) {
        sc_jw_string(w, m[0], m[1]);
        format |= !strcmp(m[0], "format");
    }
    if (!format) /* transformers refuses files that do not say which library's tensors they hold */
        sc_jw_string(w, "format", "pt");
    sc_jw_end(w);
}

static sc_status write_header(sc_json_writer *w, const sc_tensor *const *order, size_t n,
                              const char *const *metadata)
{
    w->compact = true;
    sc_jw_object(w, NULL);
    put_metadata(w, metadata);
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const sc_tensor *t = order[i];
        if (sc_shape_count(&t->shape) < 0 || !sc_utf8_valid(t->name, strlen(t->name)) ||
            !strcmp(t->name, "__metadata__"))
            return sc_fail(SC_EINTERNAL, "tensor '%s' has no valid shape or name", t->name);
        sc_jw_object(w, t->name);
        sc_jw_string(w, "dtype", sc_safetensors_types[rank_of(t->dtype)].name);
        sc_jw_list(w, "shape");
        for (int d = 0; d < t->shape.n; d++)
            sc_jw_int(w, NULL, t->shape.d[d]);
        sc_jw_end(w);
        sc_jw_list(w, "data_offsets");
        sc_jw_int(w, NULL, (int64_t)at);
        at += sc_tensor_bytes(t);
        sc_jw_int(w, NULL, (int64_t)at);
        sc_jw_end(w);
        sc_jw_end(w);
    }
    sc_jw_end(w);
    while (w->text.len % 8 && !w->text.failed) /* so that the data behind it is aligned */
        sc_text_puts(&w->text, " ");
    return sc_text_status(&w->text);
}

/* Where the bytes of a tensor come from: `room` is the caller's to use. */
typedef struct source {
    const sc_tensor *items;
    const sc_tensor_reader *reader; /* NULL: the items have data */
    void *room;
} source;

static sc_status bytes_of(const source *from, const sc_tensor *t, const void **bytes)
{
    *bytes = from->reader ? from->room : t->data;
    return from->reader
               ? from->reader->read(from->reader->ctx, (size_t)(t - from->items), from->room)
               : SC_OK;
}

static sc_status write_file(const char *path, const sc_text *header, const sc_tensor *const *order,
                            size_t n, const source *from)
{
    sc_atomic_file *f;
    SC_TRY(sc_atomic_open(path, &f));
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)header->len >> (8 * i));
    sc_status status = sc_atomic_write(f, length, sizeof length);
    if (status == SC_OK)
        status = sc_atomic_write(f, header->data, header->len);
    for (size_t i = 0; i < n && status == SC_OK; i++) {
        const void *bytes;
        status = bytes_of(from, order[i], &bytes);
        if (status == SC_OK)
            status = sc_atomic_write(f, bytes, sc_tensor_bytes(order[i]));
    }
    if (status == SC_OK)
        return sc_atomic_commit(f);
    sc_atomic_abort(f);
    return status;
}

static sc_status save(const char *path, const source *from, size_t n, const char *const *metadata)
{
    const sc_tensor **order = sc_alloc(n, sizeof *order);
    if (!order)
        return SC_ENOMEM;
    for (size_t i = 0; i < n; i++)
        order[i] = &from->items[i];
    qsort(order, n, sizeof *order, by_type_and_name);
    sc_json_writer w;
    sc_jw_init(&w);
    sc_status status = write_header(&w, order, n, metadata);
    if (status != SC_OK)
        sc_fail_prefix(status, "%s", path);
    else
        status = write_file(path, &w.text, order, n, from);
    sc_jw_free(&w);
    free(order);
    return status;
}

sc_status sc_safetensors_save(const char *path, const sc_tensor_set *set,
                              const char *const *metadata)
{
    return save(path, &(source){.items = set->items}, set->count, metadata);
}

sc_status sc_safetensors_write(const char *path, const sc_tensor_reader *r,
                               const char *const *metadata)
{
    size_t most = 0;
    for (size_t i = 0; i < r->count; i++)
        if (sc_tensor_bytes(&r->items[i]) > most)
            most = sc_tensor_bytes(&r->items[i]);
    void *room = sc_alloc(most, 1);
    if (!room)
        return sc_fail_prefix(SC_ENOMEM, "%s", path);
    sc_status status = save(path, &(source){r->items, r, room}, r->count, metadata);
    free(room);
    return status;
}
