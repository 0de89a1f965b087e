/* augment: two launches over the whole batch. Contrast blends with the mean grey of its own input,
 * so the first sums the grey of every image as it stands at contrast's place in the order; the
 * second goes through the result pixel by pixel: where rotation, flips and crop took it from, the
 * jitter of that one source pixel (jitter is pointwise once the mean is known), the normalised
 * table entry, the erased box. The bytes are those of torchvision on PIL images; blend must not be
 * contracted.
 */
#include "device.cuh"

extern "C" {
#include "superclip/tensor.h"
}

enum { BRIGHTNESS, CONTRAST, SATURATION, HUE };

__device__ __forceinline__ int grey(const int c[3])
{
    return (19595 * c[0] + 38470 * c[1] + 7471 * c[2] + 32768) >> 16;
}
/* PIL's blend(a, b, alpha): two float roundings, truncation */
__device__ __forceinline__ int blend(int a, int b, float alpha)
{
    const float t = __fadd_rn(static_cast<float>(a), __fmul_rn(alpha, static_cast<float>(b - a)));
    return t <= 0.0f ? 0 : t >= 255.0f ? 255 : static_cast<int>(t);
}

/* Bit h % 32 of word h / 32: hues whose float chain in Pillow lands just below the exact integer.
 */
__device__ __forceinline__ bool lands_below(int h)
{
    const unsigned word = h < 32    ? 0xfffffffeu
                          : h < 64  ? 0u
                          : h < 96  ? 0x11000000u
                          : h < 128 ? 0x00000111u
                          : h < 160 ? 0x222aaaaau
                          : h < 192 ? 0x23232222u
                          : h < 224 ? 0x00022222u
                                    : 0u;
    return word >> (h & 31) & 1u;
}
__device__ __forceinline__ void turn_hue(int c[3], int shift)
{
    const int r = c[0], g = c[1], b = c[2];
    const int v = max(r, max(g, b)), chroma = v - min(r, min(g, b));
    int h = 0, s = 0;
    if (chroma != 0) {
        int n = r == v ? g - b : g == v ? 2 * chroma + b - r : 4 * chroma + r - g;
        n += n < 0 ? 6 * chroma : 0;
        h = 85 * n / (2 * chroma);
        h -= 85 * n == 2 * chroma * h && lands_below(h) ? 1 : 0;
        s = 255 * chroma / v;
    }
    h = (h + shift) & 255;
    if (s == 0) {
        c[0] = c[1] = c[2] = v;
        return;
    }
    const int i = 6 * h / 255, k = (6 * h - 255 * i) / 3; /* sector, and place in it in 85ths */
    const int p = (2 * v * (255 - s) + 255) / 510;
    const int q = (v * (21675 - s * k) + 10837) / 21675;
    const int t = (v * (21675 - s * (85 - k)) + 10837) / 21675;
    const int sector = i == 6 ? 0 : i;
    c[0] = sector == 0 || sector == 5 ? v : sector == 1 ? q : sector == 4 ? t : p;
    c[1] = sector == 1 || sector == 2 ? v : sector == 0 ? t : sector == 3 ? q : p;
    c[2] = sector == 3 || sector == 4 ? v : sector == 2 ? t : sector == 5 ? q : p;
}

/* Steps [from, to) of the jitter order. */
__device__ __forceinline__ void jitter(int c[3], const sc_augment &a, int from, int to, int mean)
{
    for (int k = from; k < to; k++) {
        const int what = a.jitter_order[k];
        if (what == HUE) {
            turn_hue(c, static_cast<int>(static_cast<double>(a.hue) * 255.0));
            continue;
        }
        const float f = what == BRIGHTNESS ? a.brightness
                        : what == CONTRAST ? a.contrast
                                           : a.saturation;
        const int with = what == BRIGHTNESS ? 0 : what == CONTRAST ? mean : grey(c);
        for (int j = 0; j < 3; j++)
            c[j] = blend(with, c[j], f);
    }
}
__device__ __forceinline__ int contrast_place(const sc_augment &a)
{
    for (int k = 0; k < 4; k++)
        if (a.jitter_order[k] == CONTRAST)
            return k;
    return 0;
}

__device__ __forceinline__ bool box_inside(int top, int left, int h, int w, int size)
{
    return top >= 0 && left >= 0 && h >= 0 && w >= 0 && h <= size && w <= size && top <= size - h &&
           left <= size - w;
}
/* Draws that would read outside the row are a bug of the caller: told, and the image stays blank.
 */
__device__ __forceinline__ bool valid(const sc_augment &a, int side, int crop)
{
    unsigned seen = 0;
    for (int k = 0; k < 4; k++)
        seen |= 1u << (a.jitter_order[k] & 7);
    return box_inside(a.crop_top, a.crop_left, crop, crop, side) &&
           box_inside(a.erase_top, a.erase_left, a.erase_h, a.erase_w, crop) &&
           (!a.jitter || seen == 15u);
}

