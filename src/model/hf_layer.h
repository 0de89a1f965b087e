/* Private to model: the transformer layer that BERT and ViT share, with Hugging Face's names. */
#ifndef SUPERCLIP_MODEL_HF_LAYER_H
#define SUPERCLIP_MODEL_HF_LAYER_H

#include "encoders.h"

#define SC_HF_EPS 1e-12 /* of every layer norm */

/* NAME.weight and NAME.bias. */
typedef struct sc_hf_pair {
    sc_param weight, bias;
} sc_hf_pair;
/* normal(0.02) and 0, as both models' configurations have it */
sc_hf_pair sc_hf_linear(sc_graph *g, const char *prefix, const char *name, int64_t in, int64_t out,
                        bool trainable);
sc_hf_pair sc_hf_norm(sc_graph *g, const char *prefix, const char *name, int64_t width,
                      bool trainable);
/* PREFIXpooler.dense, which nothing reads: the feature is the first position's last state. */
void sc_hf_unused_pooler(sc_graph *g, const char *prefix, int64_t width);

typedef struct sc_hf_layer {
    const sc_hf_shape *shape;
    bool norm_behind; /* BERT: behind each residual sum; ViT: before attention and MLP */
    sc_hf_pair q, k, v, out, up, down, norm[2];
} sc_hf_layer;
/* Layer i of PREFIXencoder.layer; declares all its parameters in the library's order. */
sc_hf_layer sc_hf_declare_layer(sc_graph *g, const sc_hf_shape *s, const char *prefix, int i,
                                bool norm_behind, bool trainable);
/* x EXACT [n,L,W] -> the same. last: see sc_full_attention. */
sc_value sc_hf_record_layer(sc_graph *g, const sc_hf_layer *l, sc_value x, sc_value last);

#endif
