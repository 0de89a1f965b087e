/* conv2d by cuDNN. What is more than one graph is ours: the bias, and a gradient that is added to
 * or stored in another type goes through scratch.
 *
 * scratch: cuDNN's workspace, then that gradient; in the end the sums of the bias.
 */
#include "cuda.h"

#include <stdlib.h>

enum { PASSES = 3 };
typedef struct conv_state {
    const dnn_plan *plan[PASSES]; /* NULL: not wanted */
    void *pack[PASSES];
} conv_state;

static const sc_node_param *bias_of(const sc_op_node *n)
{
    return n->n_params > 1 ? &n->params[1] : NULL;
}
static bool wanted(const sc_op_node *n, dnn_pass pass)
{
    if (cuda_stored(&n->in[0].desc) == 0 || cuda_stored(&n->out[0].desc) == 0)
        return false; /* a rank without rows */
    switch (pass) {
    case DNN_PASS_FORWARD:
        return true;
    case DNN_PASS_DATA:
        return n->in[0].grad != NULL;
    case DNN_PASS_FILTER:
        return n->params[0].grad != NULL;
    }
    return false;
}
dnn_conv cuda_conv_of(const sc_op_node *n, dnn_pass pass, sc_cuda_type type)
{
    const int64_t *x = n->in[0].desc.shape.d, *y = n->out[0].desc.shape.d;
    return (dnn_conv){.pass = pass,
                      .type = type,
                      .n = x[0],
                      .c = cuda_round8(x[1]),
                      .h = x[2],
                      .w = x[3],
                      .o = cuda_round8(y[1]),
                      .oh = y[2],
                      .ow = y[3],
                      .kernel = n->attrs.kernel,
                      .stride = n->attrs.stride,
                      .pad = n->attrs.pad};
}
static sc_status plan_of(cuda_device *d, const sc_op_node *n, dnn_pass pass, const dnn_plan **out)
{
    const dnn_conv c = cuda_conv_of(n, pass, cuda_type(d, &n->in[0].desc));
    SC_TRY(cuda_dnn(d));
    return dnn_plan_for(d->dnn, &c, out);
}

static sc_status workspace_bytes(cuda_device *d, const sc_op_node *n, dnn_pass pass, size_t *bytes)
{
    const dnn_plan *p = NULL;
    if (d->absent != NULL) {
        const dnn_conv c = cuda_conv_of(n, pass, cuda_type(d, &n->in[0].desc));
        return cuda_absent_workspace(d, &c, bytes);
    }
    SC_TRY(plan_of(d, n, pass, &p));
    *bytes = p->workspace;
    return SC_OK;
}

/* The gradient of pass as cuDNN writes it. */
static size_t gradient_bytes(const cuda_device *d, const sc_op_node *n, dnn_pass pass)
{
    if (pass == DNN_PASS_DATA)
        return cuda_value_bytes(&d->head, &n->in[0].desc);
    if (pass == DNN_PASS_FILTER)
        return cuda_param_elements(&d->head, &n->params[0].desc) *
               (cuda_type(d, &n->in[0].desc) == SC_CUDA_BF16 ? 2 : sizeof(float));
    return 0;
}
static char *workspace_of(const sc_op_node *n)
{
    return (char *)cuda_align((size_t)(uintptr_t)n->scratch);
}
static void *gradient_of(const sc_op_node *n, const dnn_plan *p)
{
    return workspace_of(n) + cuda_align(p->workspace);
}

static sc_status conv_memory(cuda_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)saved;
    if (cuda_type(d, &n->in[0].desc) != cuda_type(d, &n->out[0].desc))
        return sc_fail(SC_EUNSUPPORTED, "cuda: conv2d of exact values has no kernel in this build");
    for (dnn_pass pass = DNN_PASS_FORWARD; pass <= DNN_PASS_FILTER; pass++) {
        size_t workspace = 0;
        if (!wanted(n, pass))
            continue;
        SC_TRY(workspace_bytes(d, n, pass, &workspace));
        const size_t need = 256 + cuda_align(workspace) + gradient_bytes(d, n, pass);
        if (need > *scratch)
            *scratch = need;
    }
    if (bias_of(n) != NULL && bias_of(n)->grad != NULL) {
        const int64_t *y = n->out[0].desc.shape.d;
        const size_t need =
            256 + sc_cuda_column_parts(y[0] * y[2] * y[3], (int)cuda_round8(y[1]), 1);
        *scratch = need > *scratch ? need : *scratch;
    }
    return SC_OK;
}

