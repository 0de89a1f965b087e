/* attention and prepend. */
#include "cpu.h"

#include <omp.h>
#include <string.h>

static inline char *offset(const void *p, int64_t i, bool bf)
{
    return p ? (char *)(uintptr_t)p + (size_t)i * (bf ? 2 : 4) : NULL;
}

/* ---- attention: a task a text and head, or a head where texts share rows ----
 * scratch = what the shared rows are owed, [heads]; work of each thread */
static bool packed(const sc_op_node *n)
{
    return n->n_in == 2;
}
/* The rows that packed texts share are one more text, the last. */
static int64_t texts_of(const sc_op_node *n)
{
    return packed(n) ? n->in[1].desc.shape.d[0] - (n->attrs.shared > 0 ? 0 : 1)
                     : n->in[0].desc.shape.d[0];
}
static int64_t head_width(const sc_op_node *n)
{
    return cpu_width(&n->out[0].desc) / n->attrs.heads;
}
static int64_t owed_floats(const cpu_device *d, const sc_op_node *n)
{
    return cpu_round16(d->k.attention_owed(n->attrs.shared, head_width(n)));
}
static int64_t work_floats(const cpu_device *d, const sc_op_node *n)
{
    const int64_t length = packed(n) ? n->attrs.longest : n->in[0].desc.shape.d[1];
    return cpu_round16(d->k.attention_floats(length, head_width(n)));
}
static sc_status attention_memory(cpu_device *d, const sc_op_node *n, size_t *saved,
                                  size_t *scratch)
{
    (void)saved;
    *scratch = (size_t)(work_floats(d, n) * d->head.threads +
                        owed_floats(d, n) * (n->attrs.shared > 0 ? n->attrs.heads : 0)) *
               sizeof(float);
    return SC_OK;
}

/* `rows` rows from row `first` on. q, k and v stand in one row of input 0, or in inputs 0 to 2. */
static cpu_attention rows_of(const cpu_device *d, const sc_op_node *n, int64_t first, int64_t rows,
                             bool back)
{
    const int64_t width = cpu_width(&n->out[0].desc);
    const bool joined = n->n_in < 3, xb = cpu_bf16(d, &n->in[0].desc);
    cpu_attention a = {.length = rows,
                       .valid = rows,
                       .width = width,
                       .stride = joined ? 3 * width : width,
                       .heads = n->attrs.heads,
                       .causal = joined,
                       .bf_x = xb,
                       .bf_y = cpu_bf16(d, &n->out[0].desc)};
    for (int part = 0; part < 3; part++) {
        const sc_node_value *x = &n->in[joined ? 0 : part];
        const int64_t at = first * a.stride + (joined ? part * width : 0);
        a.x[part] = offset(x->data, at, xb);
        a.dx[part] = back ? offset(x->grad, at, xb) : NULL;
        a.add[part] = x->accumulate;
    }
    a.y = offset(n->out[0].data, first * width, a.bf_y);
    a.dy = back ? offset(n->out[0].grad, first * width, a.bf_y) : NULL;
    return a;
}
static cpu_attention text_of(const cpu_device *d, const sc_op_node *n, int64_t text, bool back)
{
    if (!packed(n)) {
        const int64_t length = n->in[0].desc.shape.d[1];
        cpu_attention a = rows_of(d, n, text * length, length, back);
        if (n->n_in == 4)
            a.valid = ((const int32_t *)n->in[3].data)[text] + 1;
        return a;
    }
    const int32_t *begins = n->in[1].data;
    const int shared = n->attrs.shared;
    if (text == n->in[1].desc.shape.d[0] - 1)
        return rows_of(d, n, 0, shared, back);
    cpu_attention a = rows_of(d, n, begins[text], begins[text + 1] - begins[text], back);
    const cpu_attention before = rows_of(d, n, 0, shared, back);
    a.shared = shared;
    a.length += shared;
    a.valid += shared;
    memcpy(a.before, before.x, sizeof a.before);
    return a;
}
static void run_text(cpu_device *d, const sc_op_node *n, cpu_attention a, int head, bool back)
{
    a.work = (float *)n->scratch + omp_get_thread_num() * work_floats(d, n);
    (back ? d->k.attention_back : d->k.attention)(&a, head);
}
/* All texts of one head, in their order, then the rows that they share. */
static void run_head_back(cpu_device *d, const sc_op_node *n, int head)
{
    const int64_t texts = texts_of(n), owed = owed_floats(d, n);
    float *sum = (float *)n->scratch + d->head.threads * work_floats(d, n) + head * owed;
    memset(sum, 0, (size_t)owed * sizeof *sum);
    for (int64_t t = 0; t < texts; t++) {
        cpu_attention a = text_of(d, n, t, true);
        a.owed = sum;
        run_text(d, n, a, head, true);
    }
}
static void attention_run(cpu_device *d, const sc_op_node *n, bool back)
{
    const int heads = n->attrs.heads;
    if (n->attrs.shared > 0 && back) {
#pragma omp parallel for schedule(static)
        for (int h = 0; h < heads; h++)
            run_head_back(d, n, h);
        return;
    }
    const int64_t texts = texts_of(n);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < texts * heads; t++)
        run_text(d, n, text_of(d, n, t / heads, back), (int)(t % heads), back);
}
static sc_status check_begins(const sc_op_node *n)
{
    const int32_t *begins = n->in[1].data;
    const int64_t texts = n->in[1].desc.shape.d[0] - 1, rows = n->in[0].desc.shape.d[0];
    bool sound = begins[0] == n->attrs.shared && begins[texts] == rows;
    for (int64_t t = 0; t < texts; t++)
        sound = sound && begins[t] < begins[t + 1] &&
                begins[t + 1] - begins[t] + n->attrs.shared <= n->attrs.longest;
    return sound
               ? SC_OK
               : sc_fail(SC_EINTERNAL,
                         "cpu: attention: %lld packed texts do not follow each other in %lld rows",
                         (long long)texts, (long long)rows);
}
static sc_status attention_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const int32_t *last = n->n_in == 4 ? n->in[3].data : NULL;
    const int64_t *x = n->in[0].desc.shape.d;
    if (packed(n))
        SC_TRY(check_begins(n));
    for (int64_t t = 0; last && t < x[0]; t++)
        if (last[t] < 0 || last[t] >= x[1])
            return sc_fail(SC_EINTERNAL, "cpu: attention: last position %d of %lld", last[t],
                           (long long)x[1]);
    attention_run(d, n, false);
    return SC_OK;
}
static sc_status attention_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    bool wanted = false;
    for (int i = 0; i < n->n_in; i++)
        wanted |= n->in[i].grad != NULL;
    if (wanted)
        attention_run(d, n, true);
    return SC_OK;
}
const cpu_op cpu_op_attention = {attention_memory, NULL, NULL, attention_forward,
                                 attention_backward};

