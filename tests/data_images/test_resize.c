/* The bilinear resize: known bytes of Pillow, and every SIMD path against the plain one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/data/resize_priv.h"
#include "superclip/codec.h"

/* Byte n of the test image is (29 n n + 37 n + 11) & 255. */
static sc_image gen(int w, int h)
{
    sc_image im = {w, h, malloc((size_t)w * (size_t)h * 3)};
    for (uint32_t n = 0; n < (uint32_t)(w * h * 3); n++)
        im.rgb[n] = (uint8_t)(29 * n * n + 37 * n + 11);
    return im;
}

typedef struct known {
    int w, h, to_w, to_h;
    const char *hex;
    uint32_t crc;
} known;
static const known table[] = {
    {5, 3, 3, 2, "5b6988957d6668825b5f9190486854d68b88", 0},
    {2, 2, 3, 3, "0b4dc9455eb17f6f9984749e838a8b82a078fd9b73c1b66585d157", 0},
    {3, 7, 2, 2, "517d6b8b6a7188725b8987aa", 0}, /* rows first */
    {64, 48, 17, 23, NULL, 0xc8d26bd4},
    {50, 40, 128, 96, NULL, 0x3c0cf492},
    {640, 480, 246, 246, NULL, 0xdace7698},
    {97, 211, 32, 32, NULL, 0xc0761e30},
    {300, 400, 224, 224, NULL, 0x832c466b},
};

static void test_known(void **state)
{
    (void)state;
    const sc_resize_kernels *k;
    for (int i = 0; (k = sc_resize_kernels_at(i)); i++)
        for (size_t t = 0; t < sizeof table / sizeof table[0]; t++) {
            sc_image im = gen(table[t].w, table[t].h);
            size_t n = (size_t)table[t].to_w * (size_t)table[t].to_h * 3;
            uint8_t *out = malloc(n);
            assert_int_equal(sc_image_resize_with(k, &im, table[t].to_w, table[t].to_h, out),
                             SC_OK);
            if (!table[t].hex && sc_crc32(0, out, n) != table[t].crc)
                fail_msg("%s: %d x %d: other bytes", k->name, table[t].w, table[t].h);
            for (size_t j = 0; table[t].hex && j < n; j++) {
                char byte[3];
                snprintf(byte, sizeof byte, "%02x", out[j]);
                assert_memory_equal(byte, table[t].hex + 2 * j, 2);
            }
            free(out);
            sc_image_free(&im);
        }
    assert_string_equal(sc_resize_kernels_at(0) ? "some" : "none", "some");
}

static uint32_t next_random(uint32_t *s)
{
    *s = *s * 1664525u + 1013904223u;
    return *s >> 8;
}

/* Exact allocation of the source, so that a read behind it is found by the sanitizer. */
static void compare(int w, int h, int to_w, int to_h, uint32_t *seed)
{
    size_t n = (size_t)w * (size_t)h * 3, m = (size_t)to_w * (size_t)to_h * 3;
    sc_image im = {w, h, malloc(n)};
    bool extremes = next_random(seed) % 3 == 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t r = next_random(seed);
        im.rgb[i] = (uint8_t)(extremes ? (r & 1) * 255 : r);
    }
    uint8_t *want = malloc(m), *have = malloc(m);
    assert_int_equal(sc_image_resize_with(&sc_resize_plain, &im, to_w, to_h, want), SC_OK);
    const sc_resize_kernels *k;
    for (int i = 0; (k = sc_resize_kernels_at(i)); i++) {
        memset(have, 0xa5, m);
        assert_int_equal(sc_image_resize_with(k, &im, to_w, to_h, have), SC_OK);
        if (memcmp(want, have, m) != 0)
            fail_msg("%s: %d x %d -> %d x %d: other bytes than plain", k->name, w, h, to_w, to_h);
    }
    free(want);
    free(have);
    sc_image_free(&im);
}

static void test_paths_equal(void **state)
{
    (void)state;
    uint32_t seed = 7;
    for (int t = 0; t < 400; t++) {
        int w = 1 + (int)(next_random(&seed) % 150), h = 1 + (int)(next_random(&seed) % 150);
        int to_w = 1 + (int)(next_random(&seed) % 90), to_h = 1 + (int)(next_random(&seed) % 90);
        compare(w, h, t % 7 == 0 ? w : to_w, t % 11 == 0 ? h : to_h, &seed);
    }
    compare(1000, 700, 224, 224, &seed);
    compare(3, 3000, 16, 16, &seed);
    compare(3000, 2, 16, 33, &seed);
    compare(40000, 1, 16, 16, &seed); /* 5001 taps: more than 16-bit halves can sum */
    compare(1, 40000, 16, 16, &seed);
}

static void test_train_size(void **state)
{
    (void)state;
    assert_int_equal(sc_train_size(224), 246);
    assert_int_equal(sc_train_size(16), 17);
    assert_int_equal(sc_train_size(10), 11);
    assert_int_equal(sc_train_size(30), 33);
    assert_int_equal(sc_train_size(4096), 4505);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_paths_equal),
        cmocka_unit_test(test_train_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
