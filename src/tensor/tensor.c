#include "superclip/tensor.h"

#include <stdlib.h>
#include <string.h>

size_t sc_tensor_bytes(const sc_tensor *t)
{
    int64_t count = sc_shape_count(&t->shape);
    return count < 0 ? 0 : (size_t)count * sc_dtype_size(t->dtype);
}

sc_status sc_tensor_new(const char *name, sc_dtype dtype, sc_shape shape, sc_tensor *out)
{
    *out = (sc_tensor){.dtype = dtype, .shape = shape, .owned = true};
    char text[96];
    int64_t count = sc_shape_count(&shape);
    size_t bytes;
    if (count < 0 || sc_mul_overflow((size_t)count, sc_dtype_size(dtype), &bytes))
        return sc_fail(SC_ENOMEM, "tensor %s %s is too large", name ? name : "",
                       sc_shape_text(&shape, text));
    if (name && !(out->name = sc_strdup(name)))
        return SC_ENOMEM;
    out->data = sc_alloc((size_t)count, sc_dtype_size(dtype));
    if (!out->data) {
        sc_tensor_free(out);
        return sc_fail(SC_ENOMEM, "out of memory: tensor %s %s", name ? name : "",
                       sc_shape_text(&shape, text));
    }
    return SC_OK;
}

void sc_tensor_free(sc_tensor *t)
{
    if (!t)
        return;
    free(t->name);
    if (t->owned)
        free(t->data);
    *t = (sc_tensor){0};
}

double sc_tensor_get(const sc_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case SC_F32:
        return ((const float *)t->data)[i];
    case SC_F64:
        return ((const double *)t->data)[i];
    case SC_BF16:
        return sc_bf16_to_f32(((const uint16_t *)t->data)[i]);
    case SC_F16:
        return sc_f16_to_f32(((const uint16_t *)t->data)[i]);
    case SC_I64:
        return (double)((const int64_t *)t->data)[i];
    case SC_I32:
        return ((const int32_t *)t->data)[i];
    case SC_I16:
        return ((const int16_t *)t->data)[i];
    case SC_I8:
        return ((const int8_t *)t->data)[i];
    case SC_U8:
        return ((const uint8_t *)t->data)[i];
    case SC_BOOL:
        return ((const uint8_t *)t->data)[i] != 0;
    }
    return 0;
}

/* A conversion out of range is undefined in C: clamp (NaN becomes low, as good as anything). */
static int64_t to_integer(double v, int64_t low, int64_t high)
{
    if (!(v > (double)low))
        return low;
    if (v >= (double)high)
        return high;
    return (int64_t)v;
}

void sc_tensor_set_element(sc_tensor *t, int64_t i, double v)
{
    switch (t->dtype) {
    case SC_F32:
        ((float *)t->data)[i] = (float)v;
        break;
    case SC_F64:
        ((double *)t->data)[i] = v;
        break;
    case SC_BF16:
        ((uint16_t *)t->data)[i] = sc_f32_to_bf16((float)v);
        break;
    case SC_F16:
        ((uint16_t *)t->data)[i] = sc_f64_to_f16(v);
        break;
    case SC_I64:
        ((int64_t *)t->data)[i] = to_integer(v, INT64_MIN, INT64_MAX);
        break;
    case SC_I32:
        ((int32_t *)t->data)[i] = (int32_t)to_integer(v, INT32_MIN, INT32_MAX);
        break;
    case SC_I16:
        ((int16_t *)t->data)[i] = (int16_t)to_integer(v, INT16_MIN, INT16_MAX);
        break;
    case SC_I8:
        ((int8_t *)t->data)[i] = (int8_t)to_integer(v, INT8_MIN, INT8_MAX);
        break;
    case SC_U8:
        ((uint8_t *)t->data)[i] = (uint8_t)to_integer(v, 0, UINT8_MAX);
        break;
    case SC_BOOL:
        ((uint8_t *)t->data)[i] = v != 0;
        break;
    }
}
