/* Ops of token sequences and the loss: embed, prepend, select_row, attention, superclip_loss. */
#include "cuda.h"

/* ---- embed: packed tokens are rows of one ---- */
static const int32_t *places_of(const sc_op_node *n)
{
    return n->n_in > 1 ? n->in[1].data : NULL;
}
static int columns_of(const sc_op_node *n)
{
    return n->n_in > 1 ? 1 : (int)n->in[0].desc.shape.d[1];
}
static sc_status embed_forward(cuda_device *d, const sc_op_node *n)
{
    return cuda_check(sc_cuda_embed(d->stream, n->in[0].data, places_of(n), n->params[0].value,
                                    n->params[1].value, n->n_params > 2 ? n->params[2].value : NULL,
                                    n->out[0].data, n->in[0].desc.shape.d[0], columns_of(n),
                                    cuda_width(&n->out[0].desc), (int)n->params[0].desc.shape.d[0],
                                    (int)n->params[1].desc.shape.d[0], &d->faults[FAULT_EMBED]),
                      "embed");
}
static sc_status embed_memory(cuda_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d, (void)saved;
    if (n->n_params > 2)
        *scratch = sc_cuda_column_parts(cuda_rows(&n->out[0].desc), cuda_width(&n->out[0].desc), 1);
    return SC_OK;
}
/* Row 0 is added everywhere; the others never. */
static sc_status types_backward(cuda_device *d, const sc_op_node *n)
{
    const sc_node_param *types = &n->params[2];
    if (types->grad == NULL)
        return SC_OK;
    CUDA_TRY(sc_cuda_zero(d->stream, types->grad,
                          cuda_param_elements(&d->head, &types->desc) * sizeof(float)),
             "embed");
    return cuda_check(sc_cuda_column_sum(d->stream, cuda_grad_in(d, &n->out[0]), types->grad,
                                         cuda_rows(&n->out[0].desc), cuda_width(&n->out[0].desc),
                                         n->scratch),
                      "embed");
}
static sc_status embed_backward(cuda_device *d, const sc_op_node *n)
{
    const sc_node_param *table = &n->params[0];
    if (table->grad != NULL)
        CUDA_TRY(sc_cuda_zero(d->stream, table->grad,
                              cuda_param_elements(&d->head, &table->desc) * sizeof(float)),
                 "embed");
    if (n->n_params > 2)
        SC_TRY(types_backward(d, n));
    return cuda_check(sc_cuda_embed_back(d->stream, n->in[0].data, places_of(n), n->out[0].grad,
                                         table->grad, n->params[1].grad, n->in[0].desc.shape.d[0],
                                         columns_of(n), cuda_width(&n->out[0].desc),
                                         (int)table->desc.shape.d[0],
                                         (int)n->params[1].desc.shape.d[0]),
                      "embed");
}
const cuda_op cuda_op_embed = {embed_memory, embed_forward, embed_backward, NULL};

/* ---- prepend: the rows of x are a sequence's, or an image's pixels, which lie as rows too ---- */
typedef struct prepend_shape {
    int64_t texts;
    int length, width, step; /* step: from row to row of x */
} prepend_shape;
static prepend_shape prepend_of(const sc_op_node *n)
{
    const int64_t *y = n->out[0].desc.shape.d;
    const bool image = cuda_image(&n->in[0].desc);
    return (prepend_shape){y[0], (int)y[1] - 1, (int)y[2], (int)(image ? cuda_round8(y[2]) : y[2])};
}
static sc_status prepend_forward(cuda_device *d, const sc_op_node *n)
{
    const prepend_shape s = prepend_of(n);
    return cuda_check(sc_cuda_prepend(d->stream, cuda_in(d, &n->in[0]), n->params[0].value,
                                      n->params[1].value, n->out[0].data, s.texts, s.length,
                                      s.width, s.step),
                      "prepend");
}
static sc_status prepend_backward(cuda_device *d, const sc_op_node *n)
{
    const prepend_shape s = prepend_of(n);
    return cuda_check(sc_cuda_prepend_back(d->stream, n->out[0].grad, cuda_grad_out(d, &n->in[0]),
                                           n->params[0].grad, n->params[1].grad, s.texts, s.length,
                                           s.width, s.step),
                      "prepend");
}
const cuda_op cuda_op_prepend = {NULL, prepend_forward, prepend_backward, NULL};

