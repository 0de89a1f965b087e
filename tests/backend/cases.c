/* The table: a row an op and shape. Sizes are small because `ref` is slow, and odd because real
 * configurations are: channels that fill no block, one pixel, one text, one token, two classes.
 */
#include "harness.h"

#include <string.h>

#define D4(a, b, c, d)         \
    {                          \
        4,                     \
        {                      \
            (a), (b), (c), (d) \
        }                      \
    }
#define D3(a, b, c)       \
    {                     \
        3,                \
        {                 \
            (a), (b), (c) \
        }                 \
    }
#define D2(a, b)     \
    {                \
        2,           \
        {            \
            (a), (b) \
        }            \
    }
#define D1(a)   \
    {           \
        1,      \
        {       \
            (a) \
        }       \
    }

#define OUTSIDE(x, k, s, p) (((x) + 2 * (p) - (k)) / (s) + 1)
#define CONV(...) CONVOLUTION(1, __VA_ARGS__)
#define CONV_BIAS(...) CONVOLUTION(2, __VA_ARGS__)
#define CONVOLUTION(params, label, n, c, h, w, o, k, s, p)                                       \
    {                                                                                            \
        .name = "conv2d " label, .op = SC_OP_CONV2D,                                             \
        .attrs = {.kernel = (k), .stride = (s), .pad = (p)}, .n_in = 1, .n_out = 1,              \
        .n_param = params, .in = {{SC_COMPUTE, D4(n, c, h, w), FILL_NORMAL, 0.2, 1, false}},     \
        .out = {{SC_COMPUTE, D4(n, o, OUTSIDE(h, k, s, p), OUTSIDE(w, k, s, p)), FILL_NORMAL, 0, \
                 0, false}},                                                                     \
        .param = {{SC_EXACT, D4(o, c, k, k), FILL_NORMAL, 0, 0.1, false},                        \
                  {SC_EXACT, D1(o), FILL_NORMAL, 0, 1, false}},                                  \
    }
#define BN_PARAMS(c)                                        \
    {                                                       \
        {SC_EXACT, D1(c), FILL_NORMAL, 1, 0.3, false},      \
            {SC_EXACT, D1(c), FILL_NORMAL, 0, 0.5, false},  \
            {SC_EXACT, D1(c), FILL_NORMAL, 0, 1, true},     \
            {SC_EXACT, D1(c), FILL_POSITIVE, 0.5, 2, true}, \
        {                                                   \
            SC_INT32, D1(1), FILL_INT, 1, 0, true           \
        }                                                   \
    }
/* weights: FILL_TEXTURE for both signs, FILL_INT for 0 and 1 */
#define BN_POOL_PARAMS(c, weights)                                                              \
    {                                                                                           \
        {SC_EXACT, D1(c), weights, 2, 0, false}, {SC_EXACT, D1(c), FILL_NORMAL, 0, 0.5, false}, \
            {SC_EXACT, D1(c), FILL_NORMAL, 0, 1, true},                                         \
            {SC_EXACT, D1(c), FILL_POSITIVE, 0.5, 2, true},                                     \
        {                                                                                       \
            SC_INT32, D1(1), FILL_INT, 1, 0, true                                               \
        }                                                                                       \
    }
#define BN(label, n, c, h, w, residual, use_relu, frozen, shift)                                \
    {                                                                                           \
        .name = "batch_norm " label, .op = SC_OP_BATCH_NORM,                                    \
        .attrs = {.eps = 1e-5, .momentum = 0.1, .relu = (use_relu), .running = (frozen)},       \
        .n_in = 1 + (residual), .n_out = 1, .n_param = 5,                                       \
        .in = {{SC_COMPUTE, D4(n, c, h, w), FILL_NORMAL, shift, 1, false},                      \
               {SC_COMPUTE, D4(n, c, h, w), FILL_NORMAL, 0, 1, false}},                         \
        .out = {{SC_COMPUTE, D4(n, c, h, w), FILL_NORMAL, 0, 0, false}}, .param = BN_PARAMS(c), \
    }
#define MAX_POOL(label, n, c, h, w, k, s, p, how)                                                \
    {                                                                                            \
        .name = "max_pool " label, .op = SC_OP_MAX_POOL,                                         \
        .attrs = {.kernel = (k), .stride = (s), .pad = (p)}, .n_in = 1, .n_out = 1,              \
        .in = {{SC_COMPUTE, D4(n, c, h, w), how, 0, 1, false}},                                  \
        .out = {{SC_COMPUTE, D4(n, c, OUTSIDE(h, k, s, p), OUTSIDE(w, k, s, p)), FILL_NORMAL, 0, \
                 0, false}},                                                                     \
    }
