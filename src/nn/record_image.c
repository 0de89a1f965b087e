/* Shape rules of the image tower's ops and of the ops on features. */
#include "record.h"

#include <math.h>
#include <stdlib.h>

sc_value sc_augment_images(sc_graph *g, sc_value rows, sc_value draws, int crop)
{
    record r;
    if (!record_begin(&r, g, SC_OP_AUGMENT, 2, (sc_value[]){rows, draws}, 0, NULL))
        return NO_VALUE;
    const graph_value *x = &r.in[0], *d = &r.in[1];
    if (x->kind != SC_BYTES || x->shape.n != 4 || x->shape.d[3] != 3 ||
        x->shape.d[1] != x->shape.d[2])
        return record_fail(&r, "input 0 must be bytes [n, P, P, 3]");
    if (d->kind != SC_BYTES || d->shape.n != 2 || d->shape.d[1] != (int64_t)sizeof(sc_augment) ||
        d->rows != x->rows || d->shape.d[0] != x->shape.d[0])
        return record_fail(&r, "input 1 must be bytes [n, %zu]", sizeof(sc_augment));
    if (crop < 1 || crop > x->shape.d[1])
        return record_fail(&r, "cannot cut %d pixels", crop);
    r.node.attrs.crop = crop;
    return record_output(&r, SC_COMPUTE, x->rows, SC_SHAPE(x->shape.d[0], 3, crop, crop));
}

int64_t record_windows(int64_t size, int64_t kernel, int64_t stride, int64_t pad)
{
    int64_t room = size + 2 * pad - kernel;
    return room < 0 ? 0 : room / stride + 1;
}

sc_value sc_conv2d(sc_graph *g, sc_value x, sc_param weight, sc_param bias, int stride, int pad)
{
    record r;
    if (!record_begin(&r, g, SC_OP_CONV2D, 1, &x, 2, (sc_param[]){weight, bias}) ||
        !record_real(&r, 0) || !record_dims(&r, 0, 4))
        return NO_VALUE;
    sc_shape s = r.in[0].shape;
    const sc_shape *w = &r.param[0].shape;
    bool square = w->n == 4 && w->d[2] == w->d[3];
    if (r.node.n_params < 1 || (w->n != 2 && !square))
        return record_fail(&r, "the weight must be [out, in, k, k] or [out, in]");
    const int64_t k = square ? w->d[2] : 1;
    if (w->d[1] != s.d[1])
        return record_fail(&r, "input has %lld channels, the weight wants %lld", (long long)s.d[1],
                           (long long)w->d[1]);
    if (r.node.n_params == 2 && !record_vector(&r, 1, w->d[0]))
        return NO_VALUE;
    if (stride < 1 || pad < 0)
        return record_fail(&r, "stride %d and padding %d are impossible", stride, pad);
    r.node.attrs.stride = stride;
    r.node.attrs.pad = pad;
    r.node.attrs.kernel = (int)k;
    return record_output(&r, SC_COMPUTE, r.in[0].rows,
                         SC_SHAPE(s.d[0], w->d[0], record_windows(s.d[2], k, stride, pad),
                                  record_windows(s.d[3], k, stride, pad)));
}

sc_batch_norm_params sc_batch_norm_declare(sc_graph *g, const char *name, int64_t channels,
                                           bool trainable)
{
    static const char *const parts[5] = {"weight", "bias", "running_mean", "running_var",
                                         "num_batches_tracked"};
    sc_param p[5] = {{-1}, {-1}, {-1}, {-1}, {-1}};
    for (int k = 0; k < 5 && nn_graph_ok(g); k++) {
        char *full = sc_format("%s.%s", name, parts[k]);
        if (full == NULL) {
            nn_graph_fail(g, SC_ENOMEM, "graph: no memory for the name '%s.%s'", name, parts[k]);
            break;
        }
        sc_init init = SC_CONSTANT(k == 0 || k == 3 ? 1 : 0);
        sc_shape shape = SC_SHAPE(channels);
        p[k] = k == 4  ? sc_counter(g, full)
               : k < 2 ? sc_weight(g, full, shape, init, trainable)
                       : sc_buffer(g, full, shape, init);
        free(full);
    }
    return (sc_batch_norm_params){p[0], p[1], p[2], p[3], p[4]};
}

