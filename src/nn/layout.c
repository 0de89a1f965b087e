/* The memory of one program: who lives when, where, and which op writes a gradient first.
 *
 * Time runs 0 .. 2N-1: node i runs forward at i and backward at 2N-1-i. A value's data must stay
 * from its op to its last reader in either pass; its gradient from the first op that writes it to
 * the backward of the op that made it. A node that is joined to the one before it runs at that
 * one's times, and the value between them has no memory.
 */
#include "program.h"

#include <stdlib.h>

/* who: the node that reads or writes the bytes. */
static void touch(nn_layout *l, const program_node *who, size_t at, int time)
{
    nn_buffer *b = &l->buffers[at];
    *(who->side ? &l->side[at] : &l->main[at]) = true;
    if (!l->used[at] || time < b->start)
        b->start = time;
    if (!l->used[at] || time > b->end)
        b->end = time;
    l->used[at] = true;
}

static int forward_time(const sc_program *p, int i)
{
    return p->nodes[i].joined ? i - 1 : i;
}
/* Between two joined nodes. */
static bool is_inner(const sc_program *p, int value)
{
    const int node = p->graph->values[value].node;
    return node >= 0 && p->nodes[node].op.next != NULL;
}

static void touch_forward(const sc_program *p, nn_layout *l, int i)
{
    const graph_node *node = &p->graph->nodes[i];
    const int time = forward_time(p, i);
    for (int k = 0; k < node->n_in; k++)
        touch(l, &p->nodes[i], (size_t)node->in[k], time);
    for (int k = 0; k < node->n_out; k++)
        touch(l, &p->nodes[i], (size_t)node->out[k], time);
    touch(l, &p->nodes[i], 2 * (size_t)p->graph->n_values + (size_t)i, time);
}

static void touch_backward(const sc_program *p, const nn_flow *flow, nn_layout *l, int i)
{
    const graph_node *node = &p->graph->nodes[i];
    const nn_op_info *info = &nn_ops[node->op];
    size_t values = (size_t)p->graph->n_values;
    int time = 2 * p->graph->n_nodes - 1 - forward_time(p, i);
    for (int k = 0; k < node->n_in; k++) {
        if (info->needs_in >> k & 1)
            touch(l, &p->nodes[i], (size_t)node->in[k], time);
        if (nn_takes_gradient(node->op, k) && flow->value[node->in[k]])
            touch(l, &p->nodes[i], values + (size_t)node->in[k], time);
    }
    for (int k = 0; k < node->n_out; k++) {
        if (info->needs_out >> k & 1)
            touch(l, &p->nodes[i], (size_t)node->out[k], time);
        if (flow->value[node->out[k]])
            touch(l, &p->nodes[i], values + (size_t)node->out[k], time);
    }
    touch(l, &p->nodes[i], 2 * values + (size_t)i, time);
}

/* What has its own memory leaves the plan and gets a place in `io`. */
static void move_to_io(sc_program *p, nn_layout *l)
{
    size_t values = (size_t)p->graph->n_values;
    for (size_t i = 0; i < values; i++) {
        program_value *v = &p->values[i];
        if (v->keeps_data) {
            v->data_at = p->io_bytes;
            p->io_bytes += nn_align(v->bytes);
            l->used[i] = false;
        }
        if (v->keeps_grad) {
            v->grad_at = p->io_bytes;
            p->io_bytes += nn_align(v->bytes);
            l->used[values + i] = false;
        }
    }
}

/* The buffers of one branch, behind what is taken. What both branches touch stays all the time:
 * their clocks say nothing about each other. */
static sc_status plan_branch(const sc_program *p, nn_layout *l, bool side, size_t *total)
{
    nn_buffer *compact = sc_alloc(l->count, sizeof *compact);
    size_t *from = sc_alloc(l->count, sizeof *from);
    size_t n = 0, taken = *total, more = 0;
    sc_status status = compact != NULL && from != NULL ? SC_OK : SC_ENOMEM;
    for (size_t i = 0; status == SC_OK && i < l->count; i++) {
        if (!l->used[i] || l->buffers[i].bytes == 0 || l->side[i] != side)
            continue;
        from[n] = i;
        compact[n] = l->buffers[i];
        if (l->side[i] && l->main[i]) {
            compact[n].start = 0;
            compact[n].end = 2 * p->graph->n_nodes;
        }
        n++;
    }
    if (status == SC_OK)
        status = nn_plan(compact, n, &more);
    for (size_t k = 0; status == SC_OK && k < n; k++)
        l->buffers[from[k]].offset = taken + compact[k].offset;
    *total = taken + more;
    free(compact);
    free(from);
    return status;
}
static sc_status plan_arena(const sc_program *p, nn_layout *l, size_t *total)
{
    *total = 0;
    SC_TRY(plan_branch(p, l, false, total));
    return p->cross >= 0 ? plan_branch(p, l, true, total) : SC_OK;
}

