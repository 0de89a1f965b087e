/* A number for each channel of an image: layer_scale (one for all images), scale_channels (one for
 * each image), and the sums over pixels that are their gradients.
 */
#include "columns.cuh"

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
/* groups are images, or there is one of all */
template <typename A, typename B, typename Y> struct dot_sum {
    const A *__restrict__ a;
    const B *__restrict__ b;
    Y *out;
    bool to_add;
    int64_t rows; /* of a group */
    int padded, plain;
    __device__ __forceinline__ void add(int64_t r, int c, int group, float sums[1]) const
    {
        const int64_t i = (group * rows + r) * padded + c;
        sums[0] += sc_get(a, i) * sc_get(b, i);
    }
    __device__ __forceinline__ void put(int, int c, int group, double sum) const
    {
        sc_emit1(out, static_cast<int64_t>(group) * plain + c, static_cast<float>(sum), to_add);
    }
};

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
extern "C" size_t sc_cuda_channel_parts(const sc_cuda_channels *k, bool each)
{
    return k->images <= 0 ? 0
           : each         ? column_parts(k->pixels, k->plain, 1, static_cast<int>(k->images))
                          : column_parts(k->images * k->pixels, k->plain, 1, 1);
}
extern "C" int sc_cuda_channel_dot(void *stream, const sc_cuda_channels *k, sc_cuda_in a,
                                   sc_cuda_in b, bool each, sc_cuda_out out, double *parts)
{
    const int groups = each ? static_cast<int>(k->images) : 1;
    const int64_t rows = (each ? 1 : k->images) * k->pixels;
    int failed = 0;
    if (groups <= 0)
        return 0;
    SC_FOR_TYPE(a.type, A, SC_FOR_TYPE(b.type, B, SC_FOR_TYPE(out.type, Y, {
                                           const dot_sum<A, B, Y> f = {static_cast<const A *>(a.p),
                                                                       static_cast<const B *>(b.p),
                                                                       static_cast<Y *>(out.p),
                                                                       out.add,
                                                                       rows,
                                                                       k->padded,
                                                                       k->plain};
                                           failed = columns_run<1>(stream, f, rows, k->plain,
                                                                   groups, parts);
                                       })));
    return failed;
}
