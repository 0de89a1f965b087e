/* The launchers of our own kernels: the one door between host code (C) and the .cu files.
 *
 * Every launcher queues work on `stream` (a cudaStream_t) and returns cudaGetLastError's value, 0
 * when all is well; a launch of no work does nothing. Pointers are device memory unless `host` is
 * said. No launcher allocates, waits, or uses floating-point atomics; every reduction has a fixed
 * order, so the same input gives the same bits on the same device.
 *
 * Image values lie as [n][h][w][C], C a multiple of 8 (padding channels hold what the formula gives
 * for zeros); every other value is a plain array. Pointers are 16-byte aligned,
 * but for sc_cuda_convert's.
 */
#ifndef SC_BACKEND_CUDA_KERNELS_H
#define SC_BACKEND_CUDA_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sc_cuda_type { SC_CUDA_F32, SC_CUDA_BF16 } sc_cuda_type;
/* An array and its element type. */
typedef struct sc_cuda_in {
    const void *p;
    sc_cuda_type type;
} sc_cuda_in;
typedef struct sc_cuda_out {
    void *p;
    sc_cuda_type type;
    bool add; /* to what is there, instead of overwriting it */
} sc_cuda_out;

/* ---- augment.cu: 8-bit rows and their draws -> normalised image rows (PIXELS.md's chain) ---- */
typedef struct sc_cuda_augment {
    const uint8_t *rows;      /* [n][side][side][3] */
    const void *draws;        /* sc_augment [n] */
    const float *table;       /* sc_normalize_table's [3][256] */
    unsigned long long *sums; /* work: [n][SC_CUDA_GREY_PARTS] */
    int *fault;               /* 1 + the largest sample whose draws leave the image; 0 at first */
    int64_t n;
    int side, crop, channels; /* channels: of the output, padding included (0) */
} sc_cuda_augment;
enum { SC_CUDA_GREY_PARTS = 16 };
int sc_cuda_augment_run(void *stream, const sc_cuda_augment *a, void *out, sc_cuda_type type);

/* ---- gather.cu: row i of `to` becomes row index[i] of `rows`; index: the host's, read at once ---- */
int sc_cuda_gather(void *stream, const uint8_t *rows, size_t row_bytes, const int64_t *index,
                   int64_t n, uint8_t *to);

/* ---- batch_norm.cu ----
 * forward: stats -> [join, all_gather of pairs, settle | join_settle] -> apply
 * backward: back_sums -> [back_join, all_reduce, back_settle | both in one] -> back_apply
 * A pair is one rank's double [2 * channels + 1]: means, sums of squared deviations, count. */
typedef struct sc_cuda_bn {
    sc_cuda_type type;
    int64_t rows;                  /* n * h * w */
    int channels;                  /* padded */
    bool relu, batch;              /* batch: batch statistics, not the running ones */
    const void *x, *residual, *dy; /* residual may be NULL */
    void *y;
    sc_cuda_out dx, dresidual; /* p may be NULL */
    uint8_t *mask;             /* a bit an element where y passed the ReLU; may be NULL forward */
    const float *weight, *bias;
    float *running_mean, *running_var, *dweight, *dbias; /* gradients may be NULL */
    double eps, momentum;
    float *mean, *lost, *rstd; /* [channels] each: exact mean = mean - lost */
    float *scale, *shift;      /* [channels] each; backward: mean_dy is shift */
    float *slope;              /* [channels], backward */
    double *count;             /* [1]: values a channel had */
    float *parts;              /* work: [splits][3][channels] */
    double *pairs;             /* work: [ranks][2 * channels + 1]; backward [2 * channels] */
    int rank, ranks;
} sc_cuda_bn;
int sc_cuda_bn_splits(int64_t rows, int channels);
int sc_cuda_bn_stats(void *stream, const sc_cuda_bn *b);
int sc_cuda_bn_join(void *stream, const sc_cuda_bn *b);        /* -> pairs[rank] */
int sc_cuda_bn_settle(void *stream, const sc_cuda_bn *b);      /* pairs -> vectors */
int sc_cuda_bn_join_settle(void *stream, const sc_cuda_bn *b); /* ranks == 1 */
int sc_cuda_bn_running(void *stream, const sc_cuda_bn *b);     /* running statistics -> vectors */
int sc_cuda_bn_apply(void *stream, const sc_cuda_bn *b);
int sc_cuda_bn_back_sums(void *stream, const sc_cuda_bn *b);
int sc_cuda_bn_back_join(void *stream, const sc_cuda_bn *b,
                         bool settle); /* -> pairs; and settles */
