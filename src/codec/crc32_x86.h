/* CRC-32 with the processor's carry-less multiplication. */
#ifndef SC_CODEC_CRC32_X86_H
#define SC_CODEC_CRC32_X86_H

#include "superclip/codec.h"

bool sc_crc32_has_x86(void);
/* n: a multiple of 16, at least 64. */
uint32_t sc_crc32_x86(uint32_t crc, const uint8_t *p, size_t n);

#endif
