/* Parameters and moments strictly back in, one tensor at a time. */
#include "params.h"

#include <stdlib.h>
#include <string.h>

/* Which parameters a reader has to hold. */
typedef enum scope { ALL, TRAINABLE, SOME } scope;

static bool wanted(const nn_param *item, scope s)
{
    return item->trainable || s != TRAINABLE;
}

static int find(const sc_tensor_reader *r, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->items[i].name, name) == 0)
            return (int)i;
    return -1;
}

static void check_fit(const nn_param *item, const sc_tensor *t, sc_offenders *o)
{
    char a[96], b[96];
    bool counter = item->desc.kind == SC_PARAM_COUNTER;
    if (!sc_shape_equal(&t->shape, &item->desc.shape))
        sc_offend(o, "'%s' is %s, not %s", item->name, sc_shape_text(&t->shape, a),
                  sc_shape_text(&item->desc.shape, b));
    else if (counter == sc_dtype_is_float(t->dtype))
        sc_offend(o, "'%s' holds %s", item->name, sc_dtype_name(t->dtype));
}

/* "'name' is missing", or another verdict, with the nearest of the names there are. */
static void offend_near(sc_offenders *o, const char *name, const char *verdict,
                        const char *const *names, size_t n)
{
    const char *near = o->count < SC_OFFENDERS_SHOWN ? sc_nearest(name, names, n) : NULL;
    sc_offend(o, near != NULL ? "'%s' is %s (nearest: '%s')" : "'%s' is %s", name, verdict, near);
}

/* Parameters that the reader has to hold and does not, or holds otherwise. */
static sc_status check_wanted(const sc_params *p, const sc_tensor_reader *r, scope s,
                              sc_offenders *o)
{
    const char **names = sc_alloc(r->count, sizeof *names);
    if (names == NULL)
        return SC_ENOMEM;
    for (size_t i = 0; i < r->count; i++)
        names[i] = r->items[i].name;
    for (size_t i = 0; i < p->count; i++) {
        int at = wanted(&p->items[i], s) ? find(r, p->items[i].name) : -1;
        if (at >= 0)
            check_fit(&p->items[i], &r->items[at], o);
        else if (wanted(&p->items[i], s) && s != SOME)
            offend_near(o, p->items[i].name, "missing", names, r->count);
    }
    free(names);
    return SC_OK;
}

/* Tensors that no parameter asks for. */
static sc_status check_extra(const sc_params *p, const sc_tensor_reader *r, scope s,
                             sc_offenders *o)
{
    const char **names = sc_alloc(p->count, sizeof *names);
    size_t n = 0;
    if (names == NULL)
        return SC_ENOMEM;
    for (size_t i = 0; i < p->count; i++)
        if (wanted(&p->items[i], s))
            names[n++] = p->items[i].name;
    for (size_t i = 0; i < r->count; i++) {
        int at = nn_params_find(p, r->items[i].name);
        if (at < 0 || !wanted(&p->items[at], s))
            offend_near(o, r->items[i].name, "unknown", names, n);
    }
    free(names);
    return SC_OK;
}

/* Everything is checked before anything is written. */
static sc_status check_all(const sc_params *p, const sc_tensor_reader *r, scope s, const char *what)
{
    sc_offenders o = {0};
    sc_status status = check_wanted(p, r, s, &o);
    if (status == SC_OK)
        status = check_extra(p, r, s, &o);
    sc_status verdict = sc_offenders_status(&o, "%s do not fit the model", what);
    return status == SC_OK ? verdict : status;
}

size_t sc_graph_param_count(const sc_graph *g)
{
    return nn_graph_ok(g) ? (size_t)g->n_params : 0;
}

sc_param_info sc_graph_param_info(const sc_graph *g, size_t i)
{
    const graph_param *p = &g->params[i];
    return (sc_param_info){.name = p->name,
                           .shape = p->shape,
                           .kind = p->kind,
                           .init = p->init,
                           .trainable = p->trainable};
}

sc_status sc_params_check(const sc_graph *g, const sc_tensor_reader *r)
{
    SC_TRY(sc_graph_status(g));
    sc_params p = {.count = (size_t)g->n_params};
    p.items = sc_alloc(p.count, sizeof *p.items);
    if (p.items == NULL)
        return SC_ENOMEM;
    for (size_t i = 0; i < p.count; i++) {
        const graph_param *from = &g->params[i];
        p.items[i].name = (char *)from->name; /* the graph's */
        p.items[i].desc = (sc_param_desc){.kind = from->kind, .shape = from->shape};
    }
    sc_status status = check_all(&p, r, ALL, "parameters");
    free(p.items);
    return status;
}

/* The types of published files by straight loops: 60 million elements are common. */
static void convert(const void *from, sc_dtype have, char *to, sc_dtype want, int64_t n)
{
    const uint16_t *half = from;
    float *single = (float *)(void *)to;
    if (have == SC_F16 && want == SC_F32) {
        for (int64_t i = 0; i < n; i++)
            single[i] = sc_f16_to_f32(half[i]);
    } else if (have == SC_BF16 && want == SC_F32) {
        for (int64_t i = 0; i < n; i++)
            single[i] = sc_bf16_to_f32(half[i]);
    } else {
        const sc_tensor x = {.dtype = have, .data = (void *)from};
        sc_tensor y = {.dtype = want, .data = to};
        for (int64_t i = 0; i < n; i++)
            sc_tensor_set_element(&y, i, sc_tensor_get(&x, i));
    }
}

