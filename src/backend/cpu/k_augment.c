/* torchvision's augmentation of a PIL image, bit for bit, on 4-byte pixels (red in the low byte) in
 * 32-bit lanes. Colour jitter runs over the crop before flips and rotation: they only move pixels,
 * and the contrast's mean must see those that the rotation throws away. Then one pass moves and
 * normalises. Every float operation here is a rounding that the reference makes too; no
 * contraction.
 */
#include "kernels.h"
#include "simd.h"

typedef struct rgb {
    vi r, g, b;
} rgb;

INLINE rgb unpack(const uint32_t *p)
{
    vu v;
    memcpy(&v, p, sizeof v);
    return (rgb){(vi)(v & 255), (vi)((v >> 8) & 255), (vi)(v >> 16)};
}
INLINE void pack(uint32_t *p, rgb c)
{
    vu v = (vu)(c.r | (c.g << 8) | (c.b << 16));
    memcpy(p, &v, sizeof v);
}
INLINE vf to_float(vi v)
{
    return __builtin_convertvector(v, vf);
}
INLINE vi truncate(vf v)
{
    return __builtin_convertvector(v, vi);
}
INLINE vi pick(vi mask, vi a, vi b)
{
    return (mask & a) | (~mask & b);
}

/* trunc(f32(a + f32(alpha * (b - a)))), clipped to a byte */
INLINE vi blend(vi a, vi b, vf alpha)
{
    vi t = truncate(to_float(a) + alpha * to_float(b - a));
    t = t & ~(t < 0);
    return pick(t > 255, isplat(255), t);
}
INLINE vi grey(rgb c)
{
    return (19595 * c.r + 38470 * c.g + 7471 * c.b + 32768) >> 16;
}

/* Towards one value of all channels: 0 is brightness, the mean grey is contrast. */
static void blend_constant(uint32_t *p, int64_t count, int32_t value, float factor)
{
    const vi a = isplat(value);
    const vf alpha = splat(factor);
    for (int64_t i = 0; i < count; i += VL) {
        rgb c = unpack(p + i);
        pack(p + i, (rgb){blend(a, c.r, alpha), blend(a, c.g, alpha), blend(a, c.b, alpha)});
    }
}
/* floor(mean of the grey values + 1/2) */
static int32_t mean_grey(const uint32_t *p, int64_t count)
{
    vu sum = {0};
    int64_t i = 0;
    for (; i + VL <= count; i += VL)
        sum += (vu)grey(unpack(p + i));
    uint64_t total = 0;
    for (int l = 0; l < VL; l++)
        total += sum[l];
    if (i < count) {
        vi last = grey(unpack(p + i));
        for (int64_t l = 0; l < count - i; l++)
            total += (uint64_t)last[l];
    }
    uint64_t n = (uint64_t)count;
    return (int32_t)((2 * total + n) / (2 * n));
}
static void saturation(uint32_t *p, int64_t count, float factor)
{
    const vf alpha = splat(factor);
    for (int64_t i = 0; i < count; i += VL) {
        rgb c = unpack(p + i);
        vi l = grey(c);
        pack(p + i, (rgb){blend(l, c.r, alpha), blend(l, c.g, alpha), blend(l, c.b, alpha)});
    }
}

/* trunc(a / b) for the small operands of the hue: a correctly rounded quotient never crosses an
 * integer */
INLINE vi divide(vi a, vi b)
{
    return truncate(to_float(a) / to_float(b));
}

/* Bit h: where the reference's float chain lands just below the exact integer h. */
static const uint32_t below_exact[8] = {0xfffffffe, 0x0,        0x11000000, 0x111,
                                        0x222aaaaa, 0x23232222, 0x22222,    0x0};

/* Bit h of the table, lane by lane; h in 0..255. */
INLINE vi lookup_bit(const uint32_t table[8], vi h)
{
    vu word;
#if defined(__AVX512F__)
    const __m512i words =
        _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)table));
    word = (vu)_mm512_permutexvar_epi32((__m512i)(h >> 5), words);
#elif defined(__AVX2__)
    const __m256i words = _mm256_loadu_si256((const __m256i *)(const void *)table);
    word = (vu)_mm256_permutevar8x32_epi32(words, (__m256i)(h >> 5));
#else
    for (int l = 0; l < VL; l++)
        word[l] = table[(h[l] >> 5) & 7];
#endif
    return (vi)((word >> (vu)(h & 31)) & 1);
}

