/* A convolution as cuDNN's descriptors, attribute by attribute. */
#include "dnn.h"

enum { UID_X = 1, UID_W, UID_Y };

static sc_status set(const dnn *d, void *descriptor, int name, int type, int64_t count,
                     const void *values)
{
    return dnn_check(d, d->api.set(descriptor, name, type, count, values), "setting an attribute");
}
static sc_status set_child(const dnn *d, void *descriptor, int name, void *const *child)
{
    return set(d, descriptor, name, DNN_T_DESCRIPTOR, 1, child);
}
static sc_status make(const dnn *d, int type, void **out)
{
    return dnn_check(d, d->api.descriptor_new(type, out), "a new descriptor");
}
static sc_status settle(const dnn *d, void *descriptor, const char *what)
{
    return dnn_check(d, d->api.finalize(descriptor), what);
}

/* Channels last in memory; dims and strides are named in the order n, c, h, w. */
static sc_status make_tensor(const dnn *d, sc_cuda_type type, int64_t uid, int64_t n, int64_t c,
                             int64_t h, int64_t w, void **out)
{
    const int kind = type == SC_CUDA_BF16 ? DNN_BFLOAT16 : DNN_FLOAT;
    const int64_t dims[4] = {n, c, h, w}, strides[4] = {h * w * c, 1, w * c, c}, alignment = 16;
    SC_TRY(make(d, DNN_TENSOR, out));
    SC_TRY(set(d, *out, DNN_TENSOR_TYPE, DNN_T_DATA_TYPE, 1, &kind));
    SC_TRY(set(d, *out, DNN_TENSOR_DIMS, DNN_T_INT64, 4, dims));
    SC_TRY(set(d, *out, DNN_TENSOR_STRIDES, DNN_T_INT64, 4, strides));
    SC_TRY(set(d, *out, DNN_TENSOR_UID, DNN_T_INT64, 1, &uid));
    SC_TRY(set(d, *out, DNN_TENSOR_ALIGNMENT, DNN_T_INT64, 1, &alignment));
    return settle(d, *out, "a tensor");
}
static sc_status make_convolution(const dnn *d, const dnn_conv *c, void **out)
{
    const int compute = DNN_FLOAT, mode = DNN_CROSS_CORRELATION;
    const int64_t two = 2, pad[2] = {c->pad, c->pad}, stride[2] = {c->stride, c->stride};
    const int64_t dilation[2] = {1, 1};
    SC_TRY(make(d, DNN_CONVOLUTION, out));
    SC_TRY(set(d, *out, DNN_CONV_COMPUTE_TYPE, DNN_T_DATA_TYPE, 1, &compute));
    SC_TRY(set(d, *out, DNN_CONV_MODE, DNN_T_CONVOLUTION_MODE, 1, &mode));
    SC_TRY(set(d, *out, DNN_CONV_SPATIAL_DIMS, DNN_T_INT64, 1, &two));
    SC_TRY(set(d, *out, DNN_CONV_PRE_PADDINGS, DNN_T_INT64, 2, pad));
    SC_TRY(set(d, *out, DNN_CONV_POST_PADDINGS, DNN_T_INT64, 2, pad));
    SC_TRY(set(d, *out, DNN_CONV_STRIDES, DNN_T_INT64, 2, stride));
    SC_TRY(set(d, *out, DNN_CONV_DILATIONS, DNN_T_INT64, 2, dilation));
    return settle(d, *out, "a convolution");
}
static sc_status make_operation(const dnn *d, dnn_pass pass, dnn_graph *g)
{
    static const struct {
        int type, x, w, y, conv;
    } as[] = {
        [DNN_PASS_FORWARD] = {DNN_FORWARD, DNN_FORWARD_X, DNN_FORWARD_W, DNN_FORWARD_Y,
                              DNN_FORWARD_CONV},
        [DNN_PASS_DATA] = {DNN_BACK_DATA, DNN_DATA_DX, DNN_DATA_W, DNN_DATA_DY, DNN_DATA_CONV},
        [DNN_PASS_FILTER] = {DNN_BACK_FILTER, DNN_FILTER_X, DNN_FILTER_DW, DNN_FILTER_DY,
                             DNN_FILTER_CONV},
    };
    SC_TRY(make(d, as[pass].type, &g->op));
    SC_TRY(set_child(d, g->op, as[pass].x, &g->tensor[0]));
    SC_TRY(set_child(d, g->op, as[pass].w, &g->tensor[1]));
    SC_TRY(set_child(d, g->op, as[pass].y, &g->tensor[2]));
    SC_TRY(set_child(d, g->op, as[pass].conv, &g->conv));
    return settle(d, g->op, "a convolution's operation");
}

