/* How much memory a job will take: its programs are compiled over memory that is counted and never
 * touched, and nothing runs.
 */
#include <stdlib.h>

#include "trainer.h"

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

/* A device's own backend, but for memory: addresses are given out and nothing lies behind them. */
typedef struct measuring {
    sc_backend face;
    sc_queue queue;
    size_t bytes;
} measuring;

static measuring *of(const sc_device *d)
{
    return (measuring *)(uintptr_t)d->backend; /* its first member */
}

/* A host backend may touch some of it: pages that are not touched are not there. */
static sc_status reserve(sc_device *d, size_t bytes, void **out)
{
    bytes = (bytes / 64 + 1) * 64;
    of(d)->bytes += bytes;
    *out = aligned_alloc(64, bytes);
    return *out ? SC_OK : sc_fail(SC_ENOMEM, "no address space for %zu bytes", bytes);
}

static void give_up(sc_device *d, void *p)
{
    (void)d;
    free(p);
}

/* Addresses of a device are numbers here; the host could not hold all that a GPU can. */
static sc_status count(sc_device *d, size_t bytes, void **out)
{
    measuring *m = of(d);
    *out = (void *)(((uintptr_t)1 << 44) + m->bytes);
    m->bytes += (bytes / 256 + 1) * 256;
    return SC_OK;
}

static void forget(sc_device *d, void *p)
{
    (void)d, (void)p;
}

static sc_status send_nothing(sc_device *d, const sc_value_desc *v, const void *host, void *value)
{
    (void)d, (void)v, (void)host, (void)value;
    return SC_OK;
}

static bool never_plain(const sc_device *d, const sc_value_desc *v)
{
    (void)d, (void)v;
    return false;
}

static void measure_with(measuring *m, const sc_backend *own)
{
    *m = (measuring){.face = *own};
    m->face.join = NULL; /* there is no group */
    m->face.leave = NULL;
    m->face.alloc = own->sync == NULL ? reserve : count;
    m->face.free = own->sync == NULL ? give_up : forget;
    if (own->sync == NULL)
        return;
    m->face.upload = send_nothing;
    if (own->queue == NULL)
        return;
    m->queue = *own->queue;
    m->queue.plain = never_plain; /* inputs go by upload */
    m->face.queue = &m->queue;
}

sc_status sc_train_memory(const sc_train_options *o, sc_device *device, int ranks, size_t *bytes)
{
    sc_comm group = {.rank = 0,
                     .size = ranks,
                     .all_reduce = no_reduce,
                     .all_gather = no_gather,
                     .broadcast = no_broadcast,
                     .barrier = no_barrier};
    const sc_backend *own = device->backend;
    measuring m;
    sc_trainer *t = sc_alloc(1, sizeof *t);
    if (!t)
        return SC_ENOMEM;
    measure_with(&m, own);
    device->backend = &m.face;
    sc_status status = sc_trainer_build(t, o, device, &group, NULL);
    *bytes = m.bytes;
    if (status == SC_OK && own->sync == NULL) /* what the leader's checkpoints pass through */
        *bytes += sc_params_room(t->params);
    sc_trainer_close(t);
    device->backend = own;
    free(t);
    return status;
}
