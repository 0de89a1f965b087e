/* The inner loops that are compiled once an instruction set. A kernel works on one piece (a channel
 * block of one image, a row, a range of elements) in the calling thread; the op_*.c files share the
 * pieces out. Activations [n, C, H, W] lie as [n][C / block][H * W][block]; a plane is the last
 * two. `bf`: the arrays hold bfloat16 instead of float.
 */
#ifndef SC_CPU_KERNELS_H
#define SC_CPU_KERNELS_H

#include "superclip/backend.h"
#include "superclip/tensor.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct cpu_plane_stats {
    double mean[16], m2[16];
} cpu_plane_stats;
typedef struct cpu_plane_sums {
    double dy[16], dyx[16];
} cpu_plane_sums;

/* y = relu?((x - mean) * scale + shift + residual); vectors of one block. */
typedef struct cpu_bn_apply {
    const void *x, *residual; /* residual may be NULL */
    void *y;
    void *mask; /* one bit an element where y > 0; NULL: not wanted */
    int64_t hw;
    const float *mean, *scale, *shift;
    bool relu, bf;
    bool stream; /* y past the caches: it is far larger than they are */
} cpu_bn_apply;

/* g = dy where mask; dx = scale * (g - mean_dy - (x - mean) * slope); dresidual = g. */
typedef struct cpu_bn_back {
    const void *x, *dy, *mask; /* mask NULL: no ReLU */
    void *dx, *dresidual;      /* either may be NULL */
    int64_t hw;
    const float *mean, *rstd;             /* sums */
    const float *scale, *mean_dy, *slope; /* apply */
    bool add_dx, add_dresidual, bf;
    bool stream; /* results past the caches */
} cpu_bn_back;

typedef struct cpu_pool {
    int64_t h, w, oh, ow;
    int kernel, stride, pad;
    bool bf;
} cpu_pool;

/* One text: parts 0 to 2 are q, k, v, whose rows lie `stride` elements apart. Of a packed text x,
 * dx, y and dy are its own rows, and `before` the k and v of the `shared` rows that stand before
 * them: they are seen, not computed. What they are owed in backward is added to `owed`, dk
 * [shared][dp] and dv behind it; the shared rows' own run (shared = 0) begins with what is there.
 */
typedef struct cpu_attention {
    const void *x[3], *dy;
    void *y, *dx[3];       /* dx[i] NULL: not wanted */
    const void *before[3]; /* [0] is not read */
    float *owed;           /* NULL: nothing is shared */
    int64_t shared;
    int64_t length, valid; /* positions, those that count; shared ones included */
    int64_t width, stride;
    int heads;
    bool causal, bf_x, bf_y, add[3];
    float *work; /* cpu_kernels.attention_floats(length, head width) */
} cpu_attention;

/* One plane of a depthwise convolution. weight [k * k][lanes], bias [lanes] or NULL. */
#define CPU_DEPTHWISE_KERNEL 11 /* the largest */
typedef struct cpu_depthwise {
    const void *x;
    void *y; /* read in the backward passes: the gradient */
    void *dx;
    const float *weight, *bias;
    int64_t h, w, oh, ow;
    int kernel, stride, pad;
    bool x_bf, y_bf, add;
} cpu_depthwise;

/* Up to CPU_NORM_TILE pixels of one image, all channels: pointers to the first pixel's first block.
 * stats: mean and 1/std a pixel, written forward (NULL: not wanted), read backward. weight and bias
 * are 0 from `channels` to the end of the last block. */
#define CPU_NORM_TILE 16
typedef struct cpu_channel_norm {
    const void *x, *dy;
    void *y, *dx; /* dx may be NULL */
    float *stats, *dweight, *dbias;
    const float *weight, *bias;
    int64_t hw, pixels, channels;
    float eps;
    bool x_bf, y_bf, add;
} cpu_channel_norm;

/* out (+)= base + scale * x over a plane, scale [lanes]; base may be NULL. */
typedef struct cpu_plane_scale {
    const void *base, *x;
    void *out;
    const float *scale;
    int64_t hw;
    bool base_bf, x_bf, out_bf, add;
} cpu_plane_scale;
/* Matrix products, k_linear.c. An operand is made of words: a float, or two bfloat16 that are
 * neighbours along the depth. A panel is [depth words][tile_cols]. */
