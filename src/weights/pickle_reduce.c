/* What the names of the closed list do when a stream "calls" them. */
#include "pickle.h"

#include <string.h>

static sc_status not_that(const sc_unpickler *u, const char *wanted, const sc_pv *got)
{
    return sc_pickle_fail(u, "%s is wanted, not %s,", wanted, sc_pv_type_name(got));
}

/* Item i of a tuple of arguments, of one type. */
static sc_status argument(const sc_unpickler *u, const sc_pv *args, uint32_t i, sc_pv_type type,
                          const char *wanted, sc_pv **out)
{
    *out = NULL;
    if (i >= args->count)
        return sc_pickle_fail(u, "%s is wanted and missing", wanted);
    if (args->u.items[i]->type != type)
        return not_that(u, wanted, args->u.items[i]);
    *out = args->u.items[i];
    return SC_OK;
}

static sc_status integers(const sc_unpickler *u, const sc_pv *tuple, const char *what, int64_t *out)
{
    if (tuple->count > SC_MAX_DIMS)
        return sc_pickle_fail(u, "a tensor of %u dimensions (at most %d are read)", tuple->count,
                              SC_MAX_DIMS);
    for (uint32_t i = 0; i < tuple->count; i++) {
        const sc_pv *v = tuple->u.items[i];
        if (v->type != SC_PV_INT || v->u.i < 0)
            return sc_pickle_fail(u, "a tensor's %s is not a list of sizes", what);
        out[i] = v->u.i;
    }
    return SC_OK;
}

/* Every element has to lie inside the storage: offset + sum((size - 1) * stride) < count. */
static sc_status check_extent(const sc_unpickler *u, const sc_pickle_tensor *t, uint64_t available)
{
    int64_t count = sc_shape_count(&t->shape);
    if (count < 0)
        return sc_pickle_fail(u, "a tensor's shape is too large");
    if (count == 0)
        return SC_OK;
    uint64_t last = t->offset;
    bool inside = last < available;
    for (int i = 0; i < t->shape.n && inside; i++) {
        uint64_t steps = (uint64_t)t->shape.d[i] - 1, stride = (uint64_t)t->stride[i];
        inside = steps == 0 || stride <= (available - 1 - last) / steps;
        last += inside ? steps * stride : 0;
    }
    char text[96];
    if (!inside)
        return sc_pickle_fail(u, "a tensor %s reaches beyond its storage of %llu elements",
                              sc_shape_text(&t->shape, text), (unsigned long long)available);
    return SC_OK;
}

sc_status sc_pickle_new_tensor(sc_unpickler *u, const sc_pickle_tensor *t, uint64_t available,
                               sc_pv **out)
{
    SC_TRY(check_extent(u, t, available));
    sc_pickle_tensor *kept = sc_pickle_alloc(u, sizeof *kept);
    if (!kept)
        return SC_EFORMAT;
    *kept = *t;
    kept->offset += t->storage->first; /* 0 but in old files, whose elements have one size */
    SC_TRY(sc_pv_new(u, SC_PV_TENSOR, out));
    (*out)->u.tensor = kept;
    return SC_OK;
}

/* (storage, offset, size, stride, ...); v3 has the element type as its seventh argument. */
static sc_status rebuild_tensor(sc_unpickler *u, const sc_pv *args, bool v3, sc_pv **out)
{
    sc_pv *storage, *offset, *size, *stride, *dtype;
    SC_TRY(argument(u, args, 0, SC_PV_STORAGE, "a tensor's storage", &storage));
    SC_TRY(argument(u, args, 1, SC_PV_INT, "a tensor's offset", &offset));
    SC_TRY(argument(u, args, 2, SC_PV_TUPLE, "a tensor's size", &size));
    SC_TRY(argument(u, args, 3, SC_PV_TUPLE, "a tensor's stride", &stride));
    sc_pickle_tensor copy = {.storage = storage->u.storage}, *t = &copy;
    t->dtype = t->storage->dtype;
    uint64_t available = t->storage->length;
    if (v3) {
        SC_TRY(argument(u, args, 6, SC_PV_GLOBAL, "a tensor's type", &dtype));
        if (dtype->u.global->role != SC_ROLE_DTYPE)
            return sc_pickle_fail(u, "'%s' is no tensor type", dtype->u.global->name);
        t->dtype = dtype->u.global->dtype;
        available = available * sc_dtype_size(t->storage->dtype) / sc_dtype_size(t->dtype);
    }
    if (offset->u.i < 0 || size->count != stride->count)
        return sc_pickle_fail(u, "a tensor's offset, size and stride do not fit each other");
    t->offset = (uint64_t)offset->u.i;
    SC_TRY(integers(u, size, "size", t->shape.d));
    SC_TRY(integers(u, stride, "stride", t->stride));
    t->shape.n = (int)size->count;
    return sc_pickle_new_tensor(u, t, available, out);
}

