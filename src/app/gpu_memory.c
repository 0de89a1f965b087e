/* What the jobs and the data take of a GPU: told by --plan and --check, judged before training, and
 * looked at again right before a job's programs are compiled.
 */
#include <stdlib.h>
#include <string.h>

#include "app.h"

/* Of what is free when the run begins. The rest stays for what no allocator of ours counts: kernels
 * of cuDNN and cuBLASLt, NCCL's buffers, recorded steps, the gaps between allocations. */
static const double USABLE = 0.9;
static const char LOWER[] = "lower batch_size or img_size, or use a GPU with more memory";

void app_amount(double bytes, char out[32])
{
    if (bytes < 1e9)
        snprintf(out, 32, "%.1f MB", bytes / 1e6);
    else
        snprintf(out, 32, "%.2f GB", bytes / 1e9);
}

double app_gpu_usable(const app *a)
{
    return USABLE * (double)a->gpu_room;
}

static bool wants(const app *a, const char *mode)
{
    return strcmp(a->options.data_on_gpu, mode) == 0;
}

sc_status app_judge_data_on_gpu(const app *a)
{
    if (!wants(a, "on") || a->backend->gather)
        return SC_OK;
    return sc_fail(SC_EUSAGE,
                   "--data-on-gpu on is for GPUs, and this run computes on '%s'; leave it out",
                   a->backend->name);
}

static sc_status job_fits(const app *a, int j)
{
    char need[32], have[32], free_now[32];
    if ((double)a->job_memory[j] <= app_gpu_usable(a))
        return SC_OK;
    app_amount((double)a->job_memory[j], need);
    app_amount(app_gpu_usable(a), have);
    app_amount((double)a->gpu_room, free_now);
    return sc_fail(SC_EUSAGE,
                   "config '%s', fold %d: the job needs %s of the GPU's memory, and a rank has %s "
                   "for it (%s are free, a tenth of that is kept for libraries); %s",
                   a->options.configs[a->jobs[j].config].name, a->jobs[j].fold, need, have,
                   free_now, LOWER);
}

static int largest_first(const void *x, const void *y)
{
    const size_t a = *(const size_t *)x, b = *(const size_t *)y;
    return (a < b) - (a > b);
}

/* What a rank's jobs hold at once at most: those of a rank alone together, of a group one. */
static sc_status together(const app *a, const sc_plan *plan, double *most)
{
    size_t *alone = sc_alloc((size_t)a->job_count + 1, sizeof *alone);
    int n = 0;
    if (!alone)
        return SC_ENOMEM;
    *most = 0;
    for (int j = 0; j < a->job_count; j++) {
        const int group = plan->group_of_job[j];
        if (group >= 0 && plan->group_size[group] == 1)
            alone[n++] = a->job_memory[j];
        else if (group >= 0 && (double)a->job_memory[j] > *most)
            *most = (double)a->job_memory[j];
    }
    qsort(alone, (size_t)n, sizeof *alone, largest_first);
    double sum = 0;
    for (int i = 0; i < n && i < a->at_once; i++)
        sum += (double)alone[i];
    *most = sum > *most ? sum : *most;
    free(alone);
    return SC_OK;
}

