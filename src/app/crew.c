#include "crew.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A main thread's usual one; the system's default for others may be a quarter of it. */
enum { STACK_BYTES = 8 << 20 };

typedef struct crew_slot {
    struct crew *crew;
    sc_comm *alone;
    sc_device *devices[2]; /* fp32, bf16: the thread's own, opened when first needed */
    sc_log log;            /* of the devices */
    job_desk desk;
    job_place place;
    pthread_t thread;
    bool started, busy; /* the main thread's */
    int job;            /* under the lock; -1: none to begin */
    int in_hand;        /* the thread's: what its devices speak of */
    job_outcome outcome;
    crew_letter *last_word; /* tells of the outcome; made before the job begins */
} crew_slot;

struct crew {
    app *app;
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t work;   /* slots wait: a job, or the end */
    pthread_cond_t spoken; /* the main thread waits: a letter */
    bool end;
    crew_letter *first, **last;
    int count;
    crew_slot slots[SC_MOST_SLOTS];
};

/* ---- what the threads say -------------------------------------------------------------------- */

static void put(crew *c, crew_letter *l)
{
    pthread_mutex_lock(&c->lock);
    l->next = NULL;
    *c->last = l;
    c->last = &l->next;
    pthread_cond_signal(&c->spoken);
    pthread_mutex_unlock(&c->lock);
}

static void tell(void *ctx, mail_tag tag, const void *data, size_t n)
{
    crew_slot *s = ctx;
    crew_letter *l = malloc(sizeof *l + n + 1);
    if (!l)
        return; /* a line or a sign of progress: the job goes on without */
    *l = (crew_letter){.tag = tag, .n = n};
    if (n > 0)
        memcpy(l->data, data, n);
    l->data[n] = '\0';
    put(s->crew, l);
}

static void on_device_line(void *ctx, sc_log_level level, const char *line)
{
    crew_slot *s = ctx;
    job_tell_line(&s->desk, s->in_hand, level, line);
}

static bool stop_asked(void *ctx)
{
    const crew_slot *s = ctx;
    return atomic_load_explicit(&s->crew->stop, memory_order_relaxed);
}

/* ---- a thread -------------------------------------------------------------------------------- */

static sc_status own_device(void *ctx, bool bf16, sc_device **out)
{
    crew_slot *s = ctx;
    if (!s->devices[bf16])
        SC_TRY(
            app_open_device(s->crew->app, bf16, s->place.neighbours, &s->log, &s->devices[bf16]));
    *out = s->devices[bf16];
    return SC_OK;
}

static void close_devices(crew_slot *s)
{
    for (int i = 0; i < 2; i++) {
        if (s->devices[i])
            s->crew->app->backend->close(s->devices[i]);
        s->devices[i] = NULL;
    }
}

/* What a failure leaves in a device must not meet the next job. */
static void train(crew_slot *s, int job)
{
    s->in_hand = job;
    job_outcome *o = &s->outcome;
    const sc_status broken = job_run(&s->place, job, o);
    if (broken != SC_OK) { /* not in a group of one; should it be: this job's failure */
        o->mail = (result_mail){.job = job, .status = (int32_t)broken};
        snprintf(o->message, sizeof o->message, "%s", sc_message());
    }
    if (o->mail.status != SC_OK && o->mail.status != SC_EINTERRUPTED)
        close_devices(s);
    put(s->crew, s->last_word);
}

static void *work(void *arg)
{
    crew_slot *s = arg;
    crew *c = s->crew;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (s->job < 0 && !c->end)
            pthread_cond_wait(&c->work, &c->lock);
        if (s->job < 0)
            break;
        const int job = s->job;
        s->job = -1;
        pthread_mutex_unlock(&c->lock);
        train(s, job);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    close_devices(s);
    return NULL;
}