/* batch_norm with ReLU, then a max_pool */
#define BN_POOL(label, n, c, h, w, k, s, p, frozen, how, weights)                                \
    {                                                                                            \
        .name = "batch_norm + max_pool " label, .op = SC_OP_BATCH_NORM,                          \
        .attrs = {.eps = 1e-5, .momentum = 0.1, .relu = true, .running = (frozen)}, .n_in = 1,   \
        .n_out = 1, .n_param = 5, .in = {{SC_COMPUTE, D4(n, c, h, w), how, 0, 1, false}},        \
        .out = {{SC_COMPUTE, D4(n, c, OUTSIDE(h, k, s, p), OUTSIDE(w, k, s, p)), FILL_NORMAL, 0, \
                 0, false}},                                                                     \
        .param = BN_POOL_PARAMS(c, weights),                                                     \
        .then = &(const case_tail){SC_OP_MAX_POOL,                                               \
                                   {.kernel = (k), .stride = (s), .pad = (p)},                   \
                                   {SC_COMPUTE, D4(n, c, h, w), FILL_NORMAL, 0, 0, false}},      \
    }
#define AVG_POOL(label, n, c, h, w, kind)                                       \
    {                                                                           \
        .name = "avg_pool " label, .op = SC_OP_AVG_POOL, .n_in = 1, .n_out = 1, \
        .in = {{SC_COMPUTE, D4(n, c, h, w), FILL_NORMAL, 0.5, 1, false}},       \
        .out = {{kind, D2(n, c), FILL_NORMAL, 0, 0, false}},                    \
    }
#define LINEAR(label, rows, in_kind, k, out_kind, o, bias, turned, act)                           \
    {                                                                                             \
        .name = "linear " label, .op = SC_OP_LINEAR,                                              \
        .attrs = {.transposed = (turned), .activation = act}, .n_in = 1, .n_out = 1,              \
        .n_param = 1 + (bias), .in = {{in_kind, D2(rows, k), FILL_NORMAL, 0.1, 1, false}},        \
        .out = {{out_kind, D2(rows, o), FILL_NORMAL, 0, 0, false}},                               \
        .param = {{SC_EXACT, D2((turned) ? (k) : (o), (turned) ? (o) : (k)), FILL_NORMAL, 0, 0.1, \
                   false},                                                                        \
                  {SC_EXACT, D1(o), FILL_NORMAL, 0, 1, false}},                                   \
    }
#define ADD(label, n, w, ka, kb, ko)                                  \
    {                                                                 \
        .name = "add " label, .op = SC_OP_ADD, .n_in = 2, .n_out = 1, \
        .in = {{ka, D3(n, 3, w), FILL_NORMAL, 0, 1, false},           \
               {kb, D3(n, 3, w), FILL_NORMAL, 0, 1, false}},          \
        .out = {{ko, D3(n, 3, w), FILL_NORMAL, 0, 0, false}},         \
    }
#define ACTIVATE(label, n, c, h, w, kind, f, size)                                              \
    {                                                                                           \
        .name = "activate " label, .op = SC_OP_ACTIVATE, .attrs = {.activation = f}, .n_in = 1, \
        .n_out = 1, .in = {{kind, D4(n, c, h, w), FILL_NORMAL, 0.2, size, false}},              \
        .out = {{kind, D4(n, c, h, w), FILL_NORMAL, 0, 0, false}},                              \
    }
#define MULTIPLY(label, n, c, h, w, kind, f)                                                    \
    {                                                                                           \
        .name = "multiply " label, .op = SC_OP_MULTIPLY, .attrs = {.activation = f}, .n_in = 2, \
        .n_out = 1,                                                                             \
        .in = {{kind, D4(n, c, h, w), FILL_NORMAL, 0.2, 3, false},                              \
               {kind, D4(n, c, h, w), FILL_NORMAL, 0, 1, false}},                               \
        .out = {{kind, D4(n, c, h, w), FILL_NORMAL, 0, 0, false}},                              \
    }
#define DEPTHWISE(label, params, n, c, h, w, k, s, p, kind)                                      \
    {                                                                                            \
        .name = "depthwise_conv2d " label, .op = SC_OP_DEPTHWISE_CONV2D,                         \
        .attrs = {.kernel = (k), .stride = (s), .pad = (p)}, .n_in = 1, .n_out = 1,              \
        .n_param = params, .in = {{kind, D4(n, c, h, w), FILL_NORMAL, 0.2, 1, false}},           \
        .out = {{SC_COMPUTE, D4(n, c, OUTSIDE(h, k, s, p), OUTSIDE(w, k, s, p)), FILL_NORMAL, 0, \
                 0, false}},                                                                     \
        .param = {{SC_EXACT, D4(c, 1, k, k), FILL_NORMAL, 0, 0.3, false},                        \
                  {SC_EXACT, D1(c), FILL_NORMAL, 0, 1, false}},                                  \
    }
#define CHANNEL_NORM(label, n, c, h, w, kx, ky, shift)                                   \
    {                                                                                    \
        .name = "channel_norm " label, .op = SC_OP_CHANNEL_NORM, .attrs = {.eps = 1e-6}, \
        .n_in = 1, .n_out = 1, .n_param = 2,                                             \
        .in = {{kx, D4(n, c, h, w), FILL_NORMAL, shift, 2, false}},                      \
        .out = {{ky, D4(n, c, h, w), FILL_NORMAL, 0, 0, false}},                         \
        .param = {{SC_EXACT, D1(c), FILL_NORMAL, 1, 0.3, false},                         \
                  {SC_EXACT, D1(c), FILL_NORMAL, 0, 0.5, false}},                        \
    }
