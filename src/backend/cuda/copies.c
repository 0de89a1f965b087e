/* bfloat16 copies of weights, one a parameter, shared by all programs. */
#include "cuda.h"

#include <stdlib.h>

typedef struct weight_copy {
    void *data;
    uint64_t version;
} weight_copy;

sc_status cuda_weight_prepare(cuda_device *d, const sc_node_param *p, const void **out)
{
    *out = p->value;
    if (d->head.precision != SC_BF16_MIXED)
        return SC_OK;
    weight_copy *c = p->shared->state;
    if (c == NULL) {
        c = sc_alloc(1, sizeof *c);
        if (c == NULL)
            return SC_ENOMEM;
        const size_t bytes = 2 * cuda_param_elements(&d->head, &p->desc);
        const sc_status status = d->head.backend->alloc(&d->head, bytes, &c->data);
        if (status != SC_OK) {
            free(c);
            return status;
        }
        c->version = p->shared->version - 1;
        p->shared->state = c;
    }
    *out = c->data;
    return SC_OK;
}
sc_status cuda_weight_refresh(cuda_device *d, const sc_node_param *p)
{
    weight_copy *c = p->shared->state;
    if (d->head.precision != SC_BF16_MIXED)
        return SC_OK;
    /* A recorded step has to convert what it trains each time, and has converted nothing yet. */
    if (c->version == p->shared->version && !(d->recording && p->grad != NULL))
        return SC_OK;
    if (!d->recording)
        c->version = p->shared->version;
    return cuda_check(sc_cuda_convert(d->stream, (sc_cuda_in){p->value, SC_CUDA_F32},
                                      (sc_cuda_out){c->data, SC_CUDA_BF16, false},
                                      (int64_t)cuda_param_elements(&d->head, &p->desc)),
                      "a weight's bfloat16 copy");
}
void cuda_param_release(sc_device *head, void *state)
{
    weight_copy *c = state;
    if (c == NULL)
        return;
    head->backend->free(head, c->data);
    free(c);
}
