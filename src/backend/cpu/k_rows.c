/* Element-wise and row kernels. Widths need not be multiples of the vector: get and put shorten the
 * last one of a row of `width` elements.
 */
#include "kernels.h"
#include "simd.h"

INLINE vf get(const void *p, int64_t i, int64_t width, bool bf)
{
    return width - i >= VL ? load(p, i, bf) : load_part(p, i, (int)(width - i), bf);
}
INLINE void put(void *p, int64_t i, int64_t width, vf v, bool bf)
{
    if (width - i >= VL)
        store(p, i, v, bf);
    else
        store_part(p, i, (int)(width - i), v, bf);
}

INLINE void convert_body(void *out, const void *in, int64_t count, bool add, const bool out_bf,
                         const bool in_bf)
{
    if (add)
        for (int64_t i = 0; i < count; i += VL)
            put(out, i, count, get(out, i, count, out_bf) + get(in, i, count, in_bf), out_bf);
    else
        for (int64_t i = 0; i < count; i += VL)
            put(out, i, count, get(in, i, count, in_bf), out_bf);
}
static void convert(void *out, bool out_bf, const void *in, bool in_bf, int64_t count, bool add)
{
    if (out_bf && in_bf)
        convert_body(out, in, count, add, true, true);
    else if (out_bf)
        convert_body(out, in, count, add, true, false);
    else if (in_bf)
        convert_body(out, in, count, add, false, true);
    else
        convert_body(out, in, count, add, false, false);
}

INLINE void add_body(void *out, const void *a, const void *b, int64_t count, const bool out_bf,
                     const bool a_bf, const bool b_bf)
{
    for (int64_t i = 0; i < count; i += VL)
        put(out, i, count, get(a, i, count, a_bf) + get(b, i, count, b_bf), out_bf);
}
static void add(void *out, bool out_bf, const void *a, bool a_bf, const void *b, bool b_bf,
                int64_t count)
{
    if (out_bf && a_bf && b_bf)
        add_body(out, a, b, count, true, true, true);
    else if (!out_bf && !a_bf && !b_bf)
        add_body(out, a, b, count, false, false, false);
    else
        add_body(out, a, b, count, out_bf, a_bf, b_bf);
}

static void column_sum(float *out, const void *x, bool bf, int64_t rows, int64_t width,
                       int64_t stride)
{
    for (int64_t i = 0; i < width; i += VL) {
        vf sum = {0};
        for (int64_t r = 0; r < rows; r++) {
            const char *row = (const char *)x + (size_t)(r * stride) * (bf ? 2 : 4);
            sum += get(row, i, width, bf);
        }
        put(out, i, width, get(out, i, width, false) + sum, false);
    }
}

static void layer_norm(void *y, bool y_bf, const void *x, bool x_bf, int64_t width,
                       const float *weight, const float *bias, float eps, float *mean_rstd)
{
    vf sum = {0}, squares = {0};
    for (int64_t i = 0; i < width; i += VL)
        sum += get(x, i, width, x_bf);
    const float mean = sum_lanes(sum) / (float)width;
    for (int64_t i = 0; i < width; i += VL) {
        vf d = get(x, i, width, x_bf) - splat(mean);
        if (width - i < VL)
            d = first_lanes(d, (int)(width - i));
        squares += d * d;
    }
    const float rstd = 1.0f / sqrtf(sum_lanes(squares) / (float)width + eps);
    for (int64_t i = 0; i < width; i += VL) {
        vf xhat = (get(x, i, width, x_bf) - splat(mean)) * splat(rstd);
        put(y, i, width, xhat * get(weight, i, width, false) + get(bias, i, width, false), y_bf);
    }
    if (mean_rstd) {
        mean_rstd[0] = mean;
        mean_rstd[1] = rstd;
    }
}

/* With g = dy * weight: dx = rstd * (g - mean(g) - xhat * mean(g * xhat)). */
static void layer_norm_back(void *dx, bool dx_bf, bool add_dx, const void *dy, bool dy_bf,
                            const void *x, bool x_bf, int64_t width, const float *weight,
                            const float *mean_rstd, float *dweight, float *dbias)
{
    const vf mean = splat(mean_rstd[0]), rstd = splat(mean_rstd[1]);
    vf sum_g = {0}, sum_gx = {0};
    for (int64_t i = 0; i < width; i += VL) {
        vf d = get(dy, i, width, dy_bf), xhat = (get(x, i, width, x_bf) - mean) * rstd;
        vf g = d * get(weight, i, width, false);
        sum_g += g;
        sum_gx += g * xhat;
        if (dweight)
            put(dweight, i, width, get(dweight, i, width, false) + d * xhat, false);
        if (dbias)
            put(dbias, i, width, get(dbias, i, width, false) + d, false);
    }
    if (!dx)
        return;
    const vf mean_g = splat(sum_lanes(sum_g) / (float)width),
             mean_gx = splat(sum_lanes(sum_gx) / (float)width);
    for (int64_t i = 0; i < width; i += VL) {
        vf xhat = (get(x, i, width, x_bf) - mean) * rstd;
        vf g = get(dy, i, width, dy_bf) * get(weight, i, width, false);
        vf v = rstd * (g - mean_g - xhat * mean_gx);
        if (add_dx)
            v += get(dx, i, width, dx_bf);
        put(dx, i, width, v, dx_bf);
    }
}

static double sum_doubles(vd v)
{
    double sum = 0;
    for (int l = 0; l < VL; l++)
        sum += v[l];
    return sum;
}
static float l2_normalize(float *y, const void *x, bool x_bf, int64_t width)
{
    vd squares = {0};
    for (int64_t i = 0; i < width; i += VL) {
        vd v = to_double(get(x, i, width, x_bf));
        squares += v * v;
    }
    const float norm = fmaxf((float)sqrt(sum_doubles(squares)), 1e-12f);
    for (int64_t i = 0; i < width; i += VL)
        put(y, i, width, get(x, i, width, x_bf) / splat(norm), false);
    return norm;
}
/* dx = (dy - y (y . dy)) / norm; below the clamp the divisor is a constant. */
static void l2_normalize_back(void *dx, bool dx_bf, bool add_dx, const float *dy, const float *y,
                              float norm, int64_t width)
{
    vd dots = {0};
    if (norm > 1e-12f)
        for (int64_t i = 0; i < width; i += VL)
            dots += to_double(get(dy, i, width, false)) * to_double(get(y, i, width, false));
    const vf dot = splat((float)sum_doubles(dots));
    for (int64_t i = 0; i < width; i += VL) {
        vf v = (get(dy, i, width, false) - get(y, i, width, false) * dot) / splat(norm);
        if (add_dx)
            v += get(dx, i, width, dx_bf);
        put(dx, i, width, v, dx_bf);
    }
}

void KERNEL(fill_rows)(cpu_kernels *k)
{
    k->convert = convert;
    k->add = add;
    k->column_sum = column_sum;
    k->layer_norm = layer_norm;
    k->layer_norm_back = layer_norm_back;
    k->l2_normalize = l2_normalize;
    k->l2_normalize_back = l2_normalize_back;
}
