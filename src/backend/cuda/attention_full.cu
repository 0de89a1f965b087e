/* attention where every position sees all that count. A block takes ROWS rows of a head, REACH a
 * warp, and walks over the others a tile of 32 at a time, a lane each: shared memory does not grow
 * with the length. Forward keeps a running maximum and sum (Milakov and Gimelshein 2018); backward
 * computes the probabilities again from the log-sum-exps, once for dq with queries as the block's
 * rows, once for dk and dv with keys as the block's rows. Rows of a tile are an odd number of
 * floats apart, so that lanes meet no bank twice.
 */
#include "device.cuh"

enum {
    WARPS = 8,
    REACH = 4, /* rows of a warp: what it reads of a tile serves all of them */
    ROWS = WARPS * REACH,
    THREADS = WARPS * SC_WARP,
    PLAIN_SHARED = 48 << 10 /* more has to be asked for */
};
static const float LOWEST = -3.0e38f;

struct shape {
    int length, width, heads, d, step; /* step: floats from row to row of a tile */
    float scale;
    const int32_t *last;
};
/* What a block works on. */
struct work {
    int64_t origin; /* of the head in its text's row 0 */
    int64_t row;    /* of the head's numbers in lse and delta */
    int first, count;
    int warp, lane;
};
__device__ __forceinline__ work work_of(const shape &s, int *fault)
{
    work w;
    const int64_t text = blockIdx.x / static_cast<unsigned>(s.heads);
    const int head = static_cast<int>(blockIdx.x % static_cast<unsigned>(s.heads));
    w.origin = text * s.length * s.width + head * s.d;
    w.row = static_cast<int64_t>(blockIdx.x) * s.length;
    w.first = static_cast<int>(blockIdx.y) * ROWS;
    w.count = s.last != nullptr ? s.last[text] + 1 : s.length;
    if (w.count < 1 || w.count > s.length) {
        if (fault != nullptr)
            atomicMax(fault, static_cast<int>(text) + 1);
        w.count = s.length;
    }
    w.warp = static_cast<int>(threadIdx.x / SC_WARP);
    w.lane = static_cast<int>(threadIdx.x % SC_WARP);
    return w;
}

/* ROWS rows from `first` on; 0 where none counts. */
template <typename T>
__device__ __forceinline__ void fetch(float *to, int step, const T *from, const shape &s,
                                      const work &w, int first)
{
    for (int r = w.warp; r < ROWS; r += WARPS)
        for (int e = w.lane; e < s.d; e += SC_WARP)
            to[r * step + e] =
                first + r < w.count
                    ? sc_get(from, w.origin + static_cast<int64_t>(first + r) * s.width + e)
                    : 0.0f;
}
/* out[r] = the product of this warp's row r and this lane's row of a tile */
__device__ __forceinline__ void dots(float *out, const float *own, const float *tile,
                                     const shape &s, const work &w)
{
    const float *mine = own + w.warp * REACH * s.d, *other = tile + w.lane * s.step;
    SC_UNROLL
    for (int r = 0; r < REACH; r++)
        out[r] = 0.0f;
    for (int e = 0; e < s.d; e++) {
        const float v = other[e];
        SC_UNROLL
        for (int r = 0; r < REACH; r++)
            out[r] += mine[r * s.d + e] * v;
    }
}
/* sum[r] += over the rows of a tile: the weight that its lane has for row r, times the row. A lane
 * holds elements lane, lane + 32 ... of the sums; weights: this warp's [REACH][32], free to use */
template <int CHUNKS>
__device__ __forceinline__ void mix(float (*sum)[CHUNKS], const float *factor, float *weights,
                                    const float *tile, const shape &s, const work &w)
{
    __syncwarp();
    SC_UNROLL
    for (int r = 0; r < REACH; r++)
        weights[r * SC_WARP + w.lane] = factor[r];
    __syncwarp();
    SC_UNROLL
    for (int k = 0; k < CHUNKS; k++) {
        const int e = w.lane + k * SC_WARP;
        if (e < s.d)
            for (int j = 0; j < SC_WARP; j++) {
                const float v = tile[j * s.step + e];
                SC_UNROLL
                for (int r = 0; r < REACH; r++)
                    sum[r][k] += weights[r * SC_WARP + j] * v;
            }
    }
}
/* Rows that do not count are given `by` 0. */
template <int CHUNKS, typename T>
__device__ __forceinline__ void emit(T *to, bool add, const float (*sum)[CHUNKS], const float *by,
                                     const shape &s, const work &w)
{
    SC_UNROLL
    for (int r = 0; r < REACH; r++) {
        const int i = w.first + w.warp * REACH + r;
        SC_UNROLL
        for (int k = 0; k < CHUNKS; k++) {
            const int e = w.lane + k * SC_WARP;
            if (i < s.length && e < s.d)
                sc_emit1(to, w.origin + static_cast<int64_t>(i) * s.width + e,
                         i < w.count ? sum[r][k] * by[r] : 0.0f, add);
        }
    }
}

