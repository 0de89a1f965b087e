#include "superclip/base.h"

#include <stdlib.h>
#include <string.h>

void sc_text_init(sc_text *t)
{
    *t = (sc_text){0};
}

void sc_text_free(sc_text *t)
{
    free(t->data);
    *t = (sc_text){0};
}

void sc_text_clear(sc_text *t)
{
    t->len = 0;
    t->failed = false;
    if (t->data)
        t->data[0] = '\0';
}

/* Room for `more` bytes and the final NUL. */
static bool reserve(sc_text *t, size_t more)
{
    if (t->failed)
        return false;
    if (more >= SIZE_MAX / 2 - t->len) {
        t->failed = true;
        return false;
    }
    size_t need = t->len + more + 1;
    if (need <= t->cap)
        return true;
    size_t cap = t->cap ? t->cap : 64;
    while (cap < need)
        cap *= 2;
    char *p = realloc(t->data, cap);
    if (!p) {
        t->failed = true;
        return false;
    }
    t->data = p;
    t->cap = cap;
    return true;
}

void sc_text_add(sc_text *t, const void *bytes, size_t n)
{
    if (!reserve(t, n))
        return;
    if (n)
        memcpy(t->data + t->len, bytes, n);
    t->len += n;
    t->data[t->len] = '\0';
}

void sc_text_puts(sc_text *t, const char *s)
{
    sc_text_add(t, s, strlen(s));
}

void sc_text_putf(sc_text *t, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0)
        t->failed = true;
    else if (reserve(t, (size_t)n)) {
        vsnprintf(t->data + t->len, (size_t)n + 1, fmt, again);
        t->len += (size_t)n;
    }
    va_end(again);
}

sc_status sc_text_status(const sc_text *t)
{
    return t->failed ? sc_fail(SC_ENOMEM, "out of memory: a text of more than %zu bytes", t->len)
                     : SC_OK;
}
