#include "superclip/base.h"

#include <stdlib.h>
#include <string.h>

bool sc_mul_overflow(size_t a, size_t b, size_t *out)
{
    if (a != 0 && b > SIZE_MAX / a)
        return true;
    *out = a * b;
    return false;
}

void *sc_alloc(size_t count, size_t size)
{
    void *p = NULL;
    size_t bytes;
    if (!sc_mul_overflow(count, size, &bytes) && bytes <= PTRDIFF_MAX)
        p = bytes ? calloc(1, bytes) : calloc(1, 1);
    if (!p)
        sc_fail(SC_ENOMEM, "out of memory: %zu x %zu bytes", count, size);
    return p;
}

void *sc_realloc(void *old, size_t count, size_t size)
{
    void *p = NULL;
    size_t bytes;
    if (!sc_mul_overflow(count, size, &bytes) && bytes <= PTRDIFF_MAX)
        p = realloc(old, bytes ? bytes : 1);
    if (!p)
        sc_fail(SC_ENOMEM, "out of memory: %zu x %zu bytes", count, size);
    return p;
}

char *sc_strndup(const char *s, size_t n)
{
    size_t len = strnlen(s, n);
    char *p = len < SIZE_MAX ? sc_alloc(len + 1, 1) : NULL;
    if (p)
        memcpy(p, s, len);
    return p;
}

char *sc_strdup(const char *s)
{
    return sc_strndup(s, SIZE_MAX - 1);
}

char *sc_format(const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *p = n >= 0 ? sc_alloc((size_t)n + 1, 1) : NULL;
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

/* ---- arena ----------------------------------------------------------------------------------- */

typedef struct arena_block {
    struct arena_block *next;
    size_t used, bytes;
} arena_block;

enum { ARENA_ALIGN = 16, ARENA_MIN_BLOCK = 256 };
/* the payload starts at the first aligned place behind the block's header */
static const size_t block_header =
    (sizeof(arena_block) + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);

struct sc_arena {
    arena_block *blocks; /* newest first */
    size_t block_bytes;
};

sc_arena *sc_arena_new(size_t block_bytes)
{
    sc_arena *a = sc_alloc(1, sizeof *a);
    if (a)
        a->block_bytes = block_bytes < ARENA_MIN_BLOCK ? ARENA_MIN_BLOCK : block_bytes;
    return a;
}

void *sc_arena_alloc(sc_arena *a, size_t bytes)
{
    if (bytes > SIZE_MAX - block_header - ARENA_ALIGN) {
        sc_fail(SC_ENOMEM, "out of memory: %zu bytes", bytes);
        return NULL;
    }
    size_t need = (bytes + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    arena_block *b = a->blocks;
    if (!b || b->bytes - b->used < need) {
        size_t size = need > a->block_bytes ? need : a->block_bytes;
        b = sc_alloc(block_header + size, 1);
        if (!b)
            return NULL;
        b->bytes = size;
        b->next = a->blocks;
        a->blocks = b;
    }
    void *p = (char *)b + block_header + b->used;
    b->used += need;
    return p;
}

char *sc_arena_strdup(sc_arena *a, const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = sc_arena_alloc(a, n);
    if (p)
        memcpy(p, s, n);
    return p;
}

void sc_arena_free(sc_arena *a)
{
    if (!a)
        return;
    for (arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}