int sc_cuda_bn_back_settle(void *stream, const sc_cuda_bn *b);
int sc_cuda_bn_back_apply(void *stream, const sc_cuda_bn *b);

/* ---- pool.cu ---- */
typedef struct sc_cuda_pool {
    sc_cuda_type type;
    int64_t n;
    int channels, h, w, oh, ow, kernel, stride, pad;
} sc_cuda_pool;
/* index [n][oh][ow][channels]: place of the maximum in its window; NULL: not wanted */
int sc_cuda_max_pool(void *stream, const sc_cuda_pool *p, const void *x, void *y, uint8_t *index);
int sc_cuda_max_pool_back(void *stream, const sc_cuda_pool *p, const void *dy, const uint8_t *index,
                          sc_cuda_out dx);
/* y, dy: plain [n][plain]; plain <= channels */
int sc_cuda_avg_pool(void *stream, const sc_cuda_pool *p, int plain, const void *x, sc_cuda_out y);
int sc_cuda_avg_pool_back(void *stream, const sc_cuda_pool *p, int plain, sc_cuda_in dy,
                          sc_cuda_out dx);

/* ---- elementwise.cu ---- */
int sc_cuda_convert(void *stream, sc_cuda_in x, sc_cuda_out y, int64_t count);
int sc_cuda_add(void *stream, sc_cuda_in a, sc_cuda_in b, sc_cuda_out y, int64_t count);
/* p, g, m, v: float [count]; copy: bfloat16 [count] of the new p, or NULL. c: 1 - lr*wd, beta1,
 * 1 - beta1, beta2, 1 - beta2, lr / c1, sqrt(c2), eps, in device memory so that a captured graph
 * reads each step's values. */
int sc_cuda_adamw(void *stream, float *p, const float *g, float *m, float *v, void *copy,
                  int64_t count, const float *c);

/* ---- activate.cu: the activations of backend.h, by its numbers ---- */
typedef enum sc_cuda_activation {
    SC_CUDA_NO_ACTIVATION,
    SC_CUDA_QUICK_GELU,
    SC_CUDA_GELU,
    SC_CUDA_SILU,
    SC_CUDA_RELU,
    SC_CUDA_RELU6,
    SC_CUDA_SIGMOID
} sc_cuda_activation;
int sc_cuda_activate(void *stream, sc_cuda_activation f, sc_cuda_in z, sc_cuda_out y,
                     int64_t count);
int sc_cuda_activate_back(void *stream, sc_cuda_activation f, sc_cuda_in dy, sc_cuda_in z,
                          sc_cuda_out dz, int64_t count);
/* y = f(a) b; backward: da.p, db.p may be NULL and have the types of a and b */
int sc_cuda_multiply(void *stream, sc_cuda_activation f, sc_cuda_in a, sc_cuda_in b, sc_cuda_out y,
                     int64_t count);
int sc_cuda_multiply_back(void *stream, sc_cuda_activation f, sc_cuda_in dy, sc_cuda_in a,
                          sc_cuda_in b, sc_cuda_out da, sc_cuda_out db, int64_t count);

/* ---- layer_norm.cu: rows of `width`, `pitch` apart; elements between stay or become 0 ---- */
int sc_cuda_layer_norm(void *stream, sc_cuda_in x, sc_cuda_out y, const float *weight,
                       const float *bias, float eps, float *mean, float *rstd, int64_t rows,
                       int width, int pitch);
int sc_cuda_layer_norm_back(void *stream, sc_cuda_in x, sc_cuda_in dy, sc_cuda_out dx,
                            const float *weight, const float *mean, const float *rstd, int64_t rows,
                            int width, int pitch);
