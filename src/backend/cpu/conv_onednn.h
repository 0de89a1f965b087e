/* Convolutions by oneDNN's direct algorithm: where the processor or the shape has none of our own
 * kernels (direct.h, wgrad.h). Every run allocates memory inside oneDNN. */
#ifndef SC_CPU_CONV_ONEDNN_H
#define SC_CPU_CONV_ONEDNN_H

#include "cpu.h"

/* Directions of a layer that go this way. */
typedef struct cpu_onednn_ways {
    bool forward, data, weights;
} cpu_onednn_ways;

typedef struct cpu_onednn_conv {
    cpu_primitive forward, data, weights, weights_reorder;
    cpu_copy *forward_copy, *data_copy; /* NULL: the parameter itself is read */
    void *data_temporary;               /* gradient to add to in[0].grad, or NULL */
} cpu_onednn_conv;

/* Scratch: the largest scratchpad, then a temporary of the input gradient (accumulation) or of the
 * weight gradient (when the processor's layout is not the flat one). */
sc_status cpu_onednn_conv_memory(cpu_device *d, const sc_op_node *n, cpu_onednn_ways ways,
                                 size_t *scratch);
/* *c is zeros before; release it whatever happens. */
sc_status cpu_onednn_conv_prepare(cpu_device *d, const sc_op_node *n, cpu_onednn_ways ways,
                                  cpu_onednn_conv *c);
void cpu_onednn_conv_release(cpu_onednn_conv *c);
sc_status cpu_onednn_conv_forward(cpu_device *d, const sc_op_node *n, cpu_onednn_conv *c);
sc_status cpu_onednn_conv_data(cpu_device *d, const sc_op_node *n, cpu_onednn_conv *c);
sc_status cpu_onednn_conv_weights(cpu_device *d, cpu_onednn_conv *c);

#endif
