/* Private to nn: places in one arena for buffers that live in intervals of time. */
#ifndef SC_NN_PLAN_H
#define SC_NN_PLAN_H

#include "superclip/base.h"

#define NN_ALIGNMENT 64

typedef struct nn_buffer {
    size_t bytes;
    int start, end; /* first and last step in which the bytes must stay, both included */
    size_t offset;  /* result, a multiple of NN_ALIGNMENT */
} nn_buffer;

/* No two buffers whose intervals meet overlap. *total: the arena's size. */
sc_status nn_plan(nn_buffer *buffers, size_t n, size_t *total);
size_t nn_align(size_t bytes);

#endif
