/* GPUs by their data sheets: what cuDNN's heuristics ask of a device, told without one. */
#include "cuda.h"

#include <stdlib.h>
#include <string.h>

#define CONTEXT ((size_t)600 << 20) /* what the driver takes for a program, about */

/* As cudaDeviceProp has them: 10 times the architecture's number, and kHz. */
static const cuda_absent gpus[] = {
    {"a10", "NVIDIA A10", 860, 72, 101376, 16, 1536, 1695000, 6251000, 6291456, 23609475072},
    {"a100-40gb", "NVIDIA A100 40GB", 800, 108, 166912, 32, 2048, 1410000, 1215000, 41943040,
     42298834944},
    {"a100", "NVIDIA A100 80GB", 800, 108, 166912, 32, 2048, 1410000, 1593000, 41943040,
     85031714816},
    {"h100", "NVIDIA H100 80GB", 900, 132, 232448, 32, 2048, 1980000, 2619000, 52428800,
     85029158912},
    {"h200", "NVIDIA H200 141GB", 900, 132, 232448, 32, 2048, 1980000, 3201000, 62914560,
     149250000000},
    {"b200", "NVIDIA B200 180GB", 1000, 148, 232448, 32, 2048, 1965000, 3996000, 132644864,
     191510609920},
    {"l40s", "NVIDIA L40S", 890, 142, 101376, 24, 1536, 2520000, 9001000, 100663296, 47677177856},
    {"rtx4090", "NVIDIA GeForce RTX 4090", 890, 128, 101376, 24, 1536, 2520000, 10501000, 75497472,
     25393692672},
};

const cuda_absent *cuda_absent_find(const char *name)
{
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++)
        if (strcmp(gpus[i].name, name) == 0)
            return &gpus[i];
    return NULL;
}

/* The members that cuDNN 9.19 wants to see, by its own error messages. */
void cuda_absent_json(const cuda_absent *g, char out[CUDA_ABSENT_JSON])
{
    (void)snprintf(
        out, CUDA_ABSENT_JSON,
        "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],"
        "\"regsPerBlock\":65536,\"multiProcessorCount\":%d,\"warpSize\":32,"
        "\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlockOptin\":%d,"
        "\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,\"maxCtasPerSM\":%d,"
        "\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":%d,\"pciDeviceId\":0,\"isTccDriver\":0,"
        "\"supportCoopLaunch\":1,\"totalGlobalMem\":%zu,\"smClockRateKHz\":%d,"
        "\"memClockRateKHz\":%d,\"l2CacheSize\":%d,\"cudaDeviceId\":0,\"deviceVer\":%d,"
        "\"driverVer\":13000,\"deviceName\":\"%s\"}",
        g->processors, g->shared, g->blocks, g->threads, g->memory, g->clock, g->memory_clock,
        g->l2, g->version, g->title);
}

size_t cuda_absent_free(const cuda_absent *g)
{
    return g->memory - CONTEXT;
}

/* Plans are not kept: they would be bound to a driver that nobody has seen. */
static sc_status open_planner(cuda_device *d)
{
    char json[CUDA_ABSENT_JSON];
    dnn_api api;
    SC_TRY(dnn_load(&api));
    cuda_absent_json(d->absent, json);
    return dnn_open_planner(&api, json, NULL, &d->dnn);
}

sc_status cuda_open_absent(const sc_device_options *o, const char *gpu, sc_device **out)
{
    const cuda_absent *g = cuda_absent_find(gpu);
    if (g == NULL)
        return sc_fail(SC_EUNSUPPORTED, "cuda: no GPU '%s' is known", gpu);
    cuda_device *d = sc_alloc(1, sizeof *d);
    if (d == NULL)
        return SC_ENOMEM;
    char by[64];
    d->absent = g;
    d->log = o->log;
    d->facts = (sc_cuda_device_facts){.major = g->version / 100,
                                      .minor = g->version / 10 % 10,
                                      .processors = g->processors,
                                      .memory = g->memory};
    (void)snprintf(d->facts.name, sizeof d->facts.name, "%s", g->title);
    const bool planned = open_planner(d) == SC_OK;
    if (planned)
        (void)snprintf(by, sizeof by, "cuDNN %zu.%zu.%zu plans its convolutions",
                       d->dnn->api.version() / 10000, d->dnn->api.version() / 100 % 100,
                       d->dnn->api.version() % 100);
    else
        (void)snprintf(by, sizeof by, "no usable cuDNN here: %.2f GB taken for its workspace",
                       (double)DNN_MOST_WORKSPACE / 1e9);
    d->head.backend = sc_backend_cuda();
    d->head.precision = o->precision == SC_BF16_MIXED ? SC_BF16_MIXED : SC_FP32;
    d->head.threads = o->threads;
    (void)snprintf(d->head.description, sizeof d->head.description,
                   "cuda: as if on an empty %s, sm_%d%d, %s (%s)", g->title, d->facts.major,
                   d->facts.minor, d->head.precision == SC_BF16_MIXED ? "bf16" : "fp32", by);
    *out = &d->head;
    return SC_OK;
}

sc_status cuda_absent_workspace(cuda_device *d, const dnn_conv *c, size_t *bytes)
{
    const dnn_plan *p = NULL;
    *bytes = DNN_MOST_WORKSPACE;
    if (d->dnn == NULL)
        return SC_OK;
    const sc_status status = dnn_plan_for(d->dnn, c, &p);
    if (status == SC_ENOMEM)
        return status;
    if (status == SC_OK)
        *bytes = p->workspace;
    else if (!d->told) /* an engine that is compiled at run time needs a driver, for one */
        sc_info(d->log,
                "cuDNN does not plan every convolution without the GPU, %.2f GB are taken for its "
                "workspace: %s",
                (double)DNN_MOST_WORKSPACE / 1e9, sc_message());
    d->told = d->told || status != SC_OK;
    return SC_OK;
}
