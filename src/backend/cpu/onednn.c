/* Thin wrappers over oneDNN's C interface: status, bound primitives, memory descriptors. */
#include "cpu.h"

#include <oneapi/dnnl/dnnl_debug.h>
#include <string.h>

sc_status cpu_dnnl(dnnl_status_t st, const char *what)
{
    if (st == dnnl_success)
        return SC_OK;
    const char *name = dnnl_status2str(st);
    sc_status code = st == dnnl_out_of_memory   ? SC_ENOMEM
                     : st == dnnl_unimplemented ? SC_EUNSUPPORTED
                                                : SC_EINTERNAL;
    return sc_fail(code, "oneDNN: %s (%d) from %.100s", name, (int)st, what);
}

size_t cpu_scratchpad(const_dnnl_primitive_desc_t pd)
{
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    return md ? dnnl_memory_desc_get_size(md) : 0;
}

sc_status cpu_primitive_bind(cpu_device *d, cpu_primitive *p, int arg, const dnnl_memory_desc_t *md,
                             const void *data)
{
    dnnl_exec_arg_t *a = &p->args[p->n];
    a->arg = arg;
    DNNL_TRY(dnnl_memory_create(&a->memory, md, d->engine, (void *)(uintptr_t)data));
    p->n++;
    return SC_OK;
}
sc_status cpu_primitive_make(cpu_device *d, dnnl_primitive_desc_t pd, void *scratch,
                             cpu_primitive *out)
{
    memset(out, 0, sizeof *out);
    sc_status status = SC_OK;
    SC_TRY_GOTO(cpu_dnnl(dnnl_primitive_create(&out->p, pd), "dnnl_primitive_create"));
    const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    if (md && dnnl_memory_desc_get_size(md) > 0)
        SC_TRY_GOTO(cpu_primitive_bind(d, out, DNNL_ARG_SCRATCHPAD, md, scratch));
done:
    dnnl_primitive_desc_destroy(pd);
    return status;
}
sc_status cpu_primitive_run(cpu_device *d, const cpu_primitive *p)
{
    DNNL_TRY(dnnl_primitive_execute(p->p, d->stream, p->n, p->args));
    return SC_OK;
}
void cpu_primitive_free(cpu_primitive *p)
{
    for (int i = 0; i < p->n; i++)
        dnnl_memory_destroy(p->args[i].memory);
    if (p->p)
        dnnl_primitive_destroy(p->p);
    memset(p, 0, sizeof *p);
}

sc_status cpu_attributes(dnnl_primitive_attr_t *out)
{
    DNNL_TRY(dnnl_primitive_attr_create(out));
    sc_status status =
        cpu_dnnl(dnnl_primitive_attr_set_scratchpad_mode(*out, dnnl_scratchpad_mode_user),
                 "scratchpad mode");
    if (status != SC_OK) {
        dnnl_primitive_attr_destroy(*out);
        *out = NULL;
    }
    return status;
}

dnnl_memory_desc_t cpu_image(const cpu_device *d, const sc_value_desc *v)
{
    dnnl_memory_desc_t md;
    dnnl_dims_t dims = {v->shape.d[0], cpu_channels(v), v->shape.d[2], v->shape.d[3]};
    dnnl_format_tag_t tag = !cpu_blocked(v)    ? dnnl_nchw
                            : d->k.block == 16 ? dnnl_nChw16c
                                               : dnnl_nChw8c;
    memset(&md, 0, sizeof md);
    dnnl_memory_desc_init_by_tag(&md, 4, dims, cpu_bf16(d, v) ? dnnl_bf16 : dnnl_f32, tag);
    return md;
}
