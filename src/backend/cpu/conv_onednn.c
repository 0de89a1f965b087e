/* oneDNN's convolution primitives, bound to a node's memory (conv_onednn.h). */
#include "conv_onednn.h"

#include <string.h>

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
static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static sc_status memory_of(cpu_device *d, const sc_op_node *n, cpu_onednn_ways ways,
                           const conv_shape *s, const_dnnl_primitive_desc_t fwd, size_t *bytes)
{
    dnnl_primitive_desc_t pd;
    if (ways.forward)
        *bytes = larger(*bytes, cpu_align(cpu_scratchpad(fwd)));
    if (ways.data) {
        SC_TRY(data_pd(d, s, fwd, &pd));
        *bytes = larger(*bytes,
                        cpu_align(cpu_scratchpad(pd)) + cpu_value_bytes(&d->head, &n->in[0].desc));
        dnnl_primitive_desc_destroy(pd);
    }
    if (ways.weights) {
        SC_TRY(weights_pd(d, s, fwd, &pd));
        size_t temporary = cpu_align(dnnl_memory_desc_get_size(weights_md(pd, true))) +
                           cpu_align(dnnl_memory_desc_get_size(&s->bias));
        *bytes = larger(*bytes, cpu_align(cpu_scratchpad(pd)) + temporary);
        dnnl_primitive_desc_destroy(pd);
    }
    return SC_OK;
}
sc_status cpu_onednn_conv_memory(cpu_device *d, const sc_op_node *n, cpu_onednn_ways ways,
                                 size_t *scratch)
{
    *scratch = 0;
    if (!ways.forward && !ways.data && !ways.weights)
        return SC_OK;
    conv_shape s = shape_of(d, n);
    dnnl_primitive_desc_t fwd; /* the others want it as a hint */
    SC_TRY(forward_pd(d, n, &s, &fwd));
    sc_status status = memory_of(d, n, ways, &s, fwd, scratch);
    dnnl_primitive_desc_destroy(fwd);
    return status;
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
static sc_status prepare_forward(cpu_device *d, const sc_op_node *n, const conv_shape *s,
                                 cpu_onednn_conv *c, dnnl_primitive_desc_t fwd)
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
static sc_status prepare_data(cpu_device *d, const sc_op_node *n, const conv_shape *s,
                              cpu_onednn_conv *c, dnnl_primitive_desc_t fwd)
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
static sc_status prepare_weights(cpu_device *d, const sc_op_node *n, const conv_shape *s,
                                 cpu_onednn_conv *c, dnnl_primitive_desc_t fwd)
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

static sc_status prepare_ways(cpu_device *d, const sc_op_node *n, cpu_onednn_ways ways,
                              const conv_shape *s, cpu_onednn_conv *c, dnnl_primitive_desc_t fwd)
{
    if (ways.forward)
        SC_TRY(prepare_forward(d, n, s, c, fwd));
    if (ways.data)
        SC_TRY(prepare_data(d, n, s, c, fwd));
    if (ways.weights)
        SC_TRY(prepare_weights(d, n, s, c, fwd));
    return SC_OK;
}
sc_status cpu_onednn_conv_prepare(cpu_device *d, const sc_op_node *n, cpu_onednn_ways ways,
                                  cpu_onednn_conv *c)
{
    if (!ways.forward && !ways.data && !ways.weights)
        return SC_OK;
    conv_shape s = shape_of(d, n);
    dnnl_primitive_desc_t fwd;
    SC_TRY(forward_pd(d, n, &s, &fwd));
    sc_status status = prepare_ways(d, n, ways, &s, c, fwd);
    dnnl_primitive_desc_destroy(fwd);
    return status;
}
void cpu_onednn_conv_release(cpu_onednn_conv *c)
{
    cpu_primitive_free(&c->forward);
    cpu_primitive_free(&c->data);
    cpu_primitive_free(&c->weights);
    cpu_primitive_free(&c->weights_reorder);
}

sc_status cpu_onednn_conv_forward(cpu_device *d, const sc_op_node *n, cpu_onednn_conv *c)
{
    if (c->forward_copy)
        SC_TRY(cpu_copy_refresh(d, &n->params[0], c->forward_copy));
    return cpu_primitive_run(d, &c->forward);
}
sc_status cpu_onednn_conv_data(cpu_device *d, const sc_op_node *n, cpu_onednn_conv *c)
{
    if (c->data_copy)
        SC_TRY(cpu_copy_refresh(d, &n->params[0], c->data_copy));
    SC_TRY(cpu_primitive_run(d, &c->data));
    if (c->data_temporary) {
        bool bf = cpu_bf16(d, &n->in[0].desc);
        cpu_convert(d, n->in[0].grad, bf, c->data_temporary, bf, cpu_count(&n->in[0].desc), true);
    }
    return SC_OK;
}
sc_status cpu_onednn_conv_weights(cpu_device *d, cpu_onednn_conv *c)
{
    SC_TRY(cpu_primitive_run(d, &c->weights));
    return c->weights_reorder.p ? cpu_primitive_run(d, &c->weights_reorder) : SC_OK;
}
