/* f over many elements, eight at a time. */
#ifndef SC_BACKEND_CUDA_SWEEP_CUH
#define SC_BACKEND_CUDA_SWEEP_CUH

#include "device.cuh"

enum { SWEEP_MOST = 132 * 8 }; /* blocks: eight of 256 threads fill a multiprocessor */

/* f over `count` elements: `whole` times eight, then the rest one by one. */
template <typename F> __device__ __forceinline__ void sweep(int64_t count, int64_t whole, F f)
{
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    for (int64_t k = first; k < whole; k += step)
        f.template run<8>(k * 8);
    for (int64_t i = whole * 8 + first; i < count; i += step)
        f.template run<1>(i);
}
static unsigned sweep_blocks(int64_t count)
{
    return sc_blocks(count, 8 * SC_BLOCK, SWEEP_MOST);
}

template <typename F>
__global__ void __launch_bounds__(SC_BLOCK) sweep_kernel(int64_t count, int64_t whole, F f)
{
    sweep(count, whole, f);
}
template <typename F> static int sweep_run(void *stream, int64_t count, F f, bool aligned = true)
{
    if (count <= 0)
        return 0;
    SC_LAUNCH((sweep_kernel<F>), sweep_blocks(count), SC_BLOCK, 0, sc_cuda_queue(stream), count,
              aligned ? count / 8 : 0, f);
    return sc_launched();
}

#endif
