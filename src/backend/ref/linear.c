/* linear (both weight layouts, optional bias, activation) and add. */
#include "ref.h"

#include <string.h>

/* saved: u = x W + b in front of the activation; scratch: the gradient there, one row */
static void memory(const sc_op_node *n, size_t *saved, size_t *scratch)
{
    const sc_shape *y = &n->out[0].desc.shape;
    *saved = n->attrs.activation != SC_NO_ACTIVATION ? ref_count(y) * sizeof(double) : 0;
    *scratch = ref_last(y) * sizeof(double);
}

static void product(const sc_op_node *n, const double *x, double *u, size_t in, size_t out)
{
    const double *w = ref_param(n, 0), *bias = ref_param(n, 1);
    for (size_t o = 0; o < out; o++)
        u[o] = bias != NULL ? bias[o] : 0;
    if (n->attrs.transposed) {
        for (size_t i = 0; i < in; i++)
            for (size_t o = 0; o < out; o++)
                u[o] += x[i] * w[i * out + o];
    } else {
        for (size_t o = 0; o < out; o++)
            for (size_t i = 0; i < in; i++)
                u[o] += x[i] * w[o * in + i];
    }
}

static sc_status forward(const sc_op_node *n)
{
    size_t rows = ref_rows(&n->in[0].desc.shape), in = ref_last(&n->in[0].desc.shape);
    size_t out = ref_last(&n->out[0].desc.shape);
    const double *x = n->in[0].data;
    double *y = n->out[0].data;
    bool active = n->attrs.activation != SC_NO_ACTIVATION;
    double *u = active ? n->saved : y;
    for (size_t r = 0; r < rows; r++)
        product(n, x + r * in, u + r * out, in, out);
    for (size_t i = 0; active && i < rows * out; i++)
        y[i] = ref_activation(n->attrs.activation, u[i]);
    return SC_OK;
}

static void row_backward(const sc_op_node *n, const double *x, const double *du, double *dx,
                         double *dw, size_t in, size_t out)
{
    const double *w = ref_param(n, 0);
    size_t step_in = n->attrs.transposed ? out : 1, step_out = n->attrs.transposed ? 1 : in;
    for (size_t o = 0; o < out; o++)
        for (size_t i = 0; i < in; i++) {
            size_t at = i * step_in + o * step_out;
            if (dx != NULL)
                dx[i] += du[o] * w[at];
            if (dw != NULL)
                dw[at] += du[o] * x[i];
        }
}

static sc_status backward(const sc_op_node *n)
{
    size_t rows = ref_rows(&n->in[0].desc.shape), in = ref_last(&n->in[0].desc.shape);
    size_t out = ref_last(&n->out[0].desc.shape);
    const double *x = n->in[0].data, *dy = n->out[0].grad, *u = n->saved;
    double *du = n->scratch, *dx = ref_input_grad(&n->in[0]), *dw = ref_param_grad(&n->params[0]);
    double *dbias = n->n_params > 1 ? ref_param_grad(&n->params[1]) : NULL;
    for (size_t r = 0; r < rows; r++) {
        for (size_t o = 0; o < out; o++) {
            du[o] = dy[r * out + o];
            if (n->attrs.activation != SC_NO_ACTIVATION)
                du[o] *= ref_activation_slope(n->attrs.activation, u[r * out + o]);
            if (dbias != NULL)
                dbias[o] += du[o];
        }
        row_backward(n, x + r * in, du, dx != NULL ? dx + r * in : NULL, dw, in, out);
    }
    return SC_OK;
}

const ref_op ref_linear = {forward, backward, memory};

static sc_status add_forward(const sc_op_node *n)
{
    const double *a = n->in[0].data, *b = n->in[1].data;
    double *y = n->out[0].data;
    for (size_t i = 0; i < ref_count(&n->out[0].desc.shape); i++)
        y[i] = a[i] + b[i];
    return SC_OK;
}

static sc_status add_backward(const sc_op_node *n)
{
    const double *dy = n->out[0].grad;
    for (int k = 0; k < 2; k++) {
        double *dx = ref_input_grad(&n->in[k]);
        for (size_t i = 0; dx != NULL && i < ref_count(&n->out[0].desc.shape); i++)
            dx[i] += dy[i];
    }
    return SC_OK;
}

const ref_op ref_add = {add_forward, add_backward, NULL};
