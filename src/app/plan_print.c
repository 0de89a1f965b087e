/* --plan: who trains what, for how long, in how much memory. */
#include <stdlib.h>
#include <string.h>

#include "app.h"

static void duration(double seconds, char out[32])
{
    if (seconds < 60)
        snprintf(out, 32, "%.1fs", seconds);
    else if (seconds < 3600)
        snprintf(out, 32, "%dm%02ds", (int)seconds / 60, (int)seconds % 60);
    else
        snprintf(out, 32, "%dh%02dm", (int)(seconds / 3600), (int)(seconds / 60) % 60);
}

/* "4 groups of 2 ranks" or "2 of 3, 1 of 2 ranks" */
static void shape(const sc_plan *p, sc_text *t)
{
    sc_text_putf(t, "%d group%s (", p->groups, p->groups == 1 ? "" : "s");
    for (int g = 0; g < p->groups;) {
        int n = 1;
        while (g + n < p->groups && p->group_size[g + n] == p->group_size[g])
            n++;
        sc_text_putf(t, "%s%d x %d rank%s", g ? ", " : "", n, p->group_size[g],
                     p->group_size[g] == 1 ? "" : "s");
        g += n;
    }
    sc_text_puts(t, ")");
}

static void rank_range(int first, int size, char out[48])
{
    if (size == 1)
        snprintf(out, 48, "%d", first);
    else
        snprintf(out, 48, "%d-%d", first, first + size - 1);
}

static void job_row(const app *a, const sc_plan *p, const int *first_rank, int j)
{
    int g = p->group_of_job[j];
    char ranks[48] = "-", start[32] = "-", time[32] = "finished", memory[32] = "-";
    if (g >= 0) {
        rank_range(first_rank[g], p->group_size[g], ranks);
        duration(p->start[j], start);
        duration(p->seconds[j], time);
    }
    if (a->job_memory && a->job_memory[j] > 0)
        snprintf(memory, sizeof memory, "%.2f GB", (double)a->job_memory[j] / 1e9);
    printf("  %-12s %-36s %4d  %10s %10s %12s\n", ranks, a->options.configs[a->jobs[j].config].name,
           a->jobs[j].fold, start, time, memory);
}

static void warn_of_memory(const app *a, const sc_plan *p, int ranks_per_node)
{
    double most = 0, have = 0;
    for (int j = 0; j < a->job_count && a->job_memory; j++)
        if (p->group_of_job[j] >= 0 && (double)a->job_memory[j] > most)
            most = (double)a->job_memory[j];
    FILE *f = fopen("/proc/meminfo", "re");
    char line[128];
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemTotal: %lf kB", &have) == 1)
            break;
    if (f)
        fclose(f);
    if (have <= 0 || most * ranks_per_node <= have * 1024)
        return;
    printf("Warning: %d ranks of %.2f GB do not fit into this node's %.2f GB: start fewer ranks a "
           "node\n",
           ranks_per_node, most / 1e9, have * 1024 / 1e9);
}

/* What company costs and brings, where there is any. */
static void tell_at_once(const app *a, const sc_plan *p)
{
    if (a->at_once < 2 || p->groups == 0 || p->group_size[p->groups - 1] > 1) /* largest first */
        return;
    const double n = a->at_once;
    printf(
        "Up to %d jobs at once on a GPU (--jobs-per-gpu %s), each in memory of its own, taken as "
        "%.2f times as fast as one after another\n",
        a->at_once, a->options.jobs_per_gpu, n / (1 + (n - 1) * SC_GPU_CROWDING));
}

/* Training would refuse what does not fit; a plan is still a plan. */
static void tell_gpu_memory(app *a, const sc_plan *p)
{
    app_gpu_memory m;
    sc_text t;
    sc_text_init(&t);
    if (app_judge_gpu_memory(a, p, &m) != SC_OK)
        sc_text_putf(&t, "Warning: %s\n", sc_message());
    else
        app_tell_gpu_memory(a, &m, &t);
    printf("%s", t.data ? t.data : "");
    sc_text_free(&t);
}

sc_status app_print_plan(app *a)
{
    int ranks = a->options.plan_ranks > 0 ? a->options.plan_ranks : a->world->comm->size;
    int per_node = ranks;
    if (a->world->comm->size > 1)
        per_node = a->world->node_size;
    else if (ranks > a->cores)
        per_node = a->cores;
    sc_plan best, second;
    memset(&second, 0, sizeof second);
    SC_TRY(app_choose_at_once(a));
    SC_TRY(app_make_plan(a, ranks, per_node, &best, &second));
    sc_status status = app_estimate_memory(a, &best);
    int *first_rank = sc_alloc((size_t)best.groups + 1, sizeof *first_rank);
    if (!first_rank)
        status = SC_ENOMEM;
    if (status == SC_OK) {
        for (int r = ranks - 1; r >= 0; r--)
            if (best.group_of_rank[r] >= 0)
                first_rank[best.group_of_rank[r]] = r;
        sc_text t;
        sc_text_init(&t);
        shape(&best, &t);
        char end[32];
        duration(best.makespan, end);
        printf("Plan: %d jobs on %d rank%s, %d a node, %d thread%s a rank: %s\n", a->job_count,
               ranks, ranks == 1 ? "" : "s", per_node, sc_threads(a->cores, per_node),
               sc_threads(a->cores, per_node) == 1 ? "" : "s", t.data ? t.data : "");
        printf("  %-12s %-36s %4s  %10s %10s %12s\n", "ranks", "config", "fold", "start", "time",
               "memory/rank");
        for (int j = 0; j < a->job_count; j++)
            job_row(a, &best, first_rank, j);
        tell_at_once(a, &best);
        tell_gpu_memory(a, &best);
        if (a->job_memory[0] == 0)
            printf("Memory is known once the data is packed (a first run does it, or "
                   "tools/pack_hdf5)\n");
        printf("Predicted end: %s (an estimate from operation counts, not a measurement)\n", end);
        if (second.groups > 0) {
            sc_text_clear(&t);
            shape(&second, &t);
            duration(second.makespan, end);
            printf("Runner-up: %s, %s\n", t.data ? t.data : "", end);
        }
        sc_text_free(&t);
        if (a->gpu_room == 0)
            warn_of_memory(a, &best, per_node);
        if (app_check_space(a) == SC_EUSAGE) /* training would refuse; a plan is still a plan */
            printf("Warning: %s\n", sc_message());
    }
    free(first_rank);
    sc_plan_free(&best);
    sc_plan_free(&second);
    return status;
}
