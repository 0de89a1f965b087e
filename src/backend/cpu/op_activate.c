/* activate: element by element over the stored array. f(0) = 0 keeps padding channels 0; the
 * sigmoid, for which that is not so, is not recorded on images. */
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
