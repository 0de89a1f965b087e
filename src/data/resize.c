/* Pillow's bilinear resize: a triangle filter widened by the scale, 22-bit fixed-point weights, one
 * pass over rows, a u8 image, one pass over columns. A pass that keeps its size is skipped.
 */
#include "resize_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int sc_train_size(int img_size)
{
    return (int)(1.1 * img_size);
}

/* The order of operations is Pillow's: the last bit of the weights depends on it. */
sc_status sc_resize_axis_make(int n, int m, sc_resize_axis *out)
{
    double scale = (double)n / m, filter_scale = scale < 1 ? 1 : scale;
    double support = filter_scale, inverse = 1 / filter_scale;
    int most = 2 * (int)ceil(support) + 1;
    int taps = most < n ? most : n;
    *out = (sc_resize_axis){.n = n, .m = m, .taps = taps, .stride = (taps + 3) / 4 * 4};
    out->lo = sc_alloc((size_t)m, sizeof *out->lo);
    size_t count;
    if (sc_mul_overflow((size_t)m, (size_t)out->stride, &count))
        count = SIZE_MAX;
    out->k = sc_alloc(count, sizeof *out->k);
    double *w = sc_alloc((size_t)most, sizeof *w);
    if (!out->lo || !out->k || !w) {
        free(w);
        sc_resize_axis_free(out);
        return sc_fail(SC_ENOMEM, "no memory to resize %d to %d pixels", n, m);
    }
    for (int o = 0; o < m; o++) {
        double centre = (o + 0.5) * scale, sum = 0;
        int lo = (int)(centre - support + 0.5), hi = (int)(centre + support + 0.5);
        lo = lo < 0 ? 0 : lo;
        hi = hi > n ? n : hi;
        for (int i = 0; i < hi - lo; i++) {
            double distance = fabs((i + lo - centre + 0.5) * inverse);
            w[i] = distance < 1 ? 1 - distance : 0;
            sum += w[i];
        }
        /* a window near the end is moved left so that `taps` samples lie inside the source */
        int start = lo + taps > n ? n - taps : lo;
        out->lo[o] = start;
        int32_t *k = out->k + (size_t)o * (size_t)out->stride + (lo - start);
        for (int i = 0; i < hi - lo; i++)
            k[i] = (int32_t)(0.5 + w[i] / sum * 4194304);
    }
    free(w);
    return SC_OK;
}

void sc_resize_axis_free(sc_resize_axis *a)
{
    free(a->lo);
    free(a->k);
    a->lo = NULL;
    a->k = NULL;
}

