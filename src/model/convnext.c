/* ConvNeXt (Liu et al. 2022) as timm builds it, with timm's names. A block: depthwise 7x7, layer
 * norm over channels, two matrices with GELU between, a scale a channel, the residual. The matrices
 * are recorded as 1x1 convolutions, so images keep one layout throughout; the residual stream is
 * EXACT.
 */
#include "image_parts.h"

#define EPS 1e-6

/* timm: weights from a normal of 0.02 (cut at 100 deviations), biases 0, gamma 1e-6 */
static const sc_init weights = {SC_INIT_NORMAL, 0.02}, zero = {SC_INIT_CONSTANT, 0};

typedef struct conv {
    sc_param weight, bias;
} conv;

static conv declare(const sc_image_context *c, const char *prefix, const char *name, int out,
                    sc_shape shape)
{
    char full[SC_NAME_MAX];
    sc_join_name(full, prefix, name);
    return (conv){sc_image_param(c, full, ".weight", shape, weights),
                  sc_image_param(c, full, ".bias", SC_SHAPE(out), zero)};
}

static sc_value norm(const sc_image_context *c, const char *prefix, const char *name, sc_value x,
                     int channels)
{
    sc_norm_params p = sc_image_norm(c, prefix, name, channels);
    return sc_channel_norm(c->g, x, p.weight, p.bias, EPS);
}

static sc_value block(const sc_image_context *c, const char *prefix, sc_value x, int width)
{
    sc_graph *g = c->g;
    sc_param gamma = sc_image_param(c, prefix, "gamma", SC_SHAPE(width), SC_CONSTANT(1e-6));
    conv dw = declare(c, prefix, "conv_dw", width, SC_SHAPE(width, 1, 7, 7));
    sc_value h = sc_depthwise_conv2d(g, x, dw.weight, dw.bias, 1, 3);
    h = norm(c, prefix, "norm", h, width);
    conv fc1 = declare(c, prefix, "mlp.fc1", 4 * width, SC_SHAPE(4 * width, width));
    h = sc_conv2d(g, h, fc1.weight, fc1.bias, 1, 0);
    h = sc_activate(g, h, SC_GELU);
    conv fc2 = declare(c, prefix, "mlp.fc2", width, SC_SHAPE(width, 4 * width));
    h = sc_conv2d(g, h, fc2.weight, fc2.bias, 1, 0);
    return sc_layer_scale(g, x, h, gamma);
}

sc_pooled sc_record_convnext(sc_graph *g, const sc_encoder *e, sc_value x,
                             const sc_image_encoder_options *o)
{
    const sc_convnext_shape *s = &e->convnext;
    sc_image_context c = sc_image_begin(g, o);
    int in = 3;
    for (int stage = 0; stage < 4; stage++) {
        const int width = s->widths[stage], patch = stage == 0 ? 4 : 2;
        char prefix[SC_NAME_MAX];
        if (stage == 0)
            snprintf(prefix, sizeof prefix, BACKBONE "stem.");
        else
            snprintf(prefix, sizeof prefix, BACKBONE "stages.%d.downsample.", stage);
        if (stage > 0)
            x = norm(&c, prefix, "0", x, in);
        conv p =
            declare(&c, prefix, stage == 0 ? "0" : "1", width, SC_SHAPE(width, in, patch, patch));
        x = sc_conv2d(g, x, p.weight, p.bias, patch, 0);
        if (stage == 0)
            x = norm(&c, prefix, "1", x, width);
        for (int i = 0; i < s->blocks[stage]; i++) {
            snprintf(prefix, sizeof prefix, BACKBONE "stages.%d.blocks.%d.", stage, i);
            x = block(&c, prefix, x, width);
        }
        in = width;
    }
    x = sc_avg_pool(g, x);
    sc_norm_params p = sc_image_norm(&c, BACKBONE, "head.norm", in);
    return (sc_pooled){sc_layer_norm(g, x, p.weight, p.bias, EPS), in};
}
