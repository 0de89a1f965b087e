/* Between the files of the shim: device work, memory and what a call may do while its thread
 * records. */
#ifndef SC_TESTS_CUDA_SHIM_DEVICE_H
#define SC_TESTS_CUDA_SHIM_DEVICE_H

#include "cuda_runtime.h"

/* While one lives, device memory can be touched (SHIM_GUARD). */
struct device_work {
    device_work();
    ~device_work();
};
/* Runs all that this thread's streams hold. */
void shim_drain(void);
/* Counts the call; true: it is the one that a test wants to fail (shim_fail_call). */
bool shim_called(const char *name);
/* A call that no thread may make while it records: its recordings are spoilt. */
cudaError_t shim_unsafe(const char *name);
/* What a call failed with stays with its thread until cudaGetLastError. Returns e. */
cudaError_t shim_keep(cudaError_t e);
/* The words of a refusal, for cudaGetErrorString. */
void shim_refused(const char *words);
/* The stream records. */
bool shim_recording(cudaStream_t stream);
/* What the stream records is spoilt by a call of this name. */
cudaError_t shim_spoil(cudaStream_t stream, const char *name);

#endif
