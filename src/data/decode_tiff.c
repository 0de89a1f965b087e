/* TIFF through libtiff: the first page, strips or tiles, either plane order, 1 to 16 bits.
 * Orientation is not applied. Anything libtiff complains about while it reads pixels makes the file
 * bad.
 */
#include "image_priv.h"

#include <stdlib.h>
#include <string.h>

#include <tiffio.h>

typedef struct tiff_reader {
    const sc_encoded *in;
    uint64_t at;
    TIFF *lib;
    char complaint[200]; /* the first one */
    uint8_t *line;       /* a scanline or a tile */
    uint8_t *samples;    /* [height][width][keep] bytes; 16-bit grey: uint16 */
    uint32_t *rgba;
    sc_grey16 *grey16;
} tiff_reader;

typedef struct tiff_kind {
    uint32_t width, height;
    uint16_t bits, spp, photometric, planar, compression, format;
    bool premultiplied; /* the fourth sample is an alpha the colours are multiplied with */
    bool grey16;
    int keep; /* samples of a pixel that matter */
} tiff_kind;

/* ---- the file in memory, and complaints
 * ----------------------------------------------------------- */

static tmsize_t on_read(thandle_t handle, void *out, tmsize_t n)
{
    tiff_reader *r = handle;
    uint64_t left = r->at < r->in->n ? r->in->n - r->at : 0;
    size_t m = (uint64_t)n < left ? (size_t)n : (size_t)left;
    if (m > 0)
        memcpy(out, r->in->data + r->at, m);
    r->at += m;
    return (tmsize_t)m;
}
static tmsize_t on_write(thandle_t handle, void *data, tmsize_t n)
{
    (void)handle, (void)data, (void)n;
    return -1;
}
static toff_t on_seek(thandle_t handle, toff_t to, int whence)
{
    tiff_reader *r = handle;
    r->at = whence == SEEK_SET ? to : whence == SEEK_CUR ? r->at + to : r->in->n + to;
    return r->at;
}
static int on_close(thandle_t handle)
{
    (void)handle;
    return 0;
}
static toff_t on_size(thandle_t handle)
{
    return ((tiff_reader *)handle)->in->n;
}
static int on_map(thandle_t handle, void **base, toff_t *size)
{
    tiff_reader *r = handle;
    *base = (void *)(uintptr_t)r->in->data; /* opened for reading: libtiff does not write to it */
    *size = r->in->n;
    return 1;
}
static void on_unmap(thandle_t handle, void *base, toff_t size)
{
    (void)handle, (void)base, (void)size;
}

static void complain(tiff_reader *r, const char *fmt, va_list args)
{
    if (!r->complaint[0])
        vsnprintf(r->complaint, sizeof r->complaint, fmt, args);
}
static int on_error(TIFF *lib, void *user, const char *module, const char *fmt, va_list args)
{
    (void)lib, (void)module;
    complain(user, fmt, args);
    return 1;
}
/* Fax lines that end early are common and harmless; what the JPEG library warns of is damage. */
static int on_warning(TIFF *lib, void *user, const char *module, const char *fmt, va_list args)
{
    (void)lib;
    if (module && strcmp(module, "JPEGLib") == 0)
        complain(user, fmt, args);
    return 1;
}

static sc_status damaged(const tiff_reader *r)
{
    return sc_fail(SC_EFORMAT, "damaged TIFF: %s",
                   r->complaint[0] ? r->complaint : "it cannot be read");
}

/* ---- what kind of picture
 * ------------------------------------------------------------------------- */

static sc_status unsupported(const tiff_kind *k)
{
    return sc_fail(SC_EFORMAT,
                   "TIFF of a kind that is not read: photometric %u, %u samples of %u bits, sample "
                   "format %u",
                   k->photometric, k->spp, k->bits, k->format);
}

