/* batch_norm in channels-last order. A thread owns eight channels (16 bytes of bfloat16); eight
 * threads side by side take 64 channels, whole cache lines; 32 rows a block.
 *
 * Statistics are one pass, around a pivot (the split's first row): four rows in registers give
 * their own mean and squared deviations, which join the running ones by Chan's rule, so neither a
 * mean far above the deviation nor an unlucky pivot costs digits. Parts of blocks are joined in
 * double in a fixed order, then over the ranks of the group. The mean is kept as a float and what
 * its rounding lost.
 */
#include "device.cuh"

enum { LANES = 8, ROWS = SC_BLOCK / LANES, TILE = 8 * LANES, BATCH = 4, MOST_SPLITS = 512 };

extern "C" int sc_cuda_bn_splits(int64_t rows, int channels)
{
    const int64_t tiles = sc_ceil(channels, TILE), room = MOST_SPLITS / tiles;
    const int64_t wanted = sc_ceil(rows, 2 * BATCH * ROWS);
    return static_cast<int>(wanted < 1 ? 1 : wanted < room ? wanted : room < 1 ? 1 : room);
}
/* Rows [first, last) of split s. */
__device__ __forceinline__ void split_rows(int64_t rows, int splits, int s, int64_t *first,
                                           int64_t *last)
{
    const int64_t each = (rows + splits - 1) / splits;
    *first = s * each < rows ? s * each : rows;
    *last = *first + each < rows ? *first + each : rows;
}

/* (count, mean, m2) of eight channels. */
struct moments {
    float n, mean[8], m2[8];
};
__device__ __forceinline__ void join(moments *a, float n, const float *mean, const float *m2)
{
    const float all = a->n + n;
    if (all == 0.0f)
        return;
    const float share = n / all, both = a->n * share;
    for (int k = 0; k < 8; k++) {
        const float delta = mean[k] - a->mean[k];
        a->mean[k] += delta * share;
        a->m2[k] += m2[k] + delta * delta * both;
    }
    a->n = all;
}

template <typename T>
__device__ __forceinline__ moments column_moments(const T *x, int64_t at, int64_t first,
                                                  int64_t last, int channels,
                                                  const sc_vec<8> &pivot)
{
    moments own = {};
    for (int64_t r = first + threadIdx.y; r < last; r += BATCH * ROWS) {
        sc_vec<8> v[BATCH];
        int got = 0;
        SC_UNROLL
        for (int b = 0; b < BATCH; b++) {
            const bool in = r + b * ROWS < last;
            v[b] = sc_load<8>(x, (in ? r + b * ROWS : r) * channels + at);
            for (int k = 0; k < 8; k++)
                v[b].v[k] -= pivot.v[k];
            got += in ? 1 : 0;
        }
        const float n = static_cast<float>(got), per = 1.0f / n;
        float mean[8], m2[8];
        SC_UNROLL
        for (int k = 0; k < 8; k++) {
            float sum = 0.0f, left = 0.0f, square = 0.0f;
            SC_UNROLL
            for (int b = 0; b < BATCH; b++)
                sum += b < got ? v[b].v[k] : 0.0f;
            mean[k] = sum * per;
            SC_UNROLL
            for (int b = 0; b < BATCH; b++) {
                const float d = b < got ? v[b].v[k] - mean[k] : 0.0f;
                left += d;
                square += d * d;
            }
            mean[k] += left * per; /* what rounding left of the sum of deviations */
            m2[k] = square - left * left * per;
        }
        join(&own, n, mean, m2);
    }
    return own;
}

/* grid (tiles, splits), block (LANES, ROWS) */
template <typename T>
__global__ void __launch_bounds__(SC_BLOCK)
    stats_kernel(const T *__restrict__ x, int64_t rows, int channels, int splits, float *parts)
{
    SC_SHARED(moments, slot, SC_BLOCK);
    const int channel = static_cast<int>(blockIdx.x) * TILE + static_cast<int>(threadIdx.x) * 8;
    int64_t first, last;
    split_rows(rows, splits, static_cast<int>(blockIdx.y), &first, &last);
    moments own = {};
    sc_vec<8> pivot = {};
    if (channel < channels && first < last) {
        pivot = sc_load<8>(x, first * channels + channel);
        own = column_moments(x, channel, first, last, channels, pivot);
    }
    const unsigned me = threadIdx.y * LANES + threadIdx.x;
    slot[me] = own;
    for (unsigned half = ROWS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) {
            const moments other = slot[me + half * LANES];
            join(&own, other.n, other.mean, other.m2);
            slot[me] = own;
        }
    }
    if (threadIdx.y != 0 || channel >= channels)
        return;
    float *part = parts + static_cast<int64_t>(blockIdx.y) * 3 * channels + channel;
    for (int k = 0; k < 8; k++) {
        part[k] = pivot.v[k];
        part[channels + k] = own.mean[k];
        part[2 * channels + k] = own.m2[k];
    }
}

