#include "job.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A job in hand, as the trainer's callbacks see it. */
typedef struct hand {
    const job_place *place;
    int job;
    bool speaks; /* the group's ranks say the same; its leader's voice is enough */
    bool asked;
    double pass_began, progress_sent;
    int pass; /* which pass pass_began belongs to */
    /* when its newest batch and training pass ended, how long its newest validation took (-1: none
     * yet) */
    double batch_ended, training_ended, validation;
} hand;

static void tell(const hand *h, mail_tag tag, const void *letter, size_t n)
{
    h->place->desk->tell(h->place->desk->ctx, tag, letter, n);
}

void job_tell_line(const job_desk *desk, int job, sc_log_level level, const char *line)
{
    line_mail head = {job, (int32_t)level};
    size_t n = strlen(line);
    char *letter = malloc(sizeof head + n + 1);
    if (!letter)
        return;
    memcpy(letter, &head, sizeof head);
    memcpy(letter + sizeof head, line, n + 1);
    desk->tell(desk->ctx, MAIL_LINE, letter, sizeof head + n);
    free(letter);
}

static void on_line(void *ctx, sc_log_level level, const char *line)
{
    const hand *h = ctx;
    if (h->speaks)
        job_tell_line(h->place->desk, h->job, level, line);
}

/* Rank 0 may look at its mail once a step of its own job only, so the next job is asked for a
 * little before this one ends: some steps, or two seconds. Not earlier: whoever is free first
 * should get it. A job that ends by early stopping asks when it has ended. */
static void ask_ahead(hand *h, const sc_batch_progress *b, double now)
{
    double step = now - h->batch_ended, left = (double)(b->batches - b->batch) * step;
    h->batch_ended = now;
    if (b->batch == b->batches && b->validating)
        h->validation = now - h->training_ended;
    if (b->batch == b->batches && !b->validating)
        h->training_ended = now;
    if (h->asked || b->epoch < b->epochs || (!b->validating && h->validation < 0))
        return;
    if (!b->validating)
        left += h->validation;
    if (left > fmax(2, 2 * step))
        return;
    h->asked = true;
    tell(h, MAIL_ASK, NULL, 0);
}

static void tell_progress(const hand *h, const sc_batch_progress *b, double now)
{
    progress_mail m;
    memset(&m, 0, sizeof m);
    m.job = h->job;
    m.epochs = b->epochs;
    m.state = (sc_progress_state){.validating = b->validating,
                                  .superclip = b->superclip,
                                  .epoch = b->epoch,
                                  .done = b->batch,
                                  .total = b->batches,
                                  .seconds = now - h->pass_began,
                                  .loss = b->loss,
                                  .class_loss = b->class_loss,
                                  .contrastive_loss = b->contrastive_loss,
                                  .acc = b->acc};
    tell(h, MAIL_PROGRESS, &m, sizeof m);
}

static void on_batch(void *ctx, const sc_batch_progress *b)
{
    hand *h = ctx;
    double now = sc_now();
    int pass = 2 * b->epoch + b->validating;
    if (pass != h->pass) {
        h->pass = pass;
        h->pass_began = h->progress_sent = now;
    }
    (void)h->place->desk->stop(h->place->desk->ctx);
    if (h->place->asks)
        ask_ahead(h, b, now);
    if (!h->speaks || (b->batch < b->batches && now - h->progress_sent < 0.1))
        return;
    h->progress_sent = now;
    tell_progress(h, b, now);
}

static void on_epoch(void *ctx, int epoch, int epochs, const sc_epoch_metrics *m, bool is_best)
{
    hand *h = ctx;
    const app *a = h->place->app;
    if (!h->speaks)
        return;
    (void)epoch, (void)epochs;
    sc_text t;
    sc_text_init(&t);
    sc_epoch_format(m, a->options.configs[a->jobs[h->job].config].use_superclip_loss, &t);
    if (sc_text_status(&t) == SC_OK) {
        char *save = NULL;
        for (char *line = strtok_r(t.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
            on_line(h, SC_LOG_INFO, line);
        if (is_best)
            on_line(h, SC_LOG_INFO, "Best so far");
    }
    sc_text_free(&t);
}

static bool on_stop(void *ctx)
{
    const hand *h = ctx;
    return h->place->desk->stop(h->place->desk->ctx);
}

sc_status job_run(const job_place *place, int job, job_outcome *out)
{
    app *a = place->app;
    const job_desk *desk = place->desk;
    hand h = {.place = place, .job = job, .speaks = place->group->rank == 0, .pass = -1};
    sc_log log = {on_line, &h};
    sc_train_events events = {&h, on_batch, on_epoch, on_stop};
    sc_train_options o;
    sc_train_result r;
    sc_device *device = NULL;
    memset(&r, 0, sizeof r);
    memset(out, 0, sizeof *out);
    h.batch_ended = h.training_ended = sc_now();
    h.validation = -1;
    app_train_options(a, job, &log, &o);
    o.loader_threads = (o.loader_threads + place->neighbours - 1) / place->neighbours;
    sc_status status =
        app_agree(a->world, place->group,
                  desk->device(desk->ctx, a->cases[a->jobs[job].config].bf16, &device));
    if (status == SC_OK)
        status = app_agree(a->world, place->group, app_check_room(a, job, device));
    if (status == SC_OK)
        status = sc_train_job(&o, device, place->group, &events, &r);
    if (status == SC_ECOMM && place->group->size > 1)
        return status;
    out->mail.job = job;
    out->mail.status = (int32_t)status;
    out->mail.result = r.fold;
    if (status != SC_OK)
        snprintf(out->message, sizeof out->message, "%s", sc_message());
    out->asked = h.asked;
    sc_train_result_free(&r);
    return SC_OK;
}
