#include "worker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coordinator.h"
#include "signals.h"

/* One rank's view of the run. */
typedef struct worker {
    app *a;
    int job;          /* the one in hand, -1: none */
    int32_t next;     /* arrived by mail, -1: none */
    bool asked;       /* for a job that has not come yet */
    bool end;         /* MAIL_END arrived */
    bool told_stop;   /* this rank's signal was passed on */
    sc_status broken; /* mail failed inside a callback: ends the world after the job */
    char why[512];
    double pass_began, progress_sent;
    int pass; /* which pass pass_began belongs to */
    /* of the job in hand: when its newest batch and training pass ended, how long its newest
     * validation took (-1: none yet) */
    double batch_ended, training_ended, validation;
} worker;

static bool is_leader(const app *a)
{
    return a->group && a->group->rank == 0;
}

static void note_broken(worker *w, sc_status status)
{
    if (status == SC_OK || w->broken != SC_OK)
        return;
    w->broken = status;
    snprintf(w->why, sizeof w->why, "%s", sc_message());
}

static sc_status read_mail(worker *w)
{
    app *a = w->a;
    for (bool got = true; got;) {
        int from, tag;
        char *data;
        size_t n;
        SC_TRY(sc_mail_poll(a->mail, &got, &from, &tag, &data, &n));
        if (got && tag == MAIL_JOB && n == sizeof w->next) {
            memcpy(&w->next, data, sizeof w->next);
            w->asked = false;
        } else if (got && tag == MAIL_STOP) {
            a->stop = true;
        } else if (got && tag == MAIL_END) {
            w->end = true;
        }
        free(data);
    }
    return SC_OK;
}

/* Looks at mail and signals; called at every step and while waiting. */
static sc_status tick(worker *w)
{
    app *a = w->a;
    SC_TRY(app_is_root(a) ? coordinator_serve(a) : read_mail(w));
    if (!signals_stop_asked() || w->told_stop)
        return SC_OK;
    w->told_stop = true;
    if (app_is_root(a))
        return coordinator_stop(a);
    a->stop = true;
    return sc_mail_send(a->mail, 0, MAIL_STOP, NULL, 0);
}

/* ---- the trainer's callbacks ----------------------------------------------------------------- */

static void send_line(worker *w, sc_log_level level, const char *line)
{
    if (app_is_root(w->a)) {
        coordinator_line(w->a, w->job, level, line);
        return;
    }
    line_mail head = {w->job, (int32_t)level};
    size_t n = strlen(line);
    char *letter = malloc(sizeof head + n);
    if (!letter)
        return;
    memcpy(letter, &head, sizeof head);
    memcpy(letter + sizeof head, line, n);
    note_broken(w, sc_mail_send(w->a->mail, 0, MAIL_LINE, letter, sizeof head + n));
    free(letter);
}

/* The group's ranks say the same; its leader's voice is enough. */
static void on_line(void *ctx, sc_log_level level, const char *line)
{
    worker *w = ctx;
    if (is_leader(w->a))
        send_line(w, level, line);
}

static sc_status ask(worker *w)
{
    if (w->asked || w->next >= 0 || w->a->stop)
        return SC_OK;
    w->asked = true;
    return sc_mail_send(w->a->mail, 0, MAIL_ASK, NULL, 0);
}

/* Rank 0 looks at its mail once a step of its own job, so the next job is asked for a little before
 * this one ends: some steps, or two seconds. Not earlier: whoever is free first should get it. A
 * job that ends by early stopping asks when it has ended. */
static sc_status ask_ahead(worker *w, const sc_batch_progress *b, double now)
{
    double step = now - w->batch_ended, left = (double)(b->batches - b->batch) * step;
    w->batch_ended = now;
    if (b->batch == b->batches && b->validating)
        w->validation = now - w->training_ended;
    if (b->batch == b->batches && !b->validating)
        w->training_ended = now;
    if (b->epoch < b->epochs || (!b->validating && w->validation < 0))
        return SC_OK;
    if (!b->validating)
        left += w->validation;
    return left <= fmax(2, 2 * step) ? ask(w) : SC_OK;
}

static void on_batch(void *ctx, const sc_batch_progress *b)
{
    worker *w = ctx;
    double now = sc_now();
    int pass = 2 * b->epoch + b->validating;
    if (pass != w->pass) {
        w->pass = pass;
        w->pass_began = w->progress_sent = now;
    }
    note_broken(w, tick(w));
    if (is_leader(w->a) && !app_is_root(w->a))
        note_broken(w, ask_ahead(w, b, now));
    if (!is_leader(w->a) || (b->batch < b->batches && now - w->progress_sent < 0.1))
        return;
    w->progress_sent = now;
    progress_mail m;
    memset(&m, 0, sizeof m);
    m.job = w->job;
    m.epochs = b->epochs;
    m.state = (sc_progress_state){.validating = b->validating,
                                  .superclip = b->superclip,
                                  .epoch = b->epoch,
                                  .done = b->batch,
                                  .total = b->batches,
                                  .seconds = now - w->pass_began,
                                  .loss = b->loss,
                                  .class_loss = b->class_loss,
                                  .contrastive_loss = b->contrastive_loss,
                                  .acc = b->acc};
    if (app_is_root(w->a))
        coordinator_progress(w->a, &m);
    else
        note_broken(w, sc_mail_send(w->a->mail, 0, MAIL_PROGRESS, &m, sizeof m));
}