INLINE rgb shift_hue(rgb c, vi shift)
{
    /* RGB -> HSV, integers (PIXELS: exact for all 2^24 colours) */
    vi mx = pick(c.r > c.g, c.r, c.g), mn = pick(c.r < c.g, c.r, c.g);
    mx = pick(mx > c.b, mx, c.b);
    mn = pick(mn < c.b, mn, c.b);
    vi d = mx - mn, flat = d == 0;
    vi n = pick(c.r == mx, c.g - c.b, pick(c.g == mx, 2 * d + c.b - c.r, 4 * d + c.r - c.g));
    n = n + (6 * d & (n < 0));
    vi d2 = pick(flat, isplat(2), 2 * d);
    vi h = divide(85 * n, d2);
    h = h - (lookup_bit(below_exact, h) & (85 * n == d2 * h));
    vi s = divide(255 * d, pick(mx == 0, isplat(1), mx));
    h = (h & ~flat);
    s = (s & ~flat);

    /* HSV -> RGB */
    h = (h + shift) & 255;
    vi h6 = 6 * h, sector = (h6 * 0x8081) >> 23; /* h6 / 255 */
    vi k = ((h6 - 255 * sector) * 0xaaab) >> 17; /* / 3 */
    vi x = mx * (255 - s) + 128, p = (x + (x >> 8)) >> 8;
    const vf third = splat(1.0f / 21675.0f);
    vi q = truncate(to_float(mx * (21675 - s * k) + 10837) * third);
    vi t = truncate(to_float(mx * (21675 - s * (85 - k)) + 10837) * third);
    sector = sector & ~(sector == 6);
    vi s0 = sector == 0, s1 = sector == 1, s2 = sector == 2, s3 = sector == 3, s4 = sector == 4,
       s5 = sector == 5;
    return (rgb){(mx & (s0 | s5)) | (q & s1) | (p & (s2 | s3)) | (t & s4),
                 (t & s0) | (mx & (s1 | s2)) | (q & s3) | (p & (s4 | s5)),
                 (p & (s0 | s1)) | (t & s2) | (mx & (s3 | s4)) | (q & s5)};
}
static void hue(uint32_t *p, int64_t count, float factor)
{
    const vi shift = isplat((uint8_t)(int)((double)factor * 255.0));
    for (int64_t i = 0; i < count; i += VL)
        pack(p + i, shift_hue(unpack(p + i), shift));
}

static void jitter(const sc_augment *a, uint32_t *p, int64_t count)
{
    for (int k = 0; k < 4; k++)
        switch (a->jitter_order[k]) {
        case 0:
            blend_constant(p, count, 0, a->brightness);
            break;
        case 1:
            blend_constant(p, count, mean_grey(p, count), a->contrast);
            break;
        case 2:
            saturation(p, count, a->saturation);
            break;
        default:
            hue(p, count, a->hue);
        }
}

/* One row of the flipped and rotated image; outside pixels are 0. */
static void move_row(const sc_augment *a, const uint32_t *p, int64_t crop, int64_t y, uint32_t *row)
{
    int64_t last = crop - 1;
    if (!a->rotate) {
        const uint32_t *from = p + (a->flip_v ? last - y : y) * crop;
        for (int64_t x = 0; x < crop; x++)
            row[x] = from[a->flip_h ? last - x : x];
        return;
    }
    const int32_t *f = a->rotate_fix;
    int64_t sx = (int64_t)f[2] + y * f[1], sy = (int64_t)f[5] + y * f[4];
    for (int64_t x = 0; x < crop; x++, sx += f[0], sy += f[3]) {
        int64_t ix = sx >> 16, iy = sy >> 16;
        if (ix < 0 || ix >= crop || iy < 0 || iy >= crop) {
            row[x] = 0;
            continue;
        }
        row[x] = p[(a->flip_v ? last - iy : iy) * crop + (a->flip_h ? last - ix : ix)];
    }
}

static void erase(const sc_augment *a, int64_t crop, void *out, size_t element)
{
    if (a->erase_h <= 0 || a->erase_w <= 0)
        return;
    for (int64_t c = 0; c < 3; c++)
        for (int64_t y = 0; y < a->erase_h; y++) {
            int64_t at = (c * crop + a->erase_top + y) * crop + a->erase_left;
            memset((char *)out + (size_t)at * element, 0, (size_t)a->erase_w * element);
        }
}

static void augment(const sc_augment *a, const uint8_t *image, int64_t side, int64_t crop,
                    const void *table, uint32_t *work, void *out, bool bf)
{
    int64_t count = crop * crop, padded = (count + 15) / 16 * 16;
    for (int64_t y = 0; y < crop; y++) {
        const uint8_t *s = image + ((a->crop_top + y) * side + a->crop_left) * 3;
        for (int64_t x = 0; x < crop; x++, s += 3)
            work[y * crop + x] = (uint32_t)s[0] | (uint32_t)s[1] << 8 | (uint32_t)s[2] << 16;
    }
    for (int64_t i = count; i < padded; i++)
        work[i] = 0;
    if (a->jitter)
        jitter(a, work, count);
    uint32_t *row = work + padded;
    for (int64_t y = 0; y < crop; y++) {
        move_row(a, work, crop, y, row);
        for (int c = 0; c < 3; c++) {
            int64_t at = c * count + y * crop;
            if (bf) {
                const uint16_t *t = (const uint16_t *)table + c * 256;
                for (int64_t x = 0; x < crop; x++)
                    ((uint16_t *)out)[at + x] = t[row[x] >> (8 * c) & 255];
            } else {
                const float *t = (const float *)table + c * 256;
                for (int64_t x = 0; x < crop; x++)
                    ((float *)out)[at + x] = t[row[x] >> (8 * c) & 255];
            }
        }
    }
    erase(a, crop, out, bf ? 2 : 4);
}

void KERNEL(fill_augment)(cpu_kernels *k)
{
    k->augment = augment;
}