/* dweight, dbias may be NULL. */
int sc_cuda_layer_norm_back_params(void *stream, sc_cuda_in x, sc_cuda_in dy, const float *mean,
                                   const float *rstd, float *dweight, float *dbias, int64_t rows,
                                   int width, int pitch, double *parts);
/* out[e] = sum over rows of x[row][e]: a bias' gradient */
int sc_cuda_column_sum(void *stream, sc_cuda_in x, float *out, int64_t rows, int width,
                       double *parts);
/* Bytes of `parts`, work: 2 sums a column for layer_norm's parameters, else 1. */
size_t sc_cuda_column_parts(int64_t rows, int width, int sums);

/* ---- text.cu ---- */
/* tokens [texts][length]; places: the position of each, NULL: its column. types: a row added
 * everywhere, or NULL */
int sc_cuda_embed(void *stream, const int32_t *tokens, const int32_t *places, const float *table,
                  const float *positions, const float *types, float *y, int64_t texts, int length,
                  int width, int vocabulary, int context, int *fault);
/* Adds to dtable's rows, which the caller zeroed; overwrites dpositions [context][width]. NULL: not
 * wanted. */
int sc_cuda_embed_back(void *stream, const int32_t *tokens, const int32_t *places, const float *dy,
                       float *dtable, float *dpositions, int64_t texts, int length, int width,
                       int vocabulary, int context);
/* x [texts][length][step], of which `width` numbers count; y, dy [texts][length + 1][width]. What
 * is behind the width of dx gets 0; dx.p, dfirst, dpositions may be NULL. */
int sc_cuda_prepend(void *stream, sc_cuda_in x, const float *first, const float *positions,
                    float *y, int64_t texts, int length, int width, int step);
int sc_cuda_prepend_back(void *stream, const float *dy, sc_cuda_out dx, float *dfirst,
                         float *dpositions, int64_t texts, int length, int width, int step);
/* index NULL: row 0 of every text */
int sc_cuda_select_row(void *stream, sc_cuda_in x, const int32_t *index, sc_cuda_out y,
                       int64_t texts, int length, int width, int *fault);
/* y[t] = x[index[t]]; rows may be chosen more than once */
int sc_cuda_pick_rows(void *stream, sc_cuda_in x, const int32_t *index, sc_cuda_out y,
                      int64_t texts, int64_t rows, int width, int *fault);
int sc_cuda_pick_rows_back(void *stream, sc_cuda_in dy, const int32_t *index, sc_cuda_out dx,
                           int64_t texts, int64_t rows, int width);
int sc_cuda_select_row_back(void *stream, sc_cuda_in dy, const int32_t *index, sc_cuda_out dx,
                            int64_t texts, int length, int width);

/* ---- rows.cu ---- */
int sc_cuda_l2_normalize(void *stream, sc_cuda_in x, float *y, float *norm, int64_t rows,
                         int width);
int sc_cuda_l2_normalize_back(void *stream, const float *dy, const float *y, const float *norm,
                              sc_cuda_out dx, int64_t rows, int width);
int sc_cuda_group_mean(void *stream, sc_cuda_in x, const int32_t *group, float *y, int64_t rows,
                       int64_t groups, int width);
int sc_cuda_group_mean_back(void *stream, const float *dy, const int32_t *group, sc_cuda_out dx,
                            int64_t rows, int64_t groups, int width);

/* ---- attention.cu: causal, qkv [T][L][3 W] or [rows][3 W] of packed texts (backend.h) ---- */
typedef struct sc_cuda_attention {
    int64_t texts;
    int length, width, heads; /* length <= SC_CUDA_MAX_LENGTH, width / heads <= SC_CUDA_MAX_HEAD */
    const int32_t *begins;    /* [texts + 1], packed texts of up to `length` rows; or NULL */
    int64_t rows;             /* packed: of all texts */
    int shared;               /* packed: rows that all begin with */
    float *lse;  /* sc_cuda_attention_texts() * heads * length floats, kept for backward */
    float *owed; /* backward with shared > 0: sc_cuda_attention_texts() * shared * 2 width floats */
    int *fault;  /* 1 + the first packed text that is not where it should be */
} sc_cuda_attention;
enum { SC_CUDA_MAX_LENGTH = 96, SC_CUDA_MAX_HEAD = 128 };
/* Texts, and one more for the rows that packed texts share. */
static inline int64_t sc_cuda_attention_texts(const sc_cuda_attention *a)
{
    return a->texts + (a->shared > 0);
}
int sc_cuda_attention_run(void *stream, const sc_cuda_attention *a, sc_cuda_in qkv, sc_cuda_out y);
int sc_cuda_attention_back(void *stream, const sc_cuda_attention *a, sc_cuda_in qkv, sc_cuda_in dy,
                           sc_cuda_out dqkv);

