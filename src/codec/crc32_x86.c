/* The message is a polynomial over GF(2); 128 bits of it are moved D bits further by multiplying
 * their halves with x^(D+64) and x^D modulo the CRC's polynomial, and what they meet there is
 * added. Four such streams run side by side. Source: V. Gopal et al., "Fast CRC Computation for
 * Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009; constants of its appendix, for the
 * bit-reflected 0xEDB88320.
 */
#include "crc32_x86.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <immintrin.h>

static bool ask_processor(void)
{
    unsigned int a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_PCLMUL) && (c & bit_SSE4_1);
}

bool sc_crc32_has_x86(void)
{
    static _Atomic int answer; /* 0 not asked, 1 no, 2 yes */
    if (answer == 0)
        answer = ask_processor() ? 2 : 1;
    return answer == 2;
}

#define TARGET __attribute__((target("pclmul,sse4.1")))

/* x, moved by the distance of `by`, plus what is there. */
TARGET static inline __m128i fold(__m128i x, __m128i by, __m128i there)
{
    const __m128i low = _mm_clmulepi64_si128(x, by, 0x00), high = _mm_clmulepi64_si128(x, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), there);
}

TARGET static inline __m128i load(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

TARGET uint32_t sc_crc32_x86(uint32_t crc, const uint8_t *p, size_t n)
{
    const __m128i by_512 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4);
    const __m128i by_128 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const __m128i by_64 = _mm_set_epi64x(0, 0x0163cd6124);
    const __m128i barrett = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    const __m128i low_words = _mm_setr_epi32(~0, 0, ~0, 0);
    __m128i x[4];
    for (int i = 0; i < 4; i++)
        x[i] = load(p + 16 * i);
    x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)~crc));
    for (p += 64, n -= 64; n >= 64; p += 64, n -= 64)
        for (int i = 0; i < 4; i++)
            x[i] = fold(x[i], by_512, load(p + 16 * i));
    __m128i y = x[0];
    for (int i = 1; i < 4; i++)
        y = fold(y, by_128, x[i]);
    for (; n >= 16; p += 16, n -= 16)
        y = fold(y, by_128, load(p));
    /* 128 bits to 96, to 64 */
    y = _mm_xor_si128(_mm_srli_si128(y, 8), _mm_clmulepi64_si128(y, by_128, 0x10));
    y = _mm_xor_si128(_mm_srli_si128(y, 4),
                      _mm_clmulepi64_si128(_mm_and_si128(y, low_words), by_64, 0x00));
    /* Barrett's reduction to 32 */
    __m128i q = _mm_clmulepi64_si128(_mm_and_si128(y, low_words), barrett, 0x10);
    q = _mm_clmulepi64_si128(_mm_and_si128(q, low_words), barrett, 0x00);
    return ~(uint32_t)_mm_extract_epi32(_mm_xor_si128(y, q), 1);
}
#else
bool sc_crc32_has_x86(void)
{
    return false;
}

uint32_t sc_crc32_x86(uint32_t crc, const uint8_t *p, size_t n)
{
    (void)p, (void)n; /* nobody calls it */
    return crc;
}
#endif
