/* Activations and the products that go with them, on whole arrays. What is computed is chosen once
 * a call: every body below is compiled for each activation and for float or bfloat16 throughout,
 * the mixed pairs of types share one.
 */
#include "kernels.h"
#include "simd.h"

INLINE vf get(const void *p, int64_t i, int64_t count, bool bf)
{
    return count - i >= VL ? load(p, i, bf) : load_part(p, i, (int)(count - i), bf);
}
INLINE void put(void *p, int64_t i, int64_t count, vf v, bool bf)
{
    if (count - i >= VL)
        store(p, i, v, bf);
    else
        store_part(p, i, (int)(count - i), v, bf);
}

INLINE vf vmin(vf a, vf b)
{
    return select_vf(a < b, a, b);
}
INLINE vf vmax(vf a, vf b)
{
    return select_vf(a > b, a, b);
}
INLINE vf sigmoid(vf x)
{
    return splat(1.0f) / (splat(1.0f) + vexp(-x));
}
/* The normal distribution's Phi(x), and e^(-x^2/2) for its density. Abramowitz & Stegun 7.1.26:
 * 1.5e-7 absolute in erf, half of it in Phi. */
INLINE vf normal_cdf(vf x, vf *bell)
{
    const vf a = vmax(x, -x);
    *bell = vexp(splat(-0.5f) * x * x);
    const vf t = splat(1.0f) / (splat(1.0f) + splat(0.3275911f * 0.70710678f) * a);
    vf p = splat(1.061405429f);
    p = p * t + splat(-1.453152027f);
    p = p * t + splat(1.421413741f);
    p = p * t + splat(-0.284496736f);
    p = p * t + splat(0.254829592f);
    const vf tail = splat(0.5f) * p * t * *bell;
    return select_vf(x < splat(0.0f), tail, splat(1.0f) - tail);
}

INLINE vf value_of(const sc_activation f, vf x)
{
    vf bell;
    switch (f) {
    case SC_QUICK_GELU:
        return x * sigmoid(splat(1.702f) * x);
    case SC_GELU:
        return x * normal_cdf(x, &bell);
    case SC_SILU:
        return x * sigmoid(x);
    case SC_RELU:
        return vmax(x, splat(0.0f));
    case SC_RELU6:
        return vmin(vmax(x, splat(0.0f)), splat(6.0f));
    case SC_SIGMOID:
        return sigmoid(x);
    case SC_NO_ACTIVATION:
        break;
    }
    return x;
}
INLINE vf slope_of(const sc_activation f, vf x)
{
    const vf one = splat(1.0f), zero = splat(0.0f);
    vf s, bell;
    switch (f) {
    case SC_QUICK_GELU:
        s = sigmoid(splat(1.702f) * x);
        return s * (one + splat(1.702f) * x * (one - s));
    case SC_GELU:
        s = normal_cdf(x, &bell);
        return s + x * bell * splat(0.39894228f);
    case SC_SILU:
        s = sigmoid(x);
        return s * (one + x * (one - s));
    case SC_RELU:
        return select_vf(x > zero, one, zero);
    case SC_RELU6:
        return select_vf((x > zero) & (x < splat(6.0f)), one, zero);
    case SC_SIGMOID:
        s = sigmoid(x);
        return s * (one - s);
    case SC_NO_ACTIVATION:
        break;
    }
    return one;
}

/* Calls BODY(f, ...) with f a constant. */
#define FOR_EACH_ACTIVATION(f, BODY, ...)    \
    switch (f) {                             \
    case SC_NO_ACTIVATION:                   \
        BODY(SC_NO_ACTIVATION, __VA_ARGS__); \
        break;                               \
    case SC_QUICK_GELU:                      \
        BODY(SC_QUICK_GELU, __VA_ARGS__);    \
        break;                               \
    case SC_GELU:                            \
        BODY(SC_GELU, __VA_ARGS__);          \
        break;                               \
    case SC_SILU:                            \
        BODY(SC_SILU, __VA_ARGS__);          \
        break;                               \
    case SC_RELU:                            \
        BODY(SC_RELU, __VA_ARGS__);          \
        break;                               \
    case SC_RELU6:                           \
        BODY(SC_RELU6, __VA_ARGS__);         \
        break;                               \
    case SC_SIGMOID:                         \
        BODY(SC_SIGMOID, __VA_ARGS__);       \
        break;                               \
    }

