/* The scene is drawn with soft-edged strokes on a canvas of brightness 0..1, in a frame where the
 * picture's shorter side is 1 and (0, 0) its centre; the pose turns, scales, shifts and mirrors
 * that frame.
 */
#include "demo_scene.h"

#include <math.h>
#include <stdlib.h>

const demo_class DEMO_CLASS[DEMO_CLASSES] = {
    {"bipolar head", 36},    {"cable plate", 30},       {"cemented stem", 62},
    {"cup with screws", 44}, {"dynamic hip screw", 56}, {"femoral nail", 40},
    {"no implant", 54},      {"short stem", 24},        {"total hip replacement", 104}};

/* ---- random numbers ------------------------------------------------------------------------- */
demo_random demo_random_of(uint32_t seed, uint32_t kind, uint32_t index)
{
    return (demo_random){.key = {seed, 0x64656D6Fu}, .counter = {0, 0, kind, index}};
}

static uint32_t next_word(demo_random *r)
{
    if (r->left == 0) {
        sc_philox4x32(r->key, r->counter, r->words);
        r->counter[0]++;
        r->left = 4;
    }
    return r->words[4 - r->left--];
}

double demo_uniform(demo_random *r, double low, double high)
{
    return low + (high - low) * (double)sc_uniform24(next_word(r));
}

int demo_below(demo_random *r, int n)
{
    return (int)sc_below24(next_word(r), (uint32_t)n);
}

/* ---- canvas --------------------------------------------------------------------------------- */
typedef struct point {
    double x, y;
} point;

typedef struct canvas {
    int width, height;
    float *value; /* [height][width] */
    point centre;
    double scale, c, s, mirror; /* the pose */
    demo_random random;
} canvas;

static point to_pixels(const canvas *k, point p)
{
    const double x = p.x * k->mirror;
    return (point){k->centre.x + k->scale * (k->c * x - k->s * p.y),
                   k->centre.y + k->scale * (k->s * x + k->c * p.y)};
}

static int clamp_int(double v, int low, int high)
{
    return v < low ? low : v > high ? high : (int)v;
}

typedef struct box {
    int x0, x1, y0, y1;
} box;

static box box_around(const canvas *k, point a, point b, double r)
{
    return (box){clamp_int(fmin(a.x, b.x) - r, 0, k->width),
                 clamp_int(fmax(a.x, b.x) + r + 1, 0, k->width),
                 clamp_int(fmin(a.y, b.y) - r, 0, k->height),
                 clamp_int(fmax(a.y, b.y) + r + 1, 0, k->height)};
}

/* Blends towards `level`; distance in pixels to the edge, negative inside. */
static void put(const canvas *k, int x, int y, double distance, double soft, double level)
{
    double cover = 0.5 - distance / soft;
    if (cover <= 0.0)
        return;
    cover = cover > 1.0 ? 1.0 : cover * cover * (3.0 - 2.0 * cover);
    float *v = &k->value[(size_t)y * (size_t)k->width + (size_t)x];
    *v = (float)(*v + (level - *v) * cover);
}

/* A round-ended stroke whose radius goes from ra to rb; edge: width of its soft border. */
static void stroke(const canvas *k, point from, point to, double ra, double rb, double edge,
                   double level)
{
    const point a = to_pixels(k, from), b = to_pixels(k, to);
    const double dx = b.x - a.x, dy = b.y - a.y, length2 = dx * dx + dy * dy;
    const double soft = 1.5 + edge * k->scale;
    const box around = box_around(k, a, b, fmax(ra, rb) * k->scale + soft);
    for (int y = around.y0; y < around.y1; y++)
        for (int x = around.x0; x < around.x1; x++) {
            const double px = x + 0.5 - a.x, py = y + 0.5 - a.y;
            double t = length2 > 0.0 ? (px * dx + py * dy) / length2 : 0.0;
            t = t < 0.0 ? 0.0 : t > 1.0 ? 1.0 : t;
            const double ox = px - t * dx, oy = py - t * dy;
            const double radius = (ra + (rb - ra) * t) * k->scale;
            put(k, x, y, sqrt(ox * ox + oy * oy) - radius, soft, level);
        }
}

static void disc(const canvas *k, point centre, double r, double edge, double level)
{
    stroke(k, centre, centre, r, r, edge, level);
}

/* A shell around `centre`, open towards `open` (a direction in the frame). */
static void cup(const canvas *k, point centre, double r, double thickness, point open, double edge,
                double level)
{
    const point c = to_pixels(k, centre),
                towards = to_pixels(k, (point){centre.x + open.x, centre.y + open.y});
    const double soft = 1.5 + edge * k->scale, radius = r * k->scale,
                 half = thickness * k->scale / 2;
    const double ox = towards.x - c.x, oy = towards.y - c.y, norm = sqrt(ox * ox + oy * oy);
    const box around = box_around(k, c, c, radius + half + soft);
    for (int y = around.y0; y < around.y1; y++)
        for (int x = around.x0; x < around.x1; x++) {
            const double px = x + 0.5 - c.x, py = y + 0.5 - c.y;
            const double along =
                (px * ox + py * oy) / norm; /* in front of the opening when large */
            const double shell = fabs(sqrt(px * px + py * py) - radius) - half;
            put(k, x, y, fmax(shell, along - 0.15 * radius), soft, level);
        }
}

