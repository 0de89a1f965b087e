/* Private to data: the two passes of the bilinear resize, in plain C and in SIMD. All give the same
 * bytes.
 */
#ifndef SC_DATA_RESIZE_PRIV_H
#define SC_DATA_RESIZE_PRIV_H

#include "superclip/data.h"

/* Weights of one axis, n samples -> m. Output o = (2^21 + sum_i in[lo[o] + i] * k[o * stride + i])
 * >> 22 over i < taps; weights beyond an output's own window are 0, and lo[o] + taps <= n holds. */
typedef struct sc_resize_axis {
    int n, m, taps, stride;
    int *lo;    /* [m] */
    int32_t *k; /* [m][stride], 0 <= k <= 2^22, stride a multiple of 4 and >= taps */
} sc_resize_axis;
sc_status sc_resize_axis_make(int n, int m, sc_resize_axis *out);
void sc_resize_axis_free(sc_resize_axis *a);

/* Rows of n RGB pixels -> rows of m. dst rows may be overwritten up to 16 bytes behind their end.
 * Source rows must be readable `slack` bytes behind their end (see sc_resize_kernels). */
typedef void (*sc_resize_rows_fn)(const sc_resize_axis *a, const uint8_t *src, size_t src_stride,
                                  int rows, uint8_t *dst, size_t dst_stride);
/* All m output rows of `bytes` bytes from n source rows. */
typedef void (*sc_resize_columns_fn)(const sc_resize_axis *a, const uint8_t *src, size_t src_stride,
                                     size_t bytes, uint8_t *dst, size_t dst_stride);
typedef struct sc_resize_kernels {
    const char *name;
    sc_resize_rows_fn rows;
    sc_resize_columns_fn columns;
    int slack;    /* bytes read behind a source row by `rows` */
    int max_taps; /* above this many taps its 32-bit sums could overflow */
} sc_resize_kernels;

extern const sc_resize_kernels sc_resize_plain;
#if defined(__x86_64__)
extern const sc_resize_kernels sc_resize_avx2;
extern const sc_resize_kernels sc_resize_avx512;
#endif
/* The i-th kernel set this processor can run, best first; NULL behind the last. */
const sc_resize_kernels *sc_resize_kernels_at(int i);
sc_status sc_image_resize_with(const sc_resize_kernels *kernels, const sc_image *src, int w, int h,
                               uint8_t *dst);

#endif
