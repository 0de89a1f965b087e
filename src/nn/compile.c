/* From a graph to programs: concrete shapes, memory by lifetime, final addresses, prepared ops.
 *
 * Time runs 0 .. 2N-1: node i runs forward at i and backward at 2N-1-i. A value's data must stay
 * from its op to its last reader in either pass; its gradient from the first op that writes it to
 * the backward of the op that made it.
 */
#include "program.h"

#include <stdlib.h>
#include <string.h>

/* ---- shapes and nodes ---------------------------------------------------------------------------
 */

static sc_status check_desc(const sc_program *p, const sc_program_desc *d)
{
    int64_t sum = 0;
    for (int r = 0; r < p->comm->size; r++) {
        if (d->rows[r] < 0 || d->rows[r] > INT32_MAX)
            return sc_fail(SC_EINTERNAL, "program: rank %d has %lld rows", r,
                           (long long)d->rows[r]);
        sum += d->rows[r];
    }
    if (d->rows_local != d->rows[p->comm->rank])
        return sc_fail(SC_EINTERNAL, "program: this rank has %lld rows, the list says %lld",
                       (long long)d->rows_local, (long long)d->rows[p->comm->rank]);
    if (sum < 1)
        return sc_fail(SC_EINTERNAL, "program: the batch of the group is empty");
    if (d->training && d->graph->minimize < 0)
        return sc_fail(SC_EINTERNAL, "program: a training graph needs a value to minimise");
    return SC_OK;
}

static sc_status make_values(sc_program *p)
{
    for (int i = 0; i < p->graph->n_values; i++) {
        const graph_value *v = &p->graph->values[i];
        program_value *to = &p->values[i];
        to->desc = (sc_value_desc){v->kind, v->shape};
        if (v->rows != SC_ROWS_FIXED)
            to->desc.shape.d[0] = v->rows == SC_ROWS_LOCAL ? p->rows_local : p->rows_global;
        int64_t count = sc_shape_count(&to->desc.shape);
        if (count < 0 || count > INT64_MAX / 64)
            return sc_fail(SC_ENOMEM, "program: a value of %s is more than memory can hold",
                           sc_op_name(v->node >= 0 ? p->graph->nodes[v->node].op : SC_OP_COUNT));
        to->bytes = p->device->backend->value_bytes(p->device, &to->desc);
        to->keeps_data = v->node < 0;
        if (v->node < 0) {
            to->page_at = p->input_bytes;
            p->input_bytes += nn_align(to->bytes);
        }
    }
    for (int i = 0; i < p->graph->n_outputs; i++) {
        program_value *v = &p->values[p->graph->outputs[i].value];
        v->keeps_data = true;
        v->keeps_grad |= p->graph->outputs[i].grad;
    }
    if (p->graph->minimize >= 0)
        p->values[p->graph->minimize].keeps_grad = true; /* holds the constant seed */
    return SC_OK;
}

/* The graph's parameters among those of the model; a training program must train the same ones. */
static sc_status find_params(sc_program *p, const nn_flow *flow)
{
    for (int i = 0; i < p->graph->n_params; i++) {
        const graph_param *from = &p->graph->params[i];
        int at = nn_params_find(p->params, from->name);
        if (at < 0)
            return sc_fail(SC_EINTERNAL, "program: the model has no parameter '%s'", from->name);
        const sc_param_desc *d = &p->params->items[at].desc;
        if (from->unused)
            continue;
        if (from->node < 0)
            return sc_fail(SC_EINTERNAL, "program: no op uses parameter '%s'", from->name);
        if (!sc_shape_equal(&d->shape, &from->shape) || d->kind != from->kind ||
            d->op != p->graph->nodes[from->node].op || d->slot != from->slot)
            return sc_fail(SC_EINTERNAL, "program: parameter '%s' is used otherwise in the model",
                           from->name);
        if (p->training && flow->param[i] != p->params->items[at].trainable)
            return sc_fail(SC_EINTERNAL,
                           "program: parameter '%s' is %strained here, unlike in the "
                           "model",
                           from->name, flow->param[i] ? "" : "not ");
        p->param_index[i] = at;
    }
    if (!p->training)
        return SC_OK;
    for (size_t i = 0; i < p->params->count; i++)
        if (p->params->items[i].trainable &&
            nn_graph_find_param(p->graph, p->params->items[i].name) < 0)
            return sc_fail(SC_EINTERNAL, "program: nothing here trains parameter '%s'",
                           p->params->items[i].name);
    return SC_OK;
}

