#include "superclip/base.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>
#define HAVE_HARDWARE_CRC 1
#endif

/* Remainders of one byte, four bits at a time: a table small enough to be a constant of the source,
 * so the fallback needs no initialisation that threads could race on. */
static uint32_t crc_table(uint32_t crc, const unsigned char *p, size_t n)
{
    static const uint32_t nibble[16] = {
        0x00000000u, 0x105EC76Fu, 0x20BD8EDEu, 0x30E349B1u, 0x417B1DBCu, 0x5125DAD3u,
        0x61C69362u, 0x7198540Du, 0x82F63B78u, 0x92A8FC17u, 0xA24BB5A6u, 0xB21572C9u,
        0xC38D26C4u, 0xD3D3E1ABu, 0xE330A81Au, 0xF36E6F75u,
    };
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = (crc >> 4) ^ nibble[crc & 15];
        crc = (crc >> 4) ^ nibble[crc & 15];
    }
    return crc;
}

#ifdef HAVE_HARDWARE_CRC
__attribute__((target("sse4.2"))) static uint32_t crc_hardware(uint32_t crc, const unsigned char *p,
                                                               size_t n)
{
    uint64_t wide = crc;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    uint32_t c = (uint32_t)wide;
    for (; n; p++, n--)
        c = _mm_crc32_u8(c, *p);
    return c;
}
#endif

uint32_t sc_crc32c(uint32_t crc, const void *data, size_t n)
{
    const unsigned char *p = data;
    crc = ~crc;
#ifdef HAVE_HARDWARE_CRC
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_hardware(crc, p, n);
#endif
    return ~crc_table(crc, p, n);
}
