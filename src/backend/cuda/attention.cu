/* attention for short causal texts: a block a text and head, keys and values in shared memory, a
 * warp a row of the score matrix, which is never stored: backward computes it again from the
 * log-sum-exps. Rows of shared memory are d + 1 floats apart, so that lanes on neighbouring rows
 * meet no bank twice. The rows that packed texts share are a text of their own, the last; what
 * keys and values there are owed by each text is stored and then added up in the texts' order.
 */
#include "device.cuh"

enum {
    WARPS = 8,
    CHUNKS = SC_CUDA_MAX_LENGTH / SC_WARP, /* score columns a lane holds */
    PLAIN_SHARED = 48 << 10                /* more has to be asked for */
};

struct shape {
    int length, width, heads, d, step; /* step: floats from row to row in shared memory */
    float scale;
    const int32_t *begins; /* of packed texts, or NULL */
    int64_t texts, rows;
    int shared;
};
struct head {
    int64_t text, begin; /* begin: the row of its first own position */
    int first;           /* of the head's elements inside a row of `width` */
    int shared, count;   /* positions before the own ones; all of them */
};
__device__ __forceinline__ head head_of(const shape &s, int *fault)
{
    head h;
    h.text = blockIdx.x / static_cast<unsigned>(s.heads);
    h.first = static_cast<int>(blockIdx.x % static_cast<unsigned>(s.heads)) * s.d;
    h.begin = h.text * s.length;
    h.shared = 0;
    h.count = s.length;
    if (s.begins == nullptr)
        return h;
    if (h.text == s.texts) {
        h.begin = 0;
        h.count = s.shared;
        return h;
    }
    const int64_t begin = s.begins[h.text], end = s.begins[h.text + 1];
    const bool sound = (h.text > 0 || begin == s.shared) && begin >= s.shared && end > begin &&
                       end - begin + s.shared <= s.length && end <= s.rows &&
                       (h.text + 1 < s.texts || end == s.rows);
    if (!sound && threadIdx.x == 0 && fault != nullptr)
        atomicMax(fault, static_cast<int>(h.text) + 1);
    h.begin = begin;
    h.shared = s.shared;
    h.count = sound ? s.shared + static_cast<int>(end - begin) : 0;
    return h;
}
__device__ __forceinline__ int64_t line(const head &h, int i)
{
    return i < h.shared ? i : h.begin + i - h.shared;
}
/* Element 0 of part 0 (q), 1 (k), 2 (v) of position i in a qkv array. */
__device__ __forceinline__ int64_t place(const shape &s, const head &h, int i, int part)
{
    return (line(h, i) * 3 + part) * s.width + h.first;
}
__device__ __forceinline__ int64_t row_of(const shape &s, const head &h, int i)
{
    return line(h, i) * s.width + h.first;
}

template <typename T>
__device__ __forceinline__ void fetch(float *to, const T *from, int64_t at, int d)
{
    for (int e = static_cast<int>(threadIdx.x % SC_WARP); e < d; e += SC_WARP)
        to[e] = sc_get(from, at + e);
}
__device__ __forceinline__ float dot(const float *a, const float *b, int d)
{
    float sum = 0.0f;
    for (int e = 0; e < d; e++)
        sum += a[e] * b[e];
    return sum;
}
/* sum over j in [from, to) of factor[j] * rows[j][e] */
__device__ __forceinline__ float mix(const float *factor, const float *rows, int step, int e,
                                     int from, int to)
{
    float sum = 0.0f;
    for (int j = from; j < to; j++)
        sum += factor[j] * rows[j * step + e];
    return sum;
}

template <typename X, typename Y>
__global__ void __launch_bounds__(WARPS *SC_WARP)
    forward_kernel(shape s, const X *__restrict__ qkv, Y *y, bool add, float *lse, int *fault)
{
    SC_SHARED_DYNAMIC(float, memory);
    const head h = head_of(s, fault);
    const int warp = static_cast<int>(threadIdx.x / SC_WARP);
    const int lane = static_cast<int>(threadIdx.x % SC_WARP);
    float *keys = memory, *values = keys + s.length * s.step;
    float *query = values + s.length * s.step + warp * (s.d + s.length), *p = query + s.d;
    for (int i = warp; i < h.count; i += WARPS) {
        fetch(keys + i * s.step, qkv, place(s, h, i, 1), s.d);
        fetch(values + i * s.step, qkv, place(s, h, i, 2), s.d);
    }
    __syncthreads();
    for (int i = h.shared + warp; i < h.count; i += WARPS) {
        fetch(query, qkv, place(s, h, i, 0), s.d);
        __syncwarp();
        float score[CHUNKS], top = -3.0e38f, sum = 0.0f;
        SC_UNROLL
        for (int k = 0; k < CHUNKS; k++) {
            const int j = lane + k * SC_WARP;
            score[k] = j <= i ? s.scale * dot(query, keys + j * s.step, s.d) : -3.0e38f;
            top = score[k] > top ? score[k] : top;
        }
        top = sc_warp_max(top);
        SC_UNROLL
        for (int k = 0; k < CHUNKS; k++) {
            const int j = lane + k * SC_WARP;
            score[k] = j <= i ? expf(score[k] - top) : 0.0f;
            sum += score[k];
        }
        sum = sc_warp_sum(sum);
        SC_UNROLL
        for (int k = 0; k < CHUNKS; k++)
            if (lane + k * SC_WARP <= i)
                p[lane + k * SC_WARP] = score[k] / sum;
        __syncwarp();
        for (int e = lane; e < s.d; e += SC_WARP)
            sc_emit1(y, row_of(s, h, i) + e, mix(p, values, s.step, e, 0, i + 1), add);
        if (lane == 0)
            lse[static_cast<int64_t>(blockIdx.x) * s.length + i] = top + logf(sum);
    }
}

