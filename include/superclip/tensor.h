/* tensor: shapes, host tensors in PyTorch's layout (row-major, C order), named tensor sets (a state
 * dict), and the one row of random choices that augmentation consumes.
 */
#ifndef SUPERCLIP_TENSOR_H
#define SUPERCLIP_TENSOR_H

#include "superclip/base.h"

#define SC_MAX_DIMS 8
typedef struct sc_shape { int n; int64_t d[SC_MAX_DIMS]; } sc_shape; /* n 0: a scalar */
#define SC_SHAPE(...)                                                           \
    ((sc_shape){(int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}})
int64_t sc_shape_count(const sc_shape *s); /* product; -1 on overflow or a negative dimension */
bool sc_shape_equal(const sc_shape *a, const sc_shape *b);
const char *sc_shape_text(const sc_shape *s, char out[96]); /* "[64, 3, 7, 7]" */

typedef struct sc_tensor {
    char *name; /* may be NULL */
    sc_dtype dtype;
    sc_shape shape;
    void *data;
    bool owned; /* data is freed with the tensor */
} sc_tensor;
size_t sc_tensor_bytes(const sc_tensor *t);
sc_status sc_tensor_new(const char *name, sc_dtype dtype, sc_shape shape, sc_tensor *out); /* zeroed */
void sc_tensor_free(sc_tensor *t);
double sc_tensor_get(const sc_tensor *t, int64_t i); /* element i in C order, any dtype */
void sc_tensor_set_element(sc_tensor *t, int64_t i, double v);

/* Ordered, unique names. */
typedef struct sc_tensor_set { sc_tensor *items; size_t count, cap; } sc_tensor_set;
/* Takes over `t` (name included); a second tensor of the same name is an error. */
sc_status sc_tensor_set_add(sc_tensor_set *s, sc_tensor *t);
sc_tensor *sc_tensor_set_find(const sc_tensor_set *s, const char *name);
void sc_tensor_set_free(sc_tensor_set *s);

/* Tensors that are fetched one at a time, so that they need not all be in memory: those of a file. */
typedef struct sc_tensor_reader {
    const sc_tensor *items; /* names, types and shapes; no data */
    size_t count;
    /* The bytes of items[i], in C order. */
    sc_status (*read)(void *ctx, size_t i, void *dst);
    void *ctx;
} sc_tensor_reader;

/* bfloat16 <-> float: round to nearest even; NaN stays NaN. */
uint16_t sc_f32_to_bf16(float v);
float sc_bf16_to_f32(uint16_t v);
float sc_f16_to_f32(uint16_t v);
uint16_t sc_f64_to_f16(double v); /* round to nearest even, overflow to infinity */

/* The draws of one sample, filled by `data`, consumed by the `augment` op of every backend.
 * Source: an 8-bit row [P, P, 3]; result: [S, S, 3]. Order of application: crop, horizontal flip,
 * vertical flip, colour jitter in jitter_order, rotation, /255 and normalisation, erasing.
 * All zero = no augmentation: the top left [S, S] of the row (P = S), normalised. */
typedef struct sc_augment {
    int32_t crop_top, crop_left;
    uint8_t flip_h, flip_v;
    uint8_t jitter;          /* 1: the four factors apply, also when a factor is neutral */
    uint8_t rotate;          /* 1: rotate_fix applies */
    uint8_t jitter_order[4]; /* permutation of 0 brightness, 1 contrast, 2 saturation, 3 hue */
    float brightness, contrast, saturation, hue;
    float angle;             /* degrees, counter-clockwise; for dumps */
    int32_t rotate_fix[6];   /* a0..a5, 16.16 fixed point inverse map */
    int32_t erase_top, erase_left, erase_h, erase_w; /* erase_h 0: nothing erased */
} sc_augment;

/* ImageNet mean and std as floats; the normalised value of byte v in channel c:
 * f32(f32(v / 255.0f - mean_c) / std_c). One table for every backend. */
void sc_normalize_table(float table[3][256]);

#endif
