/* Images to files: the formats that the packer reads, chosen by extension. The bytes depend on the
 * pixels (and the libraries' versions) only: no time stamps, no comments.
 */
#include "superclip/data.h"

#include <errno.h>
#include <jpeglib.h>
#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <webp/encode.h>

#define JPEG_QUALITY 92
#define WEBP_QUALITY 90.0f

/* The rows of a file: RGB, or the red channel alone. */
typedef struct pixels {
    const uint8_t *data;
    size_t width, height, channels, stride;
} pixels;

/* ---- JPEG --------------------------------------------------------------------------------------
 */
typedef struct jpeg_failure {
    struct jpeg_error_mgr base;
    jmp_buf back;
} jpeg_failure;

static void jpeg_failed(j_common_ptr c)
{
    char text[JMSG_LENGTH_MAX];
    jpeg_failure *f = (jpeg_failure *)c->err;
    f->base.format_message(c, text);
    sc_fail(SC_EINTERNAL, "cannot encode a JPEG image: %s", text);
    longjmp(f->back, 1);
}

static sc_status encode_jpeg(const pixels *p, sc_text *out)
{
    struct jpeg_compress_struct c;
    jpeg_failure failure;
    unsigned char *volatile bytes = NULL;
    unsigned long n = 0;
    memset(&c, 0, sizeof c);
    c.err = jpeg_std_error(&failure.base);
    failure.base.error_exit = jpeg_failed;
    if (setjmp(failure.back)) {
        jpeg_destroy_compress(&c);
        free(bytes);
        return SC_EINTERNAL;
    }
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, (unsigned char **)&bytes, &n);
    c.image_width = (JDIMENSION)p->width;
    c.image_height = (JDIMENSION)p->height;
    c.input_components = (int)p->channels;
    c.in_color_space = p->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&c);
    jpeg_set_quality(&c, JPEG_QUALITY, TRUE);
    jpeg_start_compress(&c, TRUE);
    while (c.next_scanline < c.image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(p->data + c.next_scanline * p->stride);
        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    sc_text_add(out, bytes, n);
    free(bytes);
    return SC_OK;
}

/* ---- PNG ----------------------------------------------------------------------------------------
 */
static void png_failed(png_structp png, png_const_charp text)
{
    sc_fail(SC_EINTERNAL, "cannot encode a PNG image: %s", text);
    png_longjmp(png, 1);
}

