/* depthwise_conv2d: every channel alone, channels last, so that neighbouring threads take
 * neighbouring channels. Weights are PyTorch's [C][k * k].
 */
#include "device.cuh"

enum { TILE = 32, LANES = 8 };

struct place {
    int64_t n;
    int i, j, c;
};
/* Element e of [n][h][w][padded]. */
__device__ __forceinline__ place place_of(int64_t e, int h, int w, int padded)
{
    place p;
    p.c = static_cast<int>(e % padded);
    p.j = static_cast<int>(e / padded % w);
    p.i = static_cast<int>(e / padded / w % h);
    p.n = e / padded / w / h;
    return p;
}

template <typename X, typename Y>
__global__ void __launch_bounds__(SC_BLOCK)
    forward_kernel(sc_cuda_depthwise d, const X *__restrict__ x, const float *__restrict__ weight,
                   const float *__restrict__ bias, Y *y, int64_t count)
{
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    int64_t e = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    for (; e < count; e += step) {
        const place o = place_of(e, d.oh, d.ow, d.padded);
        float sum = 0.0f;
        if (o.c < d.plain) {
            const float *w = weight + static_cast<int64_t>(o.c) * d.kernel * d.kernel;
            sum = bias != nullptr ? bias[o.c] : 0.0f;
            for (int p = 0; p < d.kernel; p++)
                for (int q = 0; q < d.kernel; q++) {
                    const int r = o.i * d.stride - d.pad + p, s = o.j * d.stride - d.pad + q;
                    if (r >= 0 && r < d.h && s >= 0 && s < d.w)
                        sum += w[p * d.kernel + q] *
                               sc_get(x, ((o.n * d.h + r) * d.w + s) * d.padded + o.c);
                }
        }
        sc_put(y, e, sum);
    }
}
/* Every input pixel gathers from the outputs it is part of. */
template <typename X, typename Y>
__global__ void __launch_bounds__(SC_BLOCK)
    data_kernel(sc_cuda_depthwise d, const Y *__restrict__ dy, const float *__restrict__ weight,
                X *dx, bool add, int64_t count)
{
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    int64_t e = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    for (; e < count; e += step) {
        const place x = place_of(e, d.h, d.w, d.padded);
        float sum = 0.0f;
        if (x.c < d.plain) {
            const float *w = weight + static_cast<int64_t>(x.c) * d.kernel * d.kernel;
            for (int p = 0; p < d.kernel; p++)
                for (int q = 0; q < d.kernel; q++) {
                    const int r = x.i + d.pad - p, s = x.j + d.pad - q;
                    if (r < 0 || s < 0 || r % d.stride != 0 || s % d.stride != 0 ||
                        r / d.stride >= d.oh || s / d.stride >= d.ow)
                        continue;
                    const int64_t at = (x.n * d.oh + r / d.stride) * d.ow + s / d.stride;
                    sum += w[p * d.kernel + q] * sc_get(dy, at * d.padded + x.c);
                }
        }
        sc_emit1(dx, e, sum, add);
    }
}
/* grid (tiles of channels, taps) */
template <typename X, typename Y>
__global__ void __launch_bounds__(TILE *LANES)
    weight_kernel(sc_cuda_depthwise d, const X *__restrict__ x, const Y *__restrict__ dy,
                  float *dweight)
{
    SC_SHARED(double, part, TILE *LANES);
    const int lane = static_cast<int>(threadIdx.y), column = static_cast<int>(threadIdx.x);
    const int c = static_cast<int>(blockIdx.x) * TILE + column;
    const int p = static_cast<int>(blockIdx.y) / d.kernel,
              q = static_cast<int>(blockIdx.y) % d.kernel;
    const int64_t pixels = d.n * d.oh * d.ow;
    double sum = 0;
    for (int64_t k = lane; c < d.plain && k < pixels; k += LANES) {
        const int j = static_cast<int>(k % d.ow), i = static_cast<int>(k / d.ow % d.oh);
        const int r = i * d.stride - d.pad + p, s = j * d.stride - d.pad + q;
        if (r >= 0 && r < d.h && s >= 0 && s < d.w)
            sum += static_cast<double>(sc_get(dy, k * d.padded + c)) *
                   static_cast<double>(
                       sc_get(x, ((k / d.ow / d.oh * d.h + r) * d.w + s) * d.padded + c));
    }
    part[lane * TILE + column] = sum;
    __syncthreads();
    if (lane != 0 || c >= d.plain)
        return;
    for (int k = 1; k < LANES; k++)
        sum += part[k * TILE + column];
    dweight[(static_cast<int64_t>(c) * d.kernel + p) * d.kernel + q] = static_cast<float>(sum);
}

static unsigned blocks_of(int64_t count)
{
    return sc_blocks(count, SC_BLOCK, 132 * 16);
}
extern "C" int sc_cuda_depthwise_run(void *stream, const sc_cuda_depthwise *d, sc_cuda_in x,
                                     const float *weight, const float *bias, sc_cuda_out y)
{
    const int64_t count = d->n * d->oh * d->ow * d->padded;
    if (count <= 0)
        return 0;
    SC_FOR_TYPE(x.type, X,
                SC_FOR_TYPE(y.type, Y,
                            SC_LAUNCH((forward_kernel<X, Y>), blocks_of(count), SC_BLOCK, 0,
                                      sc_cuda_queue(stream), *d, static_cast<const X *>(x.p),
                                      weight, bias, static_cast<Y *>(y.p), count)));
    return sc_launched();
}
extern "C" int sc_cuda_depthwise_data(void *stream, const sc_cuda_depthwise *d, sc_cuda_in dy,
                                      const float *weight, sc_cuda_out dx)
{
    const int64_t count = d->n * d->h * d->w * d->padded;
    if (count <= 0)
        return 0;
    SC_FOR_TYPE(dx.type, X,
                SC_FOR_TYPE(dy.type, Y,
                            SC_LAUNCH((data_kernel<X, Y>), blocks_of(count), SC_BLOCK, 0,
                                      sc_cuda_queue(stream), *d, static_cast<const Y *>(dy.p),
                                      weight, static_cast<X *>(dx.p), dx.add, count)));
    return sc_launched();
}
extern "C" int sc_cuda_depthwise_weight(void *stream, const sc_cuda_depthwise *d, sc_cuda_in x,
                                        sc_cuda_in dy, float *dweight)
{
    const dim3 grid(static_cast<unsigned>(sc_ceil(d->plain, TILE)),
                    static_cast<unsigned>(d->kernel * d->kernel));
    SC_FOR_TYPE(x.type, X,
                SC_FOR_TYPE(dy.type, Y,
                            SC_LAUNCH((weight_kernel<X, Y>), grid, dim3(TILE, LANES), 0,
                                      sc_cuda_queue(stream), *d, static_cast<const X *>(x.p),
                                      static_cast<const Y *>(dy.p), dweight)));
    return sc_launched();
}
