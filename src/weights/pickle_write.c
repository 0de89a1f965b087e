#include "pickle.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

/* Storage classes of the module torch. */
static const char *storage_class(sc_dtype t)
{
    static const char *const names[] = {
        [SC_F32] = "FloatStorage", [SC_F64] = "DoubleStorage", [SC_BF16] = "BFloat16Storage",
        [SC_F16] = "HalfStorage",  [SC_I64] = "LongStorage",   [SC_I32] = "IntStorage",
        [SC_I16] = "ShortStorage", [SC_I8] = "CharStorage",    [SC_U8] = "ByteStorage",
        [SC_BOOL] = "BoolStorage",
    };
    return (unsigned)t <= SC_BOOL ? names[t] : NULL;
}

static void put_bytes(sc_text *out, int width, uint64_t v)
{
    for (int i = 0; i < width; i++) {
        uint8_t b = (uint8_t)(v >> (8 * i));
        sc_text_add(out, &b, 1);
    }
}

static void put_op(sc_text *out, int op)
{
    put_bytes(out, 1, (uint64_t)op);
}

static void put_int(sc_text *out, int64_t v)
{
    if (v >= 0 && v <= 0xFF) {
        put_op(out, 'K');
        put_bytes(out, 1, (uint64_t)v);
    } else if (v >= 0 && v <= 0xFFFF) {
        put_op(out, 'M');
        put_bytes(out, 2, (uint64_t)v);
    } else if (v >= INT32_MIN && v <= INT32_MAX) {
        put_op(out, 'J');
        put_bytes(out, 4, (uint64_t)v);
    } else {
        put_op(out, 0x8A);
        put_op(out, 8);
        put_bytes(out, 8, (uint64_t)v);
    }
}

static void put_float(sc_text *out, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_op(out, 'G');
    for (int i = 7; i >= 0; i--) /* big-endian, unlike all the rest */
        put_bytes(out, 1, bits >> (8 * i) & 0xFF);
}

static sc_status put_string(sc_text *out, const char *s)
{
    size_t n = strlen(s);
    if (n > UINT32_MAX || !sc_utf8_valid(s, n))
        return sc_fail(SC_EINTERNAL, "a text of a checkpoint is not valid UTF-8: '%.60s'", s);
    put_op(out, 'X');
    put_bytes(out, 4, n);
    sc_text_add(out, s, n);
    return SC_OK;
}

static void put_ordered_dict_call(sc_text *out)
{
    sc_text_puts(out, "ccollections\nOrderedDict\n)R");
}

/* A tuple of integers: sizes or strides. */
static void put_int_tuple(sc_text *out, const int64_t *v, int n)
{
    if (n > 3)
        put_op(out, '(');
    for (int i = 0; i < n; i++)
        put_int(out, v[i]);
    static const int close[] = {')', 0x85, 0x86, 0x87};
    put_op(out, n > 3 ? 't' : close[n]);
}

static bool same_bytes(const sc_tensor *a, const sc_tensor *b)
{
    return a->data && a->data == b->data && a->dtype == b->dtype &&
           sc_tensor_bytes(a) == sc_tensor_bytes(b);
}

static sc_status storage_number(sc_storages *s, const sc_object *o, size_t *number)
{
    for (size_t i = 0; i < s->count && sc_tensor_bytes(&o->tensor) > 0; i++)
        if (same_bytes(&s->items[i]->tensor, &o->tensor)) {
            *number = i;
            return SC_OK;
        }
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        const sc_object **items = sc_realloc(s->items, cap, sizeof *items);
        if (!items)
            return SC_ENOMEM;
        s->items = items;
        s->cap = cap;
    }
    *number = s->count;
    s->items[s->count++] = o;
    return SC_OK;
}

