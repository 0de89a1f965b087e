/* augment: 8-bit rows and their draws -> the normalised input. */
#include "ref.h"

#include <string.h>

/* scratch: the sample's bytes before and after rotation */
static void memory(const sc_op_node *n, size_t *saved, size_t *scratch)
{
    *saved = 0;
    *scratch = 2 * 3 * (size_t)n->attrs.crop * (size_t)n->attrs.crop;
}

static bool box_inside(int64_t top, int64_t left, int64_t h, int64_t w, int64_t size)
{
    return top >= 0 && left >= 0 && h >= 0 && w >= 0 && top + h <= size && left + w <= size;
}

static sc_status check(const sc_augment *a, int64_t row_size, int64_t size, int64_t sample)
{
    uint8_t seen = 0;
    for (int k = 0; k < 4; k++)
        seen = (uint8_t)(seen | 1u << (a->jitter_order[k] & 7));
    if (!box_inside(a->crop_top, a->crop_left, size, size, row_size) ||
        !box_inside(a->erase_top, a->erase_left, a->erase_h, a->erase_w, size) ||
        (a->jitter && seen != 15))
        return sc_fail(SC_EINTERNAL, "augment: the draws of row %lld leave the image",
                       (long long)sample);
    return SC_OK;
}

static void normalize(const uint8_t *pixels, const sc_augment *a, int64_t size, double *out)
{
    float table[3][256];
    sc_normalize_table(table);
    for (int64_t c = 0; c < 3; c++, out += size * size) {
        for (int64_t i = 0; i < size * size; i++)
            out[i] = (double)table[c][pixels[3 * i + c]];
        for (int64_t y = a->erase_top; y < a->erase_top + a->erase_h; y++)
            for (int64_t x = a->erase_left; x < a->erase_left + a->erase_w; x++)
                out[y * size + x] = 0;
    }
}

static sc_status forward(const sc_op_node *n)
{
    int64_t rows = n->in[0].desc.shape.d[0], row_size = n->in[0].desc.shape.d[1];
    int64_t size = n->attrs.crop;
    uint8_t *pixels = n->scratch, *tmp = pixels + 3 * size * size;
    for (int64_t r = 0; r < rows; r++) {
        sc_augment a;
        memcpy(&a, (const uint8_t *)n->in[1].data + (size_t)r * sizeof a, sizeof a);
        SC_TRY(check(&a, row_size, size, r));
        ref_pixels((const uint8_t *)n->in[0].data + r * row_size * row_size * 3, row_size, &a, size,
                   pixels, tmp);
        normalize(pixels, &a, size, (double *)n->out[0].data + r * 3 * size * size);
    }
    return SC_OK;
}

const ref_op ref_augment = {forward, NULL, memory};
