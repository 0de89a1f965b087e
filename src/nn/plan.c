/* The memory plan: largest buffer first, each at the lowest place that is free for its whole life.
 * (Greedy by size; Pisarchyk & Lee 2020 find it within a few percent of the best.)
 */
#include "plan.h"

#include <stdlib.h>

size_t nn_align(size_t bytes)
{
    return (bytes + NN_ALIGNMENT - 1) / NN_ALIGNMENT * NN_ALIGNMENT;
}

static int by_size(const void *a, const void *b)
{
    const nn_buffer *x = *(nn_buffer *const *)a, *y = *(nn_buffer *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : x > y; /* a total order: the same plan on every rank */
}

static int by_offset(const void *a, const void *b)
{
    const nn_buffer *x = *(nn_buffer *const *)a, *y = *(nn_buffer *const *)b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* placed[0..n) are sorted by offset. */
static size_t lowest_gap(const nn_buffer *b, nn_buffer *const *placed, size_t n)
{
    size_t offset = 0;
    for (size_t i = 0; i < n; i++) {
        const nn_buffer *p = placed[i];
        if (p->end < b->start || p->start > b->end)
            continue;
        if (p->offset >= offset + nn_align(b->bytes))
            break;
        if (p->offset + nn_align(p->bytes) > offset)
            offset = p->offset + nn_align(p->bytes);
    }
    return offset;
}

sc_status nn_plan(nn_buffer *buffers, size_t n, size_t *total)
{
    nn_buffer **order = sc_alloc(n, sizeof(nn_buffer *));
    nn_buffer **placed = sc_alloc(n, sizeof(nn_buffer *));
    *total = 0;
    if (order == NULL || placed == NULL) {
        free(order);
        free(placed);
        return SC_ENOMEM;
    }
    for (size_t i = 0; i < n; i++)
        order[i] = &buffers[i];
    qsort(order, n, sizeof(nn_buffer *), by_size);
    for (size_t i = 0; i < n; i++) {
        order[i]->offset = lowest_gap(order[i], placed, i);
        size_t end = order[i]->offset + nn_align(order[i]->bytes);
        if (end > *total)
            *total = end;
        size_t at = i;
        for (; at > 0 && by_offset(&placed[at - 1], &order[i]) > 0; at--)
            placed[at] = placed[at - 1];
        placed[at] = order[i];
    }
    free(order);
    free(placed);
    return SC_OK;
}
