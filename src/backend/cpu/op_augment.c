/* augment: the kernel does one image; out-of-range draws are refused before any memory is touched.
 */
#include "cpu.h"

#include <omp.h>
#include <string.h>

static sc_status augment_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)saved;
    if (n->out[0].desc.shape.d[1] != 3 || n->in[1].desc.shape.d[1] != (int64_t)sizeof(sc_augment))
        return sc_fail(SC_EINTERNAL, "cpu: augment: three channels and one sc_augment a row");
    *scratch = cpu_align((size_t)cpu_augment_work(n->attrs.crop) * 4) * (size_t)d->head.threads;
    return SC_OK;
}
static bool inside(const sc_augment *a, int64_t side, int64_t crop)
{
    if (a->crop_top < 0 || a->crop_left < 0 || a->crop_top + crop > side ||
        a->crop_left + crop > side)
        return false;
    for (int i = 0; i < 4; i++)
        if (a->jitter_order[i] > 3)
            return false;
    return a->erase_h <= 0 || a->erase_w <= 0 ||
           (a->erase_top >= 0 && a->erase_left >= 0 && a->erase_top + a->erase_h <= crop &&
            a->erase_left + a->erase_w <= crop);
}
static sc_status augment_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const int64_t rows = n->in[0].desc.shape.d[0], side = n->in[0].desc.shape.d[1],
                  crop = n->attrs.crop;
    const bool bf = cpu_bf16(d, &n->out[0].desc);
    const size_t image = (size_t)(3 * crop * crop) * (bf ? 2 : 4),
                 work = cpu_align((size_t)cpu_augment_work(crop) * 4);
    const sc_augment *draws = n->in[1].data;
    for (int64_t r = 0; r < rows; r++)
        if (!inside(&draws[r], side, crop))
            return sc_fail(SC_EINTERNAL, "cpu: augment: draws of row %lld leave the image",
                           (long long)r);
    const void *table = bf ? (const void *)d->table_bf16 : (const void *)d->table;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        d->k.augment(&draws[r], (const uint8_t *)n->in[0].data + r * side * side * 3, side, crop,
                     table, (uint32_t *)((char *)n->scratch + (size_t)omp_get_thread_num() * work),
                     (char *)n->out[0].data + (size_t)r * image, bf);
    return SC_OK;
}
const cpu_op cpu_op_augment = {augment_memory, NULL, NULL, augment_forward, NULL};
