/* A data set that stays in device memory. */
#include "cuda.h"

sc_status cuda_gather(sc_device *head, const sc_value_desc *v, const void *store,
                      const int64_t *rows, void *value)
{
    cuda_device *d = (cuda_device *)head;
    const int64_t n = v->shape.d[0];
    if (n <= 0)
        return SC_OK;
    return cuda_check(
        sc_cuda_gather(d->stream, store, cuda_value_bytes(head, v) / (size_t)n, rows, n, value),
        "gathering rows");
}