static sc_status put_tensor(sc_text *out, const sc_object *o, sc_storages *storages)
{
    const sc_tensor *t = &o->tensor;
    int64_t count = sc_shape_count(&t->shape);
    if (count < 0 || !storage_class(t->dtype) || (!t->data && count > 0 && !o->later))
        return sc_fail(SC_EINTERNAL, "a tensor of a checkpoint has no valid shape, type or data");
    size_t number;
    SC_TRY(storage_number(storages, o, &number));
    char key[24];
    snprintf(key, sizeof key, "%zu", number);
    sc_text_puts(out, "ctorch._utils\n_rebuild_tensor_v2\n((");
    SC_TRY(put_string(out, "storage"));
    sc_text_putf(out, "ctorch\n%s\n", storage_class(t->dtype));
    SC_TRY(put_string(out, key));
    SC_TRY(put_string(out, "cpu"));
    put_int(out, count);
    sc_text_puts(out, "tQ");
    put_int(out, 0); /* offset */
    int64_t stride[SC_MAX_DIMS] = {0};
    int64_t step = 1;
    for (int i = t->shape.n - 1; i >= 0; i--) {
        stride[i] = step;
        step *= t->shape.d[i] > 1 ? t->shape.d[i] : 1;
    }
    put_int_tuple(out, t->shape.d, t->shape.n);
    put_int_tuple(out, stride, t->shape.n);
    put_op(out, 0x89); /* requires_grad False */
    put_ordered_dict_call(out);
    sc_text_puts(out, "tR");
    return SC_OK;
}

static sc_status put_value(sc_text *out, const sc_object *o, sc_storages *storages, int depth);

static sc_status put_items(sc_text *out, const sc_object *o, sc_storages *storages, int depth)
{
    for (size_t i = 0; i < o->count; i++) {
        if (o->keys)
            SC_TRY(put_value(out, o->keys[i], storages, depth + 1));
        SC_TRY(put_value(out, o->items[i], storages, depth + 1));
    }
    return SC_OK;
}

/* `open`, then the items between a mark and `close`, unless there are none. */
static sc_status put_container(sc_text *out, const sc_object *o, char close, sc_storages *storages,
                               int depth)
{
    if (o->count == 0)
        return SC_OK;
    put_op(out, '(');
    SC_TRY(put_items(out, o, storages, depth));
    put_op(out, close);
    return SC_OK;
}

static sc_status put_tuple(sc_text *out, const sc_object *o, sc_storages *storages, int depth)
{
    static const int close[] = {')', 0x85, 0x86, 0x87};
    if (o->count > 3)
        return put_container(out, o, 't', storages, depth);
    SC_TRY(put_items(out, o, storages, depth));
    put_op(out, close[o->count]);
    return SC_OK;
}

static sc_status put_value(sc_text *out, const sc_object *o, sc_storages *storages, int depth)
{
    if (o->failed)
        return sc_fail(SC_ENOMEM, "out of memory: a checkpoint's content");
    if (depth > MAX_DEPTH)
        return sc_fail(SC_EINTERNAL, "a checkpoint is nested too deeply");
    switch (o->type) {
    case SC_OBJ_NONE:
        put_op(out, 'N');
        return SC_OK;
    case SC_OBJ_BOOL:
        put_op(out, o->b ? 0x88 : 0x89);
        return SC_OK;
    case SC_OBJ_INT:
        put_int(out, o->i);
        return SC_OK;
    case SC_OBJ_FLOAT:
        put_float(out, o->f);
        return SC_OK;
    case SC_OBJ_STRING:
        return put_string(out, o->s);
    case SC_OBJ_LIST:
        put_op(out, ']');
        return put_container(out, o, 'e', storages, depth);
    case SC_OBJ_TUPLE:
        return put_tuple(out, o, storages, depth);
    case SC_OBJ_DICT:
        put_op(out, '}');
        return put_container(out, o, 'u', storages, depth);
    case SC_OBJ_ORDERED_DICT:
        put_ordered_dict_call(out);
        return put_container(out, o, 'u', storages, depth);
    case SC_OBJ_TENSOR:
        return put_tensor(out, o, storages);
    }
    return sc_fail(SC_EINTERNAL, "a checkpoint holds a value of an unknown kind");
}

sc_status sc_pickle_write(const sc_object *root, sc_text *out, sc_storages *storages)
{
    sc_text_add(out, "\x80\x02", 2);
    SC_TRY(put_value(out, root, storages, 0));
    sc_text_puts(out, ".");
    return sc_text_status(out);
}
