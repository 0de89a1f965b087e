/* The device: memory, stream, op table, AdamW. */
#include "cuda.h"

#include <stdlib.h>
#include <string.h>

static const cuda_op *const ops[SC_OP_COUNT] = {
    [SC_OP_AUGMENT] = &cuda_op_augment,
    [SC_OP_CONV2D] = &cuda_op_conv2d,
    [SC_OP_BATCH_NORM] = &cuda_op_batch_norm,
    [SC_OP_MAX_POOL] = &cuda_op_max_pool,
    [SC_OP_AVG_POOL] = &cuda_op_avg_pool,
    [SC_OP_LINEAR] = &cuda_op_linear,
    [SC_OP_ADD] = &cuda_op_add,
    [SC_OP_ACTIVATE] = &cuda_op_activate,
    [SC_OP_MULTIPLY] = &cuda_op_multiply,
    [SC_OP_DEPTHWISE_CONV2D] = &cuda_op_depthwise_conv2d,
    [SC_OP_CHANNEL_NORM] = &cuda_op_channel_norm,
    [SC_OP_LAYER_SCALE] = &cuda_op_layer_scale,
    [SC_OP_SCALE_CHANNELS] = &cuda_op_scale_channels,
    [SC_OP_LAYER_NORM] = &cuda_op_layer_norm,
    [SC_OP_EMBED] = &cuda_op_embed,
    [SC_OP_PREPEND] = &cuda_op_prepend,
    [SC_OP_ATTENTION] = &cuda_op_attention,
    [SC_OP_SELECT_ROW] = &cuda_op_select_row,
    [SC_OP_L2_NORMALIZE] = &cuda_op_l2_normalize,
    [SC_OP_GROUP_MEAN] = &cuda_op_group_mean,
    [SC_OP_ALL_GATHER] = &cuda_op_all_gather,
    [SC_OP_SUPERCLIP_LOSS] = &cuda_op_superclip_loss,
};

sc_status cuda_check(int error, const char *what)
{
    if (error == 0)
        return SC_OK;
    return sc_fail(SC_EINTERNAL, "cuda: %s: %s", what, sc_cuda_error_text(error));
}

static void cuda_close(sc_device *head)
{
    cuda_device *d = (cuda_device *)head;
    if (d == NULL)
        return;
    peers_free(d->peers);
    dnn_close(d->dnn);
    blas_close(d->blas);
    if (d->absent == NULL) { /* to free nothing would start the driver */
        (void)sc_cuda_free(d->table);
        (void)sc_cuda_free(d->constants);
        (void)sc_cuda_free(d->faults);
        cuda_queue_close(d);
    }
    free(d->staging);
    free(d);
}

static sc_status fill_device(cuda_device *d)
{
    float table[3][256];
    void *p = NULL;
    SC_TRY(cuda_queue_open(d));
    SC_TRY(peers_new(d->streams[SC_BRANCH_PEERS], d->facts.uuid, d->log, &d->peers));
    CUDA_TRY(sc_cuda_malloc(sizeof table, &p), "no memory for the pixel table");
    d->table = p;
    CUDA_TRY(sc_cuda_malloc(CUDA_ADAMW * sizeof(float), &p), "no memory");
    d->constants = p;
    CUDA_TRY(sc_cuda_malloc(CUDA_FAULTS * sizeof(int), &p), "no memory");
    d->faults = p;
    CUDA_TRY(sc_cuda_zero(d->stream, d->faults, CUDA_FAULTS * sizeof(int)), "clearing");
    sc_normalize_table(table);
    CUDA_TRY(sc_cuda_copy(d->stream, d->table, table, sizeof table), "copying the pixel table");
    return cuda_check(sc_cuda_stream_wait(d->stream), "the first copies");
}

