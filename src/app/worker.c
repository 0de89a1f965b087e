#include "worker.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "coordinator.h"
#include "crew.h"
#include "signals.h"

/* Every job in hand asks for one more, so at most twice as many wait here as run. */
enum { MOST_WAITING = 2 * SC_MOST_SLOTS };

/* One rank's main thread: it alone knows mail, signals and the user. It trains its group's job
 * itself; alone on its GPU with several jobs at once, it leaves them to a crew's threads. */
typedef struct worker {
    app *a;
    crew *crew;                    /* NULL: none */
    int32_t waiting[MOST_WAITING]; /* jobs that came and have not begun */
    int waiting_count;
    bool end;         /* MAIL_END arrived */
    bool told_stop;   /* this rank's signal was passed on */
    sc_status broken; /* mail failed inside a callback: ends the world after the job */
    char why[512];
    int rests; /* in a row */
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

/* ---- mail and signals ------------------------------------------------------------------------ */

static sc_status keep_job(worker *w, const char *data)
{
    if (w->waiting_count == MOST_WAITING)
        return sc_fail(SC_EINTERNAL, "rank %d was given more jobs than it asked for",
                       w->a->world->comm->rank);
    memcpy(&w->waiting[w->waiting_count++], data, sizeof w->waiting[0]);
    return SC_OK;
}

static sc_status read_mail(worker *w)
{
    app *a = w->a;
    for (bool got = true; got;) {
        int from, tag;
        char *data;
        size_t n;
        sc_status status = SC_OK;
        SC_TRY(sc_mail_poll(a->mail, &got, &from, &tag, &data, &n));
        if (got && tag == MAIL_JOB && n == sizeof w->waiting[0])
            status = keep_job(w, data);
        else if (got && tag == MAIL_STOP)
            a->stop = true;
        else if (got && tag == MAIL_END)
            w->end = true;
        free(data);
        SC_TRY(status);
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

/* A letter for rank 0, NUL behind its bytes. */
static sc_status post(worker *w, mail_tag tag, const void *letter, size_t n)
{
    app *a = w->a;
    return app_is_root(a) ? coordinator_take(a, 0, tag, letter, n)
                          : sc_mail_send(a->mail, 0, tag, letter, n);
}

static sc_status send_outcome(worker *w, const job_outcome *o)
{
    size_t n = strlen(o->message);
    char *letter = malloc(sizeof o->mail + n + 1);
    if (!letter)
        return sc_fail(SC_ENOMEM, "no memory for a result");
    memcpy(letter, &o->mail, sizeof o->mail);
    memcpy(letter + sizeof o->mail, o->message, n + 1);
    sc_status status = post(w, MAIL_RESULT, letter, sizeof o->mail + n);
    free(letter);
    if (status == SC_OK && !o->asked && !app_is_root(w->a))
        status = post(w, MAIL_ASK, NULL, 0);
    return status;
}

/* ---- the group's job, on this thread --------------------------------------------------------- */

static void desk_tell(void *ctx, mail_tag tag, const void *letter, size_t n)
{
    worker *w = ctx;
    note_broken(w, post(w, tag, letter, n));
}

static bool desk_stop(void *ctx)
{
    worker *w = ctx;
    note_broken(w, tick(w));
    return w->a->stop || w->broken != SC_OK;
}

static sc_status desk_device(void *ctx, bool bf16, sc_device **out)
{
    const worker *w = ctx;
    return app_device(w->a, bf16, out);
}

/* The leader's job is its group's. */
static sc_status tell_group(const app *a, int32_t job)
{
    int me = a->world->comm->rank;
    for (int r = me + 1; r < a->world->comm->size; r++)
        if (a->group_of_rank[r] == a->group_of_rank[me])
            SC_TRY(sc_mail_send(a->mail, r, MAIL_JOB, &job, sizeof job));
    return SC_OK;
}

static sc_status train_with_group(worker *w, int32_t job)
{
    app *a = w->a;
    const job_desk desk = {w, desk_tell, desk_stop, desk_device};
    const job_place place = {.app = a,
                             .desk = &desk,
                             .group = a->group,
                             .asks = is_leader(a) && !app_is_root(a),
                             .neighbours = 1};
    job_outcome outcome;
    if (is_leader(a))
        SC_TRY(tell_group(a, job));
    SC_TRY(job_run(&place, job, &outcome));
    if (w->broken != SC_OK)
        return sc_fail(w->broken, "%s", w->why);
    return is_leader(a) ? send_outcome(w, &outcome) : SC_OK;
}

/* ---- a crew's jobs --------------------------------------------------------------------------- */

static sc_status pass_letters(worker *w)
{
    if (w->a->stop)
        crew_stop(w->crew);
    for (crew_letter *l; (l = crew_take(w->crew));) {
        sc_status status =
            l->outcome ? send_outcome(w, l->outcome) : post(w, l->tag, l->data, l->n);
        free(l);
        SC_TRY(status);
        w->rests = 0;
    }
    return SC_OK;
}

/* Jobs that may really meet here: the threads of the rank are shared by so many. */
static int neighbours(const app *a)
{
    int open = 0, groups = 0;
    for (int j = 0; j < a->job_count; j++)
        open += !a->jobs[j].done_before;
    for (int r = 0; r < a->world->comm->size; r++)
        if (a->group_of_rank[r] >= groups)
            groups = a->group_of_rank[r] + 1;
    int share = (open + groups - 1) / groups;
    return share < 1 ? 1 : share < a->at_once ? share : a->at_once;
}

/* ---- what to do next ------------------------------------------------------------------------- */

static int32_t next_job(worker *w)
{
    if (w->waiting_count > 0) {
        int32_t job = w->waiting[0];
        w->waiting_count--;
        memmove(w->waiting, w->waiting + 1, (size_t)w->waiting_count * sizeof w->waiting[0]);
        return job;
    }
    return app_is_root(w->a) && is_leader(w->a) ? coordinator_next(w->a) : -1;
}

static sc_status begin(worker *w, int32_t job)
{
    w->rests = 0;
    if (is_leader(w->a) && w->a->stop)
        return post(w, MAIL_BACK, &job, sizeof job);
    return w->crew ? crew_start(w->crew, job) : train_with_group(w, job);
}

static sc_status tell_end(const app *a)
{
    for (int r = 1; r < a->world->comm->size; r++)
        SC_TRY(sc_mail_send(a->mail, r, MAIL_END, NULL, 0));
    return SC_OK;
}

/* Between two looks at the mail: short at first, so that a job starts at once; longer after a
 * second, so that a group that waits for the others' last jobs leaves its core alone. */
static void rest(worker *w)
{
    long ms = ++w->rests < 1000 ? 1 : 20;
    if (w->crew) /* whose words wake this thread */
        crew_wait(w->crew, 0.005);
    else
        nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

static sc_status serve(worker *w)
{
    app *a = w->a;
    for (;;) {
        SC_TRY(tick(w));
        if (w->crew)
            SC_TRY(pass_letters(w));
        int32_t job = !w->crew || crew_has_room(w->crew) ? next_job(w) : -1;
        if (job >= 0)
            SC_TRY(begin(w, job));
        else if (app_is_root(a) && coordinator_idle(a))
            return tell_end(a);
        else if (w->end)
            return SC_OK;
        else
            rest(w);
    }
}

sc_status worker_run(app *a)
{
    worker w = {.a = a};
    if (app_is_root(a)) {
        signals_announce_end();
        SC_TRY(coordinator_begin(a, w.waiting, &w.waiting_count));
    }
    if (a->at_once > 1 && a->group && a->group->size == 1) {
        app_close_devices(a); /* the threads open their own */
        SC_TRY(crew_open(a, a->at_once, neighbours(a), &w.crew));
    }
    sc_status status = serve(&w);
    crew_close(w.crew);
    return status;
}
