/* Opcodes that push a constant or a text. */
#include "pickle_machine.h"

#include <stdlib.h>
#include <string.h>

/* ---- constants and texts --------------------------------------------------------------------- */

/* n bytes, two's complement, little-endian. */
static sc_status long_bytes(sc_unpickler *u, uint64_t n)
{
    const uint8_t *p;
    SC_TRY(sc_pickle_take(u, n, &p));
    uint64_t v = n > 0 && p[n - 1] & 0x80 ? UINT64_MAX : 0;
    for (uint64_t i = n; i-- > 8;)
        if (p[i] != (v & 0xFF))
            return sc_pickle_fail(u, "an integer of more than 64 bits");
    if (n > 8 && (p[7] & 0x80) != (v & 0x80))
        return sc_pickle_fail(u, "an integer of more than 64 bits");
    for (uint64_t i = n < 8 ? n : 8; i-- > 0;)
        v = v << 8 | p[i];
    return sc_pickle_push_int(u, (int64_t)v);
}

/* I, L and F of protocol 0: a number as text. I00 and I01 are the old False and True. */
static sc_status text_number(sc_unpickler *u, int op)
{
    const char *line;
    char text[64], *end;
    size_t n;
    SC_TRY(sc_pickle_take_line(u, &line, &n));
    if (n == 0 || n >= sizeof text)
        return sc_pickle_fail(u, "a malformed number");
    memcpy(text, line, n);
    text[n] = '\0';
    if (op == 'I' && n == 2 && text[0] == '0' && (text[1] == '0' || text[1] == '1'))
        return sc_pickle_push(u, text[1] == '1' ? &u->yes : &u->no);
    if (op == 'L' && text[n - 1] == 'L')
        text[n - 1] = '\0';
    if (op == 'F') {
        double f = strtod(text, &end);
        return *end || end == text ? sc_pickle_fail(u, "a malformed number")
                                   : sc_pickle_push_float(u, f);
    }
    long long i = strtoll(text, &end, 10);
    if (*end || end == text || i == INT64_MAX || i == INT64_MIN)
        return sc_pickle_fail(u, "a malformed number");
    return sc_pickle_push_int(u, i);
}

static sc_status big_endian_float(sc_unpickler *u)
{
    const uint8_t *p;
    SC_TRY(sc_pickle_take(u, 8, &p));
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | p[i];
    double f;
    memcpy(&f, &bits, sizeof f);
    return sc_pickle_push_float(u, f);
}

static sc_status string(sc_unpickler *u, int width)
{
    uint64_t n;
    const uint8_t *p;
    sc_pv *v;
    SC_TRY(sc_pickle_take_uint(u, width, &n));
    SC_TRY(sc_pickle_take(u, n, &p));
    if (memchr(p, 0, (size_t)n) || !sc_utf8_valid((const char *)p, (size_t)n))
        return sc_pickle_fail(u, "a text that is not UTF-8 or holds a NUL byte");
    char *s = sc_pickle_alloc(u, (size_t)n + 1);
    if (!s)
        return SC_EFORMAT;
    memcpy(s, p, (size_t)n);
    SC_TRY(sc_pickle_push_new(u, SC_PV_STRING, &v));
    v->u.s = s;
    return SC_OK;
}

/* A constant or a text; *mine says whether `op` is one. */
sc_status sc_pickle_run_value(sc_unpickler *u, int op, bool *mine)
{
    uint64_t v;
    *mine = true;
    switch (op) {
    case 'N':
        return sc_pickle_push(u, &u->none);
    case 0x88:
        return sc_pickle_push(u, &u->yes);
    case 0x89:
        return sc_pickle_push(u, &u->no);
    case 'K':
        SC_TRY(sc_pickle_take_uint(u, 1, &v));
        return sc_pickle_push_int(u, (int64_t)v);
    case 'M':
        SC_TRY(sc_pickle_take_uint(u, 2, &v));
        return sc_pickle_push_int(u, (int64_t)v);
    case 'J':
        SC_TRY(sc_pickle_take_uint(u, 4, &v));
        return sc_pickle_push_int(u, (int32_t)v);
    case 0x8A:
        SC_TRY(sc_pickle_take_uint(u, 1, &v));
        return long_bytes(u, v);
    case 0x8B:
        SC_TRY(sc_pickle_take_uint(u, 4, &v));
        return long_bytes(u, v);
    case 'G':
        return big_endian_float(u);
    case 'I':
    case 'L':
    case 'F':
        return text_number(u, op);
    case 0x8C:
    case 'U':
        return string(u, 1);
    case 'X':
    case 'T':
        return string(u, 4);
    case 0x8D:
        return string(u, 8);
    case 'B':
    case 'C':
    case 0x8E:
    case 0x96:
        return sc_pickle_fail(u, "a bytes object, which no state dict needs,");
    }
    *mine = false;
    return SC_OK;
}
