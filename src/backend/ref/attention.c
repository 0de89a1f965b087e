/* attention: softmax(q k^T / sqrt(d)) v over heads of width d (Vaswani et al. 2017). */
#include "ref.h"

#include <math.h>
#include <string.h>

/* Parts 0 (q), 1 (k) and 2 (v) of a position stand in one row of one input, or in three inputs. The
 * rows that packed texts share are a text of their own, the last. */
typedef struct geometry {
    size_t texts, length, heads, width, d;
    size_t stride;         /* from a position to the next */
    const double *part[3]; /* rows of `stride` */
    double *grad[3];       /* NULL: not wanted */
    const int32_t *last;   /* NULL: all positions count */
    const int32_t *begins; /* packed texts; NULL: text t begins in row t * length */
    size_t packed, shared; /* packed texts, rows that they share */
    bool causal;
} geometry;

static geometry geometry_of(const sc_op_node *n, bool back)
{
    const sc_shape *y = &n->out[0].desc.shape;
    const bool packed = n->n_in == 2, joined = n->n_in < 3;
    size_t heads = (size_t)n->attrs.heads, width = ref_last(y);
    size_t packed_texts = packed ? (size_t)n->in[1].desc.shape.d[0] - 1 : 0;
    size_t shared = packed ? (size_t)n->attrs.shared : 0;
    geometry g = {.texts = packed ? packed_texts + (shared > 0) : (size_t)y->d[0],
                  .length = packed ? (size_t)n->attrs.longest : (size_t)y->d[1],
                  .begins = packed ? n->in[1].data : NULL,
                  .packed = packed_texts,
                  .shared = shared,
                  .heads = heads,
                  .width = width,
                  .d = width / heads,
                  .stride = joined ? 3 * width : width,
                  .last = n->n_in == 4 ? n->in[3].data : NULL,
                  .causal = joined};
    for (size_t k = 0; k < 3; k++) {
        const sc_node_value *from = &n->in[joined ? 0 : k];
        size_t at = joined ? k * width : 0;
        g.part[k] = (const double *)from->data + at;
        if (back && (!joined || k == 0))
            g.grad[k] = ref_input_grad(from);
        else if (g.grad[0] != NULL)
            g.grad[k] = g.grad[0] + at;
    }
    return g;
}

