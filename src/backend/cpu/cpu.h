/* The CPU backend's inside: device, layouts, oneDNN wrappers, derived weight copies, the op table.
 *
 * Values. Images [n, C, H, W] with C > 4 lie in channel blocks, [n][Cp / block][H * W][block], Cp =
 * C rounded up to 16 and the block that of the processor's vectors (16 or 8); padding channels hold
 * 0 and every op keeps them 0. With C <= 4 they are plain [n][C][H][W], as are all other values.
 * COMPUTE values are bfloat16 under SC_BF16_MIXED, all other reals float.
 *
 * Parameters (the same on every processor, since ranks sum flat gradients): convolution weights
 * [O, I, k, k] as [Op / 16][Ip / 16][k][k][16 i][16 o], or [Op / 16][k][k][I][16 o] when I <= 4;
 * everything else as PyTorch has it. Counts are rounded up to 16 so that each parameter starts on a
 * cache line.
 *
 * Threads: OpenMP, options.threads of them; every entry point sets that count for the calling
 * thread. Work is cut by shape, never by thread, wherever sums are involved, and oneDNN cuts
 * statically.
 */
#ifndef SC_CPU_H
#define SC_CPU_H

#include "superclip/backend.h"

#include "kernels.h"

#include <oneapi/dnnl/dnnl.h>

typedef struct cpu_sleepers cpu_sleepers;
typedef struct cpu_device {
    sc_device head;
    cpu_kernels k;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    cpu_sleepers *sleepers;
    bool direct_only;    /* winograd.h: convolutions never by Winograd */
    float table[3][256]; /* normalised bytes, for augment */
    uint16_t table_bf16[3][256];
} cpu_device;

/* ---- threads.c ---- */
/* `wanted`, or fewer when the affinity mask cannot be widened that far. */
int cpu_fit_threads(int wanted, const sc_log *log);
/* Keeps waiting threads from spinning long; NULL when not needed. */
cpu_sleepers *cpu_sleepers_start(int threads);
void cpu_sleepers_stop(cpu_sleepers *s);

/* ---- peak.c ---- */
sc_status cpu_peak(sc_device *d, double *flops, double *bytes);

/* ---- memory.c ---- */
sc_status cpu_alloc(sc_device *d, size_t bytes, void **out);
void cpu_free(sc_device *d, void *p);
/* Part of a block of which only some rows will ever be written: takes memory for those alone. Call
 * it before the part is used. */
void cpu_scattered(void *p, size_t bytes);

/* ---- layout.c ---- */
static inline int64_t cpu_round16(int64_t n)
{
    return (n + 15) / 16 * 16;
}
static inline bool cpu_bf16(const cpu_device *d, const sc_value_desc *v)
{
    return v->kind == SC_COMPUTE && d->head.precision == SC_BF16_MIXED;
}
static inline size_t cpu_element(const cpu_device *d, const sc_value_desc *v)
{
    return v->kind == SC_BYTES ? 1 : cpu_bf16(d, v) ? 2 : 4;
}
static inline bool cpu_blocked(const sc_value_desc *v)
{
    return v->shape.n == 4 && v->shape.d[1] > 4 && (v->kind == SC_COMPUTE || v->kind == SC_EXACT);
}
/* Channels as stored: C, or Cp when blocked. */
static inline int64_t cpu_channels(const sc_value_desc *v)
{
    return cpu_blocked(v) ? cpu_round16(v->shape.d[1]) : v->shape.d[1];
}
/* Elements as stored, padding included. */
int64_t cpu_count(const sc_value_desc *v);
/* Product of all dimensions but the last. */
int64_t cpu_rows_of(const sc_value_desc *v);
static inline int64_t cpu_width(const sc_value_desc *v)
{
    return v->shape.n > 0 ? v->shape.d[v->shape.n - 1] : 1;
}
static inline size_t cpu_align(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}
size_t cpu_value_bytes(const sc_device *d, const sc_value_desc *v);
sc_status cpu_upload(sc_device *d, const sc_value_desc *v, const void *host, void *value);
sc_status cpu_download(sc_device *d, const sc_value_desc *v, const void *value, void *host);
size_t cpu_param_elements(const sc_device *d, const sc_param_desc *p);
void cpu_param_import(sc_device *d, const sc_param_desc *p, const void *host, void *value);
void cpu_param_export(sc_device *d, const sc_param_desc *p, const void *value, void *host);
bool cpu_param_plain(const sc_device *d, const sc_param_desc *p);
/* Plain [n][C][hw] <-> blocked planes of the same element type. */
void cpu_block(const cpu_device *d, const sc_value_desc *v, const void *plain, void *blocked);
void cpu_unblock(const cpu_device *d, const sc_value_desc *v, const void *blocked, void *plain);