/* ---- prepend: rows [n, L, W], or the pixels of an image in channel blocks ---- */
typedef struct pixels {
    int64_t length, width; /* pixels, channels */
    int64_t block, planes; /* block = width and one plane for rows */
} pixels;
static pixels pixels_of(const cpu_device *d, const sc_op_node *n)
{
    const sc_value_desc *x = &n->in[0].desc;
    if (x->shape.n == 3)
        return (pixels){x->shape.d[1], x->shape.d[2], x->shape.d[2], 1};
    return (pixels){x->shape.d[2] * x->shape.d[3], x->shape.d[1], d->k.block,
                    cpu_channels(x) / d->k.block};
}
/* Element of channel block b of pixel `at` of sample `row`. */
static int64_t pixel(const pixels *p, int64_t row, int64_t at, int64_t b)
{
    return ((row * p->planes + b) * p->length + at) * p->block;
}
static int64_t block_width(const pixels *p, int64_t b)
{
    const int64_t rest = p->width - b * p->block;
    return rest < p->block ? rest : p->block; /* <= 0: a block of padding */
}
static sc_status prepend_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d, (void)saved, (void)scratch;
    const sc_value_desc *x = &n->in[0].desc;
    if (x->shape.n == 4 && !cpu_blocked(x))
        return sc_fail(SC_EUNSUPPORTED, "cpu: prepend to images of 4 channels or fewer");
    return SC_OK;
}
static sc_status prepend_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const pixels p = pixels_of(d, n);
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    const int64_t rows = n->in[0].desc.shape.d[0];
    const float *first = n->params[0].value, *positions = n->params[1].value;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < rows * (p.length + 1); i++) {
        const int64_t row = i / (p.length + 1), at = i % (p.length + 1);
        const float *position = positions + at * p.width;
        char *y = offset(n->out[0].data, i * p.width, yb);
        if (at == 0)
            d->k.add(y, yb, first, false, position, false, p.width);
        for (int64_t b = 0; at > 0 && b < p.planes && block_width(&p, b) > 0; b++)
            d->k.add(offset(y, b * p.block, yb), yb,
                     offset(n->in[0].data, pixel(&p, row, at - 1, b), xb), xb,
                     position + b * p.block, false, block_width(&p, b));
    }
    return SC_OK;
}
/* Threads own positions, so every element is summed in the order of the rows by one of them. */
static sc_status prepend_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const pixels p = pixels_of(d, n);
    const bool xb = cpu_bf16(d, &n->in[0].desc), yb = cpu_bf16(d, &n->out[0].desc);
    const sc_node_value *x = &n->in[0];
    const int64_t rows = x->desc.shape.d[0];
    float *positions = n->params[1].grad, *first = n->params[0].grad;
    if (x->grad && !x->accumulate && p.planes * p.block > p.width) /* padding stays 0 */
        cpu_zero(x->grad, (size_t)cpu_count(&x->desc) * (xb ? 2 : 4));
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at <= p.length; at++) {
        float *sums[] = {at == 0 ? first : NULL, positions ? positions + at * p.width : NULL};
        for (int k = 0; k < 2; k++)
            if (sums[k])
                memset(sums[k], 0, (size_t)p.width * sizeof(float));
        for (int64_t row = 0; row < rows; row++) {
            char *dy = offset(n->out[0].grad, (row * (p.length + 1) + at) * p.width, yb);
            for (int k = 0; k < 2; k++)
                if (sums[k])
                    d->k.convert(sums[k], false, dy, yb, p.width, true);
            for (int64_t b = 0; at > 0 && x->grad && b < p.planes && block_width(&p, b) > 0; b++)
                d->k.convert(offset(x->grad, pixel(&p, row, at - 1, b), xb), xb,
                             offset(dy, b * p.block, yb), yb, block_width(&p, b), x->accumulate);
        }
    }
    return SC_OK;
}
const cpu_op cpu_op_prepend = {prepend_memory, NULL, NULL, prepend_forward, prepend_backward};