enum { CPU_TILE_ROWS = 6, CPU_TILE_COLS = 64 /* the most of any processor */ };
typedef struct cpu_tile {
    const void *a;                /* words; row r and depth d at r * a_row + d * a_step */
    const uint32_t *b;            /* a panel */
    int64_t a_row, a_step, depth; /* words */
    /* Lines to fetch meanwhile, behind each of `aheads` addresses: four in a row, then a stride. */
    const char *ahead[3];
    int aheads;
    int64_t ahead_stride, ahead_lines;
} cpu_tile;
/* What becomes part of an operand: `cols` columns over `depth`, zeros up to `room` columns (a
 * multiple of the block) and to a whole word. */
typedef struct cpu_pack {
    const void *src;
    int64_t stride, depth, cols, room; /* elements */
} cpu_pack;

typedef struct cpu_kernels {
    const char *isa;
    int block; /* lanes of a vector = channels of a block: 16 or 8 */

    void (*bn_stats)(const void *x, int64_t hw, bool bf, cpu_plane_stats *out);
    void (*bn_apply)(const cpu_bn_apply *a);
    void (*bn_back_sums)(const cpu_bn_back *a,
                         cpu_plane_sums *out); /* dy: of g, dyx: of g * xhat */
    void (*bn_back_apply)(const cpu_bn_back *a);
    /* Of each window the first x whose product with `sign` [block] is the largest, and its place:
     * the maximum of a function of x that rises or falls with it. index may be NULL. */
    void (*bn_pool)(const cpu_pool *p, const void *x, const float *sign, void *best,
                    uint8_t *index);
    /* bn_back_apply where dy and mask belong to windows: g is their sum where each has its maximum.
     * a->hw unused, a->dresidual NULL; row: w * block floats of work. */
    void (*bn_pool_back)(const cpu_bn_back *a, const cpu_pool *p, const uint8_t *index, float *row);

    /* index: per output element the place of the maximum in its window, row-major; may be NULL */
    void (*max_pool)(const cpu_pool *p, const void *x, void *y, uint8_t *index);
    /* row: w * block floats of work */
    void (*max_pool_back)(const cpu_pool *p, const void *dy, const uint8_t *index, void *dx,
                          bool add, float *row);
    void (*plane_mean)(const void *x, int64_t hw, bool bf, float *mean /* [block] */);
    void (*plane_fill)(void *x, int64_t hw, bool bf, const float *value /* [block] */, bool add);

    /* out (+)= in over count elements, any pair of types */
    void (*convert)(void *out, bool out_bf, const void *in, bool in_bf, int64_t count, bool add);
    void (*add)(void *out, bool out_bf, const void *a, bool a_bf, const void *b, bool b_bf,
                int64_t count);
    void (*activate)(sc_activation f, void *y, bool y_bf, const void *z, bool z_bf, int64_t count);
    /* dz (+)= dy * f'(z) */
    void (*activate_back)(sc_activation f, void *dz, bool dz_bf, bool add, const void *dy,
                          bool dy_bf, const void *z, bool z_bf, int64_t count);
    /* y = f(a) * b; da (+)= dy * b * f'(a), db (+)= dy * f(a), either may be NULL. bf: all arrays.
     */
    void (*multiply)(sc_activation f, void *y, const void *a, const void *b, bool bf,
                     int64_t count);
    void (*multiply_back)(sc_activation f, const void *dy, const void *a, const void *b, void *da,
                          bool add_a, void *db, bool add_b, bool bf, int64_t count);
    /* Work of one thread; the planes; dx; dw [k * k][lanes] and db [lanes] are added to. */
    int64_t (*depthwise_floats)(const cpu_depthwise *p);
    void (*depthwise)(const cpu_depthwise *p, float *work);
    void (*depthwise_data)(const cpu_depthwise *p, float *work);
    void (*depthwise_weights)(const cpu_depthwise *p, float *work, float *dw, float *db);
    void (*channel_norm)(const cpu_channel_norm *a);
    void (*channel_norm_back)(const cpu_channel_norm *a); /* dweight and dbias are added to */
    void (*plane_scale)(const cpu_plane_scale *a);
    /* out [lanes] = the sum over a plane of a * b */
    void (*plane_dot)(const void *a, bool a_bf, const void *b, bool b_bf, int64_t hw, float *out);
    /* out[width] += the sum of `rows` rows that lie `stride` elements apart */
    void (*column_sum)(float *out, const void *x, bool bf, int64_t rows, int64_t width,
                       int64_t stride);
    void (*layer_norm)(void *y, bool y_bf, const void *x, bool x_bf, int64_t width,
                       const float *weight, const float *bias, float eps, float *mean_rstd);
    /* dx may be NULL; dweight and dbias are added to */
    void (*layer_norm_back)(void *dx, bool dx_bf, bool add, const void *dy, bool dy_bf,
                            const void *x, bool x_bf, int64_t width, const float *weight,
                            const float *mean_rstd, float *dweight, float *dbias);
    /* y = x / max(|x|, 1e-12); returns the divisor */
    float (*l2_normalize)(float *y, const void *x, bool x_bf, int64_t width);
    void (*l2_normalize_back)(void *dx, bool dx_bf, bool add, const float *dy, const float *y,
                              float norm, int64_t width);

    int64_t (*attention_floats)(int64_t length, int64_t head_width);
    int64_t (*attention_owed)(int64_t shared, int64_t head_width); /* floats */
    void (*attention)(const cpu_attention *a, int head);
    void (*attention_back)(const cpu_attention *a, int head);

    /* k_peak.c, for a profile's yardstick: multiply-adds alone, `out` [16] holds two factors first;
     * returns how many FLOP they were. And y += s x. */
    double (*fma_loop)(int64_t rounds, bool bf, float *out);
    void (*axpy)(float *y, const float *x, int64_t count, float s);
    int tile_cols;
    /* c [rows][tile_cols] = rows of a times b, rows <= CPU_TILE_ROWS */
    void (*tile)(const cpu_tile *t, int rows, float *c, bool bf);
    /* out (+)= c + bias (may be NULL) */
    void (*tile_store)(void *out, bool out_bf, const float *c, const float *bias, int64_t count,
                       bool add);
    /* Rows of src lie along the depth; a word of the depth starts out_step words behind the one
     * before. bf: words of bfloat16. */
    void (*pack_rows)(uint32_t *out, int64_t out_step, const cpu_pack *s, bool src_bf, bool bf);
    /* The same from floats of which the rows are the columns. */
    void (*pack_columns)(uint32_t *out, int64_t out_step, const cpu_pack *s, bool bf);

    /* c: 1 - lr*wd, beta1, 1 - beta1, beta2, 1 - beta2, lr / c1, 1 / sqrt(c2), eps */
    void (*adamw)(float *p, const float *g, float *m, float *v, int64_t count, const float c[8]);
    /* The same where gradient and moments are 0. */
    void (*decay)(float *p, int64_t count, const float c[8]);
    bool (*all_zero)(const float *p, int64_t count);

    const struct cpu_wino_kernels *wino;   /* winograd.h; NULL without bfloat16 instructions */
    const struct cpu_wgrad_kernels *wgrad; /* wgrad.h; NULL without AVX-512 */
    const struct cpu_direct_kernels *direct; /* direct.h; the same */

    /* One image [side][side][3] -> planes [3][crop][crop] of `table`'s entries (3 x 256 floats or
     * bfloat16). work: cpu_augment_work(crop) elements. */
    void (*augment)(const sc_augment *a, const uint8_t *image, int64_t side, int64_t crop,
                    const void *table, uint32_t *work, void *out, bool bf);
} cpu_kernels;