/* ---- attention_full.cu: every position that counts sees all that count; any length ----
 * q, k, v, y and their gradients [T][L][W]; width / heads <= SC_CUDA_MAX_HEAD */
typedef struct sc_cuda_full_attention {
    int64_t texts;
    int length, width, heads;
    sc_cuda_type type; /* of x and its gradients */
    const void *x[3];  /* q, k, v */
    const int32_t
        *last;    /* [T] the last position that counts, those behind it give 0; NULL: all do */
    float *lse;   /* [T][heads][L], kept for backward */
    float *delta; /* work of backward: [T][heads][L] */
    int *fault;   /* 1 + the largest text whose `last` is no position */
} sc_cuda_full_attention;
int sc_cuda_full_attention_run(void *stream, const sc_cuda_full_attention *a, sc_cuda_out y);
/* the p of dx may be NULL */
int sc_cuda_full_attention_back(void *stream, const sc_cuda_full_attention *a, sc_cuda_in dy,
                                const sc_cuda_out dx[3]);

/* ---- loss.cu: superclip_loss as a function of g = x.t [B, C] ---- */
typedef struct sc_cuda_loss {
    int64_t rows, classes, width;
    const float *x, *t, *weights, *tau; /* [B,E] [C,E] [C] [1] */
    const int32_t *labels;
    bool superclip, focal, multi_positive;
    double class_weight, contrastive_weight, focal_alpha, focal_gamma, tau0;
    double *saved; /* sc_cuda_loss_doubles(), kept from forward to backward */
    double *work;  /* backward: [B * C + B] */
    int *fault;
} sc_cuda_loss;
size_t sc_cuda_loss_doubles(int64_t rows, int64_t classes);
int sc_cuda_loss_forward(void *stream, const sc_cuda_loss *l, float *losses, float *logits);
/* dlosses [3] and dlogits [B, C]: NULL when none arrives; dx, dt, dtau: NULL when not wanted */
int sc_cuda_loss_backward(void *stream, const sc_cuda_loss *l, const float *dlosses,
                          const float *dlogits, sc_cuda_out dx, sc_cuda_out dt, float *dtau);

/* ---- layout.cu: float planes [n][c][plane] <-> [n][plane][padded], padding written as 0 ---- */
int sc_cuda_to_channels_last(void *stream, const float *planes, sc_cuda_out y, int64_t n, int c,
                             int64_t plane, int padded);
int sc_cuda_to_planes(void *stream, sc_cuda_in x, float *planes, int64_t n, int c, int64_t plane,
                      int padded);
/* A filter's gradient [o][taps][c], both channel counts rounded up to 8, as floats with zeros where
 * either is padding. dw.p may be grad. */
int sc_cuda_filter_gradient(void *stream, sc_cuda_in dw, float *grad, int64_t o, int c, int taps);
/* y[row][e] += bias[e] */
int sc_cuda_add_bias(void *stream, sc_cuda_out y, const float *bias, int64_t rows, int width);

/* ---- sums.cu: over flat floats, in double; parts: work [SC_CUDA_SUM_PARTS] ---- */
enum { SC_CUDA_SUM_PARTS = 512 };
int sc_cuda_sum(void *stream, const float *x, int64_t count, bool squares, double *parts,
                double *out);
/* *bad becomes 1 when an element is infinite or NaN; never becomes 0 again by itself. */
int sc_cuda_check_finite(void *stream, const float *x, int64_t count, int *bad);

/* ---- channels.cu: a number for each channel ---- */
typedef struct sc_cuda_channels {
    int64_t images, pixels;
    int padded, plain; /* channels as they lie, and as there are */
} sc_cuda_channels;
/* y = x s; each: s [images][plain], else [plain] for all */
int sc_cuda_scale_channels(void *stream, const sc_cuda_channels *k, sc_cuda_in x, sc_cuda_in s,
                           bool each, sc_cuda_out y);
