/* Ops on elements and rows: add, activate, multiply, layer_norm, l2_normalize, group_mean,
 * all_gather. */
#include "cuda.h"

static sc_status add_forward(cuda_device *d, const sc_op_node *n)
{
    return cuda_check(sc_cuda_add(d->stream, cuda_in(d, &n->in[0]), cuda_in(d, &n->in[1]),
                                  cuda_out(d, &n->out[0]), cuda_stored(&n->out[0].desc)),
                      "add");
}
static sc_status add_backward(cuda_device *d, const sc_op_node *n)
{
    for (int i = 0; i < 2; i++)
        if (n->in[i].grad != NULL)
            CUDA_TRY(sc_cuda_convert(d->stream, cuda_grad_in(d, &n->out[0]),
                                     cuda_grad_out(d, &n->in[i]), cuda_stored(&n->out[0].desc)),
                     "add");
    return SC_OK;
}
const cuda_op cuda_op_add = {NULL, add_forward, add_backward, NULL};

/* ---- activate, multiply ---- */
static sc_status activate_forward(cuda_device *d, const sc_op_node *n)
{
    return cuda_check(sc_cuda_activate(d->stream, cuda_activation(n), cuda_in(d, &n->in[0]),
                                       cuda_out(d, &n->out[0]), cuda_stored(&n->out[0].desc)),
                      "activate");
}
static sc_status activate_backward(cuda_device *d, const sc_op_node *n)
{
    if (n->in[0].grad == NULL)
        return SC_OK;
    return cuda_check(sc_cuda_activate_back(d->stream, cuda_activation(n),
                                            cuda_grad_in(d, &n->out[0]), cuda_in(d, &n->in[0]),
                                            cuda_grad_out(d, &n->in[0]),
                                            cuda_stored(&n->out[0].desc)),
                      "activate");
}
const cuda_op cuda_op_activate = {NULL, activate_forward, activate_backward, NULL};

static sc_status multiply_forward(cuda_device *d, const sc_op_node *n)
{
    return cuda_check(sc_cuda_multiply(d->stream, cuda_activation(n), cuda_in(d, &n->in[0]),
                                       cuda_in(d, &n->in[1]), cuda_out(d, &n->out[0]),
                                       cuda_stored(&n->out[0].desc)),
                      "multiply");
}
static sc_status multiply_backward(cuda_device *d, const sc_op_node *n)
{
    return cuda_check(sc_cuda_multiply_back(
                          d->stream, cuda_activation(n), cuda_grad_in(d, &n->out[0]),
                          cuda_in(d, &n->in[0]), cuda_in(d, &n->in[1]), cuda_grad_out(d, &n->in[0]),
                          cuda_grad_out(d, &n->in[1]), cuda_stored(&n->out[0].desc)),
                      "multiply");
}
const cuda_op cuda_op_multiply = {NULL, multiply_forward, multiply_backward, NULL};

/* ---- layer_norm: saved = mean, 1/std of every row ---- */
static size_t row_floats(const sc_op_node *n)
{
    return cuda_align((size_t)cuda_rows(&n->in[0].desc) * sizeof(float));
}
static sc_status norm_memory(cuda_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d;
    *saved = 2 * row_floats(n);
    *scratch = sc_cuda_column_parts(cuda_rows(&n->in[0].desc), cuda_width(&n->in[0].desc), 2);
    return SC_OK;
}
static float *rstd_of(const sc_op_node *n)
{
    return (float *)((char *)n->saved + row_floats(n));
}
static sc_status norm_forward(cuda_device *d, const sc_op_node *n)
{
    const int width = cuda_width(&n->in[0].desc);
    return cuda_check(sc_cuda_layer_norm(d->stream, cuda_in(d, &n->in[0]), cuda_out(d, &n->out[0]),
                                         n->params[0].value, n->params[1].value,
                                         (float)n->attrs.eps, n->saved, rstd_of(n),
                                         cuda_rows(&n->in[0].desc), width, width),
                      "layer_norm");
}
static sc_status norm_backward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_in x = cuda_in(d, &n->in[0]), dy = cuda_grad_in(d, &n->out[0]);
    const int64_t rows = cuda_rows(&n->in[0].desc);
    const int width = cuda_width(&n->in[0].desc);
    if (n->in[0].grad != NULL)
        CUDA_TRY(sc_cuda_layer_norm_back(d->stream, x, dy, cuda_grad_out(d, &n->in[0]),
                                         n->params[0].value, n->saved, rstd_of(n), rows, width,
                                         width),
                 "layer_norm");
    if (n->params[0].grad == NULL && n->params[1].grad == NULL)
        return SC_OK;
    return cuda_check(sc_cuda_layer_norm_back_params(d->stream, x, dy, n->saved, rstd_of(n),
                                                     n->params[0].grad, n->params[1].grad, rows,
                                                     width, width, n->scratch),
                      "layer_norm");
}
const cuda_op cuda_op_layer_norm = {norm_memory, norm_forward, norm_backward, NULL};