sc_value sc_batch_norm(sc_graph *g, sc_value x, sc_batch_norm_params p, sc_batch_norm_options o)
{
    record r;
    const sc_value in[2] = {x, o.residual};
    const sc_param params[5] = {p.weight, p.bias, p.mean, p.var, p.batches};
    int n_in = o.residual.id >= 0 ? 2 : 1;
    if (!record_begin(&r, g, SC_OP_BATCH_NORM, n_in, in, 5, params) || !record_real(&r, 0) ||
        !record_dims(&r, 0, 4))
        return NO_VALUE;
    sc_shape s = r.in[0].shape;
    for (int k = 0; k < 4; k++)
        if (!record_vector(&r, k, s.d[1]))
            return NO_VALUE;
    if (r.node.n_params != 5 || r.param[0].kind != SC_PARAM_WEIGHT ||
        r.param[1].kind != SC_PARAM_WEIGHT || r.param[2].kind != SC_PARAM_BUFFER ||
        r.param[3].kind != SC_PARAM_BUFFER || r.param[4].kind != SC_PARAM_COUNTER)
        return record_fail(&r, "wants weight, bias, running mean and variance, counter");
    if (n_in == 2 && x.id == o.residual.id)
        return record_fail(&r, "the residual must be another value than the input");
    if (n_in == 2 && (!sc_shape_equal(&s, &r.in[1].shape) || r.in[1].rows != r.in[0].rows ||
                      r.in[1].kind != r.in[0].kind))
        return record_fail(&r, "the residual must be like the input");
    if (!(o.eps > 0) || !(o.momentum >= 0 && o.momentum <= 1))
        return record_fail(&r, "eps %g and momentum %g are impossible", o.eps, o.momentum);
    r.node.attrs.eps = o.eps;
    r.node.attrs.momentum = o.momentum;
    r.node.attrs.relu = o.relu;
    r.node.attrs.running = o.running;
    return record_output(&r, r.in[0].kind, r.in[0].rows, s);
}

sc_value sc_max_pool(sc_graph *g, sc_value x, int kernel, int stride, int pad)
{
    record r;
    if (!record_begin(&r, g, SC_OP_MAX_POOL, 1, &x, 0, NULL) || !record_real(&r, 0) ||
        !record_dims(&r, 0, 4))
        return NO_VALUE;
    sc_shape s = r.in[0].shape;
    /* padding of at most half a window: every window then holds a real element */
    if (kernel < 1 || stride < 1 || pad < 0 || 2 * pad > kernel)
        return record_fail(&r, "kernel %d, stride %d, padding %d are impossible", kernel, stride,
                           pad);
    r.node.attrs.kernel = kernel;
    r.node.attrs.stride = stride;
    r.node.attrs.pad = pad;
    return record_output(&r, r.in[0].kind, r.in[0].rows,
                         SC_SHAPE(s.d[0], s.d[1], record_windows(s.d[2], kernel, stride, pad),
                                  record_windows(s.d[3], kernel, stride, pad)));
}

sc_value sc_avg_pool(sc_graph *g, sc_value x)
{
    record r;
    if (!record_begin(&r, g, SC_OP_AVG_POOL, 1, &x, 0, NULL) || !record_real(&r, 0) ||
        !record_dims(&r, 0, 4))
        return NO_VALUE;
    return record_output(&r, r.in[0].kind, r.in[0].rows,
                         SC_SHAPE(r.in[0].shape.d[0], r.in[0].shape.d[1]));
}

sc_value sc_l2_normalize(sc_graph *g, sc_value x)
{
    record r;
    if (!record_begin(&r, g, SC_OP_L2_NORMALIZE, 1, &x, 0, NULL) || !record_real(&r, 0) ||
        !record_dims(&r, 0, 2))
        return NO_VALUE;
    return record_output(&r, SC_EXACT, r.in[0].rows, r.in[0].shape);
}

