/* Direct convolutions, forward and backwards to the input, in float or bfloat16 (summed in float,
 * rounded once). Each sum runs over input channel blocks, then rows and columns of the kernel,
 * whatever the batch or the number of threads; products with padding are left out.
 *
 * A direction is one or more passes, each a convolution whose kernel positions ("taps") lie side by
 * side. Forward: one pass with the layer's stride. Backwards: results [y][x] whose places agree
 * modulo the stride form a pass of stride 1 over the gradient, written `stride` pixels apart.
 */
#ifndef SC_CPU_DIRECT_H
#define SC_CPU_DIRECT_H

#include "kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CPU_DIRECT_PIXELS = 14, /* of one tile, in one or two lines: with two blocks of channels their
                             * sums fill the registers */
    CPU_DIRECT_TAPS = 16,   /* most columns of a kernel */
    CPU_DIRECT_STRIDE = 2   /* most, backwards */
};
/* Pixels of a tile that have an input under a column of taps. */
typedef enum cpu_direct_edge {
    CPU_EDGE_ALL,
    CPU_EDGE_NOT_FIRST,
    CPU_EDGE_NOT_LAST,
    CPU_EDGE_NONE
} cpu_direct_edge;

/* One tile of results: one or two lines of neighbouring pixels, two (or one) blocks of 16 output
 * channels. Distances are in bytes. */
typedef struct cpu_direct_tile {
    const char *x[2];                 /* under the first tap, of the line's first pixel */
    int64_t x_step, x_row, x_block;   /* to the next pixel, row of taps, channel block */
    int64_t tap[CPU_DIRECT_TAPS];     /* from the first to this column of taps */
    uint8_t edge[CPU_DIRECT_TAPS];    /* cpu_direct_edge */
    int64_t rows, taps, blocks;       /* how many */
    int64_t steps;                    /* words of a tap: float, or two bfloat16 */
    const char *w;                    /* [block][row][tap][step][16 words] */
    int64_t w_row, w_block, w_second; /* to the next row, block; the second 16 outputs' weights */
    char *y[2];
    int64_t y_step, y_second;
    const float *bias; /* [32] or [16], or NULL */
    bool add;          /* to y */
} cpu_direct_tile;

typedef void (*cpu_direct_kernel)(const cpu_direct_tile *t);
struct cpu_direct_kernels {
    /* by bfloat16, two lines, two blocks of outputs, length of a line; NULL where there is none
     * (bfloat16, or two lines longer than half of a tile) */
    cpu_direct_kernel tile[2][2][2][CPU_DIRECT_PIXELS + 1];
    void (*turn)(const float *w, float *out); /* 16 x 16 transposed */
    /* `rows` rows of 16 floats -> pairs of rows by turns in bfloat16, behind an odd one zeros */
    void (*pairs)(const float *w, int64_t rows, uint16_t *out);
    /* Planes' rows [channels][width], `plane` elements apart -> pixels [width][channels], with
     * `before` zeros in front and zeros behind up to `count` elements in all */
    void (*weave)(const void *x, bool bf, int channels, int64_t plane, int64_t width,
                  int64_t before, int64_t count, void *out);
};
typedef struct cpu_direct_kernels cpu_direct_kernels;

#ifdef SC_CPU_ISA
/* NULL where vectors are shorter than a channel block of 16. */
const cpu_direct_kernels *KERNEL(direct_kernels)(void);
#endif

/* ---- direct.c ---- */
/* A layer; shapes [n, C, h, w] of its input and output. */
typedef struct cpu_direct_layer {
    bool bf; /* both images' type */
    int64_t x[4], y[4];
    int kernel, stride, pad;
} cpu_direct_layer;

typedef struct cpu_direct_pass {
    int64_t rows, cols; /* results: pixel [i][j] is at row y0 + i * out_step and so on */
    int64_t y0, x0, out_step;
    int64_t th, tw, ty, tx; /* taps, and the place of the first relative to the result's */
    int64_t in_step;
    int64_t w_at, w_out; /* bytes: of the pass's weights, of an output block's */
    int64_t pieces;      /* of a line */
    bool edges;
} cpu_direct_pass;

typedef struct cpu_direct {
    const cpu_direct_kernels *k;
    bool bf;
    int64_t n, in_blocks, out_blocks, in_h, in_w, out_h, out_w;
    int64_t steps, words; /* of a tap, of a kernel: its weights for two blocks of channels */
    int channels;         /* of plain planes, which are woven into pixels; 0: channel blocks */
    int pad;              /* their columns of zeros */
    int64_t line;         /* bytes of a row of such pixels */
    int passes;
    cpu_direct_pass pass[CPU_DIRECT_STRIDE * CPU_DIRECT_STRIDE];
    int64_t lines, groups; /* of a tile: images side by side; how many such sets of images */
    int64_t chunks, parts; /* pieces of work: of a group's results, of output blocks */
} cpu_direct;

/* False where this is not the way: the shape is another's. */
bool cpu_direct_plan(const cpu_direct_kernels *k, const cpu_direct_layer *l, bool backward,
                     cpu_direct *out);
/* Bytes of the weights, made from the flat parameter of shape [O, I, k, k] (cpu.h): forward in
 * bfloat16 (in float the parameter itself is read), and backwards, which takes the layer's stride.
 */
size_t cpu_direct_weight_bytes(const cpu_direct *p);
void cpu_direct_weights(const cpu_direct_kernels *k, const int64_t shape[4], void *out,
                        const float *w);
void cpu_direct_weights_back(const cpu_direct_kernels *k, const int64_t shape[4], bool bf,
                             int stride, void *out, const float *w);
size_t cpu_direct_scratch(const cpu_direct *p, int threads);
/* y (+)= x * w + bias, bias [output channels] or NULL. */
void cpu_direct_apply(const cpu_direct *p, const void *x, const void *w, const float *bias, void *y,
                      bool add, void *scratch);

#endif
