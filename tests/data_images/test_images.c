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

/* g with `count` chunks of n bytes at `at`; heap. damaged: the checksum is wrong. */
static uint8_t *with_chunks(const golden_image *g, size_t at, int count, const char *name, size_t n,
                            bool damaged, size_t *size)
{
    uint8_t *chunk = calloc(n + 12, 1), *out = malloc(g->n + (size_t)count * (n + 12));
    for (int i = 0; i < 4; i++)
        chunk[i] = (uint8_t)(n >> (24 - 8 * i));
    memcpy(chunk + 4, name, 4);
    memset(chunk + 8, 'x', n);
    uint32_t crc = sc_crc32(0, chunk + 4, n + 4) ^ (damaged ? 1 : 0);
    for (int i = 0; i < 4; i++)
        chunk[8 + n + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
    memcpy(out, g->data, at);
    for (int i = 0; i < count; i++)
        memcpy(out + at + (size_t)i * (n + 12), chunk, n + 12);
    memcpy(out + at + (size_t)count * (n + 12), g->data + at, g->n - at);
    *size = g->n + (size_t)count * (n + 12);
    free(chunk);
    return out;
}

/* Where the first chunk of that name begins, or, `behind`, ends. */
static size_t chunk_at(const golden_image *g, const char *name, bool behind)
{
    for (size_t at = 8; at + 12 <= g->n;) {
        const uint8_t *p = (const uint8_t *)g->data + at;
        size_t whole = ((size_t)p[2] << 8 | p[3]) + 12;
        if (memcmp(p + 4, name, 4) == 0)
            return behind ? at + whole : at;
        at += whole;
    }
    return 0;
}

/* What only describes a picture may be large, many and nonsense, but not damaged. */
static void test_png_ancillary(void **state)
{
    (void)state;
    static const struct {
        const char *file, *before, *name;
        int count;
        size_t n;
    } kinds[] = {
        {"png_c2_d8_0.png", "IDAT", "iTXt", 1, 9 << 20},
        {"png_c2_d8_0.png", "IEND", "iTXt", 1, 9 << 20},
        {"png_c3_d2_0.png", "IDAT", "tRNS", 1, 300},
        {"png_c3_d8_i_0.png", "IDAT", "tRNS", 3, 0},
        {"png_c4_d8_0.png", "IDAT", "tRNS", 1, 2},
        {"png_c0_d16_0.png", "IDAT", "gAMA", 2, 5},
        {"png_c6_d16_i_0.png", "IDAT", "iCCP", 1, 5000},
        {"png_c0_d1_0.png", "IDAT", "tEXt", 500, 3},
        {"png_c2_d16_0.png", "IEND", "eXIf", 2, 70000},
        {"png_c3_d4_0.png", "PLTE", "bKGD", 1, 1},
    };
    int n;
    golden_image *all = golden_images(&n);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        golden_image *g = all;
        while (strcmp(g->name, kinds[k].file) != 0)
            assert_true(++g < all + n);
        size_t at = chunk_at(g, kinds[k].before, false);
        assert_true(at > 8);
        golden_image more = *g;
        for (int damaged = 0; damaged < 2; damaged++) {
            uint8_t *data =
                with_chunks(g, at, kinds[k].count, kinds[k].name, kinds[k].n, damaged, &more.n);
            more.data = (void *)data;
            snprintf(more.words, sizeof more.words, "%s: CRC error", kinds[k].name);
            damaged ? check_bad(&more) : check_good(&more);
            if (!damaged) { /* cut inside the last of them */
                more.n = at + 12 * (size_t)kinds[k].count + kinds[k].n * (size_t)kinds[k].count - 1;
                snprintf(more.words, sizeof more.words, "ends early");
                check_bad(&more);
            }
            free(data);
        }
    }
    golden_images_free(all, n);
}

/* The pixels' chunks stand together, and a critical chunk that nobody knows is not passed over. */
static void test_png_order(void **state)
{
    (void)state;
    int n;
    golden_image *all = golden_images(&n), *g = all;
    while (strcmp(g->name, "png_c2_d8_0.png") != 0)
        g++;
    golden_image bad = *g;
    bad.words[0] = '\0';
    uint8_t *data = with_chunks(g, chunk_at(g, "IDAT", false), 1, "ABCD", 3, false, &bad.n);
    bad.data = (void *)data;
    check_bad(&bad);
    free(data);

    size_t at = chunk_at(g, "IDAT", false), end = chunk_at(g, "IDAT", true), half = (end - at) / 2;
    golden_image cut = *g; /* one IDAT as two, a text between them */
    cut.n = g->n + 12;
    uint8_t *two = malloc(cut.n);
    memcpy(two, g->data, g->n);
    size_t body = end - at - 12;
    const uint8_t *p = (const uint8_t *)g->data + at + 8;
    uint8_t *q = two + at;
    for (int part = 0; part < 2; part++) {
        size_t m = part ? body - half : half;
        q[0] = q[1] = 0, q[2] = (uint8_t)(m >> 8), q[3] = (uint8_t)m;
        memcpy(q + 4, "IDAT", 4);
        memcpy(q + 8, p, m);
        uint32_t crc = sc_crc32(0, q + 4, m + 4);
        for (int i = 0; i < 4; i++)
            q[8 + m + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        q += m + 12, p += m;
    }
    memcpy(q, (const uint8_t *)g->data + end, g->n - end);
    cut.data = (void *)two;
    check_good(&cut);
    data = with_chunks(&cut, at + half + 12, 1, "tEXt", 3, false, &bad.n);
    bad.data = (void *)data;
    check_bad(&bad);
    free(data);
    free(two);
    golden_images_free(all, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_pixel_limit),
        cmocka_unit_test(test_content_against_name),
        cmocka_unit_test(test_png_ancillary),
        cmocka_unit_test(test_png_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