static sc_status read_kind(tiff_reader *r, tiff_kind *k)
{
    uint16_t extras = 0, *extra = NULL;
    if (!TIFFGetField(r->lib, TIFFTAG_IMAGEWIDTH, &k->width) ||
        !TIFFGetField(r->lib, TIFFTAG_IMAGELENGTH, &k->height))
        return damaged(r);
    SC_TRY(sc_image_check_size(r->in, k->width, k->height));
    TIFFGetFieldDefaulted(r->lib, TIFFTAG_BITSPERSAMPLE, &k->bits);
    TIFFGetFieldDefaulted(r->lib, TIFFTAG_SAMPLESPERPIXEL, &k->spp);
    TIFFGetFieldDefaulted(r->lib, TIFFTAG_PLANARCONFIG, &k->planar);
    TIFFGetFieldDefaulted(r->lib, TIFFTAG_COMPRESSION, &k->compression);
    TIFFGetFieldDefaulted(r->lib, TIFFTAG_SAMPLEFORMAT, &k->format);
    TIFFGetFieldDefaulted(r->lib, TIFFTAG_EXTRASAMPLES, &extras, &extra);
    if (!TIFFGetField(r->lib, TIFFTAG_PHOTOMETRIC, &k->photometric))
        k->photometric = PHOTOMETRIC_MINISWHITE;
    if (k->compression == COMPRESSION_OJPEG)
        k->photometric = PHOTOMETRIC_YCBCR;
    if (k->format == SAMPLEFORMAT_IEEEFP)
        return sc_fail(SC_EFORMAT,
                       "TIFF with floating-point samples; save it as 8 or 16 bit integers");
    bool bytes = k->format == SAMPLEFORMAT_INT && k->bits == 8 && k->spp == 1;
    if (k->format != SAMPLEFORMAT_UINT && !bytes)
        return sc_fail(SC_EFORMAT,
                       "TIFF with signed or complex %u-bit samples; save it as unsigned", k->bits);
    bool small = k->bits == 1 || k->bits == 2 || k->bits == 4 || k->bits == 8;
    bool whole = k->bits == 8 || k->bits == 16, ok = false;
    switch (k->photometric) {
    case PHOTOMETRIC_MINISWHITE:
    case PHOTOMETRIC_MINISBLACK:
        k->keep = 1;
        k->grey16 = k->spp == 1 && (k->bits == 16 || k->bits == 12);
        ok = k->spp == 1 ? small || k->grey16 : whole;
        break;
    case PHOTOMETRIC_PALETTE:
        k->keep = 1;
        ok = k->spp == 1 ? small : k->bits == 8;
        break;
    case PHOTOMETRIC_RGB:
        k->premultiplied = k->spp > 3 && extras > 0 && extra[0] == EXTRASAMPLE_ASSOCALPHA;
        k->keep = k->premultiplied ? 4 : 3;
        ok = k->spp >= 3 && whole;
        break;
    case PHOTOMETRIC_SEPARATED:
        k->keep = 4;
        ok = k->spp >= 4 && whole;
        break;
    case PHOTOMETRIC_YCBCR:
        k->keep = k->spp == 1 ? 1 : 3;
        ok = k->bits == 8 && (k->spp == 1 || k->spp == 3);
    }
    return ok && k->spp <= 16 ? SC_OK : unsupported(k);
}

/* ---- samples
 * -------------------------------------------------------------------------------------- */

/* n pixels of one line -> their kept samples. plane -1: all samples lie side by side. */
static void take_samples(const tiff_kind *k, const uint8_t *line, size_t n, int plane,
                         uint8_t *samples)
{
    if (k->grey16) {
        uint16_t *out = (uint16_t *)(void *)samples;
        for (size_t i = 0; i < n; i++) {
            if (k->bits == 16) {
                memcpy(&out[i], line + 2 * i, 2); /* libtiff gives host order */
                continue;
            }
            const uint8_t *p = line + i / 2 * 3;
            out[i] = (uint16_t)(i % 2 ? (p[1] & 15) << 8 | p[2] : p[0] << 4 | p[1] >> 4);
        }
        return;
    }
    if (k->bits < 8) {
        sc_unpack_bits(line, k->bits, n, samples);
        return;
    }
    size_t width = k->bits / 8u, step = width * (plane < 0 ? k->spp : 1u);
    size_t keep = (size_t)k->keep;
    line += width - 1; /* host order is little endian: the high byte is the last */
    for (size_t i = 0; i < n; i++, line += step) {
        if (plane >= 0)
            samples[i * keep + (size_t)plane] = *line;
        else
            for (size_t c = 0; c < keep; c++)
                samples[i * keep + c] = line[c * width];
    }
}

