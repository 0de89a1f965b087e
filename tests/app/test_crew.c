/* Several jobs at once on threads: what the main thread gets to hear, in which order, and how they
 * end. job_run and app_open_device are this test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crew.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { JOBS = 200, FAILING = 7, LASTING = 100 };

typedef struct own_device {
    sc_device head;
    pthread_t thread;
} own_device;

/* What the stand-ins count, for all threads. */
static struct {
    atomic_int running, most, opened, closed;
    atomic_int wrong; /* what must not be, on threads that cannot assert */
} seen;

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

sc_status app_open_device(const app *a, bool bf16, int neighbours, const sc_log *log,
                          sc_device **out)
{
    own_device *d = sc_alloc(1, sizeof *d);
    (void)bf16;
    if (!d)
        return SC_ENOMEM;
    seen.wrong += neighbours != 2;
    d->head.backend = a->backend;
    d->thread = pthread_self();
    *out = &d->head;
    seen.opened++;
    sc_info(log, "a device's line");
    return SC_OK;
}

static void close_device(sc_device *d)
{
    seen.wrong += !pthread_equal(((own_device *)d)->thread, pthread_self());
    seen.closed++;
    free(d);
}

/* Jobs up to JOBS say three lines and end; FAILING fails; LASTING and those behind it train until
 * they are stopped. */
sc_status job_run(const job_place *place, int job, job_outcome *out)
{
    const job_desk *desk = place->desk;
    sc_device *d = NULL;
    int now = ++seen.running, most = seen.most;
    while (now > most && !atomic_compare_exchange_weak(&seen.most, &most, now))
        ;
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    seen.wrong += sigismember(&blocked, SIGUSR1) != 1; /* signals are the main thread's */
    seen.wrong += place->group->size != 1;
    seen.wrong += desk->device(desk->ctx, job % 2, &d) != SC_OK;
    memset(out, 0, sizeof *out);
    out->mail.job = job;
    for (int i = 0; i < 3; i++) {
        char line[32];
        snprintf(line, sizeof line, "%d of %d", i, job);
        job_tell_line(desk, job, SC_LOG_INFO, line);
        pause_ms(1);
    }
    while (job >= LASTING && !desk->stop(desk->ctx))
        pause_ms(1);
    if (job == FAILING) {
        out->mail.status = SC_ENUMERIC;
        snprintf(out->message, sizeof out->message, "as it should");
    } else if (desk->stop(desk->ctx)) {
        out->mail.status = SC_EINTERRUPTED;
    }
    seen.running--;
    return SC_OK;
}

void job_tell_line(const job_desk *desk, int job, sc_log_level level, const char *line)
{
    (void)level;
    char letter[64];
    int n = snprintf(letter, sizeof letter, "%d:%s", job, line);
    desk->tell(desk->ctx, MAIL_LINE, letter, (size_t)n);
}

static void new_crew(app *a, crew **c, int most)
{
    static const sc_backend backend = {.close = close_device};
    static sc_comm comm = {.rank = 1, .size = 2};
    static sc_world world = {.comm = &comm};
    memset(&seen, 0, sizeof seen);
    *a = (app){.world = &world, .backend = &backend};
    assert_int_equal(crew_open(a, most, 2, c), SC_OK);
}

/* Letters until nothing is there; outcomes are counted and checked. */
typedef struct heard {
    int lines[JOBS]; /* of each job; -1: it has ended */
    int ended, failed, stopped, device_lines;
} heard;

static void listen(crew *c, heard *h)
{
    for (crew_letter *l; (l = crew_take(c)); free(l)) {
        if (l->outcome) {
            int job = l->outcome->mail.job, status = l->outcome->mail.status;
            assert_int_equal(h->lines[job], 3); /* its words came before */
            h->lines[job] = -1;
            h->ended++;
            h->failed += status == SC_ENUMERIC;
            h->stopped += status == SC_EINTERRUPTED;
            assert_true(status != SC_ENUMERIC || strcmp(l->outcome->message, "as it should") == 0);
            continue;
        }
        assert_int_equal(l->tag, MAIL_LINE);
        assert_int_equal(l->n, strlen(l->data));
        int job = atoi(l->data);
        char expected[64];
        snprintf(expected, sizeof expected, "%d:a device's line", job);
        if (strcmp(l->data, expected) == 0) {
            h->device_lines++;
            continue;
        }
        snprintf(expected, sizeof expected, "%d:%d of %d", job, h->lines[job], job);
        assert_string_equal(l->data, expected);
        h->lines[job]++;
    }
}