INLINE void activate_body(const sc_activation f, void *y, const bool y_bf, const void *z,
                          const bool z_bf, int64_t count)
{
    for (int64_t i = 0; i < count; i += VL)
        put(y, i, count, value_of(f, get(z, i, count, z_bf)), y_bf);
}
static void activate(sc_activation f, void *y, bool y_bf, const void *z, bool z_bf, int64_t count)
{
    if (y_bf && z_bf)
        FOR_EACH_ACTIVATION(f, activate_body, y, true, z, true, count)
    else if (!y_bf && !z_bf)
        FOR_EACH_ACTIVATION(f, activate_body, y, false, z, false, count)
    else
        FOR_EACH_ACTIVATION(f, activate_body, y, y_bf, z, z_bf, count)
}

INLINE void back_body(const sc_activation f, void *dz, const bool dz_bf, bool add, const void *dy,
                      const bool dy_bf, const void *z, const bool z_bf, int64_t count)
{
    for (int64_t i = 0; i < count; i += VL) {
        vf v = get(dy, i, count, dy_bf) * slope_of(f, get(z, i, count, z_bf));
        if (add)
            v += get(dz, i, count, dz_bf);
        put(dz, i, count, v, dz_bf);
    }
}
static void activate_back(sc_activation f, void *dz, bool dz_bf, bool add, const void *dy,
                          bool dy_bf, const void *z, bool z_bf, int64_t count)
{
    if (dz_bf && dy_bf && z_bf)
        FOR_EACH_ACTIVATION(f, back_body, dz, true, add, dy, true, z, true, count)
    else if (!dz_bf && !dy_bf && !z_bf)
        FOR_EACH_ACTIVATION(f, back_body, dz, false, add, dy, false, z, false, count)
    else
        FOR_EACH_ACTIVATION(f, back_body, dz, dz_bf, add, dy, dy_bf, z, z_bf, count)
}

INLINE void multiply_body(const sc_activation f, void *y, const void *a, const void *b,
                          const bool bf, int64_t count)
{
    for (int64_t i = 0; i < count; i += VL)
        put(y, i, count, value_of(f, get(a, i, count, bf)) * get(b, i, count, bf), bf);
}
static void multiply(sc_activation f, void *y, const void *a, const void *b, bool bf, int64_t count)
{
    if (bf)
        FOR_EACH_ACTIVATION(f, multiply_body, y, a, b, true, count)
    else
        FOR_EACH_ACTIVATION(f, multiply_body, y, a, b, false, count)
}

INLINE void multiply_back_body(const sc_activation f, const void *dy, const void *a, const void *b,
                               void *da, bool add_a, void *db, bool add_b, const bool bf,
                               int64_t count)
{
    for (int64_t i = 0; i < count; i += VL) {
        const vf g = get(dy, i, count, bf), u = get(a, i, count, bf);
        if (da) {
            vf v = g * get(b, i, count, bf) * slope_of(f, u);
            put(da, i, count, add_a ? v + get(da, i, count, bf) : v, bf);
        }
        if (db) {
            vf v = g * value_of(f, u);
            put(db, i, count, add_b ? v + get(db, i, count, bf) : v, bf);
        }
    }
}
static void multiply_back(sc_activation f, const void *dy, const void *a, const void *b, void *da,
                          bool add_a, void *db, bool add_b, bool bf, int64_t count)
{
    if (bf)
        FOR_EACH_ACTIVATION(f, multiply_back_body, dy, a, b, da, add_a, db, add_b, true, count)
    else
        FOR_EACH_ACTIVATION(f, multiply_back_body, dy, a, b, da, add_a, db, add_b, false, count)
}

void KERNEL(fill_activate)(cpu_kernels *k)
{
    k->multiply = multiply;
    k->multiply_back = multiply_back;
    k->activate = activate;
    k->activate_back = activate_back;
}
