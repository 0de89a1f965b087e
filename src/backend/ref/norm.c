/* batch_norm over a group of ranks, and layer_norm. */
#include "ref.h"

#include <math.h>
#include <string.h>

/* ---- batch_norm: saved = mean[C], 1/std[C]; scratch = a (mean, M2) pair a channel and rank ----
 */

static int64_t plane_of(const sc_shape *s)
{
    int64_t plane = 1;
    for (int i = 2; i < s->n; i++)
        plane *= s->d[i];
    return plane;
}

static void batch_norm_memory(const sc_op_node *n, size_t *saved, size_t *scratch)
{
    size_t channels = (size_t)n->in[0].desc.shape.d[1], ranks = (size_t)n->comm->size;
    *saved = 2 * channels * sizeof(double);
    *scratch = 2 * channels * ranks * sizeof(double) + ranks * sizeof(int64_t);
}

static bool uses_batch(const sc_op_node *n)
{
    return n->training && !n->attrs.running;
}

/* pair[0..C) = mean, pair[C..2C) = sum of squared deviations of this rank's rows. */
static void local_moments(const sc_op_node *n, double *pair)
{
    const sc_shape *s = &n->in[0].desc.shape;
    const double *x = n->in[0].data;
    int64_t rows = s->d[0], channels = s->d[1], plane = plane_of(s);
    double count = (double)(rows * plane);
    for (int64_t c = 0; c < channels; c++) {
        double sum = 0, m2 = 0;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < plane; i++)
                sum += x[(r * channels + c) * plane + i];
        double mean = rows > 0 ? sum / count : 0;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < plane; i++) {
                double d = x[(r * channels + c) * plane + i] - mean;
                m2 += d * d;
            }
        pair[c] = mean;
        pair[channels + c] = m2;
    }
}

/* Chan's parallel rule over the ranks in order. Returns the number of values of one channel. */
static double combine(const sc_op_node *n, const double *pairs, int64_t c, double *mean, double *m2)
{
    int64_t channels = n->in[0].desc.shape.d[1], plane = plane_of(&n->in[0].desc.shape);
    double count = 0;
    *mean = *m2 = 0;
    for (int r = 0; r < n->comm->size; r++) {
        double more = (double)(n->rows[r] * plane);
        if (n->rows[r] == 0)
            continue;
        const double *pair = pairs + (size_t)r * 2 * (size_t)channels;
        double delta = pair[c] - *mean, total = count + more;
        *m2 += pair[channels + c] + delta * delta * count * more / total;
        *mean += delta * more / total;
        count = total;
    }
    return count;
}

static sc_status batch_statistics(const sc_op_node *n, double *mean, double *inv_std)
{
    int64_t channels = n->in[0].desc.shape.d[1];
    size_t ranks = (size_t)n->comm->size;
    double *pairs = n->scratch;
    int64_t *counts = (int64_t *)(pairs + 2 * (size_t)channels * ranks);
    double *own = pairs + 2 * (size_t)channels * (size_t)n->comm->rank;
    for (size_t r = 0; r < ranks; r++)
        counts[r] = 2 * channels;
    local_moments(n, own);
    SC_TRY(n->comm->all_gather(n->comm, own, pairs, counts, SC_F64));
    double *running_mean = n->params[2].value, *running_var = n->params[3].value;
    double momentum = n->attrs.momentum;
    for (int64_t c = 0; c < channels; c++) {
        double m2, count = combine(n, pairs, c, &mean[c], &m2);
        if (count == 1)
            return sc_fail(SC_EINTERNAL, "batch_norm: training on one value a channel");
        if (count == 0)
            continue; /* no rows in the whole group: nothing to normalise or to learn from */
        inv_std[c] = 1 / sqrt(m2 / count + n->attrs.eps);
        running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean[c];
        running_var[c] = (1 - momentum) * running_var[c] + momentum * (m2 / (count - 1));
    }
    return SC_OK;
}

static sc_status batch_norm_forward(const sc_op_node *n)
{
    const sc_shape *s = &n->in[0].desc.shape;
    int64_t rows = s->d[0], channels = s->d[1], plane = plane_of(s);
    double *mean = n->saved, *inv_std = mean + channels;
    if (uses_batch(n)) {
        SC_TRY(batch_statistics(n, mean, inv_std));
    } else {
        for (int64_t c = 0; c < channels; c++) {
            mean[c] = ref_param(n, 2)[c];
            inv_std[c] = 1 / sqrt(ref_param(n, 3)[c] + n->attrs.eps);
        }
    }
    const double *x = n->in[0].data, *residual = n->n_in > 1 ? n->in[1].data : NULL;
    const double *weight = ref_param(n, 0), *bias = ref_param(n, 1);
    double *y = n->out[0].data;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < plane; i++) {
                int64_t at = (r * channels + c) * plane + i;
                double v = (x[at] - mean[c]) * inv_std[c] * weight[c] + bias[c];
                if (residual != NULL)
                    v += residual[at];
                y[at] = n->attrs.relu && v < 0 ? 0 : v; /* NaN passes, as in PyTorch */
            }
    return SC_OK;
}

