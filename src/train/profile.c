/* --profile: a job's first epoch on this run under the clock, as tables in the log and as
 * profile.json. Its first step is left out: there memory is touched for the first time. With one
 * step an epoch the clock runs on into the second one. A file that cannot be written is no reason
 * to stop training.
 */
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

enum { SLOWEST = 10 };

void sc_trainer_profile_step(sc_trainer *t)
{
    if (!t->profile || t->measured)
        return;
    if (t->measuring) {
        sc_profile_step(t->profile);
    } else {
        t->measuring = true;
        sc_profile_start(t->profile);
    }
}

static void put_row(sc_json_writer *w, const sc_profile_row *row)
{
    double seconds = row->forward + row->backward + row->evaluation;
    sc_jw_object(w, NULL);
    sc_jw_string(w, "op", sc_op_name(row->op));
    if (row->what[0])
        sc_jw_string(w, "what", row->what);
    sc_jw_int(w, "calls", row->calls);
    sc_jw_int(w, "evaluation_calls", row->evaluation_calls);
    sc_jw_number(w, "forward_seconds", row->forward);
    sc_jw_number(w, "backward_seconds", row->backward);
    sc_jw_number(w, "evaluation_seconds", row->evaluation);
    sc_jw_number(w, "collective_seconds", row->collectives);
    sc_jw_number(w, "gflops", seconds > 0 ? row->flops / seconds * 1e-9 : 0);
    sc_jw_number(w, "gflops_done", seconds > 0 ? row->done / seconds * 1e-9 : 0);
    sc_jw_number(w, "gb_per_second", seconds > 0 ? row->bytes / seconds * 1e-9 : 0);
    sc_jw_number(w, "share_of_peak", row->share);
    sc_jw_string(w, "bound_by", row->memory ? "memory" : "arithmetic");
    sc_jw_end(w);
}

static void put_report(sc_json_writer *w, const sc_trainer *t, const sc_profile_report *r)
{
    sc_jw_object(w, NULL);
    sc_jw_string(w, "device", r->device);
    sc_jw_int(w, "ranks", r->ranks);
    sc_jw_int(w, "threads", r->threads);
    sc_jw_int(w, "epoch", t->state.epoch);
    sc_jw_int(w, "steps", r->steps);
    sc_jw_number(w, "seconds", r->seconds);
    sc_jw_number(w, "peak_gflops", r->peak_flops * 1e-9);
    sc_jw_number(w, "peak_gb_per_second", r->peak_bytes * 1e-9);
    sc_jw_object(w, "seconds_of");
    for (int i = 0; i < SC_PROFILE_PARTS; i++)
        sc_jw_number(w, sc_profile_part_name((sc_profile_part)i), r->part[i]);
    sc_jw_end(w);
    sc_jw_number(w, "adamw_seconds", r->adamw);
    sc_jw_number(w, "adamw_bytes", r->adamw_bytes);
    sc_jw_number(w, "reduced_bytes", r->reduced_bytes);
    sc_jw_list(w, "ops");
    for (int i = 0; i < r->n_kinds; i++)
        put_row(w, &r->kinds[i]);
    sc_jw_end(w);
    sc_jw_list(w, "nodes");
    for (int i = 0; i < r->n_nodes; i++)
        put_row(w, &r->nodes[i]);
    sc_jw_end(w);
    sc_jw_end(w);
}

static sc_status save(const sc_trainer *t, const sc_profile_report *r)
{
    char *path = sc_path_join(t->o->dir, "profile.json");
    if (!path)
        return SC_ENOMEM;
    sc_json_writer w;
    sc_jw_init(&w);
    put_report(&w, t, r);
    sc_status status = sc_jw_save(&w, path);
    sc_jw_free(&w);
    free(path);
    return status;
}

static sc_status say(const sc_trainer *t, const sc_profile_report *r)
{
    sc_text text;
    sc_text_init(&text);
    sc_profile_report_text(r, SLOWEST, &text);
    sc_status status = sc_text_status(&text);
    if (status == SC_OK) {
        sc_info(t->o->log, "Profile of epoch %d, its first step left out", t->state.epoch);
        char *rest = NULL;
        for (char *line = strtok_r(text.data, "\n", &rest); line;
             line = strtok_r(NULL, "\n", &rest))
            sc_info(t->o->log, "%s", line);
    }
    sc_text_free(&text);
    return status;
}

void sc_trainer_profile_epoch(sc_trainer *t)
{
    bool last = t->state.epoch >= t->o->epochs || t->state.stopped_early;
    sc_profile_lap(t->profile, SC_TIME_SAVING);
    if (!t->measuring || (sc_profile_steps(t->profile) == 0 && !last))
        return;
    t->measuring = false;
    t->measured = true;
    sc_profile_stop(t->profile);
    if (!t->leader)
        return;
    sc_profile_report r;
    sc_status status = sc_profile_report_make(t->profile, &r);
    if (status == SC_OK) {
        status = say(t, &r);
        if (status == SC_OK)
            status = save(t, &r);
        sc_profile_report_free(&r);
    }
    if (status != SC_OK)
        sc_warn(t->o->log, "fold %d: the profile is lost: %s", t->o->fold, sc_message());
}
