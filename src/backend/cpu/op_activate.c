/* activate and multiply: element by element over the stored array. f(0) = 0 keeps padding channels
 * 0; the sigmoid, for which that is not so, is not recorded on images. */
#include "cpu.h"

static inline char *offset(const void *p, int64_t i, bool bf)
{
    return (char *)(uintptr_t)p + (size_t)i * (bf ? 2 : 4);
}
static inline int64_t piece(int64_t count, int64_t i)
{
    return count - i < CPU_GRAIN ? count - i : CPU_GRAIN;
}

static sc_status activate_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    const int64_t count = cpu_count(&n->out[0].desc);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += CPU_GRAIN)
        d->k.activate(n->attrs.activation, offset(n->out[0].data, i, yb), yb,
                      offset(n->in[0].data, i, xb), xb, piece(count, i));
    return SC_OK;
}
static sc_status activate_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    if (!n->in[0].grad)
        return SC_OK;
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    const int64_t count = cpu_count(&n->out[0].desc);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += CPU_GRAIN)
        d->k.activate_back(n->attrs.activation, offset(n->in[0].grad, i, xb), xb,
                           n->in[0].accumulate, offset(n->out[0].grad, i, yb), yb,
                           offset(n->in[0].data, i, xb), xb, piece(count, i));
    return SC_OK;
}
const cpu_op cpu_op_activate = {NULL, NULL, NULL, activate_forward, activate_backward};

/* ---- multiply ---- */
static sc_status multiply_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d, (void)saved, (void)scratch;
    if (n->in[0].desc.kind != n->in[1].desc.kind || n->in[0].desc.kind != n->out[0].desc.kind)
        return sc_fail(SC_EUNSUPPORTED, "cpu: multiply of mixed value kinds");
    return SC_OK;
}
static sc_status multiply_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const bool bf = cpu_bf16(d, &n->out[0].desc);
    const int64_t count = cpu_count(&n->out[0].desc);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += CPU_GRAIN)
        d->k.multiply(n->attrs.activation, offset(n->out[0].data, i, bf),
                      offset(n->in[0].data, i, bf), offset(n->in[1].data, i, bf), bf,
                      piece(count, i));
    return SC_OK;
}
static sc_status multiply_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const bool bf = cpu_bf16(d, &n->out[0].desc);
    const int64_t count = cpu_count(&n->out[0].desc);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += CPU_GRAIN)
        d->k.multiply_back(n->attrs.activation, offset(n->out[0].grad, i, bf),
                           offset(n->in[0].data, i, bf), offset(n->in[1].data, i, bf),
                           n->in[0].grad ? offset(n->in[0].grad, i, bf) : NULL, n->in[0].accumulate,
                           n->in[1].grad ? offset(n->in[1].grad, i, bf) : NULL, n->in[1].accumulate,
                           bf, piece(count, i));
    return SC_OK;
}
const cpu_op cpu_op_multiply = {multiply_memory, NULL, NULL, multiply_forward, multiply_backward};
