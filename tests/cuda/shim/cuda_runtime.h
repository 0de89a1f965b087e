/* A stand-in for CUDA's header, for tests only: the .cu files compile as C++ and run on the host.
 *
 * A launch runs its blocks one after another; the threads of a block are fibres that change hands
 * at barriers and warp functions. What the device leaves undefined is a fault here: a barrier or a
 * warp function that not all its threads reach from the same place, a shuffle from a lane outside
 * the mask, more shared memory (without asking for it, kernel by kernel) or threads than a launch
 * may have, writing behind shared memory, and races (races.h).
 * Shared memory starts as 0xff bytes (NaN) in every block. Warps run as far as they get, one after
 * the other in ascending or descending order (shim_set_order): a missing barrier shows as a
 * different result.
 */
#ifndef SC_TESTS_CUDA_SHIM_RUNTIME_H
#define SC_TESTS_CUDA_SHIM_RUNTIME_H

#include "shim.h"

#include <functional>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <tuple>

#define SC_CUDA_SHIM 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

#define threadIdx (shim_here()->thread)
#define blockIdx (shim_here()->block)
#define blockDim (shim_here()->block_dim)
#define gridDim (shim_here()->grid_dim)

inline void __syncthreads(const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    shim_barrier(0, file, line);
}
inline int __syncthreads_or(int vote, const char *file = __builtin_FILE(),
                            int line = __builtin_LINE())
{
    return shim_barrier(vote, file, line);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, const char *file = __builtin_FILE(),
                       int line = __builtin_LINE())
{
    shim_warp_barrier(mask, file, line);
}

template <typename T>
inline T shim_shuffle(unsigned mask, T value, int from, const char *file, int line)
{
    static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves at most 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = shim_exchange(mask, bits, from, file, line);
    memcpy(&value, &bits, sizeof value);
    return value;
}
template <typename T>
inline T __shfl_xor_sync(unsigned mask, T value, int lanes, const char *file = __builtin_FILE(),
                         int line = __builtin_LINE())
{
    return shim_shuffle(mask, value, (int)shim_here()->lane ^ lanes, file, line);
}
template <typename T>
inline T __shfl_sync(unsigned mask, T value, int from, const char *file = __builtin_FILE(),
                     int line = __builtin_LINE())
{
    return shim_shuffle(mask, value, from & 31, file, line);
}
inline unsigned __ballot_sync(unsigned mask, int vote, const char *file = __builtin_FILE(),
                              int line = __builtin_LINE())
{
    return shim_ballot(mask, vote, file, line);
}
inline int __any_sync(unsigned mask, int vote, const char *file = __builtin_FILE(),
                      int line = __builtin_LINE())
{
    return shim_ballot(mask, vote, file, line) != 0;
}

#define SHIM_ATOMIC __attribute__((no_sanitize_thread, noinline)) inline
SHIM_ATOMIC int atomicMax(int *p, int v)
{
    shim_atomic(p);
    int old = *p;
    *p = v > old ? v : old;
    return old;
}
SHIM_ATOMIC int atomicOr(int *p, int v)
{
    shim_atomic(p);
    int old = *p;
    *p = old | v;
    return old;
}
SHIM_ATOMIC unsigned atomicInc(unsigned *p, unsigned last)
{
    shim_atomic(p);
    unsigned old = *p;
    *p = old >= last ? 0 : old + 1;
    return old;
}
inline void __threadfence(void)
{
    shim_fence();
}

inline int min(int a, int b)
{
    return a < b ? a : b;
}
inline int max(int a, int b)
{
    return a > b ? a : b;
}

/* The files are compiled with -ffp-contract=off: these round as they are told. */
inline float __fmul_rn(float a, float b)
{
    return a * b;
}
inline float __fadd_rn(float a, float b)
{
    return a + b;
}
inline float __fdiv_rn(float a, float b)
{
    return a / b;
}
inline float __fsqrt_rn(float a)
{
    return sqrtf(a);
}

#define SC_LAUNCH(kernel, grid, block, shared, stream, ...) \
    shim_launch((grid), (block), (shared), (stream), &kernel __VA_OPT__(, ) __VA_ARGS__)
#define SC_UNROLL
#define SC_SHARED(type, name, count) \
    static char name##_tag;          \
    type *const name = (type *)shim_shared(&name##_tag, sizeof(type) * (size_t)(count))
#define SC_SHARED_DYNAMIC(type, name) type *const name = (type *)shim_shared_dynamic()

/* ---- the runtime ---- */
typedef enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInsufficientDriver = 35,
    cudaErrorDevicesUnavailable = 46,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorNoKernelImageForDevice = 209,
    cudaErrorECCUncorrectable = 214,
    cudaErrorNotReady = 600,
    cudaErrorLaunchFailure = 719,
    cudaErrorSystemNotReady = 802,
    cudaErrorSystemDriverMismatch = 803,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorStreamCaptureMerge = 902,
    cudaErrorStreamCaptureUnmatched = 903,
    cudaErrorStreamCaptureUnjoined = 904,
    cudaErrorStreamCaptureIsolation = 905,
    cudaErrorCapturedEvent = 907,
    cudaErrorStreamCaptureWrongThread = 908
} cudaError_t;
typedef struct shim_stream *cudaStream_t;
typedef struct shim_event *cudaEvent_t;
typedef struct shim_graph *cudaGraph_t;
typedef struct shim_graph_exec *cudaGraphExec_t;
typedef enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 } cudaStreamCaptureMode;
typedef enum cudaMemcpyKind { cudaMemcpyDefault = 4 } cudaMemcpyKind;
typedef enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8
} cudaFuncAttribute;
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaHostAllocDefault = 0 };
typedef struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem, sharedMemPerBlockOptin;
    int major, minor, multiProcessorCount;
    struct {
        char bytes[16];
    } uuid;
} cudaDeviceProp;

cudaError_t cudaGetLastError(void);
const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes);
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long flags);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t shim_func_limit(const void *kernel, cudaFuncAttribute a, int value);
template <typename F>
inline cudaError_t cudaFuncSetAttribute(F *kernel, cudaFuncAttribute a, int value)
{
    return shim_func_limit((const void *)kernel, a, value);
}

struct shim_config {
    dim3 grid, block;
    size_t shared;
    const void *kernel;
};
bool shim_fits(const shim_config &c); /* or sets cudaErrorInvalidConfiguration */
void shim_run(const shim_config &c, const std::function<void()> &body);
/* Runs at once on the default stream. */
void shim_push(cudaStream_t stream, std::function<void()> work);
/* Everything queued, and then the work, now: for collectives, whose peers wait in the same call.
 * Recorded, a launch of the graph does so. */
void shim_now(cudaStream_t stream, const std::function<void()> &work);
template <typename... P, typename... A>
void shim_launch(dim3 grid, dim3 block, size_t shared, cudaStream_t stream, void (*kernel)(P...),
                 A... arguments)
{
    const shim_config c = {grid, block, shared, (const void *)kernel};
    if (!shim_fits(c))
        return;
    std::tuple<P...> kept(static_cast<P>(arguments)...);
    shim_push(stream, [c, kernel, kept] { shim_run(c, [&] { std::apply(kernel, kept); }); });
}
/* For what stands in for libraries: bytes from p on are one live allocation's, else a fault is set.
 */
bool shim_device_memory(const void *p, size_t bytes, const char *what);
void shim_set_error(cudaError_t e, const char *fault);
cudaError_t shim_take_error(void);

#endif
