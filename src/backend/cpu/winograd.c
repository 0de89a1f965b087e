/* How a layer is cut into pieces that stay in the caches (winograd.h). */
#include "winograd.h"
#include "cpu.h"

#include <omp.h>
#include <string.h>

#define POSITIONS 16
#define PANEL 14             /* rows of a product kept in registers */
#define V_BYTES (448 << 10)  /* of one block of tiles: half of a processor's own cache */
#define PART_BYTES (1 << 20) /* of V and Z */
#define DEPTH 256            /* pairs of tiles in one product: long sums, few visits to P */
#define ROW_BLOCKS 8         /* of P in one piece of work */
#define SLICES 32            /* at most, of the tiles of a layer with few channels: */
#define SLICE_BLOCKS 36      /* of 16 x 16 in P: 590 KB */

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static int64_t over(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}
static int64_t tile_columns(const cpu_wino_shape *s)
{
    return over(s->w, 2);
}
static int64_t tile_count(const cpu_wino_shape *s)
{
    return s->n * over(s->h, 2) * tile_columns(s);
}

bool cpu_wino_pays(cpu_wino_direction way, const int64_t x[4], const int64_t y[4])
{
    const int64_t ci = x[1], co = y[1], h = x[2], w = x[3];
    /* Products a pixel: 16 a tile of up to 4, against 9. In an image of a single tile most weights
     * meet one pixel, and the tile's rounding is large beside its product. */
    if (h < 4 || w < 4 || 16 * over(h, 2) * over(w, 2) * 10 > 9 * h * w * 7)
        return false;
    if (way == CPU_WINO_FORWARD)
        return ci >= 128 && co >= 64;
    return ci >= 32 && co >= 32;
}
void cpu_wino_off(sc_device *d, bool off)
{
    ((cpu_device *)d)->direct_only = off;
}

/* The run of tiles that begins at tile `at` of the layer and ends with its tile row or before
 * `end`, in channel block c of the image values `planes` of `channels` blocks. */
static cpu_wino_run run_at(const cpu_wino_shape *s, const uint16_t *planes, int64_t channels,
                           int64_t c, int64_t at, int64_t end)
{
    int64_t tw = tile_columns(s), row = at / tw, th = over(s->h, 2);
    cpu_wino_run r = {.h = s->h, .w = s->w, .ty = row % th, .tx = at % tw};
    r.count = min64(tw - r.tx, end - at);
    r.plane = (void *)(uintptr_t)(planes + ((row / th) * channels + c) * s->h * s->w * 16);
    return r;
}

/* ---- weights ---- */
/* U [co / 2][16 positions][ci][8 pairs][2 column blocks][16][2] */
static int64_t panel_elements(const cpu_wino_shape *s)
{
    return s->ci * 512;
}
int64_t cpu_wino_weight_elements(const cpu_wino_shape *s)
{
    return over(s->co, 2) * POSITIONS * panel_elements(s);
}
void cpu_wino_weights(const cpu_wino_kernels *k, const cpu_wino_shape *s, const float *w,
                      bool turned, uint16_t *u)
{
    const int64_t step = panel_elements(s), tile = 9 * 256;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t o = 0; o < s->co; o++)
        for (int64_t i = 0; i < s->ci; i++) {
            const float *from = w + (turned ? i * s->co + o : o * s->ci + i) * tile;
            k->weights(from, turned, u + o / 2 * POSITIONS * step + i * 512 + o % 2 * 32, step, 64);
        }
}

/* ---- forward, and backward to the input ---- */
typedef struct apply_plan {
    int64_t tiles, block;   /* of a block */
    int64_t v_step, m_step; /* elements from position to position; odd numbers of cache lines */
    size_t v_bytes, bytes;  /* of one thread */
} apply_plan;

