/* Packing: the same bytes however it is split, all bad files named, nothing half written, nothing
 * lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"

static void same_file(const char *a, const char *b, const char *name)
{
    size_t n, m;
    char *x = file_of(a, name, &n), *y = file_of(b, name, &m);
    if (n != m || memcmp(x, y, n) != 0)
        fail_msg("%s differs between %s and %s", name, a, b);
    free(x);
    free(y);
}

static void pack_ok(const sc_pack_options *o, int parts)
{
    if (pack_all(o, parts) != SC_OK)
        fail_msg("%s", sc_message());
}

/* Every row of the set is the golden file, decoded and resized. */
static void check_rows(const pack_setup *s, int samples)
{
    sc_dataset *d;
    if (sc_dataset_open(s->dst, s->o.img_size, NULL, &d) != SC_OK)
        fail_msg("%s", sc_message());
    assert_int_equal(sc_dataset_count(d), samples);
    for (int64_t i = 0; i < samples; i++) {
        size_t n;
        char *data = file_of(s->src, sc_dataset_path(d, i), &n);
        sc_image im;
        assert_int_equal(sc_image_decode(sc_dataset_path(d, i), data, n, &s->o.decode, &im, NULL),
                         SC_OK);
        for (int kind = 0; kind < 2; kind++) {
            int p = sc_dataset_row_size(d, (sc_row_kind)kind);
            size_t bytes = (size_t)p * (size_t)p * 3;
            uint8_t *want = malloc(bytes), *have = malloc(bytes);
            assert_int_equal(sc_image_resize(&im, p, p, want), SC_OK);
            assert_int_equal(sc_dataset_row(d, (sc_row_kind)kind, i, have), SC_OK);
            assert_memory_equal(want, have, bytes);
            free(want);
            free(have);
        }
        sc_image_free(&im);
        free(data);
    }
    sc_dataset_close(d);
}

static void test_same_bytes(void **state)
{
    (void)state;
    char *f = folder_new(), other[400], hash[65];
    pack_setup s;
    pack_setup_init(&s, f);
    folder_images(s.src);
    s.o.shards = 3;
    pack_ok(&s.o, 1);
    check_rows(&s, FOLDER_IMAGES);
    sc_dataset *d;
    assert_int_equal(sc_dataset_open(s.dst, 32, NULL, &d), SC_OK);
    snprintf(hash, sizeof hash, "%s", sc_dataset_hash(d));
    assert_int_equal(sc_dataset_classes(d), FOLDER_CLASSES);
    assert_string_equal(sc_dataset_class_names(d)[0], "B");
    assert_string_equal(sc_dataset_path(d, 0), "B/cmyk.jpg");
    assert_int_equal(sc_dataset_labels(d)[FOLDER_IMAGES - 1], 2);
    sc_dataset_close(d);
    for (int parts = 1; parts <= 20; parts = parts * 2 + 1) {
        pack_setup t = s;
        snprintf(other, sizeof other, "%s/packed%d", f, parts);
        t.o.dst = other;
        t.o.threads = parts % 4;
        pack_ok(&t.o, parts);
        same_file(s.dst, other, "manifest.json");
        for (int k = 0; k < 3; k++) {
            char name[40];
            snprintf(name, sizeof name, "shard-%05d-of-00003.h5", k);
            same_file(s.dst, other, name);
        }
        assert_int_equal(count_names(other, ""), 4);
    }
    /* the hash is the data's, whatever the number of shards */
    snprintf(other, sizeof other, "%s/packed_one", f);
    s.o.dst = other;
    s.o.shards = 0;
    pack_ok(&s.o, 1);
    assert_int_equal(count_names(other, "shard"), 1);
    assert_int_equal(sc_dataset_open(other, 32, NULL, &d), SC_OK);
    assert_string_equal(hash, sc_dataset_hash(d));
    sc_dataset_close(d);
    assert_int_equal(count_names(f, "packing"), 0);
    folder_remove(f);
}