static void all_jobs_are_heard_in_order(void **state)
{
    (void)state;
    app a;
    crew *c;
    heard h = {0};
    new_crew(&a, &c, 3);
    assert_null(crew_take(c));
    int next = 0;
    while (h.ended < LASTING) {
        while (next < LASTING && crew_has_room(c))
            assert_int_equal(crew_start(c, next++), SC_OK);
        crew_wait(c, 0.5);
        listen(c, &h);
    }
    assert_true(crew_has_room(c));
    crew_close(c);
    assert_int_equal(h.failed, 1);
    assert_int_equal(h.stopped, 0);
    assert_int_equal(seen.most, 3);
    /* two precisions a thread, and new ones after the failure */
    assert_in_range(seen.opened, 6, 8);
    assert_int_equal(seen.opened, h.device_lines);
    assert_int_equal(seen.closed, seen.opened);
    assert_int_equal(seen.wrong, 0);
}

static void no_more_than_there_is_room(void **state)
{
    (void)state;
    app a;
    crew *c;
    new_crew(&a, &c, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(crew_start(c, LASTING + i), SC_OK);
    assert_false(crew_has_room(c));
    assert_int_equal(crew_start(c, LASTING + 2), SC_EINTERNAL);
    crew_close(c);
    c = NULL;
    crew_close(c);
    assert_int_equal(crew_open(&a, 0, 1, &c), SC_EINTERNAL);
    assert_int_equal(crew_open(&a, SC_MOST_SLOTS + 1, 1, &c), SC_EINTERNAL);
}

static void a_stop_reaches_all(void **state)
{
    (void)state;
    app a;
    crew *c;
    heard h = {0};
    new_crew(&a, &c, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(crew_start(c, LASTING + i), SC_OK);
    for (int i = 0; i < 20; i++) {
        crew_wait(c, 0.001);
        listen(c, &h);
    }
    assert_int_equal(h.ended, 0);
    crew_stop(c);
    while (h.ended < 5) {
        crew_wait(c, 0.5);
        listen(c, &h);
    }
    assert_int_equal(h.stopped, 5);
    assert_int_equal(crew_start(c, LASTING + 5), SC_OK); /* one that begins later stops too */
    while (h.ended < 6) {
        crew_wait(c, 0.5);
        listen(c, &h);
    }
    assert_int_equal(h.stopped, 6);
    crew_close(c);
}

/* The main thread gives up: nobody takes the letters, and yet all have stopped when close returns.
 */
static void closing_stops_and_waits(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        app a;
        crew *c;
        new_crew(&a, &c, SC_MOST_SLOTS);
        for (int i = 0; i <= round % SC_MOST_SLOTS; i++)
            assert_int_equal(crew_start(c, LASTING + i), SC_OK);
        if (round % 2)
            pause_ms(2);
        crew_close(c);
        assert_int_equal(seen.running, 0);
        assert_int_equal(seen.opened, round % SC_MOST_SLOTS + 1);
        assert_int_equal(seen.closed, seen.opened);
    }
}

static void waiting_ends_in_time(void **state)
{
    (void)state;
    app a;
    crew *c;
    new_crew(&a, &c, 1);
    double begin = sc_now();
    crew_wait(c, 0.05);
    assert_true(sc_now() - begin >= 0.049);
    crew_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_jobs_are_heard_in_order), cmocka_unit_test(no_more_than_there_is_room),
        cmocka_unit_test(a_stop_reaches_all),          cmocka_unit_test(closing_stops_and_waits),
        cmocka_unit_test(waiting_ends_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