static apply_plan plan_apply(const cpu_wino_shape *s)
{
    apply_plan p = {.tiles = tile_count(s)};
    int64_t most = V_BYTES / (POSITIONS * s->ci * 32) / PANEL * PANEL;
    most = most < PANEL ? PANEL : most > 8 * PANEL ? 8 * PANEL : most;
    int64_t blocks = over(over(p.tiles, most), s->threads) * s->threads;
    p.block = over(over(p.tiles, blocks), 2) * 2;
    p.v_step = s->ci * p.block * 16 + 32;
    p.m_step = p.block * 32 + 16;
    p.v_bytes = cpu_align((size_t)(POSITIONS * p.v_step) * sizeof(uint16_t));
    p.bytes = p.v_bytes + cpu_align((size_t)(POSITIONS * p.m_step) * sizeof(float));
    return p;
}
size_t cpu_wino_apply_scratch(const cpu_wino_shape *s)
{
    return plan_apply(s).bytes * (size_t)s->threads;
}

/* Two column blocks of the block's results. */
static void products(const cpu_wino_kernels *k, const apply_plan *p, const cpu_wino_shape *s,
                     int64_t count, const uint16_t *v, const uint16_t *u, float *m)
{
    int64_t panels = over(count, PANEL);
    for (int i = 0; i < POSITIONS; i++)
        for (int64_t q = 0; q < panels; q++) {
            int64_t from = q * count / panels, to = (q + 1) * count / panels;
            k->gemm_rows((int)(to - from), v + i * p->v_step + from * 16, p->block * 16,
                         u + i * panel_elements(s), s->ci, m + i * p->m_step + from * 32);
        }
}
static void apply_block(const cpu_wino_kernels *k, const apply_plan *p, const cpu_wino_shape *s,
                        const uint16_t *x, const uint16_t *u, uint16_t *y, bool add, int64_t first,
                        void *scratch)
{
    uint16_t *v = scratch;
    float *m = (float *)((char *)scratch + p->v_bytes);
    int64_t count = min64(p->block, p->tiles - first), end = first + count;
    for (int64_t c = 0; c < s->ci; c++)
        for (int64_t at = first; at < end;) {
            cpu_wino_run r = run_at(s, x, s->ci, c, at, end);
            k->input(&r, v + c * p->block * 16, p->v_step, at - first);
            at += r.count;
        }
    for (int64_t o = 0; o < s->co; o += 2) {
        products(k, p, s, count, v, u + o / 2 * POSITIONS * panel_elements(s), m);
        for (int64_t c = o; c < s->co && c < o + 2; c++)
            for (int64_t at = first; at < end;) {
                cpu_wino_run r = run_at(s, y, s->co, c, at, end);
                k->output(&r, m + (at - first) * 32 + (c - o) * 16, p->m_step, 32, add);
                at += r.count;
            }
    }
}
void cpu_wino_apply(const cpu_wino_kernels *k, const cpu_wino_shape *s, const uint16_t *x,
                    const uint16_t *u, uint16_t *y, bool add, void *scratch)
{
    const apply_plan p = plan_apply(s);
    /* no sum crosses a block: who computes it changes nothing */
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t first = 0; first < p.tiles; first += p.block)
        apply_block(k, &p, s, x, u, y, add, first,
                    (char *)scratch + p.bytes * (size_t)omp_get_thread_num());
}

/* ---- backward to the weights ---- */
/* Few channels: slices of the tiles, each with sums P [16 positions][ci][co][16][16] of its own,
 * which stay in a processor's cache; no thread waits for another until P are added up. Many
 * channels: one P; V and Z of a part of the tiles are transformed by all threads into the common
 * cache, then all positions' products are added to P. Either way sums run in an order of the shape.
 */
typedef struct gradient_plan {
    int64_t tiles, part;   /* even */
    int64_t slices, slice; /* tiles of one: whole parts */
    int64_t v_step, z_step, p_step;
    size_t v_bytes, z_bytes, p_bytes;
} gradient_plan;

