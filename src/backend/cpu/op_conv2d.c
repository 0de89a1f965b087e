/* conv2d on blocked activations: by oneDNN's direct algorithm, or in bfloat16 by our Winograd
 * kernels where the shape is theirs (never in fp32, which promises IEEE sums). The gradient of the
 * weights is ours where the processor has AVX-512 (wgrad.h). Scratch: the largest scratchpad, then
 * a temporary of the input gradient (accumulation) or of the weight gradient (when the processor's
 * layout is not the flat one).
 */
#include "cpu.h"
#include "wgrad.h"
#include "winograd.h"

#include <stdlib.h>
#include <string.h>

typedef struct conv {
    cpu_primitive forward, data, weights, weights_reorder;
    cpu_copy *forward_copy, *data_copy; /* NULL: the parameter itself is read */
    void *data_temporary;               /* gradient to add to in[0].grad, or NULL */
    const cpu_wino_kernels *wino;       /* of the directions that go this way: */
    bool wino_forward, wino_data, wino_weights;
    cpu_wino_shape there, back; /* forward, and from the output to the input */
    bool own_weights;           /* by cpu_wgrad, of `gradient` */
    cpu_wgrad_shape gradient;
} conv;

typedef struct conv_shape {
    dnnl_memory_desc_t x, y, flat, any; /* any: weights in the compute type, layout open */
    dnnl_memory_desc_t bias;
    bool has_bias;
    dnnl_dims_t stride, pad;
} conv_shape;

static conv_shape shape_of(const cpu_device *d, const sc_op_node *n)
{
    conv_shape s;
    memset(&s, 0, sizeof s);
    s.x = cpu_image(d, &n->in[0].desc);
    s.y = cpu_image(d, &n->out[0].desc);
    dnnl_dims_t dims = {s.y.dims[1], s.x.dims[1], n->attrs.kernel, n->attrs.kernel};
    dnnl_memory_desc_init_by_tag(&s.flat, 4, dims, dnnl_f32,
                                 n->in[0].desc.shape.d[1] <= 4 ? dnnl_Ohwi16o : dnnl_OIhw16i16o);
    dnnl_memory_desc_init_by_tag(&s.any, 4, dims, s.x.data_type, dnnl_format_tag_any);
    s.has_bias = n->n_params > 1;
    dnnl_memory_desc_init_by_tag(&s.bias, 1, dims, dnnl_f32, dnnl_a);
    for (int i = 0; i < 2; i++) {
        s.stride[i] = n->attrs.stride;
        s.pad[i] = n->attrs.pad;
    }
    return s;
}

