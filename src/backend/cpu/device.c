/* Opening the CPU: which instructions, how many threads, and the table of the contract. */
#include "cpu.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static const cpu_op *const ops[SC_OP_COUNT] = {
#define SC_OP(E, name, i0, i1, o, p, ni, no) [SC_OP_##E] = &cpu_op_##name,
#include "superclip/ops.def"
#undef SC_OP
};

/* oneDNN and our kernels must agree, so its opinion counts (ONEDNN_MAX_CPU_ISA lowers both). */
static bool choose_kernels(cpu_kernels *k)
{
    cpu_kernels_base(k);
    bool bf16 = false;
#ifdef SC_CPU_X86
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    const unsigned avx2 = dnnl_cpu_isa_avx2, core = dnnl_cpu_isa_avx512_core,
                   core_bf16 = dnnl_cpu_isa_avx512_core_bf16;
    bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    bool wide = fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (wide && (isa & core_bf16) == core_bf16 && __builtin_cpu_supports("avx512bf16")) {
        cpu_kernels_avx512_bf16(k);
        bf16 = true;
    } else if (wide && (isa & core) == core) {
        cpu_kernels_avx512(k);
    } else if (fma && (isa & avx2) == avx2) {
        cpu_kernels_avx2(k);
    }
#endif
    return bf16;
}

static void cpu_close(sc_device *dev)
{
    cpu_device *d = (cpu_device *)dev;
    if (!d)
        return;
    cpu_sleepers_stop(d->sleepers);
    if (d->stream)
        dnnl_stream_destroy(d->stream);
    if (d->engine)
        dnnl_engine_destroy(d->engine);
    free(d);
}

static sc_status open_onednn(cpu_device *d)
{
    DNNL_TRY(dnnl_engine_create(&d->engine, dnnl_cpu, 0));
    DNNL_TRY(dnnl_stream_create(&d->stream, d->engine, dnnl_stream_in_order));
    return SC_OK;
}

static sc_status cpu_open(const sc_device_options *o, sc_device **out)
{
    *out = NULL;
    if (o->threads < 1)
        return sc_fail(SC_EUSAGE, "cpu: %d threads: need at least 1", o->threads);
    if (o->precision == SC_FP64)
        return sc_fail(SC_EUNSUPPORTED, "cpu: no double precision; use the ref backend");
    cpu_device *d = sc_alloc(1, sizeof *d);
    if (!d)
        return SC_ENOMEM;
    bool bf16 = choose_kernels(&d->k);
    d->head.backend = sc_backend_cpu();
    d->head.precision = o->precision;
    if (o->precision == SC_BF16_MIXED && !bf16) {
        d->head.precision = SC_FP32;
        sc_info(o->log, "cpu: this processor has no bfloat16 instructions: computing in fp32");
    }
    d->head.threads = cpu_fit_threads(o->threads, o->log);
    omp_set_num_threads(d->head.threads);
    d->sleepers = cpu_sleepers_start(d->head.threads);
    sc_status status = open_onednn(d);
    if (status != SC_OK) {
        cpu_close(&d->head);
        return status;
    }
    sc_normalize_table(d->table);
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++)
            d->table_bf16[c][v] = sc_f32_to_bf16(d->table[c][v]);
    const dnnl_version_t *v = dnnl_version();
    snprintf(d->head.description, sizeof d->head.description,
             "cpu: oneDNN %d.%d.%d, %s, %s, %d thread%s", v->major, v->minor, v->patch, d->k.isa,
             d->head.precision == SC_BF16_MIXED ? "bf16" : "fp32", d->head.threads,
             d->head.threads == 1 ? "" : "s");
    *out = &d->head;
    return SC_OK;
}

static sc_status cpu_node_memory(sc_device *dev, const sc_op_node *n, size_t *saved,
                                 size_t *scratch)
{
    cpu_device *d = (cpu_device *)dev;
    omp_set_num_threads(d->head.threads);
    *saved = *scratch = 0;
    return ops[n->op]->memory ? ops[n->op]->memory(d, n, saved, scratch) : SC_OK;
}

static bool cpu_joins(const sc_device *d, const sc_op_node *first, const sc_op_node *second)
{
    (void)d;
    return first->op == SC_OP_BATCH_NORM && cpu_bn_joins(first, second);
}

/* What prepare hands out: the op's own state behind the op, for release. */
typedef struct node_state {
    const cpu_op *op;
    void *state;
} node_state;

