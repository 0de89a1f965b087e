/* nn: a model is recorded once as a graph, compiled once into programs, and replayed.
 *
 *     sc_graph *g = sc_graph_new();
 *     sc_value x = sc_input(g, "images", SC_BYTES, SC_ROWS_LOCAL, SC_SHAPE(-1, 246, 246, 3));
 *     x = sc_conv2d(g, x, sc_weight(g, "conv1.weight", shape, init, true), no_bias, 2, 3);
 *     ...
 *     SC_TRY(sc_graph_status(g));
 *
 * Recording errors stick to the graph: a failed call returns an invalid value, later calls on it do
 * nothing, and sc_graph_status tells the first message. A graph holds no memory of its values.
 */
#ifndef SUPERCLIP_NN_H
#define SUPERCLIP_NN_H

#include "superclip/backend.h"
#include "superclip/base.h"
#include "superclip/comm.h"
#include "superclip/tensor.h"

typedef struct sc_graph sc_graph;
typedef struct sc_value { int32_t id; } sc_value;    /* id < 0: invalid */
typedef struct sc_param { int32_t id; } sc_param;

/* First dimension of a value: a literal, or the rows of this rank / of the whole group, which the
 * program decides (write -1 in the shape). */
typedef enum sc_rows_kind { SC_ROWS_FIXED, SC_ROWS_LOCAL, SC_ROWS_GLOBAL } sc_rows_kind;

/* How a parameter starts. Drawn from Philox stream 1 and a hash of the name (sc_init_fill). */
typedef enum sc_init_kind { SC_INIT_CONSTANT, SC_INIT_NORMAL, SC_INIT_UNIFORM } sc_init_kind;
typedef struct sc_init { sc_init_kind kind; double a; } sc_init; /* value | std | bound (-a..a) */
#define SC_CONSTANT(v) ((sc_init){SC_INIT_CONSTANT, (v)})
#define SC_NORMAL(std) ((sc_init){SC_INIT_NORMAL, (std)})
#define SC_UNIFORM(bound) ((sc_init){SC_INIT_UNIFORM, (bound)})

sc_graph *sc_graph_new(void);
void sc_graph_free(sc_graph *g);
sc_status sc_graph_status(const sc_graph *g);

/* Declares a parameter, or finds it when the name is known (shape and kind must agree). The order of
 * first declaration is the order of the state dict. A parameter belongs to exactly one op. */
sc_param sc_weight(sc_graph *g, const char *name, sc_shape shape, sc_init init, bool trainable);
sc_param sc_buffer(sc_graph *g, const char *name, sc_shape shape, sc_init init);
sc_param sc_counter(sc_graph *g, const char *name); /* int64 scalar: counts training forwards */
/* A weight of the state dict that no op reads (a pooler's): kept, initialised, never trained. */
void sc_unused_weight(sc_graph *g, const char *name, sc_shape shape, sc_init init);

sc_value sc_input(sc_graph *g, const char *name, sc_kind kind, sc_rows_kind rows, sc_shape shape);
/* Keeps a value readable after a run (sc_program_read), under a name. */
void sc_output(sc_graph *g, const char *name, sc_value v);
/* The same, and its gradient when the program has a backward pass (sc_program_read_grad). A value of
 * which the gradient is wanted gets one even where nothing trainable lies before it. */
void sc_output_grad(sc_graph *g, const char *name, sc_value v);
/* Where differentiation starts: element 0 of v, gradient 1. At most one a graph. */
void sc_minimize(sc_graph *g, sc_value v);

/* The ops; semantics and shapes in backend.h. Params of value {-1} mean "none" where optional. */
sc_value sc_augment_images(sc_graph *g, sc_value rows, sc_value draws, int crop);
/* weight [out,in,k,k], or [out,in] for k = 1 */
sc_value sc_conv2d(sc_graph *g, sc_value x, sc_param weight, sc_param bias, int stride, int pad);
typedef struct sc_batch_norm_params { sc_param weight, bias, mean, var, batches; } sc_batch_norm_params;
/* declares NAME.weight, .bias, .running_mean, .running_var, .num_batches_tracked */
sc_batch_norm_params sc_batch_norm_declare(sc_graph *g, const char *name, int64_t channels,
                                           bool trainable);
