/* Private to nn: recording one op. A rule begins a record, checks shapes through it, gives the
 * outputs their shapes, and commits:
 *
 *     record r;
 *     if (!record_begin(&r, g, SC_OP_ADD, 2, in, 0, NULL)) return NO_VALUE;
 *     if (shapes differ) return record_fail(&r, "...");
 *     return record_output(&r, kind, rows, shape);
 */
#ifndef SC_NN_RECORD_H
#define SC_NN_RECORD_H

#include "graph.h"

#define NO_VALUE ((sc_value){-1})

typedef struct record {
    sc_graph *g;
    graph_node node;
    graph_value in[NN_MAX_IN]; /* copies */
    graph_param param[NN_MAX_PARAMS];
} record;

/* Optional params (id < 0) may only stand at the end; they are left out. */
bool record_begin(record *r, sc_graph *g, sc_op op, int n_in, const sc_value *in, int n_params,
                  const sc_param *params);
/* Fails the graph with "<op>: " + the message + the shapes of inputs and parameters. */
sc_value record_fail(record *r, const char *fmt, ...) SC_PRINTF(2, 3);
/* Commits a node of one output. */
sc_value record_output(record *r, sc_kind kind, sc_rows_kind rows, sc_shape shape);
/* The same for two. */
bool record_two_outputs(record *r, graph_value first, graph_value second, sc_value out[2]);

/* Checks used by many rules; false after failing the graph. */
bool record_real(record *r, int k);           /* input k is COMPUTE or EXACT */
bool record_dims(record *r, int k, int dims); /* input k has so many dimensions */
bool record_index(record *r, int k);          /* input k is INT32 with input 0's rows */
/* Windows along one side; < 1: none fits. */
int64_t record_windows(int64_t size, int64_t kernel, int64_t stride, int64_t pad);
bool record_vector(record *r, int slot, int64_t n); /* parameter `slot` is [n] */

#endif
