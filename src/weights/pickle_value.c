#include "pickle.h"

#include <stdlib.h>
#include <string.h>

sc_status sc_pickle_fail(const sc_unpickler *u, const char *fmt, ...)
{
    char what[768];
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(what, sizeof what, fmt, args) < 0)
        what[0] = '\0';
    va_end(args);
    return sc_fail(SC_EFORMAT, "%s: %s at byte %zu of %s", u->path, what, u->op_at, u->record);
}

void *sc_pickle_alloc(sc_unpickler *u, size_t bytes)
{
    size_t charged = bytes + 16; /* the arena's rounding */
    if (bytes > u->arena_left || charged > u->arena_left) {
        sc_pickle_fail(u, "more memory is asked for than the file's size explains");
        return NULL;
    }
    u->arena_left -= charged;
    return sc_arena_alloc(u->arena, bytes);
}

sc_status sc_pv_new(sc_unpickler *u, sc_pv_type type, sc_pv **out)
{
    sc_pv *v = sc_pickle_alloc(u, sizeof *v);
    if (!v)
        return SC_EFORMAT;
    v->type = type;
    *out = v;
    return SC_OK;
}

sc_status sc_pv_append(sc_unpickler *u, sc_pv *container, sc_pv *v)
{
    if (container->count == container->cap) {
        if (container->cap > UINT32_MAX / 2)
            return sc_pickle_fail(u, "a list is too long");
        uint32_t cap = container->cap ? container->cap * 2 : 4;
        sc_pv **items = sc_pickle_alloc(u, cap * sizeof(sc_pv *));
        if (!items)
            return SC_EFORMAT;
        if (container->count)
            memcpy(items, container->u.items, container->count * sizeof(sc_pv *));
        container->u.items = items;
        container->cap = cap;
    }
    container->u.items[container->count++] = v;
    return SC_OK;
}

const char *sc_pv_type_name(const sc_pv *v)
{
    static const char *const names[] = {
        [SC_PV_NONE] = "None",       [SC_PV_BOOL] = "a bool",
        [SC_PV_INT] = "an int",      [SC_PV_FLOAT] = "a float",
        [SC_PV_STRING] = "a string", [SC_PV_LIST] = "a list",
        [SC_PV_TUPLE] = "a tuple",   [SC_PV_DICT] = "a dict",
        [SC_PV_TENSOR] = "a tensor", [SC_PV_ORDERED_DICT] = "an ordered dict",
        [SC_PV_GLOBAL] = "a name",   [SC_PV_STORAGE] = "a storage",
    };
    return names[v->type];
}