/* CUDA's words for a driver that is not there and for one that is too old are the same. */
static sc_status no_device(int failed)
{
    int driver, built_for;
    sc_cuda_versions(&driver, &built_for);
    if (driver == 0)
        return sc_fail(SC_EUNSUPPORTED, "cuda: no device: no NVIDIA driver was found (%s)",
                       sc_cuda_error_text(failed));
    if (driver / 1000 < built_for / 1000)
        return sc_fail(SC_EUNSUPPORTED,
                       "cuda: no device: the driver is for CUDA %d.%d, this build for CUDA %d.%d; "
                       "install a newer driver, or build with CUDA %d",
                       driver / 1000, driver % 1000 / 10, built_for / 1000, built_for % 1000 / 10,
                       driver / 1000);
    return sc_fail(SC_EUNSUPPORTED, "cuda: no device: %s", sc_cuda_error_text(failed));
}
static sc_status cuda_open_nth(const sc_device_options *o, int number, sc_device **out)
{
    int count = 0, failed = sc_cuda_devices(&count);
    if (failed != 0)
        return no_device(failed);
    if (count < 1)
        return sc_fail(SC_EUNSUPPORTED, "cuda: the driver knows no device");
    cuda_device *d = sc_alloc(1, sizeof *d);
    if (d == NULL)
        return SC_ENOMEM;
    sc_status status = SC_OK;
    d->log = o->log;
    number = (int)((unsigned)number % (unsigned)count);
    failed = sc_cuda_use(number, &d->facts);
    if (failed != 0)
        status =
            sc_fail(SC_EUNSUPPORTED, "cuda: device %d: %s", number, sc_cuda_error_text(failed));
    else if (d->facts.major < 8)
        status = sc_fail(SC_EUNSUPPORTED, "cuda: %s is sm_%d%d; sm_80 or newer is needed",
                         d->facts.name, d->facts.major, d->facts.minor);
    else
        status = fill_device(d);
    if (status != SC_OK) {
        cuda_close(&d->head);
        return status;
    }
    d->head.backend = sc_backend_cuda();
    d->head.precision = o->precision == SC_BF16_MIXED ? SC_BF16_MIXED : SC_FP32;
    d->head.threads = o->threads;
    (void)snprintf(d->head.description, sizeof d->head.description, "cuda: GPU %d, %s, sm_%d%d, %s",
                   number, d->facts.name, d->facts.major, d->facts.minor,
                   d->head.precision == SC_BF16_MIXED ? "bf16" : "fp32");
    *out = &d->head;
    return SC_OK;
}

static sc_status cuda_open(const sc_device_options *o, sc_device **out)
{
    return cuda_open_nth(o, 0, out);
}

static sc_status cuda_alloc(sc_device *head, size_t bytes, void **out)
{
    cuda_device *d = (cuda_device *)head;
    if (d->absent != NULL)
        return sc_fail(SC_EUNSUPPORTED, "cuda: there is no %s here to compute on", d->facts.name);
    bytes = cuda_align(bytes > 0 ? bytes : 1);
    int failed = sc_cuda_malloc(bytes, out);
    if (failed != 0)
        return sc_fail(SC_ENOMEM, "cuda: %zu bytes on the device: %s", bytes,
                       sc_cuda_error_text(failed));
    return cuda_check(sc_cuda_zero(d->stream, *out, bytes), "clearing memory");
}
static void cuda_free(sc_device *head, void *p)
{
    cuda_device *d = (cuda_device *)head;
    if (p != NULL && cuda_check(sc_cuda_free(p), "freeing memory") != SC_OK && d->broken == SC_OK)
        d->broken = SC_EINTERNAL;
}

static sc_status cuda_memory(sc_device *head, sc_device_memory *out)
{
    const cuda_device *d = (const cuda_device *)head;
    *out = (sc_device_memory){0};
    if (d->absent != NULL) {
        *out = (sc_device_memory){cuda_absent_free(d->absent), d->absent->memory, 0};
        return SC_OK;
    }
    CUDA_TRY(sc_cuda_memory(&out->free, &out->total), "asking for the memory that is free");
    for (size_t i = 0; i < sizeof d->facts.uuid; i++) /* random in every byte: none is left out */
        out->unit ^= (uint64_t)(unsigned char)d->facts.uuid[i] << 8 * (i % sizeof out->unit);
    return SC_OK;
}

