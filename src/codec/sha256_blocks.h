/* The compression function of SHA-256 over whole 64-byte blocks: plain, and with the processor's
 * help. */
#ifndef SC_CODEC_SHA256_BLOCKS_H
#define SC_CODEC_SHA256_BLOCKS_H

#include "superclip/codec.h"

extern const uint32_t sc_sha256_constants[64];
void sc_sha256_blocks_plain(uint32_t h[8], const uint8_t *p, size_t blocks);
/* SHA extensions of x86 (Intel SDM, "SHA256RNDS2"); false when this processor has none. */
bool sc_sha256_has_x86(void);
void sc_sha256_blocks_x86(uint32_t h[8], const uint8_t *p, size_t blocks);

#endif
