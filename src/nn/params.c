/* Parameters: the flat buffers, AdamW, and what ranks do with them. */
#include "params.h"

#include <stdlib.h>
#include <string.h>

/* Elements: 64 bytes of float or 128 of double, so that offsets suit every backend. */
#define PARAM_ALIGNMENT 16

/* The four sections of the flat buffers, in order. */
typedef enum section { SUMMED, REPLICATED, FROZEN, RUNNING, SECTIONS, NOWHERE } section;

static section section_of(const nn_param *p)
{
    if (p->desc.kind == SC_PARAM_COUNTER)
        return NOWHERE;
    if (p->desc.kind == SC_PARAM_BUFFER)
        return RUNNING;
    if (!p->trainable)
        return FROZEN;
    return p->replicated ? REPLICATED : SUMMED;
}

static sc_status place(sc_params *p)
{
    size_t end[SECTIONS], at = 0;
    for (section s = SUMMED; s < SECTIONS; s++) {
        for (size_t i = 0; i < p->count; i++) {
            nn_param *item = &p->items[i];
            if (section_of(item) != s)
                continue;
            item->offset = at;
            item->elements = p->device->backend->param_elements(p->device, &item->desc);
            size_t rounded =
                (item->elements + PARAM_ALIGNMENT - 1) & ~(size_t)(PARAM_ALIGNMENT - 1);
            if (rounded < item->elements || at + rounded < at)
                return sc_fail(SC_ENOMEM, "parameters: more than memory can hold");
            at += rounded;
        }
        end[s] = at;
    }
    p->reduced = end[SUMMED];
    p->trained = end[REPLICATED];
    p->buffers = end[FROZEN];
    p->elements = end[RUNNING];
    return SC_OK;
}

static sc_status describe(sc_params *p, const sc_graph *g, const nn_flow *flow)
{
    for (int i = 0; i < g->n_params; i++) {
        const graph_param *from = &g->params[i];
        nn_param *item = &p->items[i];
        if (from->node < 0 && !from->unused)
            return sc_fail(SC_EINTERNAL, "parameter '%s' is declared but no op uses it",
                           from->name);
        item->name = sc_strdup(from->name);
        if (item->name == NULL)
            return SC_ENOMEM;
        const sc_op op = from->unused ? SC_OP_COUNT : g->nodes[from->node].op;
        item->desc = (sc_param_desc){op, from->slot, from->kind, from->shape};
        item->init = from->init;
        item->trainable = flow->param[i];
        item->replicated = from->unused || !nn_node_is_local(g, &g->nodes[from->node]);
        item->shared.version = 1;
    }
    return SC_OK;
}

static sc_status allocate(sc_params *p)
{
    const sc_backend *b = p->device->backend;
    size_t all, trained, size = sc_dtype_size(b->real);
    void *memory[4] = {NULL};
    sc_status status = SC_OK;
    if (sc_mul_overflow(p->elements, size, &all) || sc_mul_overflow(p->trained, size, &trained))
        return sc_fail(SC_ENOMEM, "parameters: more than memory can hold");
    for (int k = 0; k < 4 && status == SC_OK; k++)
        status = b->alloc(p->device, k == 0 ? all : trained, &memory[k]);
    p->values = memory[0];
    p->grads = memory[1];
    p->m = memory[2];
    p->v = memory[3];
    return status;
}

sc_status sc_params_create(sc_device *d, const sc_graph *g, sc_params **out)
{
    nn_flow flow = {0};
    *out = NULL;
    SC_TRY(sc_graph_status(g));
    sc_params *p = sc_alloc(1, sizeof *p);
    if (p == NULL)
        return SC_ENOMEM;
    p->device = d;
    p->items = sc_alloc((size_t)g->n_params, sizeof *p->items);
    sc_status status = SC_ENOMEM;
    if (p->items == NULL)
        goto done;
    p->count = (size_t)g->n_params;
    SC_TRY_GOTO(nn_flow_make(g, &flow));
    SC_TRY_GOTO(describe(p, g, &flow));
    SC_TRY_GOTO(place(p));
    SC_TRY_GOTO(allocate(p));
    *out = p;
done:
    nn_flow_free(&flow);
    if (status != SC_OK)
        sc_params_free(p);
    return status;
}