static void put_bad_files(const pack_setup *s)
{
    char path[400];
    folder_put(s->src, "B/empty.png", "", 0);
    folder_put(s->src, "B/html.jpg", "<html>", 6);
    folder_put(s->src, "a b/\xff.png", "x", 1);
    folder_copy_golden(s->src, "a b/wrong.jpg", "png_c2_d8_0.png");
    folder_copy_golden(s->src, "a b/float.tif", "tiff_float.tif");
    snprintf(path, sizeof path, "%s/B/dir.bmp", s->src);
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(path, sizeof path, "%s/B/gone.webp", s->src);
    assert_int_equal(symlink("nowhere", path), 0);
    snprintf(path, sizeof path, "%s/B/pipe.png", s->src);
    assert_int_equal(mkfifo(path, 0666), 0);
}

static void test_bad_files(void **state)
{
    (void)state;
    char *f = folder_new(), good[400];
    pack_setup s;
    pack_setup_init(&s, f);
    folder_images(s.src);
    s.o.shards = 3;
    pack_ok(&s.o, 1);
    snprintf(good, sizeof good, "%s/good", f);
    assert_int_equal(rename(s.dst, good), 0);
    put_bad_files(&s);
    for (int parts = 1; parts <= 3; parts += 2) {
        log_lines_init(&s.lines);
        assert_int_equal(pack_all(&s.o, parts), SC_EFORMAT);
        static const char *const named[] = {"B/empty.png: the file is empty",
                                            "B/html.jpg: ",
                                            "a b/\\xFF.png: ",
                                            "a b/wrong.jpg: ",
                                            "a b/float.tif: ",
                                            "B/dir.bmp: ",
                                            "B/gone.webp: ",
                                            "B/pipe.png: "};
        for (size_t i = 0; i < 8; i++)
            if (!strstr(s.lines.text, named[i]))
                fail_msg("'%s' is not in:\n%s", named[i], s.lines.text);
        assert_non_null(strstr(sc_message(), "8 of 22"));
        assert_non_null(strstr(sc_message(), s.o.automatic ? "pack_hdf5 SRC DST --skip-bad, and "
                                                             "give DST as --data-dir"
                                                           : "with --skip-bad"));
        s.o.automatic = !s.o.automatic;
        assert_false(sc_file_exists(s.dst));
        assert_int_equal(count_names(f, "packing"), 0);
    }
    /* without them: the same shards as if they had never been there */
    s.o.skip_bad = true;
    for (int parts = 1; parts <= 4; parts += 3) {
        pack_ok(&s.o, parts);
        check_rows(&s, FOLDER_IMAGES);
        for (int k = 0; k < 3; k++) {
            char name[40];
            snprintf(name, sizeof name, "shard-%05d-of-00003.h5", k);
            same_file(s.dst, good, name);
        }
        size_t n;
        char *manifest = file_of(s.dst, "manifest.json", &n);
        assert_non_null(strstr(manifest, "\"a b/\\\\xFF.png\""));
        assert_non_null(strstr(manifest, "the file is empty"));
        free(manifest);
        assert_int_equal(count_names(s.dst, ""), 4);
        sc_remove_tree(s.dst);
    }
    folder_remove(f);
}

static void refuse(const sc_pack_options *o, sc_status code, const char *words)
{
    sc_status status = pack_all(o, 1);
    if (status != code || !strstr(sc_message(), words))
        fail_msg("%s '%s' instead of '%s'", sc_status_name(status), sc_message(), words);
}

