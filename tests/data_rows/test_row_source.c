/* The row source: order and slices, resume inside an epoch, failures of any thread, begin and close
 * in the middle of an epoch. */
#include "fake_dataset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void shuffled(int64_t *order, int64_t n, uint32_t seed)
{
    for (int64_t i = 0; i < n; i++)
        order[i] = (int64_t)((uint64_t)(i * 37 + seed) % FAKE_SAMPLES);
}

static sc_row_source *open_source(sc_dataset *d, int threads, int64_t batch, int rank, int ranks)
{
    const sc_row_source_options o = {
        .dataset = d, .threads = threads, .batch = batch, .rank = rank, .ranks = ranks};
    sc_row_source *s = NULL;
    assert_int_equal(sc_row_source_open(&o, &s), SC_OK);
    return s;
}

/* One batch against what the request says it must hold; returns its global rows. */
static int64_t check_batch(const sc_batch *b, const sc_dataset *d, const sc_epoch_request *r,
                           int64_t batch, int rank, int ranks, int64_t index)
{
    const int64_t first = index * batch;
    const int64_t global = r->count - first < batch ? r->count - first : batch;
    int64_t local_first = 0;
    for (int k = 0; k < rank; k++)
        local_first += global / ranks + (k < global % ranks);
    assert_int_equal(b->first, first);
    assert_int_equal(b->rows_global, global);
    assert_int_equal(b->rows, global / ranks + (rank < global % ranks));
    assert_int_equal(b->local_first, local_first);
    for (int64_t i = 0; i < global; i++) {
        assert_int_equal(b->samples[i], r->order[first + i]);
        assert_int_equal(b->labels[i], d->labels[b->samples[i]]);
    }
    const sc_row_kind kind = r->augment ? SC_ROW_TRAIN : SC_ROW_EVAL;
    const size_t p = r->augment ? FAKE_TRAIN_SIZE : FAKE_SIZE;
    for (int64_t i = 0; i < b->rows; i++) {
        sc_augment expected;
        memset(&expected, 0, sizeof expected);
        if (r->augment)
            sc_augment_draw(r->random_state, r->epoch, first + local_first + i, r->fold, FAKE_SIZE,
                            FAKE_TRAIN_SIZE, &expected);
        assert_true(fake_row_is(b->pixels + (size_t)i * p * p * 3, kind,
                                r->order[first + local_first + i]));
        assert_memory_equal(&b->draws[i], &expected, sizeof expected);
    }
    return global;
}

static void run_epoch(sc_row_source *s, const sc_dataset *d, const sc_epoch_request *r,
                      int64_t batch, int rank, int ranks)
{
    sc_batch b;
    int64_t index = r->first_batch;
    assert_int_equal(sc_row_source_begin(s, r), SC_OK);
    for (;; index++) {
        assert_int_equal(sc_row_source_next(s, &b), SC_OK);
        if (b.rows_global == 0)
            break;
        check_batch(&b, d, r, batch, rank, ranks, index);
    }
    assert_int_equal(index, (r->count + batch - 1) / batch);
    assert_int_equal(sc_row_source_next(s, &b), SC_OK); /* the end stays the end */
    assert_int_equal(b.rows_global, 0);
}

static void every_split_gives_every_row_in_order(void **state)
{
    (void)state;
    static const int64_t batches[] = {1, 7, 32, 100, 250};
    static const int threads[] = {0, 1, 4};
    int64_t order[FAKE_SAMPLES];
    sc_dataset d;
    fake_dataset_init(&d);
    for (int i = 0; i < FAKE_SAMPLES; i += 11)
        d.delay_us[i] = 300;
    shuffled(order, FAKE_SAMPLES, 3);
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++)
        for (size_t t = 0; t < sizeof threads / sizeof *threads; t++)
            for (int ranks = 1; ranks <= 9; ranks += 4)
                for (int rank = 0; rank < ranks; rank += 2) {
                    sc_row_source *s = open_source(&d, threads[t], batches[b], rank, ranks);
                    sc_epoch_request r = {.order = order,
                                          .count = 90,
                                          .augment = true,
                                          .random_state = 42,
                                          .epoch = 3,
                                          .fold = 2};
                    run_epoch(s, &d, &r, batches[b], rank, ranks);
                    r.augment = false;
                    r.count = 10;
                    run_epoch(s, &d, &r, batches[b], rank, ranks);
                    sc_row_source_close(s);
                }
}

