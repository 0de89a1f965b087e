/* A graph: values, parameters, inputs and outputs, and its first error. */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

sc_graph *sc_graph_new(void)
{
    sc_graph *g = sc_alloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->minimize = -1;
    g->names = sc_arena_new(4096);
    if (g->names == NULL) {
        free(g);
        return NULL;
    }
    return g;
}

void sc_graph_free(sc_graph *g)
{
    if (g == NULL)
        return;
    sc_arena_free(g->names);
    free(g->values);
    free(g->nodes);
    free(g->params);
    free(g->outputs);
    free(g);
}

sc_status sc_graph_status(const sc_graph *g)
{
    if (g == NULL)
        return sc_fail(SC_ENOMEM, "graph: no memory for it");
    return g->status == SC_OK ? SC_OK : sc_fail(g->status, "%s", g->message);
}

bool nn_graph_ok(const sc_graph *g)
{
    return g != NULL && g->status == SC_OK;
}

void nn_graph_fail(sc_graph *g, sc_status code, const char *fmt, ...)
{
    if (!nn_graph_ok(g))
        return;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(g->message, sizeof g->message, fmt, args);
    va_end(args);
    g->status = code;
}

/* Room for one more element of `size` in *array. */
static bool grow(sc_graph *g, void *array, int count, int *cap, size_t size)
{
    if (count < *cap)
        return true;
    int more = *cap > 0 ? 2 * *cap : 32;
    void *old, *p;
    memcpy(&old, array, sizeof old);
    p = sc_realloc(old, (size_t)more, size);
    if (p == NULL) {
        nn_graph_fail(g, SC_ENOMEM, "graph: no memory for more than %d elements", count);
        return false;
    }
    memcpy(array, &p, sizeof p);
    *cap = more;
    return true;
}

static const char *keep_name(sc_graph *g, const char *name)
{
    const char *kept = sc_arena_strdup(g->names, name);
    if (kept == NULL)
        nn_graph_fail(g, SC_ENOMEM, "graph: no memory for the name '%s'", name);
    return kept;
}

int nn_graph_add_value(sc_graph *g, graph_value v)
{
    if (!grow(g, &g->values, g->n_values, &g->cap_values, sizeof *g->values))
        return -1;
    g->values[g->n_values] = v;
    return g->n_values++;
}

int nn_graph_add_node(sc_graph *g, const graph_node *node)
{
    if (!grow(g, &g->nodes, g->n_nodes, &g->cap_nodes, sizeof *g->nodes))
        return -1;
    g->nodes[g->n_nodes] = *node;
    return g->n_nodes++;
}

const char *nn_value_text(const graph_value *v, char out[96])
{
    sc_shape_text(&v->shape, out);
    if (v->rows != SC_ROWS_FIXED) { /* "[-1, 3]" -> "[n, 3]" */
        memmove(out + 2, out + 3, strlen(out + 3) + 1);
        out[1] = v->rows == SC_ROWS_LOCAL ? 'n' : 'N';
    }
    return out;
}

/* ---- parameters -------------------------------------------------------------------------------
 */

int nn_graph_find_param(const sc_graph *g, const char *name)
{
    for (int i = 0; i < g->n_params; i++)
        if (strcmp(g->params[i].name, name) == 0)
            return i;
    return -1;
}

static sc_param declare(sc_graph *g, graph_param p)
{
    const sc_param none = {-1};
    char a[96], b[96];
    if (!nn_graph_ok(g))
        return none;
    int known = nn_graph_find_param(g, p.name);
    if (known >= 0) {
        const graph_param *k = &g->params[known];
        if (sc_shape_equal(&k->shape, &p.shape) && k->kind == p.kind)
            return (sc_param){known};
        nn_graph_fail(g, SC_EINTERNAL, "parameter '%s' was declared as %s, now as %s", p.name,
                      sc_shape_text(&k->shape, a), sc_shape_text(&p.shape, b));
        return none;
    }
    int64_t count = sc_shape_count(&p.shape);
    if (count <= 0) {
        nn_graph_fail(g, SC_EINTERNAL, "parameter '%s' has the impossible shape %s", p.name,
                      sc_shape_text(&p.shape, a));
        return none;
    }
    if (!grow(g, &g->params, g->n_params, &g->cap_params, sizeof *g->params))
        return none;
    p.node = p.slot = -1;
    p.name = keep_name(g, p.name);
    if (p.name == NULL)
        return none;
    g->params[g->n_params] = p;
    return (sc_param){g->n_params++};
}

