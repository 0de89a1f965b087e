/* Shape rules of the ops that work channel by channel: depthwise convolution, norm and scales over
 * channels, products. */
#include "record.h"

sc_value sc_depthwise_conv2d(sc_graph *g, sc_value x, sc_param weight, sc_param bias, int stride,
                             int pad)
{
    record r;
    if (!record_begin(&r, g, SC_OP_DEPTHWISE_CONV2D, 1, &x, 2, (sc_param[]){weight, bias}) ||
        !record_real(&r, 0) || !record_dims(&r, 0, 4))
        return NO_VALUE;
    sc_shape s = r.in[0].shape;
    const sc_shape *w = &r.param[0].shape;
    if (r.node.n_params < 1 || w->n != 4 || w->d[0] != s.d[1] || w->d[1] != 1 || w->d[2] != w->d[3])
        return record_fail(&r, "the weight must be [%lld, 1, k, k]", (long long)s.d[1]);
    if (r.node.n_params == 2 && !record_vector(&r, 1, s.d[1]))
        return NO_VALUE;
    if (stride < 1 || pad < 0)
        return record_fail(&r, "stride %d and padding %d are impossible", stride, pad);
    r.node.attrs.stride = stride;
    r.node.attrs.pad = pad;
    r.node.attrs.kernel = (int)w->d[2];
    return record_output(&r, SC_COMPUTE, r.in[0].rows,
                         SC_SHAPE(s.d[0], s.d[1], record_windows(s.d[2], w->d[2], stride, pad),
                                  record_windows(s.d[3], w->d[2], stride, pad)));
}

sc_value sc_channel_norm(sc_graph *g, sc_value x, sc_param weight, sc_param bias, double eps)
{
    record r;
    if (!record_begin(&r, g, SC_OP_CHANNEL_NORM, 1, &x, 2, (sc_param[]){weight, bias}) ||
        !record_real(&r, 0) || !record_dims(&r, 0, 4))
        return NO_VALUE;
    sc_shape s = r.in[0].shape;
    if (!(eps > 0))
        return record_fail(&r, "eps %g is impossible", eps);
    if (!record_vector(&r, 0, s.d[1]) || !record_vector(&r, 1, s.d[1]))
        return NO_VALUE;
    r.node.attrs.eps = eps;
    return record_output(&r, SC_COMPUTE, r.in[0].rows, s);
}

sc_value sc_layer_scale(sc_graph *g, sc_value x, sc_value h, sc_param gamma)
{
    record r;
    if (!record_begin(&r, g, SC_OP_LAYER_SCALE, 2, (sc_value[]){x, h}, 1, &gamma) ||
        !record_real(&r, 0) || !record_real(&r, 1) || !record_dims(&r, 0, 4))
        return NO_VALUE;
    if (!sc_shape_equal(&r.in[0].shape, &r.in[1].shape) || r.in[0].rows != r.in[1].rows ||
        x.id == h.id)
        return record_fail(&r, "wants two different values of one shape");
    if (!record_vector(&r, 0, r.in[0].shape.d[1]))
        return NO_VALUE;
    return record_output(&r, SC_EXACT, r.in[0].rows, r.in[0].shape);
}

sc_value sc_scale_channels(sc_graph *g, sc_value x, sc_value scale)
{
    record r;
    if (!record_begin(&r, g, SC_OP_SCALE_CHANNELS, 2, (sc_value[]){x, scale}, 0, NULL) ||
        !record_real(&r, 0) || !record_real(&r, 1) || !record_dims(&r, 0, 4) ||
        !record_dims(&r, 1, 2))
        return NO_VALUE;
    if (r.in[1].rows != r.in[0].rows || r.in[1].shape.d[0] != r.in[0].shape.d[0] ||
        r.in[1].shape.d[1] != r.in[0].shape.d[1])
        return record_fail(&r, "wants one factor for each channel of each image");
    return record_output(&r, r.in[0].kind, r.in[0].rows, r.in[0].shape);
}

sc_value sc_multiply(sc_graph *g, sc_value a, sc_value b, sc_activation f)
{
    record r;
    if (!record_begin(&r, g, SC_OP_MULTIPLY, 2, (sc_value[]){a, b}, 0, NULL) ||
        !record_real(&r, 0) || !record_real(&r, 1))
        return NO_VALUE;
    if (!sc_shape_equal(&r.in[0].shape, &r.in[1].shape) || r.in[0].rows != r.in[1].rows ||
        a.id == b.id)
        return record_fail(&r, "wants two different values of one shape");
    r.node.attrs.activation = f;
    sc_kind kind = r.in[0].kind == SC_EXACT ? SC_EXACT : r.in[1].kind;
    return record_output(&r, kind, r.in[0].rows, r.in[0].shape);
}
