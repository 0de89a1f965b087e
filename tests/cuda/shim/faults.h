/* Kernels with mistakes that the shim has to see; each returns cudaGetLastError's value. */
#ifndef SC_TESTS_CUDA_SHIM_FAULTS_H
#define SC_TESTS_CUDA_SHIM_FAULTS_H

#ifdef __cplusplus
extern "C" {
#endif
int fault_divergent_barrier(void); /* half of the threads skip it */
int fault_two_barriers(void);      /* the halves wait at different ones */
int fault_partial_shuffle(void);   /* a lane of the mask has left */
int fault_lane_outside_mask(void);
int fault_behind_shared(void); /* one float behind a static array; not under ASan */
int fault_too_much_shared(void);
int fault_too_many_threads(void);
int fault_empty_grid(void);
/* Writes its neighbour's thread index: right with the barrier in both orders, wrong without. */
int fault_neighbours(int with_barrier, int *out, int threads);
/* A whole block's sum through shuffles and shared memory; out [blocks]. */
int fault_free_sum(const float *x, int each, int blocks, float *out);
#ifdef __cplusplus
}
#endif
#endif
