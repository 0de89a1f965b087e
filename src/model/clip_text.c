/* CLIP's text tower (Radford et al. 2021, openai/CLIP model.py): token and position embedding,
 * pre-norm blocks of causal attention and a QuickGELU MLP, ln_final at the end-of-text token, then
 * x @ text_projection. The residual stream is EXACT: its sums stay in fp32 under bf16.
 */
#include <math.h>

#include "encoders.h"

typedef struct block {
    sc_param in_weight, in_bias, out_weight, out_bias, ln1_weight, ln1_bias;
    sc_param fc_weight, fc_bias, proj_weight, proj_bias, ln2_weight, ln2_bias;
} block;

#define EPS 1e-5

static sc_param named(sc_graph *g, const char *prefix, const char *suffix, sc_shape shape,
                      sc_init init, bool trainable)
{
    char name[SC_NAME_MAX];
    return sc_weight(g, sc_join_name(name, prefix, suffix), shape, init, trainable);
}

/* Initial values: CLIP.initialize_parameters; the MLP's biases keep nn.Linear's default and
 * attention's are zero (nn.MultiheadAttention). */
static block declare_block(sc_graph *g, const sc_clip_text_shape *s, int i, bool trainable)
{
    char p[SC_NAME_MAX];
    snprintf(p, sizeof p, "text_encoder.backbone.resblocks.%d.", i);
    int64_t w = s->width;
    double width = s->width, attn = pow(width, -0.5), fc = pow(2 * width, -0.5);
    double proj = attn * pow(2.0 * s->layers, -0.5);
    block b;
    b.in_weight =
        named(g, p, "attn.in_proj_weight", SC_SHAPE(3 * w, w), SC_NORMAL(attn), trainable);
    b.in_bias = named(g, p, "attn.in_proj_bias", SC_SHAPE(3 * w), SC_CONSTANT(0), trainable);
    b.out_weight = named(g, p, "attn.out_proj.weight", SC_SHAPE(w, w), SC_NORMAL(proj), trainable);
    b.out_bias = named(g, p, "attn.out_proj.bias", SC_SHAPE(w), SC_CONSTANT(0), trainable);
    b.ln1_weight = named(g, p, "ln_1.weight", SC_SHAPE(w), SC_CONSTANT(1), trainable);
    b.ln1_bias = named(g, p, "ln_1.bias", SC_SHAPE(w), SC_CONSTANT(0), trainable);
    b.fc_weight = named(g, p, "mlp.c_fc.weight", SC_SHAPE(4 * w, w), SC_NORMAL(fc), trainable);
    b.fc_bias = named(g, p, "mlp.c_fc.bias", SC_SHAPE(4 * w), SC_UNIFORM(attn), trainable);
    b.proj_weight =
        named(g, p, "mlp.c_proj.weight", SC_SHAPE(w, 4 * w), SC_NORMAL(proj), trainable);
    b.proj_bias =
        named(g, p, "mlp.c_proj.bias", SC_SHAPE(w), SC_UNIFORM(pow(4 * width, -0.5)), trainable);
    b.ln2_weight = named(g, p, "ln_2.weight", SC_SHAPE(w), SC_CONSTANT(1), trainable);
    b.ln2_bias = named(g, p, "ln_2.bias", SC_SHAPE(w), SC_CONSTANT(0), trainable);
    return b;
}

static sc_value record_block(sc_graph *g, const block *b, sc_value x, const sc_text_inputs *in,
                             int heads)
{
    const sc_linear_options plain = {0}, exact = {.exact = true},
                            gelu = {.activation = SC_QUICK_GELU};
    sc_value h = sc_layer_norm(g, x, b->ln1_weight, b->ln1_bias, EPS);
    h = sc_linear(g, h, b->in_weight, b->in_bias, plain);
    h = in->pack ? sc_packed_attention(g, h, in->begins, in->pack->shared, in->pack->longest, heads)
                 : sc_attention(g, h, heads);
    h = sc_linear(g, h, b->out_weight, b->out_bias, exact);
    x = sc_add(g, x, h);
    h = sc_layer_norm(g, x, b->ln2_weight, b->ln2_bias, EPS);
    h = sc_linear(g, h, b->fc_weight, b->fc_bias, gelu);
    h = sc_linear(g, h, b->proj_weight, b->proj_bias, exact);
    return sc_add(g, x, h);
}

/* What stands outside the blocks. */
typedef struct shell {
    sc_param positions, text_projection, tokens, ln_weight, ln_bias;
    bool project;
    sc_linear_params projection;
} shell;

static shell declare_shell(sc_graph *g, const sc_clip_text_shape *s,
                           const sc_text_encoder_options *o)
{
    const char *p = "text_encoder.";
    int64_t w = s->width;
    bool t = !o->freeze;
    shell r = {0};
    r.positions = named(g, p, "positional_embedding", SC_SHAPE(o->context, w), SC_NORMAL(0.01), t);
    r.text_projection =
        named(g, p, "text_projection", SC_SHAPE(w, s->embed), SC_NORMAL(pow((double)w, -0.5)), t);
    for (int i = 0; i < s->layers; i++)
        (void)declare_block(g, s, i, t);
    r.tokens =
        named(g, p, "token_embedding.weight", SC_SHAPE(o->vocabulary, w), SC_NORMAL(0.02), t);
    r.ln_weight = named(g, p, "ln_final.weight", SC_SHAPE(w), SC_CONSTANT(1), t);
    r.ln_bias = named(g, p, "ln_final.bias", SC_SHAPE(w), SC_CONSTANT(0), t);
    r.project = s->embed != o->embed_dim;
    if (r.project)
        r.projection =
            sc_declare_linear(g, "text_encoder.projection", s->embed, o->embed_dim, true);
    return r;
}

sc_value sc_record_clip_text(sc_graph *g, const sc_encoder *e, const sc_text_inputs *in,
                             const sc_text_encoder_options *o)
{
    const sc_clip_text_shape *s = &e->clip_text;
    shell p = declare_shell(g, s, o);
    sc_value x = sc_embed(g, in->tokens, in->pack ? in->places : (sc_value){-1}, p.tokens,
                          p.positions, (sc_param){-1});
    for (int i = 0; i < s->layers; i++) {
        block b = declare_block(g, s, i, !o->freeze);
        x = record_block(g, &b, x, in, s->heads);
    }
    /* ln_final works row by row, so the end token's row alone is normalised */
    x = sc_select_row(g, x, in->end);
    x = sc_layer_norm(g, x, p.ln_weight, p.ln_bias, EPS);
    x = sc_linear(g, x, p.text_projection, (sc_param){-1},
                  (sc_linear_options){.transposed = true, .exact = true});
    if (p.project)
        x = sc_linear(g, x, p.projection.weight, p.projection.bias,
                      (sc_linear_options){.exact = true});
    return sc_l2_normalize(g, x);
}