/* The gradient in front of the ReLU at element `at`. */
static double masked(const sc_op_node *n, int64_t at)
{
    const double *dy = n->out[0].grad, *y = n->out[0].data;
    return n->attrs.relu && y[at] <= 0 ? 0 : dy[at];
}

static sc_status batch_norm_backward(const sc_op_node *n)
{
    const sc_shape *s = &n->in[0].desc.shape;
    int64_t rows = s->d[0], channels = s->d[1], plane = plane_of(s);
    const double *x = n->in[0].data, *mean = n->saved, *inv_std = mean + channels;
    double *sums = n->scratch; /* per channel: sum of g, then sum of g * xhat */
    memset(sums, 0, 2 * (size_t)channels * sizeof(double));
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < plane; i++) {
                int64_t at = (r * channels + c) * plane + i;
                sums[c] += masked(n, at);
                sums[channels + c] += masked(n, at) * (x[at] - mean[c]) * inv_std[c];
            }
    /* The parameters get this rank's share (summed with all gradients later); dx needs the group's.
     */
    double *dweight = ref_param_grad(&n->params[0]), *dbias = ref_param_grad(&n->params[1]);
    for (int64_t c = 0; c < channels; c++) {
        if (dbias != NULL)
            dbias[c] = sums[c];
        if (dweight != NULL)
            dweight[c] = sums[channels + c];
    }
    double count = (double)(n->rows_global * plane);
    if (uses_batch(n))
        SC_TRY(n->comm->all_reduce(n->comm, sums, 2 * (size_t)channels, SC_F64, SC_SUM));
    else
        memset(sums, 0, 2 * (size_t)channels * sizeof(double)); /* constants have no gradient */
    double *dx = ref_input_grad(&n->in[0]);
    double *dresidual = n->n_in > 1 ? ref_input_grad(&n->in[1]) : NULL;
    const double *weight = ref_param(n, 0);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = 0; i < plane; i++) {
                int64_t at = (r * channels + c) * plane + i;
                double g = masked(n, at), xhat = (x[at] - mean[c]) * inv_std[c];
                if (dx != NULL)
                    dx[at] += weight[c] * inv_std[c] *
                              (g - sums[c] / count - xhat * sums[channels + c] / count);
                if (dresidual != NULL)
                    dresidual[at] += g;
            }
    return SC_OK;
}

const ref_op ref_batch_norm = {batch_norm_forward, batch_norm_backward, batch_norm_memory};

/* ---- layer_norm: saved = mean, 1/std of each row ----------------------------------------------
 */

static void layer_norm_memory(const sc_op_node *n, size_t *saved, size_t *scratch)
{
    *saved = 2 * ref_rows(&n->in[0].desc.shape) * sizeof(double);
    *scratch = 0;
}

static sc_status layer_norm_forward(const sc_op_node *n)
{
    size_t rows = ref_rows(&n->in[0].desc.shape), width = ref_last(&n->in[0].desc.shape);
    const double *x = n->in[0].data, *weight = ref_param(n, 0), *bias = ref_param(n, 1);
    double *y = n->out[0].data, *mean = n->saved, *inv_std = mean + rows;
    for (size_t r = 0; r < rows; r++, x += width, y += width) {
        double sum = 0, m2 = 0;
        for (size_t i = 0; i < width; i++)
            sum += x[i];
        mean[r] = sum / (double)width;
        for (size_t i = 0; i < width; i++)
            m2 += (x[i] - mean[r]) * (x[i] - mean[r]);
        inv_std[r] = 1 / sqrt(m2 / (double)width + n->attrs.eps);
        for (size_t i = 0; i < width; i++)
            y[i] = (x[i] - mean[r]) * inv_std[r] * weight[i] + bias[i];
    }
    return SC_OK;
}

static sc_status layer_norm_backward(const sc_op_node *n)
{
    size_t rows = ref_rows(&n->in[0].desc.shape), width = ref_last(&n->in[0].desc.shape);
    const double *x = n->in[0].data, *dy = n->out[0].grad, *weight = ref_param(n, 0);
    const double *mean = n->saved, *inv_std = mean + rows;
    double *dx = ref_input_grad(&n->in[0]);
    double *dweight = ref_param_grad(&n->params[0]), *dbias = ref_param_grad(&n->params[1]);
    for (size_t r = 0; r < rows; r++) {
        double sum = 0, dot = 0;
        for (size_t i = 0; i < width; i++) {
            size_t at = r * width + i;
            double xhat = (x[at] - mean[r]) * inv_std[r];
            sum += dy[at] * weight[i];
            dot += dy[at] * weight[i] * xhat;
            if (dweight != NULL)
                dweight[i] += dy[at] * xhat;
            if (dbias != NULL)
                dbias[i] += dy[at];
        }
        for (size_t i = 0; dx != NULL && i < width; i++) {
            size_t at = r * width + i;
            double xhat = (x[at] - mean[r]) * inv_std[r];
            dx[at] += inv_std[r] * (dy[at] * weight[i] - (sum + xhat * dot) / (double)width);
        }
    }
    return SC_OK;
}

const ref_op ref_layer_norm = {layer_norm_forward, layer_norm_backward, layer_norm_memory};