#define LAYER_SCALE(label, n, c, h, w, kx)                                            \
    {                                                                                 \
        .name = "layer_scale " label, .op = SC_OP_LAYER_SCALE, .n_in = 2, .n_out = 1, \
        .n_param = 1,                                                                 \
        .in = {{kx, D4(n, c, h, w), FILL_NORMAL, 0, 1, false},                        \
               {SC_COMPUTE, D4(n, c, h, w), FILL_NORMAL, 0.5, 1, false}},             \
        .out = {{SC_EXACT, D4(n, c, h, w), FILL_NORMAL, 0, 0, false}},                \
        .param = {{SC_EXACT, D1(c), FILL_NORMAL, 0, 0.3, false}},                     \
    }
#define SCALE_CHANNELS(label, n, c, h, w, kx, ks)                                           \
    {                                                                                       \
        .name = "scale_channels " label, .op = SC_OP_SCALE_CHANNELS, .n_in = 2, .n_out = 1, \
        .in = {{kx, D4(n, c, h, w), FILL_NORMAL, 0.2, 1, false},                            \
               {ks, D2(n, c), FILL_POSITIVE, 0, 1, false}},                                 \
        .out = {{kx, D4(n, c, h, w), FILL_NORMAL, 0, 0, false}},                            \
    }
#define LAYER_NORM(label, n, l, w, kx, ky, shift)                                               \
    {                                                                                           \
        .name = "layer_norm " label, .op = SC_OP_LAYER_NORM, .attrs = {.eps = 1e-5}, .n_in = 1, \
        .n_out = 1, .n_param = 2, .in = {{kx, D3(n, l, w), FILL_NORMAL, shift, 2, false}},      \
        .out = {{ky, D3(n, l, w), FILL_NORMAL, 0, 0, false}},                                   \
        .param = {{SC_EXACT, D1(w), FILL_NORMAL, 1, 0.3, false},                                \
                  {SC_EXACT, D1(w), FILL_NORMAL, 0, 0.5, false}},                               \
    }
#define EMBED(label, t, l, v, ctx, w)                                                   \
    {                                                                                   \
        .name = "embed " label, .op = SC_OP_EMBED, .n_in = 1, .n_out = 1, .n_param = 2, \
        .in = {{SC_INT32, D2(t, l), FILL_INT, v, 0, false}},                            \
        .out = {{SC_EXACT, D3(t, l, w), FILL_NORMAL, 0, 0, false}},                     \
        .param = {{SC_EXACT, D2(v, w), FILL_NORMAL, 0, 1, false},                       \
                  {SC_EXACT, D2(ctx, w), FILL_NORMAL, 0, 1, false}},                    \
    }
#define EMBED_TYPED(label, t, l, v, ctx, w)                                             \
    {                                                                                   \
        .name = "embed " label, .op = SC_OP_EMBED, .n_in = 1, .n_out = 1, .n_param = 3, \
        .in = {{SC_INT32, D2(t, l), FILL_INT, v, 0, false}},                            \
        .out = {{SC_EXACT, D3(t, l, w), FILL_NORMAL, 0, 0, false}},                     \
        .param = {{SC_EXACT, D2(v, w), FILL_NORMAL, 0, 1, false},                       \
                  {SC_EXACT, D2(ctx, w), FILL_NORMAL, 0, 1, false},                     \
                  {SC_EXACT, D2(2, w), FILL_NORMAL, 0, 1, false}},                      \
    }
#define PREPEND(label, n, l, w, kx)                                                         \
    {                                                                                       \
        .name = "prepend " label, .op = SC_OP_PREPEND, .n_in = 1, .n_out = 1, .n_param = 2, \
        .in = {{kx, D3(n, l, w), FILL_NORMAL, 0, 1, false}},                                \
        .out = {{SC_EXACT, D3(n, (l) + 1, w), FILL_NORMAL, 0, 0, false}},                   \
        .param = {{SC_EXACT, D3(1, 1, w), FILL_NORMAL, 0, 1, false},                        \
                  {SC_EXACT, D3(1, (l) + 1, w), FILL_NORMAL, 0, 1, false}},                 \
    }
#define PREPEND_PIXELS(label, n, c, h, w)                                                   \
    {                                                                                       \
        .name = "prepend " label, .op = SC_OP_PREPEND, .n_in = 1, .n_out = 1, .n_param = 2, \
        .in = {{SC_COMPUTE, D4(n, c, h, w), FILL_NORMAL, 0, 1, false}},                     \
        .out = {{SC_EXACT, D3(n, (h) * (w) + 1, c), FILL_NORMAL, 0, 0, false}},             \
        .param = {{SC_EXACT, D3(1, 1, c), FILL_NORMAL, 0, 1, false},                        \
                  {SC_EXACT, D3(1, (h) * (w) + 1, c), FILL_NORMAL, 0, 1, false}},           \
    }