/* ---- select_row ---- */
static const int32_t *select_index(const sc_op_node *n)
{
    return n->n_in > 1 ? n->in[1].data : NULL;
}
static sc_status select_forward(cuda_device *d, const sc_op_node *n)
{
    const int64_t *x = n->in[0].desc.shape.d;
    if (n->in[0].desc.shape.n == 2)
        return cuda_check(sc_cuda_pick_rows(d->stream, cuda_in(d, &n->in[0]), select_index(n),
                                            cuda_out(d, &n->out[0]), n->out[0].desc.shape.d[0],
                                            x[0], (int)x[1], &d->faults[FAULT_SELECT]),
                          "select_row");
    return cuda_check(sc_cuda_select_row(d->stream, cuda_in(d, &n->in[0]), select_index(n),
                                         cuda_out(d, &n->out[0]), x[0], (int)x[1], (int)x[2],
                                         &d->faults[FAULT_SELECT]),
                      "select_row");
}
static sc_status select_backward(cuda_device *d, const sc_op_node *n)
{
    const int64_t *x = n->in[0].desc.shape.d;
    if (n->in[0].grad == NULL)
        return SC_OK;
    if (n->in[0].desc.shape.n == 2)
        return cuda_check(sc_cuda_pick_rows_back(d->stream, cuda_grad_in(d, &n->out[0]),
                                                 select_index(n), cuda_grad_out(d, &n->in[0]),
                                                 n->out[0].desc.shape.d[0], x[0], (int)x[1]),
                          "select_row");
    return cuda_check(sc_cuda_select_row_back(d->stream, cuda_grad_in(d, &n->out[0]),
                                              select_index(n), cuda_grad_out(d, &n->in[0]), x[0],
                                              (int)x[1], (int)x[2]),
                      "select_row");
}
const cuda_op cuda_op_select_row = {NULL, select_forward, select_backward, NULL};

/* ---- attention: saved = log-sum-exps [T][heads][L]; causal over one input, else over all ---- */
static bool causal(const sc_op_node *n)
{
    return n->n_in < 3;
}
static sc_cuda_attention causal_of(const cuda_device *d, const sc_op_node *n)
{
    const int64_t *y = n->out[0].desc.shape.d;
    const bool packed = n->n_in == 2;
    return (sc_cuda_attention){.texts = packed ? n->in[1].desc.shape.d[0] - 1 : y[0],
                               .length = packed ? n->attrs.longest : (int)y[1],
                               .width = cuda_width(&n->out[0].desc),
                               .heads = n->attrs.heads,
                               .begins = packed ? n->in[1].data : NULL,
                               .rows = y[0],
                               .shared = packed ? n->attrs.shared : 0,
                               .lse = n->saved,
                               .owed = n->scratch,
                               .fault = &d->faults[FAULT_ATTENTION]};
}
static size_t full_bytes(const sc_op_node *n)
{
    const int64_t *y = n->out[0].desc.shape.d;
    return (size_t)(y[0] * n->attrs.heads * y[1]) * sizeof(float);
}
static sc_cuda_full_attention full_of(const cuda_device *d, const sc_op_node *n)
{
    const int64_t *y = n->out[0].desc.shape.d;
    return (sc_cuda_full_attention){.texts = y[0],
                                    .length = (int)y[1],
                                    .width = (int)y[2],
                                    .heads = n->attrs.heads,
                                    .type = cuda_type(d, &n->in[0].desc),
                                    .x = {n->in[0].data, n->in[1].data, n->in[2].data},
                                    .last = n->n_in > 3 ? n->in[3].data : NULL,
                                    .lse = n->saved,
                                    .delta = n->scratch,
                                    .fault = &d->faults[FAULT_ATTENTION]};
}
static sc_status attention_memory(cuda_device *d, const sc_op_node *n, size_t *saved,
                                  size_t *scratch)
{
    const int width = cuda_width(&n->out[0].desc), head = width / n->attrs.heads;
    if (head > SC_CUDA_MAX_HEAD)
        return sc_fail(SC_EUNSUPPORTED, "cuda: attention with heads of %d: at most %d", head,
                       SC_CUDA_MAX_HEAD);
    if (!causal(n)) {
        *saved = *scratch = full_bytes(n);
        return SC_OK;
    }
    const sc_cuda_attention a = causal_of(d, n);
    if (a.length > SC_CUDA_MAX_LENGTH)
        return sc_fail(SC_EUNSUPPORTED, "cuda: causal attention over %d tokens: at most %d",
                       a.length, SC_CUDA_MAX_LENGTH);
    const size_t texts = (size_t)sc_cuda_attention_texts(&a);
    *saved = texts * (size_t)(a.heads * a.length) * sizeof(float);
    *scratch = texts * (size_t)a.shared * 2 * (size_t)width * sizeof(float);
    return SC_OK;
}
static sc_status attention_forward(cuda_device *d, const sc_op_node *n)
{
    if (!causal(n)) {
        const sc_cuda_full_attention a = full_of(d, n);
        return cuda_check(sc_cuda_full_attention_run(d->stream, &a, cuda_out(d, &n->out[0])),
                          "attention");
    }
    const sc_cuda_attention a = causal_of(d, n);
    return cuda_check(
        sc_cuda_attention_run(d->stream, &a, cuda_in(d, &n->in[0]), cuda_out(d, &n->out[0])),
        "attention");
}
static sc_status full_backward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_full_attention a = full_of(d, n);
    const sc_cuda_out dx[3] = {cuda_grad_out(d, &n->in[0]), cuda_grad_out(d, &n->in[1]),
                               cuda_grad_out(d, &n->in[2])};
    return cuda_check(sc_cuda_full_attention_back(d->stream, &a, cuda_grad_in(d, &n->out[0]), dx),
                      "attention");
}
static sc_status attention_backward(cuda_device *d, const sc_op_node *n)
{
    if (!causal(n))
        return full_backward(d, n);
    if (n->in[0].grad == NULL)
        return SC_OK;
    const sc_cuda_attention a = causal_of(d, n);
    return cuda_check(sc_cuda_attention_back(d->stream, &a, cuda_in(d, &n->in[0]),
                                             cuda_grad_in(d, &n->out[0]),
                                             cuda_grad_out(d, &n->in[0])),
                      "attention");
}
const cuda_op cuda_op_attention = {attention_memory, attention_forward, attention_backward, NULL};

