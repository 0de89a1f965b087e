/* What this machine gives a rank: a device, its threads and its precision. */
#include <stdlib.h>
#include <string.h>

#include "app.h"

/* Of a node's GPUs: --gpus in turn; alone, the config's gpu_id; else one after the other. */
static int gpu_number(const app *a)
{
    const char *list = a->options.gpus;
    int count = 1;
    if (!list)
        return a->world->comm->size == 1 ? a->options.configs[0].gpu_id : a->world->node_rank;
    for (const char *p = list; *p; p++)
        count += *p == ',';
    for (int skip = a->world->node_rank % count; skip > 0; skip--)
        list = strchr(list, ',') + 1;
    return atoi(list);
}

/* ---- a GPU that is not here, for --plan and --check --------------------------------------------
 */

static bool only_tells(const app *a)
{
    return a->options.action == SC_ACTION_PLAN || a->options.action == SC_ACTION_CHECK;
}

static bool names_kind(const app *a)
{
    return strcmp(a->options.plan_gpu, "auto") != 0;
}

static const char *gpu_kind(const app *a)
{
    return names_kind(a) ? a->options.plan_gpu : "h100";
}

static sc_status judge_kind(const app *a)
{
    const char *kind = a->options.plan_gpu, *name = a->options.backend;
    if (!names_kind(a))
        return SC_OK;
    if (!only_tells(a))
        return sc_fail(SC_EUSAGE, "--plan-gpu %s is for --plan and --check; leave it out to train",
                       kind);
    if (strcmp(name, "cpu") == 0 || strcmp(name, "ref") == 0)
        return sc_fail(SC_EUSAGE,
                       "--plan-gpu %s reckons with a GPU, and --backend %s computes without; leave "
                       "one of the two out",
                       kind, name);
    return SC_OK;
}

sc_status app_open_device(const app *a, bool bf16, int neighbours, const sc_log *log,
                          sc_device **out)
{
    sc_device_options o = {.threads = a->threads / neighbours, .log = log};
    if (o.threads < 1)
        o.threads = 1;
    o.precision = a->backend == sc_backend_ref() ? SC_FP64 : bf16 ? SC_BF16_MIXED : SC_FP32;
    if (a->absent)
        return sc_backend_open_absent(&o, gpu_kind(a), out);
    return a->backend->open_nth ? a->backend->open_nth(&o, gpu_number(a), out)
                                : a->backend->open(&o, out);
}

static sc_status open_device(app *a, bool bf16, const sc_log *log)
{
    return app_open_device(a, bf16, 1, log, &a->devices[bf16]);
}

static sc_status find_cuda(app *a)
{
    /* Before the driver starts: queues of the hardware, 8 without this, or the streams of several
     * jobs wait for each other. */
    if (strcmp(a->options.jobs_per_gpu, "1") != 0)
        setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
    return sc_backend_find_cuda(&a->backend);
}

static sc_status open_cuda(app *a, bool bf16)
{
    SC_TRY(find_cuda(a));
    return open_device(a, bf16, &a->log);
}

/* Where a rank has no GPU, all of them plan as if each had one. Training would not begin. */
static sc_status open_cuda_or_absent(app *a, bool bf16)
{
    bool lacking = false;
    sc_status status = open_cuda(a, bf16);
    char why[256] = "not every rank has one";
    if (!only_tells(a))
        return status;
    if (status != SC_OK)
        (void)snprintf(why, sizeof why, "%.255s", sc_message());
    SC_TRY(sc_comm_any(a->world->comm, status != SC_OK, &lacking));
    if (!lacking)
        return SC_OK;
    if (a->devices[bf16])
        a->backend->close(a->devices[bf16]);
    a->devices[bf16] = NULL;
    a->absent = true;
    SC_TRY(open_cuda(a, bf16));
    sc_warn(&a->log,
            "there is no GPU to train on here (%s): all that follows is for one %s a rank, and "
            "nothing else in its memory; --plan-gpu names another kind",
            why, gpu_kind(a));
    return SC_OK;
}

/* The backend by its name; auto is the GPU when every rank has one, and why_not then says why they
 * have not. */
