/* Private to model: what an encoder is, and the two families' recording functions. */
#ifndef SUPERCLIP_MODEL_ENCODERS_H
#define SUPERCLIP_MODEL_ENCODERS_H

#include "superclip/model.h"

/* Four stages of residual blocks; a bottleneck block's output is 4 times its width. */
typedef struct sc_resnet_shape {
    bool bottleneck;
    int stem;
    int blocks[4], widths[4];
} sc_resnet_shape;

/* OpenAI CLIP's causal transformer; `embed` is text_projection's column count. */
typedef struct sc_clip_text_shape {
    int width, heads, layers, embed;
} sc_clip_text_shape;

typedef struct sc_encoder {
    sc_resnet_shape resnet;       /* image */
    sc_clip_text_shape clip_text; /* text */
} sc_encoder;
const sc_encoder *sc_encoder_lookup(const char *name);

typedef struct sc_image_encoder_options {
    int embed_dim;
    bool freeze, freeze_bn;
} sc_image_encoder_options;
/* x [n,3,S,S] -> unit features EXACT [n,embed_dim]. */
sc_value sc_record_resnet(sc_graph *g, const sc_resnet_shape *shape, sc_value x,
                          const sc_image_encoder_options *o);

typedef struct sc_text_encoder_options {
    int embed_dim, vocabulary, context;
    bool freeze;
} sc_text_encoder_options;
/* tokens [T,L], text_end [T] -> unit features EXACT [T,embed_dim]. */
sc_value sc_record_clip_text(sc_graph *g, const sc_clip_text_shape *shape, sc_value tokens,
                             sc_value text_end, const sc_text_encoder_options *o);

/* nn.Linear with PyTorch's default initial values: uniform within 1/sqrt(in) for both. */
typedef struct sc_linear_params {
    sc_param weight, bias;
} sc_linear_params;
sc_linear_params sc_declare_linear(sc_graph *g, const char *name, int64_t in, int64_t out,
                                   bool trainable);

/* "prefix" + "suffix" into a buffer of SC_NAME_MAX bytes; names of parameters are far shorter. */
#define SC_NAME_MAX 160
const char *sc_join_name(char out[SC_NAME_MAX], const char *prefix, const char *suffix);

#endif