/* grid (texts * heads, blocks of queries) */
template <int CHUNKS, typename X, typename Y>
__global__ void __launch_bounds__(THREADS)
    forward_kernel(shape s, const X *__restrict__ q, const X *__restrict__ k,
                   const X *__restrict__ v, Y *y, bool add, float *lse, int *fault)
{
    SC_SHARED_DYNAMIC(float, memory);
    const work w = work_of(s, fault);
    float *queries = memory, *keys = queries + ROWS * s.d, *values = keys + ROWS * s.step;
    float *weights = values + ROWS * s.step + w.warp * REACH * SC_WARP;
    float sum[REACH][CHUNKS] = {}, top[REACH], total[REACH], p[REACH];
    SC_UNROLL
    for (int r = 0; r < REACH; r++)
        top[r] = LOWEST, total[r] = 0.0f;
    fetch(queries, s.d, q, s, w, w.first);
    for (int at = 0; at < w.count; at += ROWS) {
        __syncthreads();
        fetch(keys, s.step, k, s, w, at);
        fetch(values, s.step, v, s, w, at);
        __syncthreads();
        dots(p, queries, keys, s, w);
        SC_UNROLL
        for (int r = 0; r < REACH; r++) {
            const float score = at + w.lane < w.count ? s.scale * p[r] : LOWEST;
            float highest = sc_warp_max(score);
            highest = highest > top[r] ? highest : top[r];
            const float shrink = expf(top[r] - highest);
            p[r] = at + w.lane < w.count ? expf(score - highest) : 0.0f;
            total[r] = total[r] * shrink + sc_warp_sum(p[r]);
            top[r] = highest;
            SC_UNROLL
            for (int c = 0; c < CHUNKS; c++)
                sum[r][c] *= shrink;
        }
        mix<CHUNKS>(sum, p, weights, values, s, w);
    }
    SC_UNROLL
    for (int r = 0; r < REACH; r++) {
        const int i = w.first + w.warp * REACH + r;
        p[r] = 1.0f / total[r];
        if (w.lane == 0 && i < s.length)
            lse[w.row + i] = top[r] + logf(total[r]);
    }
    emit<CHUNKS>(y, add, sum, p, s, w);
}

/* p and dp of this warp's queries and this lane's key of the tile at `at`, which is fetched. */
template <typename X>
__device__ __forceinline__ void score_tile(float *p, float *dp, const float *level, float *memory,
                                           const X *k, const X *v, const shape &s, const work &w,
                                           int at)
{
    float *keys = memory + 2 * ROWS * s.d, *values = keys + ROWS * s.step;
    __syncthreads();
    fetch(keys, s.step, k, s, w, at);
    fetch(values, s.step, v, s, w, at);
    __syncthreads();
    dots(p, memory, keys, s, w);
    dots(dp, memory + ROWS * s.d, values, s, w);
    SC_UNROLL
    for (int r = 0; r < REACH; r++)
        p[r] = at + w.lane < w.count && w.first + w.warp * REACH + r < w.count
                   ? expf(s.scale * p[r] - level[r])
                   : 0.0f;
}
/* grid (texts * heads, blocks of queries). delta, the sum of p dp over the keys, takes a walk of
 * its own: dy . y is the same but for y's rounding, which bfloat16 has too much of. dq may be NULL.
 */
