/* linear by oneDNN matmul: operands in the device's compute type (bfloat16 or float), sums and
 * weight gradients in float. Saved: the operand when it had to be narrowed, and with an activation
 * its argument z. Scratch: the scratchpad, then dz when it is not the output's gradient as it is.
 */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>

typedef struct linear {
    cpu_primitive forward, data, weights;
    cpu_copy *copy; /* bfloat16 weights; NULL: the parameter itself */
    void *operand, *z,
        *dz; /* x, activation's argument, its gradient: possibly the node's own memory */
} linear;

typedef struct dims {
    int64_t m, k, n;
    bool bf;         /* operand type */
    bool x_bf, y_bf; /* value types */
    bool narrow_x;   /* x is float, the operand bfloat16 */
    bool act;
    size_t element, x_bytes, z_bytes; /* of operand-typed x and z */
} dims;

static dims dims_of(const cpu_device *d, const sc_op_node *n)
{
    dims m = {.m = cpu_rows_of(&n->in[0].desc),
              .k = cpu_width(&n->in[0].desc),
              .n = cpu_width(&n->out[0].desc),
              .bf = d->head.precision == SC_BF16_MIXED,
              .x_bf = cpu_bf16(d, &n->in[0].desc),
              .y_bf = cpu_bf16(d, &n->out[0].desc)};
    m.narrow_x = m.bf && !m.x_bf;
    m.act = n->attrs.activation != SC_NO_ACTIVATION;
    m.element = m.bf ? 2 : 4;
    m.x_bytes = cpu_align((size_t)(m.m * m.k) * m.element);
    m.z_bytes = cpu_align((size_t)(m.m * m.n) * m.element);
    return m;
}
static bool separate_dz(const dims *m)
{
    return m->act || m->y_bf != m->bf;
}

static sc_status matmul_pd(cpu_device *d, const dnnl_memory_desc_t *a, const dnnl_memory_desc_t *b,
                           const dnnl_memory_desc_t *bias, const dnnl_memory_desc_t *c, bool add,
                           dnnl_primitive_desc_t *pd)
{
    dnnl_matmul_desc_t desc;
    dnnl_primitive_attr_t attr;
    DNNL_TRY(dnnl_matmul_desc_init(&desc, a, b, bias, c));
    SC_TRY(cpu_attributes(add, &attr));
    dnnl_status_t st = dnnl_primitive_desc_create(pd, &desc, attr, d->engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    return cpu_dnnl(st, "matmul");
}

typedef struct product {
    dnnl_memory_desc_t a, b, bias, c;
    bool has_bias;
} product;
static product forward_product(const sc_op_node *n, const dims *m)
{
    product p = {.a = cpu_matrix(m->m, m->k, m->bf, false),
                 .b = cpu_matrix(m->k, m->n, m->bf, !n->attrs.transposed),
                 .bias = cpu_matrix(1, m->n, false, false),
                 .c = cpu_matrix(m->m, m->n, m->act ? m->bf : m->y_bf, false),
                 .has_bias = n->n_params > 1};
    return p;
}
static product data_product(const sc_op_node *n, const dims *m)
{
    product p = {.a = cpu_matrix(m->m, m->n, m->bf, false),
                 .b = cpu_matrix(m->n, m->k, m->bf, n->attrs.transposed),
                 .c = cpu_matrix(m->m, m->k, m->x_bf, false)};
    return p;
}
static product weights_product(const sc_op_node *n, const dims *m)
{
    product p = {0};
    if (n->attrs.transposed) { /* dW [in, out] = x^T dz */
        p.a = cpu_matrix(m->k, m->m, m->bf, true);
        p.b = cpu_matrix(m->m, m->n, m->bf, false);
        p.c = cpu_matrix(m->k, m->n, false, false);
    } else { /* dW [out, in] = dz^T x */
        p.a = cpu_matrix(m->n, m->m, m->bf, true);
        p.b = cpu_matrix(m->m, m->k, m->bf, false);
        p.c = cpu_matrix(m->n, m->k, false, false);
    }
    return p;
}
static sc_status product_pd(cpu_device *d, const product *p, bool add, dnnl_primitive_desc_t *pd)
{
    return matmul_pd(d, &p->a, &p->b, p->has_bias ? &p->bias : NULL, &p->c, add, pd);
}
static sc_status widest(cpu_device *d, const product *p, bool add, size_t *bytes)
{
    dnnl_primitive_desc_t pd;
    SC_TRY(product_pd(d, p, add, &pd));
    size_t b = cpu_align(cpu_scratchpad(pd));
    if (b > *bytes)
        *bytes = b;
    dnnl_primitive_desc_destroy(pd);
    return SC_OK;
}
/* The largest scratchpad of the three products, with and without accumulation. */
static sc_status scratchpads(cpu_device *d, const sc_op_node *n, const dims *m, size_t *bytes)
{
    product p = forward_product(n, m);
    *bytes = 0;
    SC_TRY(widest(d, &p, false, bytes));
    if (!n->training)
        return SC_OK;
    p = data_product(n, m);
    SC_TRY(widest(d, &p, false, bytes));
    SC_TRY(widest(d, &p, true, bytes));
    p = weights_product(n, m);
    return widest(d, &p, false, bytes);
}

static sc_status linear_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    dims m = dims_of(d, n);
    if (m.m == 0)
        return SC_OK;
    size_t pad, kept = (m.narrow_x ? m.x_bytes : 0) + (m.act ? m.z_bytes : 0);
    SC_TRY(scratchpads(d, n, &m, &pad));
    size_t work = n->training ? (separate_dz(&m) ? m.z_bytes : 0) : kept;
    *saved = n->training ? kept : 0;
    *scratch = pad + work;
    return SC_OK;
}

