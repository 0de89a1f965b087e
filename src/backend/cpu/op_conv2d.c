/* conv2d on blocked activations. Each direction goes one of these ways: in bfloat16 by our Winograd
 * kernels where the shape is theirs (never in fp32, which promises IEEE sums); by our direct ones
 * (direct.h, wgrad.h) where the processor has AVX-512; by oneDNN. Scratch: the most that one of
 * them takes.
 */
#include "conv_onednn.h"
#include "cpu.h"
#include "direct.h"
#include "wgrad.h"
#include "winograd.h"

#include <stdlib.h>

typedef enum conv_way { WAY_NONE, WAY_WINOGRAD, WAY_DIRECT, WAY_ONEDNN } conv_way;
typedef struct conv {
    conv_way forward, data, weights;
    cpu_wino_shape there, back; /* forward, and from the output to the input */
    cpu_direct direct, direct_back;
    cpu_wgrad_shape gradient;
    cpu_copy *forward_copy, *data_copy; /* of Winograd and direct; NULL: the parameter is read */
    cpu_onednn_conv onednn;
} conv;

static bool empty(const sc_op_node *n)
{
    return n->out[0].desc.shape.d[0] == 0;
}
static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* ---- Winograd ---- */
static bool wino_uses(const cpu_device *d, const sc_op_node *n, cpu_wino_direction way)
{
    const sc_attrs *a = &n->attrs;
    return d->k.wino && !d->direct_only && a->kernel == 3 && a->stride == 1 && a->pad == 1 &&
           n->n_params == 1 && cpu_bf16(d, &n->in[0].desc) && cpu_blocked(&n->in[0].desc) &&
           cpu_blocked(&n->out[0].desc) &&
           cpu_wino_pays(way, n->in[0].desc.shape.d, n->out[0].desc.shape.d);
}
static cpu_wino_shape wino_shape(const cpu_device *d, const sc_op_node *n, bool turned)
{
    const int64_t *x = n->in[0].desc.shape.d;
    int64_t ci = cpu_channels(&n->in[0].desc) / 16, co = cpu_channels(&n->out[0].desc) / 16;
    return (cpu_wino_shape){x[0], turned ? co : ci, turned ? ci : co, x[2], x[3], d->head.threads};
}
static cpu_wino_shape weight_shape(const sc_node_param *p, bool turned)
{
    int64_t co = cpu_round16(p->desc.shape.d[0]) / 16, ci = cpu_round16(p->desc.shape.d[1]) / 16;
    return (cpu_wino_shape){.ci = turned ? co : ci, .co = turned ? ci : co};
}
static void fill_weights(cpu_device *d, const sc_node_param *p, void *data)
{
    cpu_wino_shape s = weight_shape(p, false);
    cpu_wino_weights(d->k.wino, &s, p->value, false, data);
}
static void fill_turned(cpu_device *d, const sc_node_param *p, void *data)
{
    cpu_wino_shape s = weight_shape(p, true);
    cpu_wino_weights(d->k.wino, &s, p->value, true, data);
}
static sc_status wino_copy(cpu_device *d, const sc_op_node *n, bool turned, cpu_copy **out)
{
    cpu_wino_shape s = weight_shape(&n->params[0], turned);
    return cpu_copy_make(d, &n->params[0], turned ? fill_turned : fill_weights,
                         (size_t)cpu_wino_weight_elements(&s) * sizeof(uint16_t), out);
}
/* ---- our weight gradient ---- */
static bool own_uses(const cpu_device *d, const sc_op_node *n)
{
    const sc_value_desc *x = &n->in[0].desc, *y = &n->out[0].desc;
    const bool bf = cpu_bf16(d, y);
    return d->k.wgrad && (!bf || d->k.wgrad->tile_pairs) && cpu_blocked(y) && cpu_bf16(d, x) == bf;
}
static cpu_wgrad_shape own_shape(const cpu_device *d, const sc_op_node *n)
{
    const sc_value_desc *x = &n->in[0].desc, *y = &n->out[0].desc;
    const bool blocked = cpu_blocked(x);
    return (cpu_wgrad_shape){.n = x->shape.d[0],
                             .ci = blocked ? cpu_channels(x) / 16 : 1,
                             .co = cpu_channels(y) / 16,
                             .planes = blocked ? 0 : x->shape.d[1],
                             .h = x->shape.d[2],
                             .w = x->shape.d[3],
                             .oh = y->shape.d[2],
                             .ow = y->shape.d[3],
                             .kernel = n->attrs.kernel,
                             .stride = n->attrs.stride,
                             .pad = n->attrs.pad,
                             .bf = cpu_bf16(d, y),
                             .threads = d->head.threads};
}

