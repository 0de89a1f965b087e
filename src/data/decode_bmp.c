/* BMP: palettes, 16, 24 and 32 bits, run lengths, bit fields; the kinds that Pillow reads. */
#include "image_priv.h"

#include <stdlib.h>
#include <string.h>

enum { RAW = 0, RLE8 = 1, RLE4 = 2, BITFIELDS = 3 };

typedef struct bmp {
    const uint8_t *data;
    size_t n;
    uint32_t width, height, colours, compression;
    bool top_down;
    int bits;
    size_t offset;             /* of the pixels */
    uint8_t palette[256][3];   /* RGB; black beyond the file's entries */
    uint32_t red, green, blue; /* bit fields */
} bmp;

static uint32_t u16(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}
static uint32_t u32(const uint8_t *p)
{
    return u16(p) | u16(p + 2) << 16;
}

static sc_status cut_off(void)
{
    return sc_fail(SC_EFORMAT, "damaged BMP: the file ends early");
}

/* Where the entries of `palette` lie, and their size. */
static void read_palette(bmp *b, size_t at, size_t entry)
{
    bool identity = true; /* Pillow then takes 8-bit indices as grey, also beyond the entries */
    uint32_t n = b->colours < 256 ? b->colours : 256;
    for (uint32_t i = 0; i < n; i++) {
        if (at + (i + 1) * entry > b->n) {
            identity = false;
            break;
        }
        const uint8_t *p = b->data + at + i * entry;
        b->palette[i][0] = p[2];
        b->palette[i][1] = p[1];
        b->palette[i][2] = p[0];
        identity = identity && p[0] == i && p[1] == i && p[2] == i;
    }
    for (uint32_t i = n; identity && b->bits == 8 && b->colours != 2 && i < 256; i++)
        memset(b->palette[i], (int)i, 3);
}

static bool byte_mask(uint32_t m)
{
    return m == 0xff || m == 0xff00 || m == 0xff0000 || m == 0xff000000;
}

static sc_status judge_fields(bmp *b)
{
    bool none = !b->red && !b->green && !b->blue;
    bool ok = false;
    if (b->bits == 32) {
        ok = none || (byte_mask(b->red) && byte_mask(b->green) && byte_mask(b->blue) &&
                      b->red != b->green && b->green != b->blue && b->blue != b->red);
        if (none)
            b->red = 0xff0000, b->green = 0xff00, b->blue = 0xff;
    } else if (b->bits == 24) {
        ok = b->red == 0xff0000 && b->green == 0xff00 && b->blue == 0xff;
    } else if (b->bits == 16) {
        ok = (b->red == 0xf800 && b->green == 0x7e0 && b->blue == 0x1f) ||
             (b->red == 0x7c00 && b->green == 0x3e0 && b->blue == 0x1f);
    }
    return ok ? SC_OK : sc_fail(SC_EFORMAT, "BMP with an unsupported layout of its bit fields");
}

static sc_status read_header(bmp *b)
{
    const uint8_t *p = b->data;
    if (b->n < 18)
        return cut_off();
    b->offset = u32(p + 10);
    uint32_t size = u32(p + 14);
    size_t entry = 4, behind = 14 + (size_t)size;
    if (size != 12 && size != 40 && size != 52 && size != 56 && size != 64 && size != 108 &&
        size != 124)
        return sc_fail(SC_EFORMAT, "BMP with an unknown header of %u bytes", size);
    if (b->n < behind)
        return cut_off();
    if (size == 12) {
        entry = 3;
        b->width = u16(p + 18);
        b->height = u16(p + 20);
        b->bits = (int)u16(p + 24);
    } else {
        b->width = u32(p + 18);
        b->height = u32(p + 22);
        b->top_down = p[25] == 0xff;
        if (b->top_down)
            b->height = 0u - b->height;
        b->bits = (int)u16(p + 28);
        b->compression = u32(p + 30);
        b->colours = u32(p + 46);
    }
    if (b->bits != 1 && b->bits != 4 && b->bits != 8 && b->bits != 16 && b->bits != 24 &&
        b->bits != 32)
        return sc_fail(SC_EFORMAT, "BMP with %d bits a pixel", b->bits);
    if (b->compression > BITFIELDS || (b->compression == RLE8 && b->bits != 8) ||
        (b->compression == RLE4 && b->bits != 4) || (b->compression == BITFIELDS && b->bits <= 8))
        return sc_fail(SC_EFORMAT, "BMP with compression %u at %d bits a pixel", b->compression,
                       b->bits);
    b->red = b->bits == 16 ? 0x7c00 : 0xff0000;
    b->green = b->bits == 16 ? 0x3e0 : 0xff00;
    b->blue = b->bits == 16 ? 0x1f : 0xff;
    if (b->compression == BITFIELDS) {
        /* inside the longer headers, behind the 40-byte one */
        if (size == 40)
            behind += 12;
        if (b->n < 66)
            return cut_off();
        b->red = u32(p + 54);
        b->green = u32(p + 58);
        b->blue = u32(p + 62);
        SC_TRY(judge_fields(b));
    }
    if (b->bits <= 8) {
        if (b->colours == 0)
            b->colours = 1u << b->bits;
        if (b->colours > 65536)
            return sc_fail(SC_EFORMAT, "BMP with a palette of %u colours", b->colours);
        read_palette(b, behind, entry);
        behind += entry * b->colours;
        if (b->offset == 14 + (size_t)size) /* forgets its palette */
            b->offset = behind;
    }
    if (b->offset == 0)
        b->offset = behind;
    return SC_OK;
}

