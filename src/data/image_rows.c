/* Image files to rows, by several threads at once. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "image_priv.h"

/* An image file of more bytes is refused before it is read. */
#define MAX_FILE_BYTES ((size_t)1 << 30)
/* Images of more pixels are decoded one at a time, to bound memory. */
#define LARGE_PIXELS 24e6

struct sc_row_maker {
    sc_decode_options decode;
    pthread_mutex_t large;
};

sc_status sc_row_maker_open(const sc_decode_options *o, sc_row_maker **out)
{
    sc_row_maker *m = *out = sc_alloc(1, sizeof *m);
    if (!m)
        return SC_ENOMEM;
    if (o)
        m->decode = *o;
    if (!(m->decode.max_pixels > 0))
        m->decode.max_pixels = SC_DEFAULT_MAX_PIXELS;
    pthread_mutex_init(&m->large, NULL);
    return SC_OK;
}

void sc_row_maker_free(sc_row_maker *m)
{
    if (!m)
        return;
    pthread_mutex_destroy(&m->large);
    free(m);
}

sc_status sc_image_read(const char *path, char **data, size_t *n)
{
    sc_status status = sc_read_file(path, MAX_FILE_BYTES, data, n);
    if (status == SC_OK || status == SC_ENOMEM)
        return status;
    const char *message = sc_message();
    size_t prefix = strlen(path) + 2; /* "PATH: " */
    return sc_fail(SC_EFORMAT, "%s", strlen(message) > prefix ? message + prefix : message);
}

static sc_status decode_and_resize(const char *name, const void *data, size_t n,
                                   const sc_decode_options *o, const int *sizes,
                                   uint8_t *const *rows, int count, sc_decode_notes *notes)
{
    sc_image image;
    SC_TRY(sc_image_decode(name, data, n, o, &image, notes));
    sc_status status = SC_OK;
    for (int k = 0; k < count && status == SC_OK; k++)
        status = sc_image_resize(&image, sizes[k], sizes[k], rows[k]);
    sc_image_free(&image);
    return status;
}

sc_status sc_row_maker_rows(sc_row_maker *m, const char *name, const void *data, size_t n,
                            const int *sizes, uint8_t *const *rows, int count,
                            sc_decode_notes *notes)
{
    sc_decode_options o = m->decode;
    bool limited = o.max_pixels > LARGE_PIXELS;
    if (limited)
        o.max_pixels = LARGE_PIXELS;
    sc_status status = decode_and_resize(name, data, n, &o, sizes, rows, count, notes);
    if (!limited || status != SC_EFORMAT || notes->pixels <= LARGE_PIXELS)
        return status;
    pthread_mutex_lock(&m->large);
    status = decode_and_resize(name, data, n, &m->decode, sizes, rows, count, notes);
    pthread_mutex_unlock(&m->large);
    return status;
}
