/* A whole training step: forward, backward, sums over the group, AdamW. On a device that queues its
 * work the towers are branches, gradients are summed and applied bucket by bucket while the
 * backward pass goes on, and the step is recorded once and replayed. So is the forward pass of a
 * program that does not train.
 */
#include "program.h"

#include <stdlib.h>

bool sc_program_queues(const sc_program *p)
{
    return p->device->backend->queue != NULL;
}

void sc_program_record_nothing(sc_program *p)
{
    p->eager = true;
}

static sc_status order(sc_program *p, sc_branch before, sc_branch after)
{
    return p->device->backend->queue->order(p->device, before, after);
}
static void on(sc_program *p, sc_branch b)
{
    p->device->backend->queue->select(p->device, b);
}

static sc_status forward_nodes(sc_program *p, bool side)
{
    for (int i = 0; i < p->graph->n_nodes; i++) {
        program_node *n = &p->nodes[i];
        if (n->side != side || n->joined)
            continue;
        if (i == p->cross)
            SC_TRY(order(p, SC_BRANCH_SIDE, SC_BRANCH_MAIN));
        SC_TRY(p->device->backend->forward(p->device, &n->op, n->state));
    }
    return SC_OK;
}
static sc_status forward(sc_program *p)
{
    if (p->cross >= 0) {
        SC_TRY(order(p, SC_BRANCH_MAIN, SC_BRANCH_SIDE));
        on(p, SC_BRANCH_SIDE);
        SC_TRY(forward_nodes(p, true));
        on(p, SC_BRANCH_MAIN);
    }
    return forward_nodes(p, false);
}

/* ---- backward ----------------------------------------------------------------------------------
 */
static sc_status update(sc_program *p, const sc_adamw *o, size_t from, size_t count)
{
    const sc_params *all = p->params;
    const size_t at = from * sc_dtype_size(p->device->backend->real);
    return count == 0 ? SC_OK
                      : p->device->backend->adamw(p->device, o, count, all->values + at,
                                                  all->grads + at, all->m + at, all->v + at);
}
/* Its gradients are there: sums and AdamW beside what the main branch does next. */
static sc_status finish_bucket(sc_program *p, const sc_adamw *o, const program_bucket *b)
{
    const sc_backend *backend = p->device->backend;
    sc_branch before = SC_BRANCH_MAIN;
    if (p->comm->size > 1) {
        SC_TRY(order(p, SC_BRANCH_MAIN, SC_BRANCH_PEERS));
        on(p, before = SC_BRANCH_PEERS);
        SC_TRY(backend->sum(p->device, p->comm,
                            p->params->grads + b->from * sc_dtype_size(backend->real), b->count));
    }
    SC_TRY(order(p, before, SC_BRANCH_UPDATE));
    on(p, SC_BRANCH_UPDATE);
    SC_TRY(update(p, o, b->from, b->count));
    on(p, SC_BRANCH_MAIN);
    return SC_OK;
}
/* The side has all that it needs once the backward pass is behind the nodes that read it.
 * Replicated parameters are its own, but for those of nodes that ran before. */
