/* ResNet (He et al. 2015) as torchvision builds it: the stride of a bottleneck sits in its 3x3
 * convolution ("v1.5"). Names are those of nn.Sequential over the children without the classifier:
 * 0 conv1, 1 bn1, 2 relu, 3 maxpool, 4..7 layer1..layer4, 8 avgpool.
 */
#include <math.h>

#include "image_parts.h"

/* conv followed by its BatchNorm: one pair of names in the state dict */
typedef struct conv_bn {
    sc_param weight;
    sc_batch_norm_params bn;
    int stride, pad;
} conv_bn;

static conv_bn declare(const sc_image_context *c, const char *prefix, const char *conv,
                       const char *bn, int in, int out, int kernel, int stride)
{
    char name[SC_NAME_MAX];
    sc_join_name(name, prefix, conv);
    /* kaiming_normal_(mode="fan_out", nonlinearity="relu") */
    double std = sqrt(2.0 / ((double)out * kernel * kernel));
    return (conv_bn){.weight = sc_image_param(c, name, ".weight", SC_SHAPE(out, in, kernel, kernel),
                                              SC_NORMAL(std)),
                     .bn = sc_image_batch_norm(c, prefix, bn, out),
                     .stride = stride,
                     .pad = kernel / 2};
}

static sc_value record(const sc_image_context *c, const conv_bn *p, sc_value x, sc_value residual,
                       bool relu)
{
    x = sc_conv2d(c->g, x, p->weight, sc_no_param, p->stride, p->pad);
    return sc_image_normalise(c, x, p->bn, residual, relu);
}

/* One residual block. All its parameters are declared before any op is recorded, because the
 * shortcut's come last in the state dict but its ops come before the addition. */
static sc_value block(const sc_image_context *c, const char *prefix, bool bottleneck, sc_value x,
                      int in, int width, int stride)
{
    int out = bottleneck ? 4 * width : width, convs = bottleneck ? 3 : 2;
    conv_bn p[3];
    if (bottleneck) {
        p[0] = declare(c, prefix, "conv1", "bn1", in, width, 1, 1);
        p[1] = declare(c, prefix, "conv2", "bn2", width, width, 3, stride);
        p[2] = declare(c, prefix, "conv3", "bn3", width, out, 1, 1);
    } else {
        p[0] = declare(c, prefix, "conv1", "bn1", in, width, 3, stride);
        p[1] = declare(c, prefix, "conv2", "bn2", width, out, 3, 1);
    }
    sc_value shortcut = x;
    if (stride != 1 || in != out) {
        conv_bn d = declare(c, prefix, "downsample.0", "downsample.1", in, out, 1, stride);
        shortcut = record(c, &d, x, sc_no_value, false);
    }
    for (int i = 0; i + 1 < convs; i++)
        x = record(c, &p[i], x, sc_no_value, true);
    return record(c, &p[convs - 1], x, shortcut, true);
}

sc_pooled sc_record_resnet(sc_graph *g, const sc_encoder *e, sc_value x,
                           const sc_image_encoder_options *o)
{
    const sc_resnet_shape *shape = &e->resnet;
    sc_image_context c = sc_image_begin(g, o);
    conv_bn stem = declare(&c, BACKBONE, "0", "1", 3, shape->stem, 7, 2);
    x = record(&c, &stem, x, sc_no_value, true);
    x = sc_max_pool(g, x, 3, 2, 1);
    int in = shape->stem;
    for (int stage = 0; stage < 4; stage++)
        for (int i = 0; i < shape->blocks[stage]; i++) {
            char prefix[SC_NAME_MAX];
            snprintf(prefix, sizeof prefix, BACKBONE "%d.%d.", 4 + stage, i);
            int width = shape->widths[stage];
            x = block(&c, prefix, shape->bottleneck, x, in, width, stage > 0 && i == 0 ? 2 : 1);
            in = shape->bottleneck ? 4 * width : width;
        }
    return (sc_pooled){sc_avg_pool(g, x), in};
}