template <int CHUNKS, typename X, typename Y>
__global__ void __launch_bounds__(THREADS)
    queries_kernel(shape s, const X *__restrict__ q, const X *__restrict__ k,
                   const X *__restrict__ v, const Y *__restrict__ dy, const float *__restrict__ lse,
                   float *delta, X *dq, bool add)
{
    SC_SHARED_DYNAMIC(float, memory);
    const work w = work_of(s, nullptr);
    float *keys = memory + 2 * ROWS * s.d;
    float *weights = keys + 2 * ROWS * s.step + w.warp * REACH * SC_WARP;
    float sum[REACH][CHUNKS] = {}, level[REACH], mean[REACH], p[REACH], ds[REACH];
    SC_UNROLL
    for (int r = 0; r < REACH; r++) {
        const int i = w.first + w.warp * REACH + r;
        level[r] = i < w.count ? lse[w.row + i] : 0.0f;
        mean[r] = 0.0f;
    }
    fetch(memory, s.d, q, s, w, w.first);
    fetch(memory + ROWS * s.d, s.d, dy, s, w, w.first);
    for (int at = 0; at < w.count; at += ROWS) {
        score_tile(p, ds, level, memory, k, v, s, w, at);
        SC_UNROLL
        for (int r = 0; r < REACH; r++)
            mean[r] += p[r] * ds[r];
    }
    SC_UNROLL
    for (int r = 0; r < REACH; r++) {
        const int i = w.first + w.warp * REACH + r;
        mean[r] = sc_warp_sum(mean[r]);
        if (w.lane == 0 && i < w.count)
            delta[w.row + i] = mean[r];
    }
    if (dq == nullptr)
        return;
    for (int at = 0; at < w.count; at += ROWS) {
        score_tile(p, ds, level, memory, k, v, s, w, at);
        SC_UNROLL
        for (int r = 0; r < REACH; r++)
            ds[r] = p[r] * (ds[r] - mean[r]);
        mix<CHUNKS>(sum, ds, weights, keys, s, w);
    }
    SC_UNROLL
    for (int r = 0; r < REACH; r++)
        p[r] = s.scale;
    emit<CHUNKS>(dq, add, sum, p, s, w);
}

/* grid (texts * heads, blocks of keys); dk, dv may be NULL */
template <int CHUNKS, typename X, typename Y>
__global__ void __launch_bounds__(THREADS)
    keys_kernel(shape s, const X *__restrict__ q, const X *__restrict__ k, const X *__restrict__ v,
                const Y *__restrict__ dy, const float *__restrict__ lse,
                const float *__restrict__ delta, X *dk, bool add_k, X *dv, bool add_v)
{
    SC_SHARED_DYNAMIC(float, memory);
    const work w = work_of(s, nullptr);
    float *own0 = memory, *own1 = own0 + ROWS * s.d;
    float *queries = own1 + ROWS * s.d, *arrived = queries + ROWS * s.step;
    float *weights = arrived + ROWS * s.step + w.warp * REACH * SC_WARP;
    float sum_k[REACH][CHUNKS] = {}, sum_v[REACH][CHUNKS] = {}, p[REACH], ds[REACH];
    fetch(own0, s.d, k, s, w, w.first);
    fetch(own1, s.d, v, s, w, w.first);
    for (int at = 0; at < w.count; at += ROWS) {
        const bool counts = at + w.lane < w.count;
        const float level = counts ? lse[w.row + at + w.lane] : 0.0f;
        const float mean = counts ? delta[w.row + at + w.lane] : 0.0f;
        __syncthreads();
        fetch(queries, s.step, q, s, w, at);
        fetch(arrived, s.step, dy, s, w, at);
        __syncthreads();
        dots(p, own0, queries, s, w);
        dots(ds, own1, arrived, s, w);
        SC_UNROLL
        for (int r = 0; r < REACH; r++) {
            p[r] = counts && w.first + w.warp * REACH + r < w.count ? expf(s.scale * p[r] - level)
                                                                    : 0.0f;
            ds[r] = p[r] * (ds[r] - mean);
        }
        mix<CHUNKS>(sum_k, ds, weights, queries, s, w);
        mix<CHUNKS>(sum_v, p, weights, arrived, s, w);
    }
    SC_UNROLL
    for (int r = 0; r < REACH; r++)
        p[r] = s.scale, ds[r] = 1.0f;
    if (dk != nullptr)
        emit<CHUNKS>(dk, add_k, sum_k, p, s, w);
    if (dv != nullptr)
        emit<CHUNKS>(dv, add_v, sum_v, ds, s, w);
}