static sc_status node_sizes(sc_program *p, nn_layout *l, size_t *scratch, size_t *side)
{
    for (int i = 0; i < p->graph->n_nodes; i++) {
        size_t saved = 0, need = 0;
        const sc_backend *b = p->device->backend;
        if (p->nodes[i].joined)
            continue;
        if (b->supports != NULL)
            SC_TRY(b->supports(p->device, &p->nodes[i].op));
        SC_TRY(b->node_memory(p->device, &p->nodes[i].op, &saved, &need));
        l->buffers[2 * (size_t)p->graph->n_values + (size_t)i].bytes = saved;
        p->saved_bytes += saved;
        size_t *most = p->nodes[i].side ? side : scratch;
        if (need > *most)
            *most = need;
    }
    return SC_OK;
}

sc_status nn_layout_make(sc_program *p, const nn_flow *flow, nn_layout *l, size_t *arena,
                         size_t *scratch, size_t *side)
{
    size_t values = (size_t)p->graph->n_values, nodes = (size_t)p->graph->n_nodes;
    l->count = 2 * values + nodes;
    l->buffers = sc_alloc(l->count, sizeof *l->buffers);
    l->used = sc_alloc(3 * l->count, sizeof *l->used);
    if (l->buffers == NULL || l->used == NULL)
        return SC_ENOMEM;
    for (size_t i = 0; i < values; i++)
        l->buffers[i].bytes = l->buffers[values + i].bytes =
            is_inner(p, (int)i) ? 0 : p->values[i].bytes;
    l->main = l->used + l->count;
    l->side = l->main + l->count;
    SC_TRY(node_sizes(p, l, scratch, side));
    for (int i = 0; i < p->graph->n_nodes; i++) {
        touch_forward(p, l, i);
        if (p->nodes[i].backward)
            touch_backward(p, flow, l, i);
    }
    move_to_io(p, l);
    return plan_arena(p, l, arena);
}

/* ---- addresses ----------------------------------------------------------------------------------
 */

void nn_layout_apply(sc_program *p, const nn_flow *flow, const nn_layout *l)
{
    size_t values = (size_t)p->graph->n_values;
    char *arena = p->shared->arena;
    for (size_t i = 0; i < values; i++) {
        program_value *v = &p->values[i];
        if (is_inner(p, (int)i))
            continue;
        v->data = v->keeps_data ? p->io + v->data_at : arena + l->buffers[i].offset;
        if (p->training && flow->value[i])
            v->grad = v->keeps_grad ? p->io + v->grad_at : arena + l->buffers[values + i].offset;
    }
    for (int i = 0; i < p->graph->n_nodes; i++) {
        const graph_node *from = &p->graph->nodes[i];
        sc_op_node *n = &p->nodes[i].op;
        for (int k = 0; k < from->n_in; k++)
            n->in[k].data = p->values[from->in[k]].data;
        for (int k = 0; k < from->n_out; k++) {
            n->out[k].data = p->values[from->out[k]].data;
            n->out[k].grad = p->values[from->out[k]].grad;
        }
        n->saved = arena + l->buffers[2 * values + (size_t)i].offset;
        n->scratch = p->shared->scratch;
        if (p->nodes[i].side)
            n->scratch = p->shared->scratch + nn_align_scratch(p->shared->scratch_bytes);
    }
}

/* The op that writes a gradient first (in backward order) overwrites, the others add. */
sc_status nn_give_gradients(sc_program *p)
{
    bool *written = sc_alloc((size_t)p->graph->n_values, sizeof *written);
    if (written == NULL)
        return SC_ENOMEM;
    for (int i = p->graph->n_nodes - 1; i >= 0; i--) {
        const graph_node *from = &p->graph->nodes[i];
        for (int k = 0; p->nodes[i].backward && k < from->n_in; k++) {
            sc_node_value *in = &p->nodes[i].op.in[k];
            if (!nn_takes_gradient(from->op, k))
                continue;
            in->grad = p->values[from->in[k]].grad;
            in->accumulate = written[from->in[k]];
            written[from->in[k]] = true;
        }
    }
    free(written);
    return SC_OK;
}
