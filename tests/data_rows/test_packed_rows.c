/* The row source over a real packed set: the rows of sc_dataset_row, and a row damaged on disk. */
#include "superclip/data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIZE = 16, IMAGES = 30 };

typedef struct packed {
    char folder[32];
    char *src, *dst;
} packed;

static void ignore(void *ctx, sc_log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)line;
}
static const sc_log QUIET = {ignore, NULL};

static void write_picture(const char *src, int i)
{
    sc_image im = {.width = 20 + i, .height = 25, .rgb = sc_alloc((size_t)(20 + i) * 25, 3)};
    char *folder = sc_format("%s/class %d", src, i % 3);
    char *path = sc_format("%s/%02d.png", folder, i);
    for (int k = 0; k < im.width * im.height * 3; k++)
        im.rgb[k] = (uint8_t)(k * (7 + i) + i);
    assert_int_equal(sc_make_dirs(folder), SC_OK);
    assert_int_equal(sc_image_write(path, &im, false), SC_OK);
    sc_image_free(&im);
    free(path);
    free(folder);
}

static int pack(void **state)
{
    packed *p = test_calloc(1, sizeof *p);
    sc_source_list list;
    strcpy(p->folder, "/tmp/sc_rows_XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    p->src = sc_path_join(p->folder, "src");
    p->dst = sc_path_join(p->folder, "packed");
    for (int i = 0; i < IMAGES; i++)
        write_picture(p->src, i);
    const sc_pack_options o = {.src = p->src,
                               .dst = p->dst,
                               .img_size = SIZE,
                               .shards = 3,
                               .decode = {.max_pixels = 178e6},
                               .threads = 1,
                               .log = &QUIET};
    assert_int_equal(sc_source_scan(p->src, &QUIET, &list), SC_OK);
    assert_int_equal(sc_pack_begin(&o, &list), SC_OK);
    assert_int_equal(sc_pack_part(&o, &list, 0, 1), SC_OK);
    assert_int_equal(sc_pack_finish(&o, &list, 1), SC_OK);
    sc_source_list_free(&list);
    *state = p;
    return 0;
}

static int unpack(void **state)
{
    packed *p = *state;
    sc_remove_tree(p->folder);
    free(p->src);
    free(p->dst);
    test_free(p);
    return 0;
}

/* One epoch in `order`, every row against sc_dataset_row of a second opening. */
static void check_epoch(sc_row_source *s, sc_dataset *d, const sc_epoch_request *r)
{
    const sc_row_kind kind = r->augment ? SC_ROW_TRAIN : SC_ROW_EVAL;
    const size_t side = (size_t)sc_dataset_row_size(d, kind), bytes = side * side * 3;
    uint8_t *row = test_malloc(bytes);
    int64_t seen = 0;
    sc_batch b;
    assert_int_equal(sc_row_source_begin(s, r), SC_OK);
    for (;;) {
        assert_int_equal(sc_row_source_next(s, &b), SC_OK);
        if (b.rows_global == 0)
            break;
        for (int64_t i = 0; i < b.rows; i++, seen++) {
            assert_int_equal(b.samples[i], r->order[seen]);
            assert_int_equal(b.labels[i], sc_dataset_labels(d)[b.samples[i]]);
            assert_int_equal(sc_dataset_row(d, kind, b.samples[i], row), SC_OK);
            assert_memory_equal(b.pixels + (size_t)i * bytes, row, bytes);
        }
    }
    assert_int_equal(seen, r->count);
    test_free(row);
}

static void rows_come_from_the_shards(void **state)
{
    const packed *p = *state;
    sc_dataset *d = NULL, *other = NULL;
    int64_t order[IMAGES];
    assert_int_equal(sc_dataset_open(p->dst, SIZE, &QUIET, &d), SC_OK);
    assert_int_equal(sc_dataset_open(p->dst, SIZE, &QUIET, &other), SC_OK);
    assert_int_equal(sc_dataset_count(d), IMAGES);
    for (int i = 0; i < IMAGES; i++)
        order[i] = (i * 7) % IMAGES;
    for (int threads = 0; threads <= 3; threads++) {
        const sc_row_source_options o = {.dataset = d, .threads = threads, .batch = 8, .ranks = 1};
        sc_row_source *s = NULL;
        sc_epoch_request r = {.order = order, .count = IMAGES, .augment = true, .random_state = 42};
        assert_int_equal(sc_row_source_open(&o, &s), SC_OK);
        check_epoch(s, other, &r);
        r.augment = false;
        check_epoch(s, other, &r);
        sc_row_source_close(s);
    }
    sc_dataset_close(other);
    sc_dataset_close(d);
}

/* Flips one byte of the sample's evaluation row, which lies in the first shard. */
static void damage_row(const packed *p, int64_t sample)
{
    sc_dataset *d = NULL;
    char *path = sc_path_join(p->dst, "shard-00000-of-00003.h5"), *file = NULL;
    uint8_t row[SIZE * SIZE * 3];
    size_t n = 0;
    assert_int_equal(sc_dataset_open(p->dst, SIZE, &QUIET, &d), SC_OK);
    assert_int_equal(sc_dataset_row(d, SC_ROW_EVAL, sample, row), SC_OK);
    sc_dataset_close(d);
    assert_int_equal(sc_read_file(path, 1 << 24, &file, &n), SC_OK);
    char *found = memmem(file, n, row, sizeof row);
    assert_non_null(found);
    found[100] ^= 1;
    assert_int_equal(sc_write_file(path, file, n), SC_OK);
    free(file);
    free(path);
}

static void a_damaged_row_is_named(void **state)
{
    const packed *p = *state;
    int64_t order[IMAGES];
    for (int i = 0; i < IMAGES; i++)
        order[i] = i;
    damage_row(p, 9);
    for (int threads = 0; threads <= 3; threads++) {
        sc_dataset *d = NULL;
        sc_row_source *s = NULL;
        sc_batch b;
        assert_int_equal(sc_dataset_open(p->dst, SIZE, &QUIET, &d), SC_OK);
        const sc_row_source_options o = {.dataset = d, .threads = threads, .batch = 8, .ranks = 1};
        const sc_epoch_request r = {.order = order, .count = IMAGES};
        assert_int_equal(sc_row_source_open(&o, &s), SC_OK);
        assert_int_equal(sc_row_source_begin(s, &r), SC_OK);
        assert_int_equal(sc_row_source_next(s, &b), SC_OK);
        assert_int_equal(b.rows, 8);
        assert_int_equal(sc_row_source_next(s, &b), SC_EFORMAT);
        assert_non_null(strstr(sc_message(), "shard-00000-of-00003.h5"));
        sc_row_source_close(s);
        sc_dataset_close(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_from_the_shards),
        cmocka_unit_test(a_damaged_row_is_named),
    };
    return cmocka_run_group_tests(tests, pack, unpack);
}
