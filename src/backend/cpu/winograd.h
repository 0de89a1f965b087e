/* 3 x 3 convolutions of stride 1 and padding 1 by Winograd's F(2 x 2, 3 x 3): 16 products for 4
 * pixels instead of 36. bfloat16 only: fp32 promises IEEE sums of the direct products.
 *
 * Transforms are in float; their results are rounded to bfloat16 once, multiplied and summed in
 * float. The weights come from the float parameter. What each direction costs in error and gains in
 * time decides where it is used (cpu_wino_pays), by the shape alone.
 */
#ifndef SC_CPU_WINOGRAD_H
#define SC_CPU_WINOGRAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Tiles tx .. tx + count - 1 of tile row ty of a plane [h * w][16]. */
typedef struct cpu_wino_run {
    void *plane;
    int64_t h, w, ty, tx, count;
} cpu_wino_run;

/* Positions (16 of them) lie `step` elements apart. `place`: where the run's first tile goes. */
typedef struct cpu_wino_kernels cpu_wino_kernels;
struct cpu_wino_kernels {
    /* V as [tile][16], or as [tile / 2][16][2]; a pair's first tile must be written first */
    void (*input)(const cpu_wino_run *r, uint16_t *v, int64_t step, int64_t place);
    void (*input_pairs)(const cpu_wino_run *r, uint16_t *v, int64_t step, int64_t place);
    /* Z of the results' gradient, [tile / 2][16][2] */
    void (*gradient_pairs)(const cpu_wino_run *r, uint16_t *z, int64_t step, int64_t place);
    /* results (+)= of M; tiles lie `tile` floats apart */
    void (*output)(const cpu_wino_run *r, const float *m, int64_t step, int64_t tile, bool add);
    /* U of weights [9][16 i][16 o]: 8 pairs of i, `row` elements apart, of [16 o][2]. turned: of
     * the convolution backwards, pairs of o and [16 i][2] */
    void (*weights)(const float *w, bool turned, uint16_t *u, int64_t step, int64_t row);
    /* [9][16][16] of the sums P [16 positions][16][16] */
    void (*weight_gradient)(const float *p, int64_t step, float *dw);

    /* c [count <= 14][32] = sum over blocks of a [count][16], `a_block` elements apart, and
     * b [8][2 column blocks][16][2] */
    void (*gemm_rows)(int count, const uint16_t *a, int64_t a_block, const uint16_t *b,
                      int64_t blocks, float *c);
    /* c [8][16] of 1 or 2 column blocks (+)= sum over pairs of a [pair][16 rows, the first 8 of
     * them][2] and b [pair][16][2]; next: the a of the next product, to be fetched meanwhile */
    void (*gemm_pairs)(int columns, const uint16_t *a, const uint16_t *b, int64_t b_block,
                       int64_t pairs, float *c, int64_t c_block, bool add, const uint16_t *next);
};

#ifdef SC_CPU_ISA
/* NULL where the processor has no bfloat16 products. */
const cpu_wino_kernels *KERNEL(wino_kernels)(void);
void KERNEL(gemm_rows)(int count, const uint16_t *a, int64_t a_block, const uint16_t *b,
                       int64_t blocks, float *c);
void KERNEL(gemm_pairs)(int columns, const uint16_t *a, const uint16_t *b, int64_t b_block,
                        int64_t pairs, float *c, int64_t c_block, bool add, const uint16_t *next);
#endif

typedef enum cpu_wino_direction {
    CPU_WINO_FORWARD,
    CPU_WINO_DATA,
    CPU_WINO_WEIGHTS
} cpu_wino_direction;
/* Shapes [n, C, h, w] of a layer's input and output; n plays no part. */
bool cpu_wino_pays(cpu_wino_direction way, const int64_t x[4], const int64_t y[4]);
/* For comparisons: programs compiled on this device from now on use direct convolutions alone, or
 * not. */
struct sc_device;
void cpu_wino_off(struct sc_device *d, bool off);

/* One layer, its input [n][ci * 16][h][w] and output [n][co * 16][h][w] in channel blocks. */
typedef struct cpu_wino_shape {
    int64_t n, ci, co, h, w;
    int threads;
} cpu_wino_shape;

/* Elements of a layer's transformed weights, either direction. */
int64_t cpu_wino_weight_elements(const cpu_wino_shape *s);
/* From the flat parameter [co][ci][3][3][16 i][16 o]. turned: for the gradient of the input. */
void cpu_wino_weights(const cpu_wino_kernels *k, const cpu_wino_shape *s, const float *w,
                      bool turned, uint16_t *u);

/* y (+)= x * w; the gradient of the input is the same with ci and co swapped and turned weights. */
size_t cpu_wino_apply_scratch(const cpu_wino_shape *s);
void cpu_wino_apply(const cpu_wino_kernels *k, const cpu_wino_shape *s, const uint16_t *x,
                    const uint16_t *u, uint16_t *y, bool add, void *scratch);

/* dw, laid out as the parameter, of x and dy. */
size_t cpu_wino_gradient_scratch(const cpu_wino_shape *s);
void cpu_wino_gradient(const cpu_wino_kernels *k, const cpu_wino_shape *s, const uint16_t *x,
                       const uint16_t *dy, float *dw, void *scratch);

#endif