sc_param sc_weight(sc_graph *g, const char *name, sc_shape shape, sc_init init, bool trainable)
{
    return declare(g, (graph_param){.name = name,
                                    .kind = SC_PARAM_WEIGHT,
                                    .shape = shape,
                                    .init = init,
                                    .trainable = trainable});
}

void sc_unused_weight(sc_graph *g, const char *name, sc_shape shape, sc_init init)
{
    declare(g, (graph_param){.name = name,
                             .kind = SC_PARAM_WEIGHT,
                             .shape = shape,
                             .init = init,
                             .unused = true});
}

sc_param sc_buffer(sc_graph *g, const char *name, sc_shape shape, sc_init init)
{
    return declare(
        g, (graph_param){.name = name, .kind = SC_PARAM_BUFFER, .shape = shape, .init = init});
}

sc_param sc_counter(sc_graph *g, const char *name)
{
    return declare(g, (graph_param){.name = name, .kind = SC_PARAM_COUNTER});
}

/* ---- inputs and outputs -----------------------------------------------------------------------
 */

static bool name_is_free(sc_graph *g, const char *name)
{
    for (int i = 0; i < g->n_values; i++)
        if (g->values[i].name != NULL && strcmp(g->values[i].name, name) == 0)
            return false;
    for (int i = 0; i < g->n_outputs; i++)
        if (strcmp(g->outputs[i].name, name) == 0)
            return false;
    return true;
}

sc_value sc_input(sc_graph *g, const char *name, sc_kind kind, sc_rows_kind rows, sc_shape shape)
{
    const sc_value none = {-1};
    char text[96];
    if (!nn_graph_ok(g))
        return none;
    sc_shape rest = shape;
    if (rows != SC_ROWS_FIXED && shape.n > 0 && shape.d[0] == -1)
        rest.d[0] = 1;
    if (shape.n < 1 || sc_shape_count(&rest) <= 0 || (rows != SC_ROWS_FIXED && shape.d[0] != -1)) {
        nn_graph_fail(g, SC_EINTERNAL, "input '%s' has the impossible shape %s", name,
                      sc_shape_text(&shape, text));
        return none;
    }
    if (!name_is_free(g, name)) {
        nn_graph_fail(g, SC_EINTERNAL, "input '%s': the name is taken", name);
        return none;
    }
    graph_value v = {.kind = kind, .rows = rows, .shape = shape, .node = -1};
    v.name = keep_name(g, name);
    return v.name != NULL ? (sc_value){nn_graph_add_value(g, v)} : none;
}

static void add_output(sc_graph *g, const char *name, sc_value v, bool grad)
{
    if (!nn_graph_ok(g))
        return;
    if (v.id < 0 || v.id >= g->n_values) {
        nn_graph_fail(g, SC_EINTERNAL, "output '%s' is not a value of this graph", name);
        return;
    }
    for (int i = 0; i < g->n_outputs; i++)
        if (strcmp(g->outputs[i].name, name) == 0 && g->outputs[i].value == v.id) {
            g->outputs[i].grad |= grad;
            return;
        }
    if (!name_is_free(g, name)) {
        nn_graph_fail(g, SC_EINTERNAL, "output '%s': the name is taken", name);
        return;
    }
    const char *kept = keep_name(g, name);
    if (kept != NULL && grow(g, &g->outputs, g->n_outputs, &g->cap_outputs, sizeof *g->outputs))
        g->outputs[g->n_outputs++] = (graph_output){kept, v.id, grad};
}

void sc_output(sc_graph *g, const char *name, sc_value v)
{
    add_output(g, name, v, false);
}

void sc_output_grad(sc_graph *g, const char *name, sc_value v)
{
    add_output(g, name, v, true);
}

void sc_minimize(sc_graph *g, sc_value v)
{
    if (!nn_graph_ok(g))
        return;
    if (v.id < 0 || v.id >= g->n_values)
        nn_graph_fail(g, SC_EINTERNAL, "minimize: not a value of this graph");
    else if (g->minimize >= 0)
        nn_graph_fail(g, SC_EINTERNAL, "minimize: a graph has one value to minimise, not two");
    else if (g->values[v.id].kind != SC_EXACT || g->values[v.id].rows == SC_ROWS_LOCAL)
        nn_graph_fail(g, SC_EINTERNAL, "minimize: wants an exact value that every rank has");
    else
        g->minimize = v.id;
}
