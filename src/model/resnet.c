/* ResNet (He et al. 2015) as torchvision builds it: the stride of a bottleneck sits in its 3x3
 * convolution ("v1.5"). Names are those of nn.Sequential over the children without the classifier:
 * 0 conv1, 1 bn1, 2 relu, 3 maxpool, 4..7 layer1..layer4, 8 avgpool.
 */
#include <math.h>

#include "encoders.h"

#define BACKBONE "image_encoder.backbone."

typedef struct context {
    sc_graph *g;
    bool trainable, bn_trainable, running;
} context;

/* conv followed by its BatchNorm: one pair of names in the state dict */
typedef struct conv_bn {
    sc_param weight;
    sc_batch_norm_params bn;
    int stride, pad;
} conv_bn;

static conv_bn declare(const context *c, const char *prefix, const char *conv, const char *bn,
                       int in, int out, int kernel, int stride)
{
    char name[SC_NAME_MAX], full[SC_NAME_MAX];
    conv_bn p = {.stride = stride, .pad = kernel / 2};
    sc_join_name(name, prefix, conv);
    /* kaiming_normal_(mode="fan_out", nonlinearity="relu") */
    double std = sqrt(2.0 / ((double)out * kernel * kernel));
    p.weight = sc_weight(c->g, sc_join_name(full, name, ".weight"),
                         SC_SHAPE(out, in, kernel, kernel), SC_NORMAL(std), c->trainable);
    p.bn = sc_batch_norm_declare(c->g, sc_join_name(name, prefix, bn), out, c->bn_trainable);
    return p;
}

static sc_value record(const context *c, const conv_bn *p, sc_value x, sc_value residual, bool relu)
{
    x = sc_conv2d(c->g, x, p->weight, (sc_param){-1}, p->stride, p->pad);
    return sc_batch_norm(c->g, x, p->bn,
                         (sc_batch_norm_options){.relu = relu,
                                                 .running = c->running,
                                                 .residual = residual,
                                                 .eps = 1e-5,
                                                 .momentum = 0.1});
}

static const sc_value no_residual = {-1};

/* One residual block. All its parameters are declared before any op is recorded, because the
 * shortcut's come last in the state dict but its ops come before the addition. */
static sc_value block(const context *c, const char *prefix, bool bottleneck, sc_value x, int in,
                      int width, int stride)
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
        shortcut = record(c, &d, x, no_residual, false);
    }
    for (int i = 0; i + 1 < convs; i++)
        x = record(c, &p[i], x, no_residual, true);
    return record(c, &p[convs - 1], x, shortcut, true);
}

sc_value sc_record_resnet(sc_graph *g, const sc_resnet_shape *shape, sc_value x,
                          const sc_image_encoder_options *o)
{
    bool frozen_bn = o->freeze || o->freeze_bn;
    context c = {g, !o->freeze, !frozen_bn, frozen_bn};
    conv_bn stem = declare(&c, BACKBONE, "0", "1", 3, shape->stem, 7, 2);
    x = record(&c, &stem, x, no_residual, true);
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
    x = sc_avg_pool(g, x);
    sc_linear_params p = sc_declare_linear(g, "image_encoder.projection", in, o->embed_dim, true);
    x = sc_linear(g, x, p.weight, p.bias, (sc_linear_options){.exact = true});
    return sc_l2_normalize(g, x);
}