static bool side_updates(const sc_program *p)
{
    for (int i = 0; i < p->graph->n_params; i++) {
        const nn_param *item = &p->params->items[p->param_index[i]];
        const int node = p->graph->params[i].node;
        if (node >= 0 && item->trainable && item->replicated && !p->nodes[node].side &&
            node < p->cross)
            return false;
    }
    return p->cross >= 0;
}
static sc_status update_replicated(sc_program *p, const sc_adamw *o)
{
    return update(p, o, p->params->reduced, p->params->trained - p->params->reduced);
}
static sc_status backward_node(sc_program *p, program_node *n)
{
    return n->backward && !n->joined ? p->device->backend->backward(p->device, &n->op, n->state)
                                     : SC_OK;
}
static sc_status backward_side(sc_program *p, const sc_adamw *o)
{
    SC_TRY(order(p, SC_BRANCH_MAIN, SC_BRANCH_SIDE));
    on(p, SC_BRANCH_SIDE);
    for (int i = p->graph->n_nodes - 1; i >= 0; i--)
        if (p->nodes[i].side)
            SC_TRY(backward_node(p, &p->nodes[i]));
    if (side_updates(p))
        SC_TRY(update_replicated(p, o));
    on(p, SC_BRANCH_MAIN);
    return SC_OK;
}
static sc_status backward(sc_program *p, const sc_adamw *o)
{
    for (int i = p->graph->n_nodes - 1; i >= 0; i--) {
        if (!p->nodes[i].side)
            SC_TRY(backward_node(p, &p->nodes[i]));
        if (i == p->cross)
            SC_TRY(backward_side(p, o));
        for (int b = p->n_buckets - 1; b >= 0; b--)
            if (p->buckets[b].last == i)
                SC_TRY(finish_bucket(p, o, &p->buckets[b]));
    }
    if (p->cross >= 0)
        SC_TRY(order(p, SC_BRANCH_SIDE, SC_BRANCH_MAIN));
    if (p->n_buckets > 0)
        SC_TRY(order(p, SC_BRANCH_UPDATE, SC_BRANCH_MAIN));
    return side_updates(p) ? SC_OK : update_replicated(p, o);
}
static sc_status queue_step(sc_program *p, const sc_adamw *o)
{
    sc_status status = forward(p);
    if (status == SC_OK && p->training)
        status = backward(p, o);
    on(p, SC_BRANCH_MAIN);
    return status;
}

/* ---- recording ---------------------------------------------------------------------------------
 */

/* Ranks that replay and ranks that do not would not meet: all of them record, or none. */
static sc_status record(sc_program *p, const sc_adamw *o)
{
    const sc_queue *q = p->device->backend->queue;
    int32_t failed = 1;
    if (!q->recordable(p->device, p->comm)) {
        p->eager = true;
        return SC_OK;
    }
    if (q->record(p->device) == SC_OK) {
        const sc_status queued = queue_step(p, o);
        failed = q->recorded(p->device, &p->step) != SC_OK || queued != SC_OK;
    }
    if (p->comm->size > 1)
        SC_TRY(p->comm->all_reduce(p->comm, &failed, 1, SC_I32, SC_MAX));
    p->loads = p->params->loads;
    p->eager = failed != 0;
    if (p->eager) {
        q->forget(p->device, p->step);
        p->step = NULL;
    }
    return SC_OK;
}
static sc_status queue_anew(sc_program *p, const sc_adamw *o)
{
    p->warm++;
    p->loads = p->params->loads;
    p->updates = p->params->step;
    return queue_step(p, o);
}
static sc_status run(sc_program *p, const sc_adamw *o)
{
    const sc_queue *q = p->device->backend->queue;
    const bool loaded = p->loads != p->params->loads;
    /* Copies of weights that it does not make itself may be old then. */
    if (p->step != NULL && (p->eager || (p->training && loaded))) {
        q->forget(p->device, p->step);
        p->step = NULL;
    }
    /* Without a backward pass it makes none: the first run behind an update does. */
    if (p->eager || p->warm == 0 || (!p->training && (loaded || p->updates != p->params->step)))
        return queue_anew(p, o);
    if (p->step == NULL)
        SC_TRY(record(p, o));
    return p->step != NULL ? q->replay(p->device, p->step) : queue_anew(p, o);
}
sc_status sc_program_run(sc_program *p)
{
    if (!sc_program_queues(p) || p->training)
        return sc_program_forward(p);
    SC_TRY(nn_page_turn(p));
    return run(p, NULL);
}
sc_status sc_program_step(sc_program *p, const sc_adamw *o)
{
    sc_adamw now = *o;
    if (!sc_program_queues(p)) {
        SC_TRY(sc_program_forward(p));
        return sc_program_update(p, o);
    }
    if (!p->training)
        return sc_fail(SC_EINTERNAL, "program: compiled without a backward pass");
    now.step = p->params->step + 1;
    SC_TRY(nn_page_turn(p));
    SC_TRY(p->device->backend->queue->announce(p->device, &now));
    SC_TRY(run(p, &now));
    nn_count_batches(p);
    nn_count_update(p);
    return SC_OK;
}