static sc_status make_pd(cpu_device *d, const dnnl_convolution_desc_t *desc,
                         const_dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *pd)
{
    dnnl_primitive_attr_t attr;
    SC_TRY(cpu_attributes(&attr));
    dnnl_status_t st = dnnl_primitive_desc_create(pd, desc, attr, d->engine, hint);
    dnnl_primitive_attr_destroy(attr);
    return cpu_dnnl(st, "convolution");
}
static sc_status forward_pd(cpu_device *d, const sc_op_node *n, const conv_shape *s,
                            dnnl_primitive_desc_t *pd)
{
    dnnl_convolution_desc_t c;
    DNNL_TRY(dnnl_convolution_forward_desc_init(
        &c, n->training ? dnnl_forward_training : dnnl_forward_inference, dnnl_convolution_direct,
        &s->x, &s->any, s->has_bias ? &s->bias : NULL, &s->y, s->stride, s->pad, s->pad));
    return make_pd(d, &c, NULL, pd);
}
static sc_status data_pd(cpu_device *d, const conv_shape *s, const_dnnl_primitive_desc_t hint,
                         dnnl_primitive_desc_t *pd)
{
    dnnl_convolution_desc_t c;
    DNNL_TRY(dnnl_convolution_backward_data_desc_init(&c, dnnl_convolution_direct, &s->x, &s->any,
                                                      &s->y, s->stride, s->pad, s->pad));
    return make_pd(d, &c, hint, pd);
}
static sc_status weights_pd(cpu_device *d, const conv_shape *s, const_dnnl_primitive_desc_t hint,
                            dnnl_primitive_desc_t *pd)
{
    dnnl_convolution_desc_t c;
    dnnl_memory_desc_t any = s->any; /* the gradient is float whatever the operands are */
    any.data_type = dnnl_f32;
    DNNL_TRY(dnnl_convolution_backward_weights_desc_init(&c, dnnl_convolution_direct, &s->x, &any,
                                                         s->has_bias ? &s->bias : NULL, &s->y,
                                                         s->stride, s->pad, s->pad));
    return make_pd(d, &c, hint, pd);
}
static const dnnl_memory_desc_t *weights_md(const_dnnl_primitive_desc_t pd, bool gradient)
{
    return dnnl_primitive_desc_query_md(
        pd, gradient ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
}
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
/* Scratch of the directions that go by Winograd. */
static size_t wino_memory(const cpu_device *d, const sc_op_node *n)
{
    size_t bytes = 0;
    cpu_wino_shape there = wino_shape(d, n, false), back = wino_shape(d, n, true);
    if (wino_uses(d, n, CPU_WINO_FORWARD))
        bytes = larger(bytes, cpu_wino_apply_scratch(&there));
    if (n->training && wino_uses(d, n, CPU_WINO_DATA))
        bytes = larger(bytes, cpu_wino_apply_scratch(&back));
    if (n->training && wino_uses(d, n, CPU_WINO_WEIGHTS))
        bytes = larger(bytes, cpu_wino_gradient_scratch(&there));
    return bytes;
}

/* ---- our weight gradient ---- */
static bool own_uses(const cpu_device *d, const sc_op_node *n)
{
    const sc_value_desc *x = &n->in[0].desc, *y = &n->out[0].desc;
    const bool bf = cpu_bf16(d, y);
    return d->k.wgrad && (!bf || d->k.wgrad->tile_pairs) && cpu_blocked(y) &&
           cpu_bf16(d, x) == bf && !wino_uses(d, n, CPU_WINO_WEIGHTS);
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

static sc_status conv_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)saved;
    if (empty(n))
        return SC_OK;
    conv_shape s = shape_of(d, n);
    dnnl_primitive_desc_t fwd, pd;
    SC_TRY(forward_pd(d, n, &s, &fwd));
    size_t bytes = larger(cpu_align(cpu_scratchpad(fwd)), wino_memory(d, n));
    sc_status status = SC_OK;
    if (n->training) {
        /* No input gradient may be wanted, and then it need not be possible. */
        if (data_pd(d, &s, fwd, &pd) == SC_OK) {
            bytes = larger(bytes, cpu_align(cpu_scratchpad(pd)) +
                                      cpu_value_bytes(&d->head, &n->in[0].desc));
            dnnl_primitive_desc_destroy(pd);
        }
        const cpu_wgrad_shape own = own_shape(d, n);
        if (own_uses(d, n))
            bytes = larger(bytes, cpu_wgrad_scratch(&own));
        else if ((status = weights_pd(d, &s, fwd, &pd)) == SC_OK) {
            size_t temporary = cpu_align(dnnl_memory_desc_get_size(weights_md(pd, true))) +
                               cpu_align(dnnl_memory_desc_get_size(&s.bias));
            bytes = larger(bytes, cpu_align(cpu_scratchpad(pd)) + temporary);
            dnnl_primitive_desc_destroy(pd);
        }
    }
    dnnl_primitive_desc_destroy(fwd);
    *scratch = bytes;
    return status;
}

static void conv_release(cpu_device *d, void *state)
{
    (void)d;
    conv *c = state;
    cpu_primitive_free(&c->forward);
    cpu_primitive_free(&c->data);
    cpu_primitive_free(&c->weights);
    cpu_primitive_free(&c->weights_reorder);
    free(c);
}

