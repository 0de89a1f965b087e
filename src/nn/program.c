/* Running a program: inputs in, forward, backward, reduce, outputs out. Nothing here allocates. */
#include "program.h"

#include <stdlib.h>
#include <string.h>

#define BUCKET_BYTES ((size_t)4 << 20)

void nn_shared_leave(sc_device *d, program_shared *s)
{
    if (--s->users > 0)
        return;
    if (s->arena != NULL)
        d->backend->free(d, s->arena);
    if (s->scratch != NULL)
        d->backend->free(d, s->scratch);
    nn_pages_free(d, &s->pages);
    if (s->joined != NULL)
        d->backend->leave(d, s->joined);
    free(s);
}

void sc_program_free(sc_program *p)
{
    if (p == NULL)
        return;
    const sc_backend *b = p->device->backend;
    if (p->step != NULL)
        b->queue->forget(p->device, p->step);
    for (int i = 0; p->nodes != NULL && i < p->graph->n_nodes; i++)
        if (p->nodes[i].prepared)
            b->release(p->device, p->nodes[i].state);
    if (p->io != NULL)
        b->free(p->device, p->io);
    nn_shared_leave(p->device, p->shared);
    free(p->rows);
    free(p->nodes);
    free(p->values);
    free(p->param_index);
    free(p);
}

sc_program_memory sc_program_memory_of(const sc_program *p)
{
    return (sc_program_memory){p->shared->arena_bytes, p->io_bytes, p->saved_bytes,
                               p->shared->scratch_bytes + p->shared->side_bytes};
}

static bool normalizes_by_batch(const sc_program *p, int i)
{
    const sc_op_node *n = &p->nodes[i].op;
    return p->training && n->op == SC_OP_BATCH_NORM && !n->attrs.running;
}

bool sc_program_can_train(const sc_program *p)
{
    for (int i = 0; i < p->graph->n_nodes; i++) {
        const sc_op_node *n = &p->nodes[i].op;
        if (!normalizes_by_batch(p, i))
            continue;
        int64_t plane = n->in[0].desc.shape.d[2] * n->in[0].desc.shape.d[3];
        bool local = nn_node_is_local(p->graph, &p->graph->nodes[i]);
        if (!local || !p->local_batch_norm) {
            if (n->rows_global * plane == 1)
                return false;
            continue;
        }
        for (int r = 0; r < p->comm->size; r++) /* every rank must come to the same answer */
            if (p->rows[r] * plane == 1)
                return false;
    }
    return true;
}

/* ---- values by name -----------------------------------------------------------------------------
 */

static int find_input(const sc_program *p, const char *name)
{
    for (int i = 0; i < p->graph->n_values; i++)
        if (p->graph->values[i].name != NULL && strcmp(p->graph->values[i].name, name) == 0)
            return i;
    return -1;
}

const program_value *nn_program_input(const sc_program *p, const char *name)
{
    const int i = find_input(p, name);
    return i >= 0 ? &p->values[i] : NULL;
}

static int find_output(const sc_program *p, const char *name)
{
    for (int i = 0; i < p->graph->n_outputs; i++)
        if (strcmp(p->graph->outputs[i].name, name) == 0)
            return p->graph->outputs[i].value;
    return -1;
}

const program_value *nn_program_output(const sc_program *p, const char *name)
{
    const int i = find_output(p, name);
    return i >= 0 ? &p->values[i] : NULL;
}

sc_status sc_program_write(sc_program *p, const char *input, const void *host)
{
    int i = find_input(p, input);
    if (i < 0)
        return sc_fail(SC_EINTERNAL, "program: no input '%s'", input);
    const sc_queue *q = p->device->backend->queue;
    if (q != NULL && q->plain(p->device, &p->values[i].desc))
        return nn_page_put(p, i, host);
    return p->device->backend->upload(p->device, &p->values[i].desc, host, p->values[i].data);
}

sc_status sc_program_read(sc_program *p, const char *output, void *host)
{
    int i = find_output(p, output);
    if (i < 0)
        return sc_fail(SC_EINTERNAL, "program: no output '%s'", output);
    return p->device->backend->download(p->device, &p->values[i].desc, p->values[i].data, host);
}

sc_status sc_program_read_grad(sc_program *p, const char *output, void *host)
{
    int i = find_output(p, output);
    if (i < 0)
        return sc_fail(SC_EINTERNAL, "program: no output '%s'", output);
    if (!p->values[i].keeps_grad || p->values[i].grad == NULL)
        return sc_fail(SC_EINTERNAL, "program: output '%s' has no gradient", output);
    return p->device->backend->download(p->device, &p->values[i].desc, p->values[i].grad, host);
}

sc_status sc_program_shape(const sc_program *p, const char *name, sc_shape *out)
{
    int i = find_input(p, name);
    if (i < 0)
        i = find_output(p, name);
    if (i < 0)
        return sc_fail(SC_EINTERNAL, "program: no input or output '%s'", name);
    *out = p->values[i].desc.shape;
    return SC_OK;
}