/* Widens the n elements that lie at the end of the n of `to` in place, from the front on: what is
 * written never reaches what is still to be read. */
static void widen(void *memory, sc_dtype from, sc_dtype to, int64_t n)
{
    enum { PIECE = 1024 };
    double piece[PIECE]; /* room for any type */
    size_t narrow = sc_dtype_size(from), wide = sc_dtype_size(to);
    char *source = (char *)memory + (size_t)n * (wide - narrow);
    for (int64_t at = 0; at < n; at += PIECE) {
        int64_t count = n - at < PIECE ? n - at : PIECE;
        memcpy(piece, source + (size_t)at * narrow, (size_t)count * narrow);
        convert(piece, from, (char *)memory + (size_t)at * wide, to, count);
    }
}

/* Tensor i of the reader as n elements of `real`. */
static sc_status read_as(const sc_tensor_reader *r, size_t i, sc_dtype real, void *to)
{
    const sc_tensor *t = &r->items[i];
    int64_t n = sc_shape_count(&t->shape);
    size_t have = sc_dtype_size(t->dtype), want = sc_dtype_size(real);
    if (t->dtype == real)
        return r->read(r->ctx, i, to);
    if (have < want) {
        SC_TRY(r->read(r->ctx, i, (char *)to + (size_t)n * (want - have)));
        widen(to, t->dtype, real, n);
        return SC_OK;
    }
    sc_tensor wide, narrow = {.dtype = real, .data = to};
    SC_TRY(sc_tensor_new(NULL, t->dtype, t->shape, &wide));
    sc_status status = r->read(r->ctx, i, wide.data);
    for (int64_t k = 0; k < n && status == SC_OK; k++)
        sc_tensor_set_element(&narrow, k, sc_tensor_get(&wide, k));
    sc_tensor_free(&wide);
    return status;
}

static sc_status read_counter(nn_param *item, const sc_tensor_reader *r, size_t i)
{
    int64_t word = 0;
    const sc_tensor t = {.dtype = r->items[i].dtype, .data = &word};
    SC_TRY(r->read(r->ctx, i, &word));
    item->counter = (int64_t)sc_tensor_get(&t, 0);
    return SC_OK;
}

static sc_status read_one(sc_params *p, nn_param *item, const sc_tensor_reader *r, size_t i,
                          char *base)
{
    const sc_backend *b = p->device->backend;
    if (item->desc.kind == SC_PARAM_COUNTER)
        return read_counter(item, r, i);
    void *to = base + item->offset * sc_dtype_size(b->real);
    if (nn_param_is_plain(p, item))
        return read_as(r, i, b->real, to);
    sc_tensor host;
    SC_TRY(sc_tensor_new(NULL, b->real, item->desc.shape, &host));
    sc_status status = read_as(r, i, b->real, host.data);
    if (status == SC_OK)
        b->param_import(p->device, &item->desc, host.data, to);
    sc_tensor_free(&host);
    return status;
}

/* In the reader's order, which is the order of the file. */
static sc_status read_all(sc_params *p, const sc_tensor_reader *r, char *base)
{
    if (p->device->backend->sync != NULL)
        SC_TRY(p->device->backend->sync(p->device));
    for (size_t i = 0; i < r->count; i++) {
        nn_param *item = &p->items[nn_params_find(p, r->items[i].name)];
        SC_TRY(read_one(p, item, r, i, base));
        item->shared.version++;
        p->loads++;
    }
    return SC_OK;
}

sc_status sc_params_read(sc_params *p, const sc_tensor_reader *r)
{
    SC_TRY(check_all(p, r, ALL, "parameters"));
    return read_all(p, r, p->values);
}

sc_status sc_params_read_some(sc_params *p, const sc_tensor_reader *r)
{
    SC_TRY(check_all(p, r, SOME, "parameters"));
    return read_all(p, r, p->values);
}

sc_status sc_params_read_moments(sc_params *p, const sc_tensor_reader *m, const sc_tensor_reader *v)
{
    SC_TRY(check_all(p, m, TRAINABLE, "moments (exp_avg)"));
    SC_TRY(check_all(p, v, TRAINABLE, "moments (exp_avg_sq)"));
    SC_TRY(read_all(p, m, p->m));
    return read_all(p, v, p->v);
}

static sc_status from_set(void *ctx, size_t i, void *dst)
{
    const sc_tensor *t = &((const sc_tensor_set *)ctx)->items[i];
    memcpy(dst, t->data, sc_tensor_bytes(t));
    return SC_OK;
}

static sc_tensor_reader reader_of(const sc_tensor_set *set)
{
    return (sc_tensor_reader){set->items, set->count, from_set, (void *)set};
}

sc_status sc_params_import(sc_params *p, const sc_tensor_set *set)
{
    const sc_tensor_reader r = reader_of(set);
    return sc_params_read(p, &r);
}

sc_status sc_params_import_moments(sc_params *p, const sc_tensor_set *m, const sc_tensor_set *v)
{
    const sc_tensor_reader a = reader_of(m), b = reader_of(v);
    return sc_params_read_moments(p, &a, &b);
}
