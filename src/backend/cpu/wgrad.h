/* The gradient of a convolution's weights from its input x and its output's gradient dy:
 *
 *     dw[o][i][ky][kx] = sum over images n and output pixels (y, x) of
 *                        dy[n][o][y][x] * x[n][i][y * stride + ky - pad][x * stride + kx - pad]
 *
 * as a product of matrices whose depth are the output pixels. It works on words: a float, or two
 * bfloat16 of the same pixel in two images, which vdpbf16ps multiplies and adds at once. In a plane
 * of words [h][w][16 channels] the operands of all kx and i of one row of taps are neighbours, so
 * nothing is gathered but a border of zeros, and the sums come out as the parameter lies.
 *
 * Sums are float, in an order that the shape alone gives: the same on any number of threads.
 */
#ifndef SC_CPU_WGRAD_H
#define SC_CPU_WGRAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CPU_WGRAD_ROWS = 14, CPU_WGRAD_COLUMNS = 2 /* the most of one tile */ };

/* c [rows][16] of 1 or 2 column blocks (+)= sum over `images` of `lines` of `width` words: rows of
 * a are neighbours, b is [width][16]. All distances in words (c's in floats). */
typedef struct cpu_wgrad_tile {
    const uint32_t *a, *b;
    int64_t a_step, a_line, a_image;
    int64_t b_line, b_image, b_block;
    int64_t width, lines, images;
    float *c;
    int64_t c_block;
    bool add;
    /* Fetched meanwhile into the processor's own cache, a line a word of the depth. */
    const char *ahead, *ahead_end;
} cpu_wgrad_tile;

typedef struct cpu_wgrad_kernels cpu_wgrad_kernels;
struct cpu_wgrad_kernels {
    void (*tile)(int rows, int columns, const cpu_wgrad_tile *t);
    /* The same of words that are pairs; this and pairs() NULL without bfloat16 instructions. */
    void (*tile_pairs)(int rows, int columns, const cpu_wgrad_tile *t);
    /* [count][16 words] of the bfloat16 vectors of two planes, `step` vectors apart; a plane may be
     * NULL: zeros */
    void (*pairs)(uint32_t *out, const uint16_t *a, const uint16_t *b, int64_t count, int64_t step);
    /* [count][channels] of planes `plane` elements apart, floats; or pairs of two images */
    void (*mix)(uint32_t *out, const float *x, int64_t plane, int64_t channels, int64_t count,
                int64_t step);
    void (*mix_pairs)(uint32_t *out, const uint16_t *a, const uint16_t *b, int64_t plane,
                      int64_t channels, int64_t count, int64_t step);
    /* out += in */
    void (*add)(float *out, const float *in, int64_t count);
};

#ifdef SC_CPU_ISA
/* NULL without AVX-512: oneDNN serves other processors. */
const cpu_wgrad_kernels *KERNEL(wgrad_kernels)(void);
#endif

/* One layer. Blocked x [n][ci][h][w][16] and dy [n][co][oh][ow][16] (bf: bfloat16), dw
 * [co][ci][k][k] [16 i][16 o]; or plain x [n][planes][h][w] of up to 4 channels, then dw
 * [co][k][k][planes][16 o] and ci is 1. */
typedef struct cpu_wgrad_shape {
    int64_t n, ci, co, planes /* 0: blocked */, h, w, oh, ow, kernel, stride, pad;
    bool bf;
    int threads;
} cpu_wgrad_shape;

size_t cpu_wgrad_scratch(const cpu_wgrad_shape *s);
void cpu_wgrad(const cpu_wgrad_kernels *k, const cpu_wgrad_shape *s, const void *x, const void *dy,
               float *dw, void *scratch);
/* db [co][16], the sums of dy over images and pixels. */
struct cpu_kernels;
void cpu_wgrad_bias(const struct cpu_kernels *k, const cpu_wgrad_shape *s, const void *dy,
                    float *db);

#endif
