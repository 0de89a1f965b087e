#include "superclip/weights.h"

#include <stdlib.h>
#include <string.h>

static sc_object *new_object(sc_object_type type)
{
    sc_object *o = sc_alloc(1, sizeof *o);
    if (o)
        o->type = type;
    return o;
}

sc_object *sc_obj_none(void)
{
    return new_object(SC_OBJ_NONE);
}

sc_object *sc_obj_bool(bool v)
{
    sc_object *o = new_object(SC_OBJ_BOOL);
    if (o)
        o->b = v;
    return o;
}

sc_object *sc_obj_int(int64_t v)
{
    sc_object *o = new_object(SC_OBJ_INT);
    if (o)
        o->i = v;
    return o;
}

sc_object *sc_obj_float(double v)
{
    sc_object *o = new_object(SC_OBJ_FLOAT);
    if (o)
        o->f = v;
    return o;
}

sc_object *sc_obj_string(const char *s)
{
    if (!s)
        return sc_obj_none();
    sc_object *o = new_object(SC_OBJ_STRING);
    if (o && !(o->s = sc_strdup(s))) {
        free(o);
        return NULL;
    }
    return o;
}

sc_object *sc_obj_list(void)
{
    return new_object(SC_OBJ_LIST);
}

sc_object *sc_obj_tuple(void)
{
    return new_object(SC_OBJ_TUPLE);
}

sc_object *sc_obj_dict(void)
{
    return new_object(SC_OBJ_DICT);
}

sc_object *sc_obj_ordered_dict(void)
{
    return new_object(SC_OBJ_ORDERED_DICT);
}

sc_object *sc_obj_tensor(sc_tensor *t)
{
    sc_object *o = new_object(SC_OBJ_TENSOR);
    if (!o) {
        sc_tensor_free(t);
        return NULL;
    }
    o->tensor = *t;
    *t = (sc_tensor){0};
    return o;
}

sc_object *sc_obj_tensor_later(sc_dtype dtype, sc_shape shape, int64_t number)
{
    sc_object *o = new_object(SC_OBJ_TENSOR);
    if (o) {
        o->tensor = (sc_tensor){.dtype = dtype, .shape = shape};
        o->later = true;
        o->i = number;
    }
    return o;
}

static bool is_dict(const sc_object *o)
{
    return o->type == SC_OBJ_DICT || o->type == SC_OBJ_ORDERED_DICT;
}

static bool grow(sc_object *o)
{
    if (o->count < o->cap)
        return true;
    size_t cap = o->cap ? o->cap * 2 : 4;
    sc_object **items = sc_realloc(o->items, cap, sizeof(sc_object *));
    if (!items)
        return false;
    o->items = items;
    if (is_dict(o)) {
        sc_object **keys = sc_realloc(o->keys, cap, sizeof(sc_object *));
        if (!keys)
            return false;
        o->keys = keys;
    }
    o->cap = cap;
    return true;
}

void sc_obj_append(sc_object *list, sc_object *v)
{
    if (list && v && !is_dict(list) && grow(list)) {
        list->items[list->count++] = v;
        list->failed |= v->failed;
        return;
    }
    if (list)
        list->failed = true;
    sc_obj_free(v);
}

void sc_obj_put_key(sc_object *dict, sc_object *key, sc_object *v)
{
    if (dict && key && v && is_dict(dict) && grow(dict)) {
        dict->keys[dict->count] = key;
        dict->items[dict->count++] = v;
        dict->failed |= v->failed | key->failed;
        return;
    }
    if (dict)
        dict->failed = true;
    sc_obj_free(key);
    sc_obj_free(v);
}

void sc_obj_put(sc_object *dict, const char *key, sc_object *v)
{
    sc_obj_put_key(dict, sc_obj_string(key), v);
}

const sc_object *sc_obj_get(const sc_object *dict, const char *key)
{
    if (!dict || !is_dict(dict))
        return NULL;
    /* from the end: in a Python dict the last of two equal keys wins */
    for (size_t i = dict->count; i-- > 0;)
        if (dict->keys[i]->type == SC_OBJ_STRING && !strcmp(dict->keys[i]->s, key))
            return dict->items[i];
    return NULL;
}

void sc_obj_free(sc_object *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->count; i++) {
        sc_obj_free(o->items[i]);
        if (o->keys)
            sc_obj_free(o->keys[i]);
    }
    free(o->items);
    free(o->keys);
    free(o->s);
    sc_tensor_free(&o->tensor);
    free(o);
}