sc_value sc_group_mean(sc_graph *g, sc_value x, sc_value group, int64_t groups)
{
    record r;
    if (!record_begin(&r, g, SC_OP_GROUP_MEAN, 2, (sc_value[]){x, group}, 0, NULL) ||
        !record_real(&r, 0) || !record_dims(&r, 0, 2) || !record_index(&r, 1))
        return NO_VALUE;
    if (r.in[0].rows != SC_ROWS_FIXED || groups < 1 || groups > r.in[0].shape.d[0])
        return record_fail(&r, "cannot put these rows into %lld groups", (long long)groups);
    return record_output(&r, SC_EXACT, SC_ROWS_FIXED, SC_SHAPE(groups, r.in[0].shape.d[1]));
}

sc_value sc_all_gather(sc_graph *g, sc_value x)
{
    record r;
    if (!record_begin(&r, g, SC_OP_ALL_GATHER, 1, &x, 0, NULL) || !record_real(&r, 0) ||
        !record_dims(&r, 0, 2))
        return NO_VALUE;
    if (r.in[0].rows != SC_ROWS_LOCAL)
        return record_fail(&r, "every rank has these rows already");
    return record_output(&r, r.in[0].kind, SC_ROWS_GLOBAL, r.in[0].shape);
}

static const char *loss_attrs_error(const sc_loss_attrs *a)
{
    if (!(a->tau0 > 0) || !isfinite(a->tau0))
        return "tau0 must be above 0";
    if (!isfinite(a->class_weight) || !isfinite(a->contrastive_weight))
        return "the weights of the two parts must be finite";
    if (a->focal && !a->superclip)
        return "focal needs the superclip loss";
    if (a->focal &&
        (!(a->focal_gamma >= 0) || !isfinite(a->focal_gamma) || !isfinite(a->focal_alpha)))
        return "focal_gamma must be 0 or more";
    return NULL;
}

sc_loss_values sc_superclip_loss(sc_graph *g, sc_value x, sc_value t, sc_value labels,
                                 sc_value class_weights, sc_param temperature, sc_loss_attrs a)
{
    const sc_loss_values none = {NO_VALUE, NO_VALUE};
    record r;
    if (!record_begin(&r, g, SC_OP_SUPERCLIP_LOSS, 4, (sc_value[]){x, t, labels, class_weights}, 1,
                      &temperature))
        return none;
    const graph_value *xs = &r.in[0], *ts = &r.in[1], *ws = &r.in[3];
    const char *error = loss_attrs_error(&a);
    if (xs->rows == SC_ROWS_LOCAL)
        error = "input 0 must be gathered: the loss is of the whole group's batch";
    else if (xs->kind != SC_EXACT || ts->kind != SC_EXACT || xs->shape.n != 2 || ts->shape.n != 2 ||
             ts->rows != SC_ROWS_FIXED || xs->shape.d[1] != ts->shape.d[1])
        error = "inputs 0 and 1 must be exact [B, E] and [C, E]";
    else if (ws->kind != SC_EXACT || ws->rows != SC_ROWS_FIXED || ws->shape.n != 1 ||
             ws->shape.d[0] != ts->shape.d[0])
        error = "input 3 must be one exact weight for each class";
    else if (r.node.n_params != 1 || sc_shape_count(&r.param[0].shape) != 1)
        error = "the temperature must be one number";
    if (error != NULL) {
        record_fail(&r, "%s", error);
        return none;
    }
    if (!record_index(&r, 2))
        return none;
    r.node.attrs.loss = a;
    sc_value out[2] = {NO_VALUE, NO_VALUE};
    graph_value losses = {.kind = SC_EXACT, .rows = SC_ROWS_FIXED, .shape = SC_SHAPE(3)};
    graph_value logits = {
        .kind = SC_EXACT, .rows = xs->rows, .shape = SC_SHAPE(xs->shape.d[0], ts->shape.d[0])};
    if (!record_two_outputs(&r, losses, logits, out))
        return none;
    return (sc_loss_values){out[0], out[1]};
}
