#include "wgrad_plan.h"
#include "cpu.h"

#define SUM_BYTES (288 << 10)  /* of a group's part of dw, and */
#define UNIT_BYTES (384 << 10) /* of a unit's words: both in a processor's own cache */
#define DEPTH_LEAST 128        /* words in a unit: below, tiles are loaded and stored too often */
#define DEPTH_MOST 512
#define TASKS 32
#define SLICE_DEPTH 256 /* words: less costs more in adding up than it gains */
#define SLICE_DEPTH_WIDE 1024
#define SLICES_BYTES (4 << 20) /* of sums that stay in the common cache: above it, the wide one */

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

static int64_t grouped(int64_t blocks, int64_t most, int64_t even)
{
    int64_t group = over(blocks, over(blocks, most));
    return min64(blocks, over(group, even) * even);
}
/* Words of the whole depth. */
static int64_t depth_of(const cpu_wgrad_shape *s)
{
    return (s->bf ? s->n / 2 * s->oh + s->n % 2 * over(s->oh, 2) : s->n * s->oh) * s->ow;
}
static void plan_groups(const cpu_wgrad_shape *s, cpu_wgrad_plan *p)
{
    const int64_t depth = depth_of(s), most = max64(1, SUM_BYTES / (p->block * 4));
    int64_t o = 1;
    while (2 * o * 2 * o <= 2 * most)
        o *= 2; /* about square, a power of two */
    p->group_o = grouped(s->co, min64(o, most), CPU_WGRAD_COLUMNS);
    p->group_i = grouped(s->ci, max64(1, most / p->group_o), 1);
    const bool wide = p->sums * TASKS * 4 > SLICES_BYTES;
    const int64_t slices = max64(1, depth / (wide ? SLICE_DEPTH_WIDE : SLICE_DEPTH));
    for (;;) {
        p->groups_i = over(s->ci, p->group_i);
        p->groups_o = over(s->co, p->group_o);
        p->slices = min64(slices, over(TASKS, p->groups_i * p->groups_o));
        if (p->slices * p->groups_i * p->groups_o >= TASKS || (p->group_i <= 4 && p->group_o <= 4))
            break;
        if (p->group_o >= p->group_i)
            p->group_o = grouped(s->co, over(p->group_o, 2), CPU_WGRAD_COLUMNS);
        else
            p->group_i = grouped(s->ci, over(p->group_i, 2), 1);
    }
}
static void plan_units(const cpu_wgrad_shape *s, cpu_wgrad_plan *p)
{
    const int64_t spread = s->kernel == 1 ? 1 : s->stride * s->stride,
                  bytes = 4 * (p->group_i * p->elements * spread + p->group_o * 16),
                  depth = min64(DEPTH_MOST, max64(DEPTH_LEAST, UNIT_BYTES / bytes)),
                  pixels = s->oh * s->ow;
    p->whole = s->bf ? s->n / 2 : s->n;
    p->half_rows = s->bf && s->n % 2 ? over(s->oh, 2) : 0;
    p->rows = min64(s->oh, max64(1, depth / s->ow));
    p->images = max64(1, min64(p->whole, (depth + pixels / 2) / pixels));
    p->bands = over(s->oh, p->rows);
    p->rows = over(s->oh, p->bands);
    if (p->bands > 1)
        p->images = 1;
    p->half_bands = over(p->half_rows, p->rows);
    p->units = over(p->whole, p->images) * p->bands + p->half_bands;
    p->slices = min64(p->slices, p->units);
}
cpu_wgrad_plan cpu_wgrad_plan_of(const cpu_wgrad_shape *s)
{
    cpu_wgrad_plan p = {.elements = s->planes ? s->planes : 16};
    p.block = s->kernel * s->kernel * p.elements * 16;
    p.sums = s->co * s->ci * p.block;
    plan_groups(s, &p);
    plan_units(s, &p);
    p.pack = s->bf || s->planes || s->pad > 0;
    p.sample = s->kernel == 1 ? s->stride : 1;
    int64_t step = s->stride / p.sample;
    p.x_width = (s->ow - 1) * step + s->kernel;
    p.x_plane = ((p.rows - 1) * step + s->kernel) * p.x_width * p.elements;
    p.y_plane = p.rows * s->ow * 16;
    if (p.pack)
        p.x_bytes = cpu_align((size_t)(p.group_i * p.images * p.x_plane) * 4);
    if (s->bf)
        p.y_bytes = cpu_align((size_t)(p.group_o * p.images * p.y_plane) * 4);
    return p;
}
cpu_wgrad_unit cpu_wgrad_unit_at(const cpu_wgrad_plan *p, const cpu_wgrad_shape *s, int64_t unit)
{
    const int64_t whole = p->units - p->half_bands;
    cpu_wgrad_unit u = {.halves = unit >= whole, .images = 1};
    if (u.halves) {
        u.image = p->whole;
        u.row = (unit - whole) * p->rows;
        u.rows = min64(p->rows, p->half_rows - u.row);
    } else {
        u.image = unit / p->bands * p->images;
        u.images = min64(p->images, p->whole - u.image);
        u.row = unit % p->bands * p->rows;
        u.rows = min64(p->rows, s->oh - u.row);
    }
    return u;
}
cpu_wgrad_lane cpu_wgrad_lane_of(const cpu_wgrad_plan *p, const cpu_wgrad_shape *s,
                                 const cpu_wgrad_unit *u, int64_t image, int lane)
{
    if (!s->bf)
        return (cpu_wgrad_lane){u->image + image, u->row};
    if (u->halves)
        return (cpu_wgrad_lane){s->n - 1, u->row + lane * p->half_rows};
    return (cpu_wgrad_lane){2 * (u->image + image) + lane, u->row};
}
