/* Which engine runs a convolution: the first of the heuristics' list that gives the same bits every
 * time, computes as precisely as we promise, and can be made. Engines that are compiled at run time
 * come last: they take a good part of a second each.
 */
#include "dnn.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_CONFIGS = 128 };

static uint32_t bit(int note)
{
    return (uint32_t)1 << note;
}
/* The engine's number and notes, and the configuration's workspace. */
static sc_status describe(const dnn *d, void *config, dnn_plan *p)
{
    int notes[DNN_NOTE_COUNT] = {0}, behavior[DNN_BEHAVIOR_COUNT] = {0};
    int64_t count = 0, bytes = 0;
    void *engine = NULL;
    sc_status status = SC_OK;
    SC_TRY_GOTO(dnn_check(d, d->api.descriptor_new(DNN_ENGINE, &engine), "an engine"));
    SC_TRY_GOTO(
        dnn_check(d, d->api.get(config, DNN_CONFIG_ENGINE, DNN_T_DESCRIPTOR, 1, &count, &engine),
                  "the engine of a configuration"));
    SC_TRY_GOTO(dnn_check(d,
                          d->api.get(engine, DNN_ENGINE_INDEX, DNN_T_INT64, 1, &count, &p->engine),
                          "the number of an engine"));
    SC_TRY_GOTO(dnn_check(
        d,
        d->api.get(engine, DNN_ENGINE_NOTES, DNN_T_NUMERICAL_NOTE, DNN_NOTE_COUNT, &count, notes),
        "the notes of an engine"));
    for (int64_t i = 0; i < count && i < DNN_NOTE_COUNT; i++)
        p->notes |= bit(notes[i] & 31);
    SC_TRY_GOTO(dnn_check(d,
                          d->api.get(engine, DNN_ENGINE_BEHAVIOR, DNN_T_BEHAVIOR_NOTE,
                                     DNN_BEHAVIOR_COUNT, &count, behavior),
                          "the behaviour of an engine"));
    for (int64_t i = 0; i < count && i < DNN_BEHAVIOR_COUNT; i++)
        p->runtime_compiled |= behavior[i] == DNN_NOTE_RUNTIME_COMPILED;
    SC_TRY_GOTO(dnn_check(d,
                          d->api.get(config, DNN_CONFIG_WORKSPACE, DNN_T_INT64, 1, &count, &bytes),
                          "the workspace of a configuration"));
    p->workspace = bytes > 0 ? (size_t)bytes : 0;
done:
    if (engine != NULL)
        (void)d->api.descriptor_free(engine);
    return status;
}
static bool acceptable(const dnn_plan *p, sc_cuda_type type, bool second_best)
{
    uint32_t never = bit(DNN_NOTE_NONDETERMINISTIC), always = 0;
    if (type == SC_CUDA_F32) /* a tensor core takes floats as TF32 only */
        never |= bit(DNN_NOTE_TENSOR_CORE) | bit(DNN_NOTE_DOWN_CONVERT) | bit(DNN_NOTE_FFT) |
                 bit(DNN_NOTE_WINOGRAD);
    else if (!second_best) {
        never |= bit(DNN_NOTE_REDUCED_SUMS);
        always = bit(DNN_NOTE_TENSOR_CORE);
    }
    if (p->runtime_compiled && !second_best)
        return false;
    return (p->notes & never) == 0 && (p->notes & always) == always &&
           p->workspace <= DNN_MOST_WORKSPACE;
}
/* A plan without either makes cuDNN 9.19 crash when it is finalized. */
static sc_status set_device(const dnn *d, void *plan)
{
    return dnn_check(d,
                     d->handle != NULL
                         ? d->api.set(plan, DNN_PLAN_HANDLE, DNN_T_HANDLE, 1, &d->handle)
                         : d->api.set(plan, DNN_PLAN_DEVICE, DNN_T_DESCRIPTOR, 1, &d->device),
                     "a plan's device");
}
static sc_status finish(const dnn *d, void *config, dnn_plan *p)
{
    int64_t count = 0, bytes = 0;
    sc_status status = SC_OK;
    SC_TRY_GOTO(dnn_check(d, d->api.descriptor_new(DNN_PLAN, &p->plan), "a plan"));
    SC_TRY_GOTO(dnn_check(d, d->api.set(p->plan, DNN_PLAN_CONFIG, DNN_T_DESCRIPTOR, 1, &config),
                          "a plan's engine"));
    SC_TRY_GOTO(set_device(d, p->plan));
    SC_TRY_GOTO(dnn_check(d, d->api.finalize(p->plan), "a plan"));
    SC_TRY_GOTO(dnn_check(d,
                          d->api.get(p->plan, DNN_PLAN_WORKSPACE, DNN_T_INT64, 1, &count, &bytes),
                          "a plan's workspace"));
    p->workspace = bytes > 0 ? (size_t)bytes : 0;
done:
    if (status != SC_OK && p->plan != NULL) {
        (void)d->api.descriptor_free(p->plan);
        p->plan = NULL;
    }
    return status;
}

