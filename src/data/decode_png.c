/* PNG through libpng, which only unpacks and de-interlaces; colours are made here. Transparency is
 * dropped, checksums of all chunks are checked, and no ancillary chunk is interpreted: libpng,
 * which has opinions on their sizes and contents, gets an empty unknown one for each.
 */
#include "image_priv.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "superclip/codec.h"

typedef struct png_reader {
    png_structp lib;
    png_infop info;
    const sc_encoded *in;
    size_t at;
    size_t pass; /* bytes from `at` that libpng gets as they are */
    uint8_t
        empty[12]; /* a chunk that nobody knows, the last `insert` bytes of it still to be given */
    size_t insert;
    char message[200];
    uint8_t *raw; /* one row, or all of them when interlaced */
    png_bytep *rows;
    sc_grey16 *grey16;
} png_reader;

static void on_error(png_structp lib, png_const_charp text)
{
    png_reader *r = png_get_error_ptr(lib);
    snprintf(r->message, sizeof r->message, "%s", text);
    png_longjmp(lib, 1);
}

/* Bytes too many behind the pixels are harmless; pixels that fail their checksum are not. */
static void on_warning(png_structp lib, png_const_charp text)
{
    if (strstr(text, "incorrect data check"))
        png_error(lib, text);
}

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* A lower-case first letter; what is no chunk name at all is for libpng to refuse. */
static bool is_ancillary(const uint8_t name[4])
{
    for (int i = 0; i < 4; i++)
        if ((name[i] | 32) < 'a' || (name[i] | 32) > 'z')
            return false;
    return name[0] & 32;
}

/* At a chunk: decides whether libpng sees it or, when ancillary and undamaged, an empty one. */
static void next_chunk(png_reader *r)
{
    const uint8_t *chunk = r->in->data + r->at;
    size_t left = r->in->n - r->at;
    if (left < 12)
        png_error(r->lib, "the file ends early");
    size_t length = big_endian(chunk);
    r->pass = length + 12;
    if (!is_ancillary(chunk + 4))
        return;
    if (length > left - 12)
        png_error(r->lib, "the file ends early");
    if (sc_crc32(0, chunk + 4, length + 4) != big_endian(chunk + 8 + length)) {
        char text[60];
        snprintf(text, sizeof text, "%.4s: CRC error", (const char *)chunk + 4);
        png_error(r->lib, text);
    }
    r->at += r->pass;
    r->pass = 0;
    r->insert = sizeof r->empty;
}

static void on_read(png_structp lib, png_bytep out, size_t n)
{
    png_reader *r = png_get_io_ptr(lib);
    while (n > 0) {
        if (r->pass == 0 && r->insert == 0)
            next_chunk(r);
        bool inserted = r->insert > 0;
        size_t m = inserted ? r->insert : r->pass;
        m = m < n ? m : n;
        if (inserted) {
            memcpy(out, r->empty + sizeof r->empty - r->insert, m);
            r->insert -= m;
        } else {
            if (m > r->in->n - r->at)
                png_error(lib, "the file ends early");
            memcpy(out, r->in->data + r->at, m);
            r->at += m;
            r->pass -= m;
        }
        out += m;
        n -= m;
    }
}

/* The signature goes through; private, reserved bit clear, unsafe to copy: no chunk of any
 * standard. */
static void prepare_reading(png_reader *r)
{
    static const uint8_t name[4] = {'s', 'c', 'I', 'P'};
    uint32_t crc = sc_crc32(0, name, sizeof name);
    memcpy(r->empty + 4, name, sizeof name);
    for (int i = 0; i < 4; i++)
        r->empty[8 + i] = (uint8_t)(crc >> (24 - 8 * i));
    r->pass = 8;
    png_set_read_fn(r->lib, r, on_read);
}

typedef struct png_kind {
    int colour, depth;
    size_t width, row_bytes, channels;
    uint8_t palette[256][3]; /* black beyond the file's entries, as Pillow */
} png_kind;

/* One row as libpng gives it -> RGB. `scratch` has room for width bytes. */
static void convert_row(png_reader *r, const png_kind *k, const uint8_t *row, uint8_t *scratch,
                        uint8_t *rgb)
{
    size_t n = k->width;
    if (k->colour == PNG_COLOR_TYPE_PALETTE) {
        sc_unpack_bits(row, k->depth, n, scratch);
        for (size_t i = 0; i < n; i++)
            memcpy(rgb + 3 * i, k->palette[scratch[i]], 3);
    } else if (k->colour == PNG_COLOR_TYPE_GRAY && k->depth <= 8) {
        sc_unpack_bits(row, k->depth, n, scratch);
        int scale = 255 / ((1 << k->depth) - 1);
        for (size_t i = 0; i < n; i++)
            scratch[i] = (uint8_t)(scratch[i] * scale);
        sc_rgb_from_grey(scratch, n, rgb);
    } else if (k->colour == PNG_COLOR_TYPE_GRAY) {
        uint16_t v[256];
        for (size_t i = 0; i < n; i += 256) {
            size_t m = n - i < 256 ? n - i : 256;
            for (size_t j = 0; j < m; j++)
                v[j] = (uint16_t)(row[2 * (i + j)] << 8 | row[2 * (i + j) + 1]);
            sc_grey16_row(r->grey16, v, m, rgb + 3 * i);
        }
    } else {
        size_t sample = (size_t)k->depth / 8, pixel = sample * k->channels;
        bool grey = k->channels < 3;
        for (size_t i = 0; i < n; i++)
            for (size_t c = 0; c < 3; c++) /* of 16 bits the high byte, which comes first */
                rgb[3 * i + c] = row[i * pixel + (grey ? 0 : c * sample)];
    }
}

