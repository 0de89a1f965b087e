/* Planes [n][c][plane] of PyTorch's layouts <-> channels last with padding, through a tile of
 * shared memory so that both sides move whole lines. Serves images (plane = h * w) and weights (n =
 * O, plane = k * k).
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
