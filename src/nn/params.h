/* Private to nn: the parameters of a model in flat buffers.
 *
 *   values | trainable, summed over the group | trainable, replicated | frozen | buffers |
 *   grads, m, v                               | (these two only)      |
 *
 * so one range is reduced, one range is updated, one range is broadcast. Every parameter starts on
 * a 64-byte boundary; the gaps hold zero for ever. Counters live in the entries.
 */
#ifndef SC_NN_PARAMS_H
#define SC_NN_PARAMS_H

#include "graph.h"

typedef struct nn_param {
    char *name;
    sc_param_desc desc;
    sc_init init;
    bool trainable, replicated;
    size_t offset, elements; /* in the flat buffers, of `real` */
    int64_t counter;
    sc_param_shared shared;
} nn_param;

struct sc_params {
    sc_device *device;
    size_t count;
    nn_param *items;          /* in state-dict order */
    size_t reduced, trained;  /* elements [0, reduced) and [0, trained) */
    size_t buffers, elements; /* [buffers, elements) are running statistics */
    char *values, *grads, *m, *v;
    int64_t step;
    uint64_t loads; /* changes whenever values came from outside */
};

void *nn_param_value(const sc_params *p, const nn_param *item); /* NULL for counters */
void *nn_param_grad(const sc_params *p, const nn_param *item);  /* NULL unless trainable */
void *nn_param_m(const sc_params *p, const nn_param *item);     /* the same */
void *nn_param_v(const sc_params *p, const nn_param *item);
/* In host memory and in PyTorch's layout. */
bool nn_param_is_plain(const sc_params *p, const nn_param *item);
int nn_params_find(const sc_params *p, const char *name); /* -1: unknown */

#endif