/* ---- steps --------------------------------------------------------------------------------------
 */

/* The running statistics of node i changed: copies that a backend derived from them are stale. */
static void count_batch(sc_program *p, int i)
{
    const sc_op_node *n = &p->nodes[i].op;
    const graph_node *from = &p->graph->nodes[i];
    for (int k = 2; k < n->n_params; k++)
        n->params[k].shared->version++;
    p->params->items[p->param_index[from->params[4]]].counter++;
}

void nn_count_batches(sc_program *p)
{
    for (int i = 0; i < p->graph->n_nodes; i++)
        if (normalizes_by_batch(p, i))
            count_batch(p, i);
}
void nn_count_update(sc_program *p)
{
    sc_params *params = p->params;
    params->step++;
    for (size_t i = 0; i < params->count; i++)
        params->items[i].shared.version += params->items[i].trainable;
}

sc_status sc_program_forward(sc_program *p)
{
    SC_TRY(nn_page_turn(p));
    for (int i = 0; i < p->graph->n_nodes; i++) {
        program_node *n = &p->nodes[i];
        if (n->joined)
            continue;
        SC_TRY(p->device->backend->forward(p->device, &n->op, n->state));
        if (normalizes_by_batch(p, i))
            count_batch(p, i);
    }
    return SC_OK;
}

sc_status sc_program_backward(sc_program *p)
{
    if (!p->training)
        return sc_fail(SC_EINTERNAL, "program: compiled without a backward pass");
    for (int i = p->graph->n_nodes - 1; i >= 0; i--) {
        program_node *n = &p->nodes[i];
        if (n->backward && !n->joined)
            SC_TRY(p->device->backend->backward(p->device, &n->op, n->state));
    }
    return SC_OK;
}

/* Whether the gradients of node i are final without a sum over the group. */
static bool has_own_gradients(const sc_program *p, int i)
{
    return p->comm->size == 1 || !nn_node_is_local(p->graph, &p->graph->nodes[i]);
}

/* The sum over the group, and the update of what it holds. */
static sc_status update_reduced(sc_program *p, const sc_adamw *o)
{
    sc_params *params = p->params;
    if (p->comm->size == 1)
        return SC_OK;
    SC_TRY(sc_program_reduce(p));
    if (params->reduced > 0)
        SC_TRY(p->device->backend->adamw(p->device, o, params->reduced, params->values,
                                         params->grads, params->m, params->v));
    for (size_t i = 0; i < params->count; i++)
        params->items[i].shared.version +=
            params->items[i].trainable && !params->items[i].replicated;
    return SC_OK;
}

sc_status sc_program_update(sc_program *p, const sc_adamw *o)
{
    const sc_backend *b = p->device->backend;
    sc_adamw now = *o;
    if (b->backward_update == NULL) {
        SC_TRY(sc_program_backward(p));
        SC_TRY(sc_program_reduce(p));
        return sc_params_update(p->params, o);
    }
    if (!p->training)
        return sc_fail(SC_EINTERNAL, "program: compiled without a backward pass");
    now.step = p->params->step + 1;
    for (int i = p->graph->n_nodes - 1; i >= 0; i--) {
        program_node *n = &p->nodes[i];
        if (!n->backward || n->joined)
            continue;
        if (has_own_gradients(p, i))
            SC_TRY(b->backward_update(p->device, &n->op, n->state, &now));
        else
            SC_TRY(b->backward(p->device, &n->op, n->state));
    }
    SC_TRY(update_reduced(p, &now));
    p->params->step++;
    return SC_OK;
}

sc_status sc_program_reduce(sc_program *p)
{
    sc_dtype real = p->device->backend->real;
    size_t size = sc_dtype_size(real), bucket = BUCKET_BYTES / size;
    const sc_backend *b = p->device->backend;
    if (p->comm->size == 1)
        return SC_OK;
    if (b->sum == NULL && b->sync != NULL)
        SC_TRY(b->sync(p->device));
    /* The pieces of a step that is queued: a sum's rounding may depend on where a piece begins. */
    for (int i = 0; b->queue != NULL && i < p->n_buckets; i++)
        SC_TRY(b->sum(p->device, p->comm, p->params->grads + p->buckets[i].from * size,
                      p->buckets[i].count));
    for (size_t at = 0; b->queue == NULL && at < p->params->reduced; at += bucket) {
        size_t n = p->params->reduced - at < bucket ? p->params->reduced - at : bucket;
        void *piece = p->params->grads + at * size;
        SC_TRY(b->sum != NULL ? b->sum(p->device, p->comm, piece, n)
                              : p->comm->all_reduce(p->comm, piece, n, real, SC_SUM));
    }
    return SC_OK;
}