sc_status dnn_graph_build(const dnn *d, const dnn_conv *c, dnn_graph *g)
{
    sc_status status = SC_OK;
    *g = (dnn_graph){{NULL}, NULL, NULL, NULL};
    SC_TRY_GOTO(make_tensor(d, c->type, UID_X, c->n, c->c, c->h, c->w, &g->tensor[0]));
    SC_TRY_GOTO(make_tensor(d, c->type, UID_W, c->o, c->c, c->kernel, c->kernel, &g->tensor[1]));
    SC_TRY_GOTO(make_tensor(d, c->type, UID_Y, c->n, c->o, c->oh, c->ow, &g->tensor[2]));
    SC_TRY_GOTO(make_convolution(d, c, &g->conv));
    SC_TRY_GOTO(make_operation(d, c->pass, g));
    SC_TRY_GOTO(make(d, DNN_GRAPH, &g->graph));
    SC_TRY_GOTO(set_child(d, g->graph, DNN_GRAPH_OPS, &g->op));
    if (d->handle != NULL)
        SC_TRY_GOTO(set(d, g->graph, DNN_GRAPH_HANDLE, DNN_T_HANDLE, 1, &d->handle));
    SC_TRY_GOTO(settle(d, g->graph, "a graph"));
done:
    if (status != SC_OK)
        dnn_graph_free(d, g);
    return status;
}
void dnn_graph_free(const dnn *d, dnn_graph *g)
{
    void *const all[] = {g->graph, g->op, g->conv, g->tensor[0], g->tensor[1], g->tensor[2]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] != NULL)
            (void)d->api.descriptor_free(all[i]);
    *g = (dnn_graph){{NULL}, NULL, NULL, NULL};
}

sc_status dnn_bind(dnn *d, void *x, void *w, void *y, void *workspace, void **pack)
{
    const int64_t uids[3] = {UID_X, UID_W, UID_Y};
    void *const pointers[3] = {x, w, y};
    sc_status status = SC_OK;
    *pack = NULL;
    for (int i = 0; i < 3; i++)
        if (pointers[i] == NULL || (uintptr_t)pointers[i] % 16 != 0)
            return sc_fail(SC_EINTERNAL, "cuda: a convolution's tensor %d lies at %p", i,
                           pointers[i]);
    SC_TRY_GOTO(make(d, DNN_PACK, pack));
    SC_TRY_GOTO(set(d, *pack, DNN_PACK_UIDS, DNN_T_INT64, 3, uids));
    SC_TRY_GOTO(set(d, *pack, DNN_PACK_POINTERS, DNN_T_POINTER, 3, pointers));
    SC_TRY_GOTO(set(d, *pack, DNN_PACK_WORKSPACE, DNN_T_POINTER, 1, &workspace));
    SC_TRY_GOTO(settle(d, *pack, "the addresses of a convolution"));
done:
    if (status != SC_OK) {
        dnn_unbind(d, *pack);
        *pack = NULL;
    }
    return status;
}
void dnn_unbind(dnn *d, void *pack)
{
    if (pack != NULL)
        (void)d->api.descriptor_free(pack);
}
sc_status dnn_run(dnn *d, const dnn_plan *p, void *pack, void *stream)
{
    if (d->stream != stream) {
        SC_TRY(dnn_check(d, d->api.set_stream(d->handle, stream), "its stream"));
        d->stream = stream;
    }
    return dnn_check(d, d->api.execute(d->handle, p->plan, pack), p->key);
}
