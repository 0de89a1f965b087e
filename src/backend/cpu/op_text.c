/* Ops of the text tower: embed, select_row. */
#include "cpu.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

static inline char *offset(const void *p, int64_t i, bool bf)
{
    return (char *)(uintptr_t)p + (size_t)i * (bf ? 2 : 4);
}

/* ---- embed ---- */
/* The position of token i: its column, or what input 1 says. */
static int64_t position_of(const sc_op_node *n, int64_t i)
{
    return n->n_in > 1 ? ((const int32_t *)n->in[1].data)[i] : i % n->in[0].desc.shape.d[1];
}
static sc_status embed_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const int32_t *tokens = n->in[0].data;
    const int64_t count = sc_shape_count(&n->in[0].desc.shape), width = cpu_width(&n->out[0].desc),
                  vocabulary = n->params[0].desc.shape.d[0], context = n->params[1].desc.shape.d[0];
    const bool yb = cpu_bf16(d, &n->out[0].desc);
    const float *table = n->params[0].value, *positions = n->params[1].value,
                *types = n->n_params > 2 ? n->params[2].value : NULL;
    for (int64_t i = 0; i < count; i++) {
        const int64_t place = position_of(n, i);
        if (tokens[i] < 0 || tokens[i] >= vocabulary)
            return sc_fail(SC_EINTERNAL, "cpu: embed: token id %d in a vocabulary of %lld",
                           tokens[i], (long long)vocabulary);
        if (place < 0 || place >= context)
            return sc_fail(SC_EINTERNAL, "cpu: embed: position %lld of %lld", (long long)place,
                           (long long)context);
    }
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++) {
        void *y = offset(n->out[0].data, i * width, yb);
        d->k.add(y, yb, table + tokens[i] * width, false, positions + position_of(n, i) * width,
                 false, width);
        if (types)
            d->k.convert(y, yb, types, false, width, true);
    }
    return SC_OK;
}
/* Threads own columns, so every element is summed in token order by one of them. table may be NULL.
 */
static void sum_columns(const cpu_device *d, const sc_op_node *n, float *table)
{
    const int32_t *tokens = n->in[0].data;
    const int64_t count = sc_shape_count(&n->in[0].desc.shape), width = cpu_width(&n->out[0].desc),
                  grain = 64;
    const bool yb = cpu_bf16(d, &n->out[0].desc);
    float *positions = n->params[1].grad, *types = n->n_params > 2 ? n->params[2].grad : NULL;
    for (int i = table ? 0 : 1; i < n->n_params; i++)
        if (n->params[i].grad)
            cpu_zero(n->params[i].grad,
                     cpu_param_elements(&d->head, &n->params[i].desc) * sizeof(float));
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < width; c += grain) {
        int64_t part = width - c < grain ? width - c : grain;
        for (int64_t i = 0; i < count; i++) {
            const void *dy = offset(n->out[0].grad, i * width + c, yb);
            if (table)
                d->k.convert(table + tokens[i] * width + c, false, dy, yb, part, true);
            if (positions)
                d->k.convert(positions + position_of(n, i) * width + c, false, dy, yb, part, true);
            if (types)
                d->k.convert(types + c, false, dy, yb, part, true);
        }
    }
}
static sc_status embed_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    sum_columns(d, n, n->params[0].grad);
    return SC_OK;
}

/* Rows of the table that no text ever used have no moments, and their update is the decay alone: no
 * gradient is made for them, and no memory of their moments is touched. */
typedef struct embed {
    uint8_t *moving;       /* [vocabulary] rows with moments */
    int32_t *first, *next; /* the places of a token in the texts: -1 ends the list */
    float *rows;           /* [threads][width] a row's gradient */
    uint64_t version;      /* of the table that `moving` describes */
} embed;