#define FULL_ATTENTION(label, t, l, w, h, has_last, kind)                                \
    {                                                                                    \
        .name = "attention full " label, .op = SC_OP_ATTENTION, .attrs = {.heads = (h)}, \
        .n_in = 3 + (has_last), .n_out = 1,                                              \
        .in = {{kind, D3(t, l, w), FILL_NORMAL, 0, 1, false},                            \
               {kind, D3(t, l, w), FILL_NORMAL, 0, 1, false},                            \
               {kind, D3(t, l, w), FILL_NORMAL, 0, 1, false},                            \
               {SC_INT32, D1(t), FILL_INT, l, 0, false}},                                \
        .out = {{SC_COMPUTE, D3(t, l, w), FILL_NORMAL, 0, 0, false}},                    \
    }
#define SELECT_FIRST(label, t, l, w, kx, ky)                                        \
    {                                                                               \
        .name = "select_row " label, .op = SC_OP_SELECT_ROW, .n_in = 1, .n_out = 1, \
        .in = {{kx, D3(t, l, w), FILL_NORMAL, 0, 1, false}},                        \
        .out = {{ky, D2(t, w), FILL_NORMAL, 0, 0, false}},                          \
    }
#define ATTENTION(label, t, l, w, h)                                                           \
    {                                                                                          \
        .name = "attention " label, .op = SC_OP_ATTENTION, .attrs = {.heads = (h)}, .n_in = 1, \
        .n_out = 1, .in = {{SC_COMPUTE, D3(t, l, 3 * (w)), FILL_NORMAL, 0, 1, false}},         \
        .out = {{SC_COMPUTE, D3(t, l, w), FILL_NORMAL, 0, 0, false}},                          \
    }
#define PACKED(label, t, r, w, h, before, most)                                                \
    {                                                                                          \
        .name = "attention packed " label, .op = SC_OP_ATTENTION,                              \
        .attrs = {.heads = (h), .shared = (before), .longest = (most)}, .n_in = 2, .n_out = 1, \
        .in = {{SC_COMPUTE, D2(r, 3 * (w)), FILL_NORMAL, 0, 1, false},                         \
               {SC_INT32, D1((t) + 1), FILL_BEGINS, before, r, false}},                        \
        .out = {{SC_COMPUTE, D2(r, w), FILL_NORMAL, 0, 0, false}},                             \
    }
#define EMBED_PACKED(label, r, v, ctx, w)                                                      \
    {                                                                                          \
        .name = "embed packed " label, .op = SC_OP_EMBED, .n_in = 2, .n_out = 1, .n_param = 2, \
        .in = {{SC_INT32, D1(r), FILL_INT, v, 0, false},                                       \
               {SC_INT32, D1(r), FILL_INT, ctx, 0, false}},                                    \
        .out = {{SC_EXACT, D2(r, w), FILL_NORMAL, 0, 0, false}},                               \
        .param = {{SC_EXACT, D2(v, w), FILL_NORMAL, 0, 1, false},                              \
                  {SC_EXACT, D2(ctx, w), FILL_NORMAL, 0, 1, false}},                           \
    }
#define SELECT_PACKED(label, t, r, w, kx)                                                  \
    {                                                                                      \
        .name = "select_row packed " label, .op = SC_OP_SELECT_ROW, .n_in = 2, .n_out = 1, \
        .in = {{kx, D2(r, w), FILL_NORMAL, 0, 1, false},                                   \
               {SC_INT32, D1(t), FILL_INT, r, 0, false}},                                  \
        .out = {{kx, D2(t, w), FILL_NORMAL, 0, 0, false}},                                 \
    }
#define SELECT(label, t, l, w, kx, ky)                                              \
    {                                                                               \
        .name = "select_row " label, .op = SC_OP_SELECT_ROW, .n_in = 2, .n_out = 1, \
        .in = {{kx, D3(t, l, w), FILL_NORMAL, 0, 1, false},                         \
               {SC_INT32, D1(t), FILL_INT, l, 0, false}},                           \
        .out = {{ky, D2(t, w), FILL_NORMAL, 0, 0, false}},                          \
    }
#define L2(label, n, w, kx, size)                                                       \
    {                                                                                   \
        .name = "l2_normalize " label, .op = SC_OP_L2_NORMALIZE, .n_in = 1, .n_out = 1, \
        .in = {{kx, D2(n, w), FILL_NORMAL, 0, size, false}},                            \
        .out = {{SC_EXACT, D2(n, w), FILL_NORMAL, 0, 0, false}},                        \
    }
#define GROUP(label, t, g, w, kx)                                                   \
    {                                                                               \
        .name = "group_mean " label, .op = SC_OP_GROUP_MEAN, .n_in = 2, .n_out = 1, \
        .in = {{kx, D2(t, w), FILL_NORMAL, 0, 1, false},                            \
               {SC_INT32, D1(t), FILL_GROUPS, g, 0, false}},                        \
        .out = {{SC_EXACT, D2(g, w), FILL_NORMAL, 0, 0, false}},                    \
    }
