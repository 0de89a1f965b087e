/* Ops of encoders other than ResNet on images: depthwise_conv2d, channel_norm, layer_scale,
 * scale_channels.
 */
#include "cuda.h"

static int64_t pixels_of(const sc_value_desc *v)
{
    return v->shape.d[2] * v->shape.d[3];
}

/* ---- depthwise_conv2d ---- */
static sc_cuda_depthwise depthwise_of(const sc_op_node *n)
{
    const int64_t *x = n->in[0].desc.shape.d, *y = n->out[0].desc.shape.d;
    return (sc_cuda_depthwise){.n = x[0],
                               .plain = (int)x[1],
                               .padded = (int)cuda_round8(x[1]),
                               .h = (int)x[2],
                               .w = (int)x[3],
                               .oh = (int)y[2],
                               .ow = (int)y[3],
                               .kernel = n->attrs.kernel,
                               .stride = n->attrs.stride,
                               .pad = n->attrs.pad};
}
/* scratch of backward: sums of weights, then of biases */
static sc_status depthwise_memory(cuda_device *d, const sc_op_node *n, size_t *saved,
                                  size_t *scratch)
{
    (void)d, (void)saved;
    const sc_cuda_depthwise k = depthwise_of(n);
    const size_t weight = sc_cuda_depthwise_parts(&k),
                 bias = sc_cuda_column_parts(k.n * k.oh * k.ow, k.padded, 1);
    *scratch = weight > bias ? weight : bias;
    return SC_OK;
}
static sc_status depthwise_forward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_depthwise k = depthwise_of(n);
    return cuda_check(
        sc_cuda_depthwise_run(d->stream, &k, cuda_in(d, &n->in[0]), n->params[0].value,
                              n->n_params > 1 ? n->params[1].value : NULL, cuda_out(d, &n->out[0])),
        "depthwise_conv2d");
}
static sc_status depthwise_backward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_depthwise k = depthwise_of(n);
    const sc_cuda_in dy = cuda_grad_in(d, &n->out[0]);
    if (n->in[0].grad != NULL)
        CUDA_TRY(sc_cuda_depthwise_data(d->stream, &k, dy, n->params[0].value,
                                        cuda_grad_out(d, &n->in[0])),
                 "depthwise_conv2d");
    if (n->params[0].grad != NULL)
        CUDA_TRY(sc_cuda_depthwise_weight(d->stream, &k, cuda_in(d, &n->in[0]), dy,
                                          n->params[0].grad, n->scratch),
                 "depthwise_conv2d");
    if (n->n_params < 2 || n->params[1].grad == NULL)
        return SC_OK;
    return cuda_check(sc_cuda_column_sum(d->stream, dy, n->params[1].grad, k.n * k.oh * k.ow,
                                         k.padded, n->scratch),
                      "depthwise_conv2d");
}
const cuda_op cuda_op_depthwise_conv2d = {depthwise_memory, depthwise_forward, depthwise_backward,
                                          NULL};

/* ---- channel_norm: layer_norm of the rows that pixels are; saved = mean, 1/std of each ---- */
static int64_t pixel_rows(const sc_op_node *n)
{
    return n->in[0].desc.shape.d[0] * pixels_of(&n->in[0].desc);
}
static float *rstd_of(const sc_op_node *n)
{
    return (float *)((char *)n->saved + cuda_align((size_t)pixel_rows(n) * sizeof(float)));
}
static sc_status norm_memory(cuda_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d;
    *saved = 2 * cuda_align((size_t)pixel_rows(n) * sizeof(float));
    *scratch = sc_cuda_column_parts(pixel_rows(n), (int)n->in[0].desc.shape.d[1], 2);
    return SC_OK;
}
static sc_status norm_forward(cuda_device *d, const sc_op_node *n)
{
    const int width = (int)n->in[0].desc.shape.d[1];
    return cuda_check(sc_cuda_layer_norm(d->stream, cuda_in(d, &n->in[0]), cuda_out(d, &n->out[0]),
                                         n->params[0].value, n->params[1].value,
                                         (float)n->attrs.eps, n->saved, rstd_of(n), pixel_rows(n),
                                         width, (int)cuda_round8(width)),
                      "channel_norm");
}
static sc_status norm_backward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_in x = cuda_in(d, &n->in[0]), dy = cuda_grad_in(d, &n->out[0]);
    const int64_t rows = pixel_rows(n);
    const int width = (int)n->in[0].desc.shape.d[1], pitch = (int)cuda_round8(width);
    if (n->in[0].grad != NULL)
        CUDA_TRY(sc_cuda_layer_norm_back(d->stream, x, dy, cuda_grad_out(d, &n->in[0]),
                                         n->params[0].value, n->saved, rstd_of(n), rows, width,
                                         pitch),
                 "channel_norm");
    if (n->params[0].grad == NULL && n->params[1].grad == NULL)
        return SC_OK;
    return cuda_check(sc_cuda_layer_norm_back_params(d->stream, x, dy, n->saved, rstd_of(n),
                                                     n->params[0].grad, n->params[1].grad, rows,
                                                     width, pitch, n->scratch),
                      "channel_norm");
}
const cuda_op cuda_op_channel_norm = {norm_memory, norm_forward, norm_backward, NULL};

