/* What the kernels share: element types, 16-byte accesses, reductions in a fixed order. */
#ifndef SC_BACKEND_CUDA_DEVICE_CUH
#define SC_BACKEND_CUDA_DEVICE_CUH

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "kernels.h"

#ifndef SC_LAUNCH /* the host build of the tests brings its own */
#define SC_LAUNCH(kernel, grid, block, shared, stream, ...) \
    (kernel)<<<(grid), (block), (shared), (stream)>>>(__VA_ARGS__)
#define SC_SHARED(type, name, count) __shared__ type name[count]
#define SC_SHARED_DYNAMIC(type, name)                        \
    extern __shared__ __align__(16) unsigned char name##_[]; \
    type *const name = reinterpret_cast<type *>(name##_)
#define SC_UNROLL _Pragma("unroll")
#endif

typedef __nv_bfloat16 sc_bf16;
enum { SC_WARP = 32, SC_BLOCK = 256 };
#define SC_ALL_LANES 0xffffffffu

/* BODY once for each element type, named T inside. */
#define SC_FOR_TYPE(tag, T, ...)    \
    do {                            \
        if ((tag) == SC_CUDA_F32) { \
            typedef float T;        \
            __VA_ARGS__;            \
        } else {                    \
            typedef sc_bf16 T;      \
            __VA_ARGS__;            \
        }                           \
    } while (0)

static inline cudaStream_t sc_cuda_queue(void *stream)
{
    return static_cast<cudaStream_t>(stream);
}
static inline int sc_launched(void)
{
    return static_cast<int>(cudaGetLastError());
}
static inline int64_t sc_ceil(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}
/* Blocks for `work` pieces of which a block takes `each`, in a grid-stride loop. */
static inline unsigned sc_blocks(int64_t work, int64_t each, int64_t most)
{
    int64_t n = sc_ceil(work, each);
    return static_cast<unsigned>(n < most ? n : most);
}

__device__ __forceinline__ float sc_get(const float *p, int64_t i)
{
    return p[i];
}
__device__ __forceinline__ float sc_get(const sc_bf16 *p, int64_t i)
{
    return __bfloat162float(p[i]);
}
__device__ __forceinline__ void sc_put(float *p, int64_t i, float v)
{
    p[i] = v;
}
__device__ __forceinline__ void sc_put(sc_bf16 *p, int64_t i, float v)
{
    p[i] = __float2bfloat16_rn(v);
}

/* V neighbouring elements as floats; for V = 8 by 16-byte accesses. */
template <int V> struct sc_vec {
    float v[V];
};

__device__ __forceinline__ void sc_unpack(unsigned u, float *v)
{
    sc_bf16 pair[2];
    memcpy(pair, &u, sizeof u);
    v[0] = __bfloat162float(pair[0]);
    v[1] = __bfloat162float(pair[1]);
}
__device__ __forceinline__ unsigned sc_pack(float a, float b)
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
    unsigned u;
    memcpy(&u, &pair, sizeof u);
    return u;
}

template <int V, typename T> __device__ __forceinline__ sc_vec<V> sc_load(const T *p, int64_t i)
{
    sc_vec<V> r;
    if constexpr (V == 8 && sizeof(T) == 2) {
        const uint4 u = *reinterpret_cast<const uint4 *>(p + i);
        sc_unpack(u.x, r.v);
        sc_unpack(u.y, r.v + 2);
        sc_unpack(u.z, r.v + 4);
        sc_unpack(u.w, r.v + 6);
    } else if constexpr (V == 8) {
        const float4 a = *reinterpret_cast<const float4 *>(p + i);
        const float4 b = *reinterpret_cast<const float4 *>(p + i + 4);
        r.v[0] = a.x, r.v[1] = a.y, r.v[2] = a.z, r.v[3] = a.w;
        r.v[4] = b.x, r.v[5] = b.y, r.v[6] = b.z, r.v[7] = b.w;
    } else {
        for (int k = 0; k < V; k++)
            r.v[k] = sc_get(p, i + k);
    }
    return r;
}
template <int V, typename T> __device__ __forceinline__ void sc_store(T *p, int64_t i, sc_vec<V> r)
{
    if constexpr (V == 8 && sizeof(T) == 2) {
        uint4 u;
        u.x = sc_pack(r.v[0], r.v[1]);
        u.y = sc_pack(r.v[2], r.v[3]);
        u.z = sc_pack(r.v[4], r.v[5]);
        u.w = sc_pack(r.v[6], r.v[7]);
        *reinterpret_cast<uint4 *>(p + i) = u;
    } else if constexpr (V == 8) {
        float4 a, b;
        a.x = r.v[0], a.y = r.v[1], a.z = r.v[2], a.w = r.v[3];
        b.x = r.v[4], b.y = r.v[5], b.z = r.v[6], b.w = r.v[7];
        *reinterpret_cast<float4 *>(p + i) = a;
        *reinterpret_cast<float4 *>(p + i + 4) = b;
    } else {
        for (int k = 0; k < V; k++)
            sc_put(p, i + k, r.v[k]);
    }
}
/* Stores, or adds to what is there. */
template <int V, typename T>
__device__ __forceinline__ void sc_emit(T *p, int64_t i, sc_vec<V> r, bool add)
{
    if (add) {
        const sc_vec<V> old = sc_load<V>(p, i);
        for (int k = 0; k < V; k++)
            r.v[k] += old.v[k];
    }
    sc_store<V>(p, i, r);
}
template <typename T> __device__ __forceinline__ void sc_emit1(T *p, int64_t i, float v, bool add)
{
    sc_put(p, i, add ? sc_get(p, i) + v : v);
}

/* The sum over a full warp: every lane gets the same bits. */
template <typename T> __device__ __forceinline__ T sc_warp_sum(T v)
{
    for (int k = SC_WARP / 2; k > 0; k /= 2)
        v += __shfl_xor_sync(SC_ALL_LANES, v, k);
    return v;
}
template <typename T> __device__ __forceinline__ T sc_warp_max(T v)
{
    for (int k = SC_WARP / 2; k > 0; k /= 2) {
        const T o = __shfl_xor_sync(SC_ALL_LANES, v, k);
        v = o > v ? o : v;
    }
    return v;
}
/* The sum over a block of whole warps; slots: shared [32]. Thread 0 gets it. */
template <typename T> __device__ __forceinline__ T sc_block_sum(T v, T *slots)
{
    const unsigned lane = threadIdx.x % SC_WARP, warp = threadIdx.x / SC_WARP;
    v = sc_warp_sum(v);
    if (lane == 0)
        slots[warp] = v;
    __syncthreads();
    v = 0;
    if (threadIdx.x == 0)
        for (unsigned w = 0; w < blockDim.x / SC_WARP; w++)
            v += slots[w];
    __syncthreads();
    return v;
}

#endif