static void make_node(sc_program *p, int i)
{
    const graph_node *from = &p->graph->nodes[i];
    program_node *to = &p->nodes[i];
    sc_op_node *n = &to->op;
    n->op = from->op;
    n->attrs = from->attrs;
    n->n_in = from->n_in;
    n->n_out = from->n_out;
    n->n_params = from->n_params;
    for (int k = 0; k < from->n_in; k++)
        n->in[k].desc = p->values[from->in[k]].desc;
    for (int k = 0; k < from->n_out; k++)
        n->out[k].desc = p->values[from->out[k]].desc;
    for (int k = 0; k < from->n_params; k++) {
        nn_param *item = &p->params->items[p->param_index[from->params[k]]];
        n->params[k] = (sc_node_param){.desc = item->desc,
                                       .value = nn_param_value(p->params, item),
                                       .grad = p->training ? nn_param_grad(p->params, item) : NULL,
                                       .m = p->training ? nn_param_m(p->params, item) : NULL,
                                       .v = p->training ? nn_param_v(p->params, item) : NULL,
                                       .shared = &item->shared};
    }
    n->training = p->training;
    n->precision = p->device->precision;
    bool group =
        nn_node_is_local(p->graph, from) && !(from->op == SC_OP_BATCH_NORM && p->local_batch_norm);
    to->own_rows = from->n_in > 0 ? n->in[0].desc.shape.d[0] : 0;
    n->comm = group ? p->comm : &nn_alone;
    n->rows = group ? p->rows : &to->own_rows;
    n->rows_global = group ? p->rows_global : to->own_rows;
}

/* node_memory is told which gradients will be wanted; their addresses come later. */
static void announce_gradients(sc_program *p, const nn_flow *flow, int i)
{
    static char later[64];
    const graph_node *from = &p->graph->nodes[i];
    for (int k = 0; p->nodes[i].backward && k < from->n_in; k++)
        if (nn_takes_gradient(from->op, k) && flow->value[from->in[k]])
            p->nodes[i].op.in[k].grad = later;
}

/* Pairs of neighbours that the backend does as one. */
static void join_nodes(sc_program *p)
{
    const sc_backend *b = p->device->backend;
    for (int i = 0; b->joins != NULL && i + 1 < p->graph->n_nodes; i++) {
        program_node *first = &p->nodes[i], *second = &p->nodes[i + 1];
        if (first->joined || !nn_feeds_only(p->graph, i, i + 1) ||
            first->backward != second->backward ||
            !b->joins(p->device, &first->op, &second->op))
            continue;
        first->op.next = &second->op;
        second->joined = true;
    }
}

static sc_status seed_gradient(sc_program *p)
{
    program_value *v = &p->values[p->graph->minimize];
    size_t count = (size_t)sc_shape_count(&v->desc.shape);
    sc_dtype real = p->device->backend->real;
    void *host = sc_alloc(count, sc_dtype_size(real));
    if (host == NULL)
        return SC_ENOMEM;
    if (real == SC_F64)
        *(double *)host = 1;
    else
        *(float *)host = 1;
    sc_status status = p->device->backend->upload(p->device, &v->desc, host, v->grad);
    free(host);
    return status;
}

static sc_status prepare_nodes(sc_program *p)
{
    for (int i = 0; i < p->graph->n_nodes; i++) {
        program_node *n = &p->nodes[i];
        if (n->joined)
            continue;
        SC_TRY(p->device->backend->prepare(p->device, &n->op, &n->state));
        n->prepared = true;
    }
    return SC_OK;
}

/* ---- compile ------------------------------------------------------------------------------------
 */

/* What a program needs between its two compile passes: sizes first, addresses when all are known.
 */
typedef struct draft {
    nn_flow flow;
    nn_layout layout;
} draft;

static void draft_free(draft *d)
{
    nn_flow_free(&d->flow);
    free(d->layout.buffers);
    free(d->layout.used);
}

static sc_status allocate_program(sc_program *p, const sc_program_desc *d)
{
    const sc_graph *g = d->graph;
    p->graph = g;
    p->rows_local = d->rows_local;
    p->training = d->training;
    p->local_batch_norm = d->local_batch_norm;
    p->rows = sc_alloc((size_t)p->comm->size, sizeof *p->rows);
    p->nodes = sc_alloc((size_t)g->n_nodes, sizeof *p->nodes);
    p->values = sc_alloc((size_t)g->n_values, sizeof *p->values);
    p->param_index = sc_alloc((size_t)g->n_params, sizeof *p->param_index);
    if (p->rows == NULL || p->nodes == NULL || p->values == NULL || p->param_index == NULL)
        return SC_ENOMEM;
    for (int r = 0; r < p->comm->size; r++) {
        p->rows[r] = d->rows[r];
        p->rows_global += d->rows[r];
    }
    return SC_OK;
}

