/* linear: three products by the register tiles of k_linear.c, operands in the device's compute type
 * (bfloat16 or float), sums in float over the whole depth at once. The weight is read as it is: one
 * panel of tile_cols columns after the other is packed (and rounded) by the thread that multiplies
 * with it, while the next one is fetched.
 *
 * Saved: x when it had to be narrowed or padded, and with an activation its argument z. Scratch: in
 * evaluation those first; dz when it is not the output's gradient as it is; the panels.
 */
#include "cpu.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define TILE CPU_TILE_ROWS
#define BLOCK (4 * TILE) /* rows of a weight gradient that go through the panels together */
/* A block is packed in whole vectors, the last one into the row behind it. */
#define SLACK 16

typedef struct dims {
    int64_t m, k, n;         /* rows, in, out */
    int64_t x_row, dz_row;   /* elements from row to row: even in bfloat16 */
    bool bf, x_bf, y_bf;     /* operands, values */
    bool own_x, own_dz, act; /* x and dz are not the values as they lie */
    size_t x_bytes, z_bytes, dz_bytes;
} dims;

static dims dims_of(const cpu_device *d, const sc_op_node *n)
{
    dims m = {.m = cpu_rows_of(&n->in[0].desc),
              .k = cpu_width(&n->in[0].desc),
              .n = cpu_width(&n->out[0].desc),
              .bf = d->head.precision == SC_BF16_MIXED,
              .x_bf = cpu_bf16(d, &n->in[0].desc),
              .y_bf = cpu_bf16(d, &n->out[0].desc),
              .act = n->attrs.activation != SC_NO_ACTIVATION};
    const size_t element = m.bf ? 2 : 4;
    m.own_x = m.x_bf != m.bf || (m.bf && m.k % 2);
    m.own_dz = m.act || m.y_bf != m.bf || (m.bf && m.n % 2);
    m.x_row = m.k + (m.bf ? m.k % 2 : 0);
    m.dz_row = m.n + (m.bf ? m.n % 2 : 0);
    m.x_bytes = m.own_x ? cpu_align((size_t)(m.m * m.x_row) * element) : 0;
    m.z_bytes = m.act ? cpu_align((size_t)(m.m * m.n) * element) : 0;
    m.dz_bytes = m.own_dz ? cpu_align((size_t)(m.m * m.dz_row) * element) : 0;
    return m;
}
/* Words of an operand along a depth of n elements. */
static int64_t words_of(const dims *m, int64_t n)
{
    return m->bf ? (n + 1) / 2 : n;
}
static int64_t blocks_of(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

/* ---- y = a w: rows of a as they lie, columns of the weight in panels ---- */
typedef struct product product;
struct product {
    const sc_op_node *node;
    const dims *m;
    int64_t rows, cols, depth;
    const void *a;
    int64_t a_row; /* elements */
    const float *w;
    int64_t w_row;
    bool w_turned;  /* a column of the product is a row of w */
    uint32_t *room; /* [threads] pairs of panels */
    void (*done)(const cpu_device *d, const product *p, int64_t row, int64_t col, int64_t count,
                 const float *c);
};

static size_t panel_bytes(const cpu_device *d, const dims *m, int64_t depth)
{
    return (size_t)(words_of(m, depth) * d->k.tile_cols) * sizeof(uint32_t);
}
/* Part k of `parts` of the panel that starts at column col. */
static void pack_part(const cpu_device *d, const product *p, int64_t col, uint32_t *panel,
                      int64_t k, int64_t parts)
{
    const int64_t cols = d->k.tile_cols, left = p->cols - col < cols ? p->cols - col : cols;
    cpu_pack s = {.src = p->w, .stride = p->w_row, .depth = p->depth, .cols = left, .room = cols};
    if (p->w_turned) { /* so many blocks of columns */
        const int64_t block = d->k.block, blocks = cols / block;
        const int64_t first = blocks * k / parts * block, end = blocks * (k + 1) / parts * block;
        s.src = p->w + (col + first) * p->w_row;
        s.cols = left < end ? left - first : end - first;
        s.room = end - first;
        d->k.pack_columns(panel + first, cols, &s, p->m->bf);
    } else { /* so much of the depth */
        const int64_t words = words_of(p->m, p->depth), per = p->m->bf ? 2 : 1;
        const int64_t first = words * k / parts * per, end = words * (k + 1) / parts * per;
        s.src = p->w + first * p->w_row + col;
        s.depth = (end < p->depth ? end : p->depth) - first;
        d->k.pack_rows(panel + first / per * cols, cols, &s, false, p->m->bf);
    }
}
/* The tiles of rows [first, end) with a packed panel. Each tile fetches its share of the next
 * panel, which is packed behind it (next NULL: none follows). */
static void run_panel(const cpu_device *d, const product *p, int64_t col, const uint32_t *panel,
                      uint32_t *next, int64_t first, int64_t end)
{
    const int64_t cols = d->k.tile_cols, tiles = blocks_of(end - first, TILE);
    const int64_t count = p->cols - col < cols ? p->cols - col : cols;
    const int64_t share = next ? blocks_of(p->depth * cols / 16, 4 * tiles) * 4 : 0;
    const char *w = (const char *)(p->w + (col + cols) * (p->w_turned ? p->w_row : 1));
    float c[TILE * CPU_TILE_COLS];
    cpu_tile t = {.a_row = p->m->bf ? p->a_row / 2 : p->a_row,
                  .a_step = 1,
                  .b = panel,
                  .depth = words_of(p->m, p->depth),
                  .aheads = 1,
                  .ahead_stride = p->w_turned ? 256 : p->w_row * 4,
                  .ahead_lines = share};
    for (int64_t i = first, k = 0; i < end; i += TILE, k++) {
        const int64_t rows = end - i < TILE ? end - i : TILE;
        t.a = (const char *)p->a + (size_t)(i * p->a_row) * (p->m->bf ? 2 : 4);
        t.ahead[0] = w + share / 4 * k * t.ahead_stride;
        d->k.tile(&t, (int)rows, c, p->m->bf);
        for (int64_t r = 0; r < rows; r++)
            p->done(d, p, i + r, col, count, c + r * cols);
        if (next)
            pack_part(d, p, col + cols, next, k, tiles);
    }
}
/* Panels and rows of thread number `id` of `team`: whole panels where they come out even, else the
 * first and the last one by rows (no sum depends on it). */
static void multiply_share(const cpu_device *d, const product *p, int64_t id, int64_t team)
{
    const int64_t cols = d->k.tile_cols, panels = blocks_of(p->cols, cols),
                  tiles = blocks_of(p->rows, TILE);
    const int64_t begin = panels * tiles * id / team, stop = panels * tiles * (id + 1) / team;
    const int64_t words = words_of(p->m, p->depth) * cols;
    uint32_t *now = p->room + 2 * id * words, *next = now + words;
    for (int64_t at = begin; at < stop;) {
        const int64_t panel = at / tiles, first = at % tiles;
        const int64_t end = stop < (panel + 1) * tiles ? stop - panel * tiles : tiles;
        const bool more = panel * tiles + end < stop;
        if (at == begin)
            pack_part(d, p, panel * cols, now, 0, 1);
        run_panel(d, p, panel * cols, now, more ? next : NULL, first * TILE,
                  end * TILE < p->rows ? end * TILE : p->rows);
        at = panel * tiles + end;
        uint32_t *other = now;
        now = next;
        next = other;
    }
}
static void multiply(const cpu_device *d, const product *p)
{
#pragma omp parallel
    multiply_share(d, p, omp_get_thread_num(), omp_get_num_threads());
}

/* ---- dW = a^T b: both packed along the rows of the batch ---- */
typedef struct outer {
    const dims *m;
    int64_t rows, cols; /* of dW */
    const void *a, *b;
    int64_t a_row, b_row;
    uint32_t *a_blocks, *b_panels;
    const sc_node_param *w;
    const float
        *update; /* not NULL: AdamW's constants, and each tile goes into the weight at once */
} outer;

static int64_t a_block_words(const dims *m)
{
    return words_of(m, m->m) * BLOCK + SLACK;
}
static size_t outer_bytes(const cpu_device *d, const dims *m, int64_t rows, int64_t cols)
{
    const int64_t width = d->k.tile_cols;
    return (size_t)(blocks_of(rows, BLOCK) * a_block_words(m) +
                    blocks_of(cols, width) * width * words_of(m, m->m)) *
           sizeof(uint32_t);
}
static void pack_outer(const cpu_device *d, const outer *o)
{
    const int64_t width = d->k.tile_cols, blocks = blocks_of(o->rows, BLOCK),
                  panels = blocks_of(o->cols, width), words = words_of(o->m, o->m->m);
    const size_t size = o->m->bf ? 2 : 4;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < blocks + panels; t++) {
        const bool left = t < blocks;
        const int64_t at = left ? t * BLOCK : (t - blocks) * width;
        const int64_t rest = (left ? o->rows : o->cols) - at, room = left ? BLOCK : width;
        const int64_t full = room + (left ? SLACK : 0); /* whole vectors are read where there are */
        cpu_pack s = {.src = (const char *)(left ? o->a : o->b) + (size_t)at * size,
                      .stride = left ? o->a_row : o->b_row,
                      .depth = o->m->m,
                      .cols = rest < full ? rest : full,
                      .room = room};
        uint32_t *to = left ? o->a_blocks + t * a_block_words(o->m)
                            : o->b_panels + (t - blocks) * width * words;
        d->k.pack_rows(to, room, &s, o->m->bf, o->m->bf);
    }
}
/* The lines that the tile at (i, col) will change. */
static void fetch_ahead(const outer *o, int64_t i, int64_t col, cpu_tile *t)
{
    const int64_t at = i * o->cols + col;
    t->aheads = col >= o->cols ? 0 : o->update ? 3 : 1;
    t->ahead_stride = o->cols * 4;
    t->ahead_lines = 4 * TILE;
    if (t->aheads == 3) {
        t->ahead[0] = (const char *)((const float *)o->w->value + at);
        t->ahead[1] = (const char *)((const float *)o->w->m + at);
        t->ahead[2] = (const char *)((const float *)o->w->v + at);
    } else if (t->aheads == 1) {
        t->ahead[0] = (const char *)((const float *)o->w->grad + at);
    }
}
static void finish_rows(const cpu_device *d, const outer *o, int64_t i, int64_t rows, int64_t col,
                        int64_t count, const float *c)
{
    for (int64_t r = 0; r < rows; r++, c += d->k.tile_cols) {
        const int64_t at = (i + r) * o->cols + col;
        if (o->update)
            d->k.adamw((float *)o->w->value + at, c, (float *)o->w->m + at, (float *)o->w->v + at,
                       count, o->update);
        else
            d->k.tile_store((float *)o->w->grad + at, false, c, NULL, count, false);
    }
}
static void run_block(const cpu_device *d, const outer *o, int64_t first)
{
    const int64_t width = d->k.tile_cols, words = words_of(o->m, o->m->m);
    const uint32_t *block = o->a_blocks + first / BLOCK * a_block_words(o->m);
    const int64_t end = o->rows - first < BLOCK ? o->rows : first + BLOCK;
    float c[TILE * CPU_TILE_COLS];
    cpu_tile t = {.a_row = 1, .a_step = BLOCK, .depth = words};
    for (int64_t col = 0; col < o->cols; col += width) {
        const int64_t count = o->cols - col < width ? o->cols - col : width;
        t.b = o->b_panels + col * words;
        for (int64_t i = first; i < end; i += TILE) {
            const int64_t rows = end - i < TILE ? end - i : TILE;
            t.a = block + (i - first);
            fetch_ahead(o, i + TILE < end ? i + TILE : first, i + TILE < end ? col : col + width,
                        &t);
            d->k.tile(&t, (int)rows, c, o->m->bf);
            finish_rows(d, o, i, rows, col, count, c);
        }
    }
}
static void multiply_outer(const cpu_device *d, const outer *o)
{
    pack_outer(d, o);
#pragma omp parallel for schedule(static)
    for (int64_t first = 0; first < o->rows; first += BLOCK)
        run_block(d, o, first);
}

