/* Inside batch_norm: sizes, memory, statistics. */
#ifndef SC_CPU_BATCH_NORM_H
#define SC_CPU_BATCH_NORM_H

#include "cpu.h"

typedef struct cpu_bn_dims {
    int64_t n, c, cp, hw, b, nb, planes, stored; /* stored: elements of the blocked value */
    size_t element, bytes;                       /* bytes: of the blocked value */
    bool bf, plain;
    /* With a max_pool behind it, `pool`; y is its output then: pixels of a plane, elements. */
    bool pooled;
    cpu_pool pool;
    int64_t y_hw, y_stored;
} cpu_bn_dims;

typedef struct cpu_bn_saved {
    float *mean, *lost, *rstd; /* exact mean = mean - lost */
    uint8_t *mask;             /* of y: bits, [n * blocks][y_hw] of lane_bits */
    double *count;
    char *best;     /* pooled: the x of each window that became y */
    uint8_t *index; /* pooled: and its place there */
} cpu_bn_saved;

typedef struct cpu_bn_room {
    void *planes;
    double *totals;
    float *coefficients; /* five rows of channels */
    float *rows;         /* pooled: a row of a plane for each thread */
    char *copies;
} cpu_bn_room;

static inline bool cpu_bn_of_batch(const sc_op_node *n)
{
    return n->training && !n->attrs.running;
}
/* Element address: plane t of a blocked value; NULL stays NULL. */
static inline void *cpu_bn_plane(const void *p, const cpu_bn_dims *m, int64_t t)
{
    return p ? (char *)(uintptr_t)p + (size_t)(t * m->hw * m->b) * m->element : NULL;
}
/* The same of a value of y's size. */
static inline void *cpu_bn_y_plane(const void *p, const cpu_bn_dims *m, int64_t t)
{
    return p ? (char *)(uintptr_t)p + (size_t)(t * m->y_hw * m->b) * m->element : NULL;
}
static inline uint8_t *cpu_bn_mask(uint8_t *mask, const cpu_bn_dims *m, int64_t t)
{
    return mask ? mask + (size_t)(t * m->y_hw * m->b / 8) : NULL;
}

/* ---- bn_statistics.c ---- */
/* Mean and deviation to normalise by: those of the batch over all ranks of n->comm, which also move
 * the running ones, or the running ones. With a pool, one look at x also leaves each window's
 * choice in `best` and, where it is not NULL, `index`. */
sc_status cpu_bn_statistics(cpu_device *d, const sc_op_node *n, const cpu_bn_dims *m,
                            const cpu_bn_room *w, const void *x, const cpu_bn_saved *s, char *best,
                            uint8_t *index);

#endif
