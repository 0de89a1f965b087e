/* A backend that computes nothing and watches everything: each op fills what it writes with words
 * that name the value, and checks the words of all that it may read. A memory plan that lets two
 * live buffers meet is found at the first read.
 */
#ifndef SC_TESTS_NN_TRACE_BACKEND_H
#define SC_TESTS_NN_TRACE_BACKEND_H

#include "superclip/nn.h"

enum { TRACE_NODES = 128 };

/* What the test knows of its graph: value ids of each node, in recording order. */
typedef struct trace_node {
    int n_in, n_out, in[4], out[2];
} trace_node;
typedef struct trace_device {
    sc_device base;
    trace_node nodes[TRACE_NODES]; /* filled by the test before compile */
    int n_nodes, prepared;         /* nodes prepared so far, over all programs */
    int minimize;                  /* value id of the seed */
    long forwards, backwards, checks;
    char error[256]; /* first broken promise, "" if none */
} trace_device;

const sc_backend *trace_backend(void);
uint32_t trace_word(int value);      /* content of a value's data */
uint32_t trace_grad_word(int value); /* of its gradient */

#endif
