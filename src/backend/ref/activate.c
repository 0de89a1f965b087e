/* activate, and the activations by their definitions. */
#include "ref.h"

#include <math.h>

/* QuickGELU: u * sigmoid(1.702 u), Hendrycks & Gimpel 2016; GELU: u * Phi(u), the exact form. */
#define QUICK_GELU_SLOPE 1.702

static double sigmoid(double v)
{
    return 1 / (1 + exp(-v));
}
static double normal_cdf(double v)
{
    return 0.5 * erfc(-v * sqrt(0.5));
}

double ref_activation(sc_activation f, double u)
{
    switch (f) {
    case SC_QUICK_GELU:
        return u * sigmoid(QUICK_GELU_SLOPE * u);
    case SC_GELU:
        return u * normal_cdf(u);
    case SC_SILU:
        return u * sigmoid(u);
    case SC_RELU:
        return u > 0 ? u : 0;
    case SC_RELU6:
        return u > 0 ? fmin(u, 6) : 0;
    case SC_SIGMOID:
        return sigmoid(u);
    case SC_NO_ACTIVATION:
        break;
    }
    return u;
}

double ref_activation_slope(sc_activation f, double u)
{
    double s;
    switch (f) {
    case SC_QUICK_GELU:
        s = sigmoid(QUICK_GELU_SLOPE * u);
        return s + QUICK_GELU_SLOPE * u * s * (1 - s);
    case SC_GELU:
        return normal_cdf(u) + u * exp(-u * u / 2) / sqrt(2 * 3.14159265358979323846);
    case SC_SILU:
        s = sigmoid(u);
        return s + u * s * (1 - s);
    case SC_RELU:
        return u > 0;
    case SC_RELU6:
        return u > 0 && u < 6;
    case SC_SIGMOID:
        s = sigmoid(u);
        return s * (1 - s);
    case SC_NO_ACTIVATION:
        break;
    }
    return 1;
}

static sc_status forward(const sc_op_node *n)
{
    const double *x = n->in[0].data;
    double *y = n->out[0].data;
    for (size_t i = 0; i < ref_count(&n->out[0].desc.shape); i++)
        y[i] = ref_activation(n->attrs.activation, x[i]);
    return SC_OK;
}

static sc_status backward(const sc_op_node *n)
{
    const double *x = n->in[0].data, *dy = n->out[0].grad;
    double *dx = ref_input_grad(&n->in[0]);
    for (size_t i = 0; dx != NULL && i < ref_count(&n->out[0].desc.shape); i++)
        dx[i] += dy[i] * ref_activation_slope(n->attrs.activation, x[i]);
    return SC_OK;
}

const ref_op ref_activate = {forward, backward, NULL};
