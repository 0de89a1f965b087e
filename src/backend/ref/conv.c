/* conv2d: y[n,o,i,j] = b[o] + sum over c, p, q of
 * w[o,c,p,q] * x[n,c, i*stride-pad+p, j*stride-pad+q]; depthwise_conv2d: c = o alone.
 * All passes walk the same (n, o, c, p, q, i) loops with a contiguous run over j inside.
 */
#include "ref.h"

#include <string.h>

typedef struct geometry {
    int64_t n, c, h, w, o, k, oh, ow, stride, pad;
    bool depthwise;
} geometry;

/* One run: output row y[0..count) against input elements x[0], x[stride], ... and one weight. */
typedef struct run {
    size_t x, y, weight; /* element offsets */
    int64_t count;
} run;
typedef void run_function(const geometry *g, const run *r, const sc_op_node *n);

static geometry geometry_of(const sc_op_node *n)
{
    const sc_shape *x = &n->in[0].desc.shape, *y = &n->out[0].desc.shape;
    return (geometry){x->d[0],
                      x->d[1],
                      x->d[2],
                      x->d[3],
                      y->d[1],
                      n->attrs.kernel,
                      y->d[2],
                      y->d[3],
                      n->attrs.stride,
                      n->attrs.pad,
                      n->op == SC_OP_DEPTHWISE_CONV2D};
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return a <= 0 ? 0 : (a + b - 1) / b;
}

static void tap_rows(const geometry *g, int64_t image, int64_t o, int64_t c, int64_t p, int64_t q,
                     run_function *f, const sc_op_node *n)
{
    /* the outputs j whose input column j*stride - pad + q lies inside the image */
    int64_t first = ceil_div(g->pad - q, g->stride);
    int64_t end = ceil_div(g->w + g->pad - q, g->stride);
    if (end > g->ow)
        end = g->ow;
    if (first >= end)
        return;
    for (int64_t i = 0; i < g->oh; i++) {
        int64_t row = i * g->stride - g->pad + p;
        if (row < 0 || row >= g->h)
            continue;
        int64_t column = first * g->stride - g->pad + q;
        run r = {(size_t)(((image * g->c + c) * g->h + row) * g->w + column),
                 (size_t)(((image * g->o + o) * g->oh + i) * g->ow + first),
                 (size_t)(((g->depthwise ? o : o * g->c + c) * g->k + p) * g->k + q), end - first};
        f(g, &r, n);
    }
}

static void for_each_run(const sc_op_node *n, run_function *f)
{
    geometry g = geometry_of(n);
    for (int64_t image = 0; image < g.n; image++)
        for (int64_t o = 0; o < g.o; o++)
            for (int64_t c = g.depthwise ? o : 0; c < (g.depthwise ? o + 1 : g.c); c++)
                for (int64_t p = 0; p < g.k; p++)
                    for (int64_t q = 0; q < g.k; q++)
                        tap_rows(&g, image, o, c, p, q, f, n);
}

static void run_forward(const geometry *g, const run *r, const sc_op_node *n)
{
    const double *x = (const double *)n->in[0].data + r->x;
    double *y = (double *)n->out[0].data + r->y;
    double w = ((const double *)n->params[0].value)[r->weight];
    for (int64_t j = 0; j < r->count; j++)
        y[j] += w * x[j * g->stride];
}

static void run_input(const geometry *g, const run *r, const sc_op_node *n)
{
    double *dx = (double *)n->in[0].grad + r->x;
    const double *dy = (const double *)n->out[0].grad + r->y;
    double w = ((const double *)n->params[0].value)[r->weight];
    for (int64_t j = 0; j < r->count; j++)
        dx[j * g->stride] += w * dy[j];
}

static void run_weight(const geometry *g, const run *r, const sc_op_node *n)
{
    const double *x = (const double *)n->in[0].data + r->x;
    const double *dy = (const double *)n->out[0].grad + r->y;
    double sum = 0;
    for (int64_t j = 0; j < r->count; j++)
        sum += dy[j] * x[j * g->stride];
    ((double *)n->params[0].grad)[r->weight] += sum;
}

/* Every output starts at its channel's bias. */
static void fill_bias(const sc_op_node *n)
{
    const geometry g = geometry_of(n);
    const double *bias = ref_param(n, 1);
    double *y = n->out[0].data;
    for (int64_t plane = 0; plane < g.n * g.o; plane++)
        for (int64_t i = 0; i < g.oh * g.ow; i++)
            y[plane * g.oh * g.ow + i] = bias != NULL ? bias[plane % g.o] : 0;
}

static void bias_gradient(const sc_op_node *n, double *db)
{
    const geometry g = geometry_of(n);
    const double *dy = n->out[0].grad;
    for (int64_t plane = 0; plane < g.n * g.o; plane++)
        for (int64_t i = 0; i < g.oh * g.ow; i++)
            db[plane % g.o] += dy[plane * g.oh * g.ow + i];
}

static sc_status forward(const sc_op_node *n)
{
    fill_bias(n);
    for_each_run(n, run_forward);
    return SC_OK;
}

static sc_status backward(const sc_op_node *n)
{
    if (ref_input_grad(&n->in[0]) != NULL)
        for_each_run(n, run_input);
    if (ref_param_grad(&n->params[0]) != NULL)
        for_each_run(n, run_weight);
    if (n->n_params > 1 && ref_param_grad(&n->params[1]) != NULL)
        bias_gradient(n, n->params[1].grad);
    return SC_OK;
}

const ref_op ref_conv2d = {forward, backward, NULL};
const ref_op ref_depthwise_conv2d = {forward, backward, NULL};