typedef struct sc_batch_norm_options {
    bool relu, running;
    sc_value residual; /* id < 0: none */
    double eps, momentum;
} sc_batch_norm_options;
sc_value sc_batch_norm(sc_graph *g, sc_value x, sc_batch_norm_params p, sc_batch_norm_options o);
sc_value sc_max_pool(sc_graph *g, sc_value x, int kernel, int stride, int pad);
sc_value sc_avg_pool(sc_graph *g, sc_value x);
typedef struct sc_linear_options { sc_activation activation; bool transposed, exact; } sc_linear_options;
sc_value sc_linear(sc_graph *g, sc_value x, sc_param weight, sc_param bias, sc_linear_options o);
sc_value sc_add(sc_graph *g, sc_value a, sc_value b); /* EXACT if either is */
sc_value sc_activate(sc_graph *g, sc_value x, sc_activation f);
sc_value sc_multiply(sc_graph *g, sc_value a, sc_value b, sc_activation f); /* f(a) b */
sc_value sc_depthwise_conv2d(sc_graph *g, sc_value x, sc_param weight, sc_param bias, int stride, int pad);
sc_value sc_channel_norm(sc_graph *g, sc_value x, sc_param weight, sc_param bias, double eps);
sc_value sc_layer_scale(sc_graph *g, sc_value x, sc_value h, sc_param gamma);
sc_value sc_scale_channels(sc_graph *g, sc_value x, sc_value scale);
sc_value sc_layer_norm(sc_graph *g, sc_value x, sc_param weight, sc_param bias, double eps);
/* The same, EXACT: where the normalised values are the residual stream. */
sc_value sc_layer_norm_exact(sc_graph *g, sc_value x, sc_param weight, sc_param bias, double eps);
/* places.id < 0: tokens [T,L], a token's column is its position; else packed tokens [R], places [R] */
sc_value sc_embed(sc_graph *g, sc_value tokens, sc_value places, sc_param table, sc_param positions,
                  sc_param types);
sc_value sc_prepend(sc_graph *g, sc_value x, sc_param row, sc_param positions);
sc_value sc_attention(sc_graph *g, sc_value qkv, int heads); /* causal */
sc_value sc_packed_attention(sc_graph *g, sc_value qkv, sc_value begins, int shared, int longest, int heads);
sc_value sc_full_attention(sc_graph *g, sc_value q, sc_value k, sc_value v, sc_value last, int heads);
sc_value sc_select_row(sc_graph *g, sc_value x, sc_value index); /* index.id < 0: the first row */
sc_value sc_l2_normalize(sc_graph *g, sc_value x);
sc_value sc_group_mean(sc_graph *g, sc_value x, sc_value group, int64_t groups);
sc_value sc_all_gather(sc_graph *g, sc_value x);
typedef struct sc_loss_values { sc_value losses, logits; } sc_loss_values;
sc_loss_values sc_superclip_loss(sc_graph *g, sc_value x, sc_value t, sc_value labels,
                                 sc_value class_weights, sc_param temperature, sc_loss_attrs a);

/* ---- parameters ---------------------------------------------------------------------------
 * One flat buffer each for values, gradients and the two moments, in the backend's element type.
 * Gradients of parameters that see local rows are summed over the group; those that see only what
 * every rank has (texts, gathered features) are the same everywhere already.
 */
typedef struct sc_params sc_params;
typedef struct sc_param_info {
    const char *name;
    sc_shape shape;
    sc_param_kind kind;
    sc_init init;
    bool trainable;   /* and reached by a gradient: has optimiser state */
    bool replicated;  /* gradient needs no reduction */
} sc_param_info;

