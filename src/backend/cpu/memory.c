/* Memory of values and parameters. Large blocks come from the system as they are: zero, and touched
 * only where they are used (moments of token rows that no text ever uses take no memory at all), in
 * huge pages where the system grants them: a step walks through more memory than the processor can
 * translate addresses of in small ones.
 */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE ((size_t)2 << 20)
#define HEAD 64 /* room for the head in front of a block, which keeps its alignment */

typedef struct head {
    void *base;
    size_t mapped; /* 0: from malloc */
} head;

static void *give(char *p, void *base, size_t mapped)
{
    const head h = {base, mapped};
    memcpy(p - sizeof h, &h, sizeof h);
    return p;
}
static void *small_block(size_t bytes)
{
    char *base = aligned_alloc(64, HEAD + cpu_align(bytes));
    if (!base)
        return NULL;
    memset(base, 0, HEAD + cpu_align(bytes));
    return give(base + HEAD, base, 0);
}
static void *large_block(size_t bytes)
{
    const size_t mapped = bytes + 2 * HUGE;
    char *base = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    char *p = (char *)(((uintptr_t)base + HEAD + HUGE - 1) & ~(uintptr_t)(HUGE - 1));
    (void)madvise(p, bytes, MADV_HUGEPAGE); /* without them it is slower, nothing else */
    return give(p, base, mapped);
}

sc_status cpu_alloc(sc_device *dev, size_t bytes, void **out)
{
    (void)dev;
    *out = NULL;
#ifdef __SANITIZE_ADDRESS__
    const bool large = false; /* every block with its red zones */
#else
    const bool large = bytes >= HUGE;
#endif
    if (bytes <= SIZE_MAX / 2)
        *out = large ? large_block(bytes) : small_block(bytes);
    return *out ? SC_OK : sc_fail(SC_ENOMEM, "cpu: out of memory for %zu bytes", bytes);
}
void cpu_free(sc_device *dev, void *p)
{
    (void)dev;
    head h;
    if (!p)
        return;
    memcpy(&h, (char *)p - sizeof h, sizeof h);
    if (h.mapped)
        (void)munmap(h.base, h.mapped);
    else
        free(h.base);
}
/* Scattered rows of a block are touched at their own places only. */
void cpu_scattered(void *p, size_t bytes)
{
#ifndef __SANITIZE_ADDRESS__
    const uintptr_t page = 4096, first = ((uintptr_t)p + page - 1) & ~(page - 1),
                    end = ((uintptr_t)p + bytes) & ~(page - 1);
    if (bytes >= HUGE && end > first)
        (void)madvise((void *)first, end - first, MADV_NOHUGEPAGE);
#else
    (void)p, (void)bytes;
#endif
}
