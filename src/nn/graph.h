/* Private to nn: what a recorded graph holds, and what differentiation says about it. */
#ifndef SC_NN_GRAPH_H
#define SC_NN_GRAPH_H

#include "superclip/nn.h"

#define NN_MAX_IN 4
#define NN_MAX_OUT 2
#define NN_MAX_PARAMS 5

/* One row of ops.def. */
typedef struct nn_op_info {
    const char *name;
    int inputs_min, inputs_max, outputs, params_max;
    unsigned needs_in, needs_out;
} nn_op_info;
extern const nn_op_info nn_ops[SC_OP_COUNT];
/* Whether backward of `op` writes a gradient for input k. */
bool nn_takes_gradient(sc_op op, int k);

typedef struct graph_value {
    sc_kind kind;
    sc_rows_kind rows;
    sc_shape shape;   /* d[0] is -1 unless rows are FIXED */
    int node;         /* producer, -1: an input */
    const char *name; /* of an input */
} graph_value;

typedef struct graph_node {
    sc_op op;
    sc_attrs attrs;
    int n_in, n_out, n_params;
    int in[NN_MAX_IN], out[NN_MAX_OUT], params[NN_MAX_PARAMS];
} graph_node;

typedef struct graph_param {
    const char *name;
    sc_param_kind kind;
    sc_shape shape;
    sc_init init;
    bool trainable;
    bool unused;    /* no op will use it */
    int node, slot; /* the op that uses it, -1: none yet */
} graph_param;

typedef struct graph_output {
    const char *name;
    int value;
    bool grad;
} graph_output;

struct sc_graph {
    sc_arena *names;
    sc_status status;
    char message[512];
    graph_value *values;
    graph_node *nodes;
    graph_param *params;
    graph_output *outputs;
    int n_values, n_nodes, n_params, n_outputs;
    int cap_values, cap_nodes, cap_params, cap_outputs;
    int minimize; /* value, -1: none */
};

/* First failure of a graph; the later ones are dropped. */
void nn_graph_fail(sc_graph *g, sc_status code, const char *fmt, ...) SC_PRINTF(3, 4);
bool nn_graph_ok(const sc_graph *g);                          /* false for NULL and failed graphs */
int nn_graph_add_value(sc_graph *g, graph_value v);           /* -1 on failure */
int nn_graph_add_node(sc_graph *g, const graph_node *node);   /* -1 on failure */
int nn_graph_find_param(const sc_graph *g, const char *name); /* -1: unknown */
/* "[n, 3, 8, 8]": n for the rows of a rank, N for the group's. */
const char *nn_value_text(const graph_value *v, char out[96]);

/* Which values have a gradient, which nodes run backward, which parameters are reached. */
typedef struct nn_flow {
    bool *value, *node, *param;
} nn_flow;
sc_status nn_flow_make(const sc_graph *g, nn_flow *out);
void nn_flow_free(nn_flow *f);
/* Whether an op sees rows that differ between ranks. */
/* Whether node i has one output, which is input 0 of node j and goes nowhere else. */
bool nn_feeds_only(const sc_graph *g, int i, int j);
bool nn_node_is_local(const sc_graph *g, const graph_node *node);

#endif
