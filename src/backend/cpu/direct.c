/* Which passes and tiles a layer is cut into, and who computes what (direct.h). */
#include "direct.h"
#include "cpu.h"

#include <omp.h>
#include <string.h>

#define CHUNK_BYTES (256 << 10) /* of input: stays in a processor's own cache beside weights */
#define ITEMS 16                /* at least, if the shape gives them: for threads to share */

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static int64_t over(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}
static int64_t blocks_of(int64_t channels)
{
    return over(channels, 16);
}

/* ---- plans ---- */
/* First pixel and how many of a piece of a line. */
static int64_t piece_begin(const cpu_direct_pass *s, int64_t piece)
{
    return piece * s->cols / s->pieces;
}
/* Where `length` results from `first` on lie outside under tap u; CPU_EDGE_NONE + 1: at too many.
 */
static int edge_of(const cpu_direct *p, const cpu_direct_pass *s, int64_t u, int64_t first,
                   int64_t length)
{
    int64_t left = 0, right = 0;
    if (p->channels) /* zeros lie beside these */
        return CPU_EDGE_ALL;
    for (int64_t j = 0; j < length; j++) {
        const int64_t x = (first + j) * s->in_step + s->tx + u;
        left += x < 0;
        right += x >= p->in_w;
    }
    if (left + right == length)
        return CPU_EDGE_NONE;
    if (left + right > 1)
        return CPU_EDGE_NONE + 1;
    return left ? CPU_EDGE_NOT_FIRST : right ? CPU_EDGE_NOT_LAST : CPU_EDGE_ALL;
}
static bool plan_pieces(const cpu_direct *p, cpu_direct_pass *s)
{
    s->pieces = over(s->cols, CPU_DIRECT_PIXELS);
    s->edges = false;
    for (int64_t i = 0; i < s->pieces; i++)
        for (int64_t u = 0; u < s->tw; u++) {
            const int64_t first = piece_begin(s, i), end = piece_begin(s, i + 1);
            const int edge = edge_of(p, s, u, first, end - first);
            if (edge > CPU_EDGE_NONE)
                return false;
            s->edges = s->edges || edge != CPU_EDGE_ALL;
        }
    return true;
}
static void plan_work(cpu_direct *p)
{
    const cpu_direct_pass *s = &p->pass[0];
    p->lines = !p->channels && s->cols <= CPU_DIRECT_PIXELS / 2 && p->n > 1 ? 2 : 1;
    p->groups = over(p->n, p->lines);
    const int64_t bytes = p->lines * p->in_h * p->in_w * (p->bf ? 2 : 4) *
                          (p->channels ? p->channels : p->in_blocks * 16),
                  units = s->rows > 1 || p->passes > 1 ? s->rows : s->pieces;
    p->chunks = min64(units, over(bytes, CHUNK_BYTES));
    p->parts = min64(over(p->out_blocks, 2), over(ITEMS, p->groups * p->chunks));
}

/* Taps of one dimension whose number is `rest` modulo the stride. */
static int64_t taps_of(int kernel, int stride, int rest)
{
    return kernel > rest ? over(kernel - rest, stride) : 0;
}
/* Words of 64 bytes in front of the weights of phase (ry, rx). */
static int64_t phase_at(int kernel, int stride, int ry, int rx, int64_t in_blocks,
                        int64_t out_blocks, int64_t steps)
{
    int64_t taps = 0;
    for (int y = 0; y < stride; y++)
        for (int x = 0; x < stride; x++)
            if (y < ry || (y == ry && x < rx))
                taps += taps_of(kernel, stride, y) * taps_of(kernel, stride, x);
    return taps * in_blocks * out_blocks * steps;
}

