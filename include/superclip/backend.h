/* backend: what a place that computes must offer. `nn` is its only caller; a backend knows operators
 * and memory, never epochs, files or options. Implementations: backend/ref (plain loops in double, the
 * oracle), backend/cpu (oneDNN and fused loops), backend/cuda (a plugin).
 *
 * A program is prepared once: for every node nn fills an sc_op_node with final addresses, asks
 * node_memory, then prepare; from then on forward and backward only replay and allocate nothing.
 */
#ifndef SUPERCLIP_BACKEND_H
#define SUPERCLIP_BACKEND_H

#include "superclip/base.h"
#include "superclip/comm.h"
#include "superclip/tensor.h"

typedef enum sc_op {
#define SC_OP(E, name, i0, i1, o, p, ni, no) SC_OP_##E,
#include "superclip/ops.def"
#undef SC_OP
    SC_OP_COUNT
} sc_op;
const char *sc_op_name(sc_op op); /* defined in nn */

/* What a value holds. COMPUTE: activations, bf16 under SC_BF16, else fp32. EXACT: fp32 always
 * (features, logits, losses, the text tower's residual stream). `ref` stores both as double. */
typedef enum sc_kind { SC_COMPUTE, SC_EXACT, SC_INT32, SC_BYTES } sc_kind;
typedef enum sc_precision_mode { SC_FP32, SC_BF16_MIXED, SC_FP64 } sc_precision_mode;

/* Concrete: shape.d[0] is the row count of this program (may be 0 on a rank with an empty slice). */
typedef struct sc_value_desc { sc_kind kind; sc_shape shape; } sc_value_desc;

typedef enum sc_param_kind {
    SC_PARAM_WEIGHT, /* value, gradient, two moments */
    SC_PARAM_BUFFER, /* value only: BatchNorm's running statistics */
    SC_PARAM_COUNTER /* one int64 on the host, kept by nn: num_batches_tracked */
} sc_param_kind;
typedef struct sc_param_desc {
    sc_op op;       /* the op that uses it, which decides its private layout; SC_OP_COUNT: none does */
    int slot;       /* its place among that op's params */
    sc_param_kind kind;
    sc_shape shape; /* PyTorch's */
} sc_param_desc;

/* QUICK_GELU x sigmoid(1.702 x); GELU x Phi(x), exact (erf); SILU x sigmoid(x); RELU6 min(max(x, 0), 6).
 * The slope of RELU and RELU6 is 0 at their corners. */
typedef enum sc_activation { SC_NO_ACTIVATION, SC_QUICK_GELU, SC_GELU, SC_SILU, SC_RELU, SC_RELU6,
                             SC_SIGMOID } sc_activation;

/* Loss of BEHAVIOUR section 8; see SC_OP_SUPERCLIP_LOSS below. */
typedef struct sc_loss_attrs {
    bool superclip;           /* false: total = contrastive alone, temperature gets no gradient */
    double class_weight, contrastive_weight; /* of the two parts, with superclip */
    bool focal;
    double focal_alpha, focal_gamma;
    double tau0;              /* the contrastive part's constant temperature */
    bool multi_positive;
} sc_loss_attrs;

typedef struct sc_attrs {
    int stride, pad, kernel;          /* conv2d, depthwise_conv2d, max_pool */
    double eps, momentum;             /* batch_norm; layer_norm, channel_norm: eps */
    bool relu;                        /* batch_norm: after the optional addition */
    bool running;                     /* batch_norm: use running statistics also when training */
    bool transposed;                  /* linear: weight is [in, out] (x @ W), else [out, in] */
    sc_activation activation;         /* linear, activate, multiply */
    int heads;                        /* attention */
    int shared, longest;              /* attention over packed texts */
    int crop;                         /* augment: S */
    sc_loss_attrs loss;
} sc_attrs;

