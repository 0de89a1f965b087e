/* cuDNN found, opened and closed; the plans of a device. */
#include "dnn.h"

#include <stdlib.h>
#include <string.h>

#include "libraries.h"

sc_status dnn_load(dnn_api *out)
{
    static const char what[] = "cuDNN 9 (libcudnn_graph.so.9)";
    void *library = NULL;
    /* cuDNN opens it by its name, and aborts the process where the loader does not find it: what is
     * open already is found. Missing, it is told by the first product. */
    (void)cuda_blas_library("cuBLASLt", &library);
    SC_TRY(cuda_library(what, "libcudnn_graph.so.9", &library));
    const struct {
        const char *name;
        void *function;
    } wanted[] = {
        {"cudnnGetVersion", &out->version},
        {"cudnnGetErrorString", &out->error_text},
        {"cudnnGetLastErrorString", &out->last_error},
        {"cudnnCreate", &out->create},
        {"cudnnDestroy", &out->destroy},
        {"cudnnSetStream", &out->set_stream},
        {"cudnnBackendCreateDescriptor", &out->descriptor_new},
        {"cudnnBackendDestroyDescriptor", &out->descriptor_free},
        {"cudnnBackendFinalize", &out->finalize},
        {"cudnnBackendSetAttribute", &out->set},
        {"cudnnBackendGetAttribute", &out->get},
        {"cudnnBackendExecute", &out->execute},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        SC_TRY(cuda_symbol(library, what, wanted[i].name, wanted[i].function));
    const size_t version = out->version();
    if (version < DNN_OLDEST || version >= 100000)
        return sc_fail(SC_EUNSUPPORTED,
                       "cuda: cuDNN %zu.%zu.%zu was found; 9.11 or a newer 9 is needed",
                       version / 10000, version / 100 % 100, version % 100);
    return SC_OK;
}

sc_status dnn_check(const dnn *d, int status, const char *what)
{
    char words[512] = "";
    if (status == 0)
        return SC_OK;
    d->api.last_error(words, sizeof words);
    words[sizeof words - 1] = '\0';
    return sc_fail(SC_EINTERNAL, "cuda: cuDNN: %s: %s (%d)%s%s", what, d->api.error_text(status),
                   status, words[0] != '\0' ? ": " : "", words);
}

/* What plans are bound to, out of the device's own description: `"name":123`. */
static long long fact(const char *json, const char *name)
{
    const char *at = strstr(json, name);
    at = at != NULL ? strchr(at, ':') : NULL;
    return at != NULL ? strtoll(at + 1, NULL, 10) : 0;
}
static sc_status open_cache(dnn *d, const char *folder)
{
    char profile[200];
    int64_t size = 0;
    SC_TRY(dnn_check(d, d->api.get(d->device, DNN_DEVICE_JSON, DNN_T_CHAR, 0, &size, NULL),
                     "the device's description"));
    char *json = sc_alloc((size_t)size + 1, 1);
    if (json == NULL)
        return SC_ENOMEM;
    sc_status status =
        dnn_check(d, d->api.get(d->device, DNN_DEVICE_JSON, DNN_T_CHAR, size, &size, json),
                  "the device's description");
    (void)snprintf(
        profile, sizeof profile, "cudnn %zu device %lld processors %lld shared %lld driver %lld",
        d->api.version(), fact(json, "\"deviceVer\""), fact(json, "\"multiProcessorCount\""),
        fact(json, "\"maxSharedMemoryPerBlockOptin\""), fact(json, "\"driverVer\""));
    free(json);
    return status == SC_OK ? dnn_cache_open(folder, profile, &d->cache) : status;
}
static sc_status start(const dnn_api *api, dnn **out)
{
    *out = sc_alloc(1, sizeof **out);
    if (*out == NULL)
        return SC_ENOMEM;
    (*out)->api = *api;
    return SC_OK;
}
static sc_status make_device(dnn *d, int name, int type, int64_t count, const void *value)
{
    SC_TRY(dnn_check(d, d->api.descriptor_new(DNN_DEVICE, &d->device), "the device"));
    SC_TRY(dnn_check(d, d->api.set(d->device, name, type, count, value), "the device"));
    return dnn_check(d, d->api.finalize(d->device), "the device");
}
sc_status dnn_open(const dnn_api *api, void *stream, const char *cache_folder, const sc_log *log,
                   dnn **out)
{
    dnn *d = NULL;
    sc_status status = SC_OK;
    *out = NULL;
    SC_TRY(start(api, &d));
    sc_cuda_hold_recordings();
    const int failed = api->create(&d->handle);
    sc_cuda_release_recordings();
    SC_TRY_GOTO(dnn_check(d, failed, "no handle"));
    SC_TRY_GOTO(dnn_check(d, api->set_stream(d->handle, stream), "its stream"));
    d->stream = stream;
    if (cache_folder != NULL &&
        (make_device(d, DNN_DEVICE_HANDLE, DNN_T_HANDLE, 1, &d->handle) != SC_OK ||
         open_cache(d, cache_folder) != SC_OK))
        sc_info(log, "cuDNN's plans are not kept: %s", sc_message());
    *out = d;
done:
    if (status != SC_OK)
        dnn_close(d);
    return status;
}
sc_status dnn_open_planner(const dnn_api *api, const char *json, const char *cache_folder,
                           dnn **out)
{
    dnn *d = NULL;
    sc_status status = SC_OK;
    *out = NULL;
    SC_TRY(start(api, &d));
    SC_TRY_GOTO(make_device(d, DNN_DEVICE_JSON, DNN_T_CHAR, (int64_t)strlen(json), json));
    if (cache_folder != NULL)
        SC_TRY_GOTO(open_cache(d, cache_folder));
    *out = d;
done:
    if (status != SC_OK)
        dnn_close(d);
    return status;
}
void dnn_close(dnn *d)
{
    if (d == NULL)
        return;
    for (dnn_plan *p = d->plans, *next; p != NULL; p = next) {
        next = p->next;
        (void)d->api.descriptor_free(p->plan);
        free(p);
    }
    dnn_cache_free(d->cache);
    if (d->device != NULL)
        (void)d->api.descriptor_free(d->device);
    if (d->handle != NULL) {
        sc_cuda_hold_recordings();
        (void)d->api.destroy(d->handle);
        sc_cuda_release_recordings();
    }
    free(d);
}

void dnn_conv_key(const dnn_conv *c, char key[DNN_KEY])
{
    static const char *const pass[] = {"forward", "data", "filter"};
    (void)snprintf(key, DNN_KEY, "%s %s n%lld c%lld h%lld w%lld o%lld k%lld s%lld p%lld",
                   pass[c->pass], c->type == SC_CUDA_BF16 ? "bf16" : "fp32", (long long)c->n,
                   (long long)c->c, (long long)c->h, (long long)c->w, (long long)c->o,
                   (long long)c->kernel, (long long)c->stride, (long long)c->pad);
}
sc_status dnn_plan_for(dnn *d, const dnn_conv *c, const dnn_plan **out)
{
    char key[DNN_KEY];
    sc_status status = SC_EUNSUPPORTED;
    dnn_conv_key(c, key);
    for (const dnn_plan *p = d->plans; p != NULL; p = p->next)
        if (strcmp(p->key, key) == 0) {
            *out = p;
            return SC_OK;
        }
    dnn_plan *p = sc_alloc(1, sizeof *p);
    if (p == NULL)
        return SC_ENOMEM;
    memcpy(p->key, key, sizeof key);
    const char *kept = d->cache != NULL ? dnn_cache_get(d->cache, key) : NULL;
    if (kept != NULL)
        status = dnn_restore(d, kept, p);
    if (status != SC_OK) { /* a plan that does not load any more is made again */
        dnn_graph g;
        char *json = NULL;
        status = dnn_graph_build(d, c, &g);
        if (status == SC_OK) {
            status = dnn_choose(d, c, &g, p);
            dnn_graph_free(d, &g);
        }
        if (status == SC_OK && d->cache != NULL && dnn_plan_json(d, p, &json) == SC_OK)
            (void)dnn_cache_put(d->cache, key, json);
        free(json);
    }
    if (status != SC_OK) {
        free(p);
        return status;
    }
    p->next = d->plans;
    d->plans = p;
    *out = p;
    return SC_OK;
}
void dnn_keep_plans(dnn *d, const sc_log *log)
{
    if (d->cache != NULL && dnn_cache_write(d->cache) != SC_OK)
        sc_info(log, "cuDNN's plans are not kept: %s", sc_message());
}
