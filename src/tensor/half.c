#include "superclip/tensor.h"

#include <math.h>
#include <string.h>

static uint32_t bits_of(float v)
{
    uint32_t b;
    memcpy(&b, &v, sizeof b);
    return b;
}

static float float_of(uint32_t b)
{
    float v;
    memcpy(&v, &b, sizeof v);
    return v;
}

uint16_t sc_f32_to_bf16(float v)
{
    uint32_t b = bits_of(v);
    if ((b & 0x7FFFFFFFu) > 0x7F800000u) /* NaN: keep the sign, make it quiet, never round to inf */
        return (uint16_t)((b >> 16) | 0x40u);
    return (uint16_t)((b + 0x7FFFu + ((b >> 16) & 1u)) >> 16);
}

float sc_bf16_to_f32(uint16_t v)
{
    return float_of((uint32_t)v << 16);
}

float sc_f16_to_f32(uint16_t v)
{
    uint32_t sign = (uint32_t)(v & 0x8000u) << 16, exponent = (v >> 10) & 31u,
             fraction = v & 0x3FFu;
    if (exponent == 31)
        return float_of(sign | 0x7F800000u | fraction << 13);
    if (exponent == 0) {
        float tiny = (float)fraction * 0x1p-24f; /* exact: subnormals are multiples of 2^-24 */
        return sign ? -tiny : tiny;
    }
    return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t sc_f64_to_f16(double v)
{
    uint16_t sign = signbit(v) ? 0x8000u : 0;
    double a = fabs(v);
    if (isnan(v))
        return (uint16_t)(sign | 0x7E00u);
    if (a >= 65520.0) /* halfway to the first number beyond the largest, 65504 */
        return (uint16_t)(sign | 0x7C00u);
    int exponent;
    frexp(a, &exponent); /* a = m * 2^exponent, m in [1/2, 1) */
    if (exponent < -13)
        exponent = -13; /* subnormal: the step stays 2^-24 */
    /* in units of the last place; rint rounds to nearest even, a carry moves up the exponent */
    uint32_t units = (uint32_t)rint(ldexp(a, 11 - exponent));
    if (units < 1024)
        return (uint16_t)(sign | units);
    return (uint16_t)(sign + ((uint32_t)(exponent + 13) << 10) + units);
}