/* The ops, y = op(x): shapes in PyTorch's logical layout (the backend's layout is private). Where no
 * kind is said: conv2d and attention give COMPUTE, batch_norm, pools, select_row and all_gather the kind
 * of x, layer_norm COMPUTE. A gradient is stored like its value.
 *  augment        in0 BYTES [n,P,P,3], in1 BYTES [n,sizeof(sc_augment)] -> COMPUTE [n,3,S,S]
 *  conv2d         x [n,C,H,W], param0 weight [O,C,k,k] (or [O,C]: k = 1), optional param1 bias [O]
 *                 -> [n,O,H',W']
 *  batch_norm     x [n,C,H,W], optional in1 residual (same shape); params weight, bias,
 *                 running_mean, running_var [C], num_batches_tracked -> relu?(bn(x) + residual).
 *                 Training statistics: over the n*H*W values of ALL ranks of node->comm, combined as
 *                 (count, mean, M2); running_var takes the unbiased variance. eps inside the root.
 *  max_pool       x [n,C,H,W] -> windows kernel/stride/pad, padding never wins; gradient to the
 *                 first maximum of a window in row-major order (PyTorch's)
 *  avg_pool       x [n,C,H,W] -> [n,C], mean over H*W
 *  linear         x [..,in], param0 weight, optional param1 bias [out] -> [..,out], activation.
 *                 The output's kind is the graph's choice (COMPUTE or EXACT). A weight [out,in,1,1] is a matrix.
 *  add            a + b, same shape. Both may be one value: the second gradient then accumulates. (No
 *                 other op gets a value twice.)
 *  activate       activation(x), any shape, kind of x; no SIGMOID of images: f(0) = 0 keeps channels that
 *                 pad a block at 0
 *  multiply       activation(a) * b, two values of one shape; EXACT if either is
 *  depthwise_conv2d  x [n,C,H,W], param0 weight [C,1,k,k], optional param1 bias [C] -> COMPUTE
 *                 [n,C,H',W']: every channel alone
 *  channel_norm   x [n,C,H,W] -> COMPUTE: layer_norm of each pixel over its channels; params weight, bias [C]
 *  layer_scale    x, h [n,C,H,W], param0 gamma [C] -> EXACT x + gamma h (Touvron et al. 2021, CaiT): the sum
 *                 of a residual stream
 *  scale_channels x [n,C,H,W], s [n,C] -> x s, kind of x (squeeze-excite)
 *  layer_norm     over the last dimension, biased variance; params weight, bias
 *  embed          in0 INT32 tokens [T,L], or packed [R] with in1 INT32 [R], each token's position; param0
 *                 table [V,W], param1 positions [ctx,W], optional param2 types [K,W], of which row 0 is
 *                 added everywhere -> EXACT [T,L,W] or [R,W]
 *  prepend        x [n,L,W], or an image [n,W,H,W'] whose pixels are the rows, row by row; param0 one row
 *                 (W numbers), param1 positions ((L+1) W numbers) -> EXACT [n,L+1,W]: the row, then x, plus
 *                 positions
 *  attention      either qkv [T,L,3W] (q, k, v one behind the other), causal; or the same of packed texts,
 *                 qkv [R,3W] with in1 INT32 [T+1]; or q, k, v [T,L,W] of one kind, every position seeing
 *                 all, with an optional in3 INT32 [T]: the last position that counts, those behind it are
 *                 not seen and give 0. heads -> [T,L,W] or [R,W]; scale 1/sqrt(W/heads).
 *                 Packed texts: rows 0 .. shared-1 are what all texts begin with, computed once; rows
 *                 in1[t] .. in1[t+1]-1 are the rest of text t, which sees the shared rows and, causally,
 *                 its own. in1[0] = shared, in1[T] = R, no text has more than `longest` rows, shared ones
 *                 included.
 *  select_row     x [T,L,W], optional in1 INT32 [T] (without it: row 0) -> [T,W]; or x [R,W], in1 INT32
 *                 [T]: the row of each -> [T,W]
 *  l2_normalize   x / max(|x|_2, 1e-12) over the last dimension -> EXACT
 *  group_mean     x [T,E], in1 INT32 group of each row [T] -> EXACT [G,E]: mean of the rows of each group
 *                 (every group has one or more rows)
 *  all_gather     x [local rows,E] -> [global rows,E], ranks' rows one behind the other; backward takes the
 *                 own rows of the gradient (every rank computes the whole loss)
 *  superclip_loss in0 x EXACT [B,E], in1 t EXACT [C,E] (unit features), in2 INT32 labels [B], in3 EXACT
 *                 class weights [C]; param0 temperature (scalar) -> out0 EXACT [3] = total, class,
 *                 contrastive; out1 EXACT class logits [B,C] = x.t / tau.
 *                   class: sum_i w_{y_i} CE(z_i, y_i) / sum_i w_{y_i} (0 when the weights sum to 0), or
 *                   focal: mean_i -alpha (1 - p_i)^gamma log p_i
 *                   contrastive: S_ij = x_i . t_{y_j} / tau0, (row CE + column CE) / 2; as columns of one
 *                   class are equal, it is computed from x.t [B,C] and the class counts of the batch.
 *                   Since texts are shared within a class, diagonal and multi_positive targets give the
 *                   same loss and gradients; both are computed by their own definition.
 *                 A class loss is 0 and not part of total when !superclip. Gradient of out0[0] starts at 1.
 */

