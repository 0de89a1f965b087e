#include "superclip/base.h"

static const struct {
    size_t size;
    const char *name;
} types[] = {
    [SC_F32] = {4, "float32"}, [SC_F64] = {8, "float64"}, [SC_BF16] = {2, "bfloat16"},
    [SC_F16] = {2, "float16"}, [SC_I64] = {8, "int64"},   [SC_I32] = {4, "int32"},
    [SC_I16] = {2, "int16"},   [SC_I8] = {1, "int8"},     [SC_U8] = {1, "uint8"},
    [SC_BOOL] = {1, "bool"},
};

size_t sc_dtype_size(sc_dtype t)
{
    return (unsigned)t <= SC_BOOL ? types[t].size : 0;
}

const char *sc_dtype_name(sc_dtype t)
{
    return (unsigned)t <= SC_BOOL ? types[t].name : "unknown";
}

bool sc_dtype_is_float(sc_dtype t)
{
    return t == SC_F32 || t == SC_F64 || t == SC_BF16 || t == SC_F16;
}