/* Signals belong to the main thread. */
static sc_status start_thread(crew_slot *s)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_t like_main;
    pthread_attr_init(&like_main);
    pthread_attr_setstacksize(&like_main, STACK_BYTES);
    const int error = pthread_create(&s->thread, &like_main, work, s);
    pthread_attr_destroy(&like_main);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error != 0)
        return sc_fail(SC_ENOMEM, "cannot start a thread for a job: %s; lower --jobs-per-gpu",
                       strerror(error));
    s->started = true;
    return SC_OK;
}

/* ---- the main thread's side ------------------------------------------------------------------ */

sc_status crew_open(app *a, int most, int neighbours, crew **out)
{
    *out = NULL;
    if (most < 1 || most > SC_MOST_SLOTS)
        return sc_fail(SC_EINTERNAL, "%d jobs at once", most);
    crew *c = sc_alloc(1, sizeof *c);
    if (!c)
        return SC_ENOMEM;
    c->app = a;
    c->last = &c->first;
    c->count = most;
    atomic_init(&c->stop, false);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->work, NULL);
    pthread_condattr_t steady;
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&c->spoken, &steady);
    pthread_condattr_destroy(&steady);
    sc_status status = SC_OK;
    for (int i = 0; i < most; i++) {
        crew_slot *s = &c->slots[i];
        s->crew = c;
        s->job = s->in_hand = -1;
        s->log = (sc_log){on_device_line, s};
        s->desk = (job_desk){s, tell, stop_asked, own_device};
        s->alone = sc_comm_single();
        if (!s->alone)
            status = SC_ENOMEM;
        s->place = (job_place){.app = a,
                               .desk = &s->desk,
                               .group = s->alone,
                               .asks = !app_is_root(a),
                               .neighbours = neighbours};
    }
    *out = c;
    if (status == SC_OK)
        return SC_OK;
    crew_close(c);
    *out = NULL;
    return status;
}

void crew_close(crew *c)
{
    if (!c)
        return;
    crew_stop(c);
    pthread_mutex_lock(&c->lock);
    c->end = true;
    pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
    for (int i = 0; i < c->count; i++)
        if (c->slots[i].started)
            pthread_join(c->slots[i].thread, NULL);
    for (crew_letter *l; (l = crew_take(c));)
        free(l);
    for (int i = 0; i < c->count; i++)
        if (c->slots[i].alone)
            c->slots[i].alone->free(c->slots[i].alone);
    pthread_cond_destroy(&c->spoken);
    pthread_cond_destroy(&c->work);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

bool crew_has_room(const crew *c)
{
    for (int i = 0; i < c->count; i++)
        if (!c->slots[i].busy)
            return true;
    return false;
}

sc_status crew_start(crew *c, int job)
{
    crew_slot *s = c->slots;
    while (s < c->slots + c->count && s->busy)
        s++;
    if (s == c->slots + c->count)
        return sc_fail(SC_EINTERNAL, "no place for job %d", job);
    crew_letter *l = sc_alloc(1, sizeof *l + 1);
    if (!l)
        return SC_ENOMEM;
    l->slot = s;
    l->outcome = &s->outcome;
    if (!s->started) {
        sc_status status = start_thread(s);
        if (status != SC_OK) {
            free(l);
            return status;
        }
    }
    s->busy = true;
    pthread_mutex_lock(&c->lock);
    s->last_word = l;
    s->job = job;
    pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
    return SC_OK;
}

void crew_stop(crew *c)
{
    atomic_store_explicit(&c->stop, true, memory_order_relaxed);
}

crew_letter *crew_take(crew *c)
{
    pthread_mutex_lock(&c->lock);
    crew_letter *l = c->first;
    if (l) {
        c->first = l->next;
        if (!c->first)
            c->last = &c->first;
    }
    pthread_mutex_unlock(&c->lock);
    if (l && l->slot)
        l->slot->busy = false;
    return l;
}

void crew_wait(crew *c, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const long ns = until.tv_nsec + (long)(seconds * 1e9);
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&c->lock);
    while (!c->first && pthread_cond_timedwait(&c->spoken, &c->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&c->lock);
}
