/* Ops with a number for each channel of an image: channel_norm, layer_scale, scale_channels; and
 * multiply. */
#include "ref.h"

#include <math.h>

typedef struct dims {
    size_t images, channels, hw;
} dims;
static dims dims_of(const sc_op_node *n)
{
    const sc_shape *x = &n->in[0].desc.shape;
    return (dims){(size_t)x->d[0], (size_t)x->d[1], (size_t)(x->d[2] * x->d[3])};
}

/* ---- channel_norm: saved = mean, 1/std of each pixel ------------------------------------------
 */

static void norm_memory(const sc_op_node *n, size_t *saved, size_t *scratch)
{
    const dims d = dims_of(n);
    *saved = 2 * d.images * d.hw * sizeof(double);
    *scratch = 0;
}

/* x: the first channel of a pixel, the others lie hw apart. */
static void norm_pixel(const sc_op_node *n, const dims *d, const double *x, double *y, double *mean,
                       double *inv_std)
{
    const double *weight = ref_param(n, 0), *bias = ref_param(n, 1);
    double sum = 0, m2 = 0;
    for (size_t c = 0; c < d->channels; c++)
        sum += x[c * d->hw];
    *mean = sum / (double)d->channels;
    for (size_t c = 0; c < d->channels; c++)
        m2 += (x[c * d->hw] - *mean) * (x[c * d->hw] - *mean);
    *inv_std = 1 / sqrt(m2 / (double)d->channels + n->attrs.eps);
    for (size_t c = 0; c < d->channels; c++)
        y[c * d->hw] = (x[c * d->hw] - *mean) * *inv_std * weight[c] + bias[c];
}

static sc_status norm_forward(const sc_op_node *n)
{
    const dims d = dims_of(n);
    const double *x = n->in[0].data;
    double *y = n->out[0].data, *mean = n->saved, *inv_std = mean + d.images * d.hw;
    for (size_t r = 0; r < d.images * d.hw; r++) {
        const size_t at = r / d.hw * d.channels * d.hw + r % d.hw;
        norm_pixel(n, &d, x + at, y + at, &mean[r], &inv_std[r]);
    }
    return SC_OK;
}

static sc_status norm_backward(const sc_op_node *n)
{
    const dims d = dims_of(n);
    const double *x = n->in[0].data, *dy = n->out[0].grad, *weight = ref_param(n, 0);
    const double *mean = n->saved, *inv_std = mean + d.images * d.hw;
    double *dx = ref_input_grad(&n->in[0]);
    double *dweight = ref_param_grad(&n->params[0]), *dbias = ref_param_grad(&n->params[1]);
    for (size_t r = 0; r < d.images * d.hw; r++) {
        const size_t first = r / d.hw * d.channels * d.hw + r % d.hw;
        double sum = 0, dot = 0;
        for (size_t c = 0; c < d.channels; c++) {
            const size_t at = first + c * d.hw;
            const double xhat = (x[at] - mean[r]) * inv_std[r];
            sum += dy[at] * weight[c];
            dot += dy[at] * weight[c] * xhat;
            if (dweight != NULL)
                dweight[c] += dy[at] * xhat;
            if (dbias != NULL)
                dbias[c] += dy[at];
        }
        for (size_t c = 0; dx != NULL && c < d.channels; c++) {
            const size_t at = first + c * d.hw;
            const double xhat = (x[at] - mean[r]) * inv_std[r];
            dx[at] += inv_std[r] * (dy[at] * weight[c] - (sum + xhat * dot) / (double)d.channels);
        }
    }
    return SC_OK;
}

const ref_op ref_channel_norm = {norm_forward, norm_backward, norm_memory};

/* ---- layer_scale ------------------------------------------------------------------------------
 */

static sc_status scale_forward(const sc_op_node *n)
{
    const dims d = dims_of(n);
    const double *x = n->in[0].data, *h = n->in[1].data, *gamma = ref_param(n, 0);
    double *y = n->out[0].data;
    for (size_t i = 0; i < d.images * d.channels * d.hw; i++)
        y[i] = x[i] + gamma[i / d.hw % d.channels] * h[i];
    return SC_OK;
}

static sc_status scale_backward(const sc_op_node *n)
{
    const dims d = dims_of(n);
    const double *h = n->in[1].data, *dy = n->out[0].grad, *gamma = ref_param(n, 0);
    double *dx = ref_input_grad(&n->in[0]), *dh = ref_input_grad(&n->in[1]);
    double *dgamma = ref_param_grad(&n->params[0]);
    for (size_t i = 0; i < d.images * d.channels * d.hw; i++) {
        const size_t c = i / d.hw % d.channels;
        if (dx != NULL)
            dx[i] += dy[i];
        if (dh != NULL)
            dh[i] += gamma[c] * dy[i];
        if (dgamma != NULL)
            dgamma[c] += dy[i] * h[i];
    }
    return SC_OK;
}

const ref_op ref_layer_scale = {scale_forward, scale_backward, NULL};

/* ---- scale_channels: s[i / hw] is the factor of x[i] ------------------------------------------
 */

static sc_status channels_forward(const sc_op_node *n)
{
    const dims d = dims_of(n);
    const double *x = n->in[0].data, *s = n->in[1].data;
    double *y = n->out[0].data;
    for (size_t i = 0; i < d.images * d.channels * d.hw; i++)
        y[i] = x[i] * s[i / d.hw];
    return SC_OK;
}

static sc_status channels_backward(const sc_op_node *n)
{
    const dims d = dims_of(n);
    const double *x = n->in[0].data, *s = n->in[1].data, *dy = n->out[0].grad;
    double *dx = ref_input_grad(&n->in[0]), *ds = ref_input_grad(&n->in[1]);
    for (size_t i = 0; i < d.images * d.channels * d.hw; i++) {
        if (dx != NULL)
            dx[i] += dy[i] * s[i / d.hw];
        if (ds != NULL)
            ds[i / d.hw] += dy[i] * x[i];
    }
    return SC_OK;
}

const ref_op ref_scale_channels = {channels_forward, channels_backward, NULL};

/* ---- multiply ---------------------------------------------------------------------------------
 */

static sc_status multiply_forward(const sc_op_node *n)
{
    const double *a = n->in[0].data, *b = n->in[1].data;
    double *y = n->out[0].data;
    for (size_t i = 0; i < ref_count(&n->out[0].desc.shape); i++)
        y[i] = ref_activation(n->attrs.activation, a[i]) * b[i];
    return SC_OK;
}

static sc_status multiply_backward(const sc_op_node *n)
{
    const double *a = n->in[0].data, *b = n->in[1].data, *dy = n->out[0].grad;
    double *da = ref_input_grad(&n->in[0]), *db = ref_input_grad(&n->in[1]);
    for (size_t i = 0; i < ref_count(&n->out[0].desc.shape); i++) {
        if (da != NULL)
            da[i] += dy[i] * b[i] * ref_activation_slope(n->attrs.activation, a[i]);
        if (db != NULL)
            db[i] += dy[i] * ref_activation(n->attrs.activation, a[i]);
    }
    return SC_OK;
}

const ref_op ref_multiply = {multiply_forward, multiply_backward, NULL};
