/* JPEG through libjpeg-turbo's jpeglib, with its defaults (accurate DCT, fancy upsampling):
 * Pillow's bytes. Warnings of the library mean damaged data and are errors here.
 */
#include "image_priv.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

typedef struct jpeg_reader {
    struct jpeg_decompress_struct lib;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    char message[JMSG_LENGTH_MAX];
    int max_scans;
    bool too_many_scans;
    uint8_t *row; /* of 1 or 4 components */
} jpeg_reader;

static void on_error(j_common_ptr lib)
{
    jpeg_reader *r = lib->client_data;
    lib->err->format_message(lib, r->message);
    longjmp(r->back, 1);
}

/* level -1: corrupt data that the library could paper over, but for two codes that only tell of
 * unusual headers. Others: trace, of no interest. */
static void on_message(j_common_ptr lib, int level)
{
    int code = lib->err->msg_code;
    if (level < 0 && code != JWRN_JFIF_MAJOR && code != JWRN_ADOBE_XFORM)
        on_error(lib);
}

static void on_output(j_common_ptr lib)
{
    (void)lib;
}

/* A progressive file may hold any number of scans, each of which costs a pass over all
 * coefficients. */
static void on_progress(j_common_ptr lib)
{
    jpeg_reader *r = lib->client_data;
    if (lib->is_decompressor && r->lib.input_scan_number > r->max_scans) {
        r->too_many_scans = true;
        longjmp(r->back, 1);
    }
}

/* 500 scans for a small image, never fewer than 32 (encoders write about 10). */
static int scan_limit(double pixels)
{
    double n = 2e9 / pixels;
    return n > 500 ? 500 : n < 32 ? 32 : (int)n;
}

static sc_status read_pixels(jpeg_reader *r, const sc_encoded *in, sc_image *out)
{
    struct jpeg_decompress_struct *lib = &r->lib;
    jpeg_mem_src(lib, in->data, (unsigned long)in->n);
    jpeg_read_header(lib, TRUE);
    SC_TRY(sc_image_check_size(in, lib->image_width, lib->image_height));
    r->max_scans = scan_limit((double)lib->image_width * lib->image_height);
    int components = lib->num_components;
    if (components != 1 && components != 3 && components != 4)
        return sc_fail(SC_EFORMAT, "JPEG with %d components", components);
    lib->out_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_start_decompress(lib);
    SC_TRY(sc_image_new(in, lib->output_width, lib->output_height, out));
    size_t width = (size_t)out->width;
    if (components != 3)
        SC_TRY(sc_decode_buffer(in, width, (size_t)components, &r->row));
    while (lib->output_scanline < lib->output_height) {
        uint8_t *rgb = out->rgb + 3 * width * lib->output_scanline;
        if (components == 3) {
            JSAMPROW rows[8];
            JDIMENSION left = lib->output_height - lib->output_scanline, n = left < 8 ? left : 8;
            for (JDIMENSION i = 0; i < n; i++)
                rows[i] = rgb + 3 * width * i;
            jpeg_read_scanlines(lib, rows, n);
            continue;
        }
        jpeg_read_scanlines(lib, &r->row, 1);
        if (components == 1) {
            sc_rgb_from_grey(r->row, width, rgb);
        } else {
            /* Pillow takes every four-component JPEG as Adobe's inverted one */
            for (size_t i = 0; i < 4 * width; i++)
                r->row[i] = (uint8_t)(255 - r->row[i]);
            sc_rgb_from_cmyk(r->row, width, rgb);
        }
    }
    jpeg_finish_decompress(lib);
    return SC_OK;
}

sc_status sc_decode_jpeg(const sc_encoded *in, sc_image *out)
{
    jpeg_reader *r = sc_alloc(1, sizeof *r);
    if (!r)
        return SC_ENOMEM;
    r->lib.err = jpeg_std_error(&r->errors);
    r->errors.error_exit = on_error;
    r->errors.emit_message = on_message;
    r->errors.output_message = on_output;
    r->progress.progress_monitor = on_progress;
    r->lib.client_data = r;
    sc_status status;
    if (setjmp(r->back) == 0) {
        jpeg_create_decompress(&r->lib);
        r->lib.progress = &r->progress;
        status = read_pixels(r, in, out);
    } else if (r->too_many_scans) {
        status = sc_fail(SC_EFORMAT, "JPEG with more than %d scans", r->max_scans);
    } else {
        status = sc_fail(SC_EFORMAT, "damaged JPEG: %s", r->message);
    }
    jpeg_destroy_decompress(&r->lib);
    free(r->row);
    free(r);
    return status;
}
