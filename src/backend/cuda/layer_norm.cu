/* layer_norm: a warp a row, which stays in the first-level cache between the passes over it; and
 * the sums down columns that its parameters and every bias need. Rows lie `pitch` elements apart;
 * what is between width and pitch is 0.
 */
#include "columns.cuh"

enum { WARPS = 4 };

/* f(v, i) for this lane's elements of a row, V at a time. */
template <int V, typename F> __device__ __forceinline__ void across(int width, F f)
{
    for (int i = static_cast<int>(threadIdx.x % SC_WARP) * V; i < width; i += SC_WARP * V)
        f(i);
}
__device__ __forceinline__ int64_t row_of_warp(void)
{
    return static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / SC_WARP;
}

template <typename Y> __device__ __forceinline__ void clear_padding(Y *row, int width, int pitch)
{
    for (int i = width + static_cast<int>(threadIdx.x % SC_WARP); i < pitch; i += SC_WARP)
        sc_put(row, i, 0.0f);
}

template <int V, typename X, typename Y>
__global__ void __launch_bounds__(WARPS *SC_WARP)
    norm_kernel(const X *__restrict__ x, Y *y, bool add, const float *__restrict__ weight,
                const float *__restrict__ bias, float eps, float *mean, float *rstd, int64_t rows,
                int width, int pitch)
{
    const int64_t row = row_of_warp();
    if (row >= rows)
        return;
    x += row * pitch;
    y += row * pitch;
    float sum = 0.0f, m2 = 0.0f, left = 0.0f;
    across<V>(width, [&](int i) {
        const sc_vec<V> v = sc_load<V>(x, i);
        for (int k = 0; k < V; k++)
            sum += v.v[k];
    });
    float m = sc_warp_sum(sum) / static_cast<float>(width);
    across<V>(width, [&](int i) {
        const sc_vec<V> v = sc_load<V>(x, i);
        for (int k = 0; k < V; k++) {
            const float d = v.v[k] - m;
            m2 += d * d;
            left += d;
        }
    });
    m2 = sc_warp_sum(m2);
    left = sc_warp_sum(left) / static_cast<float>(width); /* what rounding left in the mean */
    m += left;
    const float s = 1.0f / __fsqrt_rn((m2 / static_cast<float>(width) - left * left) + eps);
    across<V>(width, [&](int i) {
        sc_vec<V> v = sc_load<V>(x, i);
        const sc_vec<V> w = sc_load<V>(weight, i), b = sc_load<V>(bias, i);
        for (int k = 0; k < V; k++)
            v.v[k] = (v.v[k] - m) * s * w.v[k] + b.v[k];
        sc_emit<V>(y, i, v, add);
    });
    clear_padding(y, width, pitch);
    if (threadIdx.x % SC_WARP == 0) {
        mean[row] = m;
        rstd[row] = s;
    }
}

template <int V, typename X, typename D, typename Y>
__global__ void __launch_bounds__(WARPS *SC_WARP)
    norm_back_kernel(const X *__restrict__ x, const D *__restrict__ dy, Y *dx, bool add,
                     const float *__restrict__ weight, const float *__restrict__ mean,
                     const float *__restrict__ rstd, int64_t rows, int width, int pitch)
{
    const int64_t row = row_of_warp();
    if (row >= rows)
        return;
    x += row * pitch;
    dy += row * pitch;
    dx += row * pitch;
    const float m = mean[row], s = rstd[row];
    float sum = 0.0f, dot = 0.0f;
    across<V>(width, [&](int i) {
        const sc_vec<V> v = sc_load<V>(x, i), g = sc_load<V>(dy, i), w = sc_load<V>(weight, i);
        for (int k = 0; k < V; k++) {
            const float gw = g.v[k] * w.v[k];
            sum += gw;
            dot += gw * ((v.v[k] - m) * s);
        }
    });
    sum = sc_warp_sum(sum) / static_cast<float>(width);
    dot = sc_warp_sum(dot) / static_cast<float>(width);
    across<V>(width, [&](int i) {
        sc_vec<V> v = sc_load<V>(x, i);
        const sc_vec<V> g = sc_load<V>(dy, i), w = sc_load<V>(weight, i);
        for (int k = 0; k < V; k++)
            v.v[k] = s * (g.v[k] * w.v[k] - sum - (v.v[k] - m) * s * dot);
        sc_emit<V>(dx, i, v, add);
    });
    clear_padding(dx, width, pitch);
}

