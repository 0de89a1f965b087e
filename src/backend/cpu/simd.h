/* One vector of floats as wide as a channel block, written with compiler vectors: every kernel
 * source is compiled once an instruction set (CMakeLists.txt) and this header is all that differs.
 * `bf` arguments are constants after inlining: true = the memory holds bfloat16, false = float.
 */
#ifndef SC_CPU_SIMD_H
#define SC_CPU_SIMD_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#ifdef __AVX512F__
#define VL 16
#else
#define VL 8
#endif

#define INLINE static inline __attribute__((always_inline, unused))

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));
typedef uint32_t vu __attribute__((vector_size(VL * 4)));
typedef uint16_t vh __attribute__((vector_size(VL * 2)));
typedef double vd __attribute__((vector_size(VL * 8)));

INLINE vf splat(float v)
{
    return v - (vf){0};
}
INLINE vi isplat(int32_t v)
{
    return v - (vi){0};
}
INLINE vf widen(vh h)
{
    return (vf)(__builtin_convertvector(h, vu) << 16);
}
/* Round to nearest even; NaN stays NaN. */
INLINE vh narrow(vf v)
{
#ifdef __AVX512BF16__
    return (vh)_mm512_cvtneps_pbh((__m512)v);
#else
    vu u = (vu)v;
    vu r = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    vu nan = (vu)(v != v);
    return __builtin_convertvector((nan & ((u >> 16) | 0x40)) | (~nan & r), vh);
#endif
}

/* Element i.. of an array of float or bfloat16, any alignment. */
INLINE vf load(const void *p, int64_t i, bool bf)
{
    if (bf) {
        vh h;
        memcpy(&h, (const uint16_t *)p + i, sizeof h);
        return widen(h);
    }
    vf v;
    memcpy(&v, (const float *)p + i, sizeof v);
    return v;
}
INLINE void store(void *p, int64_t i, vf v, bool bf)
{
    if (bf) {
        vh h = narrow(v);
        memcpy((uint16_t *)p + i, &h, sizeof h);
    } else {
        memcpy((float *)p + i, &v, sizeof v);
    }
}
/* A store that leaves the caches alone, 64 (32, 16) byte aligned as the vector is long; call drain
 * behind the last one. */
INLINE void stream(void *p, int64_t i, vf v, bool bf)
{
#if defined(__AVX512F__)
    if (bf)
        _mm256_stream_si256((__m256i *)((uint16_t *)p + i), (__m256i)narrow(v));
    else
        _mm512_stream_ps((float *)p + i, (__m512)v);
#elif defined(__AVX2__)
    if (bf)
        _mm_stream_si128((__m128i *)((uint16_t *)p + i), (__m128i)narrow(v));
    else
        _mm256_stream_ps((float *)p + i, (__m256)v);
#else
    store(p, i, v, bf);
#endif
}
INLINE void drain(void)
{
#ifdef __AVX2__
    _mm_sfence();
#endif
}
/* The first n lanes only; the others read as 0. */
INLINE vf load_part(const void *p, int64_t i, int n, bool bf)
{
    float t[VL] = {0};
    uint16_t h[VL] = {0};
    if (bf) {
        memcpy(h, (const uint16_t *)p + i, (size_t)n * 2);
        return load(h, 0, true);
    }
    memcpy(t, (const float *)p + i, (size_t)n * 4);
    return load(t, 0, false);
}
INLINE void store_part(void *p, int64_t i, int n, vf v, bool bf)
{
    if (bf) {
        vh h = narrow(v);
        memcpy((uint16_t *)p + i, &h, (size_t)n * 2);
    } else {
        memcpy((float *)p + i, &v, (size_t)n * 4);
    }
}

INLINE vf select_vf(vi mask, vf a, vf b)
{
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
}
/* v with every lane from n on set to 0. */
INLINE vf first_lanes(vf v, int n)
{
    float t[VL];
    memcpy(t, &v, sizeof t);
    return load_part(t, 0, n, false);
}
INLINE float sum_lanes(vf v)
{
    float t[VL];
    memcpy(t, &v, sizeof t);
    for (int w = VL / 2; w > 0; w /= 2)
        for (int i = 0; i < w; i++)
            t[i] += t[i + w];
    return t[0];
}
INLINE vd to_double(vf v)
{
    return __builtin_convertvector(v, vd);
}

/* One bit a lane: a block's ReLU mask. */
#if VL == 16
typedef uint16_t lane_bits;
#else
typedef uint8_t lane_bits;
#endif
INLINE lane_bits positive_bits(vf v)
{
#if defined(__AVX512F__)
    return (lane_bits)_mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_GT_OQ);
#elif defined(__AVX2__)
    return (lane_bits)_mm256_movemask_ps(_mm256_cmp_ps((__m256)v, _mm256_setzero_ps(), _CMP_GT_OQ));
#else
    unsigned bits = 0;
    for (int i = 0; i < VL; i++)
        bits |= (unsigned)(v[i] > 0) << i;
    return (lane_bits)bits;
#endif
}
INLINE vf keep_bits(vf v, lane_bits bits)
{
#if defined(__AVX512F__)
    return (vf)_mm512_maskz_mov_ps(bits, (__m512)v);
#else
    vi lane;
    for (int i = 0; i < VL; i++)
        lane[i] = 1 << i;
    return (vf)((vi)v & ((isplat(bits) & lane) != 0));
#endif
}

/* e^x to about 1e-7 relative, 0 below -87: x = k ln 2 + r, |r| <= ln 2 / 2, Taylor to r^7. */
INLINE vf vexp(vf x)
{
    const vf lo = splat(-87.33f), hi = splat(88.72f);
    vi under = x < lo;
    x = select_vf(under, lo, x);
    x = select_vf(x > hi, hi, x);
    const vf magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    vf kf = x * splat(1.44269504f) + magic;
    vi k = (vi)kf - (vi)magic;
    kf = kf - magic;
    vf r = x - kf * splat(0.693359375f);
    r = r - kf * splat(-2.12194440e-4f);
    vf p = splat(1.0f / 5040);
    p = p * r + splat(1.0f / 720);
    p = p * r + splat(1.0f / 120);
    p = p * r + splat(1.0f / 24);
    p = p * r + splat(1.0f / 6);
    p = p * r + splat(0.5f);
    p = p * r + splat(1.0f);
    p = p * r + splat(1.0f);
    /* 2^k in two factors: k may be 128 */
    vi half = k >> 1;
    vf y = p * (vf)((half + 127) << 23) * (vf)((k - half + 127) << 23);
    return select_vf(under, splat(0.0f), y);
}

#endif
