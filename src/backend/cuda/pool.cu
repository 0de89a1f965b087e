/* Pooling in channels-last order: a thread owns eight channels of one pixel. */
#include "device.cuh"

#include <math.h>

enum { MOST = 132 * 16 };

struct pixel {
    int64_t image;
    int y, x, channel;
};
/* Piece k of [n][h][w][channels / 8]. */
__device__ __forceinline__ pixel pixel_of(int64_t k, int h, int w, int channels)
{
    const int groups = channels / 8;
    pixel p;
    p.channel = static_cast<int>(k % groups) * 8;
    k /= groups;
    p.x = static_cast<int>(k % w);
    k /= w;
    p.y = static_cast<int>(k % h);
    p.image = k / h;
    return p;
}

/* The first maximum in row-major order; a NaN wins, as in PyTorch. */
template <typename T>
__global__ void __launch_bounds__(SC_BLOCK)
    max_kernel(sc_cuda_pool p, const T *__restrict__ x, T *__restrict__ y, uint8_t *index)
{
    const int64_t count = p.n * p.oh * p.ow * (p.channels / 8);
    for (int64_t k = static_cast<int64_t>(blockIdx.x) * SC_BLOCK + threadIdx.x; k < count;
         k += static_cast<int64_t>(gridDim.x) * SC_BLOCK) {
        const pixel o = pixel_of(k, p.oh, p.ow, p.channels);
        const int top = o.y * p.stride - p.pad, left = o.x * p.stride - p.pad;
        sc_vec<8> best = {};
        unsigned place[8];
        bool first = true;
        for (int i = max(top, 0) - top; i < p.kernel && top + i < p.h; i++)
            for (int j = max(left, 0) - left; j < p.kernel && left + j < p.w; j++) {
                const sc_vec<8> v = sc_load<8>(
                    x, ((o.image * p.h + top + i) * p.w + left + j) * p.channels + o.channel);
                for (int c = 0; c < 8; c++)
                    if (first || v.v[c] > best.v[c] || isnan(v.v[c])) {
                        best.v[c] = v.v[c];
                        place[c] = static_cast<unsigned>(i * p.kernel + j);
                    }
                first = false;
            }
        sc_store<8>(y, k * 8, best);
        if (index != nullptr) {
            uint2 packed;
            packed.x = place[0] | place[1] << 8 | place[2] << 16 | place[3] << 24;
            packed.y = place[4] | place[5] << 8 | place[6] << 16 | place[7] << 24;
            *reinterpret_cast<uint2 *>(index + k * 8) = packed;
        }
    }
}

/* Every input pixel asks the windows over it whether it won: no atomics. */
template <typename T>
__global__ void __launch_bounds__(SC_BLOCK)
    max_back_kernel(sc_cuda_pool p, const T *__restrict__ dy, const uint8_t *__restrict__ index,
                    T *dx, bool add)
{
    const int64_t count = p.n * p.h * p.w * (p.channels / 8);
    for (int64_t k = static_cast<int64_t>(blockIdx.x) * SC_BLOCK + threadIdx.x; k < count;
         k += static_cast<int64_t>(gridDim.x) * SC_BLOCK) {
        const pixel in = pixel_of(k, p.h, p.w, p.channels);
        const int y = in.y + p.pad, x = in.x + p.pad;
        sc_vec<8> sum = {};
        const int row = y < p.kernel ? 0 : (y - p.kernel) / p.stride + 1;
        const int column = x < p.kernel ? 0 : (x - p.kernel) / p.stride + 1;
        for (int i = row; i < p.oh && i * p.stride <= y; i++)
            for (int j = column; j < p.ow && j * p.stride <= x; j++) {
                const int64_t at = ((in.image * p.oh + i) * p.ow + j) * p.channels + in.channel;
                const uint2 packed = *reinterpret_cast<const uint2 *>(index + at);
                const sc_vec<8> g = sc_load<8>(dy, at);
                const unsigned me =
                    static_cast<unsigned>((y - i * p.stride) * p.kernel + x - j * p.stride);
                for (int c = 0; c < 8; c++) {
                    const unsigned won = (c < 4 ? packed.x : packed.y) >> 8 * (c % 4) & 255u;
                    sum.v[c] += won == me ? g.v[c] : 0.0f;
                }
            }
        sc_emit<8>(dx, k * 8, sum, add);
    }
}