/* ---- the op ---- */
static sc_status linear_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    dims m = dims_of(d, n);
    const size_t threads = (size_t)d->head.threads;
    const bool turned = n->attrs.transposed;
    size_t ahead = 2 * threads * panel_bytes(d, &m, m.k), kept = m.x_bytes + m.z_bytes;
    *saved = n->training ? kept : 0;
    *scratch = ahead + (n->training ? 0 : kept);
    if (!n->training)
        return SC_OK;
    size_t data = 2 * threads * panel_bytes(d, &m, m.n),
           weights = outer_bytes(d, &m, turned ? m.k : m.n, turned ? m.n : m.k),
           back = m.dz_bytes + (data > weights ? data : weights);
    if (back > *scratch)
        *scratch = back;
    return SC_OK;
}

/* Where the update takes the weight's gradient tile by tile, only the biases between the weights'
 * gradients are ever written. */
static sc_status linear_prepare(cpu_device *d, const sc_op_node *n, void **state)
{
    (void)state;
    if (n->training && n->params[0].grad && n->comm->size == 1)
        cpu_scattered(n->params[0].grad,
                      cpu_param_elements(&d->head, &n->params[0].desc) * sizeof(float));
    return SC_OK;
}

static void *operand_of(const sc_op_node *n, const dims *m)
{
    return !m->own_x ? n->in[0].data : n->training ? n->saved : n->scratch;
}
static void *argument_of(const sc_op_node *n, const dims *m)
{
    return (char *)(n->training ? n->saved : n->scratch) + m->x_bytes;
}
static void *forward_room(const sc_op_node *n, const dims *m)
{
    return (char *)n->scratch + (n->training ? 0 : m->x_bytes + m->z_bytes);
}
static void *dz_of(const sc_op_node *n, const dims *m)
{
    return m->own_dz ? n->scratch : n->out[0].grad;
}