/* Rows first (dq; keys and values in shared memory), then columns (dk, dv; queries and dy). */
template <typename X, typename Y, typename D>
__global__ void __launch_bounds__(WARPS *SC_WARP)
    backward_kernel(shape s, const X *__restrict__ qkv, const Y *__restrict__ dy,
                    const float *__restrict__ lse, D *dqkv, bool add, float *owed)
{
    SC_SHARED_DYNAMIC(float, memory);
    const head h = head_of(s, nullptr);
    const int warp = static_cast<int>(threadIdx.x / SC_WARP);
    const int lane = static_cast<int>(threadIdx.x % SC_WARP);
    float *a = memory, *b = a + s.length * s.step, *delta = b + s.length * s.step;
    float *level = delta + s.length, *own = level + s.length + warp * 2 * (s.d + s.length);
    float *row0 = own, *row1 = own + s.d, *ds = own + 2 * s.d, *p = ds + s.length;
    for (int i = warp; i < h.count; i += WARPS) {
        fetch(a + i * s.step, qkv, place(s, h, i, 1), s.d);
        fetch(b + i * s.step, qkv, place(s, h, i, 2), s.d);
        if (lane == 0 && i >= h.shared)
            level[i] = lse[static_cast<int64_t>(blockIdx.x) * s.length + i];
    }
    __syncthreads();
    for (int i = h.shared + warp; i < h.count; i += WARPS) {
        fetch(row0, qkv, place(s, h, i, 0), s.d);
        fetch(row1, dy, row_of(s, h, i), s.d);
        __syncwarp();
        float sum = 0.0f; /* of p[j] * dp[j]; dy.y is the same but for y's rounding */
        for (int j = lane; j <= i; j += SC_WARP) {
            p[j] = expf(s.scale * dot(row0, a + j * s.step, s.d) - level[i]);
            ds[j] = dot(row1, b + j * s.step, s.d);
            sum += p[j] * ds[j];
        }
        sum = sc_warp_sum(sum);
        for (int j = lane; j <= i; j += SC_WARP)
            ds[j] = p[j] * (ds[j] - sum) * s.scale;
        if (lane == 0)
            delta[i] = sum;
        __syncwarp();
        for (int e = lane; e < s.d; e += SC_WARP)
            sc_emit1(dqkv, place(s, h, i, 0) + e, mix(ds, a, s.step, e, 0, i + 1), add);
    }
    __syncthreads();
    for (int i = h.shared + warp; i < h.count; i += WARPS) {
        fetch(a + i * s.step, qkv, place(s, h, i, 0), s.d);
        fetch(b + i * s.step, dy, row_of(s, h, i), s.d);
    }
    __syncthreads();
    for (int j = warp; j < h.count; j += WARPS) {
        const int from = j > h.shared ? j : h.shared; /* the first query that sees j */
        fetch(row0, qkv, place(s, h, j, 1), s.d);
        fetch(row1, qkv, place(s, h, j, 2), s.d);
        __syncwarp();
        for (int i = from + lane; i < h.count; i += SC_WARP) {
            p[i] = expf(s.scale * dot(a + i * s.step, row0, s.d) - level[i]);
            ds[i] = p[i] * (dot(b + i * s.step, row1, s.d) - delta[i]) * s.scale;
        }
        __syncwarp();
        float *debt = nullptr; /* of a shared row: dk, dv */
        if (j < h.shared || (h.text == s.texts && s.shared > 0))
            debt = owed + (h.text * s.shared + j) * 2 * s.width + h.first;
        for (int e = lane; e < s.d; e += SC_WARP) {
            const float dk = mix(ds, a, s.step, e, from, h.count);
            const float dv = mix(p, b, s.step, e, from, h.count);
            if (debt != nullptr) {
                debt[e] = dk;
                debt[s.width + e] = dv;
                continue;
            }
            sc_emit1(dqkv, place(s, h, j, 1) + e, dk, add);
            sc_emit1(dqkv, place(s, h, j, 2) + e, dv, add);
        }
    }
}
/* grid shared rows: dk and dv of a row from all texts, and at last from the shared rows */
template <typename D>
__global__ void __launch_bounds__(WARPS *SC_WARP)
    pay_kernel(shape s, const float *__restrict__ owed, D *dqkv, bool add)
{
    const int64_t row = blockIdx.x;
    for (int e = static_cast<int>(threadIdx.x); e < 2 * s.width; e += WARPS * SC_WARP) {
        float sum = 0.0f;
        for (int64_t t = 0; t <= s.texts; t++)
            sum += owed[(t * s.shared + row) * 2 * s.width + e];
        sc_emit1(dqkv, (row * 3 + 1) * s.width + e, sum, add);
    }
}

