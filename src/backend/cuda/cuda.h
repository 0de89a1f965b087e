/* Private to backend/cuda: the device, and one function set an op. Host code here knows no CUDA
 * header; all it asks of the device goes through kernels.h.
 *
 * Values: images [n, C, H, W] of kind COMPUTE or EXACT lie as [n][H][W][C rounded up to 8]; every
 * other value is a plain array. COMPUTE is bfloat16 under SC_BF16_MIXED, else float; EXACT is
 * float. Parameters are floats whose count is rounded up to 8: a convolution's weight as
 * [O][k][k][C], both channel counts rounded up, all others as PyTorch has them. cuDNN and cuBLASLt
 * are opened by the first op that needs them.
 */
#ifndef SC_BACKEND_CUDA_CUDA_H
#define SC_BACKEND_CUDA_CUDA_H

#include "blas.h"
#include "dnn.h"
#include "kernels.h"
#include "peers.h"
#include "superclip/backend.h"

enum { CUDA_FAULTS = 5 };
typedef enum cuda_fault {
    FAULT_AUGMENT,
    FAULT_EMBED,
    FAULT_SELECT,
    FAULT_ATTENTION,
    FAULT_LOSS
} cuda_fault;

/* AdamW's constants on their way to the device. The ring is pinned; a half of it is used again when
 * the event behind its last copy has passed. */
enum { CUDA_ADAMW = 8, CUDA_RING = 64 };
typedef struct cuda_constants {
    float (*ring)[CUDA_ADAMW];
    void *half[2]; /* events */
    int at;        /* the next row */
    bool known;
    float now[CUDA_ADAMW]; /* what the newest copy brings */
    int *faults;           /* pinned [CUDA_FAULTS]: as of the step before, or so */
} cuda_constants;

/* A GPU that is not there, by its data sheet. */
typedef struct cuda_absent {
    const char *name, *title;
    int version, processors, shared; /* of shared memory: what a block may opt into */
    int blocks, threads;             /* a multiprocessor holds so many */
    int clock, memory_clock, l2;
    size_t memory;
} cuda_absent;

typedef struct cuda_device {
    sc_device head;
    const cuda_absent *absent; /* not NULL: there is no device, memory is told and nothing runs */
    void *stream;              /* of the selected branch */
    sc_branch branch;
    void *streams[SC_BRANCHES], *left[SC_BRANCHES]; /* left: the event of a branch's work so far */
    sc_cuda_device_facts facts;
    float *table;     /* device: sc_normalize_table */
    float *constants; /* device: of the AdamW step being queued, [8] */
    cuda_constants next;
    bool recording, told; /* told: why nothing is recorded */
    int *faults;          /* device: [CUDA_FAULTS] bad indices met by kernels, see sync */
    char *staging;        /* host: what collectives over host memory travel through */
    size_t staging_bytes;
    sc_status broken; /* the first failure of a call that cannot return one */
    dnn *dnn;         /* NULL: not needed yet; see cuda_dnn */
    blas *blas;       /* the same; see cuda_blas */
    peers *peers;
    const sc_log *log;
} cuda_device;

/* An op that keeps something from prepare to release. */
typedef struct cuda_bound {
    sc_status (*prepare)(cuda_device *d, const sc_op_node *n, void **state);
    void (*release)(cuda_device *d, void *state); /* not NULL */
    sc_status (*forward)(cuda_device *d, const sc_op_node *n, void *state);
    sc_status (*backward)(cuda_device *d, const sc_op_node *n, void *state);
} cuda_bound;
typedef struct cuda_op {
    /* saved and scratch begin as 0. NULL: needs none. */
    sc_status (*memory)(cuda_device *d, const sc_op_node *n, size_t *saved, size_t *scratch);
    sc_status (*forward)(cuda_device *d, const sc_op_node *n);
    sc_status (*backward)(cuda_device *d, const sc_op_node *n); /* NULL: no gradient flows */
    const cuda_bound *bound; /* instead of the two above; NULL: the op keeps nothing */
} cuda_op;
extern const cuda_op cuda_op_augment, cuda_op_conv2d, cuda_op_batch_norm, cuda_op_max_pool,
    cuda_op_avg_pool, cuda_op_linear, cuda_op_add, cuda_op_activate, cuda_op_multiply,
    cuda_op_depthwise_conv2d, cuda_op_channel_norm, cuda_op_layer_scale, cuda_op_scale_channels,
    cuda_op_layer_norm, cuda_op_embed, cuda_op_prepend, cuda_op_attention, cuda_op_select_row,
    cuda_op_l2_normalize, cuda_op_group_mean, cuda_op_all_gather, cuda_op_superclip_loss;

/* SC_OK, or the failure of a launcher with CUDA's words. */
sc_status cuda_check(int error, const char *what);
#define CUDA_TRY(call, what) SC_TRY(cuda_check((call), (what)))

