/* How the depth, the channel blocks and the tasks of a weight gradient are cut (wgrad.h), by the
 * shape alone.
 *
 * A task is a slice of the depth times a group of channel blocks of x times one of dy. Within it,
 * unit after unit of the depth (some rows of an image, or some images) is laid out as words that
 * stay in a processor's own cache, and every tile of the group gets the unit's sums. Slices are
 * there only when groups alone give too few tasks; the first one's sums are dw itself.
 */
#ifndef SC_CPU_WGRAD_PLAN_H
#define SC_CPU_WGRAD_PLAN_H

#include "wgrad.h"

typedef struct cpu_wgrad_plan {
    int64_t elements;              /* words of a pixel of x */
    int64_t sums;                  /* floats of dw */
    int64_t block;                 /* floats of dw of one block of x and one of dy */
    int64_t groups_i, groups_o;    /* of channel blocks, */
    int64_t group_i, group_o;      /* as many in one */
    int64_t images, rows;          /* of a unit, at most */
    int64_t whole, bands;          /* images (or pairs of them) of `bands` units each, or fewer */
    int64_t half_rows, half_bands; /* the odd image, its halves a pair: rows, units */
    int64_t units, slices;
    bool pack;                /* x is laid out anew; dy is where there are pairs */
    int64_t sample;           /* input pixels from one word to the next */
    int64_t x_width, x_plane; /* words laid out: pixels of a row, words of an image and block */
    int64_t y_plane;          /* the same of dy */
    size_t x_bytes, y_bytes;  /* of one thread */
} cpu_wgrad_plan;

cpu_wgrad_plan cpu_wgrad_plan_of(const cpu_wgrad_shape *s);

/* Images [image, image + images), or pairs of them, output rows [row, row + rows). halves: one
 * image, paired with its own rows half_rows further on. */
typedef struct cpu_wgrad_unit {
    int64_t image, images, row, rows;
    bool halves;
} cpu_wgrad_unit;

cpu_wgrad_unit cpu_wgrad_unit_at(const cpu_wgrad_plan *p, const cpu_wgrad_shape *s, int64_t unit);
/* Where half `lane` (0 or 1) of the words of a unit's image comes from. */
typedef struct cpu_wgrad_lane {
    int64_t image, row;
} cpu_wgrad_lane;
cpu_wgrad_lane cpu_wgrad_lane_of(const cpu_wgrad_plan *p, const cpu_wgrad_shape *s,
                                 const cpu_wgrad_unit *u, int64_t image, int lane);

#endif
