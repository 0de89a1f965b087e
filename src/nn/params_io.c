/* Parameters, gradients and moments out to host tensors in state-dict order. */
#include "params.h"

#include <stdlib.h>
#include <string.h>

/* Adds `base` + the parameter's offset as a tensor of `real`, or the counter as I64. */
static sc_status export_one(const sc_params *p, const nn_param *item, const char *base,
                            sc_tensor_set *out)
{
    const sc_backend *b = p->device->backend;
    bool counter = item->desc.kind == SC_PARAM_COUNTER;
    sc_tensor t;
    SC_TRY(sc_tensor_new(item->name, counter ? SC_I64 : b->real, item->desc.shape, &t));
    if (counter)
        memcpy(t.data, &item->counter, sizeof item->counter);
    else
        b->param_export(p->device, &item->desc, base + item->offset * sc_dtype_size(b->real),
                        t.data);
    sc_status status = sc_tensor_set_add(out, &t);
    if (status != SC_OK)
        sc_tensor_free(&t);
    return status;
}

static sc_status export_all(const sc_params *p, const char *base, bool trainable_only,
                            sc_tensor_set *out)
{
    *out = (sc_tensor_set){0};
    if (p->device->backend->sync != NULL)
        SC_TRY(p->device->backend->sync(p->device));
    for (size_t i = 0; i < p->count; i++) {
        if (trainable_only && !p->items[i].trainable)
            continue;
        sc_status status = export_one(p, &p->items[i], base, out);
        if (status != SC_OK) {
            sc_tensor_set_free(out);
            return status;
        }
    }
    return SC_OK;
}

sc_status sc_params_export(const sc_params *p, sc_tensor_set *out)
{
    return export_all(p, p->values, false, out);
}

sc_status sc_params_export_gradients(const sc_params *p, sc_tensor_set *out)
{
    return export_all(p, p->grads, true, out);
}

sc_status sc_params_export_moments(const sc_params *p, sc_tensor_set *m, sc_tensor_set *v)
{
    SC_TRY(export_all(p, p->m, true, m));
    sc_status status = export_all(p, p->v, true, v);
    if (status != SC_OK)
        sc_tensor_set_free(m);
    return status;
}

size_t sc_params_room(const sc_params *p)
{
    size_t room = 0, size = sc_dtype_size(p->device->backend->real);
    for (size_t i = 0; i < p->count; i++) {
        size_t bytes = (size_t)sc_shape_count(&p->items[i].desc.shape) * size;
        if (!nn_param_is_plain(p, &p->items[i]) && bytes > room)
            room = bytes;
    }
    return room;
}

sc_status sc_params_view(const sc_params *p, size_t i, sc_param_part part, void *room,
                         const void **bytes)
{
    const sc_backend *b = p->device->backend;
    const nn_param *item = &p->items[i];
    const char *const base[] = {p->values, p->m, p->v};
    *bytes = NULL;
    if (part != SC_PART_VALUE && !item->trainable)
        return SC_OK;
    if (b->sync != NULL)
        SC_TRY(b->sync(p->device));
    if (item->desc.kind == SC_PARAM_COUNTER) {
        *bytes = &item->counter;
        return SC_OK;
    }
    const char *from = base[part] + item->offset * sc_dtype_size(b->real);
    *bytes = from;
    if (!nn_param_is_plain(p, item)) {
        b->param_export(p->device, &item->desc, from, room);
        *bytes = room;
    }
    return SC_OK;
}
