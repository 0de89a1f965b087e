/* Planes [n][c][plane] of PyTorch's layouts <-> channels last with padding, through a tile of
 * shared memory so that both sides move whole lines. And what cuDNN leaves to us: the padding of a
 * filter's gradient, a bias.
 */
#include "device.cuh"

enum { SIDE = 32, STEP = 8 };

/* grid (plane tiles, channel tiles, n), block (SIDE, STEP) */
template <typename T>
__global__ void __launch_bounds__(SIDE *STEP)
    to_last_kernel(const float *__restrict__ planes, T *__restrict__ y, int c, int64_t plane,
                   int padded)
{
    SC_SHARED(float, tile, SIDE *(SIDE + 1));
    const int64_t p0 = static_cast<int64_t>(blockIdx.x) * SIDE, image = blockIdx.z;
    const int c0 = static_cast<int>(blockIdx.y) * SIDE;
    for (int k = static_cast<int>(threadIdx.y); k < SIDE; k += STEP) {
        const int64_t p = p0 + threadIdx.x;
        tile[k * (SIDE + 1) + static_cast<int>(threadIdx.x)] =
            c0 + k < c && p < plane ? planes[(image * c + c0 + k) * plane + p] : 0.0f;
    }
    __syncthreads();
    const int channel = c0 + static_cast<int>(threadIdx.x);
    for (int k = static_cast<int>(threadIdx.y); k < SIDE; k += STEP)
        if (channel < padded && p0 + k < plane)
            sc_put(y, (image * plane + p0 + k) * padded + channel,
                   tile[static_cast<int>(threadIdx.x) * (SIDE + 1) + k]);
}
template <typename T>
__global__ void __launch_bounds__(SIDE *STEP)
    to_planes_kernel(const T *__restrict__ x, float *__restrict__ planes, int c, int64_t plane,
                     int padded)
{
    SC_SHARED(float, tile, SIDE *(SIDE + 1));
    const int64_t p0 = static_cast<int64_t>(blockIdx.x) * SIDE, image = blockIdx.z;
    const int c0 = static_cast<int>(blockIdx.y) * SIDE;
    const int channel = c0 + static_cast<int>(threadIdx.x);
    for (int k = static_cast<int>(threadIdx.y); k < SIDE; k += STEP)
        tile[k * (SIDE + 1) + static_cast<int>(threadIdx.x)] =
            channel < c && p0 + k < plane ? sc_get(x, (image * plane + p0 + k) * padded + channel)
                                          : 0.0f;
    __syncthreads();
    const int64_t p = p0 + threadIdx.x;
    for (int k = static_cast<int>(threadIdx.y); k < SIDE; k += STEP)
        if (c0 + k < c && p < plane)
            planes[(image * c + c0 + k) * plane + p] =
                tile[static_cast<int>(threadIdx.x) * (SIDE + 1) + k];
}

static dim3 tiles(int64_t n, int channels, int64_t plane)
{
    return dim3(static_cast<unsigned>(sc_ceil(plane, SIDE)),
                static_cast<unsigned>(sc_ceil(channels, SIDE)), static_cast<unsigned>(n));
}

extern "C" int sc_cuda_to_channels_last(void *stream, const float *planes, sc_cuda_out y, int64_t n,
                                        int c, int64_t plane, int padded)
{
    if (n <= 0 || plane <= 0)
        return 0;
    SC_FOR_TYPE(y.type, T,
                SC_LAUNCH((to_last_kernel<T>), tiles(n, padded, plane), dim3(SIDE, STEP), 0,
                          sc_cuda_queue(stream), planes, static_cast<T *>(y.p), c, plane, padded));
    return sc_launched();
}
extern "C" int sc_cuda_to_planes(void *stream, sc_cuda_in x, float *planes, int64_t n, int c,
                                 int64_t plane, int padded)
{
    if (n <= 0 || plane <= 0)
        return 0;
    SC_FOR_TYPE(x.type, T,
                SC_LAUNCH((to_planes_kernel<T>), tiles(n, c, plane), dim3(SIDE, STEP), 0,
                          sc_cuda_queue(stream), static_cast<const T *>(x.p), planes, c, plane,
                          padded));
    return sc_launched();
}

template <typename T>
__global__ void __launch_bounds__(SC_BLOCK)
    filter_gradient_kernel(const T *dw, float *grad, int64_t o, int c, int padded, int64_t row,
                           int64_t count)
{
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    for (; i < count; i += step)
        grad[i] = i / row < o && i % padded < c ? sc_get(dw, i) : 0.0f;
}
extern "C" int sc_cuda_filter_gradient(void *stream, sc_cuda_in dw, float *grad, int64_t o, int c,
                                       int taps)
{
    const int padded = (c + 7) / 8 * 8;
    const int64_t row = static_cast<int64_t>(taps) * padded, count = (o + 7) / 8 * 8 * row;
    if (count <= 0 || (dw.p == grad && padded == c && o % 8 == 0))
        return 0;
    if (padded == c && o % 8 == 0)
        return sc_cuda_convert(stream, dw, {grad, SC_CUDA_F32, false}, count);
    SC_FOR_TYPE(dw.type, T,
                SC_LAUNCH((filter_gradient_kernel<T>), sc_blocks(count, SC_BLOCK, 132 * 8),
                          SC_BLOCK, 0, sc_cuda_queue(stream), static_cast<const T *>(dw.p), grad, o,
                          c, padded, row, count));
    return sc_launched();
}

/* A thread a column, so that its bias is read once. */
template <typename T>
__global__ void __launch_bounds__(SC_BLOCK)
    bias_kernel(T *y, const float *__restrict__ bias, int64_t rows, int width)
{
    const int e = static_cast<int>(blockIdx.x * SC_WARP + threadIdx.x);
    if (e >= width)
        return;
    const float b = bias[e];
    const int64_t step = static_cast<int64_t>(gridDim.y) * blockDim.y;
    int64_t r = static_cast<int64_t>(blockIdx.y) * blockDim.y + threadIdx.y;
    for (; r < rows; r += step)
        sc_emit1(y, r * width + e, b, true);
}
extern "C" int sc_cuda_add_bias(void *stream, sc_cuda_out y, const float *bias, int64_t rows,
                                int width)
{
    enum { HIGH = SC_BLOCK / SC_WARP };
    const dim3 grid(static_cast<unsigned>(sc_ceil(width, SC_WARP)), sc_blocks(rows, HIGH, 2048));
    if (rows <= 0 || width <= 0)
        return 0;
    SC_FOR_TYPE(y.type, T,
                SC_LAUNCH((bias_kernel<T>), grid, dim3(SC_WARP, HIGH), 0, sc_cuda_queue(stream),
                          static_cast<T *>(y.p), bias, rows, width));
    return sc_launched();
}