typedef struct sc_node_value {
    sc_value_desc desc;
    void *data;      /* never NULL; arena memory is not zeroed, padding included */
    void *grad;      /* NULL: no gradient wanted (inputs) or none arrives (outputs) */
    bool accumulate; /* inputs: add to grad instead of overwriting it */
} sc_node_value;

/* Shared by all programs of one parameter set: where a backend keeps derived copies (bf16, other
 * layouts). `version` changes whenever the value changed; `state` is the backend's, freed by
 * param_release. */
typedef struct sc_param_shared { uint64_t version; void *state; } sc_param_shared;
typedef struct sc_node_param {
    sc_param_desc desc;
    void *value;
    void *grad; /* overwritten by backward; NULL: frozen, or no backward in this program */
    void *m, *v; /* moments, for backward_update alone; NULL with grad */
    sc_param_shared *shared;
} sc_node_param;

typedef struct sc_op_node sc_op_node;
struct sc_op_node {
    sc_op op;
    sc_attrs attrs;
    int n_in, n_out, n_params;
    sc_node_value in[4], out[2];
    sc_node_param params[5];
    void *saved;   /* node_memory's `saved` bytes, 64-byte aligned: kept from forward to backward */
    void *scratch; /* shared by all nodes; nothing survives in it between two calls */
    bool training;          /* batch statistics, and backward may follow */
    sc_precision_mode precision;
    const sc_comm *comm;    /* never NULL; batch_norm and all_gather */
    const int64_t *rows;    /* [comm->size] rows of every rank */
    int64_t rows_global;
    /* Not NULL: the op behind this one, done within this node's passes (sc_backend.joins). Its out[0] is the
     * result; this node's own out[0] and its in[0] have no memory. */
    const sc_op_node *next;
};

typedef struct sc_adamw {
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step; /* of this update, from 1: bias corrections 1 - beta^step */
} sc_adamw;

typedef struct sc_device_options {
    int threads;                 /* > 0 */
    sc_precision_mode precision; /* wanted; the device may give SC_FP32 for SC_BF16_MIXED */
    const sc_log *log;
} sc_device_options;

/* The order of a device's work: what is queued on one branch runs in the order of the calls; between two
 * branches only sc_queue.order orders. A device starts on SC_BRANCH_MAIN, and every other call of nn is made
 * there, with all branches joined. */
typedef enum sc_branch {
    SC_BRANCH_MAIN,
    SC_BRANCH_SIDE,   /* ops that do not touch what the main branch's do: another tower */
    SC_BRANCH_PEERS,  /* sums over ranks; one branch, so that every rank has them in one order */
    SC_BRANCH_UPDATE, /* AdamW of gradients that are there, beside the rest of the backward pass */
    SC_BRANCHES
} sc_branch;

typedef struct sc_backend sc_backend;
/* The head of every backend's device struct. */
typedef struct sc_device {
    const sc_backend *backend;
    sc_precision_mode precision; /* what programs of this device use */
    int threads;
    char description[160];       /* for the log: "cpu: oneDNN 2.6.3, AVX-512 bf16, 2 threads" */
} sc_device;

/* Of a device with memory of its own. `unit` is the same for devices that share it, over all processes and
 * hosts. */
typedef struct sc_device_memory { size_t free, total; uint64_t unit; } sc_device_memory;

