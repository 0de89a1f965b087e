/* A file that is read by position. Every place a file declares is checked against its size here. */
#ifndef SC_WEIGHTS_INPUT_FILE_H
#define SC_WEIGHTS_INPUT_FILE_H

#include "superclip/base.h"

typedef struct sc_input_file {
    const char *path; /* the caller's, must live on */
    int fd;
    uint64_t size;
} sc_input_file;

sc_status sc_input_open(const char *path, sc_input_file *out); /* regular files only */
void sc_input_close(sc_input_file *f);
/* Exactly n bytes at offset; SC_EFORMAT when they are not all inside the file. */
sc_status sc_input_read(const sc_input_file *f, void *dst, uint64_t n, uint64_t offset);

static inline uint16_t sc_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t sc_le32(const uint8_t *p)
{
    return (uint32_t)sc_le16(p) | (uint32_t)sc_le16(p + 2) << 16;
}
static inline uint64_t sc_le64(const uint8_t *p)
{
    return (uint64_t)sc_le32(p) | (uint64_t)sc_le32(p + 4) << 32;
}

#endif
