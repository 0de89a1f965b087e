/* Private to model: what an encoder is, and the families' recording functions. */
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

/* Four stages of blocks. */
typedef struct sc_convnext_shape {
    int blocks[4], widths[4];
} sc_convnext_shape;

/* Factors on the widths and depths of EfficientNet-B0. */
typedef struct sc_efficientnet_shape {
    double width, depth;
} sc_efficientnet_shape;

/* The first stage's width, doubled from stage to stage; ratio: of the wide middle of a block. */
typedef struct sc_starnet_shape {
    int width, blocks[4], ratio;
} sc_starnet_shape;

/* Hugging Face's BERT and ViT. */
typedef struct sc_hf_shape {
    int width, heads, layers, inner;
    int patch; /* ViT: pixels along a side */
} sc_hf_shape;

typedef struct sc_image_encoder_options {
    int img_size;
    bool freeze, freeze_bn;
} sc_image_encoder_options;
/* What an image tower ends with, in front of the projection to embed_dim: [n,width]. */
typedef struct sc_pooled {
    sc_value x;
    int width;
} sc_pooled;

typedef struct sc_text_encoder_options {
    int embed_dim, vocabulary, context;
    bool freeze;
} sc_text_encoder_options;

/* Packed or not: model.h. */
typedef struct sc_text_inputs {
    sc_value tokens, end;
    const sc_text_pack *pack; /* NULL: tokens [T,L] */
    sc_value places, begins;  /* with pack */
} sc_text_inputs;

typedef struct sc_encoder sc_encoder;
struct sc_encoder {
    /* image: x [n,3,S,S], S of min_img_size or more, with this row's shape; NULL: a text tower */
    sc_pooled (*image)(sc_graph *g, const sc_encoder *e, sc_value x,
                       const sc_image_encoder_options *o);
    /* text: T texts -> unit features EXACT [T,embed_dim]; NULL: an image tower */
    sc_value (*text)(sc_graph *g, const sc_encoder *e, const sc_text_inputs *in,
                     const sc_text_encoder_options *o);
    bool packs; /* text: takes packed inputs */
    union {
        sc_resnet_shape resnet;
        sc_convnext_shape convnext;
        sc_efficientnet_shape efficientnet;
        sc_starnet_shape starnet;
        sc_clip_text_shape clip_text;
        sc_hf_shape hf;
    };
};
const sc_encoder *sc_encoder_lookup(const char *name);

sc_pooled sc_record_resnet(sc_graph *g, const sc_encoder *e, sc_value x,
                           const sc_image_encoder_options *o);
sc_pooled sc_record_convnext(sc_graph *g, const sc_encoder *e, sc_value x,
                             const sc_image_encoder_options *o);
sc_pooled sc_record_efficientnet(sc_graph *g, const sc_encoder *e, sc_value x,
                                 const sc_image_encoder_options *o);
sc_pooled sc_record_starnet(sc_graph *g, const sc_encoder *e, sc_value x,
                            const sc_image_encoder_options *o);

sc_pooled sc_record_vit(sc_graph *g, const sc_encoder *e, sc_value x,
                        const sc_image_encoder_options *o);
sc_value sc_record_clip_text(sc_graph *g, const sc_encoder *e, const sc_text_inputs *in,
                             const sc_text_encoder_options *o);
sc_value sc_record_bert(sc_graph *g, const sc_encoder *e, const sc_text_inputs *in,
                        const sc_text_encoder_options *o);

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