/* ---- l2_normalize: saved = norms ---- */
static sc_status l2_memory(cuda_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d;
    (void)scratch;
    *saved = row_floats(n);
    return SC_OK;
}
static sc_status l2_forward(cuda_device *d, const sc_op_node *n)
{
    return cuda_check(sc_cuda_l2_normalize(d->stream, cuda_in(d, &n->in[0]), n->out[0].data,
                                           n->saved, cuda_rows(&n->in[0].desc),
                                           cuda_width(&n->in[0].desc)),
                      "l2_normalize");
}
static sc_status l2_backward(cuda_device *d, const sc_op_node *n)
{
    if (n->in[0].grad == NULL)
        return SC_OK;
    return cuda_check(sc_cuda_l2_normalize_back(d->stream, n->out[0].grad, n->out[0].data, n->saved,
                                                cuda_grad_out(d, &n->in[0]),
                                                cuda_rows(&n->in[0].desc),
                                                cuda_width(&n->in[0].desc)),
                      "l2_normalize");
}
const cuda_op cuda_op_l2_normalize = {l2_memory, l2_forward, l2_backward, NULL};

/* ---- group_mean ---- */
static sc_status group_forward(cuda_device *d, const sc_op_node *n)
{
    return cuda_check(sc_cuda_group_mean(d->stream, cuda_in(d, &n->in[0]), n->in[1].data,
                                         n->out[0].data, n->in[0].desc.shape.d[0],
                                         n->out[0].desc.shape.d[0], cuda_width(&n->in[0].desc)),
                      "group_mean");
}
static sc_status group_backward(cuda_device *d, const sc_op_node *n)
{
    if (n->in[0].grad == NULL)
        return SC_OK;
    return cuda_check(sc_cuda_group_mean_back(d->stream, n->out[0].grad, n->in[1].data,
                                              cuda_grad_out(d, &n->in[0]), n->in[0].desc.shape.d[0],
                                              n->out[0].desc.shape.d[0],
                                              cuda_width(&n->in[0].desc)),
                      "group_mean");
}
const cuda_op cuda_op_group_mean = {NULL, group_forward, group_backward, NULL};

/* ---- all_gather ---- */
static sc_status gather_memory(cuda_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)saved;
    (void)scratch;
    if (n->comm->size > CUDA_MOST_RANKS || n->in[0].desc.kind != n->out[0].desc.kind)
        return sc_fail(SC_EUNSUPPORTED, "cuda: all_gather over %d ranks or of mixed kinds",
                       n->comm->size);
    return cuda_reserve_staging(d, cuda_value_bytes(&d->head, &n->out[0].desc));
}
static sc_status gather_forward(cuda_device *d, const sc_op_node *n)
{
    int64_t counts[CUDA_MOST_RANKS];
    for (int r = 0; r < n->comm->size; r++)
        counts[r] = n->rows[r] * cuda_width(&n->in[0].desc);
    return cuda_all_gather(d, n->comm, n->in[0].data, n->out[0].data, counts,
                           cuda_type(d, &n->in[0].desc) == SC_CUDA_BF16 ? SC_BF16 : SC_F32);
}
static sc_status gather_backward(cuda_device *d, const sc_op_node *n)
{
    const int64_t width = cuda_width(&n->in[0].desc);
    int64_t before = 0;
    if (n->in[0].grad == NULL)
        return SC_OK;
    for (int r = 0; r < n->comm->rank; r++)
        before += n->rows[r];
    sc_cuda_in own = cuda_grad_in(d, &n->out[0]);
    own.p = (const char *)own.p +
            (size_t)(before * width) * (own.type == SC_CUDA_BF16 ? 2 : sizeof(float));
    return cuda_check(sc_cuda_convert(d->stream, own, cuda_grad_out(d, &n->in[0]),
                                      n->rows[n->comm->rank] * width),
                      "all_gather");
}
const cuda_op cuda_op_all_gather = {gather_memory, gather_forward, gather_backward, NULL};