static sc_status measure(sc_program *p, const sc_program_desc *d, draft *out)
{
    size_t arena = 0, scratch = 0, side = 0;
    SC_TRY(sc_graph_status(d->graph));
    SC_TRY(check_desc(p, d));
    SC_TRY(allocate_program(p, d));
    SC_TRY(nn_flow_make(p->graph, &out->flow));
    if (p->training && !out->flow.value[p->graph->minimize])
        return sc_fail(SC_EINTERNAL, "program: nothing in the graph can be trained");
    SC_TRY(make_values(p));
    SC_TRY(find_params(p, &out->flow));
    for (int i = 0; i < p->graph->n_nodes; i++) {
        make_node(p, i);
        p->nodes[i].backward = p->training && out->flow.node[i];
        announce_gradients(p, &out->flow, i);
    }
    join_nodes(p);
    SC_TRY(nn_find_branches(p));
    SC_TRY(nn_layout_make(p, &out->flow, &out->layout, &arena, &scratch, &side));
    if (arena > p->shared->arena_bytes)
        p->shared->arena_bytes = arena;
    if (scratch > p->shared->scratch_bytes)
        p->shared->scratch_bytes = scratch;
    if (side > p->shared->side_bytes)
        p->shared->side_bytes = side;
    if (p->input_bytes > p->shared->pages.bytes)
        p->shared->pages.bytes = p->input_bytes;
    return SC_OK;
}

static sc_status finish(sc_program *p, const draft *d)
{
    void *io;
    SC_TRY(p->device->backend->alloc(p->device, p->io_bytes, &io));
    p->io = io;
    nn_layout_apply(p, &d->flow, &d->layout);
    if (p->training) {
        SC_TRY(nn_give_gradients(p));
        SC_TRY(nn_cut_buckets(p));
        SC_TRY(seed_gradient(p));
    }
    return prepare_nodes(p);
}

static sc_status allocate_shared(sc_device *d, program_shared *s)
{
    void *memory;
    SC_TRY(d->backend->alloc(d, s->arena_bytes, &memory));
    s->arena = memory;
    const size_t side = s->side_bytes > 0 ? nn_align_scratch(s->scratch_bytes) - s->scratch_bytes : 0;
    SC_TRY(d->backend->alloc(d, s->scratch_bytes + side + s->side_bytes, &memory));
    s->scratch = memory;
    return SC_OK;
}

sc_status sc_programs_compile(sc_device *d, sc_params *params, const sc_comm *c,
                              const sc_program_desc *desc, int n, sc_program **out)
{
    sc_status status = SC_ENOMEM;
    draft *drafts = sc_alloc((size_t)n, sizeof *drafts);
    program_shared *shared = sc_alloc(1, sizeof *shared);
    for (int i = 0; i < n; i++)
        out[i] = NULL;
    if (drafts == NULL || shared == NULL) {
        free(shared);
        free(drafts);
        return SC_ENOMEM;
    }
    shared->users = 1; /* this function, until it is done */
    if (d->backend->join != NULL) {
        SC_TRY_GOTO(d->backend->join(d, c));
        shared->joined = c;
    }
    status = SC_ENOMEM;
    for (int i = 0; i < n; i++) {
        out[i] = sc_alloc(1, sizeof **out);
        if (out[i] == NULL)
            goto done;
        *out[i] = (sc_program){.device = d, .params = params, .comm = c, .shared = shared};
        shared->users++;
        SC_TRY_GOTO(measure(out[i], &desc[i], &drafts[i]));
    }
    SC_TRY_GOTO(allocate_shared(d, shared));
    for (int i = 0; i < n; i++)
        SC_TRY_GOTO(finish(out[i], &drafts[i]));
    status = SC_OK;
done:
    for (int i = 0; i < n; i++) {
        draft_free(&drafts[i]);
        if (status != SC_OK) {
            sc_program_free(out[i]);
            out[i] = NULL;
        }
    }
    free(drafts);
    nn_shared_leave(d, shared);
    return status;
}
