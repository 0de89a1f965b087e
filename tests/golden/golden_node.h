/* Runs a golden case on any backend: one op, its memory, forward, backward, and the difference from
 * what PyTorch computed. Header only; uses nothing but backend.h.
 *
 *     golden_node n;
 *     if (golden_node_open(device, comm, c, false, &n) == SC_OK && golden_node_run(&n) == SC_OK)
 *         err = golden_node_error(&n, c, "din0");
 *     golden_node_close(&n);
 */
#ifndef SC_TESTS_GOLDEN_NODE_H
#define SC_TESTS_GOLDEN_NODE_H

#include <math.h>

#include "golden.h"
#include "superclip/backend.h"

typedef struct golden_node {
    sc_device *device;
    sc_op_node node;
    void *state;
    bool prepared, backward;
    int64_t rows;
    sc_param_shared shared[5];
} golden_node;

static inline sc_op golden_op(const char *name)
{
    for (int op = 0; op < SC_OP_COUNT; op++)
        if (strcmp(sc_op_name((sc_op)op), name) == 0)
            return (sc_op)op;
    return SC_OP_COUNT;
}

static inline sc_attrs golden_attrs(const golden_case *c)
{
    sc_attrs a = {0};
    a.stride = (int)golden_attr(c, "stride", 0);
    a.pad = (int)golden_attr(c, "pad", 0);
    a.kernel = (int)golden_attr(c, "kernel", 0);
    a.eps = golden_attr(c, "eps", 0);
    a.momentum = golden_attr(c, "momentum", 0);
    a.relu = golden_attr(c, "relu", 0) != 0;
    a.running = golden_attr(c, "running", 0) != 0;
    a.transposed = golden_attr(c, "transposed", 0) != 0;
    a.activation = (sc_activation)golden_attr(c, "activation", 0);
    a.heads = (int)golden_attr(c, "heads", 0);
    a.shared = (int)golden_attr(c, "shared", 0);
    a.longest = (int)golden_attr(c, "longest", 0);
    a.crop = (int)golden_attr(c, "crop", 0);
    a.loss.superclip = golden_attr(c, "superclip", 0) != 0;
    a.loss.class_weight = golden_attr(c, "class_weight", 0);
    a.loss.contrastive_weight = golden_attr(c, "contrastive_weight", 0);
    a.loss.focal = golden_attr(c, "focal", 0) != 0;
    a.loss.focal_alpha = golden_attr(c, "focal_alpha", 0);
    a.loss.focal_gamma = golden_attr(c, "focal_gamma", 0);
    a.loss.tau0 = golden_attr(c, "tau0", 0);
    a.loss.multi_positive = golden_attr(c, "multi_positive", 0) != 0;
    return a;
}

/* The kinds that a model's graph gives these values. */
static inline sc_kind golden_kind(sc_op op, const golden_tensor *t, bool output)
{
    if (t->dtype == SC_I32)
        return SC_INT32;
    if (t->dtype == SC_U8)
        return SC_BYTES;
    switch (op) {
    case SC_OP_SUPERCLIP_LOSS:
    case SC_OP_GROUP_MEAN:
    case SC_OP_ADD:
        return SC_EXACT;
    case SC_OP_LAYER_NORM:
        return output ? SC_COMPUTE : SC_EXACT;
    case SC_OP_EMBED:
    case SC_OP_PREPEND:
    case SC_OP_LAYER_SCALE:
    case SC_OP_L2_NORMALIZE:
        return output ? SC_EXACT : SC_COMPUTE;
    default:
        return SC_COMPUTE;
    }
}

/* What a gradient that is added to holds before. */
static inline double golden_before(int64_t i)
{
    return (double)(i % 7 - 3) / 4;
}

/* Element i of a host array of the backend's `real`. */
static inline void golden_put(sc_dtype real, void *host, int64_t i, double v)
{
    if (real == SC_F64)
        ((double *)host)[i] = v;
    else
        ((float *)host)[i] = (float)v;
}

