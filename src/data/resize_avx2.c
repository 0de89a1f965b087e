/* The resize passes with 256-bit integer lanes. A 22-bit weight does not fit the 16-bit
 * multiply-add, so it is split, k = high * 2^11 + low, and both halves are summed exactly.
 */
#include "resize_priv.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define TARGET __attribute__((target("avx2")))

/* Two neighbouring weights as the 16-bit pair that one multiply-add takes. */
static inline int32_t pair_high(const int32_t *k)
{
    return k[0] >> 11 | (k[1] >> 11) << 16;
}
static inline int32_t pair_low(const int32_t *k)
{
    return (k[0] & 2047) | (k[1] & 2047) << 16;
}

/* Four taps of RGB from 16 bytes: in the low half channel-wise pairs of taps 0 and 1, in the high
 * half of taps 2 and 3, widened to 16 bits. */
TARGET static inline __m256i taps4(const uint8_t *p)
{
    const __m256i order =
        _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7,
                         -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), order);
}

TARGET static inline void store3(__m256i high, __m256i low, uint8_t *out)
{
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, 11), low);
    __m128i v = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    v = _mm_srai_epi32(_mm_add_epi32(v, _mm_set1_epi32(1 << 21)), 22);
    v = _mm_packus_epi16(_mm_packs_epi32(v, v), v);
    int32_t bytes = _mm_cvtsi128_si32(v);
    memcpy(out, &bytes, 4); /* the fourth byte is overwritten by the next pixel */
}

TARGET static void rows4(const sc_resize_axis *a, const uint8_t *src, size_t src_stride,
                         uint8_t *dst, size_t dst_stride)
{
    for (int o = 0; o < a->m; o++) {
        const int32_t *k = a->k + (size_t)o * (size_t)a->stride;
        const uint8_t *p = src + 3 * (size_t)a->lo[o];
        __m256i high[4], low[4];
        for (int y = 0; y < 4; y++)
            high[y] = low[y] = _mm256_setzero_si256();
        for (int i = 0; i < a->taps; i += 4, p += 12) {
            __m256i kh = _mm256_setr_m128i(_mm_set1_epi32(pair_high(k + i)),
                                           _mm_set1_epi32(pair_high(k + i + 2)));
            __m256i kl = _mm256_setr_m128i(_mm_set1_epi32(pair_low(k + i)),
                                           _mm_set1_epi32(pair_low(k + i + 2)));
            for (int y = 0; y < 4; y++) {
                __m256i v = taps4(p + (size_t)y * src_stride);
                high[y] = _mm256_add_epi32(high[y], _mm256_madd_epi16(v, kh));
                low[y] = _mm256_add_epi32(low[y], _mm256_madd_epi16(v, kl));
            }
        }
        for (int y = 0; y < 4; y++)
            store3(high[y], low[y], dst + (size_t)y * dst_stride + 3 * (size_t)o);
    }
}

TARGET static void row1(const sc_resize_axis *a, const uint8_t *src, uint8_t *dst)
{
    for (int o = 0; o < a->m; o++) {
        const int32_t *k = a->k + (size_t)o * (size_t)a->stride;
        const uint8_t *p = src + 3 * (size_t)a->lo[o];
        __m256i high = _mm256_setzero_si256(), low = _mm256_setzero_si256();
        for (int i = 0; i < a->taps; i += 4, p += 12) {
            __m256i v = taps4(p);
            __m256i kh = _mm256_setr_m128i(_mm_set1_epi32(pair_high(k + i)),
                                           _mm_set1_epi32(pair_high(k + i + 2)));
            __m256i kl = _mm256_setr_m128i(_mm_set1_epi32(pair_low(k + i)),
                                           _mm_set1_epi32(pair_low(k + i + 2)));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(v, kh));
            low = _mm256_add_epi32(low, _mm256_madd_epi16(v, kl));
        }
        store3(high, low, dst + 3 * (size_t)o);
    }
}

static void avx2_rows(const sc_resize_axis *a, const uint8_t *src, size_t src_stride, int rows,
                      uint8_t *dst, size_t dst_stride)
{
    int y = 0;
    for (; y + 4 <= rows; y += 4)
        rows4(a, src + (size_t)y * src_stride, src_stride, dst + (size_t)y * dst_stride,
              dst_stride);
    for (; y < rows; y++)
        row1(a, src + (size_t)y * src_stride, dst + (size_t)y * dst_stride);
}

/* 16 bytes of one output row. `in` is the window's first row at this place. */
TARGET static inline void column16(const int32_t *k, int taps, const uint8_t *in, size_t stride,
                                   uint8_t *out)
{
    __m256i high[2], low[2];
    for (int h = 0; h < 2; h++)
        high[h] = low[h] = _mm256_setzero_si256();
    for (int i = 0; i < taps; i += 2, in += 2 * stride) {
        __m128i first = _mm_loadu_si128((const __m128i *)in), second = _mm_setzero_si128();
        if (i + 1 < taps)
            second = _mm_loadu_si128((const __m128i *)(in + stride));
        __m256i v[2] = {_mm256_cvtepu8_epi16(_mm_unpacklo_epi8(first, second)),
                        _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(first, second))};
        __m256i kh = _mm256_set1_epi32(pair_high(k + i)), kl = _mm256_set1_epi32(pair_low(k + i));
        for (int h = 0; h < 2; h++) {
            high[h] = _mm256_add_epi32(high[h], _mm256_madd_epi16(v[h], kh));
            low[h] = _mm256_add_epi32(low[h], _mm256_madd_epi16(v[h], kl));
        }
    }
    __m256i sums[2];
    for (int h = 0; h < 2; h++) {
        __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high[h], 11), low[h]);
        sums[h] = _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << 21)), 22);
    }
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(sums[0], sums[1]), 0xd8);
    __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)out, bytes);
}

TARGET static void avx2_columns(const sc_resize_axis *a, const uint8_t *src, size_t src_stride,
                                size_t bytes, uint8_t *dst, size_t dst_stride)
{
    if (bytes < 16) {
        sc_resize_plain.columns(a, src, src_stride, bytes, dst, dst_stride);
        return;
    }
    for (int o = 0; o < a->m; o++) {
        const int32_t *k = a->k + (size_t)o * (size_t)a->stride;
        const uint8_t *in = src + (size_t)a->lo[o] * src_stride;
        uint8_t *out = dst + (size_t)o * dst_stride;
        for (size_t x = 0; x + 16 <= bytes; x += 16)
            column16(k, a->taps, in + x, src_stride, out + x);
        if (bytes % 16) /* the last 16 bytes once more, overlapping */
            column16(k, a->taps, in + bytes - 16, src_stride, out + bytes - 16);
    }
}

/* slack: 3 taps of padding and 4 bytes of the last load; low halves: 255 * 2047 * taps < 2^31. */
const sc_resize_kernels sc_resize_avx2 = {"avx2", avx2_rows, avx2_columns, 16, 4096};
#endif
