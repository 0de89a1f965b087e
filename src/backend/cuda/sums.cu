/* Sums over flat buffers in a fixed order, and the search for a value that is not finite. */
#include "device.cuh"

#include <math.h>

__global__ void __launch_bounds__(SC_BLOCK)
    parts_kernel(const float *__restrict__ x, int64_t count, bool squares, double *parts)
{
    SC_SHARED(double, slots, SC_WARP);
    double sum = 0;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * SC_BLOCK + threadIdx.x; i < count;
         i += static_cast<int64_t>(gridDim.x) * SC_BLOCK) {
        const double v = static_cast<double>(x[i]);
        sum += squares ? v * v : v;
    }
    sum = sc_block_sum(sum, slots);
    if (threadIdx.x == 0)
        parts[blockIdx.x] = sum;
}
__global__ void __launch_bounds__(SC_BLOCK)
    total_kernel(const double *__restrict__ parts, int count, double *out)
{
    SC_SHARED(double, slots, SC_WARP);
    double sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += SC_BLOCK)
        sum += parts[i];
    sum = sc_block_sum(sum, slots);
    if (threadIdx.x == 0)
        *out = sum;
}
__global__ void __launch_bounds__(SC_BLOCK)
    finite_kernel(const float *__restrict__ x, int64_t count, int *bad)
{
    bool found = false;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * SC_BLOCK + threadIdx.x; i < count;
         i += static_cast<int64_t>(gridDim.x) * SC_BLOCK)
        found = found || !isfinite(x[i]);
    if (found)
        atomicOr(bad, 1);
}

extern "C" int sc_cuda_sum(void *stream, const float *x, int64_t count, bool squares, double *parts,
                           double *out)
{
    const unsigned blocks = count > 0 ? sc_blocks(count, 4 * SC_BLOCK, SC_CUDA_SUM_PARTS) : 1;
    SC_LAUNCH(parts_kernel, blocks, SC_BLOCK, 0, sc_cuda_queue(stream), x, count, squares, parts);
    const int failed = sc_launched();
    if (failed != 0)
        return failed;
    SC_LAUNCH(total_kernel, 1, SC_BLOCK, 0, sc_cuda_queue(stream), parts, static_cast<int>(blocks),
              out);
    return sc_launched();
}
extern "C" int sc_cuda_check_finite(void *stream, const float *x, int64_t count, int *bad)
{
    if (count <= 0)
        return 0;
    SC_LAUNCH(finite_kernel, sc_blocks(count, 4 * SC_BLOCK, 132 * 8), SC_BLOCK, 0,
              sc_cuda_queue(stream), x, count, bad);
    return sc_launched();
}
