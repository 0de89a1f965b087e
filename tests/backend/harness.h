/* One table of op cases, run through the backend contract alone: upload, prepare, forward,
 * backward, download. `ref` computes in double and is the judge; inputs are drawn from the case's
 * name, so every backend, thread and rank gets the same numbers.
 */
#ifndef SC_TEST_BACKEND_HARNESS_H
#define SC_TEST_BACKEND_HARNESS_H

#include "superclip/backend.h"

typedef enum fill_kind {
    FILL_NORMAL,   /* a + b * normal, rounded to bfloat16 so that every backend reads it exactly */
    FILL_POSITIVE, /* uniform in [a, b), the same rounding */
    FILL_TEXTURE,  /* few distinct values: many ties for max_pool */
    FILL_UNIT,     /* rows of length 1 (rounded to float) */
    FILL_INT,      /* integers in [0, a) */
    FILL_GROUPS,   /* row t belongs to group t % a */
    FILL_BEGINS,   /* packed texts that follow each other in rows a .. b */
    FILL_BYTES,    /* random bytes */
    FILL_DRAWS     /* sc_augment rows: see draw_augment */
} fill_kind;

typedef struct case_tensor {
    sc_kind kind;
    sc_shape shape;
    fill_kind fill;
    double a, b;
    bool no_grad;
} case_tensor;

/* An op that takes the case's output, or what `between` says of it, as its only input. */
typedef struct case_tail {
    sc_op op;
    sc_attrs attrs;
    case_tensor between;
} case_tail;

typedef struct op_case {
    const char *name;
    sc_op op;
    sc_attrs attrs;
    int n_in, n_out, n_param;
    case_tensor in[4], out[2], param[5]; /* out[i].b: size of the gradient that arrives, 0 = 1 */
    /* Not NULL: two ops, of which the second makes out[0]; as one where the backend joins them. */
    const case_tail *then;
} op_case;

const op_case *op_cases(size_t *count);
const op_case *op_case_find(const char *name);

/* What a run left, as doubles in PyTorch's layout; every pointer is owned. */
typedef struct case_result {
    double *out[2], *in_grad[4], *param_grad[5], *param[5];
    int64_t out_count[2], in_count[4], param_count[5];
    double seconds_forward, seconds_backward; /* best of `repeat` */
    bool joined;                              /* the case's two ops ran as one */
} case_result;
void case_result_free(case_result *r);

typedef struct case_run {
    const sc_backend *backend;
    sc_device *device; /* of that backend and precision; NULL: one is opened for this run */
    sc_precision_mode precision;
    int threads;
    const sc_comm *comm; /* NULL: alone */
    const int64_t *rows; /* [comm->size] rows of the case's first dimension; NULL: all here */
    bool training, backward, accumulate;
    int repeat; /* extra timed repetitions */
} case_run;
sc_status run_case(const op_case *c, const case_run *how, case_result *out);

/* One random augmentation of a `side` row to `crop`, from a counter. */
sc_augment draw_augment(uint32_t n, int side, int crop);

/* Largest violation of |a - b| <= tol * (|b| + rms(b)); <= 1 passes. NaN gives infinity. */
double worst_error(const double *got, const double *want, int64_t count, double tol);

#endif
