/* depthwise_conv2d: every channel alone, channels last, so that neighbouring threads take
 * neighbouring channels. Weights are PyTorch's [C][k * k].
 */
#include "columns.cuh"

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
/* Rows are the pixels of y. K taps side by side: a whole row of the filter (the group is its
 * number), of which dy is read once; or one tap (the group) of filters of uncommon size. */
template <int K, typename X, typename Y> struct weight_sum {
    sc_cuda_depthwise d;
    const X *__restrict__ x;
    const Y *__restrict__ dy;
    float *dweight;
    __device__ __forceinline__ void add(int64_t pixel, int c, int group, float sums[K]) const
    {
        const unsigned at = static_cast<unsigned>(pixel), ow = static_cast<unsigned>(d.ow);
        const unsigned line = at / ow, image = line / static_cast<unsigned>(d.oh);
        const int j = static_cast<int>(at - line * ow);
        const int i = static_cast<int>(line - image * static_cast<unsigned>(d.oh));
        const int p = K > 1 ? group : group / d.kernel, q = K > 1 ? 0 : group % d.kernel;
        const int r = i * d.stride - d.pad + p, s = j * d.stride - d.pad + q;
        if (r < 0 || r >= d.h)
            return;
        const float g = sc_get(dy, pixel * d.padded + c);
        const int64_t from = (static_cast<int64_t>(image) * d.h + r) * d.w;
        SC_UNROLL
        for (int k = 0; k < K; k++)
            if (s + k >= 0 && s + k < d.w)
                sums[k] += g * sc_get(x, (from + s + k) * d.padded + c);
    }
    __device__ __forceinline__ void put(int k, int c, int group, double sum) const
    {
        const int tap = K > 1 ? group * K + k : group;
        dweight[static_cast<int64_t>(c) * d.kernel * d.kernel + tap] = static_cast<float>(sum);
    }
};

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
/* Sums side by side, and how many such groups. */
static int sums_of(const sc_cuda_depthwise *d)
{
    return d->kernel == 3 || d->kernel == 5 || d->kernel == 7 ? d->kernel : 1;
}
static int groups_of(const sc_cuda_depthwise *d)
{
    return d->kernel * d->kernel / sums_of(d);
}
extern "C" size_t sc_cuda_depthwise_parts(const sc_cuda_depthwise *d)
{
    return column_parts(d->n * d->oh * d->ow, d->plain, sums_of(d), groups_of(d));
}
template <int K, typename X, typename Y>
static int run_weight(void *stream, const sc_cuda_depthwise *d, sc_cuda_in x, sc_cuda_in dy,
                      float *dweight, double *parts)
{
    const weight_sum<K, X, Y> f = {*d, static_cast<const X *>(x.p), static_cast<const Y *>(dy.p),
                                   dweight};
    return columns_run<K>(stream, f, d->n * d->oh * d->ow, d->plain, groups_of(d), parts);
}
extern "C" int sc_cuda_depthwise_weight(void *stream, const sc_cuda_depthwise *d, sc_cuda_in x,
                                        sc_cuda_in dy, float *dweight, double *parts)
{
    int failed = 0;
    SC_FOR_TYPE(x.type, X,
                SC_FOR_TYPE(
                    dy.type, Y, switch (sums_of(d)) {
                        case 3:
                            failed = run_weight<3, X, Y>(stream, d, x, dy, dweight, parts);
                            break;
                        case 5:
                            failed = run_weight<5, X, Y>(stream, d, x, dy, dweight, parts);
                            break;
                        case 7:
                            failed = run_weight<7, X, Y>(stream, d, x, dy, dweight, parts);
                            break;
                        default:
                            failed = run_weight<1, X, Y>(stream, d, x, dy, dweight, parts);
                    }));
    return failed;
}