/* ---- readings ----------------------------------------------------------------------------------
 */
typedef struct entry {
    sc_value_desc desc;
    const void *device;
    char *host;
} entry;
struct sc_reading {
    sc_device *queued_by;
    char *memory;
    void *mark;
    int n;
    entry entries[];
};

static sc_status find(const sc_program *p, const char *name, entry *e)
{
    if (nn_program_output(p, name) != NULL) {
        const program_value *v = nn_program_output(p, name);
        *e = (entry){v->desc, v->data, NULL};
        return SC_OK;
    }
    const int at = nn_params_find(p->params, name);
    if (at < 0)
        return sc_fail(SC_EINTERNAL, "program: no output or parameter '%s'", name);
    const nn_param *item = &p->params->items[at];
    const sc_value_desc flat = {SC_EXACT, SC_SHAPE((int64_t)item->elements)};
    *e = (entry){flat, nn_param_value(p->params, item), NULL};
    return SC_OK;
}
sc_status sc_reading_new(sc_program *p, const char *const *names, int n, sc_reading **out)
{
    const sc_queue *q = p->device->backend->queue;
    sc_status status = SC_OK;
    size_t bytes = 0;
    void *memory = NULL;
    *out = NULL;
    if (q == NULL)
        return sc_fail(SC_EINTERNAL, "program: the device queues nothing");
    sc_reading *r = sc_alloc(1, sizeof *r + (size_t)n * sizeof(entry));
    if (r == NULL)
        return SC_ENOMEM;
    r->queued_by = p->device;
    r->n = n;
    for (int i = 0; i < n; i++) {
        SC_TRY_GOTO(find(p, names[i], &r->entries[i]));
        if (!q->plain(p->device, &r->entries[i].desc))
            SC_TRY_GOTO(sc_fail(SC_EINTERNAL, "program: '%s' cannot be read later", names[i]));
        bytes += nn_align(p->device->backend->value_bytes(p->device, &r->entries[i].desc));
    }
    SC_TRY_GOTO(q->pin(p->device, bytes, &memory));
    r->memory = memory;
    SC_TRY_GOTO(q->mark_new(p->device, &r->mark));
    bytes = 0;
    for (int i = 0; i < n; i++) {
        r->entries[i].host = r->memory + bytes;
        bytes += nn_align(p->device->backend->value_bytes(p->device, &r->entries[i].desc));
    }
    *out = r;
done:
    if (status != SC_OK)
        sc_reading_free(r);
    return status;
}
sc_status sc_reading_take(sc_reading *r, int which)
{
    const entry *e = &r->entries[which];
    return r->queued_by->backend->queue->fetch(r->queued_by, &e->desc, e->device, e->host);
}
sc_status sc_reading_close(sc_reading *r)
{
    return r->queued_by->backend->queue->mark(r->queued_by, r->mark);
}
sc_status sc_reading_wait(sc_reading *r)
{
    return r->queued_by->backend->queue->wait(r->queued_by, r->mark);
}
const void *sc_reading_values(const sc_reading *r, int which)
{
    return r->entries[which].host;
}
void sc_reading_free(sc_reading *r)
{
    if (r == NULL)
        return;
    const sc_queue *q = r->queued_by->backend->queue;
    q->mark_free(r->queued_by, r->mark);
    if (r->memory != NULL)
        q->unpin(r->queued_by, r->memory);
    free(r);
}