/* What a device offers whose calls queue work and return. */
typedef struct sc_queue {
    /* Host memory that copies are queued from and to. */
    sc_status (*pin)(sc_device *d, size_t bytes, void **out);
    void (*unpin)(sc_device *d, void *p); /* NULL is fine */
    /* A value lies as on the host (upload's layout), so that send and fetch can copy it. */
    bool (*plain)(const sc_device *d, const sc_value_desc *v);
    /* Queue a copy of a plain value; pinned memory is read or written when the device gets there. */
    sc_status (*send)(sc_device *d, const sc_value_desc *v, const void *pinned, void *value);
    sc_status (*fetch)(sc_device *d, const sc_value_desc *v, const void *value, void *pinned);
    /* A place in the work queued so far, and waiting for it; a mark never set is reached. wait tells what
     * failed until then, the device or a peer; what kernels found wrong it may tell a step later. */
    sc_status (*mark_new)(sc_device *d, void **mark);
    void (*mark_free)(sc_device *d, void *mark); /* NULL is fine */
    sc_status (*mark)(sc_device *d, void *mark);
    sc_status (*wait)(sc_device *d, void *mark);

    /* What is called next goes to this branch. */
    void (*select)(sc_device *d, sc_branch b);
    /* What is queued on `after` from now on starts when what is queued on `before` so far is done. */
    sc_status (*order)(sc_device *d, sc_branch before, sc_branch after);

    /* The constants of the AdamW calls that follow, in a step that is recorded too: they are read when the
     * device gets there. On the main branch, before others leave it. */
    sc_status (*announce)(sc_device *d, const sc_adamw *o);
    /* Whether steps over c can be recorded: not where its collectives go through the host (one log line). */
    bool (*recordable)(sc_device *d, const sc_comm *c);
    /* Between record and recorded, calls of this thread (no upload, download, alloc, free, sync or wait) do
     * nothing but become a step; all branches are joined at its end. recorded ends it in any case: *step NULL
     * with a status when it failed. Steps hold addresses and c: they are forgotten before either goes. */
    sc_status (*record)(sc_device *d);
    sc_status (*recorded)(sc_device *d, void **step);
    sc_status (*replay)(sc_device *d, void *step);
    void (*forget)(sc_device *d, void *step); /* waits for it; NULL is fine */
} sc_queue;

struct sc_backend {
    const char *name; /* "ref", "cpu", "cuda" */
    sc_dtype real;    /* element type of parameters, gradients and moments: SC_F32, or SC_F64 (ref) */

    sc_status (*open)(const sc_device_options *o, sc_device **out);
    /* One of several: the number is taken modulo how many there are. May be NULL: there is one. */
    sc_status (*open_nth)(const sc_device_options *o, int number, sc_device **out);
    void (*close)(sc_device *d);

    /* Zeroed, 64-byte aligned device memory. */
    sc_status (*alloc)(sc_device *d, size_t bytes, void **out);
    void (*free)(sc_device *d, void *p);

    /* Bytes of a value in this backend's private layout (padding included). An EXACT value of one
     * dimension is a plain array of `real`, so that nn can read flat buffers by download. */
    size_t (*value_bytes)(const sc_device *d, const sc_value_desc *v);
    /* Host data in PyTorch's layout <-> a value. host is float (double for ref) for COMPUTE and EXACT,
     * int32_t for INT32, bytes for BYTES. */
    sc_status (*upload)(sc_device *d, const sc_value_desc *v, const void *host, void *value);
    sc_status (*download)(sc_device *d, const sc_value_desc *v, const void *value, void *host);

    /* Elements of `real` that a parameter takes in the flat buffers, padding included (padding holds 0
     * for ever). Depends on the backend only, not on the processor: ranks sum flat gradients. */
    size_t (*param_elements)(const sc_device *d, const sc_param_desc *p);
    /* PyTorch's layout <-> private layout; `host` is an array of `real`. Reads change nothing. */
    void (*param_import)(sc_device *d, const sc_param_desc *p, const void *host, void *value);
    void (*param_export)(sc_device *d, const sc_param_desc *p, const void *value, void *host);
    /* May be NULL (never). True: a parameter, its gradient and moments lie in host memory in PyTorch's
     * layout, so that nn may hand the memory itself to a file's reader or writer. */
    bool (*param_plain)(const sc_device *d, const sc_param_desc *p);
    void (*param_release)(sc_device *d, void *shared_state); /* may be NULL */