/* ---- our direct convolutions ---- */
static bool direct_plan(const cpu_device *d, const sc_op_node *n, bool backward, cpu_direct *out)
{
    const sc_value_desc *x = &n->in[0].desc, *y = &n->out[0].desc;
    cpu_direct_layer l = {.bf = cpu_bf16(d, y),
                          .kernel = n->attrs.kernel,
                          .stride = n->attrs.stride,
                          .pad = n->attrs.pad};
    for (int i = 0; i < 4; i++) {
        l.x[i] = x->shape.d[i];
        l.y[i] = y->shape.d[i];
    }
    return cpu_bf16(d, x) == l.bf && cpu_direct_plan(d->k.direct, &l, backward, out);
}
/* A weight's shape; [O, C] is a kernel of one tap. */
static void weight_dims(const sc_node_param *p, int64_t out[4])
{
    for (int i = 0; i < 4; i++)
        out[i] = i < p->desc.shape.n ? p->desc.shape.d[i] : 1;
}
static void fill_direct(cpu_device *d, const sc_node_param *p, void *data)
{
    int64_t shape[4];
    weight_dims(p, shape);
    cpu_direct_weights(d->k.direct, shape, data, p->value);
}
static void fill_back(cpu_device *d, const sc_node_param *p, int stride, void *data)
{
    int64_t shape[4];
    weight_dims(p, shape);
    cpu_direct_weights_back(d->k.direct, shape, d->head.precision == SC_BF16_MIXED, stride, data,
                            p->value);
}
static void fill_back_1(cpu_device *d, const sc_node_param *p, void *data)
{
    fill_back(d, p, 1, data);
}
static void fill_back_2(cpu_device *d, const sc_node_param *p, void *data)
{
    fill_back(d, p, 2, data);
}
static sc_status direct_copy(cpu_device *d, const sc_op_node *n, const cpu_direct *p, bool backward,
                             cpu_copy **out)
{
    if (!backward && !p->bf) /* the parameter itself */
        return SC_OK;
    return cpu_copy_make(d, &n->params[0],
                         !backward              ? fill_direct
                         : n->attrs.stride == 1 ? fill_back_1
                                                : fill_back_2,
                         cpu_direct_weight_bytes(p), out);
}

/* ---- the op ---- */
static void choose_ways(cpu_device *d, const sc_op_node *n, conv *c)
{
    const bool bias = n->n_params > 1 && n->params[1].grad;
    const bool data = n->training && n->in[0].grad,
               weights = n->training && (n->params[0].grad || bias);
    c->there = wino_shape(d, n, false);
    c->back = wino_shape(d, n, true);
    c->gradient = own_shape(d, n);
    c->forward = wino_uses(d, n, CPU_WINO_FORWARD)      ? WAY_WINOGRAD
                 : direct_plan(d, n, false, &c->direct) ? WAY_DIRECT
                                                        : WAY_ONEDNN;
    c->data = !data                                      ? WAY_NONE
              : wino_uses(d, n, CPU_WINO_DATA)           ? WAY_WINOGRAD
              : direct_plan(d, n, true, &c->direct_back) ? WAY_DIRECT
                                                         : WAY_ONEDNN;
    c->weights = !weights                            ? WAY_NONE
                 : wino_uses(d, n, CPU_WINO_WEIGHTS) ? WAY_WINOGRAD
                 : own_uses(d, n)                    ? WAY_DIRECT
                                                     : WAY_ONEDNN;
}
static cpu_onednn_ways onednn_ways(const conv *c)
{
    return (cpu_onednn_ways){c->forward == WAY_ONEDNN, c->data == WAY_ONEDNN,
                             c->weights == WAY_ONEDNN};
}
static sc_status conv_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)saved;
    if (empty(n))
        return SC_OK;
    conv c;
    choose_ways(d, n, &c);
    size_t bytes = 0;
    SC_TRY(cpu_onednn_conv_memory(d, n, onednn_ways(&c), &bytes));
    if (c.forward == WAY_WINOGRAD)
        bytes = larger(bytes, cpu_wino_apply_scratch(&c.there));
    if (c.forward == WAY_DIRECT)
        bytes = larger(bytes, cpu_direct_scratch(&c.direct, d->head.threads));
    if (c.data == WAY_WINOGRAD)
        bytes = larger(bytes, cpu_wino_apply_scratch(&c.back));
    if (c.data == WAY_DIRECT)
        bytes = larger(bytes, cpu_direct_scratch(&c.direct_back, d->head.threads));
    if (c.weights == WAY_WINOGRAD)
        bytes = larger(bytes, cpu_wino_gradient_scratch(&c.there));
    if (c.weights == WAY_DIRECT)
        bytes = larger(bytes, cpu_wgrad_scratch(&c.gradient));
    *scratch = bytes;
    return SC_OK;
}

