/* max_pool and avg_pool. */
#include "ref.h"

#include <math.h>

/* saved: the winner of each window as an index into its input plane, for the backward pass */
static void max_pool_memory(const sc_op_node *n, size_t *saved, size_t *scratch)
{
    *saved = ref_count(&n->out[0].desc.shape) * sizeof(int64_t);
    *scratch = 0;
}

/* First maximum in row-major order; a NaN wins, as in PyTorch. */
static int64_t window_winner(const sc_attrs *a, const double *x, int64_t h, int64_t w, int64_t top,
                             int64_t left)
{
    int64_t winner = -1;
    for (int64_t p = 0; p < a->kernel; p++)
        for (int64_t q = 0; q < a->kernel; q++) {
            int64_t row = top + p, column = left + q;
            if (row < 0 || row >= h || column < 0 || column >= w)
                continue;
            double v = x[row * w + column];
            if (winner < 0 || v > x[winner] || isnan(v))
                winner = row * w + column;
        }
    return winner;
}

static sc_status max_pool_forward(const sc_op_node *n)
{
    const sc_shape *xs = &n->in[0].desc.shape, *ys = &n->out[0].desc.shape;
    int64_t planes = xs->d[0] * xs->d[1], h = xs->d[2], w = xs->d[3], oh = ys->d[2], ow = ys->d[3];
    int64_t stride = n->attrs.stride, pad = n->attrs.pad, *winner = n->saved;
    double *y = n->out[0].data;
    for (int64_t plane = 0; plane < planes; plane++) {
        const double *x = (const double *)n->in[0].data + plane * h * w;
        for (int64_t i = 0; i < oh; i++)
            for (int64_t j = 0; j < ow; j++, y++, winner++) {
                *winner = window_winner(&n->attrs, x, h, w, i * stride - pad, j * stride - pad);
                *y = x[*winner];
            }
    }
    return SC_OK;
}

static sc_status max_pool_backward(const sc_op_node *n)
{
    const sc_shape *xs = &n->in[0].desc.shape, *ys = &n->out[0].desc.shape;
    int64_t planes = xs->d[0] * xs->d[1], size = xs->d[2] * xs->d[3], out = ys->d[2] * ys->d[3];
    const int64_t *winner = n->saved;
    const double *dy = n->out[0].grad;
    double *dx = ref_input_grad(&n->in[0]);
    if (dx == NULL)
        return SC_OK;
    for (int64_t plane = 0; plane < planes; plane++)
        for (int64_t i = 0; i < out; i++)
            dx[plane * size + winner[plane * out + i]] += dy[plane * out + i];
    return SC_OK;
}

const ref_op ref_max_pool = {max_pool_forward, max_pool_backward, max_pool_memory};

static sc_status avg_pool_forward(const sc_op_node *n)
{
    const sc_shape *s = &n->in[0].desc.shape;
    int64_t planes = s->d[0] * s->d[1], size = s->d[2] * s->d[3];
    const double *x = n->in[0].data;
    double *y = n->out[0].data;
    for (int64_t plane = 0; plane < planes; plane++) {
        double sum = 0;
        for (int64_t i = 0; i < size; i++)
            sum += x[plane * size + i];
        y[plane] = sum / (double)size;
    }
    return SC_OK;
}

static sc_status avg_pool_backward(const sc_op_node *n)
{
    const sc_shape *s = &n->in[0].desc.shape;
    int64_t planes = s->d[0] * s->d[1], size = s->d[2] * s->d[3];
    const double *dy = n->out[0].grad;
    double *dx = ref_input_grad(&n->in[0]);
    if (dx == NULL)
        return SC_OK;
    for (int64_t plane = 0; plane < planes; plane++)
        for (int64_t i = 0; i < size; i++)
            dx[plane * size + i] += dy[plane] / (double)size;
    return SC_OK;
}

const ref_op ref_avg_pool = {avg_pool_forward, avg_pool_backward, NULL};
