/* codec: byte codecs and digests that several file formats share. Only home of zlib. */
#ifndef SUPERCLIP_CODEC_H
#define SUPERCLIP_CODEC_H

#include "superclip/base.h"

/* CRC-32 of zip, gzip and PNG (zlib's). Start with 0. */
uint32_t sc_crc32(uint32_t crc, const void *data, size_t n);

/* Raw DEFLATE (zip method 8) from src into exactly dst_len bytes; anything else is SC_EFORMAT. */
sc_status sc_inflate_raw(const void *src, size_t src_len, void *dst, size_t dst_len);
/* gzip member(s) of unknown size; refuses more than max_bytes. Caller frees *dst. */
sc_status sc_gunzip(const void *src, size_t src_len, size_t max_bytes, char **dst, size_t *n);
bool sc_is_gzip(const void *data, size_t n);

typedef struct sc_sha256 { uint32_t h[8]; uint64_t bytes; uint8_t block[64]; } sc_sha256;
void sc_sha256_init(sc_sha256 *s);
void sc_sha256_update(sc_sha256 *s, const void *data, size_t n);
void sc_sha256_final(sc_sha256 *s, uint8_t digest[32]);
void sc_sha256_hex(const uint8_t digest[32], char hex[65]);
sc_status sc_sha256_file(const char *path, uint8_t digest[32]);

#endif
