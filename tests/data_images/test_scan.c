/* What a folder tree means: classes, order, what is ignored, what is an error. */
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

static void put(const char *folder, const char *name)
{
    folder_put(folder, name, "x", 1);
}

static void test_order(void **state)
{
    (void)state;
    char *f = folder_new();
    put(f, "b/2.jpg");
    put(f, "b/10.JPG");
    put(f, "b/1.Tiff");
    put(f, "B c/x.webp");
    put(f, "B c/notes.txt");
    put(f, "B c/.hidden.png");
    put(f, "B c/deeper/y.png");
    put(f, ".cache/z.png");
    put(f, "stray.png");
    put(f, "\xe5\x84\xbf/a.png");
    sc_source_list l;
    assert_int_equal(sc_source_scan(f, NULL, &l), SC_OK);
    static const char *const want[] = {"B c/x.webp", "b/1.Tiff", "b/10.JPG", "b/2.jpg",
                                       "\xe5\x84\xbf/a.png"};
    static const int32_t labels[] = {0, 1, 1, 1, 2};
    assert_int_equal(l.count, 5);
    assert_int_equal(l.classes, 3);
    assert_string_equal(l.class_names[0], "B c");
    assert_string_equal(l.class_names[1], "b");
    assert_string_equal(l.class_names[2], "\xe5\x84\xbf");
    for (int i = 0; i < 5; i++) {
        assert_string_equal(l.paths[i], want[i]);
        assert_int_equal(l.labels[i], labels[i]);
        assert_int_equal(l.sizes[i], 1);
    }
    sc_source_list_free(&l);
    folder_remove(f);
}

/* Things with an image's name that are no files are samples too: packing judges them. */
static void test_odd_entries(void **state)
{
    (void)state;
    char *f = folder_new(), path[300];
    put(f, "a/1.png");
    put(f, "a/\xff\xfe.png");
    snprintf(path, sizeof path, "%s/a/dir.jpg", f);
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(path, sizeof path, "%s/a/gone.bmp", f);
    assert_int_equal(symlink("nowhere", path), 0);
    snprintf(path, sizeof path, "%s/a/pipe.tif", f);
    assert_int_equal(mkfifo(path, 0666), 0);
    snprintf(path, sizeof path, "%s/linked", f);
    assert_int_equal(symlink("a", path), 0);
    sc_source_list l;
    assert_int_equal(sc_source_scan(f, NULL, &l), SC_OK);
    assert_int_equal(l.classes, 2);
    assert_int_equal(l.count, 10);
    sc_source_list_free(&l);
    folder_remove(f);
}

static void refuse(const char *folder, const char *words)
{
    sc_source_list l;
    assert_int_equal(sc_source_scan(folder, NULL, &l), SC_EUSAGE);
    if (!strstr(sc_message(), words))
        fail_msg("'%s' does not say '%s'", sc_message(), words);
    assert_int_equal(l.count, 0);
}

static void test_errors(void **state)
{
    (void)state;
    char *f = folder_new(), path[300];
    refuse("/nonexistent/folder", "/nonexistent/folder");
    refuse(f, "no class folders");
    put(f, "notes-of-shard.h5");
    refuse(f, "no class folders");
    put(f, "shard-00000-of-00002.h5");
    refuse(f, "no manifest.json");
    put(f, "a/1.png");
    put(f, "empty class/readme.txt");
    refuse(f, "empty class");
    snprintf(path, sizeof path, "%s/empty class", f);
    sc_remove_tree(path);
    snprintf(path, sizeof path, "%s/a/1.png", f);
    refuse(path, "1.png");
    put(f, "\xff/1.png");
    refuse(f, "UTF-8");
    folder_remove(f);
}

static void test_key(void **state)
{
    (void)state;
    char *f = folder_new();
    put(f, "a/1.png");
    put(f, "b/1.png");
    sc_source_list l;
    sc_pack_options o = {.img_size = 224};
    char first[65], again[65], other[65];
    assert_int_equal(sc_source_scan(f, NULL, &l), SC_OK);
    sc_source_key(&l, &o, first);
    sc_source_key(&l, &o, again);
    assert_string_equal(first, again);
    o.img_size = 225;
    sc_source_key(&l, &o, other);
    assert_string_not_equal(first, other);
    o.img_size = 224;
    o.decode.window = true;
    o.decode.window_hi = 4095;
    sc_source_key(&l, &o, other);
    assert_string_not_equal(first, other);
    o.decode.window = false;
    l.mtimes_ns[1]++;
    sc_source_key(&l, &o, other);
    assert_string_not_equal(first, other);
    l.mtimes_ns[1]--;
    l.sizes[0]++;
    sc_source_key(&l, &o, other);
    assert_string_not_equal(first, other);
    l.sizes[0]--;
    l.ctimes_ns[0]++;
    sc_source_key(&l, &o, other);
    assert_string_not_equal(first, other);
    sc_source_list_free(&l);
    folder_remove(f);
}

static void key_of(const char *folder, bool place, char key[65])
{
    const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    const sc_pack_options o = {.img_size = 32};
    sc_source_list l;
    assert_int_equal(sc_source_scan(folder, NULL, &l), SC_OK);
    for (int64_t i = 0; i < l.count; i++) {
        char *path = sc_path_join(folder, l.paths[i]);
        assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
        free(path);
    }
    sc_source_list_free(&l);
    assert_int_equal(sc_source_scan(folder, NULL, &l), SC_OK);
    sc_source_list key_list = l;
    key_list.ctimes_ns = NULL; /* no clock decides this test */
    if (!place)
        key_list.folder = NULL;
    sc_source_key(&key_list, &o, key);
    sc_source_list_free(&l);
}

/* Same names, sizes and times in two folders: two cache entries, however the folder is spelled. */
static void test_key_of_place(void **state)
{
    (void)state;
    char *f = folder_new(), one[300], two[300], spelled[320], link[300];
    char a[65], b[65];
    snprintf(one, sizeof one, "%s/one", f);
    snprintf(two, sizeof two, "%s/two", f);
    snprintf(spelled, sizeof spelled, "%s/./one/../one/", f);
    snprintf(link, sizeof link, "%s/link", f);
    put(one, "a/1.png");
    put(two, "a/1.png");
    assert_int_equal(symlink("one", link), 0);
    key_of(one, true, a);
    key_of(two, true, b);
    assert_string_not_equal(a, b);
    key_of(spelled, true, b);
    assert_string_equal(a, b);
    key_of(link, true, b);
    assert_string_equal(a, b);
    key_of(one, false, a);
    key_of(two, false, b);
    assert_string_equal(a, b);
    folder_remove(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),        cmocka_unit_test(test_odd_entries),
        cmocka_unit_test(test_errors),       cmocka_unit_test(test_key),
        cmocka_unit_test(test_key_of_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
