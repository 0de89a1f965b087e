/* Element-wise and row kernels. Widths need not be multiples of the vector: the last part of a row
 * is loaded and stored by itself.
 */
#include "kernels.h"
#include "simd.h"

/* Runs BODY for every vector of `count` elements; in BODY, LOAD(p, bf) and STORE(p, v, bf) touch
 * it. */
#define LOAD(p, bf) (part ? load_part((p), i, part, (bf)) : load((p), i, (bf)))
#define STORE(p, v, bf)                          \
    do {                                         \
        if (part)                                \
            store_part((p), i, part, (v), (bf)); \
        else                                     \
            store((p), i, (v), (bf));            \
    } while (0)
#define EACH_VECTOR(count, ...)                  \
    do {                                         \
        int64_t i = 0;                           \
        {                                        \
            const int part = 0;                  \
            for (; i + VL <= (count); i += VL) { \
                __VA_ARGS__                      \
            }                                    \
        }                                        \
        if (i < (count)) {                       \
            const int part = (int)((count)-i);   \
            __VA_ARGS__                          \
        }                                        \
    } while (0)
/* Calls f(args..., flag) with the run-time flag turned into a constant. */
#define BRANCH(flag, f, ...)       \
    do {                           \
        if (flag)                  \
            f(__VA_ARGS__, true);  \
        else                       \
            f(__VA_ARGS__, false); \
    } while (0)

INLINE void convert_body(void *out, const void *in, int64_t count, bool add, const bool out_bf,
                         const bool in_bf)
{
    if (add)
        EACH_VECTOR(count, vf v = LOAD(out, out_bf) + LOAD(in, in_bf); STORE(out, v, out_bf););
    else
        EACH_VECTOR(count, vf v = LOAD(in, in_bf); STORE(out, v, out_bf););
}
INLINE void convert_out(void *out, const void *in, int64_t count, bool add, bool in_bf,
                        const bool out_bf)
{
    if (in_bf)
        convert_body(out, in, count, add, out_bf, true);
    else
        convert_body(out, in, count, add, out_bf, false);
}
static void convert(void *out, bool out_bf, const void *in, bool in_bf, int64_t count, bool add)
{
    BRANCH(out_bf, convert_out, out, in, count, add, in_bf);
}

static void add(void *out, bool out_bf, const void *a, bool a_bf, const void *b, bool b_bf,
                int64_t count)
{
    if (out_bf && a_bf && b_bf)
        EACH_VECTOR(count, vf v = LOAD(a, true) + LOAD(b, true); STORE(out, v, true););
    else if (!out_bf && !a_bf && !b_bf)
        EACH_VECTOR(count, vf v = LOAD(a, false) + LOAD(b, false); STORE(out, v, false););
    else
        EACH_VECTOR(count, vf v = LOAD(a, a_bf) + LOAD(b, b_bf); STORE(out, v, out_bf););
}

INLINE vf sigmoid(vf x)
{
    return splat(1.0f) / (splat(1.0f) + vexp(-x));
}
static void quick_gelu(void *y, bool y_bf, const void *z, bool z_bf, int64_t count)
{
    EACH_VECTOR(count, vf v = LOAD(z, z_bf); v = v * sigmoid(splat(1.702f) * v);
                STORE(y, v, y_bf););
}
static void quick_gelu_back(void *dz, bool dz_bf, const void *dy, bool dy_bf, const void *z,
                            bool z_bf, int64_t count)
{
    EACH_VECTOR(count, vf v = LOAD(z, z_bf); vf a = splat(1.702f) * v; vf s = sigmoid(a);
                v = LOAD(dy, dy_bf) * s * (splat(1.0f) + a * (splat(1.0f) - s));
                STORE(dz, v, dz_bf););
}

static void column_sum(float *out, const void *x, bool bf, int64_t rows, int64_t width,
                       int64_t stride)
{
    EACH_VECTOR(
        width, vf s = {0}; for (int64_t r = 0; r < rows; r++) {
            const char *row = (const char *)x + (size_t)(r * stride) * (bf ? 2 : 4);
            s += LOAD(row, bf);
        } s += LOAD(out, false);
        STORE(out, s, false););
}

static void layer_norm(void *y, bool y_bf, const void *x, bool x_bf, int64_t width,
                       const float *weight, const float *bias, float eps, float *mean_rstd)
{
    vf s = {0}, q = {0};
    EACH_VECTOR(width, s += LOAD(x, x_bf););
    float mean = sum_lanes(s) / (float)width;
    EACH_VECTOR(width, vf d = LOAD(x, x_bf) - splat(mean); if (part) d = first_lanes(d, part);
                q += d * d;);
    float rstd = 1.0f / sqrtf(sum_lanes(q) / (float)width + eps);
    EACH_VECTOR(width, vf v = (LOAD(x, x_bf) - splat(mean)) * splat(rstd);
                v = v * LOAD(weight, false) + LOAD(bias, false); STORE(y, v, y_bf););
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
    vf sg = {0}, sgx = {0};
    EACH_VECTOR(
        width, vf d = LOAD(dy, dy_bf); vf xhat = (LOAD(x, x_bf) - mean) * rstd;
        vf g = d * LOAD(weight, false); sg += g; sgx += g * xhat; if (dweight) {
            vf w = LOAD(dweight, false) + d * xhat;
            STORE(dweight, w, false);
        } if (dbias) {
            vf b = LOAD(dbias, false) + d;
            STORE(dbias, b, false);
        });
    if (!dx)
        return;
    const vf mg = splat(sum_lanes(sg) / (float)width), mgx = splat(sum_lanes(sgx) / (float)width);
    EACH_VECTOR(width, vf xhat = (LOAD(x, x_bf) - mean) * rstd;
                vf v = rstd * (LOAD(dy, dy_bf) * LOAD(weight, false) - mg - xhat * mgx);
                if (add_dx) v += LOAD(dx, dx_bf); STORE(dx, v, dx_bf););
}

static float l2_normalize(float *y, const void *x, bool x_bf, int64_t width)
{
    vd s = {0};
    EACH_VECTOR(width, vd v = to_double(LOAD(x, x_bf)); s += v * v;);
    double sum = 0;
    for (int l = 0; l < VL; l++)
        sum += s[l];
    float norm = fmaxf((float)sqrt(sum), 1e-12f);
    EACH_VECTOR(width, vf v = LOAD(x, x_bf) / splat(norm); STORE(y, v, false););
    return norm;
}
/* dx = (dy - y (y . dy)) / norm; below the clamp the divisor is a constant. */
static void l2_normalize_back(void *dx, bool dx_bf, bool add_dx, const float *dy, const float *y,
                              float norm, int64_t width)
{
    vd s = {0};
    if (norm > 1e-12f)
        EACH_VECTOR(width, s += to_double(LOAD(dy, false)) * to_double(LOAD(y, false)););
    double dot = 0;
    for (int l = 0; l < VL; l++)
        dot += s[l];
    EACH_VECTOR(width, vf v = (LOAD(dy, false) - LOAD(y, false) * splat((float)dot)) / splat(norm);
                if (add_dx) v += LOAD(dx, dx_bf); STORE(dx, v, dx_bf););
}

void KERNEL(fill_rows)(cpu_kernels *k)
{
    k->convert = convert;
    k->add = add;
    k->quick_gelu = quick_gelu;
    k->quick_gelu_back = quick_gelu_back;
    k->column_sum = column_sum;
    k->layer_norm = layer_norm;
    k->layer_norm_back = layer_norm_back;
    k->l2_normalize = l2_normalize;
    k->l2_normalize_back = l2_normalize_back;
}
