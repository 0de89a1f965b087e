/* Questions about a job that need no training: is it done, how much memory will it take. */
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

/* True: this checkpoint ends the job as it is now configured. */
static bool is_finished(const sc_train_options *o, const sc_train_state *s)
{
    return s->finished && (s->stopped_early || s->epoch >= o->epochs);
}

sc_status sc_train_finished(const sc_train_options *o, bool *finished, sc_train_result *out)
{
    *finished = false;
    *out = (sc_train_result){0};
    if (o->restart || o->resume_from)
        return SC_OK;
    char *path = sc_path_join(o->dir, SC_CKPT_LATEST);
    if (!path)
        return SC_ENOMEM;
    sc_pth *file = NULL;
    sc_train_state state = {0};
    sc_status status = SC_OK;
    if (sc_file_exists(path)) {
        status = sc_ckpt_read(path, o, &file, &state);
        if (status == SC_EFORMAT)
            status = SC_OK; /* the job itself tells of the damage and looks for the fallback */
    }
    if (status == SC_OK && file && is_finished(o, &state)) {
        *finished = true;
        out->best = state.best;
        out->stopped_early = state.stopped_early;
        sc_fold_result_of(&state.history, &state.best, &out->fold);
        out->fold.fold = o->fold;
        out->history = state.history;
        state.history = (sc_history){0};
    }
    sc_train_state_free(&state);
    sc_pth_close(file);
    free(path);
    return status;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Programs are compiled for the first rank of a group that is not there; nothing runs. */
static sc_status no_reduce(const sc_comm *c, void *buf, size_t n, sc_dtype type, sc_reduce op)
{
    (void)c, (void)buf, (void)n, (void)type, (void)op;
    return sc_fail(SC_EINTERNAL, "a memory estimate wants no collective");
}

static sc_status no_gather(const sc_comm *c, const void *send, void *recv, const int64_t *counts,
                           sc_dtype type)
{
    (void)c, (void)send, (void)recv, (void)counts, (void)type;
    return sc_fail(SC_EINTERNAL, "a memory estimate wants no collective");
}

static sc_status no_broadcast(const sc_comm *c, void *buf, size_t n, int root)
{
    (void)c, (void)buf, (void)n, (void)root;
    return sc_fail(SC_EINTERNAL, "a memory estimate wants no collective");
}

static sc_status no_barrier(const sc_comm *c)
{
    (void)c;
    return sc_fail(SC_EINTERNAL, "a memory estimate wants no collective");
}

static size_t parameter_bytes(const sc_trainer *t)
{
    size_t elements = 0, weights = 0;
    for (size_t i = 0; i < sc_params_count(t->params); i++) {
        sc_param_info info = sc_params_info(t->params, i);
        size_t n = (size_t)sc_shape_count(&info.shape);
        elements += n;
        weights += info.trainable ? n : 0;
    }
    /* value, gradient, two moments; and what the leader's checkpoints pass through */
    return (elements + 3 * weights) * sc_dtype_size(t->device->backend->real) +
           sc_params_room(t->params);
}

static size_t program_bytes(const sc_trainer *t)
{
    const sc_program *all[] = {t->train.full, t->train.tail, t->eval.full, t->eval.tail,
                               t->text_program};
    size_t shared = 0, own = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (!all[i])
            continue;
        sc_program_memory m = sc_program_memory_of(all[i]);
        size_t arena = m.arena + m.scratch;
        shared = arena > shared ? arena : shared;
        own += m.io; /* saved lies in the arena */
    }
    return shared + own;
}

/* Memory that nobody will touch: the pages of a model that is only measured are never there. */
static sc_status reserve(sc_device *d, size_t bytes, void **out)
{
    (void)d;
    *out = bytes <= SIZE_MAX - 64 ? aligned_alloc(64, (bytes / 64 + 1) * 64) : NULL;
    return *out ? SC_OK : sc_fail(SC_ENOMEM, "no address space for %zu bytes", bytes);
}

static void give_up(sc_device *d, void *p)
{
    (void)d;
    free(p);
}

sc_status sc_train_memory(const sc_train_options *o, sc_device *device, int ranks, size_t *bytes)
{
    sc_comm group = {.rank = 0,
                     .size = ranks,
                     .all_reduce = no_reduce,
                     .all_gather = no_gather,
                     .broadcast = no_broadcast,
                     .barrier = no_barrier};
    sc_trainer *t = sc_alloc(1, sizeof *t);
    if (!t)
        return SC_ENOMEM;
    const sc_backend *own = device->backend;
    sc_backend measuring = *own;
    if (own->sync == NULL) { /* a host backend: its memory is ours to replace */
        measuring.alloc = reserve;
        measuring.free = give_up;
    }
    device->backend = &measuring;
    sc_status status = sc_trainer_build(t, o, device, &group, NULL);
    if (status == SC_OK)
        *bytes = parameter_bytes(t) + program_bytes(t);
    sc_trainer_close(t);
    device->backend = own;
    free(t);
    return status;
}