static void test_refusals(void **state)
{
    (void)state;
    char *f = folder_new(), path[400];
    pack_setup s;
    pack_setup_init(&s, f);
    folder_images(s.src);
    s.o.shards = FOLDER_IMAGES + 1;
    refuse(&s.o, SC_EUSAGE, "--shards 15");
    s.o.shards = 0;
    s.o.img_size = 15;
    refuse(&s.o, SC_EUSAGE, "16..4096");
    s.o.img_size = 4097;
    refuse(&s.o, SC_EUSAGE, "16..4096");
    s.o.img_size = 32;
    s.o.decode = (sc_decode_options){.window = true, .window_lo = 5, .window_hi = 5};
    refuse(&s.o, SC_EUSAGE, "--window");
    s.o.decode = (sc_decode_options){.max_pixels = 178e6};
    snprintf(path, sizeof path, "%s/inside", s.src);
    s.o.dst = path;
    refuse(&s.o, SC_EUSAGE, "inside the image folder");
    snprintf(path, sizeof path, "%s/new/folders/inside", s.src);
    refuse(&s.o, SC_EUSAGE, "inside the image folder");
    assert_int_equal(count_names(s.src, ""), 3);
    snprintf(path, sizeof path, "%s/.cache/here", s.src);
    pack_ok(&s.o, 1);
    refuse(&s.o, SC_EUSAGE, "exists already");
    /* a class that loses all its images */
    folder_put(s.src, "zz/bad.png", "x", 1);
    s.o.dst = s.dst;
    s.o.skip_bad = true;
    refuse(&s.o, SC_EFORMAT, "class 'zz'");
    /* parents that were made for a packing that failed go again */
    snprintf(path, sizeof path, "%s/x/y/packed", f);
    s.o.dst = path;
    s.o.skip_bad = false;
    refuse(&s.o, SC_EFORMAT, "1 of 15");
    assert_int_equal(count_names(f, ""), 1);
    folder_remove(f);
}

static void test_force(void **state)
{
    (void)state;
    char *f = folder_new(), path[400];
    pack_setup s;
    pack_setup_init(&s, f);
    folder_images(s.src);
    pack_ok(&s.o, 1);
    refuse(&s.o, SC_EUSAGE, "--force");
    s.o.force = true;
    s.o.img_size = 48;
    pack_ok(&s.o, 2);
    check_rows(&s, FOLDER_IMAGES);
    /* a failing --force leaves the old set */
    folder_put(s.src, "B/bad.png", "x", 1);
    refuse(&s.o, SC_EFORMAT, "1 of 15");
    sc_dataset *d;
    assert_int_equal(sc_dataset_open(s.dst, 48, NULL, &d), SC_OK);
    sc_dataset_close(d);
    assert_int_equal(count_names(f, ""), 2);
    /* never over something that is no packed set */
    snprintf(path, sizeof path, "%s/mine", f);
    folder_put(path, "thesis.txt", "x", 1);
    s.o.dst = path;
    refuse(&s.o, SC_EUSAGE, "not a packed set");
    assert_int_equal(count_names(path, "thesis"), 1);
    folder_remove(f);
}

/* What a killed packing leaves is cleaned by the next; a running one is respected. */
static void test_left_over(void **state)
{
    (void)state;
    char *f = folder_new(), path[400];
    pack_setup s;
    pack_setup_init(&s, f);
    folder_images(s.src);
    snprintf(path, sizeof path, "%s/.packed.packing", f);
    folder_put(path, "set/junk", "x", 1);
    pack_ok(&s.o, 1);
    assert_int_equal(count_names(f, "packing"), 0);
    sc_remove_tree(s.dst);

    char host[256] = "", text[400];
    gethostname(host, sizeof host - 1);
    snprintf(text, sizeof text, "%s 999999999 1 0\n", host); /* a process that is gone */
    folder_put(path, "owner", text, strlen(text));
    pack_ok(&s.o, 1);
    sc_remove_tree(s.dst);

    FILE *stat = fopen("/proc/1/stat", "r");
    unsigned long long start = 0;
    assert_non_null(stat);
    if (fscanf(stat,
               "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
               "%*d %*d %*d %llu",
               &start) != 1)
        fail();
    fclose(stat);
    snprintf(text, sizeof text, "%s 1 %llu 0\n", host, start); /* one that runs */
    folder_put(path, "owner", text, strlen(text));
    refuse(&s.o, SC_EUSAGE, "is packing there now");
    snprintf(text, sizeof text, "another-host 1 1 0\n"); /* and one that wrote a moment ago */
    folder_put(path, "owner", text, strlen(text));
    folder_put(path, "set/shard", "x", 1);
    refuse(&s.o, SC_EUSAGE, "another-host");
    sc_pack_abandon(&s.o); /* not ours: stays */
    assert_int_equal(count_names(f, "packing"), 1);
    const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    char inner[420];
    snprintf(inner, sizeof inner, "%s/set/shard", path);
    utimensat(AT_FDCWD, inner, old, 0);
    snprintf(inner, sizeof inner, "%s/set", path);
    utimensat(AT_FDCWD, inner, old, 0);
    utimensat(AT_FDCWD, path, old, 0);
    pack_ok(&s.o, 1);
    folder_remove(f);
}