/* OrderedDict() and Counter(): nothing, a dict, or a list of pairs. */
static sc_status build_dict(sc_unpickler *u, const sc_pv *args, sc_pv_type type, sc_pv **out)
{
    SC_TRY(sc_pv_new(u, type, out));
    if (args->count == 0)
        return SC_OK;
    const sc_pv *from = args->u.items[0];
    if (from->type == SC_PV_DICT || from->type == SC_PV_ORDERED_DICT) {
        for (uint32_t i = 0; i < from->count; i++)
            SC_TRY(sc_pv_append(u, *out, from->u.items[i]));
        return SC_OK;
    }
    if (from->type != SC_PV_LIST && from->type != SC_PV_TUPLE)
        return not_that(u, "a dict's content", from);
    for (uint32_t i = 0; i < from->count; i++) {
        const sc_pv *pair = from->u.items[i];
        if ((pair->type != SC_PV_LIST && pair->type != SC_PV_TUPLE) || pair->count != 2)
            return not_that(u, "a pair of key and value", pair);
        SC_TRY(sc_pv_append(u, *out, pair->u.items[0]));
        SC_TRY(sc_pv_append(u, *out, pair->u.items[1]));
    }
    return SC_OK;
}

/* torch.device('cuda', 0) is kept as the text "cuda:0". */
static sc_status build_device(sc_unpickler *u, const sc_pv *args, sc_pv **out)
{
    sc_pv *kind;
    SC_TRY(argument(u, args, 0, SC_PV_STRING, "a device's name", &kind));
    *out = kind;
    if (args->count < 2 || args->u.items[1]->type != SC_PV_INT)
        return SC_OK;
    size_t n = strlen(kind->u.s) + 24;
    char *text = sc_pickle_alloc(u, n);
    if (!text)
        return SC_EFORMAT;
    snprintf(text, n, "%s:%lld", kind->u.s, (long long)args->u.items[1]->u.i);
    SC_TRY(sc_pv_new(u, SC_PV_STRING, out));
    (*out)->u.s = text;
    return SC_OK;
}

/* torch.Size(...) and set(...) hold one sequence; both become a list or tuple like it. */
static sc_status build_sequence(sc_unpickler *u, const sc_pv *args, sc_pv **out)
{
    if (args->count == 0)
        return sc_pv_new(u, SC_PV_TUPLE, out);
    sc_pv *from = args->u.items[0];
    if (from->type != SC_PV_LIST && from->type != SC_PV_TUPLE)
        return not_that(u, "a sequence", from);
    *out = from;
    return SC_OK;
}

/* (function, class, its arguments, state): a tensor of a subclass; the plain tensor is kept. */
static sc_status rebuild_from_type(sc_unpickler *u, const sc_pv *args, sc_pv **out)
{
    sc_pv *function, *inner;
    SC_TRY(argument(u, args, 0, SC_PV_GLOBAL, "a tensor's function", &function));
    SC_TRY(argument(u, args, 2, SC_PV_TUPLE, "a tensor's arguments", &inner));
    if (function->u.global->role == SC_ROLE_FROM_TYPE)
        return sc_pickle_fail(u, "a tensor that rebuilds itself");
    return sc_pickle_reduce(u, function, inner, out);
}