/* Weights as the primitive wants them: the parameter itself or a copy of it. */
static sc_status bind_weights(cpu_device *d, const sc_op_node *n, const conv_shape *s,
                              const dnnl_memory_desc_t *want, cpu_primitive *p, cpu_copy **copy)
{
    const void *data = n->params[0].value;
    *copy = NULL;
    if (!dnnl_memory_desc_equal(want, &s->flat)) {
        SC_TRY(cpu_copy_get(d, &n->params[0], &s->flat, want, copy));
        data = cpu_copy_data(*copy);
    }
    return cpu_primitive_bind(d, p, DNNL_ARG_WEIGHTS, want, data);
}
static sc_status prepare_forward(cpu_device *d, const sc_op_node *n, const conv_shape *s, conv *c,
                                 dnnl_primitive_desc_t fwd)
{
    dnnl_memory_desc_t want = *weights_md(fwd, false);
    dnnl_primitive_desc_t pd;
    DNNL_TRY(dnnl_primitive_desc_clone(&pd, fwd));
    SC_TRY(cpu_primitive_make(d, pd, n->scratch, &c->forward));
    SC_TRY(bind_weights(d, n, s, &want, &c->forward, &c->forward_copy));
    if (s->has_bias)
        SC_TRY(cpu_primitive_bind(d, &c->forward, DNNL_ARG_BIAS, &s->bias, n->params[1].value));
    SC_TRY(cpu_primitive_bind(d, &c->forward, DNNL_ARG_SRC, &s->x, n->in[0].data));
    return cpu_primitive_bind(d, &c->forward, DNNL_ARG_DST, &s->y, n->out[0].data);
}
static sc_status prepare_data(cpu_device *d, const sc_op_node *n, const conv_shape *s, conv *c,
                              dnnl_primitive_desc_t fwd)
{
    dnnl_primitive_desc_t pd;
    SC_TRY(data_pd(d, s, fwd, &pd));
    dnnl_memory_desc_t want = *weights_md(pd, false);
    if (n->in[0].accumulate)
        c->data_temporary = (char *)n->scratch + cpu_align(cpu_scratchpad(pd));
    SC_TRY(cpu_primitive_make(d, pd, n->scratch, &c->data));
    SC_TRY(bind_weights(d, n, s, &want, &c->data, &c->data_copy));
    SC_TRY(cpu_primitive_bind(d, &c->data, DNNL_ARG_DIFF_DST, &s->y, n->out[0].grad));
    return cpu_primitive_bind(d, &c->data, DNNL_ARG_DIFF_SRC, &s->x,
                              c->data_temporary ? c->data_temporary : n->in[0].grad);
}
static sc_status prepare_weights(cpu_device *d, const sc_op_node *n, const conv_shape *s, conv *c,
                                 dnnl_primitive_desc_t fwd)
{
    dnnl_primitive_desc_t pd;
    SC_TRY(weights_pd(d, s, fwd, &pd));
    dnnl_memory_desc_t made = *weights_md(pd, true);
    char *temporary = (char *)n->scratch + cpu_align(cpu_scratchpad(pd));
    void *bias_temporary = temporary + cpu_align(dnnl_memory_desc_get_size(&made));
    const bool wanted = n->params[0].grad != NULL; /* else the bias alone is */
    bool direct = wanted && dnnl_memory_desc_equal(&made, &s->flat);
    SC_TRY(cpu_primitive_make(d, pd, n->scratch, &c->weights));
    SC_TRY(cpu_primitive_bind(d, &c->weights, DNNL_ARG_SRC, &s->x, n->in[0].data));
    SC_TRY(cpu_primitive_bind(d, &c->weights, DNNL_ARG_DIFF_DST, &s->y, n->out[0].grad));
    SC_TRY(cpu_primitive_bind(d, &c->weights, DNNL_ARG_DIFF_WEIGHTS, &made,
                              direct ? n->params[0].grad : temporary));
    if (s->has_bias)
        SC_TRY(cpu_primitive_bind(d, &c->weights, DNNL_ARG_DIFF_BIAS, &s->bias,
                                  n->params[1].grad ? n->params[1].grad : bias_temporary));
    if (direct || !wanted)
        return SC_OK;
    DNNL_TRY(dnnl_reorder_primitive_desc_create(&pd, &made, d->engine, &s->flat, d->engine, NULL));
    SC_TRY(cpu_primitive_make(d, pd, NULL, &c->weights_reorder));
    SC_TRY(cpu_primitive_bind(d, &c->weights_reorder, DNNL_ARG_FROM, &made, temporary));
    return cpu_primitive_bind(d, &c->weights_reorder, DNNL_ARG_TO, &s->flat, n->params[0].grad);
}

