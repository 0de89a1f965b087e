/* layer_norm: a warp a row, which stays in the first-level cache between the passes over it; and
 * the sums down columns that its parameters and every bias need. Rows lie `pitch` elements apart;
 * what is between width and pitch is 0.
 */
#include "device.cuh"

enum { WARPS = 4, COLUMNS = 32, LANES = 8 };

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

/* The sum over the LANES rows of a block's (COLUMNS, LANES) threads; row 0 gets it. */
__device__ __forceinline__ float down(float v, float *slot)
{
    const unsigned me = threadIdx.y * COLUMNS + threadIdx.x;
    slot[me] = v;
    for (unsigned half = LANES / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half)
            slot[me] += slot[me + half * COLUMNS];
    }
    v = slot[me];
    __syncthreads(); /* row 0 has read what other rows added; now slot may be filled again */
    return v;
}
template <typename X, typename D>
__global__ void __launch_bounds__(COLUMNS *LANES)
    params_kernel(const X *__restrict__ x, const D *__restrict__ dy, const float *__restrict__ mean,
                  const float *__restrict__ rstd, float *dweight, float *dbias, int64_t rows,
                  int width, int pitch)
{
    SC_SHARED(float, slot, COLUMNS *LANES);
    const int e = static_cast<int>(blockIdx.x * COLUMNS + threadIdx.x);
    float dw = 0.0f, db = 0.0f;
    if (e < width)
        for (int64_t r = threadIdx.y; r < rows; r += LANES) {
            const float g = sc_get(dy, r * pitch + e);
            dw += g * ((sc_get(x, r * pitch + e) - mean[r]) * rstd[r]);
            db += g;
        }
    dw = down(dw, slot);
    db = down(db, slot);
    if (threadIdx.y != 0 || e >= width)
        return;
    if (dweight != nullptr)
        dweight[e] = dw;
    if (dbias != nullptr)
        dbias[e] = db;
}
template <typename X>
__global__ void __launch_bounds__(COLUMNS *LANES)
    column_kernel(const X *__restrict__ x, float *out, int64_t rows, int width)
{
    SC_SHARED(float, slot, COLUMNS *LANES);
    const int e = static_cast<int>(blockIdx.x * COLUMNS + threadIdx.x);
    float sum = 0.0f;
    if (e < width)
        for (int64_t r = threadIdx.y; r < rows; r += LANES)
            sum += sc_get(x, r * width + e);
    sum = down(sum, slot);
    if (threadIdx.y == 0 && e < width)
        out[e] = sum;
}

static unsigned row_blocks(int64_t rows)
{
    return static_cast<unsigned>(sc_ceil(rows, WARPS));
}
static unsigned column_blocks(int width)
{
    return static_cast<unsigned>(sc_ceil(width, COLUMNS));
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
extern "C" int sc_cuda_layer_norm_back_params(void *stream, sc_cuda_in x, sc_cuda_in dy,
                                              const float *mean, const float *rstd, float *dweight,
                                              float *dbias, int64_t rows, int width, int pitch)
{
    SC_FOR_TYPE(x.type, X,
                SC_FOR_TYPE(dy.type, D,
                            SC_LAUNCH((params_kernel<X, D>), column_blocks(width),
                                      dim3(COLUMNS, LANES), 0, sc_cuda_queue(stream),
                                      static_cast<const X *>(x.p), static_cast<const D *>(dy.p),
                                      mean, rstd, dweight, dbias, rows, width, pitch)));
    return sc_launched();
}
extern "C" int sc_cuda_column_sum(void *stream, sc_cuda_in x, float *out, int64_t rows, int width)
{
    SC_FOR_TYPE(x.type, X,
                SC_LAUNCH((column_kernel<X>), column_blocks(width), dim3(COLUMNS, LANES), 0,
                          sc_cuda_queue(stream), static_cast<const X *>(x.p), out, rows, width));
    return sc_launched();
}
