/* Depthwise convolution of one plane (a channel block of one image): lanes are channels, so a tap
 * is one multiply-add a pixel. Rows are copied to float with their padding into a ring of `kernel`
 * slots; eight neighbouring outputs share each weight. The gradient of the input is the same sum:
 * for each residue of the column modulo the stride, the taps that reach it.
 */
#include "kernels.h"
#include "simd.h"

#define GROUP 8 /* outputs that share a weight */

/* One term of a row's outputs: out[m] += weight * x[m * step]. */
typedef struct tap {
    const float *x, *weight;
} tap;

INLINE void taps_group(float *out, int64_t out_step, const tap *taps, int n, int64_t skip,
                       const vf start, const int64_t step, const int count)
{
    vf sum[GROUP];
#pragma GCC unroll 8
    for (int m = 0; m < count; m++)
        sum[m] = start;
    for (int t = 0; t < n; t++) {
        const float *x = taps[t].x + skip;
        const vf w = load(taps[t].weight, 0, false);
#pragma GCC unroll 8
        for (int m = 0; m < count; m++)
            sum[m] += w * load(x, m * step * VL, false);
    }
#pragma GCC unroll 8
    for (int m = 0; m < count; m++)
        store(out, m * out_step * VL, sum[m], false);
}
INLINE void taps_row_body(float *out, int64_t out_step, int64_t count, const tap *taps, int n,
                          const vf start, const int64_t step)
{
    int64_t m = 0;
    for (; m + GROUP <= count; m += GROUP)
        taps_group(out + m * out_step * VL, out_step, taps, n, m * step * VL, start, step, GROUP);
    out += m * out_step * VL;
    switch (count - m) {
#define REST(r)                                                          \
    case r:                                                              \
        taps_group(out, out_step, taps, n, m *step *VL, start, step, r); \
        break
        REST(1);
        REST(2);
        REST(3);
        REST(4);
        REST(5);
        REST(6);
        REST(7);
#undef REST
    default:
        break;
    }
}
/* out[m * out_step] = start + the taps, for m < count; inputs lie `step` pixels apart. */
static void taps_row(float *out, int64_t out_step, int64_t count, const tap *taps, int n, vf start,
                     int64_t step)
{
    if (step == 1)
        taps_row_body(out, out_step, count, taps, n, start, 1);
    else if (step == 2)
        taps_row_body(out, out_step, count, taps, n, start, 2);
    else
        taps_row_body(out, out_step, count, taps, n, start, step);
}

