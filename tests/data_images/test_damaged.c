/* Damaged image files: flipped bytes, cuts and transplants of every golden file. Whatever comes
 * out, it is an image or SC_EFORMAT, soon, and the sanitizers stay silent. SC_FUZZ_ROUNDS raises
 * the count.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "golden_images.h"

static uint32_t next_random(uint32_t *s)
{
    *s = *s * 1664525u + 1013904223u;
    return *s >> 8;
}

static int rounds(void)
{
    const char *s = getenv("SC_FUZZ_ROUNDS");
    return s ? atoi(s) : 40;
}

static size_t mutate(const golden_image *all, int count, const golden_image *g, uint8_t *out,
                     uint32_t *seed)
{
    size_t n = g->n;
    memcpy(out, g->data, n);
    uint32_t kind = next_random(seed) % 4;
    if (n == 0)
        return 0;
    if (kind == 0)
        return next_random(seed) % n;
    uint32_t changes = 1 + next_random(seed) % (kind == 1 ? 1 : 8);
    size_t reach = kind == 3 && n > 64 ? 64 : n; /* headers matter most */
    for (uint32_t i = 0; i < changes; i++) {
        uint32_t r = next_random(seed);
        size_t at = next_random(seed) % reach;
        if (r % 3 == 0)
            out[at] = (uint8_t)r;
        else if (r % 3 == 1)
            out[at] ^= (uint8_t)(1 << r / 3 % 8);
        else
            out[at] = r / 3 % 2 ? 255 : 0;
    }
    if (next_random(seed) % 16 == 0) { /* a piece of another file */
        const golden_image *other = &all[next_random(seed) % (uint32_t)count];
        size_t m = other->n < n ? other->n : n;
        if (m > 8)
            memcpy(out + m / 2, other->data + m / 2, m / 2 - 1);
    }
    return n;
}

static void test_damaged(void **state)
{
    (void)state;
    int count, opened = 0, refused = 0;
    golden_image *all = golden_images(&count);
    uint32_t seed = 2024;
    for (int i = 0; i < count; i++) {
        for (int t = 0; t < rounds(); t++) {
            uint8_t *buffer = malloc(all[i].n + 1);
            size_t n = mutate(all, count, &all[i], buffer, &seed);
            uint8_t *exact = malloc(n ? n : 1); /* reading behind the end is found */
            memcpy(exact, buffer, n);
            free(buffer);
            sc_decode_options o = {.max_pixels = 4e6};
            sc_image im;
            double start = sc_now();
            sc_status status = sc_image_decode(all[i].name, exact, n, &o, &im, NULL);
            if (sc_now() - start > 20)
                fail_msg("%s: took %.1f s", all[i].name, sc_now() - start);
            if (status == SC_OK) {
                uint8_t out[16 * 16 * 3];
                assert_int_equal(sc_image_resize(&im, 16, 16, out), SC_OK);
                opened++;
            } else {
                if (status != SC_EFORMAT)
                    fail_msg("%s: %s: %s", all[i].name, sc_status_name(status), sc_message());
                assert_null(im.rgb);
                refused++;
            }
            sc_image_free(&im);
            free(exact);
        }
    }
    print_message("%d damaged files: %d still open, %d refused\n", opened + refused, opened,
                  refused);
    assert_true(opened > 0 && refused > opened);
    golden_images_free(all, count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_damaged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
