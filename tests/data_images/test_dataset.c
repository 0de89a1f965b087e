/* Reading a packed set: every flipped byte, cut, swap and foreign file is found, before or at the
 * row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"

#define SHARD0 "shard-00000-of-00002.h5"
#define SHARD1 "shard-00001-of-00002.h5"

typedef struct set {
    char *folder;
    pack_setup s;
} set;

static int make_set(void **state)
{
    set *t = calloc(1, sizeof *t);
    t->folder = folder_new();
    pack_setup_init(&t->s, t->folder);
    folder_images(t->s.src);
    t->s.o.shards = 2;
    t->s.o.img_size = 16;
    if (pack_all(&t->s.o, 1) != SC_OK)
        fail_msg("%s", sc_message());
    *state = t;
    return 0;
}

static int drop_set(void **state)
{
    set *t = *state;
    folder_remove(t->folder);
    free(t);
    return 0;
}

static uint32_t next_random(uint32_t *s)
{
    *s = *s * 1664525u + 1013904223u;
    return *s >> 8;
}

/* Opens and reads everything; SC_OK with a sum over all that a caller sees. */
static sc_status read_all(const char *dir, int img_size, uint64_t *sum)
{
    sc_dataset *d;
    SC_TRY(sc_dataset_open(dir, img_size, NULL, &d));
    uint64_t h = 14695981039346656037u;
    sc_status status = SC_OK;
    uint8_t row[17 * 17 * 3];
    for (int64_t i = 0; status == SC_OK && i < sc_dataset_count(d); i++)
        for (int kind = 0; status == SC_OK && kind < 2; kind++) {
            int p = sc_dataset_row_size(d, (sc_row_kind)kind);
            status = sc_dataset_row(d, (sc_row_kind)kind, i, row);
            h = (h ^ sc_crc32c((uint32_t)i, row, (size_t)(p * p * 3))) * 1099511628211u;
            h = (h ^ (uint64_t)sc_dataset_labels(d)[i]) * 1099511628211u;
            const char *path = sc_dataset_path(d, i);
            h = (h ^ sc_crc32c(0, path, strlen(path))) * 1099511628211u;
        }
    const char *hash = sc_dataset_hash(d);
    for (int c = 0; c < sc_dataset_classes(d); c++) {
        const char *name = sc_dataset_class_names(d)[c];
        h = (h ^ sc_crc32c(0, name, strlen(name))) * 1099511628211u;
    }
    *sum = h ^ sc_crc32c(0, hash, strlen(hash));
    sc_dataset_close(d);
    return status;
}

static void refuse(const set *t, sc_status code, const char *words)
{
    uint64_t sum;
    sc_status status = read_all(t->s.dst, 16, &sum);
    if (status != code || !strstr(sc_message(), words))
        fail_msg("%s '%s' instead of '%s'", sc_status_name(status),
                 status == SC_OK ? "" : sc_message(), words);
}

/* Every single byte of a shard matters: HDF5's own, the small sets and the rows. */
static void test_flips(void **state)
{
    const set *t = *state;
    size_t n;
    char *good = file_of(t->s.dst, SHARD1, &n);
    uint32_t seed = 11;
    uint64_t sum;
    size_t step = n / 3000 + 1;
    int found = 0;
    for (size_t at = 0; at < n; at += at < 6200 ? 3 : 1 + next_random(&seed) % (2 * step)) {
        char *copy = malloc(n);
        memcpy(copy, good, n);
        copy[at] ^= (char)(1 << next_random(&seed) % 8);
        folder_put(t->s.dst, SHARD1, copy, n);
        free(copy);
        if (read_all(t->s.dst, 16, &sum) != SC_EFORMAT)
            fail_msg("a flipped bit in byte %zu of %zu was not found", at, n);
        if (!strstr(sc_message(), SHARD1))
            fail_msg("'%s' does not name the file", sc_message());
        found++;
    }
    print_message("%d flipped bits, all found\n", found);
    folder_put(t->s.dst, SHARD1, good, n);
    assert_int_equal(read_all(t->s.dst, 16, &sum), SC_OK);
    free(good);
}