static void plan_forward(cpu_direct *p, const cpu_direct_layer *l)
{
    const int64_t per_word = l->bf ? 2 : 1;
    cpu_direct_pass *s = &p->pass[0];
    *s = (cpu_direct_pass){.rows = p->out_h,
                           .cols = p->out_w,
                           .out_step = 1,
                           .th = l->kernel,
                           .tw = l->kernel,
                           .ty = -l->pad,
                           .tx = -l->pad,
                           .in_step = l->stride};
    p->passes = 1;
    if (l->x[1] <= 4) { /* a row of taps is one tap: its pixels lie side by side */
        p->channels = (int)l->x[1];
        p->pad = l->pad;
        p->steps = over((int64_t)l->kernel * p->channels, per_word);
        p->in_blocks = 1;
        s->tw = 1;
        p->line = (int64_t)cpu_align(
            (size_t)(((s->cols - 1) * l->stride * p->channels + p->steps * per_word) *
                     (l->bf ? 2 : 4)));
    }
    s->w_out = p->in_blocks * s->th * s->tw * p->steps * 64;
}
static void plan_backward(cpu_direct *p, const cpu_direct_layer *l)
{
    for (int y = 0; y < l->stride; y++)
        for (int x = 0; x < l->stride; x++) {
            cpu_direct_pass s = {.y0 = y, .x0 = x, .out_step = l->stride, .in_step = 1};
            const int ry = (y + l->pad) % l->stride, rx = (x + l->pad) % l->stride;
            s.rows = p->out_h > y ? over(p->out_h - y, l->stride) : 0;
            s.cols = p->out_w > x ? over(p->out_w - x, l->stride) : 0;
            s.th = taps_of(l->kernel, l->stride, ry);
            s.tw = taps_of(l->kernel, l->stride, rx);
            s.ty = (y + l->pad - ry) / l->stride - s.th + 1;
            s.tx = (x + l->pad - rx) / l->stride - s.tw + 1;
            s.w_at =
                64 * phase_at(l->kernel, l->stride, ry, rx, p->in_blocks, p->out_blocks, p->steps);
            s.w_out = p->in_blocks * s.th * s.tw * p->steps * 64;
            if (s.rows && s.cols)
                p->pass[p->passes++] = s;
        }
}
bool cpu_direct_plan(const cpu_direct_kernels *k, const cpu_direct_layer *layer, bool backward,
                     cpu_direct *out)
{
    cpu_direct_layer l = *layer;
    if (!k || !k->tile[l.bf][0][0][1] || l.y[1] <= 4 || l.kernel > CPU_DIRECT_TAPS ||
        (backward && (l.x[1] <= 4 || l.stride > CPU_DIRECT_STRIDE)))
        return false;
    for (int i = 0; i < 4; i++)
        if (l.x[i] < 1 || l.y[i] < 1)
            return false;
    if (l.kernel == 1 && l.stride == 1 && l.pad == 0 && l.x[1] > 4) { /* all pixels are a line */
        l.x[3] = l.y[3] = l.x[2] * l.x[3];
        l.x[2] = l.y[2] = 1;
    }
    const int64_t *in = backward ? l.y : l.x, *res = backward ? l.x : l.y;
    cpu_direct p = {.k = k,
                    .bf = l.bf,
                    .n = in[0],
                    .in_blocks = blocks_of(in[1]),
                    .out_blocks = blocks_of(res[1]),
                    .in_h = in[2],
                    .in_w = in[3],
                    .out_h = res[2],
                    .out_w = res[3],
                    .steps = l.bf ? 8 : 16};
    if (backward)
        plan_backward(&p, &l);
    else
        plan_forward(&p, &l);
    for (int i = 0; i < p.passes; i++)
        if (!plan_pieces(&p, &p.pass[i]))
            return false;
    plan_work(&p);
    p.words = p.steps * l.kernel * (p.channels ? 1 : l.kernel);
    *out = p;
    return true;
}