/* The closed list. Nothing else of Python exists for us, and none of these is ever run. */
static const sc_pickle_global globals[] = {
    {"collections", "OrderedDict", SC_ROLE_ORDERED_DICT, SC_F32},
    {"collections", "Counter", SC_ROLE_COUNTER, SC_F32},
    {"torch._utils", "_rebuild_tensor", SC_ROLE_TENSOR_V2, SC_F32},
    {"torch._utils", "_rebuild_tensor_v2", SC_ROLE_TENSOR_V2, SC_F32},
    {"torch._utils", "_rebuild_tensor_v3", SC_ROLE_TENSOR_V3, SC_F32},
    {"torch._utils", "_rebuild_parameter", SC_ROLE_PARAMETER, SC_F32},
    {"torch._utils", "_rebuild_parameter_with_state", SC_ROLE_PARAMETER, SC_F32},
    {"torch.nn.parameter", "Parameter", SC_ROLE_PARAMETER, SC_F32},
    {"torch._tensor", "_rebuild_from_type_v2", SC_ROLE_FROM_TYPE, SC_F32},
    {"torch.tensor", "_rebuild_from_type_v2", SC_ROLE_FROM_TYPE, SC_F32},
    {"torch", "Tensor", SC_ROLE_TENSOR_CLASS, SC_F32},
    {"torch", "Size", SC_ROLE_SEQUENCE, SC_F32},
    {"builtins", "set", SC_ROLE_SEQUENCE, SC_F32},
    {"__builtin__", "set", SC_ROLE_SEQUENCE, SC_F32},
    {"torch", "device", SC_ROLE_DEVICE, SC_F32},
    {"torch", "FloatStorage", SC_ROLE_STORAGE, SC_F32},
    {"torch", "DoubleStorage", SC_ROLE_STORAGE, SC_F64},
    {"torch", "HalfStorage", SC_ROLE_STORAGE, SC_F16},
    {"torch", "BFloat16Storage", SC_ROLE_STORAGE, SC_BF16},
    {"torch", "LongStorage", SC_ROLE_STORAGE, SC_I64},
    {"torch", "IntStorage", SC_ROLE_STORAGE, SC_I32},
    {"torch", "ShortStorage", SC_ROLE_STORAGE, SC_I16},
    {"torch", "CharStorage", SC_ROLE_STORAGE, SC_I8},
    {"torch", "ByteStorage", SC_ROLE_STORAGE, SC_U8},
    {"torch", "BoolStorage", SC_ROLE_STORAGE, SC_BOOL},
    {"torch", "UntypedStorage", SC_ROLE_STORAGE, SC_U8},
    {"torch.storage", "UntypedStorage", SC_ROLE_STORAGE, SC_U8},
    {"torch", "FloatTensor", SC_ROLE_TENSOR_CLASS, SC_F32},
    {"torch", "DoubleTensor", SC_ROLE_TENSOR_CLASS, SC_F64},
    {"torch", "HalfTensor", SC_ROLE_TENSOR_CLASS, SC_F16},
    {"torch", "LongTensor", SC_ROLE_TENSOR_CLASS, SC_I64},
    {"torch", "IntTensor", SC_ROLE_TENSOR_CLASS, SC_I32},
    {"torch", "ShortTensor", SC_ROLE_TENSOR_CLASS, SC_I16},
    {"torch", "CharTensor", SC_ROLE_TENSOR_CLASS, SC_I8},
    {"torch", "ByteTensor", SC_ROLE_TENSOR_CLASS, SC_U8},
    {"torch", "float32", SC_ROLE_DTYPE, SC_F32},
    {"torch", "float64", SC_ROLE_DTYPE, SC_F64},
    {"torch", "float16", SC_ROLE_DTYPE, SC_F16},
    {"torch", "bfloat16", SC_ROLE_DTYPE, SC_BF16},
    {"torch", "int64", SC_ROLE_DTYPE, SC_I64},
    {"torch", "int32", SC_ROLE_DTYPE, SC_I32},
    {"torch", "int16", SC_ROLE_DTYPE, SC_I16},
    {"torch", "int8", SC_ROLE_DTYPE, SC_I8},
    {"torch", "uint8", SC_ROLE_DTYPE, SC_U8},
    {"torch", "bool", SC_ROLE_DTYPE, SC_BOOL},
};

static bool equals(const char *text, const char *s, size_t n)
{
    return strlen(text) == n && !memcmp(text, s, n);
}

/* The code of a TorchScript archive: its classes carry names of their own. */
static const sc_pickle_global script_class = {"__torch__", "", SC_ROLE_MODULE, SC_F32};
static const char *const script_helpers[] = {"build_intlist", "build_doublelist", "build_boollist",
                                             "build_tensorlist", "restore_type_tag"};
static const sc_pickle_global script_helper = {"torch.jit._pickle", "", SC_ROLE_PASS_THROUGH,
                                               SC_F32};

static const sc_pickle_global *find_script(const char *module, size_t module_len, const char *name,
                                           size_t name_len)
{
    if (equals("__torch__", module, module_len) ||
        (module_len > 10 && !memcmp(module, "__torch__.", 10)))
        return &script_class;
    if (!equals(script_helper.module, module, module_len))
        return NULL;
    for (size_t i = 0; i < sizeof script_helpers / sizeof script_helpers[0]; i++)
        if (equals(script_helpers[i], name, name_len))
            return &script_helper;
    return NULL;
}

const sc_pickle_global *sc_pickle_find_global(const char *module, size_t module_len,
                                              const char *name, size_t name_len, bool script)
{
    for (size_t i = 0; i < sizeof globals / sizeof globals[0]; i++)
        if (equals(globals[i].module, module, module_len) &&
            equals(globals[i].name, name, name_len))
            return &globals[i];
    return script ? find_script(module, module_len, name, name_len) : NULL;
}