static void on_epoch(void *ctx, int epoch, int epochs, const sc_epoch_metrics *m, bool is_best)
{
    worker *w = ctx;
    if (!is_leader(w->a))
        return;
    (void)epoch, (void)epochs;
    sc_text t;
    sc_text_init(&t);
    sc_epoch_format(m, w->a->options.configs[w->a->jobs[w->job].config].use_superclip_loss, &t);
    if (sc_text_status(&t) == SC_OK) {
        char *save = NULL;
        for (char *line = strtok_r(t.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
            send_line(w, SC_LOG_INFO, line);
        if (is_best)
            send_line(w, SC_LOG_INFO, "Best so far");
    }
    sc_text_free(&t);
}

static bool on_stop(void *ctx)
{
    worker *w = ctx;
    note_broken(w, tick(w));
    return w->a->stop || w->broken != SC_OK;
}

/* ---- one job --------------------------------------------------------------------------------- */

static sc_status send_result(worker *w, const result_mail *r, const char *message)
{
    if (app_is_root(w->a))
        return coordinator_result(w->a, r, message);
    size_t n = strlen(message);
    char *letter = malloc(sizeof *r + n);
    if (!letter)
        return sc_fail(SC_ENOMEM, "no memory for a result");
    memcpy(letter, r, sizeof *r);
    memcpy(letter + sizeof *r, message, n);
    sc_status status = sc_mail_send(w->a->mail, 0, MAIL_RESULT, letter, sizeof *r + n);
    free(letter);
    return status;
}

static sc_status run_job(worker *w, int job)
{
    app *a = w->a;
    const app_case *k = &a->cases[a->jobs[job].config];
    sc_log log = {on_line, w};
    sc_train_events events = {w, on_batch, on_epoch, on_stop};
    sc_train_options o;
    sc_train_result r;
    sc_device *device = NULL;
    memset(&r, 0, sizeof r);
    w->job = job;
    w->pass = -1;
    w->batch_ended = w->training_ended = sc_now();
    w->validation = -1;
    app_train_options(a, job, &log, &o);
    sc_status status = app_agree(a->world, a->group, app_device(a, k->bf16, &device));
    if (status == SC_OK)
        status = sc_train_job(&o, device, a->group, &events, &r);
    if (status == SC_ECOMM)
        return status;
    if (w->broken != SC_OK)
        return sc_fail(w->broken, "%s", w->why);
    if (is_leader(a)) {
        result_mail m;
        memset(&m, 0, sizeof m);
        m.job = job;
        m.status = (int32_t)status;
        m.result = r.fold;
        status = send_result(w, &m, status == SC_OK ? "" : sc_message());
    } else {
        status = SC_OK;
    }
    sc_train_result_free(&r);
    w->job = -1;
    return status;
}

/* ---- waiting for one ------------------------------------------------------------------------- */

/* The leader's job is its group's. */
static sc_status tell_group(const app *a, int32_t job)
{
    int me = a->world->comm->rank;
    for (int r = me + 1; r < a->world->comm->size; r++)
        if (a->group_of_rank[r] == a->group_of_rank[me])
            SC_TRY(sc_mail_send(a->mail, r, MAIL_JOB, &job, sizeof job));
    return SC_OK;
}

static sc_status tell_end(const app *a)
{
    for (int r = 1; r < a->world->comm->size; r++)
        SC_TRY(sc_mail_send(a->mail, r, MAIL_END, NULL, 0));
    return SC_OK;
}

/* Between two looks at the mail: short at first, so that a job starts at once; longer after a
 * second, so that a group that waits for the others' last jobs leaves its core alone. */
static void rest(int *rests)
{
    long ms = ++*rests < 1000 ? 1 : 20;
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static sc_status lead_from_root(worker *w)
{
    app *a = w->a;
    int job;
    SC_TRY(coordinator_begin(a, &job));
    for (int rests = 0;; job = -1) {
        SC_TRY(tick(w));
        if (job < 0 && is_leader(a))
            job = coordinator_next(a);
        if (job >= 0) {
            SC_TRY(tell_group(a, job));
            SC_TRY(run_job(w, job));
            rests = 0;
        } else if (coordinator_idle(a)) {
            return tell_end(a);
        } else {
            rest(&rests);
        }
    }
}

sc_status worker_run(app *a)
{
    worker w = {.a = a, .job = -1, .next = -1};
    if (app_is_root(a)) {
        signals_announce_end();
        return lead_from_root(&w);
    }
    w.asked = is_leader(a); /* the first job comes by itself */
    for (int rests = 0; !w.end;) {
        SC_TRY(tick(&w));
        int32_t job = w.next;
        if (job < 0) {
            rest(&rests);
            continue;
        }
        w.next = -1;
        rests = 0;
        if (is_leader(a) && a->stop) {
            SC_TRY(sc_mail_send(a->mail, 0, MAIL_BACK, &job, sizeof job));
            continue;
        }
        if (is_leader(a))
            SC_TRY(tell_group(a, job));
        SC_TRY(run_job(&w, job));
        if (is_leader(a))
            SC_TRY(ask(&w));
    }
    return SC_OK;
}
