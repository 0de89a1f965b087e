#include "coordinator.h"

#include <stdlib.h>
#include <string.h>

#include "lock.h"

struct coordinator {
    int next; /* place in plan.order */
    int running, done, failed, stopped;
    int earlier; /* finished before this run */
    int *leader; /* [groups] world rank */
    bool stop_told;
    double shown; /* when the matrix line was drawn */
};

/* A log begins with what is trained, so that it can be read alone. */
static void begin_log(app *a, int config)
{
    const app_case *k = &a->cases[config];
    const sc_config *c = k->config;
    char line[512];
    app_repeat_held(a, k->log);
    snprintf(line, sizeof line,
             "Config %s: %s + %s, embed_dim %d, img_size %d, batch_size %d, epochs %d, "
             "learning_rate %g, "
             "%s loss, random_state %u",
             c->name, c->image_encoder, c->text_encoder, c->embed_dim, c->img_size, c->batch_size,
             c->epochs, c->learning_rate, c->use_superclip_loss ? "SuperCLIP" : "contrastive",
             c->random_state);
    sc_run_log_line(k->log, 0, line);
    snprintf(line, sizeof line, "Data %s: %lld images, %d classes; %d of %d folds, %d rank%s",
             a->options.data_dir, (long long)a->facts.count, a->facts.classes, k->folds_used,
             k->n_splits, a->world->comm->size, a->world->comm->size == 1 ? "" : "s");
    sc_run_log_line(k->log, 0, line);
}

static sc_status open_logs(app *a)
{
    for (int i = 0; i < a->options.configs_count; i++) {
        app_case *k = &a->cases[i];
        if (k->open_jobs == 0)
            continue;
        SC_TRY(sc_run_log_open(a->options.log_dir, k->config->name, k->config->gpu_id, &k->log));
        begin_log(a, i);
        sc_info(&a->log, "Log of %s: %s", k->config->name, sc_run_log_path(k->log));
    }
    if (a->at_once > 1)
        sc_info(&a->log, "A rank that trains alone takes up to %d jobs at once", a->at_once);
    return SC_OK;
}

static sc_progress_mode progress_mode(const char *name)
{
    return strcmp(name, "live") == 0    ? SC_PROGRESS_LIVE
           : strcmp(name, "plain") == 0 ? SC_PROGRESS_PLAIN
                                        : SC_PROGRESS_AUTO;
}

sc_status coordinator_open(app *a)
{
    coordinator *c = sc_alloc(1, sizeof *c);
    if (!c)
        return SC_ENOMEM;
    a->coordinator = c;
    c->leader = sc_alloc((size_t)a->plan.groups + 1, sizeof *c->leader);
    if (!c->leader)
        return SC_ENOMEM;
    for (int r = a->world->comm->size - 1; r >= 0; r--)
        if (a->plan.group_of_rank[r] >= 0)
            c->leader[a->plan.group_of_rank[r]] = r;
    for (int j = 0; j < a->job_count; j++)
        c->earlier += a->jobs[j].done_before;
    SC_TRY(open_logs(a));
    return sc_console_open(progress_mode(a->options.progress), a->job_count, &a->console);
}

void coordinator_close(app *a)
{
    if (a->console)
        sc_console_close(a->console);
    a->console = NULL;
    if (a->coordinator) {
        free(a->coordinator->leader);
        free(a->coordinator);
        a->coordinator = NULL;
    }
}

static void show_matrix(app *a, bool now)
{
    coordinator *c = a->coordinator;
    if (!now && sc_now() - c->shown < 0.2)
        return;
    c->shown = sc_now();
    double sum = 0;
    for (int j = 0; j < a->job_count; j++)
        sum += a->jobs[j].fraction;
    sc_console_matrix(a->console, c->done + c->earlier, c->failed, sum / a->job_count);
}

int coordinator_next(app *a)
{
    coordinator *c = a->coordinator;
    if (a->stop || c->next >= a->plan.order_count)
        return -1;
    int job = a->plan.order[c->next++];
    a->jobs[job].state = JOB_RUNNING;
    c->running++;
    return job;
}

