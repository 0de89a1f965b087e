#include "sha256_blocks.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <immintrin.h>

static bool ask_processor(void)
{
    unsigned int a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1))
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

bool sc_sha256_has_x86(void)
{
    /* cpuid leaves a virtual machine and costs more than a block: ask once */
    static _Atomic int answer; /* 0 not asked, 1 no, 2 yes */
    if (answer == 0)
        answer = ask_processor() ? 2 : 1;
    return answer == 2;
}

/* The instructions keep the state as two vectors, (a b e f) and (c d g h), and do four rounds a
 * group; the message schedule w[i + 16] = s1(w[i + 14]) + w[i + 9] + s0(w[i + 1]) + w[i] is made
 * four words at once. */
__attribute__((target("sha,sse4.1,ssse3"))) void
sc_sha256_blocks_x86(uint32_t h[8], const uint8_t *p, size_t blocks)
{
    const __m128i swap_bytes = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)h), 0xB1);
    __m128i high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(h + 4)), 0x1B);
    __m128i abef = _mm_alignr_epi8(low, high, 8);
    __m128i cdgh = _mm_blend_epi16(high, low, 0xF0);
    for (; blocks > 0; blocks--, p += 64) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];
        for (int i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p + 16 * i)), swap_bytes);
        for (int i = 0; i < 16; i++) {
            const __m128i constants =
                _mm_loadu_si128((const __m128i *)(sc_sha256_constants + 4 * i));
            const __m128i k = _mm_add_epi32(w[i % 4], constants);
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, k);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(k, 0x0E));
            const __m128i older = _mm_sha256msg1_epu32(w[i % 4], w[(i + 1) % 4]);
            const __m128i middle = _mm_alignr_epi8(w[(i + 3) % 4], w[(i + 2) % 4], 4);
            w[i % 4] = _mm_sha256msg2_epu32(_mm_add_epi32(older, middle), w[(i + 3) % 4]);
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1B), dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)h, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(h + 4), _mm_alignr_epi8(dchg, feba, 8));
}
#else
bool sc_sha256_has_x86(void)
{
    return false;
}

void sc_sha256_blocks_x86(uint32_t h[8], const uint8_t *p, size_t blocks)
{
    sc_sha256_blocks_plain(h, p, blocks);
}
#endif
