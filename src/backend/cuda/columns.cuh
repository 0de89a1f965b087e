/* Sums down the rows of a matrix, one or several for each column: the gradients of biases, scales
 * and depthwise weights. Rows are cut into splits so that narrow matrices fill a GPU too; what the
 * splits gave is added in double, in a fixed order. The cut depends on the shape alone.
 */
#ifndef SC_BACKEND_CUDA_COLUMNS_CUH
#define SC_BACKEND_CUDA_COLUMNS_CUH

#include "device.cuh"

enum { COLUMNS = 32, LANES = 8, COLUMN_BLOCKS = 132 * 4, SPLIT_ROWS = 256, AT_ONCE = 4 };

/* groups: matrices over the same rows. 1: few rows are quicker in one launch. */
static inline int column_splits(int64_t rows, int width, int groups)
{
    const int64_t room = COLUMN_BLOCKS / (sc_ceil(width, COLUMNS) * groups);
    const int64_t wanted = sc_ceil(rows, SPLIT_ROWS);
    if (wanted < 4 || room < 2)
        return 1;
    return static_cast<int>(wanted < room ? wanted : room);
}
/* Bytes of parts: sums of each column in each group. */
static inline size_t column_parts(int64_t rows, int width, int sums, int groups)
{
    const int splits = column_splits(rows, width, groups);
    if (splits == 1)
        return 0;
    return static_cast<size_t>(splits) * static_cast<size_t>(groups) * static_cast<size_t>(sums) *
           static_cast<size_t>(width) * sizeof(double);
}

/* The sum over the LANES rows of a block's (COLUMNS, LANES) threads; row 0 gets it. */
__device__ __forceinline__ double column_down(double v, double *slot)
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

/* F::add(row, column, group, float sums[K]); F::put(sum, column, group, double). grid (tiles of
 * columns, splits, groups). */
template <int K, typename F>
__global__ void __launch_bounds__(COLUMNS *LANES)
    columns_kernel(F f, int64_t rows, int width, double *parts)
{
    SC_SHARED(double, slot, COLUMNS *LANES);
    const int e = static_cast<int>(blockIdx.x * COLUMNS + threadIdx.x);
    const int group = static_cast<int>(blockIdx.z);
    const int64_t each = (rows + gridDim.y - 1) / gridDim.y, first = blockIdx.y * each;
    const int64_t last = first + each < rows ? first + each : rows;
    float sums[K] = {};
    int64_t r = first + threadIdx.y;
    if (e < width) {
        for (; r + (AT_ONCE - 1) * LANES < last; r += AT_ONCE * LANES) {
            SC_UNROLL
            for (int k = 0; k < AT_ONCE; k++)
                f.add(r + k * LANES, e, group, sums);
        }
        for (; r < last; r += LANES)
            f.add(r, e, group, sums);
    }
    for (int k = 0; k < K; k++) {
        const double sum = column_down(static_cast<double>(sums[k]), slot);
        if (threadIdx.y != 0 || e >= width)
            continue;
        if (gridDim.y == 1)
            f.put(k, e, group, sum);
        else
            parts[((static_cast<int64_t>(blockIdx.y) * gridDim.z + group) * K + k) * width + e] =
                sum;
    }
}
/* grid (tiles of columns, sums, groups) */
template <int K, typename F>
__global__ void __launch_bounds__(COLUMNS *LANES)
    columns_join_kernel(F f, int splits, int width, const double *__restrict__ parts)
{
    SC_SHARED(double, slot, COLUMNS *LANES);
    const int e = static_cast<int>(blockIdx.x * COLUMNS + threadIdx.x);
    const int k = static_cast<int>(blockIdx.y), group = static_cast<int>(blockIdx.z);
    double sum = 0;
    for (int s = static_cast<int>(threadIdx.y); e < width && s < splits; s += LANES)
        sum += parts[((static_cast<int64_t>(s) * gridDim.z + group) * K + k) * width + e];
    sum = column_down(sum, slot);
    if (threadIdx.y == 0 && e < width)
        f.put(k, e, group, sum);
}

/* parts: column_parts' bytes */
template <int K, typename F>
static int columns_run(void *stream, F f, int64_t rows, int width, int groups, double *parts)
{
    const unsigned tiles = static_cast<unsigned>(sc_ceil(width, COLUMNS));
    const unsigned splits = static_cast<unsigned>(column_splits(rows, width, groups));
    const unsigned deep = static_cast<unsigned>(groups);
    SC_LAUNCH((columns_kernel<K, F>), dim3(tiles, splits, deep), dim3(COLUMNS, LANES), 0,
              sc_cuda_queue(stream), f, rows, width, parts);
    const int failed = sc_launched();
    if (failed != 0 || splits == 1)
        return failed;
    SC_LAUNCH((columns_join_kernel<K, F>), dim3(tiles, K, deep), dim3(COLUMNS, LANES), 0,
              sc_cuda_queue(stream), f, static_cast<int>(splits), width, parts);
    return sc_launched();
}

#endif
