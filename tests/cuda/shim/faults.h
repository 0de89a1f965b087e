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
/* A kernel that asked for more dynamic shared memory may have it; the other may not. */
int fault_dynamic(int ask_a, int launch_b);

/* ---- races, seen by watched kernels only; the results are right where threads are fibres ---- */
typedef enum fault_order {
    FAULT_SYNCTHREADS,
    FAULT_SYNCWARP,
    FAULT_SHUFFLE, /* which orders no memory */
    FAULT_NOTHING
} fault_order;
int fault_exchange(fault_order between, int *out); /* out [64] */
int fault_overwrite(int with_barrier, int *out);   /* out [64] */
typedef enum fault_fences {
    FAULT_FENCES,
    FAULT_NO_FENCE_WRITING,
    FAULT_NO_FENCE_READING
} fault_fences;
int fault_last_adds(fault_fences fences, int blocks, int *each, int *out);
int fault_one_place(int blocks, int threads, int *out); /* all write there */
int fault_misaligned(const float *from, float *out);    /* 32 bytes by 16-byte accesses */
#ifdef __cplusplus
}
#endif
#endif