/* Golden tensor -> a new device value. `t` NULL: zeros, or golden_before() if `before`. */
static inline sc_status golden_upload(sc_device *d, const sc_value_desc *v, const golden_tensor *t,
                                      bool before, void **out)
{
    int64_t n = sc_shape_count(&v->shape);
    SC_TRY(d->backend->alloc(d, d->backend->value_bytes(d, v), out));
    if (t != NULL && (v->kind == SC_INT32 || v->kind == SC_BYTES))
        return d->backend->upload(d, v, t->data, *out);
    double *host = calloc((size_t)n + 1, sizeof *host); /* room for either real type */
    if (host == NULL)
        return SC_ENOMEM;
    for (int64_t i = 0; i < n; i++)
        golden_put(d->backend->real, host, i,
                   t != NULL ? golden_get(t, i)
                   : before  ? golden_before(i)
                             : 0);
    sc_status status = d->backend->upload(d, v, host, *out);
    free(host);
    return status;
}

static inline const golden_tensor *golden_numbered(const golden_case *c, const char *what, int k)
{
    char name[24];
    (void)snprintf(name, sizeof name, "%s%d", what, k);
    return golden_find(c, name);
}

static inline sc_status golden_open_value(golden_node *g, const golden_case *c, sc_node_value *v,
                                          const char *what, int k, bool accumulate)
{
    char grad[24], dname[24];
    const golden_tensor *t = golden_numbered(c, what, k);
    bool output = what[0] == 'o';
    (void)snprintf(grad, sizeof grad, "d%s", what);
    (void)snprintf(dname, sizeof dname, "d%s%d", what, k);
    const golden_tensor *d = golden_find(c, dname);
    v->desc = (sc_value_desc){golden_kind(g->node.op, t, output), t->shape};
    SC_TRY(golden_upload(g->device, &v->desc, output ? NULL : t, false, &v->data));
    if (d == NULL)
        return SC_OK;
    g->backward |= output;
    v->accumulate = accumulate && !output;
    return golden_upload(g->device, &v->desc, output ? d : NULL, v->accumulate, &v->grad);
}

static inline sc_status golden_open_param(golden_node *g, const golden_case *c, int k)
{
    const sc_backend *b = g->device->backend;
    sc_node_param *p = &g->node.params[k];
    const golden_tensor *t = golden_numbered(c, "param", k);
    p->desc.op = g->node.op;
    p->desc.slot = k;
    p->shared = &g->shared[k];
    g->shared[k].version = 1;
    if (t == NULL) { /* num_batches_tracked */
        p->desc.kind = SC_PARAM_COUNTER;
        return SC_OK;
    }
    p->desc.kind = golden_numbered(c, "after", k) != NULL ? SC_PARAM_BUFFER : SC_PARAM_WEIGHT;
    p->desc.shape = t->shape;
    size_t bytes = b->param_elements(g->device, &p->desc) * sc_dtype_size(b->real);
    SC_TRY(b->alloc(g->device, bytes, &p->value));
    if (p->desc.kind == SC_PARAM_WEIGHT)
        SC_TRY(b->alloc(g->device, bytes, &p->grad));
    double *host = calloc((size_t)sc_shape_count(&t->shape) + 1, sizeof *host);
    if (host == NULL)
        return SC_ENOMEM;
    for (int64_t i = 0; i < sc_shape_count(&t->shape); i++)
        golden_put(b->real, host, i, golden_get(t, i));
    b->param_import(g->device, &p->desc, host, p->value);
    free(host);
    return SC_OK;
}

