/* Feature rows: l2_normalize and group_mean. Few rows, so a warp or a block a row. */
#include "device.cuh"

enum { WARPS = 4, THREADS = 128 };
#define SMALLEST_NORM 1e-12f /* torch.nn.functional.normalize's default */

template <typename X>
__global__ void __launch_bounds__(WARPS *SC_WARP)
    l2_kernel(const X *__restrict__ x, float *__restrict__ y, float *norm, int64_t rows, int width)
{
    const int64_t row = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / SC_WARP;
    const int lane = static_cast<int>(threadIdx.x % SC_WARP);
    if (row >= rows)
        return;
    double sum = 0; /* 1e-14 squared is no float */
    for (int e = lane; e < width; e += SC_WARP) {
        const double v = static_cast<double>(sc_get(x, row * width + e));
        sum += v * v;
    }
    const float n = static_cast<float>(sqrt(sc_warp_sum(sum)));
    const float divisor = n < SMALLEST_NORM ? SMALLEST_NORM : n;
    for (int e = lane; e < width; e += SC_WARP)
        y[row * width + e] = sc_get(x, row * width + e) / divisor;
    if (lane == 0)
        norm[row] = n;
}
template <typename X>
__global__ void __launch_bounds__(WARPS *SC_WARP)
    l2_back_kernel(const float *__restrict__ dy, const float *__restrict__ y,
                   const float *__restrict__ norm, X *dx, bool add, int64_t rows, int width)
{
    const int64_t row = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / SC_WARP;
    const int lane = static_cast<int>(threadIdx.x % SC_WARP);
    if (row >= rows)
        return;
    const bool small = norm[row] < SMALLEST_NORM; /* then the divisor is a constant */
    float along = 0.0f;
    for (int e = lane; e < width; e += SC_WARP)
        along += dy[row * width + e] * y[row * width + e];
    along = sc_warp_sum(along);
    const float divisor = small ? SMALLEST_NORM : norm[row];
    for (int e = lane; e < width; e += SC_WARP)
        sc_emit1(dx, row * width + e,
                 (dy[row * width + e] - (small ? 0.0f : y[row * width + e] * along)) / divisor,
                 add);
}

/* grid groups: rows of the group in their order */
template <typename X>
__global__ void __launch_bounds__(THREADS)
    group_kernel(const X *__restrict__ x, const int32_t *__restrict__ group, float *__restrict__ y,
                 int64_t rows, int width)
{
    const int g = static_cast<int>(blockIdx.x);
    for (int e = static_cast<int>(threadIdx.x); e < width; e += THREADS) {
        float sum = 0.0f;
        int count = 0;
        for (int64_t r = 0; r < rows; r++)
            if (group[r] == g) {
                sum += sc_get(x, r * width + e);
                count++;
            }
        y[static_cast<int64_t>(g) * width + e] = sum / static_cast<float>(count);
    }
}
/* grid rows */
template <typename X>
__global__ void __launch_bounds__(THREADS)
    group_back_kernel(const float *__restrict__ dy, const int32_t *__restrict__ group, X *dx,
                      bool add, int64_t rows, int64_t groups, int width)
{
    const int64_t r = blockIdx.x;
    const int g = group[r];
    int count = 0;
    for (int64_t i = 0; i < rows; i++)
        count += group[i] == g;
    for (int e = static_cast<int>(threadIdx.x); e < width; e += THREADS)
        sc_emit1(dx, r * width + e,
                 g >= 0 && g < groups
                     ? dy[static_cast<int64_t>(g) * width + e] / static_cast<float>(count)
                     : 0.0f,
                 add);
}

static unsigned row_blocks(int64_t rows)
{
    return static_cast<unsigned>(sc_ceil(rows, WARPS));
}

extern "C" int sc_cuda_l2_normalize(void *stream, sc_cuda_in x, float *y, float *norm, int64_t rows,
                                    int width)
{
    if (rows <= 0)
        return 0;
    SC_FOR_TYPE(x.type, X,
                SC_LAUNCH((l2_kernel<X>), row_blocks(rows), WARPS * SC_WARP, 0,
                          sc_cuda_queue(stream), static_cast<const X *>(x.p), y, norm, rows,
                          width));
    return sc_launched();
}
extern "C" int sc_cuda_l2_normalize_back(void *stream, const float *dy, const float *y,
                                         const float *norm, sc_cuda_out dx, int64_t rows, int width)
{
    if (rows <= 0)
        return 0;
    SC_FOR_TYPE(dx.type, X,
                SC_LAUNCH((l2_back_kernel<X>), row_blocks(rows), WARPS * SC_WARP, 0,
                          sc_cuda_queue(stream), dy, y, norm, static_cast<X *>(dx.p), dx.add, rows,
                          width));
    return sc_launched();
}
extern "C" int sc_cuda_group_mean(void *stream, sc_cuda_in x, const int32_t *group, float *y,
                                  int64_t rows, int64_t groups, int width)
{
    if (groups <= 0)
        return 0;
    SC_FOR_TYPE(x.type, X,
                SC_LAUNCH((group_kernel<X>), static_cast<unsigned>(groups), THREADS, 0,
                          sc_cuda_queue(stream), static_cast<const X *>(x.p), group, y, rows,
                          width));
    return sc_launched();
}
extern "C" int sc_cuda_group_mean_back(void *stream, const float *dy, const int32_t *group,
                                       sc_cuda_out dx, int64_t rows, int64_t groups, int width)
{
    if (rows <= 0)
        return 0;
    SC_FOR_TYPE(dx.type, X,
                SC_LAUNCH((group_back_kernel<X>), static_cast<unsigned>(rows), THREADS, 0,
                          sc_cuda_queue(stream), dy, group, static_cast<X *>(dx.p), dx.add, rows,
                          groups, width));
    return sc_launched();
}