/* The crop as 4-byte pixels (rounded up to whole vectors) and one row of the result. */
static inline int64_t cpu_augment_work(int64_t crop)
{
    return (crop * crop + 15) / 16 * 16 + crop + 16;
}

/* Names of one compilation: KERNEL(f) is f_avx2 and so on. */
#define KERNEL_JOIN(a, b) a##_##b
#define KERNEL_JOIN2(a, b) KERNEL_JOIN(a, b)
#define KERNEL(name) KERNEL_JOIN2(name, SC_CPU_ISA)

#ifdef SC_CPU_ISA /* inside a kernel source: each fills its own members */
void KERNEL(fill_batch_norm)(cpu_kernels *k);
void KERNEL(fill_pool)(cpu_kernels *k);
void KERNEL(fill_bn_pool)(cpu_kernels *k);
void KERNEL(fill_rows)(cpu_kernels *k);
void KERNEL(fill_activate)(cpu_kernels *k);
void KERNEL(fill_depthwise)(cpu_kernels *k);
void KERNEL(fill_channels)(cpu_kernels *k);
void KERNEL(fill_attention)(cpu_kernels *k);
void KERNEL(fill_linear)(cpu_kernels *k);
void KERNEL(fill_optim)(cpu_kernels *k);
void KERNEL(fill_augment)(cpu_kernels *k);
void KERNEL(fill_peak)(cpu_kernels *k);
#endif
void cpu_kernels_base(cpu_kernels *k);
void cpu_kernels_avx2(cpu_kernels *k);
void cpu_kernels_avx512(cpu_kernels *k);
void cpu_kernels_avx512_bf16(cpu_kernels *k);

#endif