static void resumes_inside_an_epoch(void **state)
{
    (void)state;
    int64_t order[FAKE_SAMPLES];
    sc_dataset d;
    fake_dataset_init(&d);
    shuffled(order, FAKE_SAMPLES, 9);
    for (int threads = 0; threads <= 3; threads += 3)
        for (int64_t first = 0; first <= 13; first++) {
            sc_row_source *s = open_source(&d, threads, 8, 1, 3);
            const sc_epoch_request r = {.order = order,
                                        .count = 100,
                                        .first_batch = first,
                                        .augment = true,
                                        .random_state = 7};
            atomic_store(&d.reads, 0);
            run_epoch(s, &d, &r, 8, 1, 3);
            if (first == 13)
                assert_int_equal(atomic_load(&d.reads), 0);
            sc_row_source_close(s);
        }
}

static void begins_again_and_closes_at_any_batch(void **state)
{
    (void)state;
    int64_t order[FAKE_SAMPLES];
    sc_dataset d;
    sc_batch b;
    fake_dataset_init(&d);
    for (int i = 0; i < FAKE_SAMPLES; i += 3)
        d.delay_us[i] = 200;
    for (int threads = 0; threads <= 4; threads += 2) {
        sc_row_source *s = open_source(&d, threads, 6, 0, 1);
        for (int given = 0; given < 12; given++) {
            shuffled(order, FAKE_SAMPLES, (uint32_t)given);
            sc_epoch_request r = {.order = order,
                                  .count = 60 + given,
                                  .augment = given % 2 == 0,
                                  .random_state = 1,
                                  .epoch = given};
            assert_int_equal(sc_row_source_begin(s, &r), SC_OK);
            for (int i = 0; i < given && i < 10; i++) {
                assert_int_equal(sc_row_source_next(s, &b), SC_OK);
                check_batch(&b, &d, &r, 6, 0, 1, i);
            }
        }
        sc_row_source_close(s); /* the last epoch is not at its end */
    }
    sc_row_source_close(open_source(&d, 3, 4, 0, 1)); /* nothing begun */
    sc_row_source_close(NULL);
}

static void failure_reaches_next_with_its_message(void **state)
{
    (void)state;
    int64_t order[FAKE_SAMPLES];
    sc_batch b;
    for (int threads = 0; threads <= 4; threads++)
        for (int bad = 0; bad < 40; bad += 7) {
            sc_dataset d;
            fake_dataset_init(&d);
            for (int i = 0; i < FAKE_SAMPLES; i++)
                order[i] = i;
            d.bad[bad] = true;     /* the lowest is told, although ... */
            d.delay_us[bad] = 500; /* ... the others fail earlier */
            d.bad[bad + 1] = d.bad[bad + 9] = true;
            sc_row_source *s = open_source(&d, threads, 8, 0, 1);
            sc_epoch_request r = {.order = order, .count = 100};
            char expected[64];
            snprintf(expected, sizeof expected, "row %d is damaged", bad);
            assert_int_equal(sc_row_source_begin(s, &r), SC_OK);
            for (int i = 0; i < bad / 8; i++) {
                assert_int_equal(sc_row_source_next(s, &b), SC_OK);
                check_batch(&b, &d, &r, 8, 0, 1, i);
            }
            for (int again = 0; again < 2; again++) {
                sc_message_clear();
                assert_int_equal(sc_row_source_next(s, &b), SC_EFORMAT);
                assert_string_equal(sc_message(), expected);
                assert_int_equal(b.rows_global, 0);
            }
            d.bad[bad] = d.bad[bad + 1] = d.bad[bad + 9] = false;
            run_epoch(s, &d, &r, 8, 0, 1); /* and the source is usable again */
            sc_row_source_close(s);
        }
}