sc_status coordinator_begin(app *a, int32_t own[SC_MOST_SLOTS], int *count)
{
    *count = 0;
    for (int round = 0; round < a->at_once; round++) {
        for (int g = 0; g < a->plan.groups; g++) {
            int32_t job = round == 0 || a->plan.group_size[g] == 1 ? coordinator_next(a) : -1;
            if (job < 0)
                continue;
            if (a->coordinator->leader[g] == 0)
                own[(*count)++] = job;
            else
                SC_TRY(
                    sc_mail_send(a->mail, a->coordinator->leader[g], MAIL_JOB, &job, sizeof job));
        }
    }
    return SC_OK;
}

/* Handed out and not begun: as if it had not been. Only a stop brings jobs back. */
static void take_back(app *a, int job)
{
    a->jobs[job].state = JOB_WAITING;
    a->coordinator->running--;
}

bool coordinator_idle(const app *a)
{
    const coordinator *c = a->coordinator;
    return c->running == 0 && (a->stop || c->next >= a->plan.order_count);
}

static void show_line(app *a, int job, sc_log_level level, const char *line)
{
    /* The trainer names the fold in some of its lines; here every line is marked already. */
    char mark[32];
    int n = snprintf(mark, sizeof mark, "fold %d: ", a->jobs[job].fold);
    if (strncmp(line, mark, (size_t)n) == 0)
        line += n;
    app_say(a, a->jobs[job].config, a->jobs[job].fold, level, line);
}

/* Shown ten times a second: in the caller's room; "" for a run of one job. */
static const char *job_label(const app *a, int job, char *room, size_t size)
{
    const app_job *j = &a->jobs[job];
    room[0] = '\0';
    if (a->options.configs_count > 1)
        (void)snprintf(room, size, "[%s fold %d]", a->options.configs[j->config].name, j->fold);
    else if (a->job_count > 1)
        (void)snprintf(room, size, "[fold %d]", j->fold);
    return room;
}

static void show_progress(app *a, const progress_mail *p)
{
    const sc_progress_state *s = &p->state;
    app_job *j = &a->jobs[p->job];
    double pass = s->total > 0 ? (double)s->done / (double)s->total : 1;
    j->fraction = (s->epoch - 1 + (s->validating ? 0.85 + 0.15 * pass : 0.85 * pass)) / p->epochs;
    char label[320];
    sc_console_job(a->console, p->job, job_label(a, p->job, label, sizeof label), s);
    if (s->done == s->total && a->cases[j->config].log) {
        sc_text t;
        sc_text_init(&t);
        sc_progress_format(s, &t);
        if (sc_text_status(&t) == SC_OK)
            sc_run_log_line(a->cases[j->config].log, j->fold, t.data);
        sc_text_free(&t);
    }
    show_matrix(a, false);
}

/* A config's last fold has ended: its summary, and its log's last lines. */
static sc_status end_config(app *a, int config)
{
    app_case *k = &a->cases[config];
    if (k->failed_jobs == k->folds_used) {
        app_say(a, config, 0, SC_LOG_ERROR, "no fold of this config finished: no cv_summary.json");
        return SC_OK;
    }
    SC_TRY(app_write_summary(a, config));
    double acc = 0, map = 0;
    int n = 0;
    for (int f = 0; f < k->folds_used; f++) {
        const app_job *j = &a->jobs[k->first_job + f];
        if (j->state != JOB_DONE)
            continue;
        acc += j->result.best_val_acc;
        map += j->result.best_val_mAP;
        n++;
    }
    char *line =
        sc_format("%s: %d of %d folds finished, mean best val acc %.2f%%, mean best val mAP "
                  "%.2f%%; %s/cv_summary.json",
                  k->config->name, n, k->folds_used, acc / n, map / n, k->dir);
    if (line)
        app_say(a, config, 0, SC_LOG_INFO, line);
    free(line);
    return SC_OK;
}

