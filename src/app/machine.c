/* What this machine gives a rank: a device, its threads and its precision. */
#include <stdlib.h>
#include <string.h>

#include "app.h"

static sc_status open_device(app *a, bool bf16, const sc_log *log)
{
    sc_device_options o = {.threads = a->threads, .log = log};
    o.precision = a->backend == sc_backend_ref() ? SC_FP64 : bf16 ? SC_BF16_MIXED : SC_FP32;
    return a->backend->open(&o, &a->devices[bf16]);
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

sc_status app_open_backend(app *a)
{
    const sc_comm *c = a->world->comm;
    const char *name = a->options.backend;
    if (strcmp(name, "cuda") == 0)
        return sc_fail(SC_EUNSUPPORTED,
                       "--backend cuda comes with a later version; use --backend cpu");
    if (a->options.gpus)
        return sc_fail(SC_EUNSUPPORTED,
                       "--gpus %s: the CUDA backend comes with a later version; leave "
                       "--gpus out to train on the CPU",
                       a->options.gpus);
    a->backend = strcmp(name, "ref") == 0 ? sc_backend_ref() : sc_backend_cpu();
    a->cores = sc_cores(getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK"));
    a->threads = sc_threads(a->cores, a->world->node_size);
    bool want = false;
    for (int i = 0; i < a->options.configs_count; i++)
        want = want || a->options.configs[i].use_amp;
    want = want && a->backend != sc_backend_ref();
    APP_AGREE(a, open_device(a, want, &a->log));
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
    sc_info(&a->log, "Backend: %s%s", d->description,
            strcmp(name, "auto") == 0 ? " (this version has no CUDA backend)" : "");
    return SC_OK;
}

void app_close_devices(app *a)
{
    for (int i = 0; i < 2; i++)
        if (a->devices[i])
            a->backend->close(a->devices[i]);
}

double app_flops(const app *a, bool bf16, int threads)
{
    /* Orders of magnitude seen on current server cores; only ratios matter for choosing a plan. */
    double core = a->backend == sc_backend_ref() ? 0.5e9 : bf16 ? 250e9 : 70e9;
    return core * threads;
}
