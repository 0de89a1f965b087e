/* embed, prepend and select_row: a sequence's first rows and last reading. */
#include "ref.h"

#include <string.h>

static sc_status check_index(const char *what, int32_t index, int64_t count, size_t at)
{
    if (index >= 0 && index < count)
        return SC_OK;
    return sc_fail(SC_EINTERNAL, "%s %d of element %zu is not in 0..%lld", what, index, at,
                   (long long)count - 1);
}

/* The position of token i: its column, or what input 1 says. */
static int32_t position_of(const sc_op_node *n, size_t i)
{
    if (n->n_in > 1)
        return ((const int32_t *)n->in[1].data)[i];
    return (int32_t)(i % (size_t)n->in[0].desc.shape.d[1]);
}

static sc_status embed_forward(const sc_op_node *n)
{
    size_t count = (size_t)sc_shape_count(&n->in[0].desc.shape);
    size_t width = ref_last(&n->out[0].desc.shape);
    const int32_t *token = n->in[0].data;
    const double *table = ref_param(n, 0), *positions = ref_param(n, 1), *types = ref_param(n, 2);
    double *y = n->out[0].data;
    for (size_t i = 0; i < count; i++) {
        SC_TRY(check_index("embed: token", token[i], n->params[0].desc.shape.d[0], i));
        SC_TRY(check_index("embed: position", position_of(n, i), n->params[1].desc.shape.d[0], i));
        const double *position = positions + (size_t)position_of(n, i) * width;
        for (size_t e = 0; e < width; e++)
            y[i * width + e] =
                table[(size_t)token[i] * width + e] + position[e] + (types != NULL ? types[e] : 0);
    }
    return SC_OK;
}

static sc_status embed_backward(const sc_op_node *n)
{
    size_t count = (size_t)sc_shape_count(&n->in[0].desc.shape);
    size_t width = ref_last(&n->out[0].desc.shape);
    const int32_t *token = n->in[0].data;
    const double *dy = n->out[0].grad;
    double *dtable = ref_param_grad(&n->params[0]), *dpositions = ref_param_grad(&n->params[1]);
    double *dtypes = n->n_params > 2 ? ref_param_grad(&n->params[2]) : NULL;
    for (size_t i = 0; i < count; i++)
        for (size_t e = 0; e < width; e++) {
            if (dtable != NULL)
                dtable[(size_t)token[i] * width + e] += dy[i * width + e];
            if (dpositions != NULL)
                dpositions[(size_t)position_of(n, i) * width + e] += dy[i * width + e];
            if (dtypes != NULL)
                dtypes[e] += dy[i * width + e];
        }
    return SC_OK;
}

const ref_op ref_embed = {embed_forward, embed_backward, NULL};

/* x of prepend: [n, L, W], or an image [n, W, H, W'] whose pixels are the rows. */
typedef struct rows_of_x {
    size_t rows, length, width, step_row, step_element; /* steps within a sample */
} rows_of_x;
static rows_of_x rows_of(const sc_shape *s)
{
    if (s->n == 3)
        return (rows_of_x){(size_t)s->d[0], (size_t)s->d[1], (size_t)s->d[2], (size_t)s->d[2], 1};
    const size_t pixels = (size_t)(s->d[2] * s->d[3]);
    return (rows_of_x){(size_t)s->d[0], pixels, (size_t)s->d[1], 1, pixels};
}
static size_t place(const rows_of_x *s, size_t r, size_t i, size_t e)
{
    return r * s->length * s->width + i * s->step_row + e * s->step_element;
}

static sc_status prepend_forward(const sc_op_node *n)
{
    const rows_of_x s = rows_of(&n->in[0].desc.shape);
    const double *x = n->in[0].data, *first = ref_param(n, 0), *positions = ref_param(n, 1);
    double *y = n->out[0].data;
    for (size_t r = 0; r < s.rows; r++)
        for (size_t i = 0; i <= s.length; i++, y += s.width)
            for (size_t e = 0; e < s.width; e++)
                y[e] = positions[i * s.width + e] + (i == 0 ? first[e] : x[place(&s, r, i - 1, e)]);
    return SC_OK;
}

static sc_status prepend_backward(const sc_op_node *n)
{
    const rows_of_x s = rows_of(&n->in[0].desc.shape);
    const double *dy = n->out[0].grad;
    double *dx = ref_input_grad(&n->in[0]), *dfirst = ref_param_grad(&n->params[0]);
    double *dpositions = ref_param_grad(&n->params[1]);
    for (size_t r = 0; r < s.rows; r++)
        for (size_t i = 0; i <= s.length; i++, dy += s.width)
            for (size_t e = 0; e < s.width; e++) {
                if (dx != NULL && i > 0)
                    dx[place(&s, r, i - 1, e)] += dy[e];
                if (dfirst != NULL && i == 0)
                    dfirst[e] += dy[e];
                if (dpositions != NULL)
                    dpositions[i * s.width + e] += dy[e];
            }
    return SC_OK;
}

const ref_op ref_prepend = {prepend_forward, prepend_backward, NULL};

/* The row of text t that select_row reads: the first one when no index is given. */
static size_t row_of(const sc_op_node *n, size_t t)
{
    return n->n_in > 1 ? (size_t)((const int32_t *)n->in[1].data)[t] : 0;
}

/* Rows that a text may choose from, and how far its first is from the text before. */
typedef struct choice {
    size_t texts, rows, step, width;
} choice;
static choice choice_of(const sc_op_node *n)
{
    const sc_shape *x = &n->in[0].desc.shape;
    const size_t texts = (size_t)n->out[0].desc.shape.d[0];
    if (x->n == 2)
        return (choice){texts, (size_t)x->d[0], 0, (size_t)x->d[1]};
    return (choice){texts, (size_t)x->d[1], (size_t)x->d[1], (size_t)x->d[2]};
}

static sc_status select_row_forward(const sc_op_node *n)
{
    const choice c = choice_of(n);
    const int32_t *index = n->n_in > 1 ? n->in[1].data : NULL;
    for (size_t t = 0; t < c.texts; t++) {
        if (index != NULL)
            SC_TRY(check_index("select_row: row", index[t], (int64_t)c.rows, t));
        memcpy((double *)n->out[0].data + t * c.width,
               (const double *)n->in[0].data + (t * c.step + row_of(n, t)) * c.width,
               c.width * sizeof(double));
    }
    return SC_OK;
}

static sc_status select_row_backward(const sc_op_node *n)
{
    const choice c = choice_of(n);
    const double *dy = n->out[0].grad;
    double *dx = ref_input_grad(&n->in[0]);
    for (size_t t = 0; dx != NULL && t < c.texts; t++)
        for (size_t e = 0; e < c.width; e++)
            dx[(t * c.step + row_of(n, t)) * c.width + e] += dy[t * c.width + e];
    return SC_OK;
}

const ref_op ref_select_row = {select_row_forward, select_row_backward, NULL};
