/* embed and select_row: reading rows by an index. */
#include "ref.h"

#include <string.h>

static sc_status check_index(const char *what, int32_t index, int64_t count, size_t at)
{
    if (index >= 0 && index < count)
        return SC_OK;
    return sc_fail(SC_EINTERNAL, "%s %d of element %zu is not in 0..%lld", what, index, at,
                   (long long)count - 1);
}

static sc_status embed_forward(const sc_op_node *n)
{
    const sc_shape *tokens = &n->in[0].desc.shape;
    size_t texts = (size_t)tokens->d[0], length = (size_t)tokens->d[1];
    size_t width = ref_last(&n->out[0].desc.shape);
    const int32_t *token = n->in[0].data;
    const double *table = ref_param(n, 0), *positions = ref_param(n, 1);
    double *y = n->out[0].data;
    for (size_t i = 0; i < texts * length; i++) {
        SC_TRY(check_index("embed: token", token[i], n->params[0].desc.shape.d[0], i));
        for (size_t e = 0; e < width; e++)
            y[i * width + e] =
                table[(size_t)token[i] * width + e] + positions[i % length * width + e];
    }
    return SC_OK;
}

static sc_status embed_backward(const sc_op_node *n)
{
    const sc_shape *tokens = &n->in[0].desc.shape;
    size_t texts = (size_t)tokens->d[0], length = (size_t)tokens->d[1];
    size_t width = ref_last(&n->out[0].desc.shape);
    const int32_t *token = n->in[0].data;
    const double *dy = n->out[0].grad;
    double *dtable = ref_param_grad(&n->params[0]), *dpositions = ref_param_grad(&n->params[1]);
    for (size_t i = 0; i < texts * length; i++)
        for (size_t e = 0; e < width; e++) {
            if (dtable != NULL)
                dtable[(size_t)token[i] * width + e] += dy[i * width + e];
            if (dpositions != NULL)
                dpositions[i % length * width + e] += dy[i * width + e];
        }
    return SC_OK;
}

const ref_op ref_embed = {embed_forward, embed_backward, NULL};

static sc_status select_row_forward(const sc_op_node *n)
{
    const sc_shape *x = &n->in[0].desc.shape;
    size_t texts = (size_t)x->d[0], length = (size_t)x->d[1], width = (size_t)x->d[2];
    const int32_t *index = n->in[1].data;
    for (size_t t = 0; t < texts; t++) {
        SC_TRY(check_index("select_row: row", index[t], x->d[1], t));
        memcpy((double *)n->out[0].data + t * width,
               (const double *)n->in[0].data + (t * length + (size_t)index[t]) * width,
               width * sizeof(double));
    }
    return SC_OK;
}

static sc_status select_row_backward(const sc_op_node *n)
{
    const sc_shape *x = &n->in[0].desc.shape;
    size_t texts = (size_t)x->d[0], length = (size_t)x->d[1], width = (size_t)x->d[2];
    const int32_t *index = n->in[1].data;
    const double *dy = n->out[0].grad;
    double *dx = ref_input_grad(&n->in[0]);
    for (size_t t = 0; dx != NULL && t < texts; t++)
        for (size_t e = 0; e < width; e++)
            dx[(t * length + (size_t)index[t]) * width + e] += dy[t * width + e];
    return SC_OK;
}

const ref_op ref_select_row = {select_row_forward, select_row_backward, NULL};
