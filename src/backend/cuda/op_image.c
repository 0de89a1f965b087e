/* Ops on images: augment, batch_norm, the pools. */
#include "cuda.h"

/* ---- augment: scratch = partial grey sums ---- */
static sc_status augment_memory(cuda_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d;
    (void)saved;
    *scratch = (size_t)n->in[0].desc.shape.d[0] * SC_CUDA_GREY_PARTS * sizeof(uint64_t);
    return SC_OK;
}
static sc_status augment_forward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_augment a = {.rows = n->in[0].data,
                               .draws = n->in[1].data,
                               .table = d->table,
                               .sums = n->scratch,
                               .fault = &d->faults[FAULT_AUGMENT],
                               .n = n->in[0].desc.shape.d[0],
                               .side = (int)n->in[0].desc.shape.d[1],
                               .crop = n->attrs.crop,
                               .channels = (int)cuda_round8(3)};
    return cuda_check(
        sc_cuda_augment_run(d->stream, &a, n->out[0].data, cuda_type(d, &n->out[0].desc)),
        "augment");
}
const cuda_op cuda_op_augment = {augment_memory, augment_forward, NULL, NULL};

/* ---- batch_norm ----
 * saved: count, mean, lost, rstd, the ReLU's bits. scratch: scale, shift, slope, parts, pairs. */
static int padded_channels(const sc_op_node *n)
{
    return (int)cuda_round8(n->in[0].desc.shape.d[1]);
}
static int64_t plane_of(const sc_value_desc *v)
{
    return v->shape.d[2] * v->shape.d[3];
}
static size_t vector_bytes(const sc_op_node *n)
{
    return cuda_align((size_t)padded_channels(n) * sizeof(float));
}
static size_t pair_doubles(const sc_op_node *n)
{
    return 2 * (size_t)padded_channels(n) + 1;
}
static size_t part_bytes(const sc_op_node *n)
{
    const int channels = padded_channels(n);
    const int64_t rows = n->in[0].desc.shape.d[0] * plane_of(&n->in[0].desc);
    return cuda_align((size_t)sc_cuda_bn_splits(rows, channels) * 3 * (size_t)channels *
                      sizeof(float));
}
static sc_status bn_memory(cuda_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    const size_t pairs = pair_doubles(n) * (size_t)n->comm->size * sizeof(double);
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i].desc.kind != n->out[0].desc.kind || !cuda_image(&n->in[i].desc))
            return sc_fail(SC_EUNSUPPORTED, "cuda: batch_norm of mixed value kinds");
    *saved = cuda_align(sizeof(double)) + 3 * vector_bytes(n);
    if (n->attrs.relu)
        *saved += (size_t)cuda_stored(&n->in[0].desc) / 8;
    *scratch = 3 * vector_bytes(n) + part_bytes(n) + pairs;
    return cuda_reserve_staging(d, pairs);
}
static sc_cuda_bn bn_of(const cuda_device *d, const sc_op_node *n)
{
    const size_t vector = vector_bytes(n);
    char *saved = n->saved, *work = n->scratch;
    sc_cuda_bn b = {.type = cuda_type(d, &n->in[0].desc),
                    .rows = n->in[0].desc.shape.d[0] * plane_of(&n->in[0].desc),
                    .channels = padded_channels(n),
                    .relu = n->attrs.relu,
                    .batch = n->training && !n->attrs.running,
                    .x = n->in[0].data,
                    .residual = n->n_in > 1 ? n->in[1].data : NULL,
                    .dy = n->out[0].grad,
                    .y = n->out[0].data,
                    .dx = cuda_grad_out(d, &n->in[0]),
                    .weight = n->params[0].value,
                    .bias = n->params[1].value,
                    .running_mean = n->params[2].value,
                    .running_var = n->params[3].value,
                    .dweight = n->params[0].grad,
                    .dbias = n->params[1].grad,
                    .eps = n->attrs.eps,
                    .momentum = n->attrs.momentum,
                    .rank = n->comm->rank,
                    .ranks = n->comm->size};
    if (n->n_in > 1)
        b.dresidual = cuda_grad_out(d, &n->in[1]);
    b.count = (double *)saved;
    saved += cuda_align(sizeof(double));
    b.mean = (float *)saved;
    b.lost = (float *)(saved + vector);
    b.rstd = (float *)(saved + 2 * vector);
    if (n->attrs.relu && n->training)
        b.mask = (uint8_t *)saved + 3 * vector;
    b.scale = (float *)work;
    b.shift = (float *)(work + vector);
    b.slope = (float *)(work + 2 * vector);
    b.parts = (float *)(work + 3 * vector);
    b.pairs = (double *)(work + 3 * vector + part_bytes(n));
    return b;
}
static sc_status gather_pairs(cuda_device *d, const sc_op_node *n, const sc_cuda_bn *b)
{
    /* Sums of disjoint pieces: no array of counts has to be kept. */
    const size_t count = pair_doubles(n), all = count * (size_t)n->comm->size;
    const size_t before = count * (size_t)b->rank;
    CUDA_TRY(sc_cuda_zero(d->stream, b->pairs, before * sizeof(double)), "clearing");
    CUDA_TRY(
        sc_cuda_zero(d->stream, b->pairs + before + count, (all - before - count) * sizeof(double)),
        "clearing");
    return cuda_all_reduce(d, n->comm, b->pairs, all);
}
static sc_status bn_forward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_bn b = bn_of(d, n);
    if (!b.batch) {
        CUDA_TRY(sc_cuda_bn_running(d->stream, &b), "batch_norm");
    } else {
        CUDA_TRY(sc_cuda_bn_stats(d->stream, &b), "batch_norm");
        if (b.ranks == 1) {
            CUDA_TRY(sc_cuda_bn_join_settle(d->stream, &b), "batch_norm");
        } else {
            CUDA_TRY(sc_cuda_bn_join(d->stream, &b), "batch_norm");
            SC_TRY(gather_pairs(d, n, &b));
            CUDA_TRY(sc_cuda_bn_settle(d->stream, &b), "batch_norm");
        }
    }
    return cuda_check(sc_cuda_bn_apply(d->stream, &b), "batch_norm");
}
static sc_status bn_backward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_bn b = bn_of(d, n);
    const bool together = b.batch && b.ranks > 1;
    CUDA_TRY(sc_cuda_bn_back_sums(d->stream, &b), "batch_norm");
    CUDA_TRY(sc_cuda_bn_back_join(d->stream, &b, !together), "batch_norm");
    if (together) {
        SC_TRY(cuda_all_reduce(d, n->comm, b.pairs, 2 * (size_t)b.channels));
        CUDA_TRY(sc_cuda_bn_back_settle(d->stream, &b), "batch_norm");
    }
    return cuda_check(sc_cuda_bn_back_apply(d->stream, &b), "batch_norm");
}
const cuda_op cuda_op_batch_norm = {bn_memory, bn_forward, bn_backward, NULL};

