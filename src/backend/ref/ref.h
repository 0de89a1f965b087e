/* Private to backend/ref: one function set an op, plain loops in double over PyTorch's layouts.
 * Values of kind COMPUTE and EXACT are arrays of double; parameters and their gradients too.
 */
#ifndef SC_BACKEND_REF_REF_H
#define SC_BACKEND_REF_REF_H

#include "superclip/backend.h"

typedef struct ref_op {
    sc_status (*forward)(const sc_op_node *n);
    sc_status (*backward)(const sc_op_node *n); /* NULL: no gradient flows */
    void (*memory)(const sc_op_node *n, size_t *saved, size_t *scratch); /* NULL: needs none */
} ref_op;

extern const ref_op ref_augment, ref_conv2d, ref_batch_norm, ref_max_pool, ref_avg_pool, ref_linear,
    ref_add, ref_activate, ref_multiply, ref_depthwise_conv2d, ref_channel_norm, ref_layer_scale,
    ref_scale_channels, ref_layer_norm, ref_embed, ref_prepend, ref_attention, ref_select_row,
    ref_l2_normalize, ref_group_mean, ref_all_gather, ref_superclip_loss;

/* Element count of a value or parameter. */
size_t ref_count(const sc_shape *s);
/* Product of all dimensions but the last: the rows of a [.., E] value. */
size_t ref_rows(const sc_shape *s);
size_t ref_last(const sc_shape *s);

/* Where a backward adds its gradient: zeroed first unless the value accumulates; NULL: not wanted.
 */
double *ref_input_grad(const sc_node_value *v);
/* The same for a parameter, whose gradient is always overwritten. */
double *ref_param_grad(const sc_node_param *p);
/* The value of parameter `slot`, NULL when the node has no such parameter. */
const double *ref_param(const sc_op_node *n, int slot);

/* f(u) and its derivative. */
double ref_activation(sc_activation f, double u);
double ref_activation_slope(sc_activation f, double u);

/* The 8-bit pixel chain of one sample: crop, flips, jitter, rotation. out, tmp: [S][S][3]. */
void ref_pixels(const uint8_t *row, int64_t row_size, const sc_augment *a, int64_t size,
                uint8_t *out, uint8_t *tmp);

#endif
