/* How many jobs a rank trains at once: --jobs-per-gpu. */
#include <stdlib.h>
#include <string.h>

#include "app.h"

static bool automatic(const app *a)
{
    return strcmp(a->options.jobs_per_gpu, "auto") == 0;
}

sc_status app_judge_at_once(const app *a)
{
    const char *wanted = a->options.jobs_per_gpu;
    if (automatic(a) || atoi(wanted) == 1)
        return SC_OK;
    if (!a->backend->open_nth)
        return sc_fail(SC_EUSAGE,
                       "--jobs-per-gpu %s is for GPUs, and this run computes on '%s'; leave it out "
                       "and start more ranks instead (mpirun -np %s): each group of ranks trains "
                       "a job",
                       wanted, a->backend->name, wanted);
    if (a->options.group_size > 1)
        return sc_fail(SC_EUSAGE,
                       "--jobs-per-gpu %s is for ranks that train alone, and --group-size %d makes "
                       "them share a job; leave one of the two out",
                       wanted, a->options.group_size);
    return SC_OK;
}

static int open_jobs(const app *a)
{
    int n = 0;
    for (int j = 0; j < a->job_count; j++)
        n += !a->jobs[j].done_before;
    return n;
}

static int largest_first(const void *x, const void *y)
{
    const size_t a = *(const size_t *)x, b = *(const size_t *)y;
    return (a < b) - (a > b);
}

/* What every open job takes on one rank; 0: not known yet. */
static sc_status memory_of_jobs(app *a, size_t *bytes)
{
    int n = 0, configs = a->options.configs_count;
    size_t *each = sc_alloc((size_t)configs, sizeof *each);
    sc_status status = each ? SC_OK : SC_ENOMEM;
    for (int i = 0; i < configs && status == SC_OK; i++) {
        const app_case *k = &a->cases[i];
        int like = 0;
        while (like < i && !app_same_shapes(a, i, like))
            like++;
        if (like < i)
            each[i] = each[like];
        else
            status = app_job_memory(a, i, 1, &each[i]);
        for (int f = 0; f < k->folds_used; f++)
            if (!a->jobs[k->first_job + f].done_before)
                bytes[n++] = each[i];
    }
    free(each);
    return status;
}

static void tell_choice(const app *a, int chosen, size_t largest)
{
    char have[32], need[32];
    app_amount((double)a->gpu_room, have);
    app_amount((double)largest, need);
    if (largest == 0)
        sc_info(&a->log,
                "--jobs-per-gpu auto: %d at once, or what memory allows, which is known once the "
                "data is packed",
                chosen);
    else
        sc_info(&a->log, "--jobs-per-gpu auto: %d at once (%s are free, a job takes up to %s)",
                chosen, have, need);
}

/* As many as fit whichever jobs meet, at most `most`. */
static sc_status fitting(app *a, int most, int *out)
{
    size_t *bytes = sc_alloc((size_t)a->job_count + 1, sizeof *bytes);
    if (!bytes)
        return SC_ENOMEM;
    sc_status status = memory_of_jobs(a, bytes);
    qsort(bytes, (size_t)open_jobs(a), sizeof *bytes, largest_first);
    double sum = 0;
    int n = 0;
    while (n < most && (sum += (double)bytes[n]) <= app_gpu_usable(a))
        n++;
    *out = n > 0 ? n : 1;
    if (status == SC_OK)
        tell_choice(a, *out, bytes[0]);
    free(bytes);
    return status;
}

sc_status app_choose_at_once(app *a)
{
    const int open = open_jobs(a);
    int most = open < SC_MOST_SLOTS ? open : SC_MOST_SLOTS;
    a->at_once = 1;
    if (!automatic(a)) {
        const int wanted = atoi(a->options.jobs_per_gpu);
        a->at_once = wanted < most || most < 1 ? wanted : most;
        return SC_OK;
    }
    if (!a->backend->open_nth || a->options.group_size > 1) {
        sc_info(&a->log, "--jobs-per-gpu auto: one job at a time, %s",
                a->backend->open_nth ? "as ranks share it (--group-size)" : "there is no GPU");
        return SC_OK;
    }
    return most > 1 ? fitting(a, most, &a->at_once) : SC_OK;
}
