/* Private to data: what the image decoders share. Each decoder gets the whole file in memory,
 * judges its header, asks sc_image_new for the pixels (the only place that applies the size limits)
 * and fills RGB. Every decoder gives the bytes of Pillow's Image.open(...).convert("RGB"), except
 * 16-bit grey.
 */
#ifndef SC_DATA_IMAGE_PRIV_H
#define SC_DATA_IMAGE_PRIV_H

#include "superclip/data.h"

typedef struct sc_encoded {
    const uint8_t *data;
    size_t n;
    const sc_decode_options *options;
    sc_decode_notes *notes; /* never NULL inside the decoders */
} sc_encoded;

#define SC_DEFAULT_MAX_PIXELS 178e6

/* Refuses more pixels than allowed and sizes of 0 before anything is allocated. */
sc_status sc_image_check_size(const sc_encoded *in, uint64_t width, uint64_t height);
/* The same, then the pixels, not initialised. */
sc_status sc_image_new(const sc_encoded *in, uint64_t width, uint64_t height, sc_image *out);
/* A decoder's own buffer of count * size bytes, zeroed; refused above 9 bytes a pixel of the limit.
 */
sc_status sc_decode_buffer(const sc_encoded *in, size_t count, size_t size, uint8_t **out);

sc_status sc_decode_jpeg(const sc_encoded *in, sc_image *out);
sc_status sc_decode_png(const sc_encoded *in, sc_image *out);
sc_status sc_decode_bmp(const sc_encoded *in, sc_image *out);
sc_status sc_decode_tiff(const sc_encoded *in, sc_image *out);
sc_status sc_decode_webp(const sc_encoded *in, sc_image *out);

/* ---- rows of other kinds -> RGB ----------------------------------------------------------------
 */
void sc_rgb_from_grey(const uint8_t *grey, size_t n, uint8_t *rgb);
/* Samples of `bits` (1, 2, 4, 8) packed from the most significant bit down, one byte each. */
void sc_unpack_bits(const uint8_t *packed, int bits, size_t n, uint8_t *out);
/* Pillow's CMYK -> RGB (c, m, y, k with 255 = full ink). */
void sc_rgb_from_cmyk(const uint8_t *cmyk, size_t n, uint8_t *rgb);

/* 16-bit grey: one table from the options, the largest value seen goes into the notes. */
typedef struct sc_grey16 {
    uint8_t table[65536];
    uint16_t max;
} sc_grey16;
/* NULL without memory. free() it after sc_grey16_note. */
sc_grey16 *sc_grey16_new(const sc_decode_options *o);
void sc_grey16_row(sc_grey16 *g, const uint16_t *v, size_t n, uint8_t *rgb);
void sc_grey16_note(const sc_grey16 *g, sc_decode_notes *notes);

#endif