/* Appends the configurations of a heuristic mode to list. A mode may know none. */
static sc_status ask(const dnn *d, const dnn_graph *g, int mode, void **list, int64_t *n)
{
    void *heuristics = NULL;
    int64_t found = 0;
    sc_status status = SC_OK;
    SC_TRY_GOTO(dnn_check(d, d->api.descriptor_new(DNN_HEURISTICS, &heuristics), "heuristics"));
    SC_TRY_GOTO(
        dnn_check(d, d->api.set(heuristics, DNN_HEURISTICS_GRAPH, DNN_T_DESCRIPTOR, 1, &g->graph),
                  "heuristics' graph"));
    SC_TRY_GOTO(
        dnn_check(d, d->api.set(heuristics, DNN_HEURISTICS_MODE, DNN_T_HEURISTIC_MODE, 1, &mode),
                  "heuristics' mode"));
    if (d->handle == NULL) /* else the graph knows it */
        SC_TRY_GOTO(dnn_check(
            d, d->api.set(heuristics, DNN_HEURISTICS_DEVICE, DNN_T_DESCRIPTOR, 1, &d->device),
            "heuristics' device"));
    if (d->api.finalize(heuristics) != 0)
        goto done; /* this mode knows no such graph */
    if (d->api.get(heuristics, DNN_HEURISTICS_RESULTS, DNN_T_DESCRIPTOR, 0, &found, NULL) != 0)
        found = 0;
    if (found > MOST_CONFIGS - *n)
        found = MOST_CONFIGS - *n;
    const int64_t first = *n;
    for (int64_t i = 0; i < found; i++) {
        SC_TRY_GOTO(dnn_check(d, d->api.descriptor_new(DNN_CONFIG, &list[*n]), "a configuration"));
        (*n)++;
    }
    if (found > 0)
        SC_TRY_GOTO(dnn_check(d,
                              d->api.get(heuristics, DNN_HEURISTICS_RESULTS, DNN_T_DESCRIPTOR,
                                         found, &found, &list[first]),
                              "the heuristics' results"));
done:
    if (heuristics != NULL)
        (void)d->api.descriptor_free(heuristics);
    return status;
}

sc_status dnn_choose(const dnn *d, const dnn_conv *c, const dnn_graph *g, dnn_plan *out)
{
    void *configs[MOST_CONFIGS] = {NULL};
    char failure[300] = "";
    int64_t n = 0;
    sc_status status = SC_OK;
    SC_TRY_GOTO(ask(d, g, DNN_MODE_A, configs, &n));
    SC_TRY_GOTO(ask(d, g, DNN_MODE_FALLBACK, configs, &n));
    for (int second_best = 0; second_best < 2 && out->plan == NULL; second_best++)
        for (int64_t i = 0; i < n && out->plan == NULL; i++) {
            dnn_plan p = {.engine = -1};
            if (describe(d, configs[i], &p) != SC_OK || !acceptable(&p, c->type, second_best != 0))
                continue;
            if (finish(d, configs[i], &p) != SC_OK) {
                (void)snprintf(failure, sizeof failure, "%s", sc_message());
                continue;
            }
            out->plan = p.plan;
            out->workspace = p.workspace;
            out->engine = p.engine;
            out->notes = p.notes;
            out->runtime_compiled = p.runtime_compiled;
        }
    if (out->plan == NULL)
        status = sc_fail(SC_EUNSUPPORTED,
                         "cuda: cuDNN %zu has no deterministic engine for convolution %s among %lld"
                         "%s%s",
                         d->api.version(), out->key, (long long)n, failure[0] ? ": " : "", failure);
done:
    for (int64_t i = 0; i < MOST_CONFIGS && configs[i] != NULL; i++)
        (void)d->api.descriptor_free(configs[i]);
    return status;
}

sc_status dnn_restore(const dnn *d, const char *json, dnn_plan *out)
{
    int64_t count = 0, bytes = 0;
    sc_status status = SC_OK;
    void *plan = NULL;
    SC_TRY_GOTO(dnn_check(d, d->api.descriptor_new(DNN_PLAN, &plan), "a plan"));
    SC_TRY_GOTO(set_device(d, plan));
    SC_TRY_GOTO(dnn_check(d,
                          d->api.set(plan, DNN_PLAN_JSON, DNN_T_CHAR, (int64_t)strlen(json), json),
                          "a kept plan"));
    SC_TRY_GOTO(dnn_check(d, d->api.finalize(plan), "a kept plan"));
    SC_TRY_GOTO(dnn_check(d, d->api.get(plan, DNN_PLAN_WORKSPACE, DNN_T_INT64, 1, &count, &bytes),
                          "a plan's workspace"));
    out->plan = plan;
    out->workspace = bytes > 0 ? (size_t)bytes : 0;
    out->engine = -1;
done:
    if (status != SC_OK && plan != NULL)
        (void)d->api.descriptor_free(plan);
    return status;
}
sc_status dnn_plan_json(const dnn *d, const dnn_plan *p, char **json)
{
    int64_t size = 0;
    SC_TRY(dnn_check(d, d->api.get(p->plan, DNN_PLAN_JSON, DNN_T_CHAR, 0, &size, NULL),
                     "the size of a plan's text"));
    *json = sc_alloc((size_t)size + 1, 1);
    if (*json == NULL)
        return SC_ENOMEM;
    const sc_status status = dnn_check(
        d, d->api.get(p->plan, DNN_PLAN_JSON, DNN_T_CHAR, size, &size, *json), "a plan's text");
    if (status != SC_OK) {
        free(*json);
        *json = NULL;
    }
    return status;
}
