/* The bytes of the stream and the two stacks. */
#include "pickle_machine.h"

#include <string.h>

/* ---- bytes of the stream --------------------------------------------------------------------- */

sc_status sc_pickle_take(sc_unpickler *u, uint64_t n, const uint8_t **p)
{
    if (n > u->n - u->at)
        return sc_pickle_fail(u, "the stream ends inside a value that begins");
    *p = u->data + u->at;
    u->at += (size_t)n;
    return SC_OK;
}

/* A little-endian count of `width` bytes. */
sc_status sc_pickle_take_uint(sc_unpickler *u, int width, uint64_t *v)
{
    const uint8_t *p;
    SC_TRY(sc_pickle_take(u, (uint64_t)width, &p));
    *v = 0;
    for (int i = width - 1; i >= 0; i--)
        *v = *v << 8 | p[i];
    return SC_OK;
}

/* Up to the end of the line, which is consumed and not counted. */
sc_status sc_pickle_take_line(sc_unpickler *u, const char **text, size_t *n)
{
    const uint8_t *first = u->data + u->at;
    const uint8_t *end = memchr(first, '\n', u->n - u->at);
    if (!end)
        return sc_pickle_fail(u, "the stream ends inside a line that begins");
    *text = (const char *)first;
    *n = (size_t)(end - first);
    u->at += *n + 1;
    return SC_OK;
}

/* ---- stack ----------------------------------------------------------------------------------- */

sc_status sc_pickle_push(sc_unpickler *u, sc_pv *v)
{
    if (u->depth == u->stack_cap) {
        size_t cap = u->stack_cap ? u->stack_cap * 2 : 64;
        sc_pv **stack = sc_realloc(u->stack, cap, sizeof(sc_pv *));
        if (!stack)
            return SC_ENOMEM;
        u->stack = stack;
        u->stack_cap = cap;
    }
    u->stack[u->depth++] = v;
    return SC_OK;
}

/* The part of the stack above the newest mark. */
size_t sc_pickle_floor_of(const sc_unpickler *u)
{
    return u->mark_count ? u->marks[u->mark_count - 1] : 0;
}

sc_status sc_pickle_pop(sc_unpickler *u, sc_pv **v)
{
    if (u->depth <= sc_pickle_floor_of(u))
        return sc_pickle_fail(u, "a value is missing");
    *v = u->stack[--u->depth];
    return SC_OK;
}

sc_status sc_pickle_top(sc_unpickler *u, sc_pv **v)
{
    SC_TRY(sc_pickle_pop(u, v));
    u->depth++;
    return SC_OK;
}

sc_status sc_pickle_push_mark(sc_unpickler *u)
{
    if (u->mark_count == u->mark_cap) {
        size_t cap = u->mark_cap ? u->mark_cap * 2 : 16;
        size_t *marks = sc_realloc(u->marks, cap, sizeof *marks);
        if (!marks)
            return SC_ENOMEM;
        u->marks = marks;
        u->mark_cap = cap;
    }
    u->marks[u->mark_count++] = u->depth;
    return SC_OK;
}

/* Takes everything above the newest mark, and the mark. The items stay valid until the next push.
 */
sc_status sc_pickle_pop_mark(sc_unpickler *u, sc_pv ***items, size_t *n)
{
    if (u->mark_count == 0)
        return sc_pickle_fail(u, "a mark is missing");
    size_t first = u->marks[--u->mark_count];
    *items = u->stack ? u->stack + first : NULL; /* nothing was ever pushed */
    *n = u->depth - first;
    u->depth = first;
    return SC_OK;
}

sc_status sc_pickle_push_new(sc_unpickler *u, sc_pv_type type, sc_pv **v)
{
    SC_TRY(sc_pv_new(u, type, v));
    return sc_pickle_push(u, *v);
}

sc_status sc_pickle_push_int(sc_unpickler *u, int64_t i)
{
    sc_pv *v;
    SC_TRY(sc_pickle_push_new(u, SC_PV_INT, &v));
    v->u.i = i;
    return SC_OK;
}

sc_status sc_pickle_push_float(sc_unpickler *u, double f)
{
    sc_pv *v;
    SC_TRY(sc_pickle_push_new(u, SC_PV_FLOAT, &v));
    v->u.f = f;
    return SC_OK;
}
