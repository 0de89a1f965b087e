#include "superclip/weights.h"

#include <stdlib.h>

sc_status sc_pth_list_add(sc_pth_list *l, const char *name, const sc_object *tensor)
{
    if (l->set.count >= l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        const sc_object **objects = sc_realloc(l->objects, cap, sizeof *objects);
        if (!objects)
            return SC_ENOMEM;
        l->objects = objects;
        l->cap = cap;
    }
    sc_tensor t = {.dtype = tensor->tensor.dtype, .shape = tensor->tensor.shape};
    t.name = sc_strdup(name);
    if (!t.name)
        return SC_ENOMEM;
    l->objects[l->set.count] = tensor;
    return sc_tensor_set_add(&l->set, &t);
}

sc_status sc_pth_list_dict(sc_pth_list *l, const char *key, const sc_object *dict)
{
    const char *path = sc_pth_path(l->file);
    if (!dict || (dict->type != SC_OBJ_DICT && dict->type != SC_OBJ_ORDERED_DICT))
        return sc_fail(SC_EFORMAT, "%s: '%s' is missing or not a dict of tensors", path, key);
    for (size_t i = 0; i < dict->count; i++) {
        const sc_object *name = dict->keys[i], *v = dict->items[i];
        if (name->type != SC_OBJ_STRING)
            return sc_fail(SC_EFORMAT, "%s: '%s' has a key that is not a name", path, key);
        if (v->type != SC_OBJ_TENSOR)
            return sc_fail(SC_EFORMAT, "%s: '%s' of '%s' is not a tensor", path, name->s, key);
        sc_status status = sc_pth_list_add(l, name->s, v);
        if (status != SC_OK)
            return sc_fail_prefix(status, "%s", path);
    }
    return SC_OK;
}

static sc_status read_item(void *ctx, size_t i, void *dst)
{
    sc_pth_list *l = ctx;
    return sc_pth_read(l->file, l->objects[i], dst);
}

sc_tensor_reader sc_pth_list_reader(sc_pth_list *l)
{
    return (sc_tensor_reader){l->set.items, l->set.count, read_item, l};
}

void sc_pth_list_free(sc_pth_list *l)
{
    sc_tensor_set_free(&l->set);
    free(l->objects);
    *l = (sc_pth_list){0};
}
