/* Copies of a weight in the type and layout that a primitive wants, made when the weight's version
 * changed since. They hang on the parameter, so every program of one parameter set shares them. */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>

struct cpu_copy {
    cpu_copy *next;
    cpu_copy_fill fill; /* not NULL: what this makes of the parameter; else layout md by reorder */
    dnnl_memory_desc_t md;
    void *data, *scratch;
    cpu_primitive reorder;
    bool valid;
    uint64_t version;
};

static void copy_free(cpu_copy *c)
{
    cpu_primitive_free(&c->reorder);
    free(c->data);
    free(c->scratch);
    free(c);
}
void cpu_param_release(sc_device *d, void *shared_state)
{
    (void)d;
    for (cpu_copy *c = shared_state, *next; c; c = next) {
        next = c->next;
        copy_free(c);
    }
}

static void *aligned(size_t bytes)
{
    void *p = aligned_alloc(64, cpu_align(bytes ? bytes : 1));
    if (p)
        memset(p, 0, cpu_align(bytes ? bytes : 1));
    else
        sc_fail(SC_ENOMEM, "cpu: out of memory for %zu bytes of weights", bytes);
    return p;
}

static sc_status make_reorder(cpu_device *d, const sc_node_param *p, const dnnl_memory_desc_t *have,
                              cpu_copy *c)
{
    dnnl_primitive_attr_t attr;
    SC_TRY(cpu_attributes(&attr));
    dnnl_primitive_desc_t pd;
    dnnl_status_t st =
        dnnl_reorder_primitive_desc_create(&pd, have, d->engine, &c->md, d->engine, attr);
    dnnl_primitive_attr_destroy(attr);
    SC_TRY(cpu_dnnl(st, "weight reorder"));
    size_t scratch = cpu_scratchpad(pd);
    if (scratch && !(c->scratch = aligned(scratch))) {
        dnnl_primitive_desc_destroy(pd);
        return SC_ENOMEM;
    }
    SC_TRY(cpu_primitive_make(d, pd, c->scratch, &c->reorder));
    SC_TRY(cpu_primitive_bind(d, &c->reorder, DNNL_ARG_FROM, have, p->value));
    return cpu_primitive_bind(d, &c->reorder, DNNL_ARG_TO, &c->md, c->data);
}

sc_status cpu_copy_get(cpu_device *d, const sc_node_param *p, const dnnl_memory_desc_t *have,
                       const dnnl_memory_desc_t *want, cpu_copy **out)
{
    for (cpu_copy *c = p->shared->state; c; c = c->next)
        if (!c->fill && dnnl_memory_desc_equal(&c->md, want)) {
            *out = c;
            return SC_OK;
        }
    *out = NULL;
    cpu_copy *c = sc_alloc(1, sizeof *c);
    if (!c)
        return SC_ENOMEM;
    sc_status status;
    c->md = *want;
    c->data = aligned(dnnl_memory_desc_get_size(want));
    status = c->data ? make_reorder(d, p, have, c) : SC_ENOMEM;
    if (status != SC_OK) {
        copy_free(c);
        return status;
    }
    c->next = p->shared->state;
    p->shared->state = c;
    *out = c;
    return SC_OK;
}
sc_status cpu_copy_make(cpu_device *d, const sc_node_param *p, cpu_copy_fill fill, size_t bytes,
                        cpu_copy **out)
{
    (void)d;
    cpu_copy *c = p->shared->state;
    while (c && c->fill != fill)
        c = c->next;
    *out = c;
    if (c)
        return SC_OK;
    c = sc_alloc(1, sizeof *c);
    if (!c)
        return SC_ENOMEM;
    c->fill = fill;
    c->data = aligned(bytes);
    if (!c->data) {
        copy_free(c);
        return SC_ENOMEM;
    }
    c->next = p->shared->state;
    p->shared->state = c;
    *out = c;
    return SC_OK;
}
void *cpu_copy_data(const cpu_copy *c)
{
    return c->data;
}

sc_status cpu_copy_refresh(cpu_device *d, const sc_node_param *p, cpu_copy *c)
{
    if (c->valid && c->version == p->shared->version)
        return SC_OK;
    if (c->fill)
        c->fill(d, p, c->data);
    else
        SC_TRY(cpu_primitive_run(d, &c->reorder));
    c->valid = true;
    c->version = p->shared->version;
    return SC_OK;
}