/* The caller has the rows: nothing is read, damaged rows do not matter, all else is the same. */
static void without_pixels_reads_nothing(void **state)
{
    (void)state;
    int64_t order[FAKE_SAMPLES];
    sc_batch b, with;
    shuffled(order, FAKE_SAMPLES, 5);
    for (int threads = 0; threads <= 2; threads++)
        for (int augment = 0; augment < 2; augment++) {
            sc_dataset d;
            fake_dataset_init(&d);
            sc_row_source_options o = {
                .dataset = &d, .threads = threads, .batch = 16, .rank = 1, .ranks = 2};
            sc_row_source *reads = NULL, *draws = NULL;
            assert_int_equal(sc_row_source_open(&o, &reads), SC_OK);
            o.without_pixels = true;
            assert_int_equal(sc_row_source_open(&o, &draws), SC_OK);
            const sc_epoch_request r = {.order = order,
                                        .count = 90,
                                        .first_batch = 1,
                                        .augment = augment,
                                        .random_state = 7,
                                        .epoch = 4,
                                        .fold = 3};
            assert_int_equal(sc_row_source_begin(draws, &r), SC_OK);
            d.bad[order[20]] = true;
            for (int i = 1; i < 6; i++)
                assert_int_equal(sc_row_source_next(draws, &b), SC_OK);
            assert_int_equal(atomic_load(&d.reads), 0);
            d.bad[order[20]] = false;
            assert_int_equal(sc_row_source_begin(draws, &r), SC_OK);
            assert_int_equal(sc_row_source_begin(reads, &r), SC_OK);
            for (int i = 1; i < 6; i++) {
                assert_int_equal(sc_row_source_next(draws, &b), SC_OK);
                assert_int_equal(sc_row_source_next(reads, &with), SC_OK);
                assert_null(b.pixels);
                assert_int_equal(b.kind, augment ? SC_ROW_TRAIN : SC_ROW_EVAL);
                assert_int_equal(b.first, with.first);
                assert_int_equal(b.rows, with.rows);
                assert_int_equal(b.local_first, with.local_first);
                assert_memory_equal(b.samples, with.samples,
                                    (size_t)b.rows_global * sizeof *b.samples);
                assert_memory_equal(b.labels, with.labels,
                                    (size_t)b.rows_global * sizeof *b.labels);
                assert_memory_equal(b.draws, with.draws, (size_t)b.rows * sizeof *b.draws);
            }
            sc_row_source_close(reads);
            sc_row_source_close(draws);
        }
}

static void wrong_requests_are_refused(void **state)
{
    (void)state;
    int64_t order[2] = {0, FAKE_SAMPLES};
    sc_dataset d;
    sc_batch b;
    sc_row_source *s = NULL;
    fake_dataset_init(&d);
    sc_row_source_options o = {.dataset = &d, .threads = -1, .batch = 4, .ranks = 1};
    assert_int_equal(sc_row_source_open(&o, &s), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "num_workers"));
    o.threads = 2;
    o.batch = 0;
    assert_int_equal(sc_row_source_open(&o, &s), SC_EINTERNAL);
    assert_null(s);
    s = open_source(&d, 2, 4, 0, 1);
    assert_int_equal(sc_row_source_next(s, &b), SC_EINTERNAL);
    sc_epoch_request r = {.order = order, .count = 2};
    assert_int_equal(sc_row_source_begin(s, &r), SC_EINTERNAL);
    assert_int_equal(sc_row_source_next(s, &b), SC_EINTERNAL);
    r.count = 1;
    r.first_batch = 2;
    assert_int_equal(sc_row_source_begin(s, &r), SC_EINTERNAL);
    r.count = 0;
    r.first_batch = 0;
    run_epoch(s, &d, &r, 4, 0, 1);
    sc_row_source_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_split_gives_every_row_in_order),
        cmocka_unit_test(resumes_inside_an_epoch),
        cmocka_unit_test(begins_again_and_closes_at_any_batch),
        cmocka_unit_test(failure_reaches_next_with_its_message),
        cmocka_unit_test(without_pixels_reads_nothing),
        cmocka_unit_test(wrong_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
