/* Parameters, gradients and moments out to host tensors in state-dict order, and strictly back in.
 */
#include "params.h"

#include <stdlib.h>
#include <string.h>

#define SHOWN 3 /* offenders named in a message */

/* ---- out --------------------------------------------------------------------------------------
 */

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

/* ---- in ---------------------------------------------------------------------------------------
 */

typedef struct offenders {
    sc_text text;
    size_t count;
} offenders;

static void offend(offenders *o, const char *fmt, ...) SC_PRINTF(2, 3);
static void offend(offenders *o, const char *fmt, ...)
{
    char line[512];
    va_list args;
    if (o->count++ >= SHOWN)
        return;
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    sc_text_putf(&o->text, "%s%s", o->count > 1 ? "; " : "", line);
}

static bool is_float(sc_dtype t)
{
    return t == SC_F32 || t == SC_F64 || t == SC_BF16 || t == SC_F16;
}

static void check_one(const nn_param *item, const sc_tensor *t, offenders *o)
{
    char a[96], b[96];
    bool counter = item->desc.kind == SC_PARAM_COUNTER;
    if (t == NULL)
        offend(o, "'%s' is missing", item->name);
    else if (!sc_shape_equal(&t->shape, &item->desc.shape))
        offend(o, "'%s' is %s, not %s", item->name, sc_shape_text(&t->shape, a),
               sc_shape_text(&item->desc.shape, b));
    else if (counter == is_float(t->dtype))
        offend(o, "'%s' holds %s", item->name, sc_dtype_name(t->dtype));
}

static bool wanted(const nn_param *item, bool trainable_only)
{
    return item->trainable || !trainable_only;
}

/* Tensors of the set that no parameter asks for, with the nearest name. */
static sc_status check_extra(const sc_params *p, const sc_tensor_set *set, bool trainable_only,
                             offenders *o)
{
    const char **names = sc_alloc(p->count, sizeof *names);
    size_t n = 0;
    if (names == NULL)
        return SC_ENOMEM;
    for (size_t i = 0; i < p->count; i++)
        if (wanted(&p->items[i], trainable_only))
            names[n++] = p->items[i].name;
    for (size_t i = 0; i < set->count; i++) {
        const char *name = set->items[i].name;
        int at = nn_params_find(p, name);
        if (at >= 0 && wanted(&p->items[at], trainable_only))
            continue;
        const char *near = o->count < SHOWN ? sc_nearest(name, names, n) : NULL;
        offend(o, near != NULL ? "'%s' is unknown (nearest: '%s')" : "'%s' is unknown", name, near);
    }
    free(names);
    return SC_OK;
}

/* Everything is checked before anything is written. */
static sc_status check_set(const sc_params *p, const sc_tensor_set *set, bool trainable_only,
                           const char *what)
{
    offenders o = {0};
    sc_text_init(&o.text);
    for (size_t i = 0; i < p->count; i++)
        if (wanted(&p->items[i], trainable_only))
            check_one(&p->items[i], sc_tensor_set_find(set, p->items[i].name), &o);
    sc_status status = check_extra(p, set, trainable_only, &o);
    if (status == SC_OK)
        status = sc_text_status(&o.text);
    if (status == SC_OK && o.count > SHOWN)
        status = sc_fail(SC_EFORMAT, "%s do not fit the model: %s; and %zu more", what, o.text.data,
                         o.count - SHOWN);
    else if (status == SC_OK && o.count > 0)
        status = sc_fail(SC_EFORMAT, "%s do not fit the model: %s", what, o.text.data);
    sc_text_free(&o.text);
    return status;
}

static sc_status import_one(sc_params *p, nn_param *item, const sc_tensor *t, char *base)
{
    const sc_backend *b = p->device->backend;
    int64_t count = sc_shape_count(&item->desc.shape);
    if (item->desc.kind == SC_PARAM_COUNTER) {
        item->counter = (int64_t)sc_tensor_get(t, 0);
        return SC_OK;
    }
    void *to = base + item->offset * sc_dtype_size(b->real);
    if (t->dtype == b->real) {
        b->param_import(p->device, &item->desc, t->data, to);
        return SC_OK;
    }
    sc_tensor host;
    SC_TRY(sc_tensor_new(NULL, b->real, item->desc.shape, &host));
    for (int64_t i = 0; i < count; i++)
        sc_tensor_set_element(&host, i, sc_tensor_get(t, i));
    b->param_import(p->device, &item->desc, host.data, to);
    sc_tensor_free(&host);
    return SC_OK;
}

static sc_status import_all(sc_params *p, const sc_tensor_set *set, bool trainable_only, char *base)
{
    for (size_t i = 0; i < p->count; i++) {
        nn_param *item = &p->items[i];
        if (!wanted(item, trainable_only))
            continue;
        SC_TRY(import_one(p, item, sc_tensor_set_find(set, item->name), base));
        item->shared.version++;
    }
    return SC_OK;
}

sc_status sc_params_import(sc_params *p, const sc_tensor_set *set)
{
    SC_TRY(check_set(p, set, false, "parameters"));
    return import_all(p, set, false, p->values);
}

sc_status sc_params_import_moments(sc_params *p, const sc_tensor_set *m, const sc_tensor_set *v)
{
    SC_TRY(check_set(p, m, true, "moments (exp_avg)"));
    SC_TRY(check_set(p, v, true, "moments (exp_avg_sq)"));
    SC_TRY(import_all(p, m, true, p->m));
    return import_all(p, v, true, p->v);
}
