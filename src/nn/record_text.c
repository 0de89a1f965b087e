/* Shape rules of the text tower's ops and of linear, add and activate. */
#include "record.h"

sc_value sc_linear(sc_graph *g, sc_value x, sc_param weight, sc_param bias, sc_linear_options o)
{
    record r;
    if (!record_begin(&r, g, SC_OP_LINEAR, 1, &x, 2, (sc_param[]){weight, bias}) ||
        !record_real(&r, 0))
        return NO_VALUE;
    sc_shape s = r.in[0].shape;
    bool matrix = r.node.n_params > 0 && r.param[0].shape.n >= 2;
    for (int i = 2; matrix && i < r.param[0].shape.n; i++)
        matrix = r.param[0].shape.d[i] == 1; /* a 1x1 convolution's name and shape */
    if (!matrix || s.n < 2)
        return record_fail(&r, "wants an input [.., in] and a matrix");
    int64_t in = r.param[0].shape.d[o.transposed ? 0 : 1];
    int64_t out = r.param[0].shape.d[o.transposed ? 1 : 0];
    if (s.d[s.n - 1] != in)
        return record_fail(&r, "the weight wants %lld numbers a row, the input has %lld",
                           (long long)in, (long long)s.d[s.n - 1]);
    if (r.node.n_params == 2 && !record_vector(&r, 1, out))
        return NO_VALUE;
    r.node.attrs.transposed = o.transposed;
    r.node.attrs.activation = o.activation;
    s.d[s.n - 1] = out;
    return record_output(&r, o.exact ? SC_EXACT : SC_COMPUTE, r.in[0].rows, s);
}

sc_value sc_add(sc_graph *g, sc_value a, sc_value b)
{
    record r;
    if (!record_begin(&r, g, SC_OP_ADD, 2, (sc_value[]){a, b}, 0, NULL) || !record_real(&r, 0) ||
        !record_real(&r, 1))
        return NO_VALUE;
    if (!sc_shape_equal(&r.in[0].shape, &r.in[1].shape) || r.in[0].rows != r.in[1].rows)
        return record_fail(&r, "the inputs must have one shape");
    sc_kind kind = r.in[0].kind == SC_EXACT ? SC_EXACT : r.in[1].kind;
    return record_output(&r, kind, r.in[0].rows, r.in[0].shape);
}

sc_value sc_activate(sc_graph *g, sc_value x, sc_activation f)
{
    record r;
    if (!record_begin(&r, g, SC_OP_ACTIVATE, 1, &x, 0, NULL) || !record_real(&r, 0))
        return NO_VALUE;
    if (f == SC_SIGMOID && r.in[0].shape.n == 4)
        return record_fail(&r, "no sigmoid of images");
    r.node.attrs.activation = f;
    return record_output(&r, r.in[0].kind, r.in[0].rows, r.in[0].shape);
}

static sc_value layer_norm(sc_graph *g, sc_value x, sc_param weight, sc_param bias, double eps,
                           sc_kind kind)
{
    record r;
    if (!record_begin(&r, g, SC_OP_LAYER_NORM, 1, &x, 2, (sc_param[]){weight, bias}) ||
        !record_real(&r, 0))
        return NO_VALUE;
    sc_shape s = r.in[0].shape;
    if (s.n < 2 || !(eps > 0))
        return record_fail(&r, "wants an input [.., width] and eps above 0");
    if (!record_vector(&r, 0, s.d[s.n - 1]) || !record_vector(&r, 1, s.d[s.n - 1]))
        return NO_VALUE;
    r.node.attrs.eps = eps;
    return record_output(&r, kind, r.in[0].rows, s);
}

sc_value sc_layer_norm(sc_graph *g, sc_value x, sc_param weight, sc_param bias, double eps)
{
    return layer_norm(g, x, weight, bias, eps, SC_COMPUTE);
}

sc_value sc_layer_norm_exact(sc_graph *g, sc_value x, sc_param weight, sc_param bias, double eps)
{
    return layer_norm(g, x, weight, bias, eps, SC_EXACT);
}

sc_value sc_embed(sc_graph *g, sc_value tokens, sc_value places, sc_param table, sc_param positions,
                  sc_param types)
{
    record r;
    const bool packed = places.id >= 0;
    if (!record_begin(&r, g, SC_OP_EMBED, 1 + packed, (sc_value[]){tokens, places}, 3,
                      (sc_param[]){table, positions, types}) ||
        (packed && !record_index(&r, 1)))
        return NO_VALUE;
    const graph_value *x = &r.in[0];
    if (x->kind != SC_INT32 || x->shape.n != 2 - packed)
        return record_fail(&r, "input 0 must be int32 tokens [T, L], or [R] with their places");
    const sc_shape *t = &r.param[0].shape, *p = &r.param[1].shape;
    if (r.node.n_params < 2 || t->n != 2 || p->n != 2 || t->d[1] != p->d[1] ||
        (!packed && p->d[0] < x->shape.d[1]))
        return record_fail(&r, "wants a table [V, W] and positions [L or more, W]");
    const sc_shape *k = &r.param[2].shape;
    if (r.node.n_params == 3 && (k->n != 2 || k->d[1] != t->d[1]))
        return record_fail(&r, "wants types [K, W]");
    if (packed)
        return record_output(&r, SC_EXACT, x->rows, SC_SHAPE(x->shape.d[0], t->d[1]));
    return record_output(&r, SC_EXACT, x->rows, SC_SHAPE(x->shape.d[0], x->shape.d[1], t->d[1]));
}