static gradient_plan plan_gradient(const cpu_wino_shape *s)
{
    gradient_plan p = {.tiles = tile_count(s)};
    int64_t most = PART_BYTES / (POSITIONS * (s->ci + s->co) * 32);
    most = most < 2 * DEPTH ? 2 * DEPTH : most;
    int64_t parts = over(p.tiles, most);
    p.part = over(over(p.tiles, parts), 2) * 2;
    p.slices = s->ci * s->co > SLICE_BLOCKS ? 1 : min64(parts, SLICES);
    p.slice = over(parts, p.slices) * p.part;
    p.v_step = s->ci * p.part * 16 + 32;
    p.z_step = s->co * p.part * 16 + 32;
    p.p_step = s->ci * s->co * 256 + 16;
    p.v_bytes = cpu_align((size_t)(POSITIONS * p.v_step) * sizeof(uint16_t));
    p.z_bytes = cpu_align((size_t)(POSITIONS * p.z_step) * sizeof(uint16_t));
    p.p_bytes = cpu_align((size_t)(POSITIONS * p.p_step) * sizeof(float));
    return p;
}
size_t cpu_wino_gradient_scratch(const cpu_wino_shape *s)
{
    const gradient_plan p = plan_gradient(s);
    size_t buffers = p.slices > 1 ? (size_t)s->threads : 1;
    return buffers * (p.v_bytes + p.z_bytes) + (size_t)p.slices * p.p_bytes;
}

/* Tiles [first, end) of one channel block, written from place `place` (even) on. */
static void transform(const cpu_wino_shape *s, const uint16_t *planes, int64_t channels, int64_t c,
                      int64_t first, int64_t end, uint16_t *to, int64_t step, int64_t place,
                      void (*kernel)(const cpu_wino_run *, uint16_t *, int64_t, int64_t))
{
    for (int64_t at = first; at < end;) {
        cpu_wino_run r = run_at(s, planes, channels, c, at, end);
        kernel(&r, to, step, place + at - first);
        at += r.count;
    }
}
/* Row blocks [i0, i1) of position k: P += V^T Z over `pairs` pairs of tiles. */
static void add_products(const cpu_wino_kernels *k, const gradient_plan *p, const cpu_wino_shape *s,
                         int position, int64_t i0, int64_t i1, int64_t pairs, const uint16_t *v,
                         const uint16_t *z, float *sums, bool add)
{
    const int64_t block = p->part * 16;
    v += position * p->v_step;
    z += position * p->z_step;
    sums += position * p->p_step;
    for (int64_t from = 0; from < pairs; from += DEPTH, add = true) {
        int64_t depth = min64(DEPTH, pairs - from);
        for (int64_t o = 0; o < s->co; o += 2)
            for (int64_t i = i0; i < i1; i++)
                for (int half = 0; half < 2; half++) {
                    const uint16_t *rows = v + i * block + from * 32;
                    k->gemm_pairs(o + 1 < s->co ? 2 : 1, rows + half * 16,
                                  z + o * block + from * 32, block, depth,
                                  sums + (i * s->co + o) * 256 + half * 128, 256, add,
                                  rows + (half ? block : 0));
                }
    }
}
/* Tiles [first, first + count) of the layer: places [from, to) of channel block c of V, then of Z.
 */