/* ---- the hip -------------------------------------------------------------------------------- */
static const point HEAD = {-0.13, -0.22}, NECK = {0.03, -0.09}, SHAFT = {0.09, 0.90};

static void draw_body(canvas *k)
{
    demo_random *r = &k->random;
    const double bone = demo_uniform(r, 0.38, 0.50);
    const double dark = demo_uniform(r, 0.08, 0.16);
    for (size_t i = 0; i < (size_t)k->width * (size_t)k->height; i++)
        k->value[i] = (float)dark;
    stroke(k, (point){0.0, -0.5}, (point){0.05, 0.6}, 0.40, 0.26, 0.20,
           dark + 0.12); /* soft tissue */
    for (int i = 0; i < 3; i++)
        disc(k, (point){demo_uniform(r, -0.4, 0.4), demo_uniform(r, -0.4, 0.4)},
             demo_uniform(r, 0.05, 0.15), 0.2, dark + demo_uniform(r, 0.06, 0.2));
    cup(k, HEAD, 0.17, 0.06, (point){0.6, 0.8}, 0.03, bone - 0.04); /* socket */
    stroke(k, (point){-0.28, -0.34}, (point){-0.45, -0.6}, 0.09, 0.14, 0.05,
           bone - 0.06); /* pelvis */
    stroke(k, (point){-0.26, -0.10}, (point){-0.40, 0.02}, 0.05, 0.04, 0.04, bone - 0.08);
    disc(k, HEAD, 0.115, 0.03, bone);
    stroke(k, HEAD, NECK, 0.07, 0.08, 0.03, bone);
    stroke(k, NECK, SHAFT, 0.11, 0.085, 0.03, bone);
    stroke(k, (point){0.045, 0.05}, SHAFT, 0.05, 0.045, 0.03, bone - 0.10); /* marrow */
}

/* ---- the implants: `m` is the metal's brightness, `w` a width factor near 1 ----------------- */
static void draw_bipolar_head(const canvas *k, double m, double w)
{
    disc(k, HEAD, 0.155 * w, 0.0, m);
    stroke(k, HEAD, NECK, 0.030 * w, 0.040 * w, 0.0, m);
    stroke(k, NECK, (point){0.06, 0.18}, 0.050 * w, 0.028 * w, 0.0, m);
}

static void draw_cable_plate(const canvas *k, double m, double w)
{
    stroke(k, (point){0.165, -0.16}, (point){0.175, 0.44}, 0.034 * w, 0.034 * w, 0.0, m);
    for (int i = 0; i < 5; i++) {
        const double y = -0.06 + 0.11 * i;
        stroke(k, (point){-0.07 + 0.01 * i, y + 0.03}, (point){0.20, y - 0.01}, 0.013 * w,
               0.013 * w, 0.0, m);
    }
}

static void draw_cemented_stem(const canvas *k, double m, double w)
{
    stroke(k, (point){0.03, -0.06}, (point){0.07, 0.42}, 0.105 * w, 0.085 * w, 0.01, m - 0.22);
    stroke(k, (point){0.03, -0.06}, (point){0.065, 0.34}, 0.052 * w, 0.022 * w, 0.0, m);
    stroke(k, HEAD, NECK, 0.026 * w, 0.030 * w, 0.0, m);
    disc(k, HEAD, 0.075 * w, 0.0, m);
}

static void draw_cup_with_screws(const canvas *k, double m, double w)
{
    static const point tips[3] = {{-0.42, -0.26}, {-0.33, -0.46}, {-0.13, -0.50}};
    cup(k, HEAD, 0.135, 0.050 * w, (point){0.6, 0.8}, 0.0, m);
    for (int i = 0; i < 3; i++) {
        const point from = {HEAD.x + 0.45 * (tips[i].x - HEAD.x),
                            HEAD.y + 0.45 * (tips[i].y - HEAD.y)};
        stroke(k, from, tips[i], 0.020 * w, 0.014 * w, 0.0, m);
    }
}

static void draw_dynamic_hip_screw(const canvas *k, double m, double w)
{
    stroke(k, (point){0.165, 0.00}, (point){0.175, 0.36}, 0.032 * w, 0.030 * w, 0.0, m);
    stroke(k, (point){0.16, 0.02}, HEAD, 0.030 * w, 0.036 * w, 0.0, m);
    for (int i = 0; i < 4; i++)
        stroke(k, (point){0.17, 0.12 + 0.07 * i}, (point){-0.03, 0.13 + 0.07 * i}, 0.012 * w,
               0.010 * w, 0.0, m);
}