static void test_cuts(void **state)
{
    const set *t = *state;
    size_t n;
    char *good = file_of(t->s.dst, SHARD0, &n);
    uint32_t seed = 5;
    for (int i = 0; i < 60; i++) {
        folder_put(t->s.dst, SHARD0, good, next_random(&seed) % n);
        refuse(t, SC_EFORMAT, SHARD0);
    }
    char *longer = calloc(n + 8, 1);
    memcpy(longer, good, n);
    folder_put(t->s.dst, SHARD0, longer, n + 8);
    refuse(t, SC_EFORMAT, SHARD0);
    free(longer);
    folder_put(t->s.dst, SHARD0, good, n);
    free(good);
}

/* A damaged manifest is refused, or what was damaged does not matter to what is read. */
static void test_manifest_damage(void **state)
{
    const set *t = *state;
    size_t n;
    char *good = file_of(t->s.dst, "manifest.json", &n);
    uint64_t want, sum;
    assert_int_equal(read_all(t->s.dst, 16, &want), SC_OK);
    uint32_t seed = 3;
    int refused = 0;
    for (size_t at = 0; at < n; at++) {
        char *copy = malloc(n);
        memcpy(copy, good, n);
        uint32_t r = next_random(&seed);
        if (r % 2)
            copy[at] ^= (char)(1 << r / 2 % 7);
        else
            copy[at] = "0:,}\"]x-"[r / 2 % 8];
        folder_put(t->s.dst, "manifest.json", copy, r % 5 == 0 ? at : n);
        free(copy);
        sc_status status = read_all(t->s.dst, 16, &sum);
        if (status == SC_OK && sum != want)
            fail_msg("byte %zu of the manifest: other data were read", at);
        if (status != SC_OK && status != SC_EFORMAT && status != SC_EUSAGE)
            fail_msg("byte %zu: %s %s", at, sc_status_name(status), sc_message());
        refused += status != SC_OK;
    }
    assert_true(refused > (int)n / 2);
    folder_put(t->s.dst, "manifest.json", good, n);
    free(good);
}

static void test_foreign(void **state)
{
    const set *t = *state;
    size_t n, m;
    char *zero = file_of(t->s.dst, SHARD0, &n), *one = file_of(t->s.dst, SHARD1, &m);
    folder_put(t->s.dst, SHARD0, one, m);
    refuse(t, SC_EFORMAT, SHARD0);
    folder_put(t->s.dst, SHARD0, "not HDF5", 8);
    refuse(t, SC_EFORMAT, SHARD0);
    char path[400];
    snprintf(path, sizeof path, "%s/" SHARD0, t->s.dst);
    unlink(path);
    refuse(t, SC_EFORMAT, SHARD0);
    folder_put(t->s.dst, SHARD0, zero, n);
    free(zero);
    free(one);
    uint64_t sum;
    assert_int_equal(read_all(t->s.dst, 32, &sum), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "img_size 16"));
    assert_non_null(strstr(sc_message(), "32"));
    assert_int_equal(read_all("/nonexistent", 16, &sum), SC_EIO);
    assert_true(sc_is_packed(t->s.dst));
    assert_false(sc_is_packed(t->s.src));
    folder_put(t->folder, "other/manifest.json", "{\"format\": \"webdataset\"}", 24);
    snprintf(path, sizeof path, "%s/other", t->folder);
    assert_int_equal(read_all(path, 16, &sum), SC_EFORMAT);
    assert_non_null(strstr(sc_message(), "another program"));
}

