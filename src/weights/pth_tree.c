/* From the machine's values, which may be shared or cyclic, to a tree of objects. */
#include "pth.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

static sc_status convert(sc_pth *f, const sc_pv *v, int depth, sc_object **out);

static sc_status convert_items(sc_pth *f, const sc_pv *v, int depth, sc_object *into)
{
    bool dict = v->type == SC_PV_DICT || v->type == SC_PV_ORDERED_DICT;
    for (uint32_t i = 0; i < v->count; i += dict ? 2 : 1) {
        sc_object *key = NULL, *item = NULL;
        if (dict)
            SC_TRY(convert(f, v->u.items[i], depth + 1, &key));
        sc_status status = convert(f, v->u.items[i + (dict ? 1 : 0)], depth + 1, &item);
        if (status != SC_OK) {
            sc_obj_free(key);
            return status;
        }
        if (dict)
            sc_obj_put_key(into, key, item);
        else
            sc_obj_append(into, item);
        if (into->failed)
            return sc_fail(SC_ENOMEM, "%s: out of memory", f->path);
    }
    return SC_OK;
}

static sc_status convert_tensor(sc_pth *f, const sc_pv *v, sc_object **out)
{
    const sc_pickle_tensor *view = v->u.tensor;
    sc_storage_place *place;
    SC_TRY(sc_pth_find_place(f, view->storage, &place));
    if (f->tensor_count == f->tensor_cap) {
        size_t cap = f->tensor_cap ? f->tensor_cap * 2 : 64;
        sc_pth_tensor *tensors = sc_realloc(f->tensors, cap, sizeof *tensors);
        if (!tensors)
            return sc_fail_prefix(SC_ENOMEM, "%s", f->path);
        f->tensors = tensors;
        f->tensor_cap = cap;
    }
    *out = sc_obj_tensor_later(view->dtype, view->shape, (int64_t)f->tensor_count);
    if (!*out)
        return sc_fail_prefix(SC_ENOMEM, "%s", f->path);
    f->tensors[f->tensor_count++] = (sc_pth_tensor){view, place};
    place->used = true;
    return SC_OK;
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

static sc_status convert(sc_pth *f, const sc_pv *v, int depth, sc_object **out)
{
    *out = NULL;
    if (depth > MAX_DEPTH)
        return sc_fail(SC_EFORMAT, "%s: its values are nested too deeply, or contain themselves",
                       f->path);
    if (v->type == SC_PV_GLOBAL || v->type == SC_PV_STORAGE)
        return sc_fail(SC_EFORMAT, "%s: holds %s where a value should be", f->path,
                       sc_pv_type_name(v));
    SC_TRY(sc_pth_charge(f, &f->tree_left,
                         sizeof(sc_object) + 32 + (v->type == SC_PV_STRING ? strlen(v->u.s) : 0)));
    if (v->type == SC_PV_TENSOR)
        return convert_tensor(f, v, out);
    *out = new_value(v);
    if (!*out)
        return sc_fail_prefix(SC_ENOMEM, "%s", f->path);
    sc_status status = convert_items(f, v, depth, *out);
    if (status != SC_OK) {
        sc_obj_free(*out);
        *out = NULL;
    }
    return status;
}

sc_status sc_pth_make_tree(sc_pth *f, const sc_pv *root)
{
    return convert(f, root, 0, &f->root);
}