/* ---- weights ---- */
size_t cpu_direct_weight_bytes(const cpu_direct *p)
{
    return (size_t)(p->words * p->in_blocks * p->out_blocks * 64);
}
void cpu_direct_weights(const cpu_direct_kernels *k, const int64_t shape[4], void *out,
                        const float *w)
{
    const bool plain = shape[1] <= 4;
    const int64_t ob = blocks_of(shape[0]), rows = plain ? shape[3] * shape[1] : 16,
                  count = ob * shape[2] * (plain ? 1 : blocks_of(shape[1]) * shape[3]);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i++)
        k->pairs(w + i * rows * 16, rows, (uint16_t *)out + i * over(rows, 2) * 32);
}
void cpu_direct_weights_back(const cpu_direct_kernels *k, const int64_t shape[4], bool bf,
                             int stride, void *out, const float *w)
{
    const int kernel = (int)shape[2];
    const int64_t ob = blocks_of(shape[0]), ib = blocks_of(shape[1]), steps = bf ? 8 : 16;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t i = 0; i < ib; i++)
        for (int64_t o = 0; o < ob; o++)
            for (int y = 0; y < kernel; y++)
                for (int x = 0; x < kernel; x++) {
                    const int ry = y % stride, rx = x % stride;
                    const int64_t th = taps_of(kernel, stride, ry),
                                  tw = taps_of(kernel, stride, rx), t = th - 1 - y / stride,
                                  u = tw - 1 - x / stride;
                    char *to = (char *)out + 64 * (phase_at(kernel, stride, ry, rx, ob, ib, steps) +
                                                   (((i * ob + o) * th + t) * tw + u) * steps);
                    const float *from = w + (((o * ib + i) * kernel + y) * kernel + x) * 256;
                    float turned[256];
                    k->turn(from, bf ? turned : (float *)(void *)to);
                    if (bf)
                        k->pairs(turned, 16, (uint16_t *)(void *)to);
                }
}

/* ---- work ---- */
/* Rows of the input that lie under rows [from, to) of results. */
static int64_t first_row(const cpu_direct_pass *s, int64_t from)
{
    const int64_t y = from * s->in_step + s->ty;
    return y > 0 ? y : 0;
}
static int64_t woven_rows(const cpu_direct *p)
{
    const cpu_direct_pass *s = &p->pass[0];
    return over(s->rows, p->chunks) * s->in_step + s->th;
}
size_t cpu_direct_scratch(const cpu_direct *p, int threads)
{
    return p->channels ? (size_t)(p->line * woven_rows(p)) * (size_t)threads : 0;
}

typedef struct call {
    const cpu_direct *p;
    const char *x, *w;
    const float *bias;
    char *y, *scratch;
    bool add;
    int64_t size; /* of an element */
} call;

/* Rows of plain planes as rows of pixels; returns where the image's first would lie. */
static const char *weave_rows(const call *c, int64_t image, int64_t from, int64_t to, char *scratch)
{
    const cpu_direct *p = c->p;
    const cpu_direct_pass *s = &p->pass[0];
    const int64_t begin = first_row(s, from),
                  end = min64(p->in_h, (to - 1) * s->in_step + s->ty + s->th);
    const int64_t plane = p->in_h * p->in_w;
    for (int64_t y = begin; y < end; y++)
        p->k->weave(c->x + (image * p->channels * plane + y * p->in_w) * c->size, p->bf,
                    p->channels, plane, p->in_w, p->pad * p->channels, p->line / c->size,
                    scratch + (y - begin) * p->line);
    return scratch - begin * p->line;
}