#define GATHER(label, n, w, kind)                                                   \
    {                                                                               \
        .name = "all_gather " label, .op = SC_OP_ALL_GATHER, .n_in = 1, .n_out = 1, \
        .in = {{kind, D2(n, w), FILL_NORMAL, 0, 1, false}},                         \
        .out = {{kind, D2(n, w), FILL_NORMAL, 0, 0, false}},                        \
    }
#define LOSS(label, b, c, e, ...)                                              \
    {                                                                          \
        .name = "superclip_loss " label, .op = SC_OP_SUPERCLIP_LOSS,           \
        .attrs = {.loss = {__VA_ARGS__}}, .n_in = 4, .n_out = 2, .n_param = 1, \
        .in = {{SC_EXACT, D2(b, e), FILL_UNIT, 0, 1, false},                   \
               {SC_EXACT, D2(c, e), FILL_UNIT, 0, 1, false},                   \
               {SC_INT32, D1(b), FILL_INT, c, 0, false},                       \
               {SC_EXACT, D1(c), FILL_POSITIVE, 0.25, 4, true}},               \
        .out = {{SC_EXACT, D1(3), FILL_NORMAL, 0, 0, false},                   \
                {SC_EXACT, D2(b, c), FILL_NORMAL, 0, 0, true}},                \
        .param = {{SC_EXACT, {0, {0}}, FILL_POSITIVE, 0.25, 0.5, false}},      \
    }
#define AUGMENT(label, n, side, s)                                                        \
    {                                                                                     \
        .name = "augment " label, .op = SC_OP_AUGMENT, .attrs = {.crop = (s)}, .n_in = 2, \
        .n_out = 1,                                                                       \
        .in = {{SC_BYTES, D4(n, side, side, 3), FILL_BYTES, 0, 0, false},                 \
               {SC_BYTES, D2(n, (int64_t)sizeof(sc_augment)), FILL_DRAWS, 0, 0, false}},  \
        .out = {{SC_COMPUTE, D4(n, 3, s, s), FILL_NORMAL, 0, 0, true}},                   \
    }

