/* Private to model: what the image encoders share. Names are a prefix and a suffix joined. */
#ifndef SUPERCLIP_MODEL_IMAGE_PARTS_H
#define SUPERCLIP_MODEL_IMAGE_PARTS_H

#include "encoders.h"

#define BACKBONE "image_encoder.backbone."

typedef struct sc_image_context {
    sc_graph *g;
    bool trainable, bn_trainable, running; /* running: BatchNorm in evaluation mode */
} sc_image_context;
sc_image_context sc_image_begin(sc_graph *g, const sc_image_encoder_options *o);

sc_param sc_image_param(const sc_image_context *c, const char *prefix, const char *suffix,
                        sc_shape shape, sc_init init);
/* NAME.weight 1 and NAME.bias 0 of a layer norm */
typedef struct sc_norm_params {
    sc_param weight, bias;
} sc_norm_params;
sc_norm_params sc_image_norm(const sc_image_context *c, const char *prefix, const char *suffix,
                             int channels);
sc_batch_norm_params sc_image_batch_norm(const sc_image_context *c, const char *prefix,
                                         const char *suffix, int channels);
/* eps 1e-5, momentum 0.1; residual.id < 0: none */
sc_value sc_image_normalise(const sc_image_context *c, sc_value x, sc_batch_norm_params bn,
                            sc_value residual, bool relu);

static const sc_param sc_no_param = {-1};
static const sc_value sc_no_value = {-1};

#endif