static shape shape_of(const sc_cuda_attention *a)
{
    shape s = {a->length, a->width, a->heads, a->width / a->heads, 0, 0.0f, a->begins,
               a->texts,  a->rows,  a->shared};
    s.step = s.d | 1;
    s.step += s.step == s.d ? 2 : 0;
    s.scale = static_cast<float>(1.0 / sqrt(static_cast<double>(s.d)));
    return s;
}
template <typename K> static cudaError_t allow(K *kernel, size_t bytes)
{
    if (bytes <= PLAIN_SHARED)
        return cudaSuccess;
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                static_cast<int>(bytes));
}

extern "C" int sc_cuda_attention_run(void *stream, const sc_cuda_attention *a, sc_cuda_in qkv,
                                     sc_cuda_out y)
{
    const shape s = shape_of(a);
    const size_t floats = 2 * static_cast<size_t>(s.length) * static_cast<size_t>(s.step) +
                          WARPS * static_cast<size_t>(s.d + s.length);
    const unsigned blocks = static_cast<unsigned>(sc_cuda_attention_texts(a) * a->heads);
    if (blocks == 0 || s.length <= 0)
        return 0;
    if (s.length > SC_CUDA_MAX_LENGTH || s.d > SC_CUDA_MAX_HEAD)
        return static_cast<int>(cudaErrorInvalidValue);
    SC_FOR_TYPE(
        qkv.type, X,
        SC_FOR_TYPE(
            y.type, Y, const cudaError_t e = allow(forward_kernel<X, Y>, floats * sizeof(float));
            if (e != cudaSuccess) return static_cast<int>(e);
            SC_LAUNCH((forward_kernel<X, Y>), blocks, WARPS * SC_WARP, floats * sizeof(float),
                      sc_cuda_queue(stream), s, static_cast<const X *>(qkv.p),
                      static_cast<Y *>(y.p), y.add, a->lse, a->fault)));
    return sc_launched();
}
extern "C" int sc_cuda_attention_back(void *stream, const sc_cuda_attention *a, sc_cuda_in qkv,
                                      sc_cuda_in dy, sc_cuda_out dqkv)
{
    const shape s = shape_of(a);
    const size_t floats = 2 * static_cast<size_t>(s.length) * (static_cast<size_t>(s.step) + 1) +
                          2 * WARPS * static_cast<size_t>(s.d + s.length);
    const unsigned blocks = static_cast<unsigned>(sc_cuda_attention_texts(a) * a->heads);
    if (blocks == 0 || s.length <= 0)
        return 0;
    if (s.length > SC_CUDA_MAX_LENGTH || s.d > SC_CUDA_MAX_HEAD)
        return static_cast<int>(cudaErrorInvalidValue);
    SC_FOR_TYPE(
        qkv.type, X,
        SC_FOR_TYPE(dy.type, Y,
                    SC_FOR_TYPE(dqkv.type, D,
                                const cudaError_t e =
                                    allow(backward_kernel<X, Y, D>, floats * sizeof(float));
                                if (e != cudaSuccess) return static_cast<int>(e); SC_LAUNCH(
                                    (backward_kernel<X, Y, D>), blocks, WARPS * SC_WARP,
                                    floats * sizeof(float), sc_cuda_queue(stream), s,
                                    static_cast<const X *>(qkv.p), static_cast<const Y *>(dy.p),
                                    a->lse, static_cast<D *>(dqkv.p), dqkv.add, a->owed))));
    const int failed = sc_launched();
    if (failed != 0 || s.shared == 0)
        return failed;
    SC_FOR_TYPE(dqkv.type, D,
                SC_LAUNCH((pay_kernel<D>), static_cast<unsigned>(s.shared), WARPS * SC_WARP, 0,
                          sc_cuda_queue(stream), s, a->owed, static_cast<D *>(dqkv.p), dqkv.add));
    return sc_launched();
}