/* ---- superclip_loss ---- */
static sc_cuda_loss loss_of(const cuda_device *d, const sc_op_node *n)
{
    const sc_loss_attrs *a = &n->attrs.loss;
    return (sc_cuda_loss){.rows = n->in[0].desc.shape.d[0],
                          .classes = n->in[1].desc.shape.d[0],
                          .width = n->in[0].desc.shape.d[1],
                          .x = n->in[0].data,
                          .t = n->in[1].data,
                          .labels = n->in[2].data,
                          .weights = n->in[3].data,
                          .tau = n->params[0].value,
                          .superclip = a->superclip,
                          .focal = a->focal,
                          .multi_positive = a->multi_positive,
                          .class_weight = a->class_weight,
                          .contrastive_weight = a->contrastive_weight,
                          .focal_alpha = a->focal_alpha,
                          .focal_gamma = a->focal_gamma,
                          .tau0 = a->tau0,
                          .saved = n->saved,
                          .work = n->scratch,
                          .fault = &d->faults[FAULT_LOSS]};
}
static sc_status loss_memory(cuda_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    const int64_t rows = n->in[0].desc.shape.d[0], classes = n->in[1].desc.shape.d[0];
    (void)d;
    *saved = sc_cuda_loss_doubles(rows, classes) * sizeof(double);
    *scratch = (size_t)(rows * classes + rows) * sizeof(double);
    return SC_OK;
}
static sc_status loss_forward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_loss l = loss_of(d, n);
    return cuda_check(sc_cuda_loss_forward(d->stream, &l, n->out[0].data, n->out[1].data),
                      "superclip_loss");
}
static sc_status loss_backward(cuda_device *d, const sc_op_node *n)
{
    const sc_cuda_loss l = loss_of(d, n);
    return cuda_check(sc_cuda_loss_backward(d->stream, &l, n->out[0].grad, n->out[1].grad,
                                            cuda_grad_out(d, &n->in[0]),
                                            cuda_grad_out(d, &n->in[1]), n->params[0].grad),
                      "superclip_loss");
}
const cuda_op cuda_op_superclip_loss = {loss_memory, loss_forward, loss_backward, NULL};