/* $SUPERCLIP_CACHE (empty: none), else the user's cache folder; NULL when there is none. */
static char *cache_folder(void)
{
    const char *own = getenv("SUPERCLIP_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (own != NULL)
        return *own != '\0' ? sc_strdup(own) : NULL;
    if (xdg != NULL && *xdg == '/')
        return sc_path_join(xdg, "superclip");
    return home != NULL && *home == '/' ? sc_format("%s/.cache/superclip", home) : NULL;
}
sc_status cuda_dnn(cuda_device *d)
{
    dnn_api api;
    if (d->dnn != NULL)
        return SC_OK;
    SC_TRY(dnn_load(&api));
    char *folder = cache_folder();
    const sc_status status = dnn_open(&api, d->stream, folder, d->log, &d->dnn);
    free(folder);
    return status;
}
sc_status cuda_blas(cuda_device *d)
{
    return d->blas != NULL || d->absent != NULL ? SC_OK : blas_open(&d->blas);
}

static sc_status cuda_supports(const sc_device *d, const sc_op_node *n)
{
    (void)d;
    if (ops[n->op] == NULL)
        return sc_fail(SC_EUNSUPPORTED, "cuda: this op has no kernel in this build");
    return SC_OK;
}
static sc_status cuda_node_memory(sc_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    *saved = *scratch = 0;
    SC_TRY(cuda_supports(d, n));
    return ops[n->op]->memory != NULL ? ops[n->op]->memory((cuda_device *)d, n, saved, scratch)
                                      : SC_OK;
}
/* release is not told which op it is. */
typedef struct bound_state {
    const cuda_bound *op;
    void *inner;
} bound_state;
static sc_status cuda_prepare(sc_device *head, const sc_op_node *n, void **state)
{
    cuda_device *d = (cuda_device *)head;
    bound_state *s = NULL;
    void *inner = NULL;
    *state = NULL;
    SC_TRY(cuda_supports(head, n));
    if (ops[n->op]->bound == NULL)
        return SC_OK;
    SC_TRY(ops[n->op]->bound->prepare(d, n, &inner));
    s = sc_alloc(1, sizeof *s);
    if (s == NULL) {
        ops[n->op]->bound->release(d, inner);
        return SC_ENOMEM;
    }
    *s = (bound_state){ops[n->op]->bound, inner};
    *state = s;
    if (d->dnn != NULL)
        dnn_keep_plans(d->dnn, d->log);
    return SC_OK;
}
static void cuda_release(sc_device *d, void *state)
{
    bound_state *s = state;
    if (s != NULL)
        s->op->release((cuda_device *)d, s->inner);
    free(s);
}
static sc_status cuda_forward(sc_device *head, const sc_op_node *n, void *state)
{
    cuda_device *d = (cuda_device *)head;
    const bound_state *s = state;
    return s != NULL ? s->op->forward(d, n, s->inner) : ops[n->op]->forward(d, n);
}
static sc_status cuda_backward(sc_device *head, const sc_op_node *n, void *state)
{
    cuda_device *d = (cuda_device *)head;
    const bound_state *s = state;
    if (s != NULL)
        return s->op->backward(d, n, s->inner);
    return ops[n->op]->backward != NULL ? ops[n->op]->backward(d, n) : SC_OK;
}

static sc_status cuda_adamw(sc_device *head, const sc_adamw *o, size_t count, void *value,
                            const void *grad, void *m, void *v)
{
    cuda_device *d = (cuda_device *)head;
    SC_TRY(cuda_bring_constants(d, o));
    return cuda_check(
        sc_cuda_adamw(d->stream, value, grad, m, v, NULL, (int64_t)count, d->constants), "AdamW");
}

sc_status cuda_tell_faults(const int faults[CUDA_FAULTS])
{
    static const char *const what[CUDA_FAULTS] = {
        [FAULT_AUGMENT] = "augment: the draws of row %d leave the image",
        [FAULT_EMBED] = "embed: the token of element %d is not in the vocabulary",
        [FAULT_SELECT] = "select_row: the row of text %d does not exist",
        [FAULT_ATTENTION] = "attention: the last position of text %d is not in the text",
        [FAULT_LOSS] = "superclip_loss: the label of row %d is no class"};
    for (int i = 0; i < CUDA_FAULTS; i++)
        if (faults[i] != 0) {
            char text[128];
            (void)snprintf(text, sizeof text, what[i], faults[i] - 1);
            return sc_fail(SC_EINTERNAL, "%s", text);
        }
    return SC_OK;
}
static sc_status cuda_sync(sc_device *head)
{
    cuda_device *d = (cuda_device *)head;
    int faults[CUDA_FAULTS] = {0};
    SC_TRY(cuda_wait(d));
    CUDA_TRY(sc_cuda_copy(d->stream, faults, d->faults, sizeof faults), "reading faults");
    CUDA_TRY(sc_cuda_stream_wait(d->stream), "reading faults");
    const sc_status status = cuda_tell_faults(faults);
    if (status != SC_OK)
        CUDA_TRY(sc_cuda_zero(d->stream, d->faults, sizeof faults), "clearing faults");
    return status == SC_OK ? d->broken : status;
}

const sc_backend *sc_backend_cuda(void)
{
    static const sc_backend cuda = {
        .name = "cuda",
        .real = SC_F32,
        .open = cuda_open,
        .open_nth = cuda_open_nth,
        .close = cuda_close,
        .alloc = cuda_alloc,
        .free = cuda_free,
        .value_bytes = cuda_value_bytes,
        .upload = cuda_upload,
        .download = cuda_download,
        .param_elements = cuda_param_elements,
        .param_import = cuda_param_import,
        .param_export = cuda_param_export,
        .param_release = cuda_param_release,
        .supports = cuda_supports,
        .node_memory = cuda_node_memory,
        .prepare = cuda_prepare,
        .release = cuda_release,
        .forward = cuda_forward,
        .backward = cuda_backward,
        .adamw = cuda_adamw,
        .sync = cuda_sync,
        .gather = cuda_gather,
        .memory = cuda_memory,
        .join = cuda_join,
        .leave = cuda_leave,
        .sum = cuda_sum_floats,
        .share = cuda_share_floats,
        .queue = &cuda_queue,
    };
    return &cuda;
}