__device__ __forceinline__ double part_mean(const float *part, int channels)
{
    return static_cast<double>(part[0]) + static_cast<double>(part[channels]);
}

/* A block joins the splits of eight channels: lane l of channel k takes splits l, l + 32, .. */
enum { JOIN_CHANNELS = 8, JOIN_LANES = SC_BLOCK / JOIN_CHANNELS };
__device__ __forceinline__ double lanes_sum(double v, double *slot)
{
    const unsigned me = threadIdx.y * JOIN_CHANNELS + threadIdx.x;
    slot[me] = v;
    for (unsigned half = JOIN_LANES / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half)
            slot[me] += slot[me + half * JOIN_CHANNELS];
    }
    __syncthreads();
    v = slot[threadIdx.x];
    __syncthreads();
    return v;
}

/* (mean, m2, count) over all ranks in order -> the vectors; running statistics move. */
__device__ __forceinline__ void settle_channel(const sc_cuda_bn &b, const double *pairs, int c)
{
    const int64_t size = 2 * static_cast<int64_t>(b.channels) + 1;
    double mean = 0, m2 = 0, n = 0;
    for (int r = 0; r < b.ranks; r++) {
        const double *pair = pairs + r * size;
        const double more = r == b.rank ? static_cast<double>(b.rows) : pair[2 * b.channels];
        if (more == 0)
            continue;
        const double delta = pair[c] - mean, all = n + more;
        mean += delta * (more / all);
        m2 += pair[b.channels + c] + delta * delta * (n * more / all);
        n = all;
    }
    const float rounded = static_cast<float>(mean);
    const float lost = static_cast<float>(static_cast<double>(rounded) - mean);
    const float rstd = static_cast<float>(1.0 / sqrt((n > 0 ? m2 / n : 0.0) + b.eps));
    b.mean[c] = rounded;
    b.lost[c] = lost;
    b.rstd[c] = rstd;
    b.scale[c] = b.weight[c] * rstd;
    b.shift[c] = b.bias[c] + b.weight[c] * rstd * lost;
    if (c == 0)
        *b.count = n;
    if (n <= 0)
        return;
    const double f = b.momentum, unbiased = m2 / (n > 1 ? n - 1 : 1.0);
    b.running_mean[c] =
        static_cast<float>((1 - f) * static_cast<double>(b.running_mean[c]) + f * mean);
    b.running_var[c] =
        static_cast<float>((1 - f) * static_cast<double>(b.running_var[c]) + f * unbiased);
}

template <bool SETTLE>
__global__ void __launch_bounds__(SC_BLOCK) join_kernel(sc_cuda_bn b, int splits)
{
    SC_SHARED(double, slot, SC_BLOCK);
    const int c = static_cast<int>(blockIdx.x * JOIN_CHANNELS + threadIdx.x);
    double *pair = b.pairs + b.rank * (2 * static_cast<int64_t>(b.channels) + 1);
    const double all = static_cast<double>(b.rows);
    double sum = 0, m2 = 0;
    for (int s = static_cast<int>(threadIdx.y); s < splits; s += JOIN_LANES) {
        int64_t first, last;
        split_rows(b.rows, splits, s, &first, &last);
        sum += static_cast<double>(last - first) *
               part_mean(b.parts + static_cast<int64_t>(s) * 3 * b.channels + c, b.channels);
    }
    const double mean = lanes_sum(sum, slot) / (all > 0 ? all : 1.0);
    for (int s = static_cast<int>(threadIdx.y); s < splits; s += JOIN_LANES) {
        int64_t first, last;
        split_rows(b.rows, splits, s, &first, &last);
        const float *part = b.parts + static_cast<int64_t>(s) * 3 * b.channels + c;
        const double delta = part_mean(part, b.channels) - mean;
        m2 += static_cast<double>(part[2 * b.channels]) +
              static_cast<double>(last - first) * delta * delta;
    }
    m2 = lanes_sum(m2, slot);
    if (threadIdx.y == 0) {
        pair[c] = mean;
        pair[b.channels + c] = m2;
        if (c == 0)
            pair[2 * b.channels] = all;
        if (SETTLE)
            settle_channel(b, b.pairs, c);
    }
}
__global__ void __launch_bounds__(SC_BLOCK) settle_kernel(sc_cuda_bn b)
{
    const int c = static_cast<int>(blockIdx.x * SC_BLOCK + threadIdx.x);
    if (c < b.channels)
        settle_channel(b, b.pairs, c);
}
__global__ void __launch_bounds__(SC_BLOCK) running_kernel(sc_cuda_bn b)
{
    const int c = static_cast<int>(blockIdx.x * SC_BLOCK + threadIdx.x);
    if (c >= b.channels)
        return;
    const float rstd =
        static_cast<float>(1.0 / sqrt(static_cast<double>(b.running_var[c]) + b.eps));
    b.mean[c] = b.running_mean[c];
    b.lost[c] = 0.0f;
    b.rstd[c] = rstd;
    b.scale[c] = b.weight[c] * rstd;
    b.shift[c] = b.bias[c];
    if (c == 0)
        *b.count = 0;
}