static inline uint8_t clip8(int32_t sum)
{
    int v = sum >> 22;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static void plain_rows(const sc_resize_axis *a, const uint8_t *src, size_t src_stride, int rows,
                       uint8_t *dst, size_t dst_stride)
{
    for (int y = 0; y < rows; y++) {
        const uint8_t *in = src + (size_t)y * src_stride;
        uint8_t *out = dst + (size_t)y * dst_stride;
        for (int o = 0; o < a->m; o++, out += 3) {
            const int32_t *k = a->k + (size_t)o * (size_t)a->stride;
            const uint8_t *p = in + 3 * (size_t)a->lo[o];
            int32_t r = 1 << 21, g = 1 << 21, b = 1 << 21;
            for (int i = 0; i < a->taps; i++) {
                r += p[3 * i] * k[i];
                g += p[3 * i + 1] * k[i];
                b += p[3 * i + 2] * k[i];
            }
            out[0] = clip8(r);
            out[1] = clip8(g);
            out[2] = clip8(b);
        }
    }
}

static void plain_columns(const sc_resize_axis *a, const uint8_t *src, size_t src_stride,
                          size_t bytes, uint8_t *dst, size_t dst_stride)
{
    enum { BLOCK = 256 };
    for (int o = 0; o < a->m; o++) {
        const int32_t *k = a->k + (size_t)o * (size_t)a->stride;
        for (size_t x = 0; x < bytes; x += BLOCK) {
            size_t n = bytes - x < BLOCK ? bytes - x : BLOCK;
            int32_t sums[BLOCK];
            for (size_t j = 0; j < n; j++)
                sums[j] = 1 << 21;
            for (int i = 0; i < a->taps; i++) {
                const uint8_t *in = src + ((size_t)a->lo[o] + (size_t)i) * src_stride + x;
                for (size_t j = 0; j < n; j++)
                    sums[j] += in[j] * k[i];
            }
            for (size_t j = 0; j < n; j++)
                dst[(size_t)o * dst_stride + x + j] = clip8(sums[j]);
        }
    }
}

const sc_resize_kernels sc_resize_plain = {"plain", plain_rows, plain_columns, 0, 1 << 30};

const sc_resize_kernels *sc_resize_kernels_at(int i)
{
    const sc_resize_kernels *all[4];
    int n = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni"))
        all[n++] = &sc_resize_avx512;
    if (__builtin_cpu_supports("avx2"))
        all[n++] = &sc_resize_avx2;
#endif
    all[n++] = &sc_resize_plain;
    return i < n ? all[i] : NULL;
}

/* Horizontal pass. The last rows, behind which a kernel may not read, go through a padded copy. */
static sc_status pass_rows(const sc_resize_kernels *kernels, const sc_image *src,
                           const sc_resize_axis *a, uint8_t *dst, size_t dst_stride)
{
    size_t row = 3 * (size_t)src->width;
    int tail = (int)(((size_t)kernels->slack + row - 1) / row);
    tail = tail > src->height ? src->height : tail;
    int whole = src->height - tail;
    kernels->rows(a, src->rgb, row, whole, dst, dst_stride);
    if (!tail)
        return SC_OK;
    uint8_t *padded = sc_alloc((size_t)tail * row + (size_t)kernels->slack, 1);
    if (!padded)
        return sc_fail(SC_ENOMEM, "no memory to resize an image");
    memcpy(padded, src->rgb + (size_t)whole * row, (size_t)tail * row);
    kernels->rows(a, padded, row, tail, dst + (size_t)whole * dst_stride, dst_stride);
    free(padded);
    return SC_OK;
}

static const sc_resize_kernels *fitting(const sc_resize_kernels *kernels, const sc_resize_axis *a)
{
    return a->stride > kernels->max_taps ? &sc_resize_plain : kernels;
}

static sc_status rows_then_columns(const sc_resize_kernels *kernels, const sc_image *src, int w,
                                   int h, uint8_t *dst)
{
    const uint8_t *between = src->rgb;
    size_t row = 3 * (size_t)w, stride = row;
    uint8_t *own = NULL;
    sc_resize_axis across = {0}, down = {0};
    sc_status status = SC_OK;
    if (w != src->width) {
        stride = row + 32; /* kernels store a little behind a row's end */
        SC_TRY_GOTO(sc_resize_axis_make(src->width, w, &across));
        own = malloc((size_t)src->height * stride);
        if (!own) {
            status = sc_fail(SC_ENOMEM, "no memory to resize %d rows", src->height);
            goto done;
        }
        SC_TRY_GOTO(pass_rows(fitting(kernels, &across), src, &across, own, stride));
        between = own;
    }
    if (h == src->height) {
        for (int y = 0; y < h; y++)
            memcpy(dst + (size_t)y * row, between + (size_t)y * stride, row);
        goto done;
    }
    SC_TRY_GOTO(sc_resize_axis_make(src->height, h, &down));
    fitting(kernels, &down)->columns(&down, between, stride, row, dst, row);
done:
    sc_resize_axis_free(&across);
    sc_resize_axis_free(&down);
    free(own);
    return status;
}

sc_status sc_image_resize_with(const sc_resize_kernels *kernels, const sc_image *src, int w, int h,
                               uint8_t *dst)
{
    /* Pillow shrinks images over 100 times as high as wide by their columns first */
    if (src->height <= 100 * (int64_t)src->width || h >= src->height || w == src->width)
        return rows_then_columns(kernels, src, w, h, dst);
    sc_image between = {src->width, h, malloc((size_t)src->width * (size_t)h * 3)};
    if (!between.rgb)
        return sc_fail(SC_ENOMEM, "no memory to resize an image");
    sc_status status = rows_then_columns(kernels, src, src->width, h, between.rgb);
    if (status == SC_OK)
        status = rows_then_columns(kernels, &between, w, h, dst);
    free(between.rgb);
    return status;
}

sc_status sc_image_resize(const sc_image *src, int w, int h, uint8_t *dst)
{
    return sc_image_resize_with(sc_resize_kernels_at(0), src, w, h, dst);
}
