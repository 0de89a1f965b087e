/* The device: host memory, double everywhere, PyTorch's layouts. */
#include "ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const ref_op *const ops[SC_OP_COUNT] = {
    [SC_OP_AUGMENT] = &ref_augment,
    [SC_OP_CONV2D] = &ref_conv2d,
    [SC_OP_BATCH_NORM] = &ref_batch_norm,
    [SC_OP_MAX_POOL] = &ref_max_pool,
    [SC_OP_AVG_POOL] = &ref_avg_pool,
    [SC_OP_LINEAR] = &ref_linear,
    [SC_OP_ADD] = &ref_add,
    [SC_OP_ACTIVATE] = &ref_activate,
    [SC_OP_MULTIPLY] = &ref_multiply,
    [SC_OP_DEPTHWISE_CONV2D] = &ref_depthwise_conv2d,
    [SC_OP_CHANNEL_NORM] = &ref_channel_norm,
    [SC_OP_LAYER_SCALE] = &ref_layer_scale,
    [SC_OP_SCALE_CHANNELS] = &ref_scale_channels,
    [SC_OP_LAYER_NORM] = &ref_layer_norm,
    [SC_OP_EMBED] = &ref_embed,
    [SC_OP_PREPEND] = &ref_prepend,
    [SC_OP_ATTENTION] = &ref_attention,
    [SC_OP_SELECT_ROW] = &ref_select_row,
    [SC_OP_L2_NORMALIZE] = &ref_l2_normalize,
    [SC_OP_GROUP_MEAN] = &ref_group_mean,
    [SC_OP_ALL_GATHER] = &ref_all_gather,
    [SC_OP_SUPERCLIP_LOSS] = &ref_superclip_loss,
};

size_t ref_count(const sc_shape *s)
{
    int64_t n = sc_shape_count(s);
    return n > 0 ? (size_t)n : 0;
}

size_t ref_last(const sc_shape *s)
{
    return s->n > 0 ? (size_t)s->d[s->n - 1] : 1;
}

size_t ref_rows(const sc_shape *s)
{
    size_t rows = 1;
    for (int i = 0; i + 1 < s->n; i++)
        rows *= (size_t)s->d[i];
    return rows;
}

double *ref_input_grad(const sc_node_value *v)
{
    if (v->grad != NULL && !v->accumulate)
        memset(v->grad, 0, ref_count(&v->desc.shape) * sizeof(double));
    return v->grad;
}

double *ref_param_grad(const sc_node_param *p)
{
    if (p->grad != NULL)
        memset(p->grad, 0, ref_count(&p->desc.shape) * sizeof(double));
    return p->grad;
}

const double *ref_param(const sc_op_node *n, int slot)
{
    return slot < n->n_params ? n->params[slot].value : NULL;
}

static sc_status ref_open(const sc_device_options *o, sc_device **out)
{
    sc_device *d = sc_alloc(1, sizeof *d);
    if (d == NULL)
        return SC_ENOMEM;
    d->backend = sc_backend_ref();
    d->precision = SC_FP64;
    d->threads = o->threads;
    (void)snprintf(d->description, sizeof d->description, "ref: plain loops in double, one thread");
    *out = d;
    return SC_OK;
}

static void ref_close(sc_device *d)
{
    free(d);
}

static sc_status ref_alloc(sc_device *d, size_t bytes, void **out)
{
    (void)d;
    size_t rounded = (bytes + 63) / 64 * 64;
    if (rounded < bytes)
        return sc_fail(SC_ENOMEM, "ref: %zu bytes are more than memory can hold", bytes);
    void *p = aligned_alloc(64, rounded > 0 ? rounded : 64);
    if (p == NULL)
        return sc_fail(SC_ENOMEM, "ref: no memory for %zu bytes", bytes);
    memset(p, 0, rounded > 0 ? rounded : 64);
    *out = p;
    return SC_OK;
}

static void ref_free(sc_device *d, void *p)
{
    (void)d;
    free(p);
}