static size_t pixel_bytes(const tiff_kind *k)
{
    return k->grey16 ? 2 : (size_t)k->keep;
}

static uint8_t *place(const tiff_reader *r, const tiff_kind *k, size_t x, size_t y)
{
    return r->samples + (y * k->width + x) * pixel_bytes(k);
}

static sc_status read_strips(tiff_reader *r, const tiff_kind *k)
{
    bool apart = k->planar == PLANARCONFIG_SEPARATE;
    size_t need = ((size_t)k->width * k->bits * (apart ? 1u : k->spp) + 7) / 8;
    tmsize_t size = TIFFScanlineSize(r->lib);
    if (size <= 0 || (size_t)size < need)
        return damaged(r);
    SC_TRY(sc_decode_buffer(r->in, (size_t)size, 1, &r->line));
    for (int plane = 0; plane < (apart ? k->keep : 1); plane++)
        for (uint32_t y = 0; y < k->height; y++) {
            if (TIFFReadScanline(r->lib, r->line, y, (uint16_t)plane) < 0 || r->complaint[0])
                return damaged(r);
            take_samples(k, r->line, k->width, apart ? plane : -1, place(r, k, 0, y));
        }
    return SC_OK;
}

static sc_status read_tiles(tiff_reader *r, const tiff_kind *k)
{
    bool apart = k->planar == PLANARCONFIG_SEPARATE;
    uint32_t tw = 0, th = 0;
    TIFFGetField(r->lib, TIFFTAG_TILEWIDTH, &tw);
    TIFFGetField(r->lib, TIFFTAG_TILELENGTH, &th);
    tmsize_t size = TIFFTileSize(r->lib), row = TIFFTileRowSize(r->lib);
    size_t need = ((size_t)tw * k->bits * (apart ? 1u : k->spp) + 7) / 8;
    if (tw == 0 || th == 0 || row <= 0 || (size_t)row < need || size / row < (tmsize_t)th)
        return damaged(r);
    SC_TRY(sc_decode_buffer(r->in, (size_t)size, 1, &r->line));
    for (int plane = 0; plane < (apart ? k->keep : 1); plane++)
        for (uint32_t y = 0; y < k->height; y += th)
            for (uint32_t x = 0; x < k->width; x += tw) {
                if (TIFFReadTile(r->lib, r->line, x, y, 0, (uint16_t)plane) < 0 || r->complaint[0])
                    return damaged(r);
                uint32_t w = k->width - x < tw ? k->width - x : tw;
                uint32_t h = k->height - y < th ? k->height - y : th;
                for (uint32_t i = 0; i < h; i++)
                    take_samples(k, r->line + (size_t)i * (size_t)row, w, apart ? plane : -1,
                                 place(r, k, x, y + i));
                if (k->width - x <= tw)
                    break; /* x + tw may not fit 32 bits */
            }
    return SC_OK;
}

/* ---- samples -> RGB
 * ------------------------------------------------------------------------------- */

static sc_status convert_palette(tiff_reader *r, const tiff_kind *k, sc_image *out)
{
    uint16_t *map[3];
    if (!TIFFGetField(r->lib, TIFFTAG_COLORMAP, &map[0], &map[1], &map[2]))
        return sc_fail(SC_EFORMAT, "damaged TIFF: no palette");
    size_t n = (size_t)k->width * k->height;
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++)
            out->rgb[3 * i + (size_t)c] = (uint8_t)(map[c][r->samples[i]] >> 8);
    return SC_OK;
}

static void divide_alpha(uint8_t *samples, size_t n, uint8_t *rgb)
{
    for (size_t i = 0; i < n; i++, samples += 4)
        for (size_t c = 0; c < 3; c++) {
            int v = samples[3] ? samples[c] * 255 / samples[3] : 0;
            rgb[3 * i + c] = (uint8_t)(v > 255 ? 255 : v);
        }
}

