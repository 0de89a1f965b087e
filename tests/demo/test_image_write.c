/* What sc_image_write writes, the decoder reads: the same pixels where the format loses none. */
#include "superclip/data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const sc_decode_options DECODE = {.max_pixels = 178e6};

/* A smooth coloured picture: lossy formats keep it within a few levels. */
static sc_image make_picture(int width, int height)
{
    sc_image im = {.width = width, .height = height, .rgb = sc_alloc((size_t)(width * height), 3)};
    assert_non_null(im.rgb);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *p = im.rgb + 3 * (y * width + x);
            p[0] = (uint8_t)(40 + 3 * x);
            p[1] = (uint8_t)(200 - 2 * y);
            p[2] = (uint8_t)(90 + x + y);
        }
    return im;
}

static int largest_difference(const sc_image *a, const sc_image *b, bool grey)
{
    int largest = 0;
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    for (int i = 0; i < 3 * a->width * a->height; i++) {
        const int d = abs(a->rgb[grey ? i / 3 * 3 : i] - b->rgb[i]);
        largest = d > largest ? d : largest;
    }
    return largest;
}

/* Writes, reads back, returns the largest difference; `bytes` gets the size of the file. */
static int round_trip(const char *folder, const char *name, const sc_image *im, bool grey,
                      size_t *bytes)
{
    sc_image back;
    sc_decode_notes notes = {0};
    char *path = sc_path_join(folder, name), *data = NULL, *again = NULL;
    size_t n = 0, again_n = 0;
    assert_int_equal(sc_image_write(path, im, grey), SC_OK);
    assert_int_equal(sc_read_file(path, 1 << 20, &data, &n), SC_OK);
    assert_int_equal(sc_image_write(path, im, grey), SC_OK);
    assert_int_equal(sc_read_file(path, 1 << 20, &again, &again_n), SC_OK);
    assert_int_equal(n, again_n); /* the same bytes every time */
    assert_memory_equal(data, again, n);
    if (sc_image_decode(name, data, n, &DECODE, &back, &notes) != SC_OK)
        fail_msg("%s: %s", name, sc_message());
    const int largest = largest_difference(im, &back, grey);
    sc_image_free(&back);
    free(data);
    free(again);
    free(path);
    if (bytes)
        *bytes = n;
    return largest;
}

static void every_format_reads_back(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int tolerance;
    } cases[] = {{"a.png", 0},   {"a.bmp", 0},  {"a.tif", 0},  {"a.TIFF", 0},
                 {"a.jpeg", 12}, {"a.JPG", 12}, {"a.webp", 24}};
    static const int sizes[][2] = {{33, 20}, {1, 1}, {2, 3}, {16, 16}, {31, 7}};
    char folder[] = "/tmp/sc_image_XXXXXX";
    assert_non_null(mkdtemp(folder));
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        sc_image im = make_picture(sizes[s][0], sizes[s][1]);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            for (int grey = 0; grey <= 1; grey++) {
                const bool is_webp = strstr(cases[i].name, "webp") != NULL;
                const int d = round_trip(folder, cases[i].name, &im, grey && !is_webp, NULL);
                if (d > cases[i].tolerance)
                    fail_msg("%s, %d x %d, grey %d: differs by %d", cases[i].name, sizes[s][0],
                             sizes[s][1], grey, d);
            }
        sc_image_free(&im);
    }
    sc_remove_tree(folder);
}

static void grey_files_hold_one_channel(void **state)
{
    (void)state;
    size_t colour, grey;
    char folder[] = "/tmp/sc_image_XXXXXX";
    assert_non_null(mkdtemp(folder));
    sc_image im = make_picture(64, 64);
    round_trip(folder, "a.tif", &im, false, &colour);
    round_trip(folder, "a.tif", &im, true, &grey);
    assert_int_equal(colour - grey, 2 * 64 * 64 + 6);
    round_trip(folder, "a.bmp", &im, false, &colour);
    round_trip(folder, "a.bmp", &im, true, &grey);
    assert_int_equal(colour - grey, 2 * 64 * 64 - 1024);
    sc_image_free(&im);
    sc_remove_tree(folder);
}

static void mistakes_are_told(void **state)
{
    (void)state;
    sc_image im = make_picture(4, 4);
    assert_int_equal(sc_image_write("/tmp/picture.gif", &im, false), SC_EUSAGE);
    assert_int_equal(sc_image_write("/tmp/picture", &im, false), SC_EUSAGE);
    assert_int_equal(sc_image_write("/nonexistent/a.png", &im, false), SC_EIO);
    assert_non_null(strstr(sc_message(), "/nonexistent/a.png"));
    if (access("/dev/full", W_OK) == 0) {
        char link[] = "/tmp/sc_full_XXXXXX.bmp";
        assert_true(mkstemps(link, 4) >= 0);
        unlink(link);
        assert_int_equal(symlink("/dev/full", link), 0);
        assert_int_equal(sc_image_write(link, &im, false), SC_EIO);
        unlink(link);
    }
    im.width = 0;
    assert_int_equal(sc_image_write("/tmp/picture.png", &im, false), SC_EUSAGE);
    sc_image_free(&im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_reads_back),
        cmocka_unit_test(grey_files_hold_one_channel),
        cmocka_unit_test(mistakes_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