/* The largest data set that a job with work to do reads. */
static double largest_data(const app *a, const sc_plan *plan)
{
    double most = 0;
    for (int i = 0; i < a->options.configs_count; i++) {
        const app_case *k = &a->cases[i];
        const sc_dataset *d = a->sets[k->set].dataset;
        bool open = false;
        for (int f = 0; f < k->folds_used; f++)
            open = open || plan->group_of_job[k->first_job + f] >= 0;
        if (!open || !d)
            continue;
        const double bytes =
            (double)sc_resident_bytes(d, strcmp(k->config->augmentation, "standard") == 0);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static sc_status crowd_fits(const app *a, double jobs)
{
    char need[32], have[32];
    if (jobs <= app_gpu_usable(a))
        return SC_OK;
    app_amount(jobs, need);
    app_amount(app_gpu_usable(a), have);
    return sc_fail(SC_EUSAGE,
                   "--jobs-per-gpu %s: %d jobs at once need %s of the GPU's memory, and a rank has "
                   "%s for them; lower --jobs-per-gpu, batch_size or img_size",
                   a->options.jobs_per_gpu, a->at_once, need, have);
}

static sc_status data_fits(const app *a, const app_gpu_memory *m)
{
    char need[32], missing[32];
    if (!wants(a, "on") || m->data <= m->room)
        return SC_OK;
    app_amount(m->data, need);
    app_amount(m->data - m->room, missing);
    return sc_fail(SC_EUSAGE,
                   "--data-on-gpu on: the images take %s of the GPU's memory, and %s are missing "
                   "beside the jobs; lower batch_size, img_size or --jobs-per-gpu, or leave "
                   "--data-on-gpu at auto",
                   need, missing);
}

sc_status app_judge_gpu_memory(app *a, const sc_plan *plan, app_gpu_memory *out)
{
    *out = (app_gpu_memory){0};
    if (a->gpu_room == 0 || a->job_count == 0 || a->job_memory[0] == 0)
        return SC_OK;
    for (int j = 0; j < a->job_count; j++)
        if (plan->group_of_job[j] >= 0)
            SC_TRY(job_fits(a, j));
    SC_TRY(together(a, plan, &out->jobs));
    SC_TRY(crowd_fits(a, out->jobs));
    out->room = wants(a, "off") ? 0 : app_gpu_usable(a) - out->jobs;
    out->data = largest_data(a, plan);
    return data_fits(a, out);
}

void app_tell_gpu_memory(const app *a, const app_gpu_memory *m, sc_text *t)
{
    char have[32], jobs[32], data[32];
    if (m->jobs <= 0)
        return;
    app_amount((double)a->gpu_room, have);
    app_amount(m->jobs, jobs);
    app_amount(m->data, data);
    sc_text_putf(t,
                 "GPU memory: %s %s, a tenth of it kept for libraries, NCCL and recorded steps; ",
                 have, a->absent ? "of the GPU assumed for a rank" : "free for a rank");
    sc_text_putf(t, a->at_once > 1 ? "%d jobs at once take up to %s, " : "%d job takes up to %s, ",
                 a->at_once, jobs);
    sc_text_putf(t, "the images %s %s\n", data,
                 wants(a, "off")      ? "stay in files (--data-on-gpu off)"
                 : m->data <= m->room ? "once for all jobs"
                                      : "do not fit beside and are read batch by batch");
}

sc_status app_check_gpu_memory(app *a)
{
    const sc_comm *c = a->world->comm;
    sc_plan best, second;
    app_gpu_memory m;
    if (a->gpu_room == 0)
        return SC_OK;
    memset(&second, 0, sizeof second);
    SC_TRY(app_choose_at_once(a));
    SC_TRY(app_make_plan(a, c->size, a->world->node_size, &best, &second));
    sc_status status = app_estimate_memory(a, &best);
    if (status == SC_OK)
        status = app_judge_gpu_memory(a, &best, &m);
    sc_text t;
    sc_text_init(&t);
    if (status == SC_OK)
        app_tell_gpu_memory(a, &m, &t);
    printf("%s", t.data ? t.data : "");
    sc_text_free(&t);
    sc_plan_free(&best);
    sc_plan_free(&second);
    return status;
}

static sc_status judge(app *a, app_gpu_memory *m)
{
    *m = (app_gpu_memory){0};
    if (a->gpu_room == 0)
        return SC_OK;
    SC_TRY(app_estimate_memory(a, &a->plan));
    return app_judge_gpu_memory(a, &a->plan, m);
}

sc_status app_settle_gpu_memory(app *a)
{
    const sc_comm *c = a->world->comm;
    app_gpu_memory m;
    APP_AGREE(a, app_is_root(a) ? judge(a, &m) : SC_OK);
    if (a->gpu_room == 0)
        return SC_OK;
    SC_TRY(c->broadcast(c, &m, sizeof m, 0));
    if (!a->job_memory)
        a->job_memory = sc_alloc((size_t)a->job_count, sizeof *a->job_memory);
    APP_AGREE(a, a->job_memory ? SC_OK : SC_ENOMEM);
    SC_TRY(c->broadcast(c, a->job_memory, (size_t)a->job_count * sizeof *a->job_memory, 0));
    if (wants(a, "off") || !a->backend->gather || !a->group)
        return SC_OK;
    SC_TRY(app_open_device(a, false, 1, &a->log, &a->keeper));
    return sc_resident_open(a->keeper, m.room > 0 ? (size_t)m.room : 0, wants(a, "on"),
                            &a->resident);
}

void app_release_gpu_memory(app *a)
{
    sc_resident_close(a->resident);
    if (a->keeper)
        a->backend->close(a->keeper);
    a->resident = NULL;
    a->keeper = NULL;
}

sc_status app_check_room(const app *a, int job, sc_device *device)
{
    sc_device_memory now;
    char need[32], have[32];
    if (!a->job_memory || a->gpu_room == 0)
        return SC_OK;
    SC_TRY(device->backend->memory(device, &now));
    if (a->job_memory[job] <= now.free)
        return SC_OK;
    app_amount((double)a->job_memory[job], need);
    app_amount((double)now.free, have);
    return sc_fail(
        SC_ENOMEM,
        "config '%s', fold %d: the job needs %s of the GPU's memory and %s are free now; "
        "lower batch_size, img_size or --jobs-per-gpu, or end what else runs there",
        a->options.configs[a->jobs[job].config].name, a->jobs[job].fold, need, have);
}