static sc_status convert(tiff_reader *r, const tiff_kind *k, sc_image *out)
{
    size_t n = (size_t)k->width * k->height;
    if (k->photometric == PHOTOMETRIC_PALETTE)
        return convert_palette(r, k, out);
    if (k->grey16) { /* Pillow does not invert 16-bit MINISWHITE either */
        sc_grey16_row(r->grey16, (const uint16_t *)(const void *)r->samples, n, out->rgb);
        sc_grey16_note(r->grey16, r->in->notes);
    } else if (k->keep == 1) {
        int scale = k->bits < 8 ? 255 / ((1 << k->bits) - 1) : 1;
        int flip = k->photometric == PHOTOMETRIC_MINISWHITE ? 255 : 0;
        for (size_t i = 0; i < n; i++)
            r->samples[i] = (uint8_t)(r->samples[i] * scale ^ flip);
        sc_rgb_from_grey(r->samples, n, out->rgb);
    } else if (k->photometric == PHOTOMETRIC_SEPARATED) {
        sc_rgb_from_cmyk(r->samples, n, out->rgb);
    } else if (k->premultiplied) {
        divide_alpha(r->samples, n, out->rgb);
    } else {
        memcpy(out->rgb, r->samples, 3 * n);
    }
    return SC_OK;
}

/* YCbCr outside of JPEG: libtiff's own conversion, as in Pillow; asked for without any turning. */
static sc_status read_rgba(tiff_reader *r, const tiff_kind *k, sc_image *out)
{
    size_t n = (size_t)k->width * k->height;
    char why[1024] = "";
    TIFFRGBAImage image;
    uint8_t *buffer;
    SC_TRY(sc_decode_buffer(r->in, n, sizeof *r->rgba, &buffer));
    r->rgba = (uint32_t *)(void *)buffer;
    if (!TIFFRGBAImageBegin(&image, r->lib, 1, why))
        return sc_fail(SC_EFORMAT, "damaged TIFF: %s", why);
    image.req_orientation = image.orientation;
    int done = TIFFRGBAImageGet(&image, r->rgba, k->width, k->height);
    TIFFRGBAImageEnd(&image);
    if (!done || r->complaint[0])
        return damaged(r);
    for (size_t i = 0; i < n; i++) {
        out->rgb[3 * i] = (uint8_t)TIFFGetR(r->rgba[i]);
        out->rgb[3 * i + 1] = (uint8_t)TIFFGetG(r->rgba[i]);
        out->rgb[3 * i + 2] = (uint8_t)TIFFGetB(r->rgba[i]);
    }
    return SC_OK;
}

static sc_status read_page(tiff_reader *r, sc_image *out)
{
    tiff_kind k = {0};
    SC_TRY(read_kind(r, &k));
    r->complaint[0] = '\0';
    bool colour = k.photometric == PHOTOMETRIC_YCBCR && k.spp == 3;
    if (colour && k.compression == COMPRESSION_JPEG && k.planar == PLANARCONFIG_CONTIG)
        TIFFSetField(r->lib, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    else if (colour) {
        SC_TRY(sc_image_new(r->in, k.width, k.height, out));
        return read_rgba(r, &k, out);
    }
    if (k.grey16 && !(r->grey16 = sc_grey16_new(r->in->options)))
        return SC_ENOMEM;
    SC_TRY(sc_decode_buffer(r->in, (size_t)k.width * k.height, pixel_bytes(&k), &r->samples));
    SC_TRY(TIFFIsTiled(r->lib) ? read_tiles(r, &k) : read_strips(r, &k));
    SC_TRY(sc_image_new(r->in, k.width, k.height, out));
    return convert(r, &k, out);
}

sc_status sc_decode_tiff(const sc_encoded *in, sc_image *out)
{
    tiff_reader *r = sc_alloc(1, sizeof *r);
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    sc_status status = SC_ENOMEM;
    if (!r || !options)
        goto done;
    r->in = in;
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)1 << 31);
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, r);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, r);
    r->lib = TIFFClientOpenExt("TIFF", "r", r, on_read, on_write, on_seek, on_close, on_size,
                               on_map, on_unmap, options);
    status = r->lib ? read_page(r, out) : damaged(r);
    if (r->lib)
        TIFFClose(r->lib);
done:
    if (options)
        TIFFOpenOptionsFree(options);
    if (r) {
        free(r->line);
        free(r->samples);
        free(r->rgba);
        free(r->grey16);
    }
    free(r);
    return status;
}
