/* linear by cuBLASLt, the bias in its epilogue; activations are ours (QuickGELU is no epilogue, and
 * cuBLASLt's GELU is the tanh form).
 *
 * Products run in the type of x. z = x W + bias has y's type then, float for a float x; it is y
 * itself where nothing follows. dz, the gradient of z, is dy itself or a copy in the type of x.
 *
 * saved: z, with an activation. scratch: workspace; z where it is not saved; dz.
 */
#include "cuda.h"

#include <stdlib.h>

typedef struct linear_state {
    blas_product *forward, *data, *weight; /* NULL: not wanted */
} linear_state;

typedef struct linear_shape {
    int64_t rows;
    int in, out;
    sc_cuda_type x, y, z;
    bool activation, own_z, own_dz; /* z, dz apart from y, dy */
    const sc_node_param *w, *bias;  /* bias may be NULL */
} linear_shape;

static linear_shape shape_of(const cuda_device *d, const sc_op_node *n)
{
    linear_shape s = {.rows = cuda_rows(&n->in[0].desc),
                      .in = cuda_width(&n->in[0].desc),
                      .out = cuda_width(&n->out[0].desc),
                      .x = cuda_type(d, &n->in[0].desc),
                      .y = cuda_type(d, &n->out[0].desc),
                      .activation = n->attrs.activation != SC_NO_ACTIVATION,
                      .w = &n->params[0],
                      .bias = n->n_params > 1 ? &n->params[1] : NULL};
    s.z = s.x == SC_CUDA_BF16 ? s.y : SC_CUDA_F32;
    s.own_z = s.activation || s.z != s.y;
    s.own_dz = s.activation || s.x != s.y;
    return s;
}
static size_t array_bytes(int64_t count, sc_cuda_type type)
{
    return cuda_align((size_t)count * (type == SC_CUDA_BF16 ? 2 : sizeof(float)));
}
static char *workspace_of(const sc_op_node *n)
{
    return (char *)cuda_align((size_t)(uintptr_t)n->scratch);
}
static char *after_workspace(const sc_op_node *n)
{
    return workspace_of(n) + BLAS_WORKSPACE;
}
static void *z_of(const sc_op_node *n, const linear_shape *s)
{
    if (!s->own_z)
        return n->out[0].data;
    return s->activation && n->training ? n->saved : after_workspace(n);
}
static void *dz_of(const sc_op_node *n, const linear_shape *s)
{
    return s->own_dz ? (void *)after_workspace(n) : n->out[0].grad;
}

static sc_status linear_memory(cuda_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    const linear_shape s = shape_of(d, n);
    const size_t z = array_bytes(s.rows * s.out, s.z), dz = array_bytes(s.rows * s.out, s.x);
    *saved = s.activation && n->training ? z : 0;
    *scratch = 256 + BLAS_WORKSPACE + (z > dz ? z : dz);
    return SC_OK;
}

static void linear_release(cuda_device *d, void *state)
{
    linear_state *l = state;
    blas_product_free(d->blas, l->forward);
    blas_product_free(d->blas, l->data);
    blas_product_free(d->blas, l->weight);
    free(l);
}
/* In memory the weight is in x out (PyTorch's [out, in]) or out x in, column by column. */
static sc_status make_products(cuda_device *d, const sc_op_node *n, const linear_shape *s,
                               linear_state *l)
{
    const bool transposed = n->attrs.transposed;
    const void *weight = s->w->value, *bias = NULL;
    if (s->x == SC_CUDA_BF16)
        SC_TRY(cuda_weight_prepare(d, s->w, &weight));
    if (s->bias != NULL) {
        bias = s->bias->value;
        if (s->z == SC_CUDA_BF16)
            SC_TRY(cuda_weight_prepare(d, s->bias, &bias));
    }
    if (d->absent != NULL)
        return SC_OK;
    blas_matrix w = {weight, s->x, transposed ? s->out : s->in, transposed ? s->in : s->out,
                     !transposed};
    blas_matrix x = {n->in[0].data, s->x, s->in, s->rows, false};
    blas_matrix dz = {dz_of(n, s), s->x, s->out, s->rows, false};
    const blas_matrix z = {z_of(n, s), s->z, s->out, s->rows, false};
    SC_TRY(blas_product_new(d->blas, &w, &x, &z, false, bias, &l->forward));
    if (n->in[0].grad != NULL) {
        const blas_matrix dx = {n->in[0].grad, s->x, s->in, s->rows, false};
        w.turned = transposed;
        SC_TRY(blas_product_new(d->blas, &w, &dz, &dx, n->in[0].accumulate, NULL, &l->data));
    }
    if (s->w->grad == NULL)
        return SC_OK;
    const blas_matrix dw = {s->w->grad, SC_CUDA_F32, w.rows, w.cols, false};
    x.turned = transposed;
    dz.turned = !transposed;
    return transposed ? blas_product_new(d->blas, &dz, &x, &dw, false, NULL, &l->weight)
                      : blas_product_new(d->blas, &x, &dz, &dw, false, NULL, &l->weight);
}
static sc_status linear_prepare(cuda_device *d, const sc_op_node *n, void **state)
{
    const linear_shape s = shape_of(d, n);
    sc_status status = SC_OK;
    SC_TRY(cuda_blas(d));
    linear_state *l = sc_alloc(1, sizeof *l);
    if (l == NULL)
        return SC_ENOMEM;
    if (s.rows > 0)
        status = make_products(d, n, &s, l);
    if (status == SC_OK)
        *state = l;
    else
        linear_release(d, l);
    return status;
}