__device__ __forceinline__ sc_vec<8> vector_at(const float *p, int c)
{
    return sc_load<8>(p, c);
}

/* grid (tiles, row blocks), block (LANES, ROWS) */
template <typename T> __global__ void __launch_bounds__(SC_BLOCK) apply_kernel(sc_cuda_bn b)
{
    const int c = static_cast<int>(blockIdx.x) * TILE + static_cast<int>(threadIdx.x) * 8;
    if (c >= b.channels)
        return;
    const sc_vec<8> mean = vector_at(b.mean, c), scale = vector_at(b.scale, c),
                    shift = vector_at(b.shift, c);
    const T *x = static_cast<const T *>(b.x), *residual = static_cast<const T *>(b.residual);
    const int64_t step = static_cast<int64_t>(gridDim.y) * ROWS;
    for (int64_t r = static_cast<int64_t>(blockIdx.y) * ROWS + threadIdx.y; r < b.rows; r += step) {
        const int64_t at = r * b.channels + c;
        sc_vec<8> v = sc_load<8>(x, at), add = {};
        if (residual != nullptr)
            add = sc_load<8>(residual, at);
        unsigned passed = 0;
        for (int k = 0; k < 8; k++) {
            const float u = (v.v[k] - mean.v[k]) * scale.v[k] + shift.v[k] + add.v[k];
            const bool off = b.relu && u <= 0.0f; /* NaN passes, as in PyTorch */
            passed |= off ? 0u : 1u << k;
            v.v[k] = off ? 0.0f : u;
        }
        sc_store<8>(static_cast<T *>(b.y), at, v);
        if (b.mask != nullptr)
            b.mask[at / 8] = static_cast<uint8_t>(passed);
    }
}

template <typename T> __device__ __forceinline__ sc_vec<8> masked(const sc_cuda_bn &b, int64_t at)
{
    sc_vec<8> g = sc_load<8>(static_cast<const T *>(b.dy), at);
    if (b.relu) {
        const unsigned passed = b.mask[at / 8];
        for (int k = 0; k < 8; k++)
            g.v[k] = passed >> k & 1u ? g.v[k] : 0.0f;
    }
    return g;
}

/* parts[split] = sums of g, of g * (x - mean) * rstd */
template <typename T>
__global__ void __launch_bounds__(SC_BLOCK) back_sums_kernel(sc_cuda_bn b, int splits)
{
    SC_SHARED(float, slot, 16 * SC_BLOCK);
    const int c = static_cast<int>(blockIdx.x) * TILE + static_cast<int>(threadIdx.x) * 8;
    const unsigned me = threadIdx.y * LANES + threadIdx.x;
    int64_t first, last;
    split_rows(b.rows, splits, static_cast<int>(blockIdx.y), &first, &last);
    float own[16] = {};
    if (c < b.channels) {
        const sc_vec<8> mean = vector_at(b.mean, c), rstd = vector_at(b.rstd, c);
        for (int64_t r = first + threadIdx.y; r < last; r += ROWS) {
            const int64_t at = r * b.channels + c;
            const sc_vec<8> g = masked<T>(b, at), x = sc_load<8>(static_cast<const T *>(b.x), at);
            for (int k = 0; k < 8; k++) {
                own[k] += g.v[k];
                own[8 + k] += g.v[k] * ((x.v[k] - mean.v[k]) * rstd.v[k]);
            }
        }
    }
    for (int k = 0; k < 16; k++)
        slot[k * SC_BLOCK + me] = own[k];
    for (unsigned half = ROWS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half)
            for (int k = 0; k < 16; k++)
                slot[k * SC_BLOCK + me] += slot[k * SC_BLOCK + me + half * LANES];
    }
    if (threadIdx.y != 0 || c >= b.channels)
        return;
    float *part = b.parts + static_cast<int64_t>(blockIdx.y) * 2 * b.channels + c;
    for (int k = 0; k < 8; k++) {
        part[k] = slot[k * SC_BLOCK + me];
        part[b.channels + k] = slot[(8 + k) * SC_BLOCK + me];
    }
}

