/* What the stand-in headers and the tests see of the shim. */
#ifndef SC_TESTS_CUDA_SHIM_H
#define SC_TESTS_CUDA_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shim_index {
    unsigned x, y, z;
} shim_index;
typedef struct shim_place {
    shim_index thread, block, block_dim, grid_dim;
    unsigned lane, number; /* number: of the thread in its block */
} shim_place;
const shim_place *shim_here(void); /* of the running fibre */

int shim_barrier(int vote, const char *file, int line); /* any thread's vote */
uint64_t shim_exchange(unsigned mask, uint64_t value, int from, const char *file, int line);
void shim_warp_barrier(unsigned mask, const char *file, int line);
void shim_fence(void);            /* __threadfence */
void shim_atomic(const void *at); /* an atomic access is about to be made */
unsigned shim_ballot(unsigned mask, int vote, const char *file, int line);
void *shim_shared(const void *tag, size_t bytes);
void *shim_shared_dynamic(void);

/* For tests. Threads and blocks in descending order: of this host thread's later launches. */
void shim_set_order(int descending);
/* The newest fault of this host thread ("" when there was none), and forgetting it. */
const char *shim_fault(void);
void shim_clear_fault(void);
/* Launches, and device allocations alive, of the whole process. */
long shim_launches(void);
long shim_allocations(void);
/* Calls of the runtime that queue, copy, wait or ask, launches included, of the whole process. */
long shim_calls(void);
/* The nth call of this name from now on fails. */
void shim_fail_call(const char *name, long nth);
/* Seed of the order in which streams run. */
void shim_set_schedule(unsigned long seed);
/* cudaStreamWaitEvent's calls are counted from now on, and the nth (from 0) does nothing; -1: none.
 */
void shim_drop_wait(long n);
long shim_waits(void);
/* cudaDeviceSynchronize, by which libraries' handles end. */
int shim_wait_for_device(void);

#ifdef __cplusplus
}
#endif
#endif
