#include "superclip/weights.h"

#include <string.h>

static sc_status copy_tensor(const char *name, const sc_tensor *from, sc_tensor *out)
{
    SC_TRY(sc_tensor_new(name, from->dtype, from->shape, out));
    size_t bytes = sc_tensor_bytes(from);
    if (bytes)
        memcpy(out->data, from->data, bytes);
    return SC_OK;
}

sc_status sc_tensor_set_of(const char *path, const char *key, const sc_object *dict,
                           sc_tensor_set *out)
{
    *out = (sc_tensor_set){0};
    if (!dict || (dict->type != SC_OBJ_DICT && dict->type != SC_OBJ_ORDERED_DICT))
        return sc_fail(SC_EFORMAT, "%s: '%s' is missing or not a dict of tensors", path, key);
    sc_status status = SC_OK;
    for (size_t i = 0; i < dict->count && status == SC_OK; i++) {
        const sc_object *name = dict->keys[i], *v = dict->items[i];
        sc_tensor t;
        if (name->type != SC_OBJ_STRING)
            status = sc_fail(SC_EFORMAT, "%s: '%s' has a key that is not a name", path, key);
        else if (v->type != SC_OBJ_TENSOR)
            status = sc_fail(SC_EFORMAT, "%s: '%s' of '%s' is not a tensor", path, name->s, key);
        else if ((status = copy_tensor(name->s, &v->tensor, &t)) == SC_OK)
            status = sc_tensor_set_add(out, &t);
        if (status != SC_OK && status != SC_EFORMAT)
            sc_fail_prefix(status, "%s", path);
    }
    if (status != SC_OK)
        sc_tensor_set_free(out);
    return status;
}

static bool only_tensors(const sc_object *o)
{
    if (o->type != SC_OBJ_DICT && o->type != SC_OBJ_ORDERED_DICT)
        return false;
    for (size_t i = 0; i < o->count; i++)
        if (o->items[i]->type != SC_OBJ_TENSOR)
            return false;
    return o->count > 0;
}

const sc_object *sc_state_dict_find(const sc_object *root, const char **key)
{
    static const char *const wrappers[] = {"model_state_dict", "state_dict", "model"};
    for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0]; i++) {
        const sc_object *inner = sc_obj_get(root, wrappers[i]);
        *key = wrappers[i];
        if (inner && inner->type != SC_OBJ_TENSOR)
            return inner;
    }
    *key = "state dict";
    return only_tensors(root) ? root : NULL;
}

sc_status sc_state_dict_of(const char *path, const sc_object *root, sc_tensor_set *out)
{
    const char *key;
    const sc_object *dict = sc_state_dict_find(root, &key);
    *out = (sc_tensor_set){0};
    if (!dict)
        return sc_fail(SC_EFORMAT, "%s: holds no model_state_dict and is no state dict itself",
                       path);
    return sc_tensor_set_of(path, key, dict, out);
}