static void conv_release(cuda_device *d, void *state)
{
    conv_state *s = state;
    for (int i = 0; i < PASSES; i++)
        dnn_unbind(d->dnn, s->pack[i]);
    free(s);
}
/* What each pass reads and writes. */
static sc_status bind(cuda_device *d, const sc_op_node *n, const void *weight, dnn_pass pass,
                      conv_state *s)
{
    void *x = n->in[0].data, *w = (void *)(uintptr_t)weight, *y = n->out[0].data;
    SC_TRY(plan_of(d, n, pass, &s->plan[pass]));
    void *gradient = gradient_of(n, s->plan[pass]);
    if (pass == DNN_PASS_DATA)
        x = n->in[0].accumulate ? gradient : n->in[0].grad;
    if (pass == DNN_PASS_FILTER)
        w = cuda_type(d, &n->in[0].desc) == SC_CUDA_BF16 ? gradient : n->params[0].grad;
    if (pass != DNN_PASS_FORWARD)
        y = n->out[0].grad;
    return dnn_bind(d->dnn, x, w, y, workspace_of(n), &s->pack[pass]);
}
static sc_status conv_prepare(cuda_device *d, const sc_op_node *n, void **state)
{
    const void *weight = NULL;
    conv_state *s = sc_alloc(1, sizeof *s);
    sc_status status = SC_OK;
    if (s == NULL)
        return SC_ENOMEM;
    SC_TRY_GOTO(cuda_weight_prepare(d, &n->params[0], &weight));
    for (dnn_pass pass = DNN_PASS_FORWARD; pass <= DNN_PASS_FILTER; pass++)
        if (d->absent == NULL && wanted(n, pass))
            SC_TRY_GOTO(bind(d, n, weight, pass, s));
    *state = s;
done:
    if (status != SC_OK)
        conv_release(d, s);
    return status;
}

static sc_status conv_forward(cuda_device *d, const sc_op_node *n, void *state)
{
    const conv_state *s = state;
    const sc_node_param *bias = bias_of(n);
    const int64_t *y = n->out[0].desc.shape.d;
    if (s->plan[DNN_PASS_FORWARD] == NULL)
        return SC_OK;
    SC_TRY(cuda_weight_refresh(d, &n->params[0]));
    SC_TRY(dnn_run(d->dnn, s->plan[DNN_PASS_FORWARD], s->pack[DNN_PASS_FORWARD], d->stream));
    if (bias == NULL)
        return SC_OK;
    return cuda_check(sc_cuda_add_bias(d->stream, cuda_out(d, &n->out[0]), bias->value,
                                       y[0] * y[2] * y[3], (int)cuda_round8(y[1])),
                      "conv2d's bias");
}
static sc_status filter_gradient(cuda_device *d, const sc_op_node *n, const conv_state *s)
{
    const sc_node_param *w = &n->params[0];
    const sc_cuda_type type = cuda_type(d, &n->in[0].desc);
    const dnn_plan *p = s->plan[DNN_PASS_FILTER];
    if (p == NULL)
        return cuda_check(sc_cuda_zero(d->stream, w->grad,
                                       cuda_param_elements(&d->head, &w->desc) * sizeof(float)),
                          "conv2d's gradient");
    SC_TRY(dnn_run(d->dnn, p, s->pack[DNN_PASS_FILTER], d->stream));
    const void *from = type == SC_CUDA_BF16 ? gradient_of(n, p) : w->grad;
    return cuda_check(sc_cuda_filter_gradient(d->stream, (sc_cuda_in){from, type}, w->grad,
                                              w->desc.shape.d[0], (int)w->desc.shape.d[1],
                                              n->attrs.kernel * n->attrs.kernel),
                      "conv2d's gradient");
}
static sc_status conv_backward(cuda_device *d, const sc_op_node *n, void *state)
{
    const conv_state *s = state;
    const sc_node_param *bias = bias_of(n);
    const int64_t *y = n->out[0].desc.shape.d;
    const dnn_plan *data = s->plan[DNN_PASS_DATA];
    if (data != NULL) {
        SC_TRY(dnn_run(d->dnn, data, s->pack[DNN_PASS_DATA], d->stream));
        if (n->in[0].accumulate)
            CUDA_TRY(
                sc_cuda_convert(d->stream,
                                (sc_cuda_in){gradient_of(n, data), cuda_type(d, &n->in[0].desc)},
                                cuda_grad_out(d, &n->in[0]), cuda_stored(&n->in[0].desc)),
                "conv2d's gradient");
    }
    if (n->params[0].grad != NULL)
        SC_TRY(filter_gradient(d, n, s));
    if (bias == NULL || bias->grad == NULL)
        return SC_OK;
    return cuda_check(sc_cuda_column_sum(d->stream, cuda_grad_in(d, &n->out[0]), bias->grad,
                                         y[0] * y[2] * y[3], (int)cuda_round8(y[1]),
                                         (double *)workspace_of(n)),
                      "conv2d's bias");
}
static const cuda_bound conv_bound = {conv_prepare, conv_release, conv_forward, conv_backward};
const cuda_op cuda_op_conv2d = {.memory = conv_memory, .bound = &conv_bound};