/* dx = scale * (g - mean_dy - (x - mean) * slope) */
__device__ __forceinline__ void back_settle_channel(const sc_cuda_bn &b, double dy, double dyx,
                                                    int c)
{
    const double per = b.batch && *b.count > 0 ? 1 / *b.count : 0.0;
    const double slope = dyx * per * static_cast<double>(b.rstd[c]);
    b.scale[c] = b.weight[c] * b.rstd[c];
    b.slope[c] = static_cast<float>(slope);
    b.shift[c] = static_cast<float>(dy * per + static_cast<double>(b.lost[c]) * slope);
}
__global__ void __launch_bounds__(SC_BLOCK) back_join_kernel(sc_cuda_bn b, int splits, bool settle)
{
    SC_SHARED(double, slot, SC_BLOCK);
    const int c = static_cast<int>(blockIdx.x * JOIN_CHANNELS + threadIdx.x);
    double dy = 0, dyx = 0;
    for (int s = static_cast<int>(threadIdx.y); s < splits; s += JOIN_LANES) {
        const float *part = b.parts + static_cast<int64_t>(s) * 2 * b.channels + c;
        dy += static_cast<double>(part[0]);
        dyx += static_cast<double>(part[b.channels]);
    }
    dy = lanes_sum(dy, slot);
    dyx = lanes_sum(dyx, slot);
    if (threadIdx.y != 0)
        return;
    dyx += dy * static_cast<double>(b.lost[c]) * static_cast<double>(b.rstd[c]);
    if (b.dbias != nullptr)
        b.dbias[c] = static_cast<float>(dy);
    if (b.dweight != nullptr)
        b.dweight[c] = static_cast<float>(dyx);
    b.pairs[c] = dy;
    b.pairs[b.channels + c] = dyx;
    if (settle)
        back_settle_channel(b, dy, dyx, c);
}
__global__ void __launch_bounds__(SC_BLOCK) back_settle_kernel(sc_cuda_bn b)
{
    const int c = static_cast<int>(blockIdx.x * SC_BLOCK + threadIdx.x);
    if (c < b.channels)
        back_settle_channel(b, b.pairs[c], b.pairs[b.channels + c], c);
}

template <typename T> __global__ void __launch_bounds__(SC_BLOCK) back_apply_kernel(sc_cuda_bn b)
{
    const int c = static_cast<int>(blockIdx.x) * TILE + static_cast<int>(threadIdx.x) * 8;
    if (c >= b.channels)
        return;
    const sc_vec<8> mean = vector_at(b.mean, c), scale = vector_at(b.scale, c),
                    mean_dy = vector_at(b.shift, c), slope = vector_at(b.slope, c);
    const int64_t step = static_cast<int64_t>(gridDim.y) * ROWS;
    for (int64_t r = static_cast<int64_t>(blockIdx.y) * ROWS + threadIdx.y; r < b.rows; r += step) {
        const int64_t at = r * b.channels + c;
        const sc_vec<8> g = masked<T>(b, at);
        if (b.dresidual.p != nullptr)
            sc_emit<8>(static_cast<T *>(b.dresidual.p), at, g, b.dresidual.add);
        if (b.dx.p == nullptr)
            continue;
        sc_vec<8> x = sc_load<8>(static_cast<const T *>(b.x), at);
        for (int k = 0; k < 8; k++)
            x.v[k] = scale.v[k] * (g.v[k] - mean_dy.v[k] - (x.v[k] - mean.v[k]) * slope.v[k]);
        sc_emit<8>(static_cast<T *>(b.dx.p), at, x, b.dx.add);
    }
}

