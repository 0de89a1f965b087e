/* What a step may do at the same time: nodes that see no rows of the batch (the text tower) beside
 * those that do, and sums over the group beside the rest of the backward pass.
 */
#include "program.h"

#include <stdlib.h>

/* ---- the side branch ---------------------------------------------------------------------------
 */

/* Nothing of the batch comes into a side node, through whatever lies before it. */
static void mark_side(sc_program *p)
{
    const sc_graph *g = p->graph;
    for (int i = 0; i < g->n_nodes; i++) {
        bool side = !nn_node_is_local(g, &g->nodes[i]);
        for (int k = 0; k < g->nodes[i].n_in; k++) {
            const graph_value *in = &g->values[g->nodes[i].in[k]];
            side = side && in->rows == SC_ROWS_FIXED && (in->node < 0 || p->nodes[in->node].side);
        }
        p->nodes[i].side = side;
    }
}
static bool reads_side(const sc_program *p, int i, int *from)
{
    for (int k = 0; k < p->graph->nodes[i].n_in; k++) {
        *from = p->graph->nodes[i].in[k];
        const int node = p->graph->values[*from].node;
        if (node >= 0 && p->nodes[node].side)
            return true;
    }
    return false;
}
/* Values that both branches read are read by the side first: gradients are then added up in the
 * same order as without branches. */
static bool keeps_order(const sc_program *p)
{
    for (int i = 0; i < p->graph->n_nodes; i++) {
        int value;
        if (p->nodes[i].side || !reads_side(p, i, &value))
            continue;
        for (int s = i + 1; s < p->graph->n_nodes; s++)
            for (int k = 0; p->nodes[s].side && k < p->graph->nodes[s].n_in; k++)
                if (p->graph->nodes[s].in[k] == value)
                    return false;
    }
    return true;
}
sc_status nn_find_branches(sc_program *p)
{
    p->cross = -1;
    if (p->device->backend->queue == NULL || !p->training)
        return SC_OK;
    mark_side(p);
    for (int i = 0, value; p->cross < 0 && i < p->graph->n_nodes; i++)
        if (!p->nodes[i].side && reads_side(p, i, &value))
            p->cross = i;
    if (p->cross >= 0 && keeps_order(p))
        return SC_OK;
    p->cross = -1;
    for (int i = 0; i < p->graph->n_nodes; i++)
        p->nodes[i].side = false;
    return SC_OK;
}

/* ---- buckets -----------------------------------------------------------------------------------
 */
enum { FEWEST_BUCKETS = 4 };
#define SMALLEST_BUCKET ((size_t)16 << 10) /* bytes */
#define USUAL_BUCKET ((size_t)4 << 20)

typedef struct piece {
    size_t from;
    int node;
} piece;
static int by_place(const void *a, const void *b)
{
    const piece *x = a, *y = b;
    return (x->from > y->from) - (x->from < y->from);
}
static size_t bucket_bytes(size_t all)
{
    size_t n = all / USUAL_BUCKET;
    n = n < FEWEST_BUCKETS ? FEWEST_BUCKETS : n > NN_MOST_BUCKETS ? NN_MOST_BUCKETS : n;
    return all / n + 1 > SMALLEST_BUCKET ? all / n + 1 : SMALLEST_BUCKET;
}
sc_status nn_cut_buckets(sc_program *p)
{
    const sc_params *all = p->params;
    const size_t size = sc_dtype_size(p->device->backend->real);
    const size_t each = bucket_bytes(all->reduced * size) / size;
    size_t n = 0;
    piece *pieces = sc_alloc((size_t)p->graph->n_params + 1, sizeof *pieces);
    if (pieces == NULL)
        return SC_ENOMEM;
    for (int i = 0; i < p->graph->n_params; i++) {
        const nn_param *item = &all->items[p->param_index[i]];
        if (!p->graph->params[i].unused && item->trainable && !item->replicated)
            pieces[n++] = (piece){item->offset, p->graph->params[i].node};
    }
    qsort(pieces, n, sizeof *pieces, by_place);
    p->n_buckets = 0;
    for (size_t i = 0; i < n; i++) {
        program_bucket *b = &p->buckets[p->n_buckets > 0 ? p->n_buckets - 1 : 0];
        if (p->n_buckets == 0 ||
            (pieces[i].from - b->from >= each && p->n_buckets < NN_MOST_BUCKETS)) {
            b = &p->buckets[p->n_buckets++];
            *b = (program_bucket){pieces[i].from, 0, pieces[i].node};
        }
        b->count = (i + 1 < n ? pieces[i + 1].from : all->reduced) - b->from;
        if (pieces[i].node < b->last)
            b->last = pieces[i].node;
    }
    free(pieces);
    return SC_OK;
}
