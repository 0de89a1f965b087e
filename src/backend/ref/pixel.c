/* The 8-bit pixel chain of augmentation: the bytes of torchvision on PIL images, given the draws.
 * Formulas in the exact integer or two-rounding float form in which Pillow computes them; compile
 * without contraction (a fused multiply-add changes blend).
 */
#include "ref.h"

#include <string.h>

static int grey(const uint8_t *p)
{
    return (19595 * p[0] + 38470 * p[1] + 7471 * p[2] + 32768) >> 16;
}

/* PIL's blend(a, b, alpha) with its two float roundings and truncation. */
static uint8_t blend(int a, int b, float alpha)
{
    float step = alpha * (float)(b - a);
    float t = (float)a + step;
    return t <= 0 ? 0 : t >= 255 ? 255 : (uint8_t)t;
}

static void brightness(uint8_t *p, int64_t pixels, float factor)
{
    for (int64_t i = 0; i < 3 * pixels; i++)
        p[i] = blend(0, p[i], factor);
}

static void contrast(uint8_t *p, int64_t pixels, float factor)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < pixels; i++)
        sum += grey(p + 3 * i);
    int mean = (int)((2 * sum + pixels) / (2 * pixels));
    for (int64_t i = 0; i < 3 * pixels; i++)
        p[i] = blend(mean, p[i], factor);
}

static void saturation(uint8_t *p, int64_t pixels, float factor)
{
    for (int64_t i = 0; i < pixels; i++, p += 3) {
        int l = grey(p);
        for (int c = 0; c < 3; c++)
            p[c] = blend(l, p[c], factor);
    }
}

/* Hues whose float chain in Pillow lands just below an exact integer: one less than the quotient.
 */
static bool lands_below(int h)
{
    static const uint8_t above31[] = {88,  92,  96,  100, 104, 129, 131, 133, 135, 137, 139,
                                      141, 143, 145, 147, 149, 153, 157, 161, 165, 169, 173,
                                      176, 177, 181, 184, 185, 189, 193, 197, 201, 205, 209};
    return (h >= 1 && h <= 31) || memchr(above31, h, sizeof above31) != NULL;
}

static void to_hsv(const uint8_t *p, int *h, int *s, int *v)
{
    int r = p[0], g = p[1], b = p[2];
    int top = r > g ? (r > b ? r : b) : (g > b ? g : b);
    int low = r < g ? (r < b ? r : b) : (g < b ? g : b);
    int c = top - low;
    *v = top;
    *h = *s = 0;
    if (c == 0)
        return;
    int n = r == top ? g - b : g == top ? 2 * c + b - r : 4 * c + r - g;
    if (n < 0)
        n += 6 * c;
    *h = 85 * n / (2 * c);
    if (85 * n == 2 * c * *h && lands_below(*h))
        (*h)--;
    *s = 255 * c / top;
}

static void from_hsv(int h, int s, int v, uint8_t *out)
{
    int i = 6 * h / 255, k = (6 * h - 255 * i) / 3; /* sector, and place in it in 85ths */
    int p = (2 * v * (255 - s) + 255) / 510;
    int q = (v * (21675 - s * k) + 10837) / 21675;
    int t = (v * (21675 - s * (85 - k)) + 10837) / 21675;
    const int rgb[6][3] = {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}};
    for (int c = 0; c < 3; c++)
        out[c] = (uint8_t)(s == 0 ? v : rgb[i % 6][c]);
}

static void hue(uint8_t *p, int64_t pixels, float factor)
{
    int shift = (int)((double)factor * 255.0);
    for (int64_t i = 0; i < pixels; i++, p += 3) {
        int h, s, v;
        to_hsv(p, &h, &s, &v);
        from_hsv((h + shift) & 255, s, v, p);
    }
}

static void jitter(uint8_t *p, int64_t pixels, const sc_augment *a)
{
    for (int k = 0; k < 4; k++)
        switch (a->jitter_order[k]) {
        case 0:
            brightness(p, pixels, a->brightness);
            break;
        case 1:
            contrast(p, pixels, a->contrast);
            break;
        case 2:
            saturation(p, pixels, a->saturation);
            break;
        default:
            hue(p, pixels, a->hue);
        }
}

static void crop(const uint8_t *row, int64_t row_size, const sc_augment *a, int64_t size,
                 uint8_t *out)
{
    for (int64_t y = 0; y < size; y++)
        for (int64_t x = 0; x < size; x++) {
            int64_t sy = a->crop_top + (a->flip_v ? size - 1 - y : y);
            int64_t sx = a->crop_left + (a->flip_h ? size - 1 - x : x);
            memcpy(out + 3 * (y * size + x), row + 3 * (sy * row_size + sx), 3);
        }
}

static void rotate(const int32_t *a, int64_t size, const uint8_t *in, uint8_t *out)
{
    for (int64_t y = 0; y < size; y++)
        for (int64_t x = 0; x < size; x++) {
            int64_t sx = (a[2] + x * a[0] + y * a[1]) >> 16,
                    sy = (a[5] + x * a[3] + y * a[4]) >> 16;
            uint8_t *to = out + 3 * (y * size + x);
            if (sx >= 0 && sx < size && sy >= 0 && sy < size)
                memcpy(to, in + 3 * (sy * size + sx), 3);
            else
                memset(to, 0, 3);
        }
}

void ref_pixels(const uint8_t *row, int64_t row_size, const sc_augment *a, int64_t size,
                uint8_t *out, uint8_t *tmp)
{
    uint8_t *jittered = a->rotate ? tmp : out;
    crop(row, row_size, a, size, jittered);
    if (a->jitter)
        jitter(jittered, size * size, a);
    if (a->rotate)
        rotate(a->rotate_fix, size, jittered, out);
}
