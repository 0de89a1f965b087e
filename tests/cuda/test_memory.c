/* Jobs on what stands in for CUDA: what one is told to take against what its allocator gave, and
 * jobs that take their rows from the device against such that do not.
 */
#include "../train/job.h"
#include "shim/shim.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

const sc_backend *sc_backend_cuda(void);

static sc_device *open_device(sc_precision_mode precision, const sc_log *log)
{
    const sc_device_options o = {1, precision, log};
    sc_device *d = NULL;
    assert_int_equal(sc_backend_cuda()->open(&o, &d), SC_OK);
    return d;
}

/* ---- prediction ------------------------------------------------------------------------------ */

typedef struct meter {
    sc_device *device;
    size_t least;
} meter;
static bool look_and_stop(void *ctx)
{
    meter *m = ctx;
    sc_device_memory now;
    assert_int_equal(m->device->backend->memory(m->device, &now), SC_OK);
    m->least = now.free < m->least ? now.free : m->least;
    return true; /* everything is there when the first step begins */
}
static void told_is_taken(sc_precision_mode precision, const char *image, const char *text,
                          int batch, bool augment)
{
    job j;
    job_init(&j);
    j.o.image_encoder = image;
    j.o.text_encoder = text;
    j.o.batch_size = batch;
    j.o.augment = augment;
    sc_device *d = open_device(precision, j.o.log);
    sc_comm *alone = sc_comm_single();
    sc_device_memory before;
    size_t told = 0;
    const long allocations = shim_allocations();
    assert_int_equal(sc_train_memory(&j.o, d, 1, &told), SC_OK);
    assert_int_equal(shim_allocations(), allocations);
    assert_int_equal(d->backend->memory(d, &before), SC_OK);
    meter m = {d, before.free};
    const sc_train_events events = {.ctx = &m, .stop = look_and_stop};
    sc_train_result r;
    assert_int_equal(sc_train_job(&j.o, d, alone, &events, &r), SC_EINTERRUPTED);
    const double took = (double)(before.free - m.least), ratio = (double)told / took;
    if (!(ratio > 0.95 && ratio < 1.05))
        fail_msg("%s, %s, batch %d: %.2f MB were told, %.2f MB taken", image, text, batch,
                 (double)told / 1e6, took / 1e6);
    assert_int_equal(shim_allocations(), allocations);
    sc_train_result_free(&r);
    alone->free(alone);
    d->backend->close(d);
    job_free(&j);
}
static void a_job_takes_what_it_is_told_to(void **state)
{
    (void)state;
    told_is_taken(SC_FP32, "resnet-tiny", "clip:tiny", 5, true);
    told_is_taken(SC_BF16_MIXED, "resnet-tiny", "clip:tiny", 14, false);
    told_is_taken(SC_BF16_MIXED, "resnet18", "clip:tiny", 9, true);
    told_is_taken(SC_BF16_MIXED, "starnet_s1", "clip:tiny", 7, true);
}

/* A group's rank is measured without its group. */
static void a_rank_of_many(void **state)
{
    (void)state;
    job j;
    size_t one = 0, many = 0;
    job_init(&j);
    sc_device *d = open_device(SC_FP32, j.o.log);
    assert_int_equal(sc_train_memory(&j.o, d, 1, &one), SC_OK);
    assert_int_equal(sc_train_memory(&j.o, d, 5, &many), SC_OK);
    assert_true(many < one);
    d->backend->close(d);
    job_free(&j);
}

/* ---- rows on the device -----------------------------------------------------------------------
 */

static char last_line[512];
static pthread_mutex_t line_lock = PTHREAD_MUTEX_INITIALIZER;
static void keep_line(void *ctx, sc_log_level level, const char *line)
{
    (void)level;
    pthread_mutex_lock(&line_lock);
    if (strncmp(line, "Data: ", 6) == 0) {
        snprintf(last_line, sizeof last_line, "%s", line);
        ++*(int *)ctx;
    }
    pthread_mutex_unlock(&line_lock);
}

static const char *const files[] = {"checkpoint_latest.pth", "checkpoint_best.pth", "history.json",
                                    "val_predictions.csv"};
static void same_files(const job *a, const job *b)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t n = 0, m = 0;
        char *x = job_file(a, files[i], &n), *y = job_file(b, files[i], &m);
        assert_true(x && y);
        assert_int_equal(n, m);
        assert_memory_equal(x, y, n);
        free(x);
        free(y);
    }
}
static void run(job *j)
{
    sc_train_result r;
    if (job_run(j, &r) != SC_OK)
        fail_msg("%s", sc_message());
    sc_train_result_free(&r);
}
static void *run_in_thread(void *arg)
{
    run(arg);
    return NULL;
}
static void prepare(job *j, sc_resident *r, const sc_log *log, bool augment, int threads)
{
    job_init(j);
    j->backend = sc_backend_cuda();
    j->precision = SC_BF16_MIXED;
    j->o.augment = augment;
    j->o.epochs = 1;
    j->o.resident = r;
    j->o.loader_threads = threads;
    j->o.log = log;
}