static inline char *element(const void *p, int64_t i, bool bf)
{
    return (char *)(uintptr_t)p + (size_t)i * (bf ? 2 : 4);
}
/* The element that makes a row's count even. */
static void pad_row(void *row, int64_t width, int64_t stride)
{
    if (stride > width)
        ((uint16_t *)row)[width] = 0;
}
static void narrow_x(const cpu_device *d, const sc_op_node *n, const dims *m, void *x)
{
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < m->m; r++) {
        void *row = element(x, r * m->x_row, m->bf);
        d->k.convert(row, m->bf, element(n->in[0].data, r * m->k, m->x_bf), m->x_bf, m->k, false);
        pad_row(row, m->k, m->x_row);
    }
}

static void forward_done(const cpu_device *d, const product *p, int64_t row, int64_t col,
                         int64_t count, const float *c)
{
    const sc_op_node *n = p->node;
    const dims *m = p->m;
    const int64_t at = row * m->n + col;
    const float *bias = n->n_params > 1 ? (const float *)n->params[1].value + col : NULL;
    void *y = element(n->out[0].data, at, m->y_bf), *z = element(argument_of(n, m), at, m->bf);
    d->k.tile_store(m->act ? z : y, m->act ? m->bf : m->y_bf, c, bias, count, false);
    if (m->act)
        d->k.activate(n->attrs.activation, y, m->y_bf, z, m->bf, count);
}
static sc_status linear_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const dims m = dims_of(d, n);
    const bool turned = n->attrs.transposed;
    if (m.m == 0)
        return SC_OK;
    if (m.own_x)
        narrow_x(d, n, &m, operand_of(n, &m));
    const product p = {.node = n,
                       .m = &m,
                       .rows = m.m,
                       .cols = m.n,
                       .depth = m.k,
                       .a = operand_of(n, &m),
                       .a_row = m.x_row,
                       .w = n->params[0].value,
                       .w_row = turned ? m.n : m.k,
                       .w_turned = !turned,
                       .room = forward_room(n, &m),
                       .done = forward_done};
    multiply(d, &p);
    return SC_OK;
}

