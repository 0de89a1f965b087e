/* A .pth as a tree that owns its data. */
#include "pth.h"

#include <stdlib.h>

static sc_status load_tensor(sc_pth *f, sc_object *o)
{
    int64_t count = sc_shape_count(&o->tensor.shape);
    uint64_t bytes;
    if (__builtin_mul_overflow((uint64_t)count, sc_dtype_size(o->tensor.dtype), &bytes))
        bytes = UINT64_MAX;
    SC_TRY(sc_pth_charge(f, &f->data_left, bytes));
    sc_tensor t;
    sc_status status = sc_tensor_new(NULL, o->tensor.dtype, o->tensor.shape, &t);
    if (status != SC_OK)
        return sc_fail_prefix(status, "%s", f->path);
    status = sc_pth_read(f, o, t.data);
    if (status != SC_OK) {
        sc_tensor_free(&t);
        return status;
    }
    o->tensor = t;
    o->later = false;
    o->i = 0;
    return SC_OK;
}

/* The tree is as deep as sc_pth_open let it be. */
static sc_status load(sc_pth *f, sc_object *o)
{
    if (o->type == SC_OBJ_TENSOR)
        return load_tensor(f, o);
    for (size_t i = 0; i < o->count; i++) {
        if (o->keys)
            SC_TRY(load(f, o->keys[i]));
        SC_TRY(load(f, o->items[i]));
    }
    return SC_OK;
}

sc_status sc_pth_load(const char *path, sc_object **out)
{
    sc_pth *f;
    *out = NULL;
    SC_TRY(sc_pth_open(path, &f));
    sc_status status = load(f, f->root);
    if (status == SC_OK) {
        *out = f->root;
        f->root = NULL;
    }
    sc_pth_close(f);
    return status;
}
