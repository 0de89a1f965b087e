/* attention: causal softmax(q k^T / sqrt(d)) v over heads of width d (Vaswani et al. 2017). */
#include "ref.h"

#include <math.h>
#include <string.h>

typedef struct geometry {
    size_t texts, length, heads, width, d;
} geometry;

static geometry geometry_of(const sc_op_node *n)
{
    const sc_shape *y = &n->out[0].desc.shape;
    size_t heads = (size_t)n->attrs.heads, width = (size_t)y->d[2];
    return (geometry){(size_t)y->d[0], (size_t)y->d[1], heads, width, width / heads};
}

/* saved: the probabilities [T, heads, L, L]; scratch: one row of their gradient */
static void memory(const sc_op_node *n, size_t *saved, size_t *scratch)
{
    geometry g = geometry_of(n);
    *saved = g.texts * g.heads * g.length * g.length * sizeof(double);
    *scratch = g.length * sizeof(double);
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Place of part 0 (q), 1 (k) or 2 (v) of position `i` inside a qkv array. */
static size_t place(const geometry *g, size_t t, size_t i, size_t part, size_t head)
{
    return ((t * g->length + i) * 3 + part) * g->width + head * g->d;
}

static void head_forward(const sc_op_node *n, const geometry *g, size_t t, size_t head)
{
    const double *qkv = n->in[0].data;
    double scale = 1 / sqrt((double)g->d);
    for (size_t i = 0; i < g->length; i++) {
        double *p = (double *)n->saved + ((t * g->heads + head) * g->length + i) * g->length;
        double *y = (double *)n->out[0].data + (t * g->length + i) * g->width + head * g->d;
        double top = -INFINITY, sum = 0;
        for (size_t j = 0; j <= i; j++) {
            p[j] = scale * dot(qkv + place(g, t, i, 0, head), qkv + place(g, t, j, 1, head), g->d);
            top = fmax(top, p[j]);
        }
        for (size_t j = 0; j <= i; j++)
            sum += p[j] = exp(p[j] - top);
        memset(y, 0, g->d * sizeof *y);
        for (size_t j = 0; j <= i; j++) {
            p[j] /= sum;
            const double *v = qkv + place(g, t, j, 2, head);
            for (size_t e = 0; e < g->d; e++)
                y[e] += p[j] * v[e];
        }
    }
}

static void head_backward(const sc_op_node *n, const geometry *g, double *dqkv, size_t t,
                          size_t head)
{
    const double *qkv = n->in[0].data;
    double scale = 1 / sqrt((double)g->d), *dp = n->scratch;
    for (size_t i = 0; i < g->length; i++) {
        const double *p = (double *)n->saved + ((t * g->heads + head) * g->length + i) * g->length;
        size_t row = (t * g->length + i) * g->width + head * g->d;
        const double *y = (const double *)n->out[0].data + row;
        const double *dy = (const double *)n->out[0].grad + row;
        double mean = dot(dy, y, g->d); /* = sum over j of p[j] * dp[j] */
        for (size_t j = 0; j <= i; j++)
            dp[j] = p[j] * (dot(dy, qkv + place(g, t, j, 2, head), g->d) - mean) * scale;
        for (size_t j = 0; j <= i; j++)
            for (size_t e = 0; e < g->d; e++) {
                dqkv[place(g, t, i, 0, head) + e] += dp[j] * qkv[place(g, t, j, 1, head) + e];
                dqkv[place(g, t, j, 1, head) + e] += dp[j] * qkv[place(g, t, i, 0, head) + e];
                dqkv[place(g, t, j, 2, head) + e] += p[j] * dy[e];
            }
    }
}

static sc_status forward(const sc_op_node *n)
{
    geometry g = geometry_of(n);
    for (size_t t = 0; t < g.texts; t++)
        for (size_t head = 0; head < g.heads; head++)
            head_forward(n, &g, t, head);
    return SC_OK;
}

static sc_status backward(const sc_op_node *n)
{
    geometry g = geometry_of(n);
    double *dqkv = ref_input_grad(&n->in[0]);
    for (size_t t = 0; dqkv != NULL && t < g.texts; t++)
        for (size_t head = 0; head < g.heads; head++)
            head_backward(n, &g, dqkv, t, head);
    return SC_OK;
}

const ref_op ref_attention = {forward, backward, memory};
