#include "crc32_x86.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* zlib counts in unsigned int: larger blocks are fed in pieces. */
static unsigned int piece(size_t n)
{
    const size_t most = (size_t)1 << 30;
    return (unsigned int)(n < most ? n : most);
}

uint32_t sc_crc32(uint32_t crc, const void *data, size_t n)
{
    const unsigned char *p = data;
    if (n >= 64 && sc_crc32_has_x86()) {
        size_t most = n & ~(size_t)15;
        crc = sc_crc32_x86(crc, p, most);
        p += most;
        n -= most;
    }
    while (n > 0) {
        unsigned int now = piece(n);
        crc = (uint32_t)crc32(crc, p, now);
        p += now;
        n -= now;
    }
    return crc;
}

static sc_status damaged(const z_stream *z, const char *what)
{
    return sc_fail(SC_EFORMAT, "compressed data is damaged: %s", z->msg ? z->msg : what);
}

sc_status sc_inflate_raw(const void *src, size_t src_len, void *dst, size_t dst_len)
{
    z_stream z = {0};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
        return sc_fail(SC_ENOMEM, "out of memory: inflate");
    /* zlib wants a place to write even where nothing may be written */
    unsigned char nothing[1];
    z.next_in = (z_const Bytef *)src;
    z.next_out = dst_len ? dst : nothing;
    size_t in_left = src_len, out_left = dst_len;
    int rc = Z_OK;
    while (rc == Z_OK) {
        unsigned int in_now = piece(in_left), out_now = piece(out_left);
        z.avail_in = in_now;
        z.avail_out = out_now;
        rc = inflate(&z, Z_NO_FLUSH);
        in_left -= in_now - z.avail_in;
        out_left -= out_now - z.avail_out;
    }
    sc_status status = SC_OK;
    if (rc == Z_MEM_ERROR)
        status = sc_fail(SC_ENOMEM, "out of memory: inflate");
    else if (rc == Z_BUF_ERROR && in_left > 0)
        status = damaged(&z, "it holds more than its size says");
    else if (rc == Z_BUF_ERROR)
        status = damaged(&z, "it ends too early");
    else if (rc != Z_STREAM_END)
        status = damaged(&z, "invalid stream");
    else if (out_left > 0)
        status = damaged(&z, "it holds less than its size says");
    else if (in_left > 0)
        status = damaged(&z, "bytes follow its end");
    inflateEnd(&z);
    return status;
}

bool sc_is_gzip(const void *data, size_t n)
{
    const unsigned char *p = data;
    return n >= 2 && p[0] == 0x1f && p[1] == 0x8b;
}

/* Inflates what is left of one gzip member into `out`. */
static sc_status gunzip_member(z_stream *z, size_t *in_left, size_t max_bytes, sc_text *out)
{
    unsigned char chunk[1 << 14];
    int rc = Z_OK;
    while (rc == Z_OK) {
        unsigned int in_now = piece(*in_left);
        z->avail_in = in_now;
        z->next_out = chunk;
        z->avail_out = sizeof chunk;
        rc = inflate(z, Z_NO_FLUSH);
        *in_left -= in_now - z->avail_in;
        size_t made = sizeof chunk - z->avail_out;
        if (made > max_bytes - out->len)
            return sc_fail(SC_EFORMAT, "compressed data holds more than the %zu bytes allowed here",
                           max_bytes);
        sc_text_add(out, chunk, made);
        SC_TRY(sc_text_status(out));
    }
    if (rc == Z_MEM_ERROR)
        return sc_fail(SC_ENOMEM, "out of memory: gunzip");
    if (rc == Z_BUF_ERROR)
        return damaged(z, "it ends too early");
    return rc == Z_STREAM_END ? SC_OK : damaged(z, "invalid stream");
}

sc_status sc_gunzip(const void *src, size_t src_len, size_t max_bytes, char **dst, size_t *n)
{
    *dst = NULL;
    *n = 0;
    if (!sc_is_gzip(src, src_len))
        return sc_fail(SC_EFORMAT, "not a gzip file");
    z_stream z = {0};
    if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
        return sc_fail(SC_ENOMEM, "out of memory: gunzip");
    z.next_in = (z_const Bytef *)src;
    size_t in_left = src_len;
    sc_text out;
    sc_text_init(&out);
    sc_status status = SC_OK;
    do {
        status = gunzip_member(&z, &in_left, max_bytes, &out);
        /* members may follow each other; other bytes at the end are damage */
        if (status == SC_OK && in_left > 0) {
            if (!sc_is_gzip(z.next_in, in_left))
                status = sc_fail(SC_EFORMAT, "compressed data is damaged: bytes follow its end");
            else if (inflateReset(&z) != Z_OK)
                status = sc_fail(SC_ENOMEM, "out of memory: gunzip");
        }
    } while (status == SC_OK && in_left > 0);
    inflateEnd(&z);
    if (status == SC_OK) {
        sc_text_add(&out, "", 0); /* an empty file is a valid pointer, too */
        status = sc_text_status(&out);
    }
    if (status != SC_OK) {
        sc_text_free(&out);
        return status;
    }
    *dst = out.data;
    *n = out.len;
    return SC_OK;
}