sc_value sc_attention(sc_graph *g, sc_value qkv, int heads)
{
    record r;
    if (!record_begin(&r, g, SC_OP_ATTENTION, 1, &qkv, 0, NULL) || !record_real(&r, 0) ||
        !record_dims(&r, 0, 3))
        return NO_VALUE;
    sc_shape s = r.in[0].shape;
    if (heads < 1 || s.d[2] % (3 * (int64_t)heads) != 0)
        return record_fail(&r, "%d heads do not divide a third of the last dimension", heads);
    r.node.attrs.heads = heads;
    return record_output(&r, SC_COMPUTE, r.in[0].rows, SC_SHAPE(s.d[0], s.d[1], s.d[2] / 3));
}

sc_value sc_packed_attention(sc_graph *g, sc_value qkv, sc_value begins, int shared, int longest,
                             int heads)
{
    record r;
    if (!record_begin(&r, g, SC_OP_ATTENTION, 2, (sc_value[]){qkv, begins}, 0, NULL) ||
        !record_real(&r, 0) || !record_dims(&r, 0, 2))
        return NO_VALUE;
    const sc_shape s = r.in[0].shape, *b = &r.in[1].shape;
    if (heads < 1 || s.d[1] % (3 * (int64_t)heads) != 0)
        return record_fail(&r, "%d heads do not divide a third of the last dimension", heads);
    if (r.in[1].kind != SC_INT32 || b->n != 1 || b->d[0] < 2)
        return record_fail(&r, "input 1 must be int32, one more than there are texts");
    if (shared < 0 || longest <= shared || longest > s.d[0])
        return record_fail(&r, "%d shared rows and texts of up to %d do not fit in %lld", shared,
                           longest, (long long)s.d[0]);
    r.node.attrs.heads = heads;
    r.node.attrs.shared = shared;
    r.node.attrs.longest = longest;
    return record_output(&r, SC_COMPUTE, r.in[0].rows, SC_SHAPE(s.d[0], s.d[1] / 3));
}

sc_value sc_full_attention(sc_graph *g, sc_value q, sc_value k, sc_value v, sc_value last,
                           int heads)
{
    record r;
    const int n_in = last.id >= 0 ? 4 : 3;
    if (!record_begin(&r, g, SC_OP_ATTENTION, n_in, (sc_value[]){q, k, v, last}, 0, NULL) ||
        !record_real(&r, 0) || !record_dims(&r, 0, 3) || (n_in == 4 && !record_index(&r, 3)))
        return NO_VALUE;
    if (q.id == k.id || q.id == v.id || k.id == v.id)
        return record_fail(&r, "q, k and v must be three values");
    for (int i = 1; i < 3; i++)
        if (!sc_shape_equal(&r.in[i].shape, &r.in[0].shape) || r.in[i].rows != r.in[0].rows ||
            r.in[i].kind != r.in[0].kind)
            return record_fail(&r, "q, k and v must be alike");
    const sc_shape s = r.in[0].shape;
    if (heads < 1 || s.d[2] % heads != 0)
        return record_fail(&r, "%d heads do not divide the last dimension", heads);
    r.node.attrs.heads = heads;
    return record_output(&r, SC_COMPUTE, r.in[0].rows, s);
}

sc_value sc_prepend(sc_graph *g, sc_value x, sc_param row, sc_param positions)
{
    record r;
    if (!record_begin(&r, g, SC_OP_PREPEND, 1, &x, 2, (sc_param[]){row, positions}) ||
        !record_real(&r, 0))
        return NO_VALUE;
    sc_shape s = r.in[0].shape;
    if (s.n != 3 && s.n != 4)
        return record_fail(&r, "wants an input [n, L, W] or [n, W, H, W']");
    if (s.n == 4)
        s = SC_SHAPE(s.d[0], s.d[2] * s.d[3], s.d[1]);
    if (r.node.n_params != 2 || sc_shape_count(&r.param[0].shape) != s.d[2] ||
        sc_shape_count(&r.param[1].shape) != (s.d[1] + 1) * s.d[2])
        return record_fail(&r, "wants a row of W numbers and positions of (L + 1) W");
    s.d[1]++;
    return record_output(&r, SC_EXACT, r.in[0].rows, s);
}

sc_value sc_select_row(sc_graph *g, sc_value x, sc_value index)
{
    record r;
    const int n_in = index.id >= 0 ? 2 : 1;
    if (!record_begin(&r, g, SC_OP_SELECT_ROW, n_in, (sc_value[]){x, index}, 0, NULL) ||
        !record_real(&r, 0))
        return NO_VALUE;
    sc_shape s = r.in[0].shape;
    if (s.n == 2 && n_in == 2) { /* of packed texts */
        if (r.in[1].kind != SC_INT32 || r.in[1].shape.n != 1)
            return record_fail(&r, "input 1 must be int32 rows [T]");
        return record_output(&r, r.in[0].kind, r.in[0].rows, SC_SHAPE(r.in[1].shape.d[0], s.d[1]));
    }
    if (!record_dims(&r, 0, 3) || (n_in == 2 && !record_index(&r, 1)))
        return NO_VALUE;
    return record_output(&r, r.in[0].kind, r.in[0].rows, SC_SHAPE(s.d[0], s.d[2]));
}