/* A row of `width` pixels as float, with `before` and `after` pixels of zeros. */
static void read_row(float *to, const void *from, int64_t at, int64_t width, int64_t before,
                     int64_t after, bool bf)
{
    memset(to, 0, (size_t)(before * VL) * sizeof(float));
    to += before * VL;
    if (bf)
        for (int64_t i = 0; i < width * VL; i += VL)
            store(to, i, load(from, at + i, true), false);
    else
        memcpy(to, (const float *)from + at, (size_t)(width * VL) * sizeof(float));
    memset(to + width * VL, 0, (size_t)(after * VL) * sizeof(float));
}
INLINE void write_body(void *to, int64_t at, const float *row, int64_t width, const bool bf,
                       const bool add)
{
    for (int64_t i = 0; i < width * VL; i += VL) {
        vf v = load(row, i, false);
        store(to, at + i, add ? load(to, at + i, bf) + v : v, bf);
    }
}
static void write_row(void *to, int64_t at, const float *row, int64_t width, bool bf, bool add)
{
    if (bf && add)
        write_body(to, at, row, width, true, true);
    else if (bf)
        write_body(to, at, row, width, true, false);
    else if (add)
        write_body(to, at, row, width, false, true);
    else
        write_body(to, at, row, width, false, false);
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Slots of rows of the image and of the output, with room for the widest padding, and one row more.
 */
static int64_t slot_floats(const cpu_depthwise *p)
{
    const int64_t image = p->w + 2 * p->pad, out = p->ow + 2 * p->kernel;
    return (image > out ? image : out) * VL;
}
static int64_t depthwise_floats(const cpu_depthwise *p)
{
    return (p->kernel + 1) * slot_floats(p);
}

static void depthwise(const cpu_depthwise *p, float *work)
{
    const int64_t k = p->kernel, slot = slot_floats(p);
    float *row = work + k * slot;
    tap taps[CPU_DEPTHWISE_KERNEL * CPU_DEPTHWISE_KERNEL];
    const vf start = p->bias ? load(p->bias, 0, false) : splat(0.0f);
    int64_t next = 0; /* first image row that no slot holds yet */
    for (int64_t i = 0; i < p->oh; i++) {
        const int64_t top = i * p->stride - p->pad;
        for (next = next > top ? next : top < 0 ? 0 : top; next < smaller(p->h, top + k); next++)
            read_row(work + next % k * slot, p->x, next * p->w * VL, p->w, p->pad, p->pad, p->x_bf);
        int n = 0;
        for (int64_t ky = 0; ky < k; ky++)
            for (int64_t kx = 0; kx < k && top + ky >= 0 && top + ky < p->h; kx++)
                taps[n++] =
                    (tap){work + (top + ky) % k * slot + kx * VL, p->weight + (ky * k + kx) * VL};
        taps_row(row, 1, p->ow, taps, n, start, p->stride);
        write_row(p->y, i * p->ow * VL, row, p->ow, p->y_bf, false);
    }
}

/* x is the gradient to be made, y the one that arrives. Column c meets tap kx at the output column
 * (c + pad - kx) / stride where that is whole: kx = (c + pad) % stride, and every stride from
 * there. */
static void depthwise_data(const cpu_depthwise *p, float *work)
{
    const int64_t k = p->kernel, s = p->stride, slot = slot_floats(p);
    float *row = work + k * slot;
    tap taps[CPU_DEPTHWISE_KERNEL * CPU_DEPTHWISE_KERNEL];
    int64_t next = 0;
    for (int64_t r = 0; r < p->h; r++) {
        const int64_t last = smaller((r + p->pad) / s, p->oh - 1);
        const int64_t low = r + p->pad - k + 1, first = low <= 0 ? 0 : (low + s - 1) / s;
        for (next = next > first ? next : first; next <= last; next++)
            read_row(work + next % k * slot, p->y, next * p->ow * VL, p->ow, k, k, p->y_bf);
        for (int64_t q = 0; q < s; q++) {
            const int64_t c0 = ((q - p->pad) % s + s) % s, j0 = (c0 + p->pad - q) / s;
            int n = 0;
            for (int64_t i = first; i <= last; i++)
                for (int64_t kx = q, t = 0; kx < k; kx += s, t++)
                    taps[n++] = (tap){work + i % k * slot + (k + j0 - t) * VL,
                                      p->weight + ((r + p->pad - i * s) * k + kx) * VL};
            if (c0 < p->w)
                taps_row(row + c0 * VL, s, (p->w - c0 + s - 1) / s, taps, n, splat(0.0f), 1);
        }
        write_row(p->dx, r * p->w * VL, row, p->w, p->x_bf, p->add);
    }
}

/* dw[kx] += the sum over a row of dy[m] * x[m * stride + kx]; two chains each hide the latency. */
INLINE void weights_row(float *dw, const float *dy, const float *x, int64_t count,
                        const int64_t stride, const int k)
{
    vf even[CPU_DEPTHWISE_KERNEL], odd[CPU_DEPTHWISE_KERNEL];
#pragma GCC unroll 11
    for (int kx = 0; kx < k; kx++)
        even[kx] = odd[kx] = splat(0.0f);
    int64_t m = 0;
    for (; m + 2 <= count; m += 2) {
        const vf a = load(dy, m * VL, false), b = load(dy, (m + 1) * VL, false);
#pragma GCC unroll 11
        for (int kx = 0; kx < k; kx++) {
            even[kx] += a * load(x, (m * stride + kx) * VL, false);
            odd[kx] += b * load(x, ((m + 1) * stride + kx) * VL, false);
        }
    }
    for (; m < count; m++)
#pragma GCC unroll 11
        for (int kx = 0; kx < k; kx++)
            even[kx] += load(dy, m * VL, false) * load(x, (m * stride + kx) * VL, false);
#pragma GCC unroll 11
    for (int kx = 0; kx < k; kx++)
        store(dw, kx * VL, load(dw, kx * VL, false) + even[kx] + odd[kx], false);
}
static void depthwise_weights(const cpu_depthwise *p, float *work, float *dw, float *db)
{
    const int64_t k = p->kernel, slot = slot_floats(p);
    float *dy = work + k * slot;
    int64_t next = 0;
    for (int64_t i = 0; i < p->oh; i++) {
        const int64_t top = i * p->stride - p->pad;
        for (next = next > top ? next : top < 0 ? 0 : top; next < smaller(p->h, top + k); next++)
            read_row(work + next % k * slot, p->x, next * p->w * VL, p->w, p->pad, p->pad, p->x_bf);
        read_row(dy, p->y, i * p->ow * VL, p->ow, 0, 0, p->y_bf);
        vf sum = splat(0.0f);
        for (int64_t m = 0; m < p->ow; m++)
            sum += load(dy, m * VL, false);
        store(db, 0, load(db, 0, false) + sum, false);
        for (int64_t ky = 0; ky < k; ky++) {
            if (top + ky < 0 || top + ky >= p->h)
                continue;
            const float *x = work + (top + ky) % k * slot;
            float *to = dw + ky * k * VL;
            if (k == 7 && p->stride == 1)
                weights_row(to, dy, x, p->ow, 1, 7);
            else if (k == 3)
                weights_row(to, dy, x, p->ow, p->stride, 3);
            else if (k == 5)
                weights_row(to, dy, x, p->ow, p->stride, 5);
            else
                for (int64_t kx = 0; kx < k; kx++)
                    weights_row(to + kx * VL, dy, x + kx * VL, p->ow, p->stride, 1);
        }
    }
}

void KERNEL(fill_depthwise)(cpu_kernels *k)
{
    k->depthwise_floats = depthwise_floats;
    k->depthwise = depthwise;
    k->depthwise_data = depthwise_data;
    k->depthwise_weights = depthwise_weights;
}