static void cpu_release(sc_device *dev, void *state)
{
    node_state *s = state;
    if (s && s->op->release && s->state)
        s->op->release((cpu_device *)dev, s->state);
    free(s);
}
static sc_status cpu_prepare(sc_device *dev, const sc_op_node *n, void **state)
{
    cpu_device *d = (cpu_device *)dev;
    omp_set_num_threads(d->head.threads);
    *state = NULL;
    node_state *s = sc_alloc(1, sizeof *s);
    if (!s)
        return SC_ENOMEM;
    s->op = ops[n->op];
    sc_status status = s->op->prepare ? s->op->prepare(d, n, &s->state) : SC_OK;
    if (status != SC_OK) {
        cpu_release(dev, s);
        return status;
    }
    *state = s;
    return SC_OK;
}
static sc_status cpu_forward(sc_device *dev, const sc_op_node *n, void *state)
{
    cpu_device *d = (cpu_device *)dev;
    omp_set_num_threads(d->head.threads);
    return ops[n->op]->forward(d, n, ((node_state *)state)->state);
}
static double cpu_work(sc_device *dev, const sc_op_node *n, void *state, bool backward)
{
    (void)dev;
    if (n->op != SC_OP_CONV2D)
        return 1;
    return cpu_conv2d_work(n, ((node_state *)state)->state, backward);
}
static sc_status cpu_backward(sc_device *dev, const sc_op_node *n, void *state)
{
    cpu_device *d = (cpu_device *)dev;
    omp_set_num_threads(d->head.threads);
    return ops[n->op]->backward ? ops[n->op]->backward(d, n, ((node_state *)state)->state) : SC_OK;
}

/* The constants of cpu_kernels.adamw. */
static void adamw_factors(const sc_adamw *o, float c[8])
{
    const double c1 = 1 - pow(o->beta1, (double)o->step), c2 = 1 - pow(o->beta2, (double)o->step);
    c[0] = (float)(1 - o->lr * o->weight_decay);
    c[1] = (float)o->beta1;
    c[2] = (float)(1 - o->beta1);
    c[3] = (float)o->beta2;
    c[4] = (float)(1 - o->beta2);
    c[5] = (float)(o->lr / c1);
    c[6] = (float)(1 / sqrt(c2));
    c[7] = (float)o->eps;
}
static void update_range(const cpu_device *d, const float c[8], int64_t n, float *value,
                         const float *grad, float *m, float *v)
{
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += CPU_GRAIN)
        d->k.adamw(value + i, grad + i, m + i, v + i, n - i < CPU_GRAIN ? n - i : CPU_GRAIN, c);
}
static sc_status cpu_adamw(sc_device *dev, const sc_adamw *o, size_t count, void *value,
                           const void *grad, void *m, void *v)
{
    cpu_device *d = (cpu_device *)dev;
    float c[8];
    omp_set_num_threads(d->head.threads);
    adamw_factors(o, c);
    update_range(d, c, (int64_t)count, value, grad, m, v);
    return SC_OK;
}

/* Ops that update their first parameter themselves; the others' gradients are still in the cache.
 */
static sc_status cpu_backward_update(sc_device *dev, const sc_op_node *n, void *state,
                                     const sc_adamw *o)
{
    static const cpu_update updates[SC_OP_COUNT] = {
        [SC_OP_LINEAR] = cpu_linear_update, [SC_OP_EMBED] = cpu_embed_update};
    cpu_device *d = (cpu_device *)dev;
    const bool first = updates[n->op] && n->params[0].grad;
    float c[8];
    adamw_factors(o, c);
    if (first) {
        omp_set_num_threads(d->head.threads);
        SC_TRY(updates[n->op](d, n, ((node_state *)state)->state, c, o->step == 1));
    } else {
        SC_TRY(cpu_backward(dev, n, state));
    }
    for (int i = 0; i < n->n_params; i++) {
        const sc_node_param *p = &n->params[i];
        if (!p->grad)
            continue;
        if (i > 0 || !first)
            update_range(d, c, (int64_t)cpu_param_elements(dev, &p->desc), p->value, p->grad, p->m,
                         p->v);
        p->shared->version++;
    }
    return SC_OK;
}

void cpu_convert(cpu_device *d, void *out, bool out_bf, const void *in, bool in_bf, int64_t count,
                 bool add)
{
    const size_t os = out_bf ? 2 : 4, is = in_bf ? 2 : 4;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += CPU_GRAIN)
        d->k.convert((char *)out + (size_t)i * os, out_bf, (const char *)in + (size_t)i * is, in_bf,
                     count - i < CPU_GRAIN ? count - i : CPU_GRAIN, add);
}
void cpu_zero(void *p, size_t bytes)
{
    const size_t grain = 1 << 16;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < bytes; i += grain)
        memset((char *)p + i, 0, bytes - i < grain ? bytes - i : grain);
}

const sc_backend *sc_backend_cpu(void)
{
    static const sc_backend backend = {
        .name = "cpu",
        .real = SC_F32,
        .open = cpu_open,
        .close = cpu_close,
        .alloc = cpu_alloc,
        .free = cpu_free,
        .value_bytes = cpu_value_bytes,
        .upload = cpu_upload,
        .download = cpu_download,
        .param_elements = cpu_param_elements,
        .param_import = cpu_param_import,
        .param_export = cpu_param_export,
        .param_plain = cpu_param_plain,
        .param_release = cpu_param_release,
        .joins = cpu_joins,
        .node_memory = cpu_node_memory,
        .prepare = cpu_prepare,
        .release = cpu_release,
        .forward = cpu_forward,
        .backward = cpu_backward,
        .backward_update = cpu_backward_update,
        .adamw = cpu_adamw,
        .peak = cpu_peak,
        .work = cpu_work,
    };
    return &backend;
}