/* From the training graph (it declares all). Values are zero until imported or initialised. */
sc_status sc_params_create(sc_device *d, const sc_graph *g, sc_params **out);
void sc_params_free(sc_params *p);
size_t sc_params_count(const sc_params *p);
sc_param_info sc_params_info(const sc_params *p, size_t i);
/* Initial values by sc_init_fill; counters 0. */
sc_status sc_params_init(sc_params *p, uint64_t seed);
/* Fills `out` (float array in PyTorch's order) as sc_params_init would. Philox with key (seed,
 * SC_STREAM_INIT) and counter (b, b >> 32, h, h >> 32), h = 64-bit FNV-1a of the name, gives elements
 * 4b .. 4b+3. u = (word + 0.5) * 2^-32. Uniform: a (2u - 1), a word each. Normal: Box-Muller in double,
 * a sqrt(-2 ln u0) (cos, sin)(2 pi u1) from words (0, 1), then (2, 3). Rounded to float at the end. */
void sc_init_fill(const char *name, sc_init init, uint64_t seed, int64_t count, float *out);
/* Strict: every parameter must be in `set` with its shape and nothing else may be there; the first few
 * offenders are named. Any float dtype is accepted. */
sc_status sc_params_import(sc_params *p, const sc_tensor_set *set);
/* Fresh host tensors in state-dict order: F32 (F64 for ref), counters I64. */
sc_status sc_params_export(const sc_params *p, sc_tensor_set *out);
sc_status sc_params_export_gradients(const sc_params *p, sc_tensor_set *out); /* trainable ones */
/* exp_avg and exp_avg_sq of the trainable ones, named like the parameter. */
sc_status sc_params_export_moments(const sc_params *p, sc_tensor_set *m, sc_tensor_set *v);
sc_status sc_params_import_moments(sc_params *p, const sc_tensor_set *m, const sc_tensor_set *v);
/* The same one tensor at a time, for what is too large to be held twice. The bytes of parameter i or of
 * its moments (NULL when it has none), element types as above: the parameter's own memory where it has
 * PyTorch's layout, else a copy in `room`. They stay until the parameters change or room is used again. */
typedef enum sc_param_part { SC_PART_VALUE, SC_PART_EXP_AVG, SC_PART_EXP_AVG_SQ } sc_param_part;
size_t sc_params_room(const sc_params *p); /* bytes */
sc_status sc_params_view(const sc_params *p, size_t i, sc_param_part part, void *room,
                         const void **bytes);
/* As strict as the ones above, and all names and shapes are checked before anything is written; a
 * tensor that cannot be read leaves the parameters half written. */
sc_status sc_params_read(sc_params *p, const sc_tensor_reader *r);
/* Only the parameters that the reader holds: each has to be known and to fit. */
sc_status sc_params_read_some(sc_params *p, const sc_tensor_reader *r);
sc_status sc_params_read_moments(sc_params *p, const sc_tensor_reader *m, const sc_tensor_reader *v);
/* What a graph declares, in state-dict order: names, shapes and kinds for those who look for files that fit. */
size_t sc_graph_param_count(const sc_graph *g);
sc_param_info sc_graph_param_info(const sc_graph *g, size_t i); /* trainable as declared */
/* Would sc_params_read take r for this graph? Needs no device and reads no tensor. */
sc_status sc_params_check(const sc_graph *g, const sc_tensor_reader *r);
int64_t sc_params_step(const sc_params *p); /* AdamW updates done */
void sc_params_set_step(sc_params *p, int64_t step);
/* Buffers of group rank 0 to all (for sync_bn false). */
sc_status sc_params_broadcast_buffers(sc_params *p, const sc_comm *c);
/* CRC-32C over all values in flat order, then the counters: equal on ranks whose replicas are equal. */
uint32_t sc_params_checksum(const sc_params *p);

/* ---- rows that stay on a device ----------------------------------------------------------------
 * A data set's 8-bit rows, uploaded once: every program of a device on the same GPU may take its inputs
 * from them, at the same time, once they are filled.
 */
typedef struct sc_row_store sc_row_store;
bool sc_row_store_possible(const sc_device *d);
/* The device has to outlive the store, and is used by new, fill and free alone. */
sc_status sc_row_store_new(sc_device *d, int64_t rows, size_t row_bytes, sc_row_store **out);
/* Rows first .. first + count - 1; host is the caller's again on return. filled, once behind the last of
 * them: they are there now. */
sc_status sc_row_store_fill(sc_row_store *s, int64_t first, int64_t count, const void *host);
sc_status sc_row_store_filled(sc_row_store *s);
void sc_row_store_free(sc_row_store *s); /* NULL is fine */

