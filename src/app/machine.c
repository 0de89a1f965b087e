/* What this machine gives a rank: cores, threads, a device and its precision. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app.h"

/* The processors the system would grant: a launcher's binding is lifted for a moment to see behind
 * it (mpirun binds each of two ranks to one core whatever the node has). What the user chose with
 * taskset, without a launcher, stands. */
static bool allowed_processors(bool launched, cpu_set_t *set)
{
    cpu_set_t own, all;
    if (sched_getaffinity(0, sizeof own, &own) != 0)
        return false;
    *set = own;
    if (!launched)
        return true;
    memset(&all, 0xff, sizeof all);
    if (sched_setaffinity(0, sizeof all, &all) == 0) {
        if (sched_getaffinity(0, sizeof *set, set) != 0)
            *set = own;
        (void)sched_setaffinity(0, sizeof own, &own);
    }
    return true;
}

/* The first hyperthread of the core of processor `cpu`; itself when the system does not say. */
static int first_sibling(int cpu)
{
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "re");
    int first = cpu;
    if (f) {
        if (fscanf(f, "%d", &first) != 1)
            first = cpu;
        fclose(f);
    }
    return first;
}

/* A container's share of processor time, in cores; a large number without a limit. */
static int quota_cores(void)
{
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    long quota = 0, period = 0;
    int cores = 1 << 20;
    if (f) {
        if (fscanf(f, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0)
            cores = (int)((quota + period - 1) / period);
        fclose(f);
    }
    return cores;
}

int app_cores(bool launched)
{
    cpu_set_t set;
    int cores = 0;
    if (allowed_processors(launched, &set)) {
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (!CPU_ISSET((size_t)cpu, &set))
                continue;
            int first = first_sibling(cpu);
            if (first == cpu || first < 0 || first >= CPU_SETSIZE ||
                !CPU_ISSET((size_t)first, &set))
                cores++;
        }
    } else {
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        cores = n > 0 ? (int)n : 1;
    }
    int quota = quota_cores();
    if (cores > quota)
        cores = quota;
    return cores > 0 ? cores : 1;
}

int app_threads(int cores, int node_size)
{
    const char *told = getenv("OMP_NUM_THREADS");
    if (told && *told) {
        char *end;
        errno = 0;
        long n = strtol(told, &end, 10);
        if (errno == 0 && (*end == '\0' || *end == ',') && n >= 1 && n <= 4096)
            return (int)n;
    }
    return cores / node_size > 1 ? cores / node_size : 1;
}

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
    a->cores = app_cores(getenv("OMPI_COMM_WORLD_SIZE") || getenv("PMIX_RANK"));
    a->threads = app_threads(a->cores, a->world->node_size);
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
