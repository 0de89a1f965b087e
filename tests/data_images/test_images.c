/* Every kind of image file gives Pillow's bytes, before and after resizing; bad files are named
 * bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "golden_images.h"
#include "superclip/codec.h"

static sc_decode_options options_of(const golden_image *g)
{
    return (sc_decode_options){
        .max_pixels = 178e6, .window = g->window, .window_lo = g->lo, .window_hi = g->hi};
}

static void check_good(const golden_image *g)
{
    sc_decode_options o = options_of(g);
    sc_image im;
    sc_decode_notes notes;
    if (sc_image_decode(g->name, g->data, g->n, &o, &im, &notes) != SC_OK)
        fail_msg("%s: %s", g->name, sc_message());
    if (im.width != g->width || im.height != g->height)
        fail_msg("%s: %d x %d", g->name, im.width, im.height);
    size_t n = (size_t)im.width * (size_t)im.height * 3;
    if (sc_crc32(0, im.rgb, n) != g->crc[0])
        fail_msg("%s: other pixels", g->name);
    for (int s = 0; s < 3; s++) {
        int w = golden_sizes[s][0], h = golden_sizes[s][1];
        uint8_t *out = malloc((size_t)w * (size_t)h * 3);
        assert_int_equal(sc_image_resize(&im, w, h, out), SC_OK);
        if (sc_crc32(0, out, (size_t)w * (size_t)h * 3) != g->crc[1 + s])
            fail_msg("%s: other pixels at %d x %d", g->name, w, h);
        free(out);
    }
    bool grey16 = strstr(g->name, "grey16") || strstr(g->name, "grey12") || g->window ||
                  strstr(g->name, "white16") || strncmp(g->name, "png_c0_d16", 10) == 0;
    assert_int_equal(notes.grey16, grey16);
    if (strstr(g->name, "grey12"))
        assert_true(notes.grey16_max < 4096);
    sc_image_free(&im);
}

static void check_bad(const golden_image *g)
{
    sc_decode_options o = options_of(g);
    sc_image im;
    if (sc_image_decode(g->name, g->data, g->n, &o, &im, NULL) != SC_EFORMAT)
        fail_msg("%s: was not refused as bad: %s", g->name, sc_message());
    if (!strstr(sc_message(), g->words))
        fail_msg("%s: '%s' does not say '%s'", g->name, sc_message(), g->words);
    assert_null(im.rgb);
}

static void test_golden(void **state)
{
    (void)state;
    int n, good = 0, bad = 0;
    golden_image *all = golden_images(&n);
    for (int i = 0; i < n; i++) {
        if (all[i].words[0])
            check_bad(&all[i]), bad++;
        else
            check_good(&all[i]), good++;
    }
    assert_true(good >= 150 && bad >= 20);
    golden_images_free(all, n);
}

/* A tiny allowance refuses every image, whatever its format, before its pixels are allocated. */
static void test_pixel_limit(void **state)
{
    (void)state;
    int n;
    golden_image *all = golden_images(&n);
    for (int i = 0; i < n; i++) {
        double pixels = (double)all[i].width * all[i].height;
        if (all[i].words[0] || pixels < 2)
            continue;
        sc_decode_options o = {.max_pixels = pixels - 1};
        sc_image im;
        assert_int_equal(sc_image_decode(all[i].name, all[i].data, all[i].n, &o, &im, NULL),
                         SC_EFORMAT);
        if (!strstr(sc_message(), "limit"))
            fail_msg("%s: %s", all[i].name, sc_message());
        o.max_pixels = pixels;
        assert_int_equal(sc_image_decode(all[i].name, all[i].data, all[i].n, &o, &im, NULL), SC_OK);
        sc_image_free(&im);
    }
    golden_images_free(all, n);
}

static void test_content_against_name(void **state)
{
    (void)state;
    int n;
    golden_image *all = golden_images(&n);
    const char *const names[] = {"a/b.jpg", "a/b.PNG", "a/b.bmp", "a/b.tiff", "a/b.webp"};
    for (int i = 0; i < n; i++) {
        if (all[i].words[0])
            continue;
        int opened = 0;
        for (int k = 0; k < 5; k++) {
            sc_image im;
            if (sc_image_decode(names[k], all[i].data, all[i].n, NULL, &im, NULL) == SC_OK) {
                opened++;
                sc_image_free(&im);
            }
        }
        assert_int_equal(opened, 1);
    }
    golden_images_free(all, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_pixel_limit),
        cmocka_unit_test(test_content_against_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