static void linear_release(cpu_device *d, void *state)
{
    (void)d;
    linear *l = state;
    cpu_primitive_free(&l->forward);
    cpu_primitive_free(&l->data);
    cpu_primitive_free(&l->weights);
    free(l);
}

static sc_status prepare_products(cpu_device *d, const sc_op_node *n, const dims *m, linear *l)
{
    const void *w = n->params[0].value;
    if (m->bf) {
        SC_TRY(cpu_copy_get(d, &n->params[0], NULL, NULL, &l->copy));
        w = cpu_copy_data(l->copy);
    }
    dnnl_primitive_desc_t pd;
    product p = forward_product(n, m);
    SC_TRY(product_pd(d, &p, false, &pd));
    SC_TRY(cpu_primitive_make(d, pd, n->scratch, &l->forward));
    SC_TRY(cpu_primitive_bind(d, &l->forward, DNNL_ARG_SRC, &p.a, l->operand));
    SC_TRY(cpu_primitive_bind(d, &l->forward, DNNL_ARG_WEIGHTS, &p.b, w));
    SC_TRY(cpu_primitive_bind(d, &l->forward, DNNL_ARG_DST, &p.c, m->act ? l->z : n->out[0].data));
    if (p.has_bias)
        SC_TRY(cpu_primitive_bind(d, &l->forward, DNNL_ARG_BIAS, &p.bias, n->params[1].value));
    if (!n->training || !n->out[0].grad)
        return SC_OK;
    if (n->in[0].grad) {
        p = data_product(n, m);
        SC_TRY(product_pd(d, &p, n->in[0].accumulate, &pd));
        SC_TRY(cpu_primitive_make(d, pd, n->scratch, &l->data));
        SC_TRY(cpu_primitive_bind(d, &l->data, DNNL_ARG_SRC, &p.a, l->dz));
        SC_TRY(cpu_primitive_bind(d, &l->data, DNNL_ARG_WEIGHTS, &p.b, w));
        SC_TRY(cpu_primitive_bind(d, &l->data, DNNL_ARG_DST, &p.c, n->in[0].grad));
    }
    if (!n->params[0].grad)
        return SC_OK;
    p = weights_product(n, m);
    const void *a = n->attrs.transposed ? l->operand : l->dz, *b = a == l->dz ? l->operand : l->dz;
    SC_TRY(product_pd(d, &p, false, &pd));
    SC_TRY(cpu_primitive_make(d, pd, n->scratch, &l->weights));
    SC_TRY(cpu_primitive_bind(d, &l->weights, DNNL_ARG_SRC, &p.a, a));
    SC_TRY(cpu_primitive_bind(d, &l->weights, DNNL_ARG_WEIGHTS, &p.b, b));
    return cpu_primitive_bind(d, &l->weights, DNNL_ARG_DST, &p.c, n->params[0].grad);
}
static sc_status linear_prepare(cpu_device *d, const sc_op_node *n, void **state)
{
    linear *l = sc_alloc(1, sizeof *l);
    if (!l)
        return SC_ENOMEM;
    *state = l;
    dims m = dims_of(d, n);
    if (m.m == 0)
        return SC_OK;
    size_t pad;
    sc_status status = scratchpads(d, n, &m, &pad);
    char *work = (char *)n->scratch + pad, *kept = n->training ? n->saved : work;
    l->operand = m.narrow_x ? kept : n->in[0].data;
    l->z = kept + (m.narrow_x ? m.x_bytes : 0);
    l->dz = separate_dz(&m) ? work : n->out[0].grad;
    if (status == SC_OK)
        status = prepare_products(d, n, &m, l);
    if (status != SC_OK) {
        linear_release(d, l);
        *state = NULL;
    }
    return status;
}