static size_t element_size(sc_kind kind)
{
    switch (kind) {
    case SC_COMPUTE:
    case SC_EXACT:
        return sizeof(double);
    case SC_INT32:
        return sizeof(int32_t);
    case SC_BYTES:
        break;
    }
    return 1;
}

static size_t ref_value_bytes(const sc_device *d, const sc_value_desc *v)
{
    (void)d;
    return ref_count(&v->shape) * element_size(v->kind);
}

static sc_status ref_upload(sc_device *d, const sc_value_desc *v, const void *host, void *value)
{
    if (ref_count(&v->shape) > 0)
        memcpy(value, host, ref_value_bytes(d, v));
    return SC_OK;
}

static sc_status ref_download(sc_device *d, const sc_value_desc *v, const void *value, void *host)
{
    if (ref_count(&v->shape) > 0)
        memcpy(host, value, ref_value_bytes(d, v));
    return SC_OK;
}

static size_t ref_param_elements(const sc_device *d, const sc_param_desc *p)
{
    (void)d;
    return ref_count(&p->shape);
}

static void ref_param_import(sc_device *d, const sc_param_desc *p, const void *host, void *value)
{
    (void)d;
    memcpy(value, host, ref_count(&p->shape) * sizeof(double));
}

static void ref_param_export(sc_device *d, const sc_param_desc *p, const void *value, void *host)
{
    (void)d;
    memcpy(host, value, ref_count(&p->shape) * sizeof(double));
}

static bool ref_param_plain(const sc_device *d, const sc_param_desc *p)
{
    (void)d, (void)p;
    return true;
}

static sc_status ref_node_memory(sc_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d;
    *saved = *scratch = 0;
    if (ops[n->op]->memory != NULL)
        ops[n->op]->memory(n, saved, scratch);
    return SC_OK;
}

static sc_status ref_prepare(sc_device *d, const sc_op_node *n, void **state)
{
    (void)d;
    (void)n;
    *state = NULL;
    return SC_OK;
}

static void ref_release(sc_device *d, void *state)
{
    (void)d;
    (void)state;
}

static sc_status ref_forward(sc_device *d, const sc_op_node *n, void *state)
{
    (void)d;
    (void)state;
    return ops[n->op]->forward(n);
}

static sc_status ref_backward(sc_device *d, const sc_op_node *n, void *state)
{
    (void)d;
    (void)state;
    return ops[n->op]->backward != NULL ? ops[n->op]->backward(n) : SC_OK;
}

static sc_status ref_adamw(sc_device *d, const sc_adamw *o, size_t count, void *value,
                           const void *grad, void *m, void *v)
{
    (void)d;
    double *restrict p = value, *restrict m1 = m, *restrict m2 = v;
    const double *restrict g = grad;
    double c1 = 1 - pow(o->beta1, (double)o->step), c2 = sqrt(1 - pow(o->beta2, (double)o->step));
    for (size_t i = 0; i < count; i++) {
        p[i] *= 1 - o->lr * o->weight_decay;
        m1[i] += (1 - o->beta1) * (g[i] - m1[i]);
        m2[i] = m2[i] * o->beta2 + (1 - o->beta2) * g[i] * g[i];
        p[i] -= o->lr / c1 * (m1[i] / (sqrt(m2[i]) / c2 + o->eps));
    }
    return SC_OK;
}

const sc_backend *sc_backend_ref(void)
{
    static const sc_backend ref = {
        .name = "ref",
        .real = SC_F64,
        .open = ref_open,
        .close = ref_close,
        .alloc = ref_alloc,
        .free = ref_free,
        .value_bytes = ref_value_bytes,
        .upload = ref_upload,
        .download = ref_download,
        .param_elements = ref_param_elements,
        .param_import = ref_param_import,
        .param_export = ref_param_export,
        .param_plain = ref_param_plain,
        .node_memory = ref_node_memory,
        .prepare = ref_prepare,
        .release = ref_release,
        .forward = ref_forward,
        .backward = ref_backward,
        .adamw = ref_adamw,
    };
    return &ref;
}