struct image {
    const uint8_t *row;
    sc_augment a;
    bool ok;
};
__device__ __forceinline__ image image_of(const sc_cuda_augment &p, int64_t i)
{
    image m;
    m.a = static_cast<const sc_augment *>(p.draws)[i];
    m.row = p.rows + 3 * i * p.side * p.side;
    m.ok = valid(m.a, p.side, p.crop);
    return m;
}
__device__ __forceinline__ void read_pixel(const image &m, int side, int y, int x, int c[3])
{
    const uint8_t *p =
        m.row + 3 * (static_cast<int64_t>(m.a.crop_top + y) * side + m.a.crop_left + x);
    for (int j = 0; j < 3; j++)
        c[j] = p[j];
}

/* grid (SC_CUDA_GREY_PARTS, n): integers, so any order gives the same sum */
__global__ void __launch_bounds__(SC_BLOCK) grey_kernel(sc_cuda_augment p)
{
    SC_SHARED(unsigned long long, slots, SC_WARP);
    const image m = image_of(p, blockIdx.y);
    if (!m.ok) {
        if (blockIdx.x == 0 && threadIdx.x == 0)
            atomicMax(p.fault, static_cast<int>(blockIdx.y) + 1);
        return;
    }
    if (!m.a.jitter)
        return;
    const int place = contrast_place(m.a), pixels = p.crop * p.crop;
    unsigned long long sum = 0;
    for (int i = static_cast<int>(blockIdx.x * SC_BLOCK + threadIdx.x); i < pixels;
         i += SC_CUDA_GREY_PARTS * SC_BLOCK) {
        int c[3];
        read_pixel(m, p.side, i / p.crop, i % p.crop, c);
        jitter(c, m.a, 0, place, 0);
        sum += static_cast<unsigned long long>(grey(c));
    }
    sum = sc_block_sum(sum, slots);
    if (threadIdx.x == 0)
        p.sums[static_cast<int64_t>(blockIdx.y) * SC_CUDA_GREY_PARTS + blockIdx.x] = sum;
}

template <typename T>
__device__ __forceinline__ void write_pixel(T *out, int64_t at, int channels, const float v[3])
{
    sc_vec<8> r = {};
    for (int j = 0; j < 3; j++)
        r.v[j] = v[j];
    sc_store<8>(out, at, r);
    const sc_vec<8> zero = {};
    for (int c = 8; c < channels; c += 8)
        sc_store<8>(out, at + c, zero);
}

/* grid (pixels, n) */
template <typename T>
__global__ void __launch_bounds__(SC_BLOCK) augment_kernel(sc_cuda_augment p, T *out)
{
    const image m = image_of(p, blockIdx.y);
    const int pixels = p.crop * p.crop;
    int mean = 0;
    if (m.ok && m.a.jitter) {
        unsigned long long sum = 0;
        for (int k = 0; k < SC_CUDA_GREY_PARTS; k++)
            sum += p.sums[static_cast<int64_t>(blockIdx.y) * SC_CUDA_GREY_PARTS + k];
        const unsigned long long n = static_cast<unsigned long long>(pixels);
        mean = static_cast<int>((2 * sum + n) / (2 * n));
    }
    for (int i = static_cast<int>(blockIdx.x * SC_BLOCK + threadIdx.x); i < pixels;
         i += static_cast<int>(gridDim.x * SC_BLOCK)) {
        const int y = i / p.crop, x = i % p.crop;
        int sy = y, sx = x, c[3] = {0, 0, 0};
        if (m.ok && m.a.rotate) {
            const int32_t *f = m.a.rotate_fix;
            sx = (f[2] + x * f[0] + y * f[1]) >> 16;
            sy = (f[5] + x * f[3] + y * f[4]) >> 16;
        }
        if (m.ok && sx >= 0 && sx < p.crop && sy >= 0 && sy < p.crop) {
            read_pixel(m, p.side, m.a.flip_v ? p.crop - 1 - sy : sy,
                       m.a.flip_h ? p.crop - 1 - sx : sx, c);
            if (m.a.jitter)
                jitter(c, m.a, 0, 4, mean);
        }
        float v[3];
        const bool erased = y >= m.a.erase_top && y - m.a.erase_top < m.a.erase_h &&
                            x >= m.a.erase_left && x - m.a.erase_left < m.a.erase_w;
        for (int j = 0; j < 3; j++)
            v[j] = erased ? 0.0f : p.table[256 * j + c[j]];
        write_pixel(out, (static_cast<int64_t>(blockIdx.y) * pixels + i) * p.channels, p.channels,
                    v);
    }
}

extern "C" int sc_cuda_augment_run(void *stream, const sc_cuda_augment *a, void *out,
                                   sc_cuda_type type)
{
    if (a->n <= 0)
        return 0;
    const unsigned n = static_cast<unsigned>(a->n);
    SC_LAUNCH(grey_kernel, dim3(SC_CUDA_GREY_PARTS, n), SC_BLOCK, 0, sc_cuda_queue(stream), *a);
    const int failed = sc_launched();
    if (failed != 0)
        return failed;
    const unsigned blocks = sc_blocks(static_cast<int64_t>(a->crop) * a->crop, 2 * SC_BLOCK, 1024);
    SC_FOR_TYPE(type, T,
                SC_LAUNCH((augment_kernel<T>), dim3(blocks, n), SC_BLOCK, 0, sc_cuda_queue(stream),
                          *a, static_cast<T *>(out)));
    return sc_launched();
}