/* ---- pools ---- */
static sc_cuda_pool pool_of(const cuda_device *d, const sc_op_node *n)
{
    const int64_t *x = n->in[0].desc.shape.d, *y = n->out[0].desc.shape.d;
    const bool window = n->op == SC_OP_MAX_POOL;
    return (sc_cuda_pool){.type = cuda_type(d, &n->in[0].desc),
                          .n = x[0],
                          .channels = (int)cuda_round8(x[1]),
                          .h = (int)x[2],
                          .w = (int)x[3],
                          .oh = window ? (int)y[2] : 1,
                          .ow = window ? (int)y[3] : 1,
                          .kernel = n->attrs.kernel,
                          .stride = n->attrs.stride,
                          .pad = n->attrs.pad};
}
static sc_status max_memory(cuda_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d;
    (void)scratch;
    if (n->attrs.kernel > 16 || n->in[0].desc.kind != n->out[0].desc.kind)
        return sc_fail(SC_EUNSUPPORTED, "cuda: max_pool with windows of %d px or mixed kinds",
                       n->attrs.kernel);
    *saved = (size_t)cuda_stored(&n->out[0].desc);
    return SC_OK;
}
static sc_status max_forward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_pool p = pool_of(d, n);
    return cuda_check(sc_cuda_max_pool(d->stream, &p, n->in[0].data, n->out[0].data,
                                       n->training ? n->saved : NULL),
                      "max_pool");
}
static sc_status max_backward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_pool p = pool_of(d, n);
    if (n->in[0].grad == NULL)
        return SC_OK;
    return cuda_check(
        sc_cuda_max_pool_back(d->stream, &p, n->out[0].grad, n->saved, cuda_grad_out(d, &n->in[0])),
        "max_pool");
}
const cuda_op cuda_op_max_pool = {max_memory, max_forward, max_backward, NULL};

static sc_status avg_forward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_pool p = pool_of(d, n);
    return cuda_check(sc_cuda_avg_pool(d->stream, &p, cuda_width(&n->out[0].desc), n->in[0].data,
                                       cuda_out(d, &n->out[0])),
                      "avg_pool");
}
static sc_status avg_backward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_pool p = pool_of(d, n);
    if (n->in[0].grad == NULL)
        return SC_OK;
    return cuda_check(sc_cuda_avg_pool_back(d->stream, &p, cuda_width(&n->out[0].desc),
                                            cuda_grad_in(d, &n->out[0]),
                                            cuda_grad_out(d, &n->in[0])),
                      "avg_pool");
}
const cuda_op cuda_op_avg_pool = {NULL, avg_forward, avg_backward, NULL};