/* ---- onednn.c ---- */
sc_status cpu_dnnl(dnnl_status_t st, const char *what);
#define DNNL_TRY(call) SC_TRY(cpu_dnnl((call), #call))
/* A primitive with its memory bound once; the addresses are the node's and do not change. */
typedef struct cpu_primitive {
    dnnl_primitive_t p;
    dnnl_exec_arg_t args[6];
    int n;
} cpu_primitive;
/* Creates from pd and destroys pd, whatever happens. scratch: at least cpu_scratchpad(pd) bytes. */
sc_status cpu_primitive_make(cpu_device *d, dnnl_primitive_desc_t pd, void *scratch,
                             cpu_primitive *out);
sc_status cpu_primitive_bind(cpu_device *d, cpu_primitive *p, int arg, const dnnl_memory_desc_t *md,
                             const void *data);
sc_status cpu_primitive_run(cpu_device *d, const cpu_primitive *p);
void cpu_primitive_free(cpu_primitive *p);
size_t cpu_scratchpad(const_dnnl_primitive_desc_t pd);
/* Attributes with a user scratchpad. Caller destroys. */
sc_status cpu_attributes(dnnl_primitive_attr_t *out);
/* An image value as oneDNN sees it; channels counts stored ones. */
dnnl_memory_desc_t cpu_image(const cpu_device *d, const sc_value_desc *v);

/* ---- copies.c: derived copies of a parameter, kept in sc_param_shared.state ---- */
typedef struct cpu_copy cpu_copy;
/* The copy of p in oneDNN layout `want`, made from layout `have`, float. Found when another program asked for it before. Owned by the shared state. */
sc_status cpu_copy_get(cpu_device *d, const sc_node_param *p, const dnnl_memory_desc_t *have,
                       const dnnl_memory_desc_t *want, cpu_copy **out);
/* The copy that `fill` makes; found by that function. */
typedef void (*cpu_copy_fill)(cpu_device *d, const sc_node_param *p, void *data);
sc_status cpu_copy_make(cpu_device *d, const sc_node_param *p, cpu_copy_fill fill, size_t bytes,
                        cpu_copy **out);
void *cpu_copy_data(const cpu_copy *c);
/* Brings the copy up to date with p->shared->version. */
sc_status cpu_copy_refresh(cpu_device *d, const sc_node_param *p, cpu_copy *c);
void cpu_param_release(sc_device *d, void *shared_state);

/* ---- ops ---- */
typedef struct cpu_op {
    sc_status (*memory)(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch);
    sc_status (*prepare)(cpu_device *d, const sc_op_node *n, void **state);
    void (*release)(cpu_device *d, void *state);
    sc_status (*forward)(cpu_device *d, const sc_op_node *n, void *state);
    sc_status (*backward)(cpu_device *d, const sc_op_node *n, void *state);
} cpu_op; /* memory, prepare, release and backward may be NULL */
extern const cpu_op cpu_op_augment, cpu_op_conv2d, cpu_op_batch_norm, cpu_op_max_pool,
    cpu_op_avg_pool, cpu_op_linear, cpu_op_add, cpu_op_activate, cpu_op_multiply,
    cpu_op_depthwise_conv2d, cpu_op_channel_norm, cpu_op_layer_scale, cpu_op_scale_channels,
    cpu_op_layer_norm, cpu_op_embed, cpu_op_prepend, cpu_op_attention, cpu_op_select_row,
    cpu_op_l2_normalize, cpu_op_group_mean, cpu_op_all_gather, cpu_op_superclip_loss;
/* Whether batch_norm does `next` within its passes. */
bool cpu_bn_joins(const sc_op_node *n, const sc_op_node *next);
/* sc_backend.work of a convolution. */
double cpu_conv2d_work(const sc_op_node *n, const void *state, bool backward);

/* Backward, and the update of params[0] with the constants of cpu_kernels.adamw. first: all moments
 * are 0 still. */
typedef sc_status (*cpu_update)(cpu_device *d, const sc_op_node *n, void *state, const float c[8],
                                bool first);
sc_status cpu_linear_update(cpu_device *d, const sc_op_node *n, void *state, const float c[8],
                            bool first);
sc_status cpu_embed_update(cpu_device *d, const sc_op_node *n, void *state, const float c[8],
                           bool first);

/* Element ranges for parallel loops over plain arrays. */
#define CPU_GRAIN 8192

/* out (+)= in over the whole value, in parallel */
void cpu_convert(cpu_device *d, void *out, bool out_bf, const void *in, bool in_bf, int64_t count,
                 bool add);
void cpu_zero(void *p, size_t bytes);

#endif