/* saved: the probabilities [T, heads, L, L]; scratch: one row of their gradient */
static void memory(const sc_op_node *n, size_t *saved, size_t *scratch)
{
    const bool packed = n->n_in == 2;
    const int64_t *y = n->out[0].desc.shape.d;
    const int64_t length = packed ? n->attrs.longest : y[1],
                  texts = packed ? n->in[1].desc.shape.d[0] : y[0]; /* and the shared rows */
    *saved = (size_t)(texts * n->attrs.heads * length * length) * sizeof(double);
    *scratch = (size_t)length * sizeof(double);
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static size_t row_of(const geometry *g, size_t t, size_t i)
{
    if (g->begins == NULL)
        return t * g->length + i;
    return i < g->shared ? i : (size_t)g->begins[t] + i - g->shared;
}

/* Place of position i inside a part or its gradient. */
static size_t place(const geometry *g, size_t t, size_t i, size_t head)
{
    return row_of(g, t, i) * g->stride + head * g->d;
}

/* Positions of text t that count, and the first of them that is its own. */
static size_t count_of(const geometry *g, size_t t)
{
    if (g->begins != NULL)
        return t == g->packed ? g->shared : g->shared + (size_t)(g->begins[t + 1] - g->begins[t]);
    return g->last != NULL ? (size_t)g->last[t] + 1 : g->length;
}
static size_t first_of(const geometry *g, size_t t)
{
    return t < g->packed ? g->shared : 0;
}

static void head_forward(const sc_op_node *n, const geometry *g, size_t t, size_t head)
{
    double scale = 1 / sqrt((double)g->d);
    size_t count = count_of(g, t), rows = g->begins != NULL ? count : g->length;
    for (size_t i = first_of(g, t); i < rows; i++) {
        double *p = (double *)n->saved + ((t * g->heads + head) * g->length + i) * g->length;
        double *y = (double *)n->out[0].data + row_of(g, t, i) * g->width + head * g->d;
        const double *q = g->part[0] + place(g, t, i, head);
        size_t seen = i >= count ? 0 : g->causal ? i + 1 : count;
        double top = -INFINITY, sum = 0;
        for (size_t j = 0; j < seen; j++) {
            p[j] = scale * dot(q, g->part[1] + place(g, t, j, head), g->d);
            top = fmax(top, p[j]);
        }
        for (size_t j = 0; j < seen; j++)
            sum += p[j] = exp(p[j] - top);
        memset(y, 0, g->d * sizeof *y);
        for (size_t j = 0; j < seen; j++) {
            p[j] /= sum;
            const double *v = g->part[2] + place(g, t, j, head);
            for (size_t e = 0; e < g->d; e++)
                y[e] += p[j] * v[e];
        }
    }
}

static void add_scaled(double *to, const double *from, double by, size_t n)
{
    for (size_t e = 0; to != NULL && e < n; e++)
        to[e] += by * from[e];
}

static double *grad_at(const geometry *g, size_t part, size_t t, size_t i, size_t head)
{
    return g->grad[part] != NULL ? g->grad[part] + place(g, t, i, head) : NULL;
}

static void head_backward(const sc_op_node *n, const geometry *g, size_t t, size_t head)
{
    double scale = 1 / sqrt((double)g->d), *dp = n->scratch;
    size_t count = count_of(g, t);
    for (size_t i = first_of(g, t); i < count; i++) {
        const double *p = (double *)n->saved + ((t * g->heads + head) * g->length + i) * g->length;
        size_t row = row_of(g, t, i) * g->width + head * g->d;
        const double *y = (const double *)n->out[0].data + row;
        const double *dy = (const double *)n->out[0].grad + row;
        double mean = dot(dy, y, g->d); /* = sum over j of p[j] * dp[j] */
        size_t seen = g->causal ? i + 1 : count;
        for (size_t j = 0; j < seen; j++)
            dp[j] = p[j] * (dot(dy, g->part[2] + place(g, t, j, head), g->d) - mean) * scale;
        for (size_t j = 0; j < seen; j++) {
            add_scaled(grad_at(g, 0, t, i, head), g->part[1] + place(g, t, j, head), dp[j], g->d);
            add_scaled(grad_at(g, 1, t, j, head), g->part[0] + place(g, t, i, head), dp[j], g->d);
            add_scaled(grad_at(g, 2, t, j, head), dy, p[j], g->d);
        }
    }
}

static sc_status check_begins(const sc_op_node *n, const geometry *g)
{
    size_t at = g->shared;
    for (size_t t = 0; t < g->packed; t++) {
        if (g->begins[t] != (int32_t)at || g->begins[t + 1] <= g->begins[t] ||
            count_of(g, t) > g->length)
            return sc_fail(SC_EINTERNAL, "attention: packed text %zu has rows %d to %d", t,
                           g->begins[t], g->begins[t + 1]);
        at = (size_t)g->begins[t + 1];
    }
    return (int64_t)at == n->out[0].desc.shape.d[0]
               ? SC_OK
               : sc_fail(SC_EINTERNAL, "attention: packed texts end in row %zu", at);
}

static sc_status forward(const sc_op_node *n)
{
    geometry g = geometry_of(n, false);
    if (g.begins != NULL)
        SC_TRY(check_begins(n, &g));
    for (size_t t = 0; g.last != NULL && t < g.texts; t++)
        if (g.last[t] < 0 || (size_t)g.last[t] >= g.length)
            return sc_fail(SC_EINTERNAL, "attention: last position %d of text %zu is not in 0..%zu",
                           g.last[t], t, g.length - 1);
    for (size_t t = 0; t < g.texts; t++)
        for (size_t head = 0; head < g.heads; head++)
            head_forward(n, &g, t, head);
    return SC_OK;
}

static sc_status backward(const sc_op_node *n)
{
    geometry g = geometry_of(n, true);
    for (size_t t = 0; t < g.texts; t++)
        for (size_t head = 0; head < g.heads; head++)
            head_backward(n, &g, t, head);
    return SC_OK;
}

const ref_op ref_attention = {forward, backward, memory};
