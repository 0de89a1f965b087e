#include "superclip/tensor.h"

#include <inttypes.h>

int64_t sc_shape_count(const sc_shape *s)
{
    if (s->n < 0 || s->n > SC_MAX_DIMS)
        return -1;
    /* a zero dimension makes the product 0 even where the others alone would overflow */
    bool empty = false;
    for (int i = 0; i < s->n; i++) {
        if (s->d[i] < 0)
            return -1;
        empty |= s->d[i] == 0;
    }
    if (empty)
        return 0;
    int64_t count = 1;
    for (int i = 0; i < s->n; i++) {
        if (count > INT64_MAX / s->d[i])
            return -1;
        count *= s->d[i];
    }
    return count;
}

bool sc_shape_equal(const sc_shape *a, const sc_shape *b)
{
    if (a->n != b->n)
        return false;
    for (int i = 0; i < a->n; i++)
        if (a->d[i] != b->d[i])
            return false;
    return true;
}

const char *sc_shape_text(const sc_shape *s, char out[96])
{
    const size_t cap = 96;
    size_t used = (size_t)snprintf(out, cap, "[");
    for (int i = 0; i < s->n && used < cap; i++)
        used += (size_t)snprintf(out + used, cap - used, "%s%" PRId64, i ? ", " : "", s->d[i]);
    if (used + 1 < cap)
        snprintf(out + used, cap - used, "]");
    else
        snprintf(out + cap - 5, 5, "...]");
    return out;
}
