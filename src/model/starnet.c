/* StarNet (Ma et al. 2024, "Rewrite the Stars"), with the names of its authors and of timm. A
 * block: depthwise 7x7, two 1x1 convolutions whose results are multiplied, one of them through
 * ReLU6, a 1x1 and a depthwise 7x7 back, the residual. Every convolution has a bias, also before a
 * BatchNorm.
 */
#include <math.h>

#include "image_parts.h"

#define STEM 32

/* conv (and bn): weights from a normal of 0.02, biases nn.Conv2d's default */
typedef struct layer {
    int in, out, kernel, stride;
    bool depthwise, bn;
} layer;

static sc_value record(const sc_image_context *c, const char *prefix, const char *name, sc_value x,
                       const layer *l)
{
    char conv[SC_NAME_MAX], full[SC_NAME_MAX];
    sc_join_name(full, prefix, name);
    sc_join_name(conv, full, ".conv");
    int fan_in = l->depthwise ? 1 : l->in, pad = l->kernel / 2;
    double bound = 1 / sqrt((double)fan_in * l->kernel * l->kernel);
    sc_param weight = sc_image_param(
        c, conv, ".weight", SC_SHAPE(l->out, fan_in, l->kernel, l->kernel), SC_NORMAL(0.02));
    sc_param bias = sc_image_param(c, conv, ".bias", SC_SHAPE(l->out), SC_UNIFORM(bound));
    x = l->depthwise ? sc_depthwise_conv2d(c->g, x, weight, bias, l->stride, pad)
                     : sc_conv2d(c->g, x, weight, bias, l->stride, pad);
    if (!l->bn)
        return x;
    sc_batch_norm_params bn = sc_image_batch_norm(c, full, ".bn", l->out);
    return sc_image_normalise(c, x, bn, sc_no_value, false);
}

static sc_value block(const sc_image_context *c, const char *prefix, sc_value x, int w, int ratio)
{
    const layer first = {w, w, 7, 1, true, true}, wide = {w, ratio * w, 1, 1, false, false},
                narrow = {ratio * w, w, 1, 1, false, true}, last = {w, w, 7, 1, true, false};
    sc_value h = record(c, prefix, "dwconv", x, &first);
    sc_value a = record(c, prefix, "f1", h, &wide);
    sc_value b = record(c, prefix, "f2", h, &wide);
    h = sc_multiply(c->g, a, b, SC_RELU6);
    h = record(c, prefix, "g", h, &narrow);
    h = record(c, prefix, "dwconv2", h, &last);
    return sc_add(c->g, x, h);
}

sc_pooled sc_record_starnet(sc_graph *g, const sc_encoder *e, sc_value x,
                            const sc_image_encoder_options *o)
{
    const sc_starnet_shape *s = &e->starnet;
    sc_image_context c = sc_image_begin(g, o);
    const layer stem = {3, STEM, 3, 2, false, true};
    x = record(&c, BACKBONE, "stem.0", x, &stem);
    x = sc_activate(g, x, SC_RELU6);
    int in = STEM;
    for (int stage = 0; stage < 4; stage++) {
        const int width = s->width << stage;
        const layer down = {in, width, 3, 2, false, true};
        char prefix[SC_NAME_MAX];
        snprintf(prefix, sizeof prefix, BACKBONE "stages.%d.0", stage);
        x = record(&c, prefix, "", x, &down);
        for (int i = 0; i < s->blocks[stage]; i++) {
            snprintf(prefix, sizeof prefix, BACKBONE "stages.%d.%d.", stage, i + 1);
            x = block(&c, prefix, x, width, s->ratio);
        }
        in = width;
    }
    sc_batch_norm_params bn = sc_image_batch_norm(&c, BACKBONE, "norm", in);
    x = sc_image_normalise(&c, x, bn, sc_no_value, false);
    return (sc_pooled){sc_avg_pool(g, x), in};
}