/* grid (tiles of 64 channels, n), block (8, 32) */
enum { LANES = 8, ROWS = SC_BLOCK / LANES, TILE = 8 * LANES };
template <typename T, typename Y>
__global__ void __launch_bounds__(SC_BLOCK)
    average_kernel(sc_cuda_pool p, int plain, const T *__restrict__ x, Y *y, bool add)
{
    SC_SHARED(float, slot, 8 * SC_BLOCK);
    const int c = static_cast<int>(blockIdx.x) * TILE + static_cast<int>(threadIdx.x) * 8;
    const unsigned me = threadIdx.y * LANES + threadIdx.x;
    const int64_t plane = static_cast<int64_t>(p.h) * p.w;
    float own[8] = {};
    if (c < p.channels)
        for (int64_t i = threadIdx.y; i < plane; i += ROWS) {
            const sc_vec<8> v = sc_load<8>(x, (blockIdx.y * plane + i) * p.channels + c);
            for (int k = 0; k < 8; k++)
                own[k] += v.v[k];
        }
    for (int k = 0; k < 8; k++)
        slot[k * SC_BLOCK + me] = own[k];
    for (unsigned half = ROWS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half)
            for (int k = 0; k < 8; k++)
                slot[k * SC_BLOCK + me] += slot[k * SC_BLOCK + me + half * LANES];
    }
    if (threadIdx.y != 0)
        return;
    for (int k = 0; k < 8 && c + k < plain; k++)
        sc_emit1(y, static_cast<int64_t>(blockIdx.y) * plain + c + k,
                 slot[k * SC_BLOCK + me] / static_cast<float>(plane), add);
}
template <typename D, typename T>
__global__ void __launch_bounds__(SC_BLOCK)
    average_back_kernel(sc_cuda_pool p, int plain, const D *__restrict__ dy, T *dx, bool add)
{
    const int64_t count = p.n * p.h * p.w * (p.channels / 8);
    const float per = static_cast<float>(p.h) * static_cast<float>(p.w);
    for (int64_t k = static_cast<int64_t>(blockIdx.x) * SC_BLOCK + threadIdx.x; k < count;
         k += static_cast<int64_t>(gridDim.x) * SC_BLOCK) {
        const pixel in = pixel_of(k, p.h, p.w, p.channels);
        sc_vec<8> g = {};
        for (int c = 0; c < 8 && in.channel + c < plain; c++)
            g.v[c] = sc_get(dy, in.image * plain + in.channel + c) / per;
        sc_emit<8>(dx, k * 8, g, add);
    }
}

extern "C" int sc_cuda_max_pool(void *stream, const sc_cuda_pool *p, const void *x, void *y,
                                uint8_t *index)
{
    const int64_t count = p->n * p->oh * p->ow * (p->channels / 8);
    if (count <= 0)
        return 0;
    SC_FOR_TYPE(p->type, T,
                SC_LAUNCH((max_kernel<T>), sc_blocks(count, SC_BLOCK, MOST), SC_BLOCK, 0,
                          sc_cuda_queue(stream), *p, static_cast<const T *>(x), static_cast<T *>(y),
                          index));
    return sc_launched();
}
extern "C" int sc_cuda_max_pool_back(void *stream, const sc_cuda_pool *p, const void *dy,
                                     const uint8_t *index, sc_cuda_out dx)
{
    const int64_t count = p->n * p->h * p->w * (p->channels / 8);
    if (count <= 0)
        return 0;
    SC_FOR_TYPE(p->type, T,
                SC_LAUNCH((max_back_kernel<T>), sc_blocks(count, SC_BLOCK, MOST), SC_BLOCK, 0,
                          sc_cuda_queue(stream), *p, static_cast<const T *>(dy), index,
                          static_cast<T *>(dx.p), dx.add));
    return sc_launched();
}
extern "C" int sc_cuda_avg_pool(void *stream, const sc_cuda_pool *p, int plain, const void *x,
                                sc_cuda_out y)
{
    if (p->n <= 0)
        return 0;
    const dim3 grid(static_cast<unsigned>(sc_ceil(p->channels, TILE)), static_cast<unsigned>(p->n));
    SC_FOR_TYPE(p->type, T,
                SC_FOR_TYPE(y.type, Y,
                            SC_LAUNCH((average_kernel<T, Y>), grid, dim3(LANES, ROWS), 0,
                                      sc_cuda_queue(stream), *p, plain, static_cast<const T *>(x),
                                      static_cast<Y *>(y.p), y.add)));
    return sc_launched();
}
extern "C" int sc_cuda_avg_pool_back(void *stream, const sc_cuda_pool *p, int plain, sc_cuda_in dy,
                                     sc_cuda_out dx)
{
    const int64_t count = p->n * p->h * p->w * (p->channels / 8);
    if (count <= 0)
        return 0;
    SC_FOR_TYPE(
        dy.type, D,
        SC_FOR_TYPE(dx.type, T,
                    SC_LAUNCH((average_back_kernel<D, T>), sc_blocks(count, SC_BLOCK, MOST),
                              SC_BLOCK, 0, sc_cuda_queue(stream), *p, plain,
                              static_cast<const D *>(dy.p), static_cast<T *>(dx.p), dx.add)));
    return sc_launched();
}