static sc_status open_named(app *a, const char *name, bool bf16, char why_not[256])
{
    bool lacking = false;
    SC_TRY(judge_kind(a));
    if (strcmp(name, "cpu") == 0 || strcmp(name, "ref") == 0) {
        a->backend = strcmp(name, "ref") == 0 ? sc_backend_ref() : sc_backend_cpu();
        return open_device(a, bf16, &a->log);
    }
    if (names_kind(a)) {
        a->absent = true;
        sc_status status = open_cuda(a, bf16);
        return status == SC_OK ? SC_OK : sc_fail_prefix(status, "--plan-gpu %s", gpu_kind(a));
    }
    if (strcmp(name, "cuda") == 0) {
        sc_status status = open_cuda_or_absent(a, bf16);
        return status == SC_OK ? SC_OK : sc_fail_prefix(status, "--backend cuda");
    }
    sc_status status = open_cuda(a, bf16);
    if (status == SC_OK)
        (void)snprintf(why_not, 256, "not every rank has one");
    else
        (void)snprintf(why_not, 256, "%.255s", sc_message());
    SC_TRY(sc_comm_any(a->world->comm, status != SC_OK, &lacking));
    if (!lacking) {
        why_not[0] = '\0';
        return SC_OK;
    }
    if (a->devices[bf16])
        a->backend->close(a->devices[bf16]);
    a->devices[bf16] = NULL;
    if (status != SC_OK && status != SC_EUNSUPPORTED)
        return status;
    if (a->options.gpus)
        return sc_fail(SC_EUNSUPPORTED, "--gpus %s: %s", a->options.gpus, why_not);
    a->backend = sc_backend_cpu();
    return open_device(a, bf16, &a->log);
}

static void drop_line(void *ctx, sc_log_level level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

sc_status app_device(app *a, bool bf16, sc_device **out)
{
    sc_log quiet = {drop_line, NULL};
    if (!a->devices[bf16])
        SC_TRY(open_device(a, bf16, &quiet));
    *out = a->devices[bf16];
    return SC_OK;
}

/* What is free on the fullest GPU, for each of the ranks that share it. Collective. */
static sc_status ask_memory(app *a, sc_device *d)
{
    const sc_comm *c = a->world->comm;
    sc_device_memory m = {0};
    const bool known = a->backend->memory != NULL;
    APP_AGREE(a, known ? a->backend->memory(d, &m) : SC_OK);
    if (a->absent) { /* one a rank */
        a->gpu_room = m.free;
        return SC_OK;
    }
    int64_t mine[2] = {(int64_t)m.free, (int64_t)m.unit};
    int64_t *all = sc_alloc((size_t)c->size * 2, sizeof *all);
    int64_t *counts = sc_alloc((size_t)c->size, sizeof *counts);
    APP_AGREE(a, all && counts ? SC_OK : SC_ENOMEM);
    for (int r = 0; r < c->size; r++)
        counts[r] = 2;
    sc_status status = c->all_gather(c, mine, all, counts, SC_I64);
    int64_t sharers = 0, least = 0;
    for (int r = 0; r < c->size && status == SC_OK; r++)
        sharers += all[2 * r + 1] == mine[1];
    if (status == SC_OK) {
        least = mine[0] / sharers;
        status = c->all_reduce(c, &least, 1, SC_I64, SC_MIN);
    }
    a->gpu_room = known ? (size_t)least : 0;
    free(all);
    free(counts);
    return status;
}

sc_status app_open_backend(app *a)
{
    const sc_comm *c = a->world->comm;
    const char *name = a->options.backend;
    char why_not[256] = "";
    a->cores = sc_cores(getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK"));
    a->threads = sc_threads(a->cores, a->world->node_size);
    bool want = false;
    for (int i = 0; i < a->options.configs_count; i++)
        want = want || a->options.configs[i].use_amp;
    want = want && strcmp(name, "ref") != 0;
    APP_AGREE(a, open_named(a, name, want, why_not));
    sc_device *d = a->devices[want];
    int32_t bf16 = d->precision == SC_BF16_MIXED, lowest = bf16;
    SC_TRY(c->all_reduce(c, &lowest, 1, SC_I32, SC_MIN));
    a->bf16 = lowest != 0;
    if (want && !bf16) { /* the device is an fp32 one already: keep it in its place */
        a->devices[0] = d;
        a->devices[1] = NULL;
    }
    if (bf16 && !lowest)
        sc_info(&a->log,
                "some ranks' processors have no bfloat16 instructions: all compute in fp32");
    sc_info(&a->log, "Backend: %s%s%s%s", d->description, why_not[0] ? " (no GPU: " : "", why_not,
            why_not[0] ? ")" : "");
    return ask_memory(a, d);
}

void app_close_devices(app *a)
{
    for (int i = 0; i < 2; i++) {
        if (a->devices[i])
            a->backend->close(a->devices[i]);
        a->devices[i] = NULL;
    }
}

double app_flops(const app *a, bool bf16, int threads)
{
    /* Orders of magnitude seen on current server cores; only ratios matter for choosing a plan. */
    double core = a->backend == sc_backend_ref() ? 0.5e9 : bf16 ? 250e9 : 70e9;
    if (a->backend->open_nth) /* a GPU: its threads are not what computes */
        return bf16 ? 200e12 : 30e12;
    return core * threads;
}
