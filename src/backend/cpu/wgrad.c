/* Tasks of a weight gradient (wgrad_plan.h): words laid out, tiles computed, slices added up. */
#include "cpu.h"
#include "wgrad_plan.h"

#include <omp.h>
#include <string.h>

#define ADD_COUNT 4096
#define LINE 64 /* bytes fetched at once */

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
static int64_t over(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

typedef struct wgrad_task {
    const cpu_wgrad_kernels *k;
    const cpu_wgrad_plan *p;
    const cpu_wgrad_shape *s;
    const void *x, *dy;
    int64_t i, end_i, o, end_o; /* channel blocks */
    uint32_t *x_words, *y_words;
    float *sums;
} wgrad_task;

/* One row of words from input rows of one or two lanes (NULL: zeros). */
static void lay_row(const wgrad_task *t, const void *const from[2], uint32_t *out)
{
    const cpu_wgrad_shape *s = t->s;
    const cpu_wgrad_plan *p = t->p;
    const int64_t e = p->elements,
                  left = min64(p->x_width, over(s->pad, p->sample)), /* outside the image */
        first = left * p->sample - s->pad,
                  inside =
                      first < s->w ? min64(p->x_width - left, over(s->w - first, p->sample)) : 0;
    if (inside == 0 || (!from[0] && !from[1])) {
        memset(out, 0, (size_t)(p->x_width * e) * 4);
        return;
    }
    memset(out, 0, (size_t)(left * e) * 4);
    memset(out + (left + inside) * e, 0, (size_t)((p->x_width - left - inside) * e) * 4);
    out += left * e;
    const size_t skip = (size_t)(first * (s->planes ? 1 : 16));
    if (s->bf) {
        const uint16_t *a = from[0], *b = from[1];
        a = a ? a + skip : NULL;
        b = b ? b + skip : NULL;
        if (s->planes)
            t->k->mix_pairs(out, a, b, s->h * s->w, e, inside, p->sample);
        else
            t->k->pairs(out, a, b, inside, p->sample);
        return;
    }
    const float *a = (const float *)from[0] + skip;
    if (s->planes)
        t->k->mix(out, a, s->h * s->w, e, inside, p->sample);
    else if (p->sample == 1)
        memcpy(out, a, (size_t)(inside * 16) * sizeof *a);
    else
        for (int64_t v = 0; v < inside; v++)
            memcpy(out + v * 16, a + v * p->sample * 16, 16 * sizeof *a);
}
static void lay_x(const wgrad_task *t, const cpu_wgrad_unit *u)
{
    const cpu_wgrad_shape *s = t->s;
    const cpu_wgrad_plan *p = t->p;
    const size_t element = s->bf ? 2 : 4;
    const int64_t blocks = t->end_i - t->i, pixels = s->h * s->w * (s->planes ? s->planes : 16),
                  row_pixels = s->w * (s->planes ? 1 : 16),
                  rows = (u->rows - 1) * (s->stride / p->sample) + s->kernel;
    for (int64_t image = 0; image < u->images; image++) {
        const cpu_wgrad_lane lane[2] = {cpu_wgrad_lane_of(p, s, u, image, 0),
                                        cpu_wgrad_lane_of(p, s, u, image, 1)};
        for (int64_t b = 0; b < blocks; b++) {
            uint32_t *out = t->x_words + (b * p->images + image) * p->x_plane;
            for (int64_t r = 0; r < rows; r++, out += p->x_width * p->elements) {
                const void *from[2] = {NULL, NULL};
                for (int l = 0; l < (s->bf ? 2 : 1); l++) {
                    int64_t y = lane[l].row * s->stride - s->pad + r * p->sample;
                    if (y >= 0 && y < s->h)
                        from[l] =
                            (const char *)t->x +
                            (size_t)((lane[l].image * s->ci + t->i + b) * pixels + y * row_pixels) *
                                element;
                }
                lay_row(t, from, out);
            }
        }
    }
}
/* Pairs of dy. */
static void lay_y(const wgrad_task *t, const cpu_wgrad_unit *u)
{
    const cpu_wgrad_shape *s = t->s;
    const cpu_wgrad_plan *p = t->p;
    const uint16_t *dy = t->dy;
    for (int64_t image = 0; image < u->images; image++) {
        const cpu_wgrad_lane a = cpu_wgrad_lane_of(p, s, u, image, 0),
                             b = cpu_wgrad_lane_of(p, s, u, image, 1);
        const int64_t both = min64(u->rows, s->oh - b.row); /* the second half may be a row short */
        for (int64_t o = t->o; o < t->end_o; o++) {
            uint32_t *out = t->y_words + ((o - t->o) * p->images + image) * p->y_plane;
            const uint16_t *first = dy + ((a.image * s->co + o) * s->oh + a.row) * s->ow * 16,
                           *second = dy + ((b.image * s->co + o) * s->oh + b.row) * s->ow * 16;
            t->k->pairs(out, first, second, both * s->ow, 1);
            if (both < u->rows)
                t->k->pairs(out + both * s->ow * 16, first + both * s->ow * 16, NULL,
                            (u->rows - both) * s->ow, 1);
        }
    }
}

/* The tile's operands and distances for a unit; `a` and `b` are those of the task's first blocks,
 * the two results the distances to the next. */
static cpu_wgrad_tile operands(const wgrad_task *t, const cpu_wgrad_unit *u, int64_t *next_i,
                               int64_t *next_o)
{
    const cpu_wgrad_shape *s = t->s;
    const cpu_wgrad_plan *p = t->p;
    const int64_t step = s->stride / p->sample;
    cpu_wgrad_tile m = {.width = s->ow, .lines = u->rows, .images = u->images};
    if (p->pack) {
        m.a = t->x_words;
        m.a_step = step * p->elements;
        m.a_line = step * p->x_width * p->elements;
        m.a_image = p->x_plane;
        *next_i = p->images * p->x_plane;
    } else {
        const int64_t plane = s->h * s->w * 16;
        m.a = (const uint32_t *)t->x + (u->image * s->ci + t->i) * plane +
              u->row * s->stride * s->w * 16;
        m.a_step = s->stride * 16;
        m.a_line = s->stride * s->w * 16;
        m.a_image = s->ci * plane;
        *next_i = plane;
    }
    m.b_line = s->ow * 16;
    if (s->bf) {
        m.b = t->y_words;
        m.b_image = p->y_plane;
        *next_o = p->images * p->y_plane;
    } else {
        const int64_t plane = s->oh * s->ow * 16;
        m.b = (const uint32_t *)t->dy + (u->image * s->co + t->o) * plane + u->row * s->ow * 16;
        m.b_image = s->co * plane;
        *next_o = plane;
    }
    if (m.a_line == m.width * m.a_step) {
        m.width *= m.lines;
        m.lines = 1;
    }
    return m;
}
/* What the next unit will read, in pieces that lie together: an image's rows of one block or plane
 * of x (not where rows are skipped: too little of a piece is of use), then of dy. */
typedef struct wgrad_ahead {
    cpu_wgrad_unit u;
    int64_t piece, pieces, done; /* bytes of the piece */
} wgrad_ahead;
static int64_t ahead_planes(const wgrad_task *t)
{
    return t->p->sample > 1 ? 0 : t->s->planes ? t->s->planes : t->end_i - t->i;
}
static wgrad_ahead ahead_of(const wgrad_task *t, const cpu_wgrad_unit *u)
{
    const int64_t each = u->images * (t->s->bf ? 2 : 1);
    return (wgrad_ahead){*u, 0, each * (ahead_planes(t) + t->end_o - t->o), 0};
}
static const char *ahead_piece(const wgrad_task *t, const cpu_wgrad_unit *u, int64_t at,
                               int64_t *bytes)
{
    const cpu_wgrad_shape *s = t->s;
    const int64_t lanes = s->bf ? 2 : 1, element = s->bf ? 2 : 4, each = u->images * lanes,
                  planes = ahead_planes(t);
    const cpu_wgrad_lane lane = cpu_wgrad_lane_of(t->p, s, u, at % each / lanes, (int)(at % lanes));
    at /= each;
    if (at >= planes) {
        const int64_t o = t->o + at - planes, row = s->ow * 16 * element;
        *bytes = min64(u->rows, s->oh - lane.row) * row;
        return (const char *)t->dy + ((lane.image * s->co + o) * s->oh + lane.row) * row;
    }
    const int64_t plane = s->planes ? lane.image * s->planes + at : lane.image * s->ci + t->i + at,
                  row = s->w * (s->planes ? 1 : 16) * element,
                  first = min64(s->h, max64(0, lane.row * s->stride - s->pad));
    *bytes = min64((u->rows - 1) * s->stride + s->kernel, s->h - first) * row;
    return (const char *)t->x + (plane * s->h + first) * row;
}
static void set_ahead(const wgrad_task *t, wgrad_ahead *a, cpu_wgrad_tile *m, int64_t steps)
{
    m->ahead = m->ahead_end = (const char *)m->c;
    if (a->piece >= a->pieces)
        return;
    int64_t bytes;
    const char *at = ahead_piece(t, &a->u, a->piece, &bytes);
    m->ahead = at + a->done;
    a->done += steps * LINE;
    m->ahead_end = at + min64(a->done, bytes);
    if (a->done >= bytes) {
        a->done = 0;
        a->piece++;
    }
}

/* All sums of one unit. */
static void add_unit(const wgrad_task *t, const cpu_wgrad_unit *u, bool add, wgrad_ahead *ahead)
{
    const cpu_wgrad_shape *s = t->s;
    const cpu_wgrad_plan *p = t->p;
    int64_t next_i, next_o;
    cpu_wgrad_tile m = operands(t, u, &next_i, &next_o);
    const uint32_t *a = m.a, *b = m.b;
    const int64_t rows = s->kernel * p->elements, parts = over(rows, CPU_WGRAD_ROWS),
                  down = (p->pack ? p->x_width : s->w) * p->elements; /* a row of taps */
    void (*const tile)(int, int, const cpu_wgrad_tile *) = s->bf ? t->k->tile_pairs : t->k->tile;
    m.add = add;
    m.b_block = next_o;
    m.c_block = s->ci * p->block;
    for (int64_t o = t->o; o < t->end_o; o += CPU_WGRAD_COLUMNS) {
        m.b = b + (o - t->o) * next_o;
        for (int64_t i = t->i; i < t->end_i; i++)
            for (int64_t ky = 0; ky < s->kernel; ky++)
                for (int64_t q = 0; q < parts; q++) {
                    const int64_t from = q * rows / parts, to = (q + 1) * rows / parts;
                    m.a = a + (i - t->i) * next_i + ky * down + from;
                    m.c = t->sums + (o * s->ci + i) * p->block + (ky * rows + from) * 16;
                    set_ahead(t, ahead, &m, m.images * m.lines * m.width);
                    tile((int)(to - from), o + 1 < t->end_o ? 2 : 1, &m);
                }
    }
}
static void run_task(const cpu_wgrad_kernels *k, const cpu_wgrad_plan *p, const cpu_wgrad_shape *s,
                     const void *x, const void *dy, float *dw, void *scratch, int64_t task)
{
    const int64_t groups = p->groups_i * p->groups_o, slice = task / groups,
                  gi = task % groups % p->groups_i, go = task % groups / p->groups_i;
    char *own = (char *)scratch + (size_t)omp_get_thread_num() * (p->x_bytes + p->y_bytes),
         *more = (char *)scratch + (size_t)s->threads * (p->x_bytes + p->y_bytes);
    wgrad_task t = {.k = k, .p = p, .s = s, .x = x, .dy = dy};
    t.i = gi * p->group_i;
    t.end_i = min64(t.i + p->group_i, s->ci);
    t.o = go * p->group_o;
    t.end_o = min64(t.o + p->group_o, s->co);
    t.x_words = (uint32_t *)(void *)own;
    t.y_words = (uint32_t *)(void *)(own + p->x_bytes);
    t.sums = slice == 0 ? dw
                        : (float *)(void *)(more + (size_t)(slice - 1) *
                                                       cpu_align((size_t)p->sums * sizeof(float)));
    const int64_t begin = slice * p->units / p->slices, end = (slice + 1) * p->units / p->slices;
    cpu_wgrad_unit u = cpu_wgrad_unit_at(p, s, begin);
    for (int64_t unit = begin; unit < end; unit++) {
        const cpu_wgrad_unit next = cpu_wgrad_unit_at(p, s, unit + 1 < end ? unit + 1 : unit);
        wgrad_ahead ahead = ahead_of(&t, &next);
        if (unit + 1 == end)
            ahead.pieces = 0;
        if (p->pack)
            lay_x(&t, &u);
        if (s->bf)
            lay_y(&t, &u);
        add_unit(&t, &u, unit > begin, &ahead);
        u = next;
    }
}
size_t cpu_wgrad_scratch(const cpu_wgrad_shape *s)
{
    const cpu_wgrad_plan p = cpu_wgrad_plan_of(s);
    return (size_t)s->threads * (p.x_bytes + p.y_bytes) +
           (size_t)(p.slices - 1) * cpu_align((size_t)p.sums * sizeof(float));
}
void cpu_wgrad(const cpu_wgrad_kernels *k, const cpu_wgrad_shape *s, const void *x, const void *dy,
               float *dw, void *scratch)
{
    const cpu_wgrad_plan p = cpu_wgrad_plan_of(s);
    /* a task's sums are its own: who computes them changes nothing */
#pragma omp parallel for num_threads(s->threads) schedule(dynamic, 1)
    for (int64_t task = 0; task < p.slices * p.groups_i * p.groups_o; task++)
        run_task(k, &p, s, x, dy, dw, scratch, task);
    if (p.slices == 1)
        return;
    const char *more = (const char *)scratch + (size_t)s->threads * (p.x_bytes + p.y_bytes);
    const int64_t apart = (int64_t)(cpu_align((size_t)p.sums * sizeof(float)) / sizeof(float));
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (int64_t from = 0; from < p.sums; from += ADD_COUNT)
        for (int64_t q = 1; q < p.slices; q++)
            k->add(dw + from, (const float *)(const void *)more + (q - 1) * apart + from,
                   min64(ADD_COUNT, p.sums - from));
}

void cpu_wgrad_bias(const cpu_kernels *k, const cpu_wgrad_shape *s, const void *dy, float *db)
{
    const int64_t pixels = s->oh * s->ow, plane = pixels * 16;
#pragma omp parallel for num_threads(s->threads) schedule(static)
    for (int64_t o = 0; o < s->co; o++) {
        double sum[16] = {0};
        for (int64_t n = 0; n < s->n; n++) {
            float one[16] = {0};
            k->column_sum(one, (const char *)dy + (n * s->co + o) * plane * (s->bf ? 2 : 4), s->bf,
                          pixels, 16, 16);
            for (int l = 0; l < 16; l++)
                sum[l] += (double)one[l];
        }
        for (int l = 0; l < 16; l++)
            db[o * 16 + l] = (float)sum[l];
    }
}