/* What all tiles of a pass have in common. */
static cpu_direct_tile tile_of(const call *c, const cpu_direct_pass *s)
{
    const cpu_direct *p = c->p;
    const int64_t pixel = 16 * c->size;
    cpu_direct_tile t = {.x_step = s->in_step * pixel,
                         .x_row = p->in_w * pixel,
                         .x_block = p->in_h * p->in_w * pixel,
                         .taps = s->tw,
                         .blocks = p->in_blocks,
                         .steps = p->steps,
                         .w_row = s->tw * p->steps * 64,
                         .w_block = s->th * s->tw * p->steps * 64,
                         .y_step = s->out_step * pixel,
                         .y_second = p->out_h * p->out_w * pixel,
                         .add = c->add};
    for (int64_t u = 0; u < s->tw; u++)
        t.tap[u] = u * pixel;
    if (p->channels) {
        t.x_step = s->in_step * p->channels * c->size;
        t.x_row = p->line;
    }
    return t;
}
/* Results [first, end) of row i for output blocks o and o + 1 of the group's images. */
static void run_tile(const call *c, const cpu_direct_pass *s, cpu_direct_tile *t, int64_t group,
                     int64_t o, int64_t i, int64_t first, int64_t end, const char *woven)
{
    const cpu_direct *p = c->p;
    const int64_t pixel = 16 * c->size, y = i * s->in_step + s->ty,
                  from = y < 0 ? min64(-y, s->th) : 0,
                  to = y + s->th > p->in_h ? p->in_h - y : s->th;
    const int64_t image = group * p->lines, lines = min64(p->lines, p->n - image);
    t->rows = to > from ? to - from : 0;
    t->w = c->w + s->w_at + o * s->w_out + from * t->w_row;
    t->w_second = s->w_out;
    t->bias = c->bias ? c->bias + o * 16 : NULL;
    if (s->edges)
        for (int64_t u = 0; u < s->tw; u++)
            t->edge[u] = (uint8_t)edge_of(p, s, u, first, end - first);
    for (int64_t k = 0; k < lines; k++) {
        const int64_t at = first * s->in_step + s->tx;
        t->x[k] =
            woven
                ? woven + (y + from) * p->line + first * t->x_step
                : c->x + (((image + k) * p->in_blocks * p->in_h + y + from) * p->in_w + at) * pixel;
        t->y[k] = c->y + ((((image + k) * p->out_blocks + o) * p->out_h + s->y0 + i * s->out_step) *
                              p->out_w +
                          s->x0 + first * s->out_step) *
                             pixel;
    }
    p->k->tile[p->bf][lines - 1][p->out_blocks - o > 1][end - first](t);
}
/* Part `chunk` of the pass's results, for output blocks o and o + 1. */
static void run_pass(const call *c, const cpu_direct_pass *s, int64_t group, int64_t chunk,
                     int64_t o, const char *woven)
{
    const cpu_direct *p = c->p;
    const bool by_rows = p->pass[0].rows > 1 || p->passes > 1;
    const int64_t units = by_rows ? p->pass[0].rows : s->pieces;
    const int64_t from = chunk * units / p->chunks, to = (chunk + 1) * units / p->chunks;
    if (c->add && (s->th == 0 || s->tw == 0))
        return;
    cpu_direct_tile t = tile_of(c, s);
    for (int64_t i = by_rows ? from : 0; i < (by_rows ? min64(to, s->rows) : 1); i++)
        for (int64_t k = by_rows ? 0 : from; k < (by_rows ? s->pieces : to); k++)
            run_tile(c, s, &t, group, o, i, piece_begin(s, k), piece_begin(s, k + 1), woven);
}
static void run_item(const call *c, int64_t item)
{
    const cpu_direct *p = c->p;
    const int64_t part = item % p->parts, chunk = item / p->parts % p->chunks,
                  group = item / p->parts / p->chunks;
    const int64_t pairs = over(p->out_blocks, 2), units = p->pass[0].rows;
    const char *woven = NULL;
    if (p->channels)
        woven = weave_rows(c, group, chunk * units / p->chunks, (chunk + 1) * units / p->chunks,
                           c->scratch +
                               (size_t)(p->line * woven_rows(p)) * (size_t)omp_get_thread_num());
    for (int64_t o = part * pairs / p->parts; o < (part + 1) * pairs / p->parts; o++)
        for (int i = 0; i < p->passes; i++)
            run_pass(c, &p->pass[i], group, chunk, 2 * o, woven);
}
void cpu_direct_apply(const cpu_direct *p, const void *x, const void *w, const float *bias, void *y,
                      bool add, void *scratch)
{
    const call c = {p, x, w, bias, y, scratch, add, p->bf ? 2 : 4};
    /* no sum crosses a piece of work: who computes it changes nothing */
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t item = 0; item < p->groups * p->chunks * p->parts; item++)
        run_item(&c, item);
}