static uint8_t field(uint32_t v, uint32_t mask)
{
    int shift = __builtin_ctz(mask);
    uint32_t most = mask >> shift;
    return (uint8_t)((v >> shift & most) * 255 / most);
}

static void convert_row(const bmp *b, const uint8_t *row, uint8_t *scratch, uint8_t *rgb)
{
    size_t n = b->width;
    if (b->bits <= 8) {
        sc_unpack_bits(row, b->bits, n, scratch);
        for (size_t i = 0; i < n; i++)
            memcpy(rgb + 3 * i, b->palette[scratch[i]], 3);
        return;
    }
    size_t bytes = (size_t)b->bits / 8;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = row + i * bytes;
        uint32_t v = u16(p);
        if (bytes > 2)
            v |= (uint32_t)p[2] << 16;
        if (bytes > 3)
            v |= (uint32_t)p[3] << 24;
        rgb[3 * i] = field(v, b->red);
        rgb[3 * i + 1] = field(v, b->green);
        rgb[3 * i + 2] = field(v, b->blue);
    }
}

/* Indices in file order, one byte each. Runs that leave their row are cut, as Pillow does. */
static sc_status unpack_runs(const bmp *b, uint8_t *out)
{
    size_t width = b->width, total = width * b->height, at = b->offset, used = 0, x = 0;
    bool nibbles = b->compression == RLE4;
    while (used < total) {
        if (at + 2 > b->n)
            break;
        size_t count = b->data[at], value = b->data[at + 1];
        at += 2;
        if (count > 0) {
            count = x + count > width ? (x < width ? width - x : 0) : count;
            for (size_t i = 0; i < count && used < total; i++)
                out[used++] = (uint8_t)(!nibbles ? value : i % 2 ? value & 15 : value >> 4);
            x += count;
        } else if (value == 0) {
            while (used % width != 0)
                out[used++] = 0;
            x = 0;
        } else if (value == 1) {
            break;
        } else if (value == 2) {
            if (at + 2 > b->n)
                break;
            size_t skip = b->data[at] + b->data[at + 1] * width;
            at += 2;
            used = skip < total - used ? used + skip : total;
            x = used % width;
        } else {
            size_t bytes = nibbles ? (value + 1) / 2 : value;
            if (bytes > b->n - at)
                break;
            for (size_t i = 0; i < value && used < total; i++)
                out[used++] = !nibbles ? b->data[at + i]
                              : i % 2  ? b->data[at + i / 2] & 15
                                       : b->data[at + i / 2] >> 4;
            at += (bytes + 1) / 2 * 2;
            at = at > b->n ? b->n : at;
            x += value;
        }
    }
    return used < total ? cut_off() : SC_OK;
}

static sc_status convert_rows(const bmp *b, const uint8_t *rows, size_t available, size_t stride,
                              uint8_t *scratch, sc_image *out)
{
    bmp row = *b;
    if (b->compression == RLE8 || b->compression == RLE4)
        row.bits = 8; /* unpacked already */
    size_t need = ((size_t)b->width * (size_t)row.bits + 7) / 8;
    if (available < stride * (b->height - 1) || available - stride * (b->height - 1) < need)
        return cut_off();
    for (size_t y = 0; y < b->height; y++) {
        size_t to = b->top_down ? y : b->height - 1 - y;
        convert_row(&row, rows + y * stride, scratch, out->rgb + 3 * to * b->width);
    }
    return SC_OK;
}

sc_status sc_decode_bmp(const sc_encoded *in, sc_image *out)
{
    bmp b = {.data = in->data, .n = in->n};
    SC_TRY(read_header(&b));
    SC_TRY(sc_image_check_size(in, b.width, b.height));
    if (b.offset > b.n)
        return cut_off();
    bool runs = b.compression == RLE8 || b.compression == RLE4;
    size_t total = (size_t)b.width * b.height;
    size_t stride = ((size_t)b.width * (size_t)b.bits + 31) / 32 * 4;
    /* a file that is too short for its size is refused before memory is taken for it */
    if (!runs && (b.n - b.offset) / stride + 1 < b.height)
        return cut_off();
    uint8_t *scratch = NULL;
    SC_TRY(sc_decode_buffer(in, runs ? total + b.width : b.width, 1, &scratch));
    sc_status status = sc_image_new(in, b.width, b.height, out);
    if (status == SC_OK && runs)
        status = unpack_runs(&b, scratch + b.width);
    if (status == SC_OK)
        status = runs ? convert_rows(&b, scratch + b.width, total, b.width, scratch, out)
                      : convert_rows(&b, b.data + b.offset, b.n - b.offset, stride, scratch, out);
    free(scratch);
    return status;
}
