/* Recording: the checks that all ops share. */
#include "record.h"

#include <string.h>

bool record_begin(record *r, sc_graph *g, sc_op op, int n_in, const sc_value *in, int n_params,
                  const sc_param *params)
{
    if (!nn_graph_ok(g))
        return false;
    *r = (record){.g = g, .node = {.op = op, .n_in = n_in}};
    for (int k = 0; k < n_in; k++) {
        if (in[k].id < 0 || in[k].id >= g->n_values) {
            nn_graph_fail(g, SC_EINTERNAL, "%s: input %d is not a value of this graph",
                          sc_op_name(op), k);
            return false;
        }
        r->node.in[k] = in[k].id;
        r->in[k] = g->values[in[k].id];
    }
    while (n_params > 0 && params[n_params - 1].id < 0)
        n_params--;
    for (int k = 0; k < n_params; k++) {
        if (params[k].id < 0 || params[k].id >= g->n_params) {
            nn_graph_fail(g, SC_EINTERNAL, "%s: parameter %d is not one of this graph",
                          sc_op_name(op), k);
            return false;
        }
        r->param[k] = g->params[params[k].id];
        r->node.params[k] = params[k].id;
        bool repeated = r->param[k].node >= 0 || r->param[k].unused;
        for (int j = 0; j < k; j++)
            repeated |= params[j].id == params[k].id;
        if (repeated) {
            nn_graph_fail(g, SC_EINTERNAL, "%s: parameter '%s' already belongs to another op",
                          sc_op_name(op), r->param[k].name);
            return false;
        }
    }
    r->node.n_params = n_params;
    return true;
}

sc_value record_fail(record *r, const char *fmt, ...)
{
    char message[512], shape[96];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    size_t used = n < 0 ? 0 : (size_t)n < sizeof message ? (size_t)n : sizeof message - 1;
    for (int k = 0; k < r->node.n_in && used < sizeof message; k++)
        used += (size_t)snprintf(message + used, sizeof message - used, "%s%s",
                                 k == 0 ? " (inputs " : ", ", nn_value_text(&r->in[k], shape));
    for (int k = 0; k < r->node.n_params && used < sizeof message; k++)
        used += (size_t)snprintf(message + used, sizeof message - used, "%s'%s' %s",
                                 k == 0 ? "; parameters " : ", ", r->param[k].name,
                                 sc_shape_text(&r->param[k].shape, shape));
    nn_graph_fail(r->g, SC_EINTERNAL, "%s: %s)", sc_op_name(r->node.op), message);
    return NO_VALUE;
}

static bool commit(record *r)
{
    int node = nn_graph_add_node(r->g, &r->node);
    for (int k = 0; node >= 0 && k < r->node.n_params; k++) {
        r->g->params[r->node.params[k]].node = node;
        r->g->params[r->node.params[k]].slot = k;
    }
    return node >= 0;
}

/* A value that cannot be counted must not reach a plan. Rows count as one here. */
static bool countable(record *r, const sc_shape *shape)
{
    sc_shape s = *shape;
    if (s.n > 0 && s.d[0] == -1)
        s.d[0] = 1;
    if (sc_shape_count(&s) > 0)
        return true;
    char text[96];
    record_fail(r, "the result would be %s", sc_shape_text(shape, text));
    return false;
}

bool record_two_outputs(record *r, graph_value first, graph_value second, sc_value out[2])
{
    graph_value v[2] = {first, second};
    for (int k = 0; k < 2 && v[k].shape.n > 0; k++) {
        v[k].node = r->g->n_nodes;
        if (!countable(r, &v[k].shape))
            return false;
        out[k] = (sc_value){nn_graph_add_value(r->g, v[k])};
        if (out[k].id < 0)
            return false;
        r->node.out[r->node.n_out++] = out[k].id;
    }
    return commit(r);
}

sc_value record_output(record *r, sc_kind kind, sc_rows_kind rows, sc_shape shape)
{
    sc_value out[2] = {NO_VALUE, NO_VALUE};
    graph_value v = {.kind = kind, .rows = rows, .shape = shape};
    return record_two_outputs(r, v, (graph_value){0}, out) ? out[0] : NO_VALUE;
}

bool record_real(record *r, int k)
{
    if (r->in[k].kind == SC_COMPUTE || r->in[k].kind == SC_EXACT)
        return true;
    record_fail(r, "input %d holds no real numbers", k);
    return false;
}

bool record_dims(record *r, int k, int dims)
{
    if (r->in[k].shape.n == dims)
        return true;
    record_fail(r, "input %d must have %d dimensions", k, dims);
    return false;
}

bool record_index(record *r, int k)
{
    const graph_value *index = &r->in[k];
    if (index->kind == SC_INT32 && index->shape.n == 1 && index->rows == r->in[0].rows &&
        index->shape.d[0] == r->in[0].shape.d[0])
        return true;
    record_fail(r, "input %d must be one int32 for each row of input 0", k);
    return false;
}

bool record_vector(record *r, int slot, int64_t n)
{
    if (slot < r->node.n_params && r->param[slot].shape.n == 1 && r->param[slot].shape.d[0] == n)
        return true;
    record_fail(r, "parameter %d must be [%lld]", slot, (long long)n);
    return false;
}