sc_status sc_pickle_reduce(sc_unpickler *u, sc_pv *callable, sc_pv *args, sc_pv **out)
{
    if (callable->type != SC_PV_GLOBAL)
        return not_that(u, "a known name to call", callable);
    if (args->type != SC_PV_TUPLE)
        return not_that(u, "a tuple of arguments", args);
    const sc_pickle_global *g = callable->u.global;
    switch (g->role) {
    case SC_ROLE_ORDERED_DICT:
        return build_dict(u, args, SC_PV_ORDERED_DICT, out);
    case SC_ROLE_COUNTER:
        return build_dict(u, args, SC_PV_DICT, out);
    case SC_ROLE_TENSOR_V2:
        return rebuild_tensor(u, args, false, out);
    case SC_ROLE_TENSOR_V3:
        return rebuild_tensor(u, args, true, out);
    case SC_ROLE_PARAMETER:
        return argument(u, args, 0, SC_PV_TENSOR, "a parameter's tensor", out);
    case SC_ROLE_FROM_TYPE:
        return rebuild_from_type(u, args, out);
    case SC_ROLE_SEQUENCE:
        return build_sequence(u, args, out);
    case SC_ROLE_DEVICE:
        return build_device(u, args, out);
    case SC_ROLE_MODULE:
        return sc_pv_new(u, SC_PV_DICT, out);
    case SC_ROLE_PASS_THROUGH:
        if (args->count == 0)
            return sc_pickle_fail(u, "'%s' has no argument", g->module);
        *out = args->u.items[0];
        return SC_OK;
    case SC_ROLE_TENSOR_CLASS:
    case SC_ROLE_STORAGE:
    case SC_ROLE_DTYPE:
        break;
    }
    return sc_pickle_fail(u, "'%s.%s' is called", g->module, g->name);
}

/* Old files: a storage can be a part of another, (its own key, offset, elements). */
static sc_status storage_view(const sc_unpickler *u, const sc_pv *view, sc_pickle_storage *s)
{
    if (view->type == SC_PV_NONE)
        return SC_OK;
    sc_pv *offset, *length;
    if (view->type != SC_PV_TUPLE)
        return not_that(u, "a part of a storage", view);
    SC_TRY(argument(u, view, 1, SC_PV_INT, "a part's offset", &offset));
    SC_TRY(argument(u, view, 2, SC_PV_INT, "a part's size", &length));
    if (offset->u.i < 0 || length->u.i < 0 || (uint64_t)offset->u.i > s->count ||
        (uint64_t)length->u.i > s->count - (uint64_t)offset->u.i)
        return sc_pickle_fail(u, "a part of a storage reaches beyond it");
    s->first = (uint64_t)offset->u.i;
    s->length = (uint64_t)length->u.i;
    return SC_OK;
}

/* ("storage", class, key, location, elements): a promise of data that the archive keeps; in old
 * files with a sixth item. */
sc_status sc_pickle_persistent(sc_unpickler *u, const sc_pv *id, sc_pv **out)
{
    sc_pv *kind, *class, *key, *count;
    if (id->type == SC_PV_INT && u->by_number)
        return u->by_number(u, id->u.i, out);
    if (id->type != SC_PV_TUPLE)
        return not_that(u, "a storage's tuple", id);
    SC_TRY(argument(u, id, 0, SC_PV_STRING, "the word 'storage'", &kind));
    if (strcmp(kind->u.s, "storage") != 0)
        return sc_pickle_fail(u, "an object of kind '%.40s'", kind->u.s);
    SC_TRY(argument(u, id, 1, SC_PV_GLOBAL, "a storage's class", &class));
    SC_TRY(argument(u, id, 2, SC_PV_STRING, "a storage's key", &key));
    SC_TRY(argument(u, id, 4, SC_PV_INT, "a storage's size", &count));
    if (class->u.global->role != SC_ROLE_STORAGE)
        return sc_pickle_fail(u, "'%s' is no storage class", class->u.global->name);
    if (count->u.i < 0 || count->u.i > INT64_MAX / 16)
        return sc_pickle_fail(u, "a storage's size is out of range");
    sc_pickle_storage *s = sc_pickle_alloc(u, sizeof *s);
    if (!s)
        return SC_EFORMAT;
    *s = (sc_pickle_storage){.next = u->storages,
                             .key = key->u.s,
                             .dtype = class->u.global->dtype,
                             .count = (uint64_t)count->u.i,
                             .length = (uint64_t)count->u.i};
    u->storages = s;
    if (id->count > 5)
        SC_TRY(storage_view(u, id->u.items[5], s));
    SC_TRY(sc_pv_new(u, SC_PV_STORAGE, out));
    (*out)->u.storage = s;
    return SC_OK;
}