template <typename X, typename D> struct params_sum {
    const X *__restrict__ x;
    const D *__restrict__ dy;
    const float *__restrict__ mean, *__restrict__ rstd;
    float *dweight, *dbias;
    int pitch;
    __device__ __forceinline__ void add(int64_t r, int e, int, float sums[2]) const
    {
        const float g = sc_get(dy, r * pitch + e);
        sums[0] += g * ((sc_get(x, r * pitch + e) - mean[r]) * rstd[r]);
        sums[1] += g;
    }
    __device__ __forceinline__ void put(int k, int e, int, double sum) const
    {
        float *const to = k == 0 ? dweight : dbias;
        if (to != nullptr)
            to[e] = static_cast<float>(sum);
    }
};
template <typename X> struct plain_sum {
    const X *__restrict__ x;
    float *out;
    int width;
    __device__ __forceinline__ void add(int64_t r, int e, int, float sums[1]) const
    {
        sums[0] += sc_get(x, r * width + e);
    }
    __device__ __forceinline__ void put(int, int e, int, double sum) const
    {
        out[e] = static_cast<float>(sum);
    }
};

static unsigned row_blocks(int64_t rows)
{
    return static_cast<unsigned>(sc_ceil(rows, WARPS));
}
extern "C" int sc_cuda_layer_norm(void *stream, sc_cuda_in x, sc_cuda_out y, const float *weight,
                                  const float *bias, float eps, float *mean, float *rstd,
                                  int64_t rows, int width, int pitch)
{
    if (rows <= 0)
        return 0;
#define RUN(V)                                                                                     \
    SC_FOR_TYPE(x.type, X,                                                                         \
                SC_FOR_TYPE(y.type, Y,                                                             \
                            SC_LAUNCH((norm_kernel<V, X, Y>), row_blocks(rows), WARPS *SC_WARP, 0, \
                                      sc_cuda_queue(stream), static_cast<const X *>(x.p),          \
                                      static_cast<Y *>(y.p), y.add, weight, bias, eps, mean, rstd, \
                                      rows, width, pitch)))
    if (width % 8 == 0)
        RUN(8);
    else
        RUN(1);
#undef RUN
    return sc_launched();
}
extern "C" int sc_cuda_layer_norm_back(void *stream, sc_cuda_in x, sc_cuda_in dy, sc_cuda_out dx,
                                       const float *weight, const float *mean, const float *rstd,
                                       int64_t rows, int width, int pitch)
{
    if (rows <= 0)
        return 0;
#define RUN(V)                                                                                  \
    SC_FOR_TYPE(                                                                                \
        x.type, X,                                                                              \
        SC_FOR_TYPE(dy.type, D,                                                                 \
                    SC_FOR_TYPE(dx.type, Y,                                                     \
                                SC_LAUNCH((norm_back_kernel<V, X, D, Y>), row_blocks(rows),     \
                                          WARPS *SC_WARP, 0, sc_cuda_queue(stream),             \
                                          static_cast<const X *>(x.p),                          \
                                          static_cast<const D *>(dy.p), static_cast<Y *>(dx.p), \
                                          dx.add, weight, mean, rstd, rows, width, pitch))))
    if (width % 8 == 0)
        RUN(8);
    else
        RUN(1);
#undef RUN
    return sc_launched();
}
extern "C" size_t sc_cuda_column_parts(int64_t rows, int width, int sums)
{
    return column_parts(rows, width, sums, 1);
}
extern "C" int sc_cuda_layer_norm_back_params(void *stream, sc_cuda_in x, sc_cuda_in dy,
                                              const float *mean, const float *rstd, float *dweight,
                                              float *dbias, int64_t rows, int width, int pitch,
                                              double *parts)
{
    int failed = 0;
    SC_FOR_TYPE(x.type, X, SC_FOR_TYPE(dy.type, D, {
                    const params_sum<X, D> f = {static_cast<const X *>(x.p),
                                                static_cast<const D *>(dy.p),
                                                mean,
                                                rstd,
                                                dweight,
                                                dbias,
                                                pitch};
                    failed = columns_run<2>(stream, f, rows, width, 1, parts);
                }));
    return failed;
}
extern "C" int sc_cuda_column_sum(void *stream, sc_cuda_in x, float *out, int64_t rows, int width,
                                  double *parts)
{
    int failed = 0;
    SC_FOR_TYPE(x.type, X, {
        const plain_sum<X> f = {static_cast<const X *>(x.p), out, width};
        failed = columns_run<1>(stream, f, rows, width, 1, parts);
    });
    return failed;
}