/* accumulate: input gradients hold golden_before() and must be added to. Close it in any case. */
static inline sc_status golden_node_open(sc_device *d, const sc_comm *comm, const golden_case *c,
                                         bool accumulate, golden_node *g)
{
    size_t saved = 0, scratch = 0;
    sc_op_node *n = &g->node;
    *g = (golden_node){.device = d};
    n->op = golden_op(c->op);
    if (n->op == SC_OP_COUNT)
        return sc_fail(SC_EINTERNAL, "golden case %s: no op '%s'", c->name, c->op);
    n->attrs = golden_attrs(c);
    for (; n->n_in < 4 && golden_numbered(c, "in", n->n_in) != NULL; n->n_in++)
        SC_TRY(golden_open_value(g, c, &n->in[n->n_in], "in", n->n_in, accumulate));
    for (; n->n_out < 2 && golden_numbered(c, "out", n->n_out) != NULL; n->n_out++)
        SC_TRY(golden_open_value(g, c, &n->out[n->n_out], "out", n->n_out, false));
    for (; n->n_params < 5 && (golden_numbered(c, "param", n->n_params) != NULL ||
                               (n->op == SC_OP_BATCH_NORM && n->n_params == 4));
         n->n_params++)
        SC_TRY(golden_open_param(g, c, n->n_params));
    n->training = golden_attr(c, "training", 1) != 0;
    n->precision = d->precision;
    n->comm = comm;
    g->rows = n->in[0].desc.shape.d[0];
    n->rows = &g->rows;
    n->rows_global = g->rows;
    if (d->backend->supports != NULL)
        SC_TRY(d->backend->supports(d, n));
    SC_TRY(d->backend->node_memory(d, n, &saved, &scratch));
    SC_TRY(d->backend->alloc(d, saved, &n->saved));
    SC_TRY(d->backend->alloc(d, scratch, &n->scratch));
    SC_TRY(d->backend->prepare(d, n, &g->state));
    g->prepared = true;
    return SC_OK;
}

static inline sc_status golden_node_run(golden_node *g)
{
    SC_TRY(g->device->backend->forward(g->device, &g->node, g->state));
    return g->backward ? g->device->backend->backward(g->device, &g->node, g->state) : SC_OK;
}

/* The node's version of tensor `name` ("out0", "din1", "dparam0", "after2"); host: of `real`. */
static inline sc_status golden_fetch(const golden_node *g, const char *name, void *host)
{
    const sc_backend *b = g->device->backend;
    int k = name[strlen(name) - 1] - '0';
    if (strstr(name, "param") != NULL || strstr(name, "after") != NULL) {
        const sc_node_param *p = &g->node.params[k];
        b->param_export(g->device, &p->desc, name[0] == 'd' ? p->grad : p->value, host);
        return SC_OK;
    }
    const sc_node_value *v = strstr(name, "out") != NULL ? &g->node.out[k] : &g->node.in[k];
    return b->download(g->device, &v->desc, name[0] == 'd' ? v->grad : v->data, host);
}

/* Largest |difference| / max(1, largest |golden|); NAN when anything is not comparable. */
static inline double golden_node_error(const golden_node *g, const golden_case *c, const char *name)
{
    const golden_tensor *t = golden_find(c, name);
    int64_t count = t != NULL ? sc_shape_count(&t->shape) : -1;
    double *host = count >= 0 ? calloc((size_t)count + 1, sizeof *host) : NULL, worst = 0, top = 1;
    if (host == NULL || golden_fetch(g, name, host) != SC_OK)
        worst = NAN;
    bool added = strncmp(name, "din", 3) == 0 && g->node.in[name[3] - '0'].accumulate;
    for (int64_t i = 0; i < count && !isnan(worst); i++) {
        double v = g->device->backend->real == SC_F64 ? host[i] : (double)((float *)host)[i];
        double error = fabs(v - golden_get(t, i) - (added ? golden_before(i) : 0));
        top = fmax(top, fabs(golden_get(t, i)));
        worst = isnan(error) ? NAN : fmax(worst, error);
    }
    free(host);
    return worst / top;
}

static inline void golden_node_close(golden_node *g)
{
    const sc_backend *b = g->device->backend;
    sc_op_node *n = &g->node;
    if (g->prepared)
        b->release(g->device, g->state);
    void *memory[] = {n->saved,           n->scratch,         n->in[0].data,
                      n->in[1].data,      n->in[2].data,      n->in[3].data,
                      n->in[0].grad,      n->in[1].grad,      n->in[2].grad,
                      n->in[3].grad,      n->out[0].data,     n->out[1].data,
                      n->out[0].grad,     n->out[1].grad,     n->params[0].value,
                      n->params[1].value, n->params[2].value, n->params[3].value,
                      n->params[0].grad,  n->params[1].grad,  n->params[2].grad};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        if (memory[i] != NULL)
            b->free(g->device, memory[i]);
    for (int k = 0; k < 5; k++)
        if (g->shared[k].state != NULL && b->param_release != NULL)
            b->param_release(g->device, g->shared[k].state);
}

#endif