static sc_status linear_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    linear *l = state;
    dims m = dims_of(d, n);
    if (m.m == 0)
        return SC_OK;
    if (l->copy)
        SC_TRY(cpu_copy_refresh(d, &n->params[0], l->copy));
    if (m.narrow_x)
        cpu_convert(d, l->operand, true, n->in[0].data, false, m.m * m.k, false);
    SC_TRY(cpu_primitive_run(d, &l->forward));
    if (!m.act)
        return SC_OK;
    const size_t ze = m.element, ye = m.y_bf ? 2 : 4;
    const int64_t count = m.m * m.n;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += CPU_GRAIN)
        d->k.activate(n->attrs.activation, (char *)n->out[0].data + (size_t)i * ye, m.y_bf,
                      (char *)l->z + (size_t)i * ze, m.bf,
                      count - i < CPU_GRAIN ? count - i : CPU_GRAIN);
    return SC_OK;
}

static void make_dz(cpu_device *d, const sc_op_node *n, const dims *m, const linear *l)
{
    const size_t ze = m->element, ye = m->y_bf ? 2 : 4;
    const int64_t count = m->m * m->n;
    if (!m->act) {
        if (separate_dz(m))
            cpu_convert(d, l->dz, m->bf, n->out[0].grad, m->y_bf, count, false);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += CPU_GRAIN)
        d->k.activate_back(n->attrs.activation, (char *)l->dz + (size_t)i * ze, m->bf, false,
                           (const char *)n->out[0].grad + (size_t)i * ye, m->y_bf,
                           (const char *)l->z + (size_t)i * ze, m->bf,
                           count - i < CPU_GRAIN ? count - i : CPU_GRAIN);
}
static void bias_gradient(cpu_device *d, const dims *m, const void *dz, bool bf, float *db)
{
    const int64_t grain = 128;
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < m->n; c += grain) {
        int64_t width = m->n - c < grain ? m->n - c : grain;
        memset(db + c, 0, (size_t)width * sizeof(float));
        d->k.column_sum(db + c, (const char *)dz + (size_t)c * (bf ? 2 : 4), bf, m->m, width, m->n);
    }
}
static sc_status linear_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    linear *l = state;
    dims m = dims_of(d, n);
    if (m.m == 0) {
        for (int i = 0; i < n->n_params; i++)
            if (n->params[i].grad)
                cpu_zero(n->params[i].grad,
                         cpu_param_elements(&d->head, &n->params[i].desc) * sizeof(float));
        return SC_OK;
    }
    make_dz(d, n, &m, l);
    if (n->n_params > 1 && n->params[1].grad)
        bias_gradient(d, &m, m.act ? l->dz : n->out[0].grad, m.act ? m.bf : m.y_bf,
                      n->params[1].grad);
    if (l->weights.p)
        SC_TRY(cpu_primitive_run(d, &l->weights));
    if (l->data.p)
        SC_TRY(cpu_primitive_run(d, &l->data));
    return SC_OK;
}

const cpu_op cpu_op_linear = {linear_memory, linear_prepare, linear_release, linear_forward,
                              linear_backward};