static void png_warned(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void png_put(png_structp png, png_bytep data, size_t n)
{
    sc_text_add(png_get_io_ptr(png), data, n);
}

static void png_flush(png_structp png)
{
    (void)png;
}

static sc_status encode_png(const pixels *p, sc_text *out)
{
    png_infop info = NULL;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, png_failed, png_warned);
    if (png)
        info = png_create_info_struct(png);
    if (!info) {
        png_destroy_write_struct(&png, NULL);
        return sc_fail(SC_ENOMEM, "out of memory while a PNG image is encoded");
    }
    if (setjmp(png_jmpbuf(png))) {
        png_destroy_write_struct(&png, &info);
        return SC_EINTERNAL;
    }
    png_set_write_fn(png, out, png_put, png_flush);
    png_set_IHDR(png, info, (png_uint_32)p->width, (png_uint_32)p->height, 8,
                 p->channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_compression_level(png, 3);
    png_write_info(png, info);
    for (size_t y = 0; y < p->height; y++)
        png_write_row(png, p->data + y * p->stride);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    return SC_OK;
}

/* ---- BMP and TIFF, uncompressed ------------------------------------------------------------- */
static void put_u16(sc_text *t, size_t v)
{
    const uint8_t b[2] = {(uint8_t)v, (uint8_t)(v >> 8)};
    sc_text_add(t, b, sizeof b);
}

static void put_u32(sc_text *t, size_t v)
{
    put_u16(t, v & 0xFFFF);
    put_u16(t, v >> 16);
}

/* 24 bits a pixel, or 8 with a grey palette; rows from the bottom, padded to 4 bytes. */
static sc_status encode_bmp(const pixels *p, sc_text *out)
{
    static const uint8_t zeros[4] = {0};
    const size_t row = (p->width * p->channels + 3) / 4 * 4;
    const size_t palette = p->channels == 1 ? 256 : 0, header = 14 + 40 + 4 * palette;
    sc_text_puts(out, "BM");
    put_u32(out, header + row * p->height);
    put_u32(out, 0);
    put_u32(out, header);
    put_u32(out, 40);
    put_u32(out, p->width);
    put_u32(out, p->height);
    put_u16(out, 1);
    put_u16(out, 8 * p->channels);
    put_u32(out, 0);
    put_u32(out, row * p->height);
    put_u32(out, 2835); /* 72 dots an inch */
    put_u32(out, 2835);
    put_u32(out, palette);
    put_u32(out, 0);
    for (size_t i = 0; i < palette; i++)
        put_u32(out, i * 0x010101u);
    for (size_t y = p->height; y-- > 0;) {
        const uint8_t *from = p->data + y * p->stride;
        if (p->channels == 1)
            sc_text_add(out, from, p->width);
        for (size_t x = 0; p->channels == 3 && x < p->width; x++) {
            const uint8_t bgr[3] = {from[3 * x + 2], from[3 * x + 1], from[3 * x]};
            sc_text_add(out, bgr, sizeof bgr);
        }
        sc_text_add(out, zeros, row - p->width * p->channels);
    }
    return SC_OK;
}

static void put_tag(sc_text *t, size_t tag, size_t type, size_t count, size_t value)
{
    put_u16(t, tag);
    put_u16(t, type);
    put_u32(t, count);
    put_u32(t, value); /* little-endian: a short is left-justified by itself */
}

/* Baseline TIFF: one strip behind the header, then the directory. */
static sc_status encode_tiff(const pixels *p, sc_text *out)
{
    enum { SHORT = 3, LONG = 4, TAGS = 9 };
    const size_t bytes = p->width * p->height * p->channels, padded = (bytes + 1) / 2 * 2;
    const size_t directory = 8 + padded, behind = directory + 2 + 12 * TAGS + 4;
    sc_text_puts(out, "II*");
    sc_text_add(out, "", 1);
    put_u32(out, directory);
    for (size_t y = 0; y < p->height; y++)
        sc_text_add(out, p->data + y * p->stride, p->width * p->channels);
    sc_text_add(out, "", padded - bytes);
    put_u16(out, TAGS);
    put_tag(out, 256, LONG, 1, p->width);
    put_tag(out, 257, LONG, 1, p->height);
    put_tag(out, 258, SHORT, p->channels, p->channels == 1 ? 8 : behind); /* bits a sample */
    put_tag(out, 259, SHORT, 1, 1);                                       /* no compression */
    put_tag(out, 262, SHORT, 1, p->channels == 1 ? 1 : 2);                /* black is 0, or RGB */
    put_tag(out, 273, LONG, 1, 8);                                        /* the strip's place */
    put_tag(out, 277, SHORT, 1, p->channels);
    put_tag(out, 278, LONG, 1, p->height); /* rows a strip */
    put_tag(out, 279, LONG, 1, bytes);
    put_u32(out, 0);
    for (size_t c = 0; p->channels == 3 && c < 3; c++)
        put_u16(out, 8);
    return SC_OK;
}

/* ---- WebP ----------------------------------------------------------------------------------- */
static sc_status encode_webp(const pixels *p, sc_text *out)
{
    uint8_t *bytes = NULL;
    const size_t n =
        WebPEncodeRGB(p->data, (int)p->width, (int)p->height, (int)p->stride, WEBP_QUALITY, &bytes);
    sc_text_add(out, bytes, n);
    WebPFree(bytes);
    return n > 0 ? SC_OK : sc_fail(SC_EINTERNAL, "cannot encode a WebP image");
}

/* ---- the door ------------------------------------------------------------------------------- */
typedef struct encoder {
    const char *extension;
    bool grey; /* can hold one channel */
    int max_side;
    sc_status (*encode)(const pixels *p, sc_text *out);
} encoder;

static const encoder ENCODERS[] = {
    {".jpg", true, 65500, encode_jpeg},  {".jpeg", true, 65500, encode_jpeg},
    {".png", true, 65535, encode_png},   {".bmp", true, 32767, encode_bmp},
    {".tif", true, 32767, encode_tiff},  {".tiff", true, 32767, encode_tiff},
    {".webp", false, 16383, encode_webp}};

static const encoder *find_encoder(const char *path)
{
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof ENCODERS / sizeof *ENCODERS; i++)
        if (strcasecmp(dot, ENCODERS[i].extension) == 0)
            return &ENCODERS[i];
    return NULL;
}

static sc_status write_whole(const char *path, const sc_text *bytes)
{
    FILE *f = fopen(path, "wb");
    if (!f)
        return sc_fail(SC_EIO, "%s: cannot create: %s", path, strerror(errno));
    const bool written = fwrite(bytes->data, 1, bytes->len, f) == bytes->len;
    const int error = errno;
    if (fclose(f) == 0 && written)
        return SC_OK;
    return sc_fail(SC_EIO, "%s: cannot write: %s", path, strerror(written ? errno : error));
}

sc_status sc_image_write(const char *path, const sc_image *im, bool grey)
{
    const encoder *e = find_encoder(path);
    uint8_t *red = NULL;
    sc_text bytes;
    if (!e)
        return sc_fail(SC_EUSAGE, "%s: no image format of that name can be written", path);
    if (im->width < 1 || im->height < 1 || im->width > e->max_side || im->height > e->max_side)
        return sc_fail(SC_EUSAGE, "%s: a side of %d x %d is not in 1..%d", path, im->width,
                       im->height, e->max_side);
    const size_t w = (size_t)im->width, h = (size_t)im->height;
    pixels p = {.data = im->rgb, .width = w, .height = h, .channels = 3, .stride = 3 * w};
    if (grey && e->grey) {
        red = sc_alloc(w * h, 1);
        if (!red)
            return SC_ENOMEM;
        for (size_t i = 0; i < w * h; i++)
            red[i] = im->rgb[3 * i];
        p = (pixels){.data = red, .width = w, .height = h, .channels = 1, .stride = w};
    }
    sc_text_init(&bytes);
    sc_status status = e->encode(&p, &bytes);
    if (status == SC_OK)
        status = sc_text_status(&bytes);
    if (status == SC_OK)
        status = write_whole(path, &bytes);
    sc_text_free(&bytes);
    free(red);
    return status;
}
