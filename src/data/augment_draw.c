/* The random choices of one training sample: what torchvision's transforms would do with given
 * uniforms, down to the float bits (PIL images; get_params of ColorJitter, RandomRotation and
 * RandomErasing). The words come from draws.h's table.
 */
#include "superclip/data.h"

#include "draws.h"

#include <math.h>
#include <string.h>

/* A float range as torch holds it: `span` is the float of hi - lo; torch maps u by one fused
 * multiply-add. The hex floats are exact bits; log(0.3), log(3.3) are torch's, the latter one unit
 * below the correctly rounded value. */
typedef struct range {
    float lo, span;
} range;
static const range FACTOR_RANGE = {0x1.99999ap-1f, 0x1.99999cp-2f}; /* [0.8, 1.2] */
static const range HUE_RANGE = {-0x1.99999ap-4f, 0x1.99999ap-3f};   /* [-0.1, 0.1] */
static const range ANGLE_RANGE = {-15.0f, 30.0f};                   /* degrees */
static const range AREA_RANGE = {0x1.47ae14p-6f, 0x1.3d70a4p-2f};   /* [0.02, 0.33] */
static const range RATIO_RANGE = {-0x1.343790p+0f, 0x1.32ee3cp+1f}; /* [log 0.3, log 3.3] */
#define ERASE_PROBABILITY 0.1f

static float draw_range(uint32_t word, range r)
{
    return fmaf(sc_uniform24(word), r.span, r.lo);
}

static void draw_crop_flip(const uint32_t w[4], int size, int row, sc_augment *a)
{
    const uint32_t places = (uint32_t)(row - size) + 1;
    a->crop_top = (int32_t)sc_below24(w[0], places);
    a->crop_left = (int32_t)sc_below24(w[1], places);
    a->flip_h = sc_uniform24(w[2]) < 0.5f;
    a->flip_v = sc_uniform24(w[3]) < 0.5f;
}

static void draw_jitter(const uint32_t order[4], const uint32_t factors[4], sc_augment *a)
{
    a->jitter = 1;
    for (uint8_t i = 0; i < 4; i++)
        a->jitter_order[i] = i;
    for (uint32_t i = 3; i > 0; i--) { /* Fisher-Yates from the end: words 0, 1, 2 */
        const uint32_t j = sc_below24(order[3 - i], i + 1);
        const uint8_t t = a->jitter_order[i];
        a->jitter_order[i] = a->jitter_order[j];
        a->jitter_order[j] = t;
    }
    a->brightness = draw_range(factors[0], FACTOR_RANGE);
    a->contrast = draw_range(factors[1], FACTOR_RANGE);
    a->saturation = draw_range(factors[2], FACTOR_RANGE);
    a->hue = draw_range(factors[3], HUE_RANGE);
}

static double round15(double v)
{
    return rint(v * 1e15) / 1e15;
}

static int32_t fixed16(double v)
{
    return (int32_t)floor(v * 65536.0 + 0.5);
}

/* PIL's Image.rotate(angle) of a square image as the inverse map in 16.16 fixed point: the source
 * of (x, y) is ((a2 + x a0 + y a1) >> 16, (a5 + x a3 + y a4) >> 16). */
static void rotation_fix(float angle, int size, int32_t fix[6])
{
    double degrees = fmod((double)angle, 360.0);
    if (degrees < 0.0)
        degrees += 360.0;
    const double t = -(degrees * (0x1.921fb54442d18p+1 / 180.0));
    const double c = round15(cos(t)), s = round15(sin(t)), d = round15(-sin(t));
    const double centre = size / 2.0;
    const double m2 = (c * -centre + s * -centre) + centre;
    const double m5 = (d * -centre + c * -centre) + centre;
    fix[0] = fixed16(c);
    fix[1] = fixed16(s);
    fix[2] = fixed16(m2 + c * 0.5 + s * 0.5);
    fix[3] = fixed16(d);
    fix[4] = fixed16(c);
    fix[5] = fixed16(m5 + d * 0.5 + c * 0.5);
}

/* One try of RandomErasing; false when the box does not fit, as torchvision's strict test has it.
 */
static bool draw_erase_box(const uint32_t w[4], int size, sc_augment *a)
{
    const double area = (double)size * (double)size * (double)draw_range(w[0], AREA_RANGE);
    const double ratio = (double)expf(draw_range(w[1], RATIO_RANGE));
    const double h = rint(sqrt(area * ratio)), wide = rint(sqrt(area / ratio));
    if (!(h < size && wide < size))
        return false;
    /* A side that rounds to nothing erases nothing: torchvision would assign an empty slice. */
    if (h < 1.0 || wide < 1.0)
        return true;
    a->erase_h = (int32_t)h;
    a->erase_w = (int32_t)wide;
    a->erase_top = (int32_t)sc_below24(w[2], (uint32_t)(size - a->erase_h) + 1);
    a->erase_left = (int32_t)sc_below24(w[3], (uint32_t)(size - a->erase_w) + 1);
    return true;
}

void sc_augment_draw(uint64_t random_state, int epoch, int64_t position, int fold, int size,
                     int row, sc_augment *out)
{
    uint32_t w[4], factors[4];
    memset(out, 0, sizeof *out); /* padding too: rows of draws are compared and dumped as bytes */
    draw_words(random_state, SC_STREAM_AUGMENT, epoch, position, DRAW_CROP_FLIP, fold, w);
    draw_crop_flip(w, size, row, out);
    draw_words(random_state, SC_STREAM_AUGMENT, epoch, position, DRAW_JITTER_ANGLE, fold, w);
    draw_words(random_state, SC_STREAM_AUGMENT, epoch, position, DRAW_FACTORS, fold, factors);
    draw_jitter(w, factors, out);
    out->rotate = 1;
    out->angle = draw_range(w[3], ANGLE_RANGE);
    rotation_fix(out->angle, size, out->rotate_fix);
    draw_words(random_state, SC_STREAM_AUGMENT, epoch, position, DRAW_ERASE, fold, w);
    if (!(sc_uniform24(w[0]) < ERASE_PROBABILITY))
        return;
    for (int t = 0; t < ERASE_TRIES; t++) {
        draw_words(random_state, SC_STREAM_AUGMENT, epoch, position, DRAW_ERASE_TRY + t, fold, w);
        if (draw_erase_box(w, size, out))
            return;
    }
}