    /* May be NULL: every op is supported. Otherwise SC_OK or SC_EUNSUPPORTED with a message. */
    sc_status (*supports)(const sc_device *d, const sc_op_node *n);
    /* May be NULL: never. Whether `second`, the only reader of first's output, which nobody else asks for,
     * can be done within first's passes: then it becomes first->next, and none of the functions below is
     * called for it. Asked before node_memory. */
    bool (*joins)(const sc_device *d, const sc_op_node *first, const sc_op_node *second);
    /* Bytes of saved and scratch memory of the node; addresses in n are not valid yet, but in[].grad and
     * params[].grad are NULL where no gradient will be wanted. */
    sc_status (*node_memory)(sc_device *d, const sc_op_node *n, size_t *saved, size_t *scratch);
    /* n stays valid and unchanged as long as the state lives. */
    sc_status (*prepare)(sc_device *d, const sc_op_node *n, void **state);
    void (*release)(sc_device *d, void *state); /* NULL is fine */
    sc_status (*forward)(sc_device *d, const sc_op_node *n, void *state);
    /* Reads out[].grad, writes in[].grad (where not NULL) and params[].grad (where not NULL). */
    sc_status (*backward)(sc_device *d, const sc_op_node *n, void *state);

    /* May be NULL: nn calls backward, and adamw later. Backward of a node, and in the same pass the
     * AdamW update of its parameters that have a gradient, each after its value was read for the last
     * time: the bytes of backward and adamw, but grad is work space that may hold anything then. Raises
     * shared->version of what it updated. For nodes whose gradients need no sum over ranks. */
    sc_status (*backward_update)(sc_device *d, const sc_op_node *n, void *state, const sc_adamw *o);

    /* One AdamW update of `count` contiguous elements, moments included (decoupled weight decay,
     * PyTorch's order: p *= 1 - lr*wd; then p -= lr/c1 * m / (sqrt(v)/sqrt(c2) + eps)). */
    sc_status (*adamw)(sc_device *d, const sc_adamw *o, size_t count, void *value, const void *grad,
                       void *m, void *v);
    /* Waits for everything queued. May be NULL (host backends). */
    sc_status (*sync)(sc_device *d);
    /* Programs over c are about to be compiled (collective), the last of them is gone. May be NULL. */
    sc_status (*join)(sc_device *d, const sc_comm *c);
    void (*leave)(sc_device *d, const sc_comm *c);
    /* Collectives over flat memory of `real`, in the order of the device's work: sum over c; rank 0's to all.
     * May be NULL, both: the memory is the host's, and c's own functions do it. */
    sc_status (*sum)(sc_device *d, const sc_comm *c, void *buf, size_t count);
    sc_status (*share)(sc_device *d, const sc_comm *c, void *buf, size_t count);

    /* May be NULL: the device keeps no data. Row i of the BYTES value v becomes row rows[i] of `store`, an
     * array of such rows in memory of alloc. The host's rows[] is the caller's again on return. */
    sc_status (*gather)(sc_device *d, const sc_value_desc *v, const void *store, const int64_t *rows,
                        void *value);
    /* May be NULL: the memory is the host's. What is free there now, whoever holds the rest. */
    sc_status (*memory)(sc_device *d, sc_device_memory *out);

    /* NULL: work is done when a call returns. */
    const sc_queue *queue;

    /* May be NULL: not known. The most this device does now, measured in well under a second: FLOP a
     * second of multiply-adds in its precision, bytes a second of reading and writing its memory. */
    sc_status (*peak)(sc_device *d, double *flops, double *bytes);
    /* May be NULL: all. The share of the multiply-adds in the op's definition that one pass of a prepared
     * node really does: below 1 where an algorithm needs fewer. */
    double (*work)(sc_device *d, const sc_op_node *n, void *state, bool backward);
};

const sc_backend *sc_backend_ref(void);
const sc_backend *sc_backend_cpu(void);
/* First thing in a main that computes on the CPU: threads that wait for each other shall look for a tenth of a
 * millisecond before they sleep. GNU's OpenMP reads how long (GOMP_SPINCOUNT) when it is loaded, so this
 * starts the program once more in the same process, unless that or OMP_WAIT_POLICY is set. */
void sc_backend_cpu_wait_briefly(char **argv);
/* The CUDA backend, a library beside the program or in its lib folder, opened once and for good. SC_EUNSUPPORTED
 * with a line that says why there is none. That a device is there, its open tells. */
sc_status sc_backend_find_cuda(const sc_backend **out);

#endif