/* ---- programs ------------------------------------------------------------------------------ */
typedef struct sc_program sc_program;
typedef struct sc_program_desc {
    const sc_graph *graph; /* must outlive the program */
    int64_t rows_local;    /* this rank's rows, may be 0 */
    const int64_t *rows;   /* [comm->size], copied; sum = the global batch */
    bool training;         /* with backward pass (needs sc_minimize) and batch statistics */
    bool local_batch_norm; /* statistics of the own rows only (sync_bn false) */
} sc_program_desc;
/* Compiles n programs over one shared arena: only one of them may be between its forward and the end
 * of its backward at a time; inputs and outputs keep their own memory. Nothing is allocated later. */
sc_status sc_programs_compile(sc_device *d, sc_params *p, const sc_comm *c, const sc_program_desc *desc,
                              int n, sc_program **out /* [n] */);
void sc_program_free(sc_program *p);
/* Bytes. arena and scratch are shared by the programs compiled together (the largest need of any); io is
 * this program's own; saved is the sum of its ops' saved memory, which lies inside the arena. */
typedef struct sc_program_memory { size_t arena, io, saved, scratch; } sc_program_memory;
sc_program_memory sc_program_memory_of(const sc_program *p);
/* False when a BatchNorm in training would see a single value per channel (with local_batch_norm: on any
 * rank; every rank gets the same answer): skip such a batch. */
bool sc_program_can_train(const sc_program *p);

/* host: float (double for ref) for COMPUTE and EXACT, int32_t for INT32, bytes for BYTES. */
sc_status sc_program_write(sc_program *p, const char *input, const void *host);
sc_status sc_program_read(sc_program *p, const char *output, void *host); /* of `real` */
sc_status sc_program_read_grad(sc_program *p, const char *output, void *host);
/* Input row i, of BYTES, becomes row rows[i] of the store: sc_program_write without the host's copy. */
sc_status sc_program_write_rows(sc_program *p, const char *input, const sc_row_store *s, const int64_t *rows);
/* Shape of an input or output as compiled. */
sc_status sc_program_shape(const sc_program *p, const char *name, sc_shape *out);
sc_status sc_program_forward(sc_program *p);
sc_status sc_program_backward(sc_program *p);
/* Sums the gradients that need it over the group. */
sc_status sc_program_reduce(sc_program *p);
/* Backward, the sum over the group and one AdamW update of every trainable parameter, in one pass over
 * memory where the backend can: the same bytes as sc_program_backward, sc_program_reduce and
 * sc_params_update, but the gradients are not kept. */
sc_status sc_program_update(sc_program *p, const sc_adamw *o);
/* ---- steps that nobody waits for: where a device's calls return before the work is done ----
 * sc_program_write then returns at once too (the host's bytes are copied), and what is read later is the
 * reader's to ask for; sc_program_read and the functions above wait and give the same bytes. */
bool sc_program_queues(const sc_program *p);
/* sc_program_forward and sc_program_update. On a device that queues its work both towers run beside each
 * other, gradients are summed and applied as they come, and from the second call on the whole step is one
 * recording that is replayed, where the device can. The same bytes always. */
sc_status sc_program_step(sc_program *p, const sc_adamw *o);
/* sc_program_forward of a program without a backward pass, for many batches on the same parameters: recorded
 * and replayed likewise, but for the first run behind an update of the parameters. */
sc_status sc_program_run(sc_program *p);
void sc_program_record_nothing(sc_program *p); /* from now on */
/* Values on their way to the host, without a wait: sc_reading_take for each of them, in order with the
 * steps, then sc_reading_close; later sc_reading_wait, and the bytes are there until the next take. Names are
 * of outputs, else of parameters. Only for programs that queue; freed before the program. */
typedef struct sc_reading sc_reading;
sc_status sc_reading_new(sc_program *p, const char *const *names, int n, sc_reading **out);
sc_status sc_reading_take(sc_reading *r, int which);
sc_status sc_reading_close(sc_reading *r);
/* Fails when a step until then did, on this rank or where a peer went away. */
sc_status sc_reading_wait(sc_reading *r);
const void *sc_reading_values(const sc_reading *r, int which); /* of `real` */
void sc_reading_free(sc_reading *r);                           /* NULL is fine */
/* One AdamW update of every trainable parameter; step is counted inside (o->step is ignored). */
sc_status sc_params_update(sc_params *p, const sc_adamw *o);