static sc_status end_job(app *a, const result_mail *r, const char *message)
{
    coordinator *c = a->coordinator;
    app_job *j = &a->jobs[r->job];
    app_case *k = &a->cases[j->config];
    sc_status status = (sc_status)r->status;
    c->running--;
    sc_console_job_done(a->console, r->job);
    if (status == SC_EINTERRUPTED) {
        j->state = JOB_STOPPED;
        c->stopped++;
        app_say(a, j->config, j->fold, SC_LOG_INFO, "stopped; the checkpoint is written");
        return coordinator_stop(a);
    }
    j->result = r->result;
    j->result.config = j->config;
    j->result.fold = j->fold;
    j->result.failed = status != SC_OK;
    j->fraction = 1;
    k->open_jobs--;
    if (status == SC_OK) {
        j->state = JOB_DONE;
        c->done++;
    } else {
        j->state = JOB_FAILED;
        c->failed++;
        k->failed_jobs++;
        char *line = sc_format("job failed: %s", message);
        if (line)
            app_say(a, j->config, j->fold, SC_LOG_ERROR, line);
        free(line);
    }
    show_matrix(a, true);
    return k->open_jobs == 0 ? end_config(a, j->config) : SC_OK;
}

sc_status coordinator_stop(app *a)
{
    coordinator *c = a->coordinator;
    a->stop = true;
    if (c->stop_told)
        return SC_OK;
    c->stop_told = true;
    app_say(a, -1, 0, SC_LOG_INFO, "asked to stop: writing checkpoints");
    for (int g = 0; g < a->plan.groups; g++)
        if (c->leader[g] != 0)
            SC_TRY(sc_mail_send(a->mail, c->leader[g], MAIL_STOP, NULL, 0));
    return SC_OK;
}

sc_status coordinator_take(app *a, int from, int tag, const char *data, size_t n)
{
    if (tag == MAIL_ASK) {
        int32_t job = coordinator_next(a);
        return job < 0 ? SC_OK : sc_mail_send(a->mail, from, MAIL_JOB, &job, sizeof job);
    }
    if (tag == MAIL_BACK && n == sizeof(int32_t)) {
        int32_t job;
        memcpy(&job, data, sizeof job);
        take_back(a, job);
        return SC_OK;
    }
    if (tag == MAIL_LINE && n >= sizeof(line_mail)) {
        line_mail m;
        memcpy(&m, data, sizeof m);
        show_line(a, m.job, (sc_log_level)m.level, data + sizeof m);
        return SC_OK;
    }
    if (tag == MAIL_PROGRESS && n == sizeof(progress_mail)) {
        progress_mail m;
        memcpy(&m, data, sizeof m);
        show_progress(a, &m);
        return SC_OK;
    }
    if (tag == MAIL_RESULT && n >= sizeof(result_mail)) {
        result_mail m;
        memcpy(&m, data, sizeof m);
        return end_job(a, &m, data + sizeof m);
    }
    if (tag == MAIL_STOP)
        return coordinator_stop(a);
    return sc_fail(SC_EINTERNAL, "mail of tag %d and %zu bytes from rank %d", tag, n, from);
}

sc_status coordinator_serve(app *a)
{
    for (bool got = true; got;) {
        int from, tag;
        char *data;
        size_t n;
        SC_TRY(sc_mail_poll(a->mail, &got, &from, &tag, &data, &n));
        if (!got)
            break;
        sc_status status = coordinator_take(a, from, tag, data, n);
        free(data);
        SC_TRY(status);
    }
    return app_lock_renew(a->lock);
}

int coordinator_verdict(app *a)
{
    coordinator *c = a->coordinator;
    int left = a->job_count - c->done - c->earlier - c->failed;
    char *line = sc_format("%d job%s: %d finished%s, %d failed, %d left (%.1f s)", a->job_count,
                           a->job_count == 1 ? "" : "s", c->done + c->earlier,
                           c->earlier ? " (some by an earlier run)" : "", c->failed, left,
                           sc_now() - a->started);
    if (line)
        app_say(a, -1, 0, SC_LOG_INFO, line);
    free(line);
    if (left > 0)
        return EXIT_RESUMABLE;
    return c->failed > 0 ? EXIT_SOME_FAILED : 0;
}