static sc_status prepare_directions(cpu_device *d, const sc_op_node *n, const conv_shape *s,
                                    conv *c, dnnl_primitive_desc_t fwd)
{
    const bool backward = n->training && n->out[0].grad;
    const bool bias = n->n_params > 1 && n->params[1].grad;
    const bool data = backward && n->in[0].grad, weights = backward && (n->params[0].grad || bias);
    c->wino = d->k.wino;
    c->there = wino_shape(d, n, false);
    c->back = wino_shape(d, n, true);
    c->wino_forward = wino_uses(d, n, CPU_WINO_FORWARD);
    c->wino_data = data && wino_uses(d, n, CPU_WINO_DATA);
    c->wino_weights = weights && wino_uses(d, n, CPU_WINO_WEIGHTS);
    c->own_weights = weights && own_uses(d, n);
    c->gradient = own_shape(d, n);
    SC_TRY(c->wino_forward ? wino_copy(d, n, false, &c->forward_copy)
                           : prepare_forward(d, n, s, c, fwd));
    if (data)
        SC_TRY(c->wino_data ? wino_copy(d, n, true, &c->data_copy) : prepare_data(d, n, s, c, fwd));
    if (weights && !c->wino_weights && !c->own_weights)
        SC_TRY(prepare_weights(d, n, s, c, fwd));
    return SC_OK;
}
static sc_status conv_prepare(cpu_device *d, const sc_op_node *n, void **state)
{
    conv *c = sc_alloc(1, sizeof *c);
    if (!c)
        return SC_ENOMEM;
    *state = c;
    if (empty(n))
        return SC_OK;
    conv_shape s = shape_of(d, n);
    dnnl_primitive_desc_t fwd;
    sc_status status = forward_pd(d, n, &s, &fwd);
    if (status == SC_OK) {
        status = prepare_directions(d, n, &s, c, fwd);
        dnnl_primitive_desc_destroy(fwd);
    }
    if (status != SC_OK) {
        conv_release(d, c);
        *state = NULL;
    }
    return status;
}

static sc_status conv_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    conv *c = state;
    if (empty(n))
        return SC_OK;
    if (c->forward_copy)
        SC_TRY(cpu_copy_refresh(d, &n->params[0], c->forward_copy));
    if (c->wino_forward) {
        cpu_wino_apply(c->wino, &c->there, n->in[0].data, cpu_copy_data(c->forward_copy),
                       n->out[0].data, false, n->scratch);
        return SC_OK;
    }
    return cpu_primitive_run(d, &c->forward);
}
static sc_status conv_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    conv *c = state;
    if (empty(n)) {
        for (int i = 0; i < n->n_params; i++)
            if (n->params[i].grad)
                cpu_zero(n->params[i].grad,
                         cpu_param_elements(&d->head, &n->params[i].desc) * sizeof(float));
        return SC_OK;
    }
    if (c->wino_weights)
        cpu_wino_gradient(c->wino, &c->there, n->in[0].data, n->out[0].grad, n->params[0].grad,
                          n->scratch);
    if (c->own_weights && n->params[0].grad)
        cpu_wgrad(d->k.wgrad, &c->gradient, n->in[0].data, n->out[0].grad, n->params[0].grad,
                  n->scratch);
    if (c->own_weights && n->n_params > 1 && n->params[1].grad)
        cpu_wgrad_bias(&d->k, &c->gradient, n->out[0].grad, n->params[1].grad);
    if (c->weights.p)
        SC_TRY(cpu_primitive_run(d, &c->weights));
    if (c->weights_reorder.p)
        SC_TRY(cpu_primitive_run(d, &c->weights_reorder));
    if (c->data_copy)
        SC_TRY(cpu_copy_refresh(d, &n->params[0], c->data_copy));
    if (c->wino_data)
        cpu_wino_apply(c->wino, &c->back, n->out[0].grad, cpu_copy_data(c->data_copy),
                       n->in[0].grad, n->in[0].accumulate, n->scratch);
    if (!c->data.p)
        return SC_OK;
    SC_TRY(cpu_primitive_run(d, &c->data));
    if (c->data_temporary) {
        bool bf = cpu_bf16(d, &n->in[0].desc);
        cpu_convert(d, n->in[0].grad, bf, c->data_temporary, bf, cpu_count(&n->in[0].desc), true);
    }
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
        return c->wino_forward ? share : 1;
    int ways = (n->in[0].grad != NULL) + (n->params[0].grad != NULL);
    return ways ? (ways - (c->wino_data + c->wino_weights) * (1 - share)) / ways : 1;
}

const cpu_op cpu_op_conv2d = {conv_memory, conv_prepare, conv_release, conv_forward, conv_backward};
