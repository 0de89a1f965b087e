/* What a file is, by its first bytes; the limits; and the small conversions all decoders share. */
#include "image_priv.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct kind {
    const char *name;
    const char *extensions[3];
    sc_status (*decode)(const sc_encoded *in, sc_image *out);
} kind;

enum { JPEG, PNG, BMP, TIFF, WEBP, KINDS };
static const kind kinds[KINDS] = {
    [JPEG] = {"JPEG", {".jpg", ".jpeg"}, sc_decode_jpeg},
    [PNG] = {"PNG", {".png"}, sc_decode_png},
    [BMP] = {"BMP", {".bmp"}, sc_decode_bmp},
    [TIFF] = {"TIFF", {".tif", ".tiff"}, sc_decode_tiff},
    [WEBP] = {"WebP", {".webp"}, sc_decode_webp},
};

static const kind *kind_of_content(const uint8_t *p, size_t n)
{
    if (n >= 3 && memcmp(p, "\xff\xd8\xff", 3) == 0)
        return &kinds[JPEG];
    if (n >= 8 && memcmp(p, "\x89PNG\r\n\x1a\n", 8) == 0)
        return &kinds[PNG];
    if (n >= 2 && memcmp(p, "BM", 2) == 0)
        return &kinds[BMP];
    if (n >= 4 && (memcmp(p, "II*\0", 4) == 0 || memcmp(p, "MM\0*", 4) == 0 ||
                   memcmp(p, "II+\0", 4) == 0 || memcmp(p, "MM\0+", 4) == 0))
        return &kinds[TIFF];
    if (n >= 12 && memcmp(p, "RIFF", 4) == 0 && memcmp(p + 8, "WEBP", 4) == 0)
        return &kinds[WEBP];
    return NULL;
}

static const kind *kind_of_name(const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *dot = strrchr(slash ? slash + 1 : name, '.');
    if (!dot)
        return NULL;
    for (int k = 0; k < KINDS; k++)
        for (int e = 0; e < 3 && kinds[k].extensions[e]; e++)
            if (strcasecmp(dot, kinds[k].extensions[e]) == 0)
                return &kinds[k];
    return NULL;
}

bool sc_image_name(const char *name)
{
    return kind_of_name(name) != NULL;
}

sc_status sc_image_decode(const char *name, const void *data, size_t n, const sc_decode_options *o,
                          sc_image *out, sc_decode_notes *notes)
{
    static const sc_decode_options defaults = {.max_pixels = SC_DEFAULT_MAX_PIXELS};
    sc_decode_notes own;
    sc_encoded in = {data, n, o ? o : &defaults, notes ? notes : &own};
    memset(in.notes, 0, sizeof *in.notes);
    memset(out, 0, sizeof *out);

    const kind *content = kind_of_content(data, n), *named = kind_of_name(name);
    if (n == 0)
        return sc_fail(SC_EFORMAT, "the file is empty");
    if (!content)
        return sc_fail(SC_EFORMAT,
                       "not an image: the content is none of JPEG, PNG, BMP, TIFF, WebP");
    if (named && content != named)
        return sc_fail(SC_EFORMAT, "the content is %s, but the name says %s", content->name,
                       named->name);
    sc_status status = content->decode(&in, out);
    if (status != SC_OK)
        sc_image_free(out);
    return status;
}

void sc_image_free(sc_image *im)
{
    free(im->rgb);
    memset(im, 0, sizeof *im);
}

static double max_pixels(const sc_decode_options *o)
{
    return o->max_pixels > 0 ? o->max_pixels : SC_DEFAULT_MAX_PIXELS;
}

sc_status sc_image_check_size(const sc_encoded *in, uint64_t width, uint64_t height)
{
    in->notes->pixels = (double)width * (double)height;
    if (width == 0 || height == 0)
        return sc_fail(SC_EFORMAT, "the image has no pixels (%llu x %llu)",
                       (unsigned long long)width, (unsigned long long)height);
    if (width > INT_MAX / 8 || height > INT_MAX / 8 ||
        (double)width * (double)height > max_pixels(in->options))
        return sc_fail(SC_EFORMAT, "%llu x %llu pixels are more than the limit of %.0f",
                       (unsigned long long)width, (unsigned long long)height,
                       max_pixels(in->options));
    return SC_OK;
}

sc_status sc_image_new(const sc_encoded *in, uint64_t width, uint64_t height, sc_image *out)
{
    SC_TRY(sc_image_check_size(in, width, height));
    out->rgb = sc_realloc(NULL, (size_t)width * (size_t)height, 3); /* every decoder fills all */
    if (!out->rgb)
        return sc_fail(SC_ENOMEM, "no memory for %llu x %llu pixels", (unsigned long long)width,
                       (unsigned long long)height);
    out->width = (int)width;
    out->height = (int)height;
    return SC_OK;
}

sc_status sc_decode_buffer(const sc_encoded *in, size_t count, size_t size, uint8_t **out)
{
    size_t bytes;
    if (sc_mul_overflow(count, size, &bytes) || (double)bytes > 9 * max_pixels(in->options) + 65536)
        return sc_fail(SC_EFORMAT, "the image needs more memory than its number of pixels allows");
    *out = sc_alloc(bytes, 1);
    return *out ? SC_OK : sc_fail(SC_ENOMEM, "no memory for %zu bytes of an image", bytes);
}

/* ---- rows --------------------------------------------------------------------------------------
 */

void sc_rgb_from_grey(const uint8_t *grey, size_t n, uint8_t *rgb)
{
    for (size_t i = 0; i < n; i++)
        rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = grey[i];
}

void sc_unpack_bits(const uint8_t *packed, int bits, size_t n, uint8_t *out)
{
    if (bits == 8) {
        memcpy(out, packed, n);
        return;
    }
    size_t per_byte = (size_t)(8 / bits);
    int mask = (1 << bits) - 1;
    for (size_t i = 0; i < n; i++) {
        int shift = 8 - bits * (int)(i % per_byte + 1);
        out[i] = (uint8_t)(packed[i / per_byte] >> shift & mask);
    }
}

void sc_rgb_from_cmyk(const uint8_t *cmyk, size_t n, uint8_t *rgb)
{
    for (size_t i = 0; i < n; i++) {
        int paper = 255 - cmyk[4 * i + 3];
        for (int c = 0; c < 3; c++) {
            int t = cmyk[4 * i + (size_t)c] * paper + 128;
            int v = paper - (((t >> 8) + t) >> 8);
            rgb[3 * i + (size_t)c] = (uint8_t)(v < 0 ? 0 : v);
        }
    }
}

sc_grey16 *sc_grey16_new(const sc_decode_options *o)
{
    sc_grey16 *g = sc_alloc(1, sizeof *g);
    if (!g)
        return NULL;
    for (int v = 0; v < 65536; v++) {
        if (!o->window) {
            g->table[v] = (uint8_t)((v + 128) / 257); /* round(v / 257): 257 is odd, no ties */
            continue;
        }
        double t = (v - o->window_lo) / (o->window_hi - o->window_lo) * 255;
        g->table[v] = (uint8_t)(t <= 0 ? 0 : t >= 255 ? 255 : floor(t + 0.5));
    }
    return g;
}

void sc_grey16_row(sc_grey16 *g, const uint16_t *v, size_t n, uint8_t *rgb)
{
    for (size_t i = 0; i < n; i++) {
        if (v[i] > g->max)
            g->max = v[i];
        rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = g->table[v[i]];
    }
}

void sc_grey16_note(const sc_grey16 *g, sc_decode_notes *notes)
{
    notes->grey16 = true;
    notes->grey16_max = g->max;
}