static sc_status linear_forward(cuda_device *d, const sc_op_node *n, void *state)
{
    const linear_state *l = state;
    const linear_shape s = shape_of(d, n);
    if (l->forward == NULL)
        return SC_OK;
    if (s.x == SC_CUDA_BF16)
        SC_TRY(cuda_weight_refresh(d, s.w));
    if (s.bias != NULL && s.z == SC_CUDA_BF16)
        SC_TRY(cuda_weight_refresh(d, s.bias));
    SC_TRY(blas_product_run(d->blas, l->forward, workspace_of(n), d->stream));
    const sc_cuda_in z = {z_of(n, &s), s.z};
    if (s.activation)
        return cuda_check(sc_cuda_activate(d->stream, cuda_activation(n), z,
                                           cuda_out(d, &n->out[0]), s.rows * s.out),
                          "linear");
    if (s.own_z)
        return cuda_check(sc_cuda_convert(d->stream, z, cuda_out(d, &n->out[0]), s.rows * s.out),
                          "linear");
    return SC_OK;
}
static sc_status make_dz(cuda_device *d, const sc_op_node *n, const linear_shape *s)
{
    const sc_cuda_in dy = cuda_grad_in(d, &n->out[0]);
    const sc_cuda_out dz = {dz_of(n, s), s->x, false};
    if (s->activation)
        return cuda_check(sc_cuda_activate_back(d->stream, cuda_activation(n), dy,
                                                (sc_cuda_in){z_of(n, s), s->z}, dz,
                                                s->rows * s->out),
                          "linear");
    return s->own_dz ? cuda_check(sc_cuda_convert(d->stream, dy, dz, s->rows * s->out), "linear")
                     : SC_OK;
}
static sc_status zero_param(cuda_device *d, const sc_node_param *p)
{
    if (p == NULL || p->grad == NULL)
        return SC_OK;
    return cuda_check(
        sc_cuda_zero(d->stream, p->grad, cuda_param_elements(&d->head, &p->desc) * sizeof(float)),
        "linear");
}
static sc_status linear_backward(cuda_device *d, const sc_op_node *n, void *state)
{
    const linear_state *l = state;
    const linear_shape s = shape_of(d, n);
    if (s.rows == 0) {
        SC_TRY(zero_param(d, s.w));
        return zero_param(d, s.bias);
    }
    SC_TRY(make_dz(d, n, &s));
    if (l->data != NULL)
        SC_TRY(blas_product_run(d->blas, l->data, workspace_of(n), d->stream));
    if (l->weight != NULL)
        SC_TRY(blas_product_run(d->blas, l->weight, workspace_of(n), d->stream));
    if (s.bias == NULL || s.bias->grad == NULL)
        return SC_OK;
    return cuda_check(sc_cuda_column_sum(d->stream, (sc_cuda_in){dz_of(n, &s), s.x}, s.bias->grad,
                                         s.rows, s.out, (double *)workspace_of(n)),
                      "linear");
}
static const cuda_bound linear_bound = {linear_prepare, linear_release, linear_forward,
                                        linear_backward};
const cuda_op cuda_op_linear = {.memory = linear_memory, .bound = &linear_bound};