static void embed_release(cpu_device *d, void *state)
{
    (void)d;
    embed *e = state;
    free(e->moving);
    free(e->first);
    free(e->next);
    free(e->rows);
    free(e);
}
static sc_status embed_prepare(cpu_device *d, const sc_op_node *n, void **state)
{
    const sc_node_param *table = &n->params[0];
    if (!table->m)
        return SC_OK;
    const int64_t vocabulary = table->desc.shape.d[0], width = cpu_width(&n->out[0].desc),
                  places = sc_shape_count(&n->in[0].desc.shape);
    embed *e = sc_alloc(1, sizeof *e);
    if (!e)
        return SC_ENOMEM;
    e->moving = sc_alloc((size_t)vocabulary, 1);
    e->first = sc_alloc((size_t)vocabulary, sizeof *e->first);
    e->next = sc_alloc((size_t)places, sizeof *e->next);
    e->rows = sc_alloc((size_t)(d->head.threads * width), sizeof *e->rows);
    if (!e->moving || !e->first || !e->next || !e->rows) {
        embed_release(d, e);
        return SC_ENOMEM;
    }
    for (int64_t r = 0; r < vocabulary; r++)
        e->first[r] = -1;
    cpu_scattered(table->m, (size_t)(vocabulary * width) * sizeof(float));
    cpu_scattered(table->v, (size_t)(vocabulary * width) * sizeof(float));
    *state = e;
    return SC_OK;
}
static void find_moving(const cpu_device *d, const sc_node_param *table, int64_t width, bool none,
                        embed *e)
{
    const int64_t vocabulary = table->desc.shape.d[0];
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < vocabulary; r++)
        e->moving[r] = !none && !(d->k.all_zero((const float *)table->m + r * width, width) &&
                                  d->k.all_zero((const float *)table->v + r * width, width));
}
static void update_row(const cpu_device *d, const sc_op_node *n, embed *e, int64_t r, float *grad,
                       const float c[8])
{
    const sc_node_param *table = &n->params[0];
    const int64_t width = cpu_width(&n->out[0].desc);
    const bool yb = cpu_bf16(d, &n->out[0].desc);
    float *value = (float *)table->value + r * width;
    if (!e->moving[r] && e->first[r] < 0) {
        d->k.decay(value, width, c);
        return;
    }
    memset(grad, 0, (size_t)width * sizeof *grad);
    for (int32_t i = e->first[r]; i >= 0; i = e->next[i])
        d->k.convert(grad, false, offset(n->out[0].grad, i * width, yb), yb, width, true);
    d->k.adamw(value, grad, (float *)table->m + r * width, (float *)table->v + r * width, width, c);
    e->moving[r] = 1;
}
sc_status cpu_embed_update(cpu_device *d, const sc_op_node *n, void *state, const float c[8],
                           bool first)
{
    embed *e = state;
    const sc_node_param *table = &n->params[0];
    const int32_t *tokens = n->in[0].data;
    const int64_t vocabulary = table->desc.shape.d[0], width = cpu_width(&n->out[0].desc);
    const int64_t places = sc_shape_count(&n->in[0].desc.shape);
    sum_columns(d, n, NULL);
    if (e->version != table->shared->version)
        find_moving(d, table, width, first, e);
    for (int64_t i = places - 1; i >= 0; i--) {
        e->next[i] = e->first[tokens[i]];
        e->first[tokens[i]] = (int32_t)i;
    }
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < vocabulary; r++)
        update_row(d, n, e, r, e->rows + omp_get_thread_num() * width, c);
    for (int64_t i = 0; i < places; i++)
        e->first[tokens[i]] = -1;
    e->version = table->shared->version + 1; /* the caller raises it */
    return SC_OK;
}
const cpu_op cpu_op_embed = {NULL, embed_prepare, embed_release, embed_forward, embed_backward};

/* ---- select_row ---- */
static int32_t row_of(const sc_op_node *n, int64_t text)
{
    return n->n_in > 1 ? ((const int32_t *)n->in[1].data)[text] : 0;
}
/* Rows that a text may choose from, and how far its first is from the text before. */
typedef struct choice {
    int64_t texts, rows, step;
} choice;
static choice choice_of(const sc_op_node *n)
{
    const sc_shape *x = &n->in[0].desc.shape;
    const int64_t texts = n->out[0].desc.shape.d[0];
    return x->n == 2 ? (choice){texts, x->d[0], 0} : (choice){texts, x->d[1], x->d[1]};
}
static sc_status select_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const choice c = choice_of(n);
    const int64_t width = cpu_width(&n->in[0].desc);
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    for (int64_t t = 0; t < c.texts; t++) {
        const int32_t row = row_of(n, t);
        if (row < 0 || row >= c.rows)
            return sc_fail(SC_EINTERNAL, "cpu: select_row: row %d of %lld", row, (long long)c.rows);
        d->k.convert(offset(n->out[0].data, t * width, yb), yb,
                     offset(n->in[0].data, (t * c.step + row) * width, xb), xb, width, false);
    }
    return SC_OK;
}
static sc_status select_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const choice c = choice_of(n);
    const int64_t width = cpu_width(&n->in[0].desc);
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    if (!n->in[0].grad)
        return SC_OK;
    if (!n->in[0].accumulate)
        cpu_zero(n->in[0].grad, (size_t)cpu_count(&n->in[0].desc) * (xb ? 2 : 4));
    for (int64_t t = 0; t < c.texts; t++)
        d->k.convert(offset(n->in[0].grad, (t * c.step + row_of(n, t)) * width, xb), xb,
                     offset(n->out[0].grad, t * width, yb), yb, width, true);
    return SC_OK;
}
const cpu_op cpu_op_select_row = {NULL, NULL, NULL, select_forward, select_backward};