static void draw_femoral_nail(const canvas *k, double m, double w)
{
    stroke(k, (point){0.05, -0.30}, (point){0.07, 0.50}, 0.036 * w, 0.028 * w, 0.0, m);
    stroke(k, (point){0.17, 0.06}, HEAD, 0.022 * w, 0.026 * w, 0.0, m);
    for (int i = 0; i < 2; i++)
        stroke(k, (point){-0.06, 0.36 + 0.07 * i}, (point){0.20, 0.36 + 0.07 * i}, 0.014 * w,
               0.014 * w, 0.0, m);
}

static void draw_no_implant(const canvas *k, double m, double w)
{
    (void)k;
    (void)m;
    (void)w;
}

static void draw_short_stem(const canvas *k, double m, double w)
{
    disc(k, HEAD, 0.085 * w, 0.0, m);
    stroke(k, HEAD, (point){-0.02, -0.13}, 0.028 * w, 0.040 * w, 0.0, m);
    stroke(k, (point){0.00, -0.11}, (point){0.05, 0.04}, 0.085 * w, 0.040 * w, 0.0, m);
}

static void draw_total_hip(const canvas *k, double m, double w)
{
    cup(k, HEAD, 0.140, 0.045 * w, (point){0.6, 0.8}, 0.0, m);
    disc(k, HEAD, 0.080 * w, 0.0, m);
    stroke(k, HEAD, NECK, 0.026 * w, 0.034 * w, 0.0, m);
    stroke(k, NECK, (point){0.065, 0.44}, 0.062 * w, 0.022 * w, 0.0, m);
}

static void (*const DRAW[DEMO_CLASSES])(const canvas *, double, double) = {
    draw_bipolar_head,    draw_cable_plate,       draw_cemented_stem,
    draw_cup_with_screws, draw_dynamic_hip_screw, draw_femoral_nail,
    draw_no_implant,      draw_short_stem,        draw_total_hip};

/* ---- from the canvas to bytes --------------------------------------------------------------- */
/* The side marker that radiographs carry; it tells nothing about the class. */
static void draw_marker(canvas *k)
{
    const double x = demo_uniform(&k->random, 0.30, 0.36),
                 y = demo_uniform(&k->random, -0.42, -0.30);
    stroke(k, (point){x, y}, (point){x, y + 0.06}, 0.006, 0.006, 0.0, 0.8);
    stroke(k, (point){x, y + 0.06}, (point){x + 0.03, y + 0.06}, 0.006, 0.006, 0.0, 0.8);
}

/* Exposure, a brightness gradient, and noise that is the sum of four uniforms. */
static void develop(canvas *k, uint8_t *rgb)
{
    demo_random *r = &k->random;
    const double gain = demo_uniform(r, 0.80, 1.08), offset = demo_uniform(r, -0.02, 0.06);
    const double slope_x = demo_uniform(r, -0.08, 0.08) / k->width;
    const double slope_y = demo_uniform(r, -0.08, 0.08) / k->height;
    const double noise = demo_uniform(r, 0.02, 0.06) * 1.73 / 255.0;
    for (int y = 0; y < k->height; y++)
        for (int x = 0; x < k->width; x++) {
            const size_t i = (size_t)y * (size_t)k->width + (size_t)x;
            const uint32_t u = next_word(r);
            const int sum = (int)((u & 255) + (u >> 8 & 255) + (u >> 16 & 255) + (u >> 24)) - 510;
            const double v = gain * (double)k->value[i] + offset + slope_x * (x - k->width / 2) +
                             slope_y * (y - k->height / 2) + noise * sum;
            const uint8_t byte = (uint8_t)clamp_int(v * 255.0 + 0.5, 0, 255);
            rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = byte;
        }
}

sc_status demo_draw(uint32_t seed, int kind, int index, int width, int height, sc_image *im)
{
    const size_t n = (size_t)width * (size_t)height;
    canvas k = {.width = width,
                .height = height,
                .random = demo_random_of(seed, (uint32_t)kind, (uint32_t)index)};
    demo_random *r = &k.random;
    *im = (sc_image){.width = width, .height = height, .rgb = sc_alloc(n, 3)};
    k.value = sc_alloc(n, sizeof *k.value);
    if (!im->rgb || !k.value) {
        free(k.value);
        sc_image_free(im);
        return SC_ENOMEM;
    }
    const double side = width < height ? width : height, angle = demo_uniform(r, -0.20, 0.20);
    k.c = cos(angle);
    k.s = sin(angle);
    k.scale = side * demo_uniform(r, 0.88, 1.08);
    k.mirror = demo_below(r, 2) == 0 ? 1.0 : -1.0;
    k.centre = (point){width / 2.0 + side * demo_uniform(r, -0.05, 0.05),
                       height / 2.0 + side * demo_uniform(r, -0.05, 0.05)};
    draw_body(&k);
    const double metal = demo_uniform(r, 0.86, 0.98), wide = demo_uniform(r, 0.88, 1.14);
    DRAW[kind](&k, metal, wide);
    draw_marker(&k);
    develop(&k, im->rgb);
    free(k.value);
    return SC_OK;
}