static dim3 tiles_by(const sc_cuda_bn *b, int64_t most_rows)
{
    const int64_t tiles = sc_ceil(b->channels, TILE);
    return dim3(static_cast<unsigned>(tiles), sc_blocks(b->rows, most_rows, 65535));
}
static unsigned per_channel(const sc_cuda_bn *b)
{
    return static_cast<unsigned>(sc_ceil(b->channels, SC_BLOCK));
}

extern "C" int sc_cuda_bn_stats(void *stream, const sc_cuda_bn *b)
{
    const int splits = sc_cuda_bn_splits(b->rows, b->channels);
    const dim3 grid(tiles_by(b, 1).x, static_cast<unsigned>(splits)), block(LANES, ROWS);
    SC_FOR_TYPE(b->type, T,
                SC_LAUNCH((stats_kernel<T>), grid, block, 0, sc_cuda_queue(stream),
                          static_cast<const T *>(b->x), b->rows, b->channels, splits, b->parts));
    return sc_launched();
}
extern "C" int sc_cuda_bn_join(void *stream, const sc_cuda_bn *b)
{
    SC_LAUNCH((join_kernel<false>), static_cast<unsigned>(b->channels / JOIN_CHANNELS),
              dim3(JOIN_CHANNELS, JOIN_LANES), 0, sc_cuda_queue(stream), *b,
              sc_cuda_bn_splits(b->rows, b->channels));
    return sc_launched();
}
extern "C" int sc_cuda_bn_join_settle(void *stream, const sc_cuda_bn *b)
{
    SC_LAUNCH((join_kernel<true>), static_cast<unsigned>(b->channels / JOIN_CHANNELS),
              dim3(JOIN_CHANNELS, JOIN_LANES), 0, sc_cuda_queue(stream), *b,
              sc_cuda_bn_splits(b->rows, b->channels));
    return sc_launched();
}
extern "C" int sc_cuda_bn_settle(void *stream, const sc_cuda_bn *b)
{
    SC_LAUNCH(settle_kernel, per_channel(b), SC_BLOCK, 0, sc_cuda_queue(stream), *b);
    return sc_launched();
}
extern "C" int sc_cuda_bn_running(void *stream, const sc_cuda_bn *b)
{
    SC_LAUNCH(running_kernel, per_channel(b), SC_BLOCK, 0, sc_cuda_queue(stream), *b);
    return sc_launched();
}
extern "C" int sc_cuda_bn_apply(void *stream, const sc_cuda_bn *b)
{
    if (b->rows <= 0)
        return 0;
    SC_FOR_TYPE(b->type, T,
                SC_LAUNCH((apply_kernel<T>), tiles_by(b, 4 * ROWS), dim3(LANES, ROWS), 0,
                          sc_cuda_queue(stream), *b));
    return sc_launched();
}
extern "C" int sc_cuda_bn_back_sums(void *stream, const sc_cuda_bn *b)
{
    const int splits = sc_cuda_bn_splits(b->rows, b->channels);
    const dim3 grid(tiles_by(b, 1).x, static_cast<unsigned>(splits));
    SC_FOR_TYPE(b->type, T,
                SC_LAUNCH((back_sums_kernel<T>), grid, dim3(LANES, ROWS), 0, sc_cuda_queue(stream),
                          *b, splits));
    return sc_launched();
}
extern "C" int sc_cuda_bn_back_join(void *stream, const sc_cuda_bn *b, bool settle)
{
    SC_LAUNCH(back_join_kernel, static_cast<unsigned>(b->channels / JOIN_CHANNELS),
              dim3(JOIN_CHANNELS, JOIN_LANES), 0, sc_cuda_queue(stream), *b,
              sc_cuda_bn_splits(b->rows, b->channels), settle);
    return sc_launched();
}
extern "C" int sc_cuda_bn_back_settle(void *stream, const sc_cuda_bn *b)
{
    SC_LAUNCH(back_settle_kernel, per_channel(b), SC_BLOCK, 0, sc_cuda_queue(stream), *b);
    return sc_launched();
}
extern "C" int sc_cuda_bn_back_apply(void *stream, const sc_cuda_bn *b)
{
    if (b->rows <= 0)
        return 0;
    SC_FOR_TYPE(b->type, T,
                SC_LAUNCH((back_apply_kernel<T>), tiles_by(b, 4 * ROWS), dim3(LANES, ROWS), 0,
                          sc_cuda_queue(stream), *b));
    return sc_launched();
}
