#include "image_parts.h"

sc_image_context sc_image_begin(sc_graph *g, const sc_image_encoder_options *o)
{
    bool frozen_bn = o->freeze || o->freeze_bn;
    return (sc_image_context){g, !o->freeze, !frozen_bn, frozen_bn};
}

sc_param sc_image_param(const sc_image_context *c, const char *prefix, const char *suffix,
                        sc_shape shape, sc_init init)
{
    char name[SC_NAME_MAX];
    return sc_weight(c->g, sc_join_name(name, prefix, suffix), shape, init, c->trainable);
}

sc_norm_params sc_image_norm(const sc_image_context *c, const char *prefix, const char *suffix,
                             int channels)
{
    char name[SC_NAME_MAX];
    sc_join_name(name, prefix, suffix);
    return (sc_norm_params){sc_image_param(c, name, ".weight", SC_SHAPE(channels), SC_CONSTANT(1)),
                            sc_image_param(c, name, ".bias", SC_SHAPE(channels), SC_CONSTANT(0))};
}

sc_batch_norm_params sc_image_batch_norm(const sc_image_context *c, const char *prefix,
                                         const char *suffix, int channels)
{
    char name[SC_NAME_MAX];
    return sc_batch_norm_declare(c->g, sc_join_name(name, prefix, suffix), channels,
                                 c->bn_trainable);
}

sc_value sc_image_normalise(const sc_image_context *c, sc_value x, sc_batch_norm_params bn,
                            sc_value residual, bool relu)
{
    return sc_batch_norm(c->g, x, bn,
                         (sc_batch_norm_options){.relu = relu,
                                                 .running = c->running,
                                                 .residual = residual,
                                                 .eps = 1e-5,
                                                 .momentum = 0.1});
}