static void test_grey16_warning(void **state)
{
    (void)state;
    char *f = folder_new();
    pack_setup s;
    pack_setup_init(&s, f);
    folder_copy_golden(s.src, "a/1.tif", "tiff_grey12_0.tif");
    folder_copy_golden(s.src, "a/2.tif", "tiff_grey12_1.tif");
    folder_copy_golden(s.src, "b/3.png", "png_c2_d8_0.png");
    pack_ok(&s.o, 1);
    assert_non_null(strstr(s.lines.text, "1 2 16-bit grey images"));
    sc_remove_tree(s.dst);
    log_lines_init(&s.lines);
    s.o.decode.window = true;
    s.o.decode.window_hi = 4095;
    pack_ok(&s.o, 1);
    assert_null(strstr(s.lines.text, "16-bit"));
    check_rows(&s, 3);
    folder_remove(f);
}

static void count_progress(void *ctx, int64_t done, int64_t total)
{
    int64_t *seen = ctx;
    assert_true(done >= seen[0] && done <= total);
    seen[0] = done;
    seen[1] = total;
}

static void test_progress(void **state)
{
    (void)state;
    char *f = folder_new();
    pack_setup s;
    pack_setup_init(&s, f);
    folder_images(s.src);
    for (int threads = 0; threads < 4; threads++) {
        int64_t seen[2] = {0, 0};
        s.o.threads = threads;
        s.o.force = true;
        s.o.progress = count_progress;
        s.o.progress_ctx = seen;
        pack_ok(&s.o, 1);
        assert_int_equal(seen[0], FOLDER_IMAGES);
        assert_int_equal(seen[1], FOLDER_IMAGES);
    }
    folder_remove(f);
}

static bool stop_soon(void *ctx)
{
    int *left = ctx;
    return (*left)-- <= 0;
}

/* A part that is asked to stop does, and nothing stays behind. */
static void test_stop(void **state)
{
    (void)state;
    char *f = folder_new();
    pack_setup s;
    pack_setup_init(&s, f);
    folder_images(s.src);
    s.o.stop = stop_soon;
    for (int threads = 0; threads < 4; threads++) {
        for (int after = 0; after < 4; after++) {
            int left = after;
            s.o.threads = threads;
            s.o.progress_ctx = &left;
            /* waking up once for several images may be too late */
            sc_status status = pack_all(&s.o, 1);
            if (threads < 2 || after == 0 || status != SC_OK) {
                assert_int_equal(status, SC_EINTERRUPTED);
                assert_non_null(strstr(sc_message(), "packing was stopped after"));
                assert_int_equal(count_names(f, ""), 1);
            }
            sc_remove_tree(s.dst);
        }
    }
    int never = 1 << 20;
    s.o.progress_ctx = &never;
    pack_ok(&s.o, 2);
    folder_remove(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_force),
        cmocka_unit_test(test_left_over),  cmocka_unit_test(test_grey16_warning),
        cmocka_unit_test(test_progress),   cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