static shape shape_of(const sc_cuda_full_attention *a)
{
    shape s = {a->length, a->width, a->heads, a->width / a->heads, 0, 0.0f, a->last};
    s.step = s.d | 1;
    s.scale = static_cast<float>(1.0 / sqrt(static_cast<double>(s.d)));
    return s;
}
static dim3 grid_of(const sc_cuda_full_attention *a)
{
    return dim3(static_cast<unsigned>(a->texts * a->heads),
                static_cast<unsigned>(sc_ceil(a->length, ROWS)));
}
/* own: arrays of the block's rows. Asks for what a kernel may not have unasked. */
template <typename K> static int shared_of(K *kernel, const shape &s, int own, size_t *bytes)
{
    *bytes = static_cast<size_t>(ROWS * (own * s.d + 2 * s.step + SC_WARP)) * sizeof(float);
    if (*bytes <= PLAIN_SHARED)
        return 0;
    return static_cast<int>(cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(*bytes)));
}

template <int CHUNKS, typename X, typename Y>
static int run(void *stream, const sc_cuda_full_attention *a, sc_cuda_out y)
{
    const shape s = shape_of(a);
    size_t bytes = 0;
    const int failed = shared_of(forward_kernel<CHUNKS, X, Y>, s, 1, &bytes);
    if (failed != 0)
        return failed;
    SC_LAUNCH((forward_kernel<CHUNKS, X, Y>), grid_of(a), THREADS, bytes, sc_cuda_queue(stream), s,
              static_cast<const X *>(a->x[0]), static_cast<const X *>(a->x[1]),
              static_cast<const X *>(a->x[2]), static_cast<Y *>(y.p), y.add, a->lse, a->fault);
    return sc_launched();
}
template <int CHUNKS, typename X, typename Y>
static int back(void *stream, const sc_cuda_full_attention *a, const void *dy,
                const sc_cuda_out *dx)
{
    const shape s = shape_of(a);
    const X *q = static_cast<const X *>(a->x[0]), *k = static_cast<const X *>(a->x[1]);
    const X *v = static_cast<const X *>(a->x[2]);
    const Y *arrived = static_cast<const Y *>(dy);
    size_t bytes = 0;
    int failed = shared_of(queries_kernel<CHUNKS, X, Y>, s, 2, &bytes);
    if (failed == 0)
        failed = shared_of(keys_kernel<CHUNKS, X, Y>, s, 2, &bytes);
    if (failed != 0)
        return failed;
    SC_LAUNCH((queries_kernel<CHUNKS, X, Y>), grid_of(a), THREADS, bytes, sc_cuda_queue(stream), s,
              q, k, v, arrived, a->lse, a->delta, static_cast<X *>(dx[0].p), dx[0].add);
    failed = sc_launched();
    if (failed != 0 || (dx[1].p == nullptr && dx[2].p == nullptr))
        return failed;
    SC_LAUNCH((keys_kernel<CHUNKS, X, Y>), grid_of(a), THREADS, bytes, sc_cuda_queue(stream), s, q,
              k, v, arrived, a->lse, a->delta, static_cast<X *>(dx[1].p), dx[1].add,
              static_cast<X *>(dx[2].p), dx[2].add);
    return sc_launched();
}

static bool refused(const sc_cuda_full_attention *a)
{
    return a->width / a->heads > SC_CUDA_MAX_HEAD;
}
extern "C" int sc_cuda_full_attention_run(void *stream, const sc_cuda_full_attention *a,
                                          sc_cuda_out y)
{
    const bool narrow = a->width / a->heads <= 2 * SC_WARP;
    if (a->texts <= 0 || a->length <= 0)
        return 0;
    if (refused(a))
        return static_cast<int>(cudaErrorInvalidValue);
    SC_FOR_TYPE(
        a->type, X,
        SC_FOR_TYPE(y.type, Y,
                    return narrow ? run<2, X, Y>(stream, a, y) : run<4, X, Y>(stream, a, y)));
}
extern "C" int sc_cuda_full_attention_back(void *stream, const sc_cuda_full_attention *a,
                                           sc_cuda_in dy, const sc_cuda_out dx[3])
{
    const bool narrow = a->width / a->heads <= 2 * SC_WARP;
    if (a->texts <= 0 || a->length <= 0)
        return 0;
    if (refused(a))
        return static_cast<int>(cudaErrorInvalidValue);
    SC_FOR_TYPE(a->type, X,
                SC_FOR_TYPE(dy.type, Y,
                            return narrow ? back<2, X, Y>(stream, a, dy.p, dx)
                                          : back<4, X, Y>(stream, a, dy.p, dx)));
}
