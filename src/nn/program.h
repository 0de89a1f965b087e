/* Private to nn: a compiled program. */
#ifndef SC_NN_PROGRAM_H
#define SC_NN_PROGRAM_H

#include "graph.h"
#include "params.h"
#include "plan.h"

typedef struct program_node {
    sc_op_node op; /* the backend keeps its address */
    void *state;   /* the backend's */
    bool prepared, backward;
    bool joined;      /* done within the passes of the node before it */
    int64_t own_rows; /* op.rows of an op that talks to nobody */
} program_node;

typedef struct program_value {
    sc_value_desc desc;
    size_t bytes;
    void *data, *grad;
    bool keeps_data, keeps_grad; /* in the program's own memory, not in the arena */
    size_t data_at, grad_at;     /* offsets there */
} program_value;

/* The memory that the programs of one sc_programs_compile share. */
typedef struct program_shared {
    int users;
    const sc_comm *joined; /* NULL: the device was not told of a communicator */
    char *arena, *scratch;
    size_t arena_bytes, scratch_bytes;
} program_shared;
/* One user less; the last one frees it. */
void nn_shared_leave(sc_device *d, program_shared *s);

struct sc_program {
    sc_device *device;
    sc_params *params;
    const sc_graph *graph;
    const sc_comm *comm;
    int64_t *rows; /* [comm->size] */
    int64_t rows_local, rows_global;
    bool training, local_batch_norm;
    program_node *nodes;   /* [graph->n_nodes], never moved */
    program_value *values; /* [graph->n_values] */
    int *param_index;      /* graph parameter -> params */
    char *io;
    size_t io_bytes, saved_bytes;
    program_shared *shared;
};

const program_value *nn_program_input(const sc_program *p, const char *name); /* or NULL */

extern const sc_comm nn_alone; /* a group of one */

/* Buffers of the plan: data of value i at i, its gradient at V + i, saved memory of node j at 2V +
 * j. */
typedef struct nn_layout {
    nn_buffer *buffers;
    bool *used;
    size_t count;
} nn_layout;
/* Asks the backend for every op's memory and finds places: needs of the shared arena and scratch,
 * and the sizes and offsets of the program's own memory. */
sc_status nn_layout_make(sc_program *p, const nn_flow *flow, nn_layout *l, size_t *arena,
                         size_t *scratch);
/* Final addresses, when arena, scratch and io exist. */
void nn_layout_apply(sc_program *p, const nn_flow *flow, const nn_layout *l);
sc_status nn_give_gradients(sc_program *p);

#endif