/* y = x + gamma h; gamma [padded]; y.add is not heard */
int sc_cuda_layer_scale(void *stream, const sc_cuda_channels *k, sc_cuda_in x, sc_cuda_in h,
                        const float *gamma, sc_cuda_out y);
/* Sums of a b over the pixels of each image, or of all: out [images][plain] or [plain] */
int sc_cuda_channel_dot(void *stream, const sc_cuda_channels *k, sc_cuda_in a, sc_cuda_in b,
                        bool each, sc_cuda_out out, double *parts);
size_t sc_cuda_channel_parts(const sc_cuda_channels *k, bool each); /* bytes of parts, work */

/* ---- depthwise.cu: weight [plain][kernel][kernel]; bias may be NULL ---- */
typedef struct sc_cuda_depthwise {
    int64_t n;
    int plain, padded, h, w, oh, ow, kernel, stride, pad;
} sc_cuda_depthwise;
int sc_cuda_depthwise_run(void *stream, const sc_cuda_depthwise *d, sc_cuda_in x,
                          const float *weight, const float *bias, sc_cuda_out y);
int sc_cuda_depthwise_data(void *stream, const sc_cuda_depthwise *d, sc_cuda_in dy,
                           const float *weight, sc_cuda_out dx);
int sc_cuda_depthwise_weight(void *stream, const sc_cuda_depthwise *d, sc_cuda_in x, sc_cuda_in dy,
                             float *dweight, double *parts);
size_t sc_cuda_depthwise_parts(const sc_cuda_depthwise *d); /* bytes of parts, work */

/* ---- runtime.cu: the device, for host code that knows no CUDA header ---- */
typedef struct sc_cuda_device_facts {
    char name[128];
    char uuid[16];
    int major, minor, processors;
    size_t memory;
} sc_cuda_device_facts;
const char *sc_cuda_error_text(int error); /* with what to do about it, where users can */
int sc_cuda_devices(int *count);
/* 1000 * major + 10 * minor: the newest CUDA that the driver runs, 0 without one; and our own. */
void sc_cuda_versions(int *driver, int *built_for);
int sc_cuda_use(int device, sc_cuda_device_facts *facts);
int sc_cuda_stream_new(void **stream);
int sc_cuda_stream_free(void *stream);
int sc_cuda_stream_wait(void *stream);
int sc_cuda_stream_ready(void *stream, bool *ready);
/* Of the current device; all processes' allocations count. */
int sc_cuda_memory(size_t *free_bytes, size_t *total_bytes);
int sc_cuda_malloc(size_t bytes, void **p);
int sc_cuda_free(void *p);
/* Host memory that copies are queued from and to without waiting. */
int sc_cuda_pin(size_t bytes, void **p);
int sc_cuda_unpin(void *p);
/* Events: places in a stream's work. What is queued on a stream after `after` starts behind them.
 */
int sc_cuda_event_new(void **event);
int sc_cuda_event_free(void *event);
int sc_cuda_event_record(void *event, void *stream);
int sc_cuda_event_wait(void *event);
int sc_cuda_event_ready(void *event, bool *ready);
int sc_cuda_stream_after(void *stream, void *event);
/* Between the two, work of the stream and of those that are made to follow it becomes a graph. Only
 * calls of this thread are judged. A failed end leaves *graph NULL and nothing recording. */
int sc_cuda_record_begin(void *stream);
int sc_cuda_record_end(void *stream, void **graph);
/* CUDA refuses to wait for the whole device while any thread records, and the recording is lost:
 * calls that may do so (handles of libraries begin and end with it) stand between these two, which
 * wait for recordings and keep new ones waiting. Not within a recording. */
void sc_cuda_hold_recordings(void);
void sc_cuda_release_recordings(void);
int sc_cuda_graph_launch(void *graph, void *stream);
int sc_cuda_graph_free(void *graph);
int sc_cuda_copy(void *stream, void *to, const void *from, size_t bytes);
int sc_cuda_zero(void *stream, void *p, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