/* A row is checked when it is first read, and only that one fails. */
static void test_row_damage(void **state)
{
    const set *t = *state;
    sc_dataset *d;
    assert_int_equal(sc_dataset_open(t->s.dst, 16, NULL, &d), SC_OK);
    uint8_t first[17 * 17 * 3], row[17 * 17 * 3];
    assert_int_equal(sc_dataset_row(d, SC_ROW_TRAIN, 3, first), SC_OK);
    size_t n;
    char *good = file_of(t->s.dst, SHARD0, &n), *bad = malloc(n);
    memcpy(bad, good, n);
    char *at = memmem(bad, n, first, sizeof first);
    assert_non_null(at);
    at[100] ^= 4;
    sc_dataset_close(d);
    folder_put(t->s.dst, SHARD0, bad, n);
    assert_int_equal(sc_dataset_open(t->s.dst, 16, NULL, &d), SC_OK);
    assert_int_equal(sc_dataset_row(d, SC_ROW_TRAIN, 2, row), SC_OK);
    assert_int_equal(sc_dataset_row(d, SC_ROW_EVAL, 3, row), SC_OK);
    assert_int_equal(sc_dataset_row(d, SC_ROW_TRAIN, 3, row), SC_EFORMAT);
    assert_non_null(strstr(sc_message(), sc_dataset_path(d, 3)));
    assert_int_equal(sc_dataset_row(d, SC_ROW_TRAIN, 3, row), SC_EFORMAT);
    assert_non_null(strstr(sc_message(), "pack_hdf5 --force"));
    assert_true(sc_is_packed(t->s.dst));
    sc_dataset_close(d);

    /* a cache loses its manifest, but not one that came later */
    size_t m;
    char *manifest = file_of(t->s.dst, "manifest.json", &m);
    for (int newer = 0; newer < 2; newer++) {
        assert_int_equal(sc_dataset_open(t->s.dst, 16, NULL, &d), SC_OK);
        sc_dataset_is_cache(d);
        if (newer) {
            char path[400];
            const struct timespec later[2] = {{.tv_sec = 4000000000}, {.tv_sec = 4000000000}};
            folder_put(t->s.dst, "manifest.json", manifest, m);
            snprintf(path, sizeof path, "%s/manifest.json", t->s.dst);
            assert_int_equal(utimensat(AT_FDCWD, path, later, 0), 0);
        }
        for (int twice = 0; twice < 2; twice++) {
            assert_int_equal(sc_dataset_row(d, SC_ROW_TRAIN, 3, row), SC_EFORMAT);
            assert_non_null(strstr(sc_message(), "run the same command again"));
            assert_int_equal(sc_is_packed(t->s.dst), newer);
        }
        sc_dataset_close(d);
        folder_put(t->s.dst, "manifest.json", manifest, m);
    }
    free(manifest);
    folder_put(t->s.dst, SHARD0, good, n);
    free(good);
    free(bad);
}

typedef struct reader {
    sc_dataset *d;
    uint32_t seed;
    int failed;
} reader;

static void *read_rows(void *arg)
{
    reader *r = arg;
    uint8_t row[17 * 17 * 3];
    for (int i = 0; i < 2000; i++) {
        int64_t at = next_random(&r->seed) % (uint32_t)sc_dataset_count(r->d);
        r->failed += sc_dataset_row(r->d, (sc_row_kind)(i % 2), at, row) != SC_OK;
    }
    return NULL;
}

static void test_threads(void **state)
{
    const set *t = *state;
    sc_dataset *d;
    assert_int_equal(sc_dataset_open(t->s.dst, 16, NULL, &d), SC_OK);
    pthread_t threads[4];
    reader readers[4];
    for (int i = 0; i < 4; i++) {
        readers[i] = (reader){d, (uint32_t)i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, read_rows, &readers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].failed, 0);
    }
    uint8_t row[1];
    assert_int_equal(sc_dataset_row(d, SC_ROW_EVAL, FOLDER_IMAGES, row), SC_EINTERNAL);
    assert_int_equal(sc_dataset_row(d, SC_ROW_EVAL, -1, row), SC_EINTERNAL);
    sc_dataset_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flips),   cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_foreign), cmocka_unit_test(test_manifest_damage),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_row_damage),
    };
    return cmocka_run_group_tests(tests, make_set, drop_set);
}
