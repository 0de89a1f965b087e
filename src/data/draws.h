/* Which Philox word feeds which choice. docs/random_numbers.md is the same table for users; the
 * golden vectors in tests/golden pin it. key = (random_state, stream), counter = (epoch, position,
 * draw, fold).
 */
#ifndef SUPERCLIP_DATA_DRAWS_H
#define SUPERCLIP_DATA_DRAWS_H

#include "superclip/base.h"

/* Draw numbers of the order streams: one draw a position. */
enum { DRAW_ORDER = 0 };

/* Draw numbers of the augmentation stream. */
enum {
    DRAW_CROP_FLIP = 0,    /* words: crop_top, crop_left, flip_h, flip_v */
    DRAW_JITTER_ANGLE = 1, /* words: three swaps of the jitter order, angle */
    DRAW_FACTORS = 2,      /* words: brightness, contrast, saturation, hue */
    DRAW_ERASE = 3,        /* words: erase or not, -, -, - */
    DRAW_ERASE_TRY = 4,    /* + t, try t = 0..9; words: area, ratio, top, left */
    ERASE_TRIES = 10
};

static inline void draw_words(uint64_t random_state, sc_stream stream, int epoch, int64_t position,
                              int draw, int fold, uint32_t words[4])
{
    const uint32_t key[2] = {(uint32_t)random_state, (uint32_t)stream};
    const uint32_t counter[4] = {(uint32_t)epoch, (uint32_t)position, (uint32_t)draw,
                                 (uint32_t)fold};
    sc_philox4x32(key, counter, words);
}

#endif
