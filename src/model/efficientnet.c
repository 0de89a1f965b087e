/* EfficientNet (Tan & Le 2019) as timm builds it, with timm's names: inverted residuals with
 * squeeze-excite and SiLU, symmetric padding, BatchNorm eps 1e-5. Widths are scaled to multiples of
 * 8, depths rounded up; a squeeze has a quarter of the block's input channels.
 */
#include <math.h>

#include "image_parts.h"

typedef struct stage {
    int blocks, kernel, stride, expand, width;
} stage;
static const stage stages[] = {{1, 3, 1, 1, 16}, {2, 3, 2, 6, 24},  {2, 5, 2, 6, 40},
                               {3, 3, 2, 6, 80}, {3, 5, 1, 6, 112}, {4, 5, 2, 6, 192},
                               {1, 3, 1, 6, 320}};
enum { STAGES = sizeof stages / sizeof stages[0], STEM = 32, HEAD = 1280 };

/* The nearest multiple of 8, but never below nine tenths. */
static int scaled_width(const sc_efficientnet_shape *s, int width)
{
    double v = width * s->width;
    int near = (int)(v + 4) / 8 * 8;
    near = near < 8 ? 8 : near;
    return near < 0.9 * v ? near + 8 : near;
}

/* Weights as TensorFlow's: a normal by the fan-out of one group. */
static sc_param kernel(const sc_image_context *c, const char *prefix, const char *name, int out,
                       int in, int k, bool depthwise)
{
    double fan_out = depthwise ? k * k : (double)out * k * k;
    return sc_image_param(c, prefix, name, SC_SHAPE(out, in, k, k), SC_NORMAL(sqrt(2 / fan_out)));
}

/* BatchNorm, then SiLU. */
static sc_value active(const sc_image_context *c, const char *prefix, const char *name, sc_value x,
                       int width)
{
    sc_batch_norm_params bn = sc_image_batch_norm(c, prefix, name, width);
    return sc_activate(c->g, sc_image_normalise(c, x, bn, sc_no_value, false), SC_SILU);
}

static sc_value squeeze_excite(const sc_image_context *c, const char *prefix, sc_value x, int width,
                               int narrow)
{
    sc_param w = kernel(c, prefix, "se.conv_reduce.weight", narrow, width, 1, false);
    sc_param b = sc_image_param(c, prefix, "se.conv_reduce.bias", SC_SHAPE(narrow), SC_CONSTANT(0));
    sc_value s = sc_avg_pool(c->g, x);
    s = sc_linear(c->g, s, w, b, (sc_linear_options){.activation = SC_SILU});
    w = kernel(c, prefix, "se.conv_expand.weight", width, narrow, 1, false);
    b = sc_image_param(c, prefix, "se.conv_expand.bias", SC_SHAPE(width), SC_CONSTANT(0));
    s = sc_linear(c->g, s, w, b, (sc_linear_options){.activation = SC_SIGMOID});
    return sc_scale_channels(c->g, x, s);
}

/* With expand 1 the widening convolution is left out and the names move up by one. */
static sc_value block(const sc_image_context *c, const char *prefix, sc_value x, const stage *s,
                      int in, int out, int stride)
{
    static const char *const norms[] = {"bn1", "bn2", "bn3"};
    const int width = in * s->expand;
    const bool skip = stride == 1 && in == out;
    sc_value h = x;
    int n = 0;
    if (s->expand > 1) {
        h = sc_conv2d(c->g, h, kernel(c, prefix, "conv_pw.weight", width, in, 1, false),
                      sc_no_param, 1, 0);
        h = active(c, prefix, norms[n++], h, width);
    }
    h = sc_depthwise_conv2d(c->g, h, kernel(c, prefix, "conv_dw.weight", width, 1, s->kernel, true),
                            sc_no_param, stride, s->kernel / 2);
    h = active(c, prefix, norms[n++], h, width);
    h = squeeze_excite(c, prefix, h, width, in / 4);
    const char *last = s->expand > 1 ? "conv_pwl.weight" : "conv_pw.weight";
    h = sc_conv2d(c->g, h, kernel(c, prefix, last, out, width, 1, false), sc_no_param, 1, 0);
    sc_batch_norm_params bn = sc_image_batch_norm(c, prefix, norms[n], out);
    return sc_image_normalise(c, h, bn, skip ? x : sc_no_value, false);
}

sc_pooled sc_record_efficientnet(sc_graph *g, const sc_encoder *e, sc_value x,
                                 const sc_image_encoder_options *o)
{
    const sc_efficientnet_shape *s = &e->efficientnet;
    sc_image_context c = sc_image_begin(g, o);
    int in = scaled_width(s, STEM), head = scaled_width(s, HEAD);
    x = sc_conv2d(g, x, kernel(&c, BACKBONE, "conv_stem.weight", in, 3, 3, false), sc_no_param, 2,
                  1);
    x = active(&c, BACKBONE, "bn1", x, in);
    for (int k = 0; k < STAGES; k++) {
        const int blocks = (int)ceil(stages[k].blocks * s->depth);
        const int out = scaled_width(s, stages[k].width);
        for (int i = 0; i < blocks; i++) {
            char prefix[SC_NAME_MAX];
            snprintf(prefix, sizeof prefix, BACKBONE "blocks.%d.%d.", k, i);
            x = block(&c, prefix, x, &stages[k], in, out, i == 0 ? stages[k].stride : 1);
            in = out;
        }
    }
    x = sc_conv2d(g, x, kernel(&c, BACKBONE, "conv_head.weight", head, in, 1, false), sc_no_param,
                  1, 0);
    x = active(&c, BACKBONE, "bn2", x, head);
    return (sc_pooled){sc_avg_pool(g, x), head};
}
