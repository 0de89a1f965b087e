/* count_alloc: a shared object for LD_PRELOAD that counts a program's heap allocations, of all its
 * threads, and at its end writes two numbers into the file $COUNT_ALLOC_FILE: those of C, and those
 * of C++'s operator new, which in our programs are the libraries'. Two runs of different length
 * tell what a step allocates (table.py). Hands everything on to the C library's own functions,
 * whose second names glibc exports.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size);
void *_Znwm(size_t size); /* operator new(unsigned long) */

static atomic_long allocations, news;

void *malloc(size_t size)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return __libc_calloc(count, size);
}
void *realloc(void *p, size_t size)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return __libc_realloc(p, size);
}
void *memalign(size_t alignment, size_t size)
{
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return __libc_memalign(alignment, size);
}
void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}
void *_Znwm(size_t size)
{
    atomic_fetch_add_explicit(&news, 1, memory_order_relaxed);
    void *p = __libc_malloc(size ? size : 1);
    if (!p)
        abort(); /* no exceptions from here */
    return p;
}
int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *p = memalign(alignment, size);
    if (!p)
        return ENOMEM;
    *out = p;
    return 0;
}

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("COUNT_ALLOC_FILE");
    FILE *f = path ? fopen(path, "we") : NULL;
    if (!f)
        return;
    fprintf(f, "%ld %ld\n", atomic_load(&allocations), atomic_load(&news));
    fclose(f);
}