static inline int64_t cuda_round8(int64_t n)
{
    return (n + 7) / 8 * 8;
}
static inline size_t cuda_align(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}
bool cuda_image(const sc_value_desc *v); /* lies channels last */
sc_cuda_type cuda_type(const cuda_device *d, const sc_value_desc *v);
size_t cuda_value_bytes(const sc_device *d, const sc_value_desc *v);
int64_t cuda_stored(const sc_value_desc *v); /* elements, padding included */
int64_t cuda_rows(const sc_value_desc *v);   /* product of all dimensions but the last */
int cuda_width(const sc_value_desc *v);      /* the last dimension */
bool cuda_plain(const sc_device *d, const sc_value_desc *v); /* lies as on the host */
sc_status cuda_upload(sc_device *d, const sc_value_desc *v, const void *host, void *value);
sc_status cuda_download(sc_device *d, const sc_value_desc *v, const void *value, void *host);
size_t cuda_param_elements(const sc_device *d, const sc_param_desc *p);
void cuda_param_import(sc_device *d, const sc_param_desc *p, const void *host, void *value);
void cuda_param_export(sc_device *d, const sc_param_desc *p, const void *value, void *host);

static inline sc_cuda_in cuda_in(const cuda_device *d, const sc_node_value *v)
{
    return (sc_cuda_in){v->data, cuda_type(d, &v->desc)};
}
static inline sc_cuda_out cuda_out(const cuda_device *d, const sc_node_value *v)
{
    return (sc_cuda_out){v->data, cuda_type(d, &v->desc), false};
}
/* The gradient that arrives at an output, and the one an input wants (p may be NULL). */
static inline sc_cuda_in cuda_grad_in(const cuda_device *d, const sc_node_value *v)
{
    return (sc_cuda_in){v->grad, cuda_type(d, &v->desc)};
}
static inline sc_cuda_out cuda_grad_out(const cuda_device *d, const sc_node_value *v)
{
    return (sc_cuda_out){v->grad, cuda_type(d, &v->desc), v->accumulate};
}

_Static_assert((int)SC_QUICK_GELU == (int)SC_CUDA_QUICK_GELU && (int)SC_GELU == (int)SC_CUDA_GELU &&
                   (int)SC_SILU == (int)SC_CUDA_SILU && (int)SC_RELU == (int)SC_CUDA_RELU &&
                   (int)SC_RELU6 == (int)SC_CUDA_RELU6 && (int)SC_SIGMOID == (int)SC_CUDA_SIGMOID,
               "activations by backend.h's numbers");
static inline sc_cuda_activation cuda_activation(const sc_op_node *n)
{
    return (sc_cuda_activation)n->attrs.activation;
}

/* absent.c. See superclip/absent.h; what a program finds free; cuDNN's description of it. */
enum { CUDA_ABSENT_JSON = 1200 };
const cuda_absent *cuda_absent_find(const char *name); /* NULL: not known */
void cuda_absent_json(const cuda_absent *g, char out[CUDA_ABSENT_JSON]);
size_t cuda_absent_free(const cuda_absent *g);
sc_status cuda_open_absent(const sc_device_options *o, const char *gpu, sc_device **out);
/* Of the plan, or the most that one may have where none can be made. */
sc_status cuda_absent_workspace(cuda_device *d, const dnn_conv *c, size_t *bytes);

/* Open what is not open yet. */
sc_status cuda_dnn(cuda_device *d);
sc_status cuda_blas(cuda_device *d);
dnn_conv cuda_conv_of(const sc_op_node *n, dnn_pass pass, sc_cuda_type type);

/* A weight as products and convolutions read it: itself, or its bfloat16 copy. Prepare gives the
 * address; refresh, before every use, queues the conversion when the value has changed. */
sc_status cuda_weight_prepare(cuda_device *d, const sc_node_param *p, const void **out);
sc_status cuda_weight_refresh(cuda_device *d, const sc_node_param *p);
void cuda_param_release(sc_device *d, void *state);

/* Waits for the selected branch, or for an event, and looks after the other ranks meanwhile. */
sc_status cuda_wait(cuda_device *d);
sc_status cuda_wait_event(cuda_device *d, void *event);

/* queue.c */
extern const sc_queue cuda_queue;
sc_status cuda_queue_open(cuda_device *d); /* streams, events, pinned memory */
void cuda_queue_close(cuda_device *d);
sc_status cuda_order(sc_device *d, sc_branch before, sc_branch after);
/* Queues the constants of an AdamW step, unless the device has them. */
sc_status cuda_bring_constants(cuda_device *d, const sc_adamw *o);
/* SC_EINTERNAL with the words for what kernels met. */
sc_status cuda_tell_faults(const int faults[CUDA_FAULTS]);
/* Collectives on device memory. Those that go through the host wait for the stream; their staging
 * memory is reserved while programs are prepared. */
enum { CUDA_MOST_RANKS = 1024 };
sc_status cuda_reserve_staging(cuda_device *d, size_t bytes);
sc_status cuda_all_reduce(cuda_device *d, const sc_comm *c, double *buf, size_t count);
/* counts: elements of every rank; recv holds all of them, send the own ones. */
sc_status cuda_all_gather(cuda_device *d, const sc_comm *c, const void *send, void *recv,
                          const int64_t *counts, sc_dtype dtype);

sc_status cuda_gather(sc_device *d, const sc_value_desc *v, const void *store, const int64_t *rows,
                      void *value);
sc_status cuda_join(sc_device *d, const sc_comm *c);
void cuda_leave(sc_device *d, const sc_comm *c);
sc_status cuda_sum_floats(sc_device *d, const sc_comm *c, void *buf, size_t count);
sc_status cuda_share_floats(sc_device *d, const sc_comm *c, void *buf, size_t count);

const sc_backend *sc_backend_cuda(void);

#endif
