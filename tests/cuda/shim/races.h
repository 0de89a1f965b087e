/* Races between the threads of a launch. Kernels compiled with -fsanitize=thread (sc_cuda_watched)
 * call the functions of races.cpp at every access; every other kernel is not looked at.
 *
 * Two threads that touch the same bytes, one of them writing, need between them: in a block, a
 * __syncthreads; in a warp, that or a __syncwarp of all lanes (a shuffle moves registers and orders
 * no memory); across blocks, an atomic of the first behind a __threadfence, and of the second in
 * front of one.
 */
#ifndef SC_TESTS_CUDA_SHIM_RACES_H
#define SC_TESTS_CUDA_SHIM_RACES_H

#include <stddef.h>

/* What shim.cpp tells of the block that runs on this host thread. */
void races_block(bool first_of_launch);
void races_barrier(void);
void races_warp(unsigned warp);
void races_forget(const void *p, size_t bytes); /* the memory is another's from now on */

/* What it is asked. */
bool shim_own_stack(const void *p); /* of the running fibre, or no fibre runs */
void shim_wrong(const char *what);  /* a fault of the running fibre, with words that are copied */

#endif