static void transform_block(const cpu_wino_kernels *k, const gradient_plan *p,
                            const cpu_wino_shape *s, const uint16_t *x, const uint16_t *dy,
                            int64_t c, int64_t first, int64_t from, int64_t to, uint16_t *v,
                            uint16_t *z)
{
    if (c < s->ci)
        transform(s, x, s->ci, c, first + from, first + to, v + c * p->part * 16, p->v_step, from,
                  k->input_pairs);
    else
        transform(s, dy, s->co, c - s->ci, first + from, first + to, z + (c - s->ci) * p->part * 16,
                  p->z_step, from, k->gradient_pairs);
}
static void gradient_slice(const cpu_wino_kernels *k, const gradient_plan *p,
                           const cpu_wino_shape *s, const uint16_t *x, const uint16_t *dy,
                           int64_t slice, void *buffer, float *sums)
{
    uint16_t *v = buffer, *z = (uint16_t *)(void *)((char *)buffer + p->v_bytes);
    const int64_t begin = slice * p->slice, end = min64(begin + p->slice, p->tiles);
    if (begin >= end)
        memset(sums, 0, p->p_bytes);
    for (int64_t first = begin; first < end; first += p->part) {
        int64_t count = min64(p->part, end - first);
        for (int64_t c = 0; c < s->ci + s->co; c++)
            transform_block(k, p, s, x, dy, c, first, 0, count, v, z);
        for (int position = 0; position < POSITIONS; position++)
            add_products(k, p, s, position, 0, s->ci, over(count, 2), v, z, sums, first > begin);
    }
}
static void gradient_parts(const cpu_wino_kernels *k, const gradient_plan *p,
                           const cpu_wino_shape *s, const uint16_t *x, const uint16_t *dy,
                           void *buffer, float *sums)
{
    uint16_t *v = buffer, *z = (uint16_t *)(void *)((char *)buffer + p->v_bytes);
    const int64_t groups = over(s->ci, ROW_BLOCKS);
#pragma omp parallel
    for (int64_t first = 0; first < p->tiles; first += p->part) {
        const int64_t count = min64(p->part, p->tiles - first);
#pragma omp for collapse(2) schedule(dynamic, 1)
        for (int64_t c = 0; c < s->ci + s->co; c++)
            for (int64_t from = 0; from < count; from += 2 * DEPTH)
                transform_block(k, p, s, x, dy, c, first, from, min64(from + 2 * DEPTH, count), v,
                                z);
#pragma omp for collapse(2) schedule(dynamic, 1)
        for (int position = 0; position < POSITIONS; position++)
            for (int64_t g = 0; g < groups; g++)
                add_products(k, p, s, position, g * ROW_BLOCKS, min64((g + 1) * ROW_BLOCKS, s->ci),
                             over(count, 2), v, z, sums, first > 0);
    }
}
/* One block's sums of all slices, [16 positions][256]. */
static void add_slices(const gradient_plan *p, const float *sums, int64_t block, float *out)
{
    for (int i = 0; i < POSITIONS; i++)
        for (int64_t q = 0; q < p->slices; q++) {
            const float *from =
                sums + q * (int64_t)(p->p_bytes / sizeof(float)) + i * p->p_step + block * 256;
            for (int e = 0; e < 256; e++)
                out[i * 256 + e] = q == 0 ? from[e] : out[i * 256 + e] + from[e];
        }
}
void cpu_wino_gradient(const cpu_wino_kernels *k, const cpu_wino_shape *s, const uint16_t *x,
                       const uint16_t *dy, float *dw, void *scratch)
{
    const gradient_plan p = plan_gradient(s);
    const size_t buffer = p.v_bytes + p.z_bytes;
    float *sums = scratch;
    char *buffers = (char *)scratch + (size_t)p.slices * p.p_bytes;
    if (p.slices == 1) {
        gradient_parts(k, &p, s, x, dy, buffers, sums);
    } else {
#pragma omp parallel for schedule(dynamic, 1)
        for (int64_t q = 0; q < p.slices; q++)
            gradient_slice(k, &p, s, x, dy, q, buffers + buffer * (size_t)omp_get_thread_num(),
                           sums + q * (int64_t)(p.p_bytes / sizeof(float)));
    }
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t o = 0; o < s->co; o++)
        for (int64_t i = 0; i < s->ci; i++) {
            float one[POSITIONS * 256], *to = dw + (o * s->ci + i) * 9 * 256;
            if (p.slices > 1)
                add_slices(&p, sums, i * s->co + o, one);
            k->weight_gradient(p.slices > 1 ? one : sums + (i * s->co + o) * 256,
                               p.slices > 1 ? 256 : p.p_step, to);
        }
}