static void rows_on_the_device_change_no_byte(void **state)
{
    (void)state;
    const size_t eval = 21 * 32 * 32 * 3, train = 21 * 35 * 35 * 3;
    int lines = 0;
    const sc_log log = {keep_line, &lines};
    for (int augment = 0; augment < 2; augment++) {
        job streamed, first, second, together;
        sc_device *own = open_device(SC_FP32, &log);
        sc_resident *r = NULL;
        assert_int_equal(sc_resident_open(own, train + eval, true, &r), SC_OK);
        prepare(&streamed, NULL, &log, augment, 2);
        prepare(&first, r, &log, augment, 2);
        prepare(&second, r, &log, augment, 0);
        prepare(&together, r, &log, augment, 1);
        assert_int_equal(sc_resident_bytes(first.o.dataset, augment), eval + (augment ? train : 0));
        run(&streamed);
        lines = 0;
        const int before = streamed.data.reads, rows = augment ? 42 : 21;
        assert_int_equal(before, 14 + 7);
        run(&first);
        assert_int_equal(first.data.reads, rows);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, run_in_thread, &second), 0);
        run(&together);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(second.data.reads + together.data.reads, 0); /* of the same hash */
        assert_int_equal(lines, 1);
        assert_non_null(strstr(last_line, "21 images on the GPU"));
        same_files(&streamed, &first);
        same_files(&streamed, &second);
        same_files(&streamed, &together);
        sc_resident_close(r);
        own->backend->close(own);
        job *const jobs[] = {&streamed, &first, &second, &together};
        for (int i = 0; i < 4; i++)
            job_free(jobs[i]);
        assert_int_equal(shim_allocations(), 0);
    }
}

/* A byte too little: a line and the same bytes, or an error before anything is trained. */
static void what_does_not_fit(void **state)
{
    (void)state;
    const size_t all = 21 * (32 * 32 + 35 * 35) * 3;
    int lines = 0;
    const sc_log log = {keep_line, &lines};
    job streamed, none, some;
    sc_resident *r = NULL;
    sc_train_result result;
    sc_device *own = open_device(SC_FP32, &log);
    prepare(&streamed, NULL, &log, true, 1);
    run(&streamed);
    assert_int_equal(sc_resident_open(own, all - 1, false, &r), SC_OK);
    prepare(&none, r, &log, true, 1);
    run(&none);
    assert_int_equal(lines, 1);
    assert_non_null(strstr(last_line, "read batch by batch"));
    same_files(&streamed, &none);
    run(&none);                        /* finished already: trains nothing */
    prepare(&some, r, &log, false, 1); /* its rows fit */
    run(&some);
    assert_non_null(strstr(last_line, "on the GPU, "));
    job_free(&some);
    sc_resident_close(r);
    assert_int_equal(sc_resident_open(own, all - 1, true, &r), SC_OK);
    prepare(&some, r, &log, true, 1);
    assert_int_equal(job_run(&some, &result), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "--data-on-gpu on"));
    assert_non_null(strstr(sc_message(), "missing"));
    size_t n;
    assert_null(job_file(&some, "checkpoint_latest.pth", &n));
    sc_resident_close(r);
    own->backend->close(own);
    job *const jobs[] = {&streamed, &none, &some};
    for (int i = 0; i < 3; i++)
        job_free(jobs[i]);
    assert_int_equal(shim_allocations(), 0);
}

/* A row that cannot be read fails the job with the row's message, and the next job tries again. */
static void a_damaged_row(void **state)
{
    (void)state;
    int lines = 0;
    const sc_log log = {keep_line, &lines};
    job j;
    sc_resident *r = NULL;
    sc_train_result result;
    sc_device *own = open_device(SC_FP32, &log);
    assert_int_equal(sc_resident_open(own, (size_t)1 << 30, false, &r), SC_OK);
    prepare(&j, r, &log, true, 2);
    j.data.bad_row = 13;
    assert_int_not_equal(job_run(&j, &result), SC_OK);
    assert_non_null(strstr(sc_message(), "13"));
    j.data.bad_row = -1;
    run(&j);
    sc_resident_close(r);
    own->backend->close(own);
    job_free(&j);
    assert_int_equal(shim_allocations(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_takes_what_it_is_told_to), cmocka_unit_test(a_rank_of_many),
        cmocka_unit_test(rows_on_the_device_change_no_byte), cmocka_unit_test(what_does_not_fit),
        cmocka_unit_test(a_damaged_row)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
