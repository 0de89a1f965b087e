/* ViT (Dosovitskiy et al. 2020) with Hugging Face's ViTModel names: patches by a convolution, a
 * class token before them, learned positions, layers normalised before attention and MLP, a last
 * norm; the feature is the class token's. Positions belong to one image size: their number follows
 * img_size, and pretrained ones of another size are refused, not interpolated.
 */
#include "hf_layer.h"

#define BACKBONE "image_encoder.backbone."
#define DEVIATION 0.02

sc_pooled sc_record_vit(sc_graph *g, const sc_encoder *encoder, sc_value x,
                        const sc_image_encoder_options *o)
{
    const sc_hf_shape *s = &encoder->hf;
    const int64_t w = s->width, side = o->img_size / s->patch;
    const sc_init normal = SC_NORMAL(DEVIATION);
    const bool t = !o->freeze;
    const sc_param token =
        sc_weight(g, BACKBONE "embeddings.cls_token", SC_SHAPE(1, 1, w), normal, t);
    const sc_param positions = sc_weight(g, BACKBONE "embeddings.position_embeddings",
                                         SC_SHAPE(1, side * side + 1, w), normal, t);
    const sc_param weight = sc_weight(g, BACKBONE "embeddings.patch_embeddings.projection.weight",
                                      SC_SHAPE(w, 3, s->patch, s->patch), normal, t);
    const sc_param bias = sc_weight(g, BACKBONE "embeddings.patch_embeddings.projection.bias",
                                    SC_SHAPE(w), SC_CONSTANT(0), t);
    x = sc_conv2d(g, x, weight, bias, s->patch, 0);
    x = sc_prepend(g, x, token, positions);
    for (int i = 0; i < s->layers; i++) {
        const sc_hf_layer l = sc_hf_declare_layer(g, s, BACKBONE, i, false, t);
        x = sc_hf_record_layer(g, &l, x, (sc_value){-1});
    }
    const sc_hf_pair norm = sc_hf_norm(g, BACKBONE, "layernorm", w, t);
    sc_hf_unused_pooler(g, BACKBONE, w);
    /* the last norm works row by row, so the class token's row alone is normalised */
    x = sc_select_row(g, x, (sc_value){-1});
    return (sc_pooled){sc_layer_norm(g, x, norm.weight, norm.bias, SC_HF_EPS), s->width};
}