static sc_status read_kind(png_reader *r, png_kind *k)
{
    k->colour = png_get_color_type(r->lib, r->info);
    k->depth = png_get_bit_depth(r->lib, r->info);
    k->channels = png_get_channels(r->lib, r->info);
    k->row_bytes = png_get_rowbytes(r->lib, r->info);
    png_colorp entries = NULL;
    int count = 0;
    if (k->colour == PNG_COLOR_TYPE_PALETTE && png_get_PLTE(r->lib, r->info, &entries, &count) == 0)
        return sc_fail(SC_EFORMAT, "damaged PNG: no palette");
    for (int i = 0; i < count && i < 256; i++) {
        k->palette[i][0] = entries[i].red;
        k->palette[i][1] = entries[i].green;
        k->palette[i][2] = entries[i].blue;
    }
    if (k->colour == PNG_COLOR_TYPE_GRAY && k->depth == 16) {
        r->grey16 = sc_grey16_new(r->in->options);
        if (!r->grey16)
            return SC_ENOMEM;
    }
    return SC_OK;
}

static sc_status read_pixels(png_reader *r, sc_image *out)
{
    prepare_reading(r);
    png_set_crc_action(r->lib, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
    png_set_benign_errors(r->lib, 1);
    png_set_check_for_invalid_index(r->lib, -1); /* such pixels are black */
    png_set_keep_unknown_chunks(r->lib, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_user_limits(r->lib, 0x7fffffff / 8, 0x7fffffff / 8); /* the pixel limit is ours */
    png_set_chunk_malloc_max(r->lib, 8 << 20);
    png_set_chunk_cache_max(r->lib, 64);
    png_read_info(r->lib, r->info);

    png_uint_32 width = png_get_image_width(r->lib, r->info);
    png_uint_32 height = png_get_image_height(r->lib, r->info);
    png_kind k = {.width = width};
    SC_TRY(sc_image_check_size(r->in, width, height));
    bool interlaced = png_get_interlace_type(r->lib, r->info) != PNG_INTERLACE_NONE;
    SC_TRY(read_kind(r, &k));
    size_t kept = interlaced ? height : 1;
    SC_TRY(sc_decode_buffer(r->in, kept * k.row_bytes + width, 1, &r->raw));
    uint8_t *scratch = r->raw + kept * k.row_bytes;
    SC_TRY(sc_image_new(r->in, width, height, out));
    if (interlaced) {
        r->rows = sc_alloc(height, sizeof *r->rows);
        if (!r->rows)
            return SC_ENOMEM;
        for (size_t y = 0; y < height; y++)
            r->rows[y] = r->raw + y * k.row_bytes;
        png_set_interlace_handling(r->lib);
        png_read_image(r->lib, r->rows);
    }
    for (size_t y = 0; y < height; y++) {
        if (!interlaced)
            png_read_row(r->lib, r->raw, NULL);
        convert_row(r, &k, interlaced ? r->rows[y] : r->raw, scratch, out->rgb + 3 * width * y);
    }
    png_read_end(r->lib, NULL);
    if (r->grey16)
        sc_grey16_note(r->grey16, r->in->notes);
    return SC_OK;
}

sc_status sc_decode_png(const sc_encoded *in, sc_image *out)
{
    png_reader *r = sc_alloc(1, sizeof *r);
    if (!r)
        return SC_ENOMEM;
    r->in = in;
    sc_status status = SC_ENOMEM;
    r->lib = png_create_read_struct(PNG_LIBPNG_VER_STRING, r, on_error, on_warning);
    r->info = r->lib ? png_create_info_struct(r->lib) : NULL;
    if (!r->info)
        status = sc_fail(SC_ENOMEM, "no memory to read a PNG");
    else if (setjmp(png_jmpbuf(r->lib)) == 0)
        status = read_pixels(r, out);
    else
        status = sc_fail(SC_EFORMAT, "damaged PNG: %s", r->message);
    png_destroy_read_struct(&r->lib, &r->info, NULL);
    free(r->raw);
    free(r->rows);
    free(r->grey16);
    free(r);
    return status;
}