static void make_dz(const cpu_device *d, const sc_op_node *n, const dims *m)
{
    void *dz = dz_of(n, m), *z = argument_of(n, m);
    if (!m->own_dz)
        return;
#pragma omp parallel for schedule(static)
    for (int64_t r = 0; r < m->m; r++) {
        void *row = element(dz, r * m->dz_row, m->bf);
        const void *dy = element(n->out[0].grad, r * m->n, m->y_bf);
        if (m->act)
            d->k.activate_back(n->attrs.activation, row, m->bf, false, dy, m->y_bf,
                               element(z, r * m->n, m->bf), m->bf, m->n);
        else
            d->k.convert(row, m->bf, dy, m->y_bf, m->n, false);
        pad_row(row, m->n, m->dz_row);
    }
}
static void bias_gradient(const cpu_device *d, const sc_op_node *n, const dims *m)
{
    const int64_t grain = 128;
    const bool bf = m->act ? m->bf : m->y_bf;
    const void *dz = m->act ? dz_of(n, m) : n->out[0].grad;
    float *db = n->params[1].grad;
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < m->n; c += grain) {
        int64_t width = m->n - c < grain ? m->n - c : grain;
        memset(db + c, 0, (size_t)width * sizeof(float));
        d->k.column_sum(db + c, element(dz, c, bf), bf, m->m, width, m->act ? m->dz_row : m->n);
    }
}
static void data_done(const cpu_device *d, const product *p, int64_t row, int64_t col,
                      int64_t count, const float *c)
{
    const sc_node_value *x = &p->node->in[0];
    d->k.tile_store(element(x->grad, row * p->m->k + col, p->m->x_bf), p->m->x_bf, c, NULL, count,
                    x->accumulate);
}
static void data_gradient(const cpu_device *d, const sc_op_node *n, const dims *m)
{
    const bool turned = n->attrs.transposed;
    const product p = {.node = n,
                       .m = m,
                       .rows = m->m,
                       .cols = m->k,
                       .depth = m->n,
                       .a = dz_of(n, m),
                       .a_row = m->dz_row,
                       .w = n->params[0].value,
                       .w_row = turned ? m->n : m->k,
                       .w_turned = turned,
                       .room = (uint32_t *)((char *)n->scratch + m->dz_bytes),
                       .done = data_done};
    multiply(d, &p);
}
static void weight_gradient(const cpu_device *d, const sc_op_node *n, const dims *m,
                            const float *update)
{
    const bool turned = n->attrs.transposed;
    outer o = {.m = m,
               .rows = turned ? m->k : m->n,
               .cols = turned ? m->n : m->k,
               .a = turned ? operand_of(n, m) : dz_of(n, m),
               .b = turned ? dz_of(n, m) : operand_of(n, m),
               .a_row = turned ? m->x_row : m->dz_row,
               .b_row = turned ? m->dz_row : m->x_row,
               .w = &n->params[0],
               .update = update};
    o.a_blocks = (uint32_t *)((char *)n->scratch + m->dz_bytes);
    o.b_panels = o.a_blocks + blocks_of(o.rows, BLOCK) * a_block_words(m);
    multiply_outer(d, &o);
}
static void backward(const cpu_device *d, const sc_op_node *n, const dims *m, const float *update)
{
    make_dz(d, n, m);
    if (n->n_params > 1 && n->params[1].grad)
        bias_gradient(d, n, m);
    if (n->in[0].grad)
        data_gradient(d, n, m);
    if (n->params[0].grad) /* last: it may change the weight */
        weight_gradient(d, n, m, update);
}
static void zero_gradients(const cpu_device *d, const sc_op_node *n)
{
    for (int i = 0; i < n->n_params; i++)
        if (n->params[i].grad)
            cpu_zero(n->params[i].grad,
                     cpu_param_elements(&d->head, &n->params[i].desc) * sizeof(float));
}
static sc_status linear_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)state;
    const dims m = dims_of(d, n);
    if (m.m == 0)
        zero_gradients(d, n);
    else
        backward(d, n, &m, NULL);
    return SC_OK;
}
sc_status cpu_linear_update(cpu_device *d, const sc_op_node *n, void *state, const float c[8],
                            bool first)
{
    (void)state, (void)first;
    const dims m = dims_of(d, n);
    const sc_node_param *w = &n->params[0];
    if (m.m > 0) {
        backward(d, n, &m, c);
        return SC_OK;
    }
    zero_gradients(d, n);
    d->k.adamw(w->value, w->grad, w->m, w->v, m.k * m.n, c);
    return SC_OK;
}

const cpu_op cpu_op_linear = {linear_memory, linear_prepare, NULL, linear_forward, linear_backward};
