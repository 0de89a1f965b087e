/* The bytes of an open .pth's tensors: whole storages, and views into them. */
#include "pth.h"

#include <stdlib.h>
#include <string.h>

sc_status sc_pth_charge(const sc_pth *f, uint64_t *left, uint64_t bytes)
{
    if (bytes > *left)
        return sc_fail(SC_EFORMAT,
                       "%s: its content would need far more memory than the file's size "
                       "explains",
                       f->path);
    *left -= bytes;
    return SC_OK;
}

/* ---- storages -------------------------------------------------------------------------------- */

static int by_key(const void *key, const void *place)
{
    return strcmp(key, ((const sc_storage_place *)place)->key);
}

static sc_status find_member(sc_pth *f, const sc_pickle_storage *s, sc_storage_place **out)
{
    char *name = sc_format("%s/data/%s", f->prefix, s->key);
    if (!name)
        return SC_ENOMEM;
    const sc_zip_entry *e = sc_zip_find(&f->zip, name);
    sc_status status = SC_OK;
    if (!e)
        status = sc_fail(SC_EFORMAT, "%s: member '%.100s' is missing", f->path, name);
    else {
        *out = &f->places[e - f->zip.entries];
        (*out)->entry = e;
        (*out)->bytes = e->size;
        if (e->size != s->count * sc_dtype_size(s->dtype))
            status = sc_fail(SC_EFORMAT,
                             "%s: member '%s' has %llu bytes, but its tensor's storage holds %llu "
                             "elements of %s",
                             f->path, e->name, (unsigned long long)e->size,
                             (unsigned long long)s->count, sc_dtype_name(s->dtype));
    }
    free(name);
    return status;
}

sc_status sc_pth_find_place(sc_pth *f, const sc_pickle_storage *s, sc_storage_place **out)
{
    if (f->zipped)
        return find_member(f, s, out);
    *out = f->place_count ? bsearch(s->key, f->places, f->place_count, sizeof *f->places, by_key)
                          : NULL;
    if (!*out)
        return sc_fail(SC_EFORMAT, "%s: storage '%.100s' is missing", f->path, s->key);
    if ((*out)->bytes != s->count * sc_dtype_size(s->dtype))
        return sc_fail(SC_EFORMAT,
                       "%s: storage '%.100s' has %llu bytes, but its tensor wants %llu elements "
                       "of %s",
                       f->path, s->key, (unsigned long long)(*out)->bytes,
                       (unsigned long long)s->count, sc_dtype_name(s->dtype));
    return SC_OK;
}

static sc_status read_storage(const sc_pth *f, const sc_storage_place *p, void *dst)
{
    return p->entry ? sc_zip_read(&f->zip, p->entry, dst)
                    : sc_input_read(&f->file, dst, p->bytes, p->offset);
}

/* The bytes of the storage that views look at, kept until another one is wanted. */
static sc_status hold(sc_pth *f, sc_storage_place *p)
{
    if (f->held == p)
        return SC_OK;
    SC_TRY(sc_pth_charge(f, &f->data_left, p->bytes));
    free(f->held_bytes);
    f->held = NULL;
    f->held_bytes = sc_alloc(p->bytes, 1);
    if (!f->held_bytes)
        return sc_fail_prefix(SC_ENOMEM, "%s", f->path);
    SC_TRY(read_storage(f, p, f->held_bytes));
    f->held = p;
    return SC_OK;
}

sc_status sc_pth_verify(sc_pth *f)
{
    for (size_t i = 0; i < f->place_count; i++) {
        sc_storage_place *p = &f->places[i];
        if (!p->used || p->verified || !p->entry)
            continue;
        SC_TRY(sc_zip_verify(&f->zip, p->entry));
        p->verified = true;
    }
    return SC_OK;
}

/* ---- views ----------------------------------------------------------------------------------- */

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

sc_status sc_pth_read(sc_pth *f, const sc_object *tensor, void *dst)
{
    if (tensor->type != SC_OBJ_TENSOR || !tensor->later || tensor->i < 0 ||
        (uint64_t)tensor->i >= f->tensor_count)
        return sc_fail(SC_EINTERNAL, "%s: what is read is no tensor of it", f->path);
    const sc_pth_tensor *t = &f->tensors[tensor->i];
    if (sc_shape_count(&t->view->shape) == 0)
        return SC_OK;
    if (whole_storage(t->view))
        return read_storage(f, t->place, dst);
    SC_TRY(hold(f, t->place));
    gather(t->view, f->held_bytes, dst);
    return SC_OK;
}