static const op_case cases[] = {
    CONV("stem 7x7/2", 2, 3, 38, 38, 16, 7, 2, 3),
    CONV("3x3", 2, 32, 14, 14, 32, 3, 1, 1),
    CONV("3x3 7 px", 3, 64, 7, 7, 48, 3, 1, 1),
    CONV("3x3/2", 2, 32, 15, 13, 64, 3, 2, 1),
    CONV("1x1/2", 2, 32, 14, 14, 64, 1, 2, 0),
    CONV("1x1", 2, 64, 9, 9, 16, 1, 1, 0),
    CONV("odd channels", 2, 20, 9, 7, 33, 3, 1, 1),
    CONV("narrow", 2, 8, 12, 12, 8, 3, 1, 1),
    CONV("5 to 6 channels", 1, 5, 6, 6, 6, 3, 1, 1),
    CONV("1 px", 4, 32, 1, 1, 32, 3, 1, 1),
    CONV("2 px/2", 1, 24, 2, 2, 40, 3, 2, 1),
    CONV("3 channels out", 1, 16, 6, 6, 3, 3, 1, 1),
    CONV("1 channel in", 1, 1, 9, 9, 16, 3, 1, 1),
    CONV("stem narrow", 2, 3, 32, 32, 8, 7, 2, 3),

    CONV_BIAS("bias", 2, 32, 9, 7, 48, 3, 1, 1),
    CONV_BIAS("bias odd channels", 2, 20, 9, 7, 33, 3, 2, 1),
    CONV_BIAS("bias patches", 2, 3, 13, 12, 24, 4, 4, 0),
    CONV_BIAS("bias 2x2/2", 2, 24, 7, 6, 40, 2, 2, 0),
    CONV_BIAS("bias 3 channels out", 1, 16, 6, 6, 3, 1, 1, 0),
    {.name = "conv2d matrix",
     .op = SC_OP_CONV2D,
     .attrs = {.kernel = 1, .stride = 1},
     .n_in = 1,
     .n_out = 1,
     .n_param = 2,
     .in = {{SC_COMPUTE, D4(2, 24, 5, 7), FILL_NORMAL, 0.2, 1, false}},
     .out = {{SC_COMPUTE, D4(2, 40, 5, 7), FILL_NORMAL, 0, 0, false}},
     .param = {{SC_EXACT, D2(40, 24), FILL_NORMAL, 0, 0.1, false},
               {SC_EXACT, D1(40), FILL_NORMAL, 0, 1, false}}},

    BN("plain", 4, 32, 7, 7, 0, false, false, 0.5),
    BN("relu", 4, 32, 9, 5, 0, true, false, 0.5),
    BN("residual relu", 4, 48, 7, 7, 1, true, false, 0.5),
    BN("residual", 2, 16, 8, 8, 1, false, false, 0.5),
    BN("large mean", 2, 16, 20, 20, 0, true, false, 64),
    BN("frozen relu", 2, 32, 7, 7, 0, true, true, 0.5),
    BN("odd channels", 3, 21, 5, 5, 1, true, false, 0.5),
    BN("3 channels", 3, 3, 6, 5, 1, true, false, 0.5),
    BN("1 px", 8, 64, 1, 1, 1, true, false, 0.5),
    BN("1 image", 1, 16, 7, 7, 0, true, false, 0.5),
    BN("many chunks", 2, 16, 33, 31, 0, true, false, 0.5),

    MAX_POOL("3x3/2", 2, 32, 16, 16, 3, 2, 1, FILL_NORMAL),
    MAX_POOL("ties", 2, 32, 15, 13, 3, 2, 1, FILL_TEXTURE),
    MAX_POOL("odd channels", 2, 9, 7, 8, 3, 2, 1, FILL_TEXTURE),
    MAX_POOL("2 channels", 2, 2, 7, 8, 3, 2, 1, FILL_TEXTURE),
    MAX_POOL("2x2/2", 1, 16, 6, 6, 2, 2, 0, FILL_NORMAL),
    MAX_POOL("1 px", 1, 16, 1, 1, 3, 2, 1, FILL_NORMAL),
    BN_POOL("3x3/2", 2, 32, 16, 16, 3, 2, 1, false, FILL_NORMAL, FILL_TEXTURE),
    BN_POOL("odd sizes", 3, 21, 15, 13, 3, 2, 1, false, FILL_NORMAL, FILL_TEXTURE),
    BN_POOL("ties", 2, 32, 15, 14, 3, 2, 1, false, FILL_TEXTURE, FILL_TEXTURE),
    BN_POOL("weights of 0", 2, 32, 9, 9, 3, 2, 1, false, FILL_NORMAL, FILL_INT),
    BN_POOL("frozen", 2, 16, 9, 8, 3, 2, 1, true, FILL_NORMAL, FILL_TEXTURE),
    BN_POOL("2x2/2", 2, 16, 6, 6, 2, 2, 0, false, FILL_NORMAL, FILL_TEXTURE),
    BN_POOL("3x3/1", 2, 16, 6, 6, 3, 1, 1, false, FILL_NORMAL, FILL_TEXTURE),
    BN_POOL("1 px", 4, 16, 1, 1, 3, 2, 1, false, FILL_NORMAL, FILL_TEXTURE),

    AVG_POOL("7 px", 3, 64, 7, 7, SC_COMPUTE),
    AVG_POOL("odd", 2, 21, 3, 5, SC_EXACT),
    AVG_POOL("1 px", 2, 40, 1, 1, SC_COMPUTE),
    AVG_POOL("4 channels", 2, 4, 5, 5, SC_COMPUTE),

    LINEAR("compute", 24, SC_COMPUTE, 64, SC_COMPUTE, 96, 1, false, SC_NO_ACTIVATION),
    LINEAR("gelu", 20, SC_COMPUTE, 64, SC_COMPUTE, 128, 1, false, SC_QUICK_GELU),
    LINEAR("to exact", 20, SC_COMPUTE, 128, SC_EXACT, 64, 1, false, SC_NO_ACTIVATION),
    LINEAR("from exact", 9, SC_EXACT, 64, SC_EXACT, 32, 0, true, SC_NO_ACTIVATION),
    LINEAR("from exact gelu", 9, SC_EXACT, 32, SC_EXACT, 40, 1, false, SC_QUICK_GELU),
    LINEAR("odd", 7, SC_COMPUTE, 19, SC_COMPUTE, 13, 1, false, SC_QUICK_GELU),
    LINEAR("odd transposed", 5, SC_COMPUTE, 21, SC_EXACT, 11, 1, true, SC_NO_ACTIVATION),
    LINEAR("1 row", 1, SC_COMPUTE, 64, SC_EXACT, 48, 1, false, SC_NO_ACTIVATION),
    LINEAR("1 by 1", 1, SC_EXACT, 1, SC_EXACT, 1, 1, true, SC_NO_ACTIVATION),
    LINEAR("tiles", 61, SC_COMPUTE, 150, SC_COMPUTE, 201, 1, false, SC_QUICK_GELU),
    LINEAR("tiles transposed", 61, SC_COMPUTE, 151, SC_EXACT, 200, 0, true, SC_NO_ACTIVATION),

    ADD("compute", 4, 37, SC_COMPUTE, SC_COMPUTE, SC_COMPUTE),
    ADD("exact", 4, 37, SC_EXACT, SC_EXACT, SC_EXACT),
    ADD("mixed", 50, 129, SC_EXACT, SC_COMPUTE, SC_EXACT),

    LINEAR("exact gelu", 20, SC_COMPUTE, 64, SC_COMPUTE, 128, 1, false, SC_GELU),
    LINEAR("silu", 5, SC_COMPUTE, 24, SC_COMPUTE, 6, 1, false, SC_SILU),

    ACTIVATE("gelu", 2, 20, 5, 7, SC_COMPUTE, SC_GELU, 2),
    ACTIVATE("gelu exact", 3, 37, 1, 1, SC_EXACT, SC_GELU, 4),
    ACTIVATE("silu", 2, 24, 9, 5, SC_COMPUTE, SC_SILU, 3),
    ACTIVATE("relu", 1, 40, 3, 3, SC_COMPUTE, SC_RELU, 1),
    ACTIVATE("relu6", 2, 21, 4, 4, SC_COMPUTE, SC_RELU6, 8),
    ACTIVATE("quick gelu 3 channels", 2, 3, 5, 5, SC_COMPUTE, SC_QUICK_GELU, 2),
    {.name = "activate sigmoid",
     .op = SC_OP_ACTIVATE,
     .attrs = {.activation = SC_SIGMOID},
     .n_in = 1,
     .n_out = 1,
     .in = {{SC_COMPUTE, D2(5, 37), FILL_NORMAL, 0, 5, false}},
     .out = {{SC_COMPUTE, D2(5, 37), FILL_NORMAL, 0, 0, false}}},
    ACTIVATE("far out", 2, 16, 6, 6, SC_EXACT, SC_SILU, 60),

    MULTIPLY("relu6", 2, 21, 4, 5, SC_COMPUTE, SC_RELU6),
    MULTIPLY("plain", 3, 24, 3, 3, SC_EXACT, SC_NO_ACTIVATION),
    MULTIPLY("silu 3 channels", 1, 3, 5, 5, SC_COMPUTE, SC_SILU),

    DEPTHWISE("7x7", 2, 3, 40, 17, 14, 7, 1, 3, SC_COMPUTE),
    DEPTHWISE("7x7 exact", 2, 1, 24, 9, 11, 7, 1, 3, SC_EXACT),
    DEPTHWISE("3x3", 1, 2, 32, 9, 7, 3, 1, 1, SC_COMPUTE),
    DEPTHWISE("3x3/2", 1, 2, 21, 15, 12, 3, 2, 1, SC_COMPUTE),
    DEPTHWISE("5x5", 1, 10, 16, 8, 13, 5, 1, 2, SC_COMPUTE),
    DEPTHWISE("5x5/2", 2, 2, 33, 14, 11, 5, 2, 2, SC_EXACT),
    DEPTHWISE("1 px", 2, 4, 48, 1, 1, 7, 1, 3, SC_COMPUTE),
    DEPTHWISE("2 px/2", 1, 2, 8, 2, 2, 5, 2, 2, SC_COMPUTE),
    DEPTHWISE("4x4/3", 2, 2, 9, 11, 10, 4, 3, 2, SC_COMPUTE),
    DEPTHWISE("1x1", 1, 1, 5, 6, 3, 1, 1, 0, SC_COMPUTE),
    DEPTHWISE("1x1/3", 2, 1, 20, 8, 9, 1, 3, 0, SC_COMPUTE),
    DEPTHWISE("no padding", 1, 2, 16, 9, 23, 5, 1, 0, SC_COMPUTE),
    DEPTHWISE("wide padding", 1, 1, 16, 3, 2, 2, 1, 4, SC_COMPUTE),

    CHANNEL_NORM("compute", 2, 96, 7, 9, SC_COMPUTE, SC_COMPUTE, 0.5),
    CHANNEL_NORM("exact to compute", 3, 24, 5, 3, SC_EXACT, SC_COMPUTE, 10),
    CHANNEL_NORM("odd exact", 2, 37, 4, 5, SC_EXACT, SC_EXACT, -1),
    CHANNEL_NORM("1 px", 2, 20, 1, 1, SC_COMPUTE, SC_COMPUTE, 0),
    CHANNEL_NORM("5 channels", 1, 5, 3, 3, SC_COMPUTE, SC_EXACT, 1),

    LAYER_SCALE("exact", 2, 40, 5, 7, SC_EXACT),
    LAYER_SCALE("from compute", 3, 21, 4, 4, SC_COMPUTE),

    SCALE_CHANNELS("compute", 3, 24, 5, 7, SC_COMPUTE, SC_COMPUTE),
    SCALE_CHANNELS("odd", 2, 37, 9, 8, SC_COMPUTE, SC_EXACT),
    SCALE_CHANNELS("exact", 1, 112, 3, 3, SC_EXACT, SC_COMPUTE),

    LAYER_NORM("exact to compute", 3, 5, 64, SC_EXACT, SC_COMPUTE, 0.5),
    LAYER_NORM("odd", 2, 3, 37, SC_EXACT, SC_EXACT, 10),
    LAYER_NORM("compute", 9, 20, 48, SC_COMPUTE, SC_COMPUTE, -1),
    LAYER_NORM("1 row", 1, 1, 16, SC_EXACT, SC_COMPUTE, 0),

    EMBED("short texts", 5, 7, 40, 77, 48),
    EMBED("1 token", 1, 1, 3, 1, 17),
    EMBED_TYPED("with types", 4, 6, 30, 9, 37),

    PREPEND("compute", 3, 9, 48, SC_COMPUTE),
    PREPEND("odd", 2, 1, 17, SC_EXACT),
    PREPEND_PIXELS("pixels", 2, 48, 4, 3),
    PREPEND_PIXELS("odd pixels", 3, 21, 2, 5),

    PACKED("3 texts, 4 shared", 3, 17, 8, 2, 4, 9),
    PACKED("4 texts, none shared", 4, 26, 24, 3, 0, 7),
    PACKED("9 texts of width 64", 9, 100, 64, 1, 8, 19),
    PACKED("one text", 1, 5, 8, 1, 2, 5),
    PACKED("more than a block", 2, 172, 40, 2, 20, 96),
    EMBED_PACKED("repeats", 11, 5, 4, 20),
    EMBED_PACKED("one", 1, 3, 7, 64),
    SELECT_PACKED("again", 6, 4, 24, SC_EXACT),
    SELECT_PACKED("bf16", 3, 19, 40, SC_COMPUTE),
    ATTENTION("20 tokens", 3, 20, 128, 2),
    ATTENTION("odd", 2, 7, 30, 3),
    ATTENTION("1 token", 2, 1, 32, 2),
    ATTENTION("33 tokens", 1, 33, 64, 1),
    ATTENTION("77 tokens", 1, 77, 48, 3),
    FULL_ATTENTION("197 patches", 1, 197, 128, 2, 0, SC_COMPUTE),
    FULL_ATTENTION("odd", 3, 7, 30, 3, 0, SC_COMPUTE),
    FULL_ATTENTION("exact", 2, 19, 32, 2, 0, SC_EXACT),
    FULL_ATTENTION("1 position", 2, 1, 20, 1, 0, SC_COMPUTE),
    FULL_ATTENTION("lengths", 6, 21, 64, 2, 1, SC_COMPUTE),
    FULL_ATTENTION("odd lengths", 5, 70, 33, 3, 1, SC_COMPUTE),

    SELECT("exact", 5, 6, 33, SC_EXACT, SC_EXACT),
    SELECT("to compute", 3, 4, 64, SC_EXACT, SC_COMPUTE),
    SELECT_FIRST("first", 3, 5, 40, SC_EXACT, SC_EXACT),

    L2("exact", 5, 512, SC_EXACT, 1),
    L2("compute", 4, 37, SC_COMPUTE, 30),
    L2("1 wide", 3, 1, SC_EXACT, 1),
    L2("tiny", 3, 24, SC_EXACT, 1e-14),

    GROUP("exact", 9, 4, 65, SC_EXACT),
    GROUP("one each", 3, 3, 16, SC_EXACT),
    GROUP("compute", 7, 2, 16, SC_COMPUTE),

    GATHER("exact", 6, 48, SC_EXACT),
    GATHER("compute", 6, 37, SC_COMPUTE),

    LOSS("contrastive", 12, 5, 64, .superclip = false, .tau0 = 0.07),
    LOSS("superclip", 32, 9, 512, .superclip = true, .class_weight = 1, .contrastive_weight = 1,
         .tau0 = 0.07),
    LOSS("multi positive", 16, 4, 33, .superclip = true, .class_weight = 0.5,
         .contrastive_weight = 2, .tau0 = 0.1, .multi_positive = true),
    LOSS("focal", 16, 4, 33, .superclip = true, .class_weight = 2, .contrastive_weight = 0.25,
         .focal = true, .focal_alpha = 0.25, .focal_gamma = 2, .tau0 = 0.07),
    LOSS("focal gamma 0", 6, 3, 20, .superclip = true, .class_weight = 1, .contrastive_weight = 0,
         .focal = true, .focal_alpha = 1, .focal_gamma = 0, .tau0 = 0.07),
    LOSS("focal gamma half", 6, 3, 20, .superclip = true, .class_weight = 1,
         .contrastive_weight = 1, .focal = true, .focal_alpha = 0.5, .focal_gamma = 0.5,
         .tau0 = 0.07),
    LOSS("2 classes", 3, 2, 8, .superclip = true, .class_weight = 1, .contrastive_weight = 1,
         .tau0 = 0.07),
    LOSS("1 image", 1, 3, 16, .superclip = true, .class_weight = 1, .contrastive_weight = 1,
         .tau0 = 0.07),
    LOSS("more classes than images", 4, 40, 16, .superclip = true, .class_weight = 1,
         .contrastive_weight = 1, .tau0 = 0.07),

    AUGMENT("35 to 32", 6, 35, 32),
    AUGMENT("odd", 9, 25, 23),
    AUGMENT("no room", 5, 17, 17),
    AUGMENT("5 px", 7, 6, 5),
};

const op_case *op_cases(size_t *count)
{
    *count = sizeof cases / sizeof *cases;
    return cases;
}
const op_case *op_case_find(const char *name)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (strcmp(cases[i].name, name) == 0)
            return &cases[i];
    return NULL;
}
