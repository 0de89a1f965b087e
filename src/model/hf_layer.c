#include "hf_layer.h"

#define DEVIATION 0.02

static sc_hf_pair pair(sc_graph *g, const char *prefix, const char *name, sc_shape weight,
                       int64_t bias, sc_init init, bool trainable)
{
    char full[SC_NAME_MAX], part[SC_NAME_MAX];
    sc_join_name(full, prefix, name);
    sc_hf_pair p;
    p.weight = sc_weight(g, sc_join_name(part, full, ".weight"), weight, init, trainable);
    p.bias =
        sc_weight(g, sc_join_name(part, full, ".bias"), SC_SHAPE(bias), SC_CONSTANT(0), trainable);
    return p;
}

sc_hf_pair sc_hf_linear(sc_graph *g, const char *prefix, const char *name, int64_t in, int64_t out,
                        bool trainable)
{
    return pair(g, prefix, name, SC_SHAPE(out, in), out, SC_NORMAL(DEVIATION), trainable);
}

sc_hf_pair sc_hf_norm(sc_graph *g, const char *prefix, const char *name, int64_t width,
                      bool trainable)
{
    return pair(g, prefix, name, SC_SHAPE(width), width, SC_CONSTANT(1), trainable);
}

void sc_hf_unused_pooler(sc_graph *g, const char *prefix, int64_t width)
{
    char name[SC_NAME_MAX];
    sc_unused_weight(g, sc_join_name(name, prefix, "pooler.dense.weight"), SC_SHAPE(width, width),
                     SC_NORMAL(DEVIATION));
    sc_unused_weight(g, sc_join_name(name, prefix, "pooler.dense.bias"), SC_SHAPE(width),
                     SC_CONSTANT(0));
}

sc_hf_layer sc_hf_declare_layer(sc_graph *g, const sc_hf_shape *s, const char *prefix, int i,
                                bool norm_behind, bool trainable)
{
    const int64_t w = s->width;
    const char *const parts[] = {norm_behind ? "attention.self.query" : "attention.attention.query",
                                 norm_behind ? "attention.self.key" : "attention.attention.key",
                                 norm_behind ? "attention.self.value"
                                             : "attention.attention.value"};
    char p[SC_NAME_MAX];
    snprintf(p, sizeof p, "%sencoder.layer.%d.", prefix, i);
    sc_hf_layer l = {.shape = s, .norm_behind = norm_behind};
    l.q = sc_hf_linear(g, p, parts[0], w, w, trainable);
    l.k = sc_hf_linear(g, p, parts[1], w, w, trainable);
    l.v = sc_hf_linear(g, p, parts[2], w, w, trainable);
    l.out = sc_hf_linear(g, p, "attention.output.dense", w, w, trainable);
    if (norm_behind)
        l.norm[0] = sc_hf_norm(g, p, "attention.output.LayerNorm", w, trainable);
    l.up = sc_hf_linear(g, p, "intermediate.dense", w, s->inner, trainable);
    l.down = sc_hf_linear(g, p, "output.dense", s->inner, w, trainable);
    if (norm_behind) {
        l.norm[1] = sc_hf_norm(g, p, "output.LayerNorm", w, trainable);
    } else {
        l.norm[0] = sc_hf_norm(g, p, "layernorm_before", w, trainable);
        l.norm[1] = sc_hf_norm(g, p, "layernorm_after", w, trainable);
    }
    return l;
}

static sc_value linear(sc_graph *g, sc_value x, const sc_hf_pair *p, sc_linear_options o)
{
    return sc_linear(g, x, p->weight, p->bias, o);
}

static sc_value attention(sc_graph *g, const sc_hf_layer *l, sc_value x, sc_value last)
{
    const sc_linear_options plain = {0}, exact = {.exact = true};
    sc_value q = linear(g, x, &l->q, plain), k = linear(g, x, &l->k, plain),
             v = linear(g, x, &l->v, plain);
    return linear(g, sc_full_attention(g, q, k, v, last, l->shape->heads), &l->out, exact);
}

static sc_value mlp(sc_graph *g, const sc_hf_layer *l, sc_value x)
{
    x = linear(g, x, &l->up, (sc_linear_options){.activation = SC_GELU});
    return linear(g, x, &l->down, (sc_linear_options){.exact = true});
}

static sc_value norm_behind(sc_graph *g, const sc_hf_pair *p, sc_value x)
{
    return sc_layer_norm_exact(g, x, p->weight, p->bias, SC_HF_EPS);
}

static sc_value norm_before(sc_graph *g, const sc_hf_pair *p, sc_value x)
{
    return sc_layer_norm(g, x, p->weight, p->bias, SC_HF_EPS);
}

sc_value sc_hf_record_layer(sc_graph *g, const sc_hf_layer *l, sc_value x, sc_value last)
{
    if (l->norm_behind) {
        x = norm_behind(g, &l->norm[0], sc_add(g, x, attention(g, l, x, last)));
        return norm_behind(g, &l->norm[1], sc_add(g, x, mlp(g, l, x)));
    }
    x = sc_add(g, x, attention(g, l, norm_before(g, &l->norm[0], x), last));
    return sc_add(g, x, mlp(g, l, norm_before(g, &l->norm[1], x)));
}