void sc_params_free(sc_params *p)
{
    if (p == NULL)
        return;
    const sc_backend *b = p->device->backend;
    for (size_t i = 0; i < p->count; i++) {
        if (b->param_release != NULL && p->items[i].shared.state != NULL)
            b->param_release(p->device, p->items[i].shared.state);
        free(p->items[i].name);
    }
    void *memory[4] = {p->values, p->grads, p->m, p->v};
    for (int k = 0; k < 4; k++)
        if (memory[k] != NULL)
            b->free(p->device, memory[k]);
    free(p->items);
    free(p);
}

size_t sc_params_count(const sc_params *p)
{
    return p->count;
}

sc_param_info sc_params_info(const sc_params *p, size_t i)
{
    const nn_param *item = &p->items[i];
    return (sc_param_info){item->name, item->desc.shape, item->desc.kind,
                           item->init, item->trainable,  item->replicated};
}

int nn_params_find(const sc_params *p, const char *name)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->items[i].name, name) == 0)
            return (int)i;
    return -1;
}

void *nn_param_value(const sc_params *p, const nn_param *item)
{
    if (item->desc.kind == SC_PARAM_COUNTER)
        return NULL;
    return p->values + item->offset * sc_dtype_size(p->device->backend->real);
}

bool nn_param_is_plain(const sc_params *p, const nn_param *item)
{
    const sc_backend *b = p->device->backend;
    return item->desc.kind == SC_PARAM_COUNTER ||
           (b->param_plain != NULL && b->param_plain(p->device, &item->desc));
}

/* The parameter's place in a flat buffer of what is trained. */
static void *trained_part(const sc_params *p, const nn_param *item, char *base)
{
    return item->trainable ? base + item->offset * sc_dtype_size(p->device->backend->real) : NULL;
}

void *nn_param_grad(const sc_params *p, const nn_param *item)
{
    return trained_part(p, item, p->grads);
}

void *nn_param_m(const sc_params *p, const nn_param *item)
{
    return trained_part(p, item, p->m);
}

void *nn_param_v(const sc_params *p, const nn_param *item)
{
    return trained_part(p, item, p->v);
}

int64_t sc_params_step(const sc_params *p)
{
    return p->step;
}

void sc_params_set_step(sc_params *p, int64_t step)
{
    p->step = step;
}

sc_status sc_params_update(sc_params *p, const sc_adamw *o)
{
    sc_adamw now = *o;
    now.step = p->step + 1;
    if (p->trained > 0)
        SC_TRY(p->device->backend->adamw(p->device, &now, p->trained, p->values, p->grads, p->m,
                                         p->v));
    p->step++;
    for (size_t i = 0; i < p->count; i++)
        p->items[i].shared.version += p->items[i].trainable;
    return SC_OK;
}

sc_status sc_params_broadcast_buffers(sc_params *p, const sc_comm *c)
{
    const sc_backend *b = p->device->backend;
    size_t size = sc_dtype_size(b->real), count = p->elements - p->buffers;
    void *buffers = p->values + p->buffers * size;
    if (b->share == NULL && b->sync != NULL)
        SC_TRY(b->sync(p->device));
    if (count > 0)
        SC_TRY(b->share != NULL ? b->share(p->device, c, buffers, count)
                                : c->broadcast(c, buffers, count * size, 0));
    for (size_t i = 0; i < p->count; i++)
        p->items[i].shared.version += p->items[i].desc.kind == SC_PARAM_BUFFER;
    return SC_OK;
}

uint32_t sc_params_checksum(const sc_params *p)
{
    enum { PIECE = 4096 };
    double piece[PIECE]; /* room for either element type */
    const sc_backend *b = p->device->backend;
    size_t size = sc_dtype_size(b->real);
    uint32_t crc = 0;
    for (size_t at = 0; at < p->elements; at += PIECE) {
        size_t n = p->elements - at < PIECE ? p->elements - at : PIECE;
        const sc_value_desc flat = {SC_EXACT, SC_SHAPE((int64_t)n)};
        if (b->download(p->device, &flat, p->values + at * size, piece) != SC_OK)
            return 0;
        crc = sc_crc32c(crc, piece, n * size);
    }
    for (size_t i = 0; i < p->count; i++)
        crc = sc_crc32c(crc, &p->items[i].counter, sizeof p->items[i].counter);
    return crc;
}