/* ---- profile: where the time of a run goes ---------------------------------------------------
 * Stands between nn and a device's backend and in front of a communicator; a run without one pays
 * nothing. Programs are compiled between open and close with sc_profile_comm, and freed before close.
 * Reads clocks only: results stay the same bytes. On a device that queues its work every op waits for
 * its end, so a profiled step is slower than the sum of its ops in an ordinary run.
 *
 * The clock runs between start and stop; every moment of it belongs to one part, told by the caller
 * at its end (sc_profile_lap). Ops are timed from inside, whatever part they run in.
 */
typedef struct sc_profile sc_profile;
typedef enum sc_profile_part {
    SC_TIME_LOADER,   /* waiting for rows */
    SC_TIME_RANKS,    /* waiting for the other ranks at a step's boundary */
    SC_TIME_INPUT,    /* handing rows to the device */
    SC_TIME_FORWARD,
    SC_TIME_LOSSES,   /* reading losses and logits, accuracy */
    SC_TIME_BACKWARD,
    SC_TIME_REDUCE,   /* summing gradients over the group */
    SC_TIME_ADAMW,
    SC_TIME_SAVING,   /* progress, checkpoints, results */
    SC_TIME_EVAL_LOADER,
    SC_TIME_EVAL_FORWARD, /* texts and images */
    SC_TIME_EVAL_OTHER,   /* metrics, other ranks */
    SC_PROFILE_PARTS
} sc_profile_part;

/* Measures what the device can do at most (sc_backend.peak) and replaces d->backend until close. */
sc_status sc_profile_open(sc_device *d, const sc_comm *c, sc_profile **out);
void sc_profile_close(sc_profile *p); /* NULL is fine */
const sc_comm *sc_profile_comm(const sc_profile *p);
void sc_profile_start(sc_profile *p); /* zeroes what was counted */
void sc_profile_stop(sc_profile *p);
/* The time since the last lap, or since start, was spent on `part`. Both: nothing when p is NULL or its
 * clock stands. */
void sc_profile_lap(sc_profile *p, sc_profile_part part);
void sc_profile_step(sc_profile *p); /* one more training step done */
int64_t sc_profile_steps(const sc_profile *p);

/* One op, or all ops of a kind, or all equal ops; seconds over the whole measurement. FLOP and bytes are
 * what the op needs at least: multiply-adds as written in its definition (a padded or transformed
 * computation does more or fewer), and every value, gradient and parameter read or written once. */
typedef struct sc_profile_row {
    sc_op op;
    char what[160];  /* "" for a kind; else shapes, kernel and stride */
    int64_t calls, evaluation_calls; /* of forward passes, in training and outside */
    double forward, backward, evaluation; /* seconds */
    double collectives;                   /* of these, inside collectives */
    double flops, bytes;                  /* in these seconds, by the definition */
    double done;                          /* FLOP of multiply-adds that the device really did */
    double share; /* of the peak: the larger of arithmetic's and memory's share; 0: not known */
    bool memory;  /* memory's is the larger */
} sc_profile_row;
typedef struct sc_profile_report {
    int64_t steps;
    double seconds, part[SC_PROFILE_PARTS];
    double peak_flops, peak_bytes;   /* a second; 0: not known */
    double adamw, adamw_bytes;       /* of the device's updates, in whatever part they ran */
    double reduced_bytes;            /* of gradient sums */
    int ranks, threads;
    char device[160];
    sc_profile_row *kinds, *nodes;   /* nodes: slowest first */
    int n_kinds, n_nodes;
} sc_profile_report;
sc_status sc_profile_report_make(const sc_profile *p, sc_profile_report *out);
void sc_profile_report_free(sc_profile_report *r);
const char *sc_profile_part_name(sc_profile_part part); /* "loader_wait", ... */
/* The tables people read: parts, kinds, the `top` slowest; lines end with a newline. */
void sc_profile_report_text(const sc_profile_report *r, int top, sc_text *out);

#endif
