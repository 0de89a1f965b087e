/* Ops on feature rows: l2_normalize, group_mean, all_gather. */
#include "ref.h"

#include <math.h>
#include <string.h>

#define SMALLEST_NORM 1e-12 /* torch.nn.functional.normalize's default */

static void l2_normalize_memory(const sc_op_node *n, size_t *saved, size_t *scratch)
{
    *saved = ref_rows(&n->in[0].desc.shape) * sizeof(double);
    *scratch = 0;
}

static sc_status l2_normalize_forward(const sc_op_node *n)
{
    size_t rows = ref_rows(&n->in[0].desc.shape), width = ref_last(&n->in[0].desc.shape);
    const double *x = n->in[0].data;
    double *y = n->out[0].data, *norm = n->saved;
    for (size_t r = 0; r < rows; r++, x += width, y += width) {
        double sum = 0;
        for (size_t i = 0; i < width; i++)
            sum += x[i] * x[i];
        norm[r] = sqrt(sum);
        for (size_t i = 0; i < width; i++)
            y[i] = x[i] / (norm[r] < SMALLEST_NORM ? SMALLEST_NORM : norm[r]);
    }
    return SC_OK;
}

static sc_status l2_normalize_backward(const sc_op_node *n)
{
    size_t rows = ref_rows(&n->in[0].desc.shape), width = ref_last(&n->in[0].desc.shape);
    const double *y = n->out[0].data, *dy = n->out[0].grad, *norm = n->saved;
    double *dx = ref_input_grad(&n->in[0]);
    for (size_t r = 0; dx != NULL && r < rows; r++, y += width, dy += width, dx += width) {
        bool small = norm[r] < SMALLEST_NORM; /* then the divisor is a constant */
        double along = 0, divisor = small ? SMALLEST_NORM : norm[r];
        for (size_t i = 0; !small && i < width; i++)
            along += dy[i] * y[i];
        for (size_t i = 0; i < width; i++)
            dx[i] += (dy[i] - y[i] * along) / divisor;
    }
    return SC_OK;
}

const ref_op ref_l2_normalize = {l2_normalize_forward, l2_normalize_backward, l2_normalize_memory};

/* scratch: rows of each group */
static void group_mean_memory(const sc_op_node *n, size_t *saved, size_t *scratch)
{
    *saved = 0;
    *scratch = (size_t)n->out[0].desc.shape.d[0] * sizeof(double);
}

static sc_status count_groups(const sc_op_node *n)
{
    const int32_t *group = n->in[1].data;
    int64_t groups = n->out[0].desc.shape.d[0], rows = n->in[0].desc.shape.d[0];
    double *count = n->scratch;
    memset(count, 0, (size_t)groups * sizeof(double));
    for (int64_t r = 0; r < rows; r++) {
        if (group[r] < 0 || group[r] >= groups)
            return sc_fail(SC_EINTERNAL, "group_mean: group %d of row %lld is not in 0..%lld",
                           group[r], (long long)r, (long long)groups - 1);
        count[group[r]]++;
    }
    for (int64_t g = 0; g < groups; g++)
        if (count[g] < 1)
            return sc_fail(SC_EINTERNAL, "group_mean: group %lld has no row", (long long)g);
    return SC_OK;
}

static sc_status group_mean_forward(const sc_op_node *n)
{
    size_t rows = (size_t)n->in[0].desc.shape.d[0], width = ref_last(&n->in[0].desc.shape);
    const int32_t *group = n->in[1].data;
    const double *x = n->in[0].data, *count = n->scratch;
    double *y = n->out[0].data;
    SC_TRY(count_groups(n));
    memset(y, 0, ref_count(&n->out[0].desc.shape) * sizeof(double));
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < width; i++)
            y[(size_t)group[r] * width + i] += x[r * width + i] / count[group[r]];
    return SC_OK;
}

static sc_status group_mean_backward(const sc_op_node *n)
{
    size_t rows = (size_t)n->in[0].desc.shape.d[0], width = ref_last(&n->in[0].desc.shape);
    const int32_t *group = n->in[1].data;
    const double *dy = n->out[0].grad, *count = n->scratch;
    double *dx = ref_input_grad(&n->in[0]);
    SC_TRY(count_groups(n));
    for (size_t r = 0; dx != NULL && r < rows; r++)
        for (size_t i = 0; i < width; i++)
            dx[r * width + i] += dy[(size_t)group[r] * width + i] / count[group[r]];
    return SC_OK;
}

const ref_op ref_group_mean = {group_mean_forward, group_mean_backward, group_mean_memory};

/* scratch: elements of each rank */
static void all_gather_memory(const sc_op_node *n, size_t *saved, size_t *scratch)
{
    *saved = 0;
    *scratch = (size_t)n->comm->size * sizeof(int64_t);
}

static sc_status all_gather_forward(const sc_op_node *n)
{
    int64_t *counts = n->scratch, width = (int64_t)ref_last(&n->in[0].desc.shape);
    for (int r = 0; r < n->comm->size; r++)
        counts[r] = n->rows[r] * width;
    return n->comm->all_gather(n->comm, n->in[0].data, n->out[0].data, counts, SC_F64);
}

static sc_status all_gather_backward(const sc_op_node *n)
{
    size_t width = ref_last(&n->in[0].desc.shape), own = (size_t)n->rows[n->comm->rank], first = 0;
    double *dx = ref_input_grad(&n->in[0]);
    for (int r = 0; r < n->comm->rank; r++)
        first += (size_t)n->rows[r];
    const double *dy = (const double *)n->out[0].grad + first * width;
    for (size_t i = 0; dx != NULL && i < own * width; i++)
        dx[i] += dy[i];
    return SC_OK;
}

const ref_op ref_all_gather = {all_gather_forward, all_gather_backward, all_gather_memory};
