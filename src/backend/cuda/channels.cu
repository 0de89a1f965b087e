/* A number for each channel of an image: layer_scale (one for all images), scale_channels (one for
 * each image), and the sums over pixels that are their gradients.
 */
#include "device.cuh"

enum { TILE = 32, LANES = 8 };

/* y[i] = x[i] scale[image, channel]; scale: plain [images][plain], or [padded] for all images */
template <typename X, typename S, typename Y>
__global__ void __launch_bounds__(SC_BLOCK)
    scale_kernel(const X *__restrict__ x, const S *__restrict__ s, Y *y, bool add, int64_t count,
                 int64_t image, int padded, int plain, bool each)
{
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    for (; i < count; i += step) {
        const int c = static_cast<int>(i % padded);
        const float f = c >= plain ? 0.0f : sc_get(s, each ? i / image * plain + c : c);
        sc_emit1(y, i, sc_get(x, i) * f, add);
    }
}
/* y = x + gamma h */
template <typename X, typename H, typename Y>
__global__ void __launch_bounds__(SC_BLOCK)
    residual_kernel(const X *__restrict__ x, const H *__restrict__ h,
                    const float *__restrict__ gamma, Y *y, int64_t count, int padded)
{
    const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    for (; i < count; i += step)
        sc_put(y, i, sc_get(x, i) + gamma[i % padded] * sc_get(h, i));
}
/* out[segment][c] = sum over the segment's rows of a b; grid (tiles of channels, segments) */
template <typename A, typename B, typename Y>
__global__ void __launch_bounds__(TILE *LANES)
    dot_kernel(const A *__restrict__ a, const B *__restrict__ b, Y *out, bool add, int64_t rows,
               int padded, int plain)
{
    SC_SHARED(double, part, TILE *LANES);
    const int lane = static_cast<int>(threadIdx.y), column = static_cast<int>(threadIdx.x);
    const int c = static_cast<int>(blockIdx.x) * TILE + column;
    const int64_t first = static_cast<int64_t>(blockIdx.y) * rows;
    double sum = 0;
    for (int64_t r = lane; c < plain && r < rows; r += LANES) {
        const int64_t i = (first + r) * padded + c;
        sum += static_cast<double>(sc_get(a, i)) * static_cast<double>(sc_get(b, i));
    }
    part[lane * TILE + column] = sum;
    __syncthreads();
    if (lane != 0 || c >= plain)
        return;
    for (int k = 1; k < LANES; k++)
        sum += part[k * TILE + column];
    sc_emit1(out, static_cast<int64_t>(blockIdx.y) * plain + c, static_cast<float>(sum), add);
}

static unsigned blocks_of(int64_t count)
{
    return sc_blocks(count, SC_BLOCK, 132 * 8);
}
extern "C" int sc_cuda_scale_channels(void *stream, const sc_cuda_channels *k, sc_cuda_in x,
                                      sc_cuda_in s, bool each, sc_cuda_out y)
{
    const int64_t image = k->pixels * k->padded, count = k->images * image;
    if (count <= 0)
        return 0;
    SC_FOR_TYPE(
        x.type, X,
        SC_FOR_TYPE(s.type, S,
                    SC_FOR_TYPE(y.type, Y,
                                SC_LAUNCH((scale_kernel<X, S, Y>), blocks_of(count), SC_BLOCK, 0,
                                          sc_cuda_queue(stream), static_cast<const X *>(x.p),
                                          static_cast<const S *>(s.p), static_cast<Y *>(y.p), y.add,
                                          count, image, k->padded, k->plain, each))));
    return sc_launched();
}
extern "C" int sc_cuda_layer_scale(void *stream, const sc_cuda_channels *k, sc_cuda_in x,
                                   sc_cuda_in h, const float *gamma, sc_cuda_out y)
{
    const int64_t count = k->images * k->pixels * k->padded;
    if (count <= 0)
        return 0;
    SC_FOR_TYPE(
        x.type, X,
        SC_FOR_TYPE(h.type, H,
                    SC_FOR_TYPE(y.type, Y,
                                SC_LAUNCH((residual_kernel<X, H, Y>), blocks_of(count), SC_BLOCK, 0,
                                          sc_cuda_queue(stream), static_cast<const X *>(x.p),
                                          static_cast<const H *>(h.p), gamma, static_cast<Y *>(y.p),
                                          count, k->padded))));
    return sc_launched();
}
extern "C" int sc_cuda_channel_dot(void *stream, const sc_cuda_channels *k, sc_cuda_in a,
                                   sc_cuda_in b, bool each, sc_cuda_out out)
{
    const int64_t segments = each ? k->images : 1, rows = (each ? 1 : k->images) * k->pixels;
    const dim3 grid(static_cast<unsigned>(sc_ceil(k->plain, TILE)),
                    static_cast<unsigned>(segments));
    if (segments <= 0)
        return 0;
    SC_FOR_TYPE(
        a.type, A,
        SC_FOR_TYPE(b.type, B,
                    SC_FOR_TYPE(out.type, Y,
                                SC_LAUNCH((dot_kernel<A, B, Y>), grid, dim3(TILE, LANES), 0,
                                          sc_cuda_queue(stream), static_cast<const A *>(a.p),
                                          static_cast<const B *>(b.p), static_cast<Y *>(out.p),
                                          out.add, rows, k->padded, k->plain))));
    return sc_launched();
}
