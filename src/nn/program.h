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
    bool side;        /* a step runs it beside the others: it sees no rows of the batch */
    int64_t own_rows; /* op.rows of an op that talks to nobody */
} program_node;

typedef struct program_value {
    sc_value_desc desc;
    size_t bytes;
    void *data, *grad;
    bool keeps_data, keeps_grad; /* in the program's own memory, not in the arena */
    size_t data_at, grad_at;     /* offsets there */
    size_t page_at;              /* of an input: its place in a page */
    uint64_t written;            /* the page it was last put into */
} program_value;

/* What a step sums over the group and updates at once: neighbours in the flat buffers. */
typedef struct program_bucket {
    size_t from, count; /* elements */
    int last;           /* the last node of the backward pass that has a gradient in it */
} program_bucket;
enum { NN_MOST_BUCKETS = 8 };

/* Pinned memory that inputs travel through: one is filled while the other's copies are under way.
 */
typedef struct program_page {
    char *memory;
    void *mark; /* behind its last copy */
} program_page;
typedef struct program_pages {
    program_page page[2];
    size_t bytes;          /* of one: the inputs of any program */
    const sc_program *who; /* fills the present one; NULL: nobody yet */
    int at;
    uint64_t serial; /* of the present one */
} program_pages;

/* The memory that the programs of one sc_programs_compile share. */
typedef struct program_shared {
    int users;
    const sc_comm *joined; /* NULL: the device was not told of a communicator */
    char *arena, *scratch;
    size_t arena_bytes, scratch_bytes,
        side_bytes; /* side_bytes: of scratch for the side branch, behind */
    program_pages pages;
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
    size_t io_bytes, saved_bytes, input_bytes;
    program_shared *shared;

    /* step.c */
    int cross; /* the first node that reads what side nodes give; -1: no node is on the side */
    program_bucket buckets[NN_MOST_BUCKETS];
    int n_buckets;
    bool eager;      /* steps are not recorded */
    int warm;        /* steps run so far without a recording */
    void *step;      /* recorded, or NULL */
    uint64_t loads;  /* params->loads at that time */
    int64_t updates; /* params->step when it last ran without a recording */
};

const program_value *nn_program_input(const sc_program *p, const char *name); /* or NULL */
const program_value *nn_program_output(const sc_program *p, const char *name);

extern const sc_comm nn_alone; /* a group of one */

/* Buffers of the plan: data of value i at i, its gradient at V + i, saved memory of node j at 2V +
 * j. */
typedef struct nn_layout {
    nn_buffer *buffers;
    bool *used;        /* [count] */
    bool *main, *side; /* touched by nodes of that branch; in the memory of used */
    size_t count;
} nn_layout;
/* Asks the backend for every op's memory and finds places: needs of the shared arena and scratch,
 * and the sizes and offsets of the program's own memory. */
sc_status nn_layout_make(sc_program *p, const nn_flow *flow, nn_layout *l, size_t *arena,
                         size_t *scratch, size_t *side);
/* Where the side branch's scratch begins. */
static inline size_t nn_align_scratch(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}
/* Final addresses, when arena, scratch and io exist. */
void nn_layout_apply(sc_program *p, const nn_flow *flow, const nn_layout *l);
sc_status nn_give_gradients(sc_program *p);

/* branches.c: finds the nodes of the side branch, on devices that have one. Before the layout. */
sc_status nn_find_branches(sc_program *p);
/* Cuts the gradients that are summed into buckets. */
sc_status nn_cut_buckets(sc_program *p);

/* program.c: what happened on the host when the forward pass ran, when parameters were updated. */
void nn_count_batches(sc_program *p);
void nn_count_update(sc_program *p);

/* pages.c: an input through pinned memory, without waiting for the device; plain values alone. */
sc_status nn_page_put(sc_program *p, int value, const void *host);
/* What was put belongs to the run that starts now. */
sc_status nn_page_turn(sc_program *p);
void nn_pages_free(sc_device *d, program_pages *s);

#endif
