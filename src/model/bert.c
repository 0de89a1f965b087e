/* BERT (Devlin et al. 2018) with Hugging Face's BertModel names: sum of token, position and type 0
 * embedding, layers normalised behind each residual, the [CLS] token's last state. No dropout. The
 * residual stream is EXACT. Texts see themselves up to their own last token.
 */
#include "hf_layer.h"

#define BACKBONE "text_encoder.backbone."
#define POSITIONS 512
#define TYPES 2

typedef struct embeddings {
    sc_param words, positions, types;
    sc_hf_pair norm;
} embeddings;

static embeddings declare_embeddings(sc_graph *g, const sc_hf_shape *s,
                                     const sc_text_encoder_options *o)
{
    static const char *const names[] = {BACKBONE "embeddings.word_embeddings.weight",
                                        BACKBONE "embeddings.position_embeddings.weight",
                                        BACKBONE "embeddings.token_type_embeddings.weight"};
    const int64_t rows[] = {o->vocabulary, POSITIONS, TYPES};
    sc_param p[3];
    for (int i = 0; i < 3; i++)
        p[i] = sc_weight(g, names[i], SC_SHAPE(rows[i], s->width), SC_NORMAL(0.02), !o->freeze);
    return (embeddings){p[0], p[1], p[2],
                        sc_hf_norm(g, BACKBONE "embeddings.", "LayerNorm", s->width, !o->freeze)};
}

sc_value sc_record_bert(sc_graph *g, const sc_encoder *encoder, const sc_text_inputs *in,
                        const sc_text_encoder_options *o)
{
    const sc_hf_shape *s = &encoder->hf;
    const embeddings e = declare_embeddings(g, s, o);
    sc_value x = sc_embed(g, in->tokens, (sc_value){-1}, e.words, e.positions, e.types);
    x = sc_layer_norm_exact(g, x, e.norm.weight, e.norm.bias, SC_HF_EPS);
    for (int i = 0; i < s->layers; i++) {
        const sc_hf_layer l = sc_hf_declare_layer(g, s, BACKBONE, i, true, !o->freeze);
        x = sc_hf_record_layer(g, &l, x, in->end);
    }
    sc_hf_unused_pooler(g, BACKBONE, s->width);
    const sc_linear_params p =
        sc_declare_linear(g, "text_encoder.projection", s->width, o->embed_dim, true);
    x = sc_select_row(g, x, (sc_value){-1});
    x = sc_linear(g, x, p.weight, p.bias, (sc_linear_options){.exact = true});
    return sc_l2_normalize(g, x);
}