/* ---- layer_scale ---- */
static sc_cuda_channels channels_of(const sc_op_node *n)
{
    const int64_t *x = n->in[0].desc.shape.d;
    return (sc_cuda_channels){x[0], pixels_of(&n->in[0].desc), (int)cuda_round8(x[1]), (int)x[1]};
}
static sc_status scale_memory(cuda_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d, (void)saved;
    const sc_cuda_channels k = channels_of(n);
    *scratch = sc_cuda_channel_parts(&k, n->op == SC_OP_SCALE_CHANNELS);
    return SC_OK;
}
static sc_status scale_forward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_channels k = channels_of(n);
    return cuda_check(sc_cuda_layer_scale(d->stream, &k, cuda_in(d, &n->in[0]),
                                          cuda_in(d, &n->in[1]), n->params[0].value,
                                          cuda_out(d, &n->out[0])),
                      "layer_scale");
}
static sc_status scale_backward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_channels k = channels_of(n);
    const sc_cuda_in dy = cuda_grad_in(d, &n->out[0]);
    const sc_cuda_in gamma = {n->params[0].value, SC_CUDA_F32};
    if (n->in[0].grad != NULL)
        CUDA_TRY(sc_cuda_convert(d->stream, dy, cuda_grad_out(d, &n->in[0]),
                                 cuda_stored(&n->out[0].desc)),
                 "layer_scale");
    if (n->in[1].grad != NULL)
        CUDA_TRY(
            sc_cuda_scale_channels(d->stream, &k, dy, gamma, false, cuda_grad_out(d, &n->in[1])),
            "layer_scale");
    if (n->params[0].grad == NULL)
        return SC_OK;
    return cuda_check(sc_cuda_channel_dot(d->stream, &k, dy, cuda_in(d, &n->in[1]), false,
                                          (sc_cuda_out){n->params[0].grad, SC_CUDA_F32, false},
                                          n->scratch),
                      "layer_scale");
}
const cuda_op cuda_op_layer_scale = {scale_memory, scale_forward, scale_backward, NULL};

/* ---- scale_channels ---- */
static sc_status factor_forward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_channels k = channels_of(n);
    return cuda_check(sc_cuda_scale_channels(d->stream, &k, cuda_in(d, &n->in[0]),
                                             cuda_in(d, &n->in[1]), true, cuda_out(d, &n->out[0])),
                      "scale_channels");
}
static sc_status factor_backward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_channels k = channels_of(n);
    const sc_cuda_in dy = cuda_grad_in(d, &n->out[0]);
    if (n->in[0].grad != NULL)
        CUDA_TRY(sc_cuda_scale_channels(d->stream, &k, dy, cuda_in(d, &n->in[1]), true,
                                        cuda_grad_out(d, &n->in[0])),
                 "scale_channels");
    if (n->in[1].grad == NULL)
        return SC_OK;
    return cuda_check(sc_cuda_channel_dot(d->stream, &k, dy, cuda_in(d, &n->in[0]), true,
                                          cuda_grad_out(d, &n->in[1]), n->scratch),
                      "scale_channels");
}
const cuda_op cuda_op_scale_channels = {scale_memory, factor_forward, factor_backward, NULL};