static void conv_release(cpu_device *d, void *state)
{
    (void)d;
    conv *c = state;
    cpu_onednn_conv_release(&c->onednn);
    free(c);
}
static sc_status prepare_ways(cpu_device *d, const sc_op_node *n, conv *c)
{
    if (c->forward == WAY_WINOGRAD)
        SC_TRY(wino_copy(d, n, false, &c->forward_copy));
    if (c->forward == WAY_DIRECT)
        SC_TRY(direct_copy(d, n, &c->direct, false, &c->forward_copy));
    if (c->data == WAY_WINOGRAD)
        SC_TRY(wino_copy(d, n, true, &c->data_copy));
    if (c->data == WAY_DIRECT)
        SC_TRY(direct_copy(d, n, &c->direct_back, true, &c->data_copy));
    return cpu_onednn_conv_prepare(d, n, onednn_ways(c), &c->onednn);
}
static sc_status conv_prepare(cpu_device *d, const sc_op_node *n, void **state)
{
    *state = NULL;
    conv *c = sc_alloc(1, sizeof *c);
    if (!c)
        return SC_ENOMEM;
    if (!empty(n)) {
        choose_ways(d, n, c);
        if (!n->out[0].grad)
            c->data = c->weights = WAY_NONE;
        sc_status status = prepare_ways(d, n, c);
        if (status != SC_OK) {
            conv_release(d, c);
            return status;
        }
    }
    *state = c;
    return SC_OK;
}

static const float *bias_of(const sc_op_node *n)
{
    return n->n_params > 1 ? n->params[1].value : NULL;
}
static const void *weights_of(const sc_op_node *n, const cpu_copy *copy)
{
    return copy ? cpu_copy_data(copy) : n->params[0].value;
}
static sc_status conv_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    conv *c = state;
    if (empty(n))
        return SC_OK;
    if (c->forward_copy)
        SC_TRY(cpu_copy_refresh(d, &n->params[0], c->forward_copy));
    if (c->forward == WAY_ONEDNN)
        return cpu_onednn_conv_forward(d, n, &c->onednn);
    if (c->forward == WAY_WINOGRAD)
        cpu_wino_apply(d->k.wino, &c->there, n->in[0].data, cpu_copy_data(c->forward_copy),
                       n->out[0].data, false, n->scratch);
    else
        cpu_direct_apply(&c->direct, n->in[0].data, weights_of(n, c->forward_copy), bias_of(n),
                         n->out[0].data, false, n->scratch);
    return SC_OK;
}

static void no_gradient(cpu_device *d, const sc_op_node *n)
{
    for (int i = 0; i < n->n_params; i++)
        if (n->params[i].grad)
            cpu_zero(n->params[i].grad,
                     cpu_param_elements(&d->head, &n->params[i].desc) * sizeof(float));
}
static sc_status backward_weights(cpu_device *d, const sc_op_node *n, conv *c)
{
    if (c->weights == WAY_ONEDNN)
        return cpu_onednn_conv_weights(d, &c->onednn);
    if (c->weights == WAY_WINOGRAD)
        cpu_wino_gradient(d->k.wino, &c->there, n->in[0].data, n->out[0].grad, n->params[0].grad,
                          n->scratch);
    if (c->weights == WAY_DIRECT && n->params[0].grad)
        cpu_wgrad(d->k.wgrad, &c->gradient, n->in[0].data, n->out[0].grad, n->params[0].grad,
                  n->scratch);
    if (c->weights == WAY_DIRECT && n->n_params > 1 && n->params[1].grad)
        cpu_wgrad_bias(&d->k, &c->gradient, n->out[0].grad, n->params[1].grad);
    return SC_OK;
}
static sc_status conv_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    conv *c = state;
    if (empty(n)) {
        no_gradient(d, n);
        return SC_OK;
    }
    SC_TRY(backward_weights(d, n, c));
    if (c->data_copy)
        SC_TRY(cpu_copy_refresh(d, &n->params[0], c->data_copy));
    if (c->data == WAY_ONEDNN)
        return cpu_onednn_conv_data(d, n, &c->onednn);
    if (c->data == WAY_WINOGRAD)
        cpu_wino_apply(d->k.wino, &c->back, n->out[0].grad, cpu_copy_data(c->data_copy),
                       n->in[0].grad, n->in[0].accumulate, n->scratch);
    if (c->data == WAY_DIRECT)
        cpu_direct_apply(&c->direct_back, n->out[0].grad, cpu_copy_data(c->data_copy), NULL,
                         n->in[0].grad, n->in[0].accumulate, n->scratch);
    return SC_OK;
}

/* 16 products for 4 pixels instead of 36, of whole tiles. */
double cpu_conv2d_work(const sc_op_node *n, const void *state, bool backward)
{
    const conv *c = state;
    const int64_t *y = n->out[0].desc.shape.d;
    double tiles = (double)((y[2] + 1) / 2 * ((y[3] + 1) / 2)),
           share = 16 * tiles / (9.0 * (double)(y[2] * y[3]));
    if (!backward)
        return c->forward == WAY_WINOGRAD ? share : 1;
    int ways = (n->in[0].grad != NULL) + (n->params[0].grad != NULL);
    return ways
               ? (ways - ((c->data == WAY_WINOGRAD) + (c->weights == WAY_WINOGRAD)) * (1 - share)) /
                     ways
               : 1;
}

const cpu_op cpu_op_conv2d = {conv_memory, conv_prepare, conv_release, conv_forward, conv_backward};
