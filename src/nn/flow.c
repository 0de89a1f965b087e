/* Differentiation: a value has a gradient when something trainable lies before it and the minimised
 * value behind it. Everything else is left out of the backward pass.
 */
#include "graph.h"

#include <stdlib.h>

static bool is_real(const graph_value *v)
{
    return v->kind == SC_COMPUTE || v->kind == SC_EXACT;
}

/* Whether backward of a node writes the gradient of its parameter k. */
static bool trains(const sc_graph *g, const graph_node *node, int k)
{
    const graph_param *p = &g->params[node->params[k]];
    if (node->op == SC_OP_SUPERCLIP_LOSS && !node->attrs.loss.superclip)
        return false; /* only the class part reads the learnable temperature */
    return p->kind == SC_PARAM_WEIGHT && p->trainable;
}

/* Values that depend on something whose gradient is wanted. */
static void mark_sources(const sc_graph *g, bool *depends)
{
    for (int i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].grad && is_real(&g->values[g->outputs[i].value]))
            depends[g->outputs[i].value] = true;
    for (int i = 0; i < g->n_nodes; i++) {
        const graph_node *node = &g->nodes[i];
        bool any = false;
        for (int k = 0; k < node->n_params; k++)
            any |= trains(g, node, k);
        for (int k = 0; k < node->n_in; k++)
            any |= nn_takes_gradient(node->op, k) && depends[node->in[k]];
        for (int k = 0; k < node->n_out; k++)
            depends[node->out[k]] |= any;
    }
}

/* From the minimised value back over the values marked before. */
static void walk_back(const sc_graph *g, const bool *depends, nn_flow *f)
{
    f->value[g->minimize] = depends[g->minimize];
    for (int i = g->n_nodes - 1; i >= 0; i--) {
        const graph_node *node = &g->nodes[i];
        for (int k = 0; k < node->n_out; k++)
            f->node[i] |= f->value[node->out[k]];
        if (!f->node[i])
            continue;
        bool any = false;
        for (int k = 0; k < node->n_in; k++)
            if (nn_takes_gradient(node->op, k) && depends[node->in[k]])
                any = f->value[node->in[k]] = true;
        for (int k = 0; k < node->n_params; k++)
            if (trains(g, node, k))
                any = f->param[node->params[k]] = true;
        f->node[i] = any; /* false: its output's gradient was wanted, nothing before it */
    }
}

sc_status nn_flow_make(const sc_graph *g, nn_flow *out)
{
    *out = (nn_flow){0};
    out->value = sc_alloc((size_t)g->n_values, sizeof(bool));
    out->node = sc_alloc((size_t)g->n_nodes, sizeof(bool));
    out->param = sc_alloc((size_t)g->n_params, sizeof(bool));
    bool *depends = sc_alloc((size_t)g->n_values, sizeof(bool));
    if (out->value == NULL || out->node == NULL || out->param == NULL || depends == NULL) {
        free(depends);
        nn_flow_free(out);
        return SC_ENOMEM;
    }
    if (g->minimize >= 0) {
        mark_sources(g, depends);
        walk_back(g, depends, out);
    }
    free(depends);
    return SC_OK;
}

void nn_flow_free(nn_flow *f)
{
    free(f->value);
    free(f->node);
    free(f->param);
    *f = (nn_flow){0};
}

bool nn_node_is_local(const sc_graph *g, const graph_node *node)
{
    for (int k = 0; k < node->n_in; k++)
        if (g->values[node->in[k]].rows == SC_ROWS_LOCAL)
            return true;
    return false;
}

bool nn_feeds_only(const sc_graph *g, int i, int j)
{
    const int value = g->nodes[i].out[0];
    int readers = 0;
    if (g->nodes[i].n_out != 1 || g->nodes[j].in[0] != value || value == g->minimize)
        return false;
    for (int k = 0; k < g->n_outputs; k++)
        if (g->outputs[k].value == value)
            return false;
    for (int k = 0; k < g->n_nodes; k++)
        for (int l = 0; l < g->nodes[k].n_in; l++)
            readers += g->nodes[k].in[l] == value;
    return readers == 1;
}
