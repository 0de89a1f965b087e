/* A backend and a communicator that hand every call on to the real ones and read the clock. */
#include "profile.h"

#include <stdlib.h>

enum { FORWARD, BACKWARD };

static sc_profile *of(const sc_device *d)
{
    return (sc_profile *)(uintptr_t)d->backend; /* its first member */
}

/* ---- ops ----------------------------------------------------------------------------------------
 */

static sc_status timed_prepare(sc_device *d, const sc_op_node *n, void **state)
{
    sc_profile *p = of(d);
    profile_node *node = sc_alloc(1, sizeof *node);
    *state = NULL;
    if (node == NULL)
        return SC_ENOMEM;
    sc_status status = p->real->prepare(d, n, &node->state);
    if (status != SC_OK) {
        free(node);
        return status;
    }
    node->op = n->op;
    node->attrs = n->attrs;
    node->training = n->training;
    node->kernel = n->attrs.kernel;
    node->in = n->n_in > 0 ? n->in[0].desc.shape : (sc_shape){0};
    node->out = n->out[0].desc.shape;
    for (int pass = FORWARD; pass <= BACKWARD; pass++) {
        node->flops[pass] = nn_node_flops(n, pass);
        node->bytes[pass] = nn_node_bytes(d, p->real, n, pass);
        node->done[pass] = node->flops[pass];
        if (p->real->work != NULL && node->flops[pass] > 0)
            node->done[pass] *= p->real->work(d, n, node->state, pass == BACKWARD);
    }
    *p->last = node;
    p->last = &node->next;
    *state = node;
    return SC_OK;
}

static void timed_release(sc_device *d, void *state)
{
    profile_node *node = state;
    if (node == NULL)
        return;
    of(d)->real->release(d, node->state);
    node->state = NULL;
}

static sc_status finished(const sc_profile *p, sc_status status)
{
    if (status == SC_OK && p->real->sync != NULL)
        status = p->real->sync(p->device);
    return status;
}

/* update: not NULL for backward_update */
static sc_status run_pass(sc_device *d, const sc_op_node *n, void *state, int pass,
                          const sc_adamw *update)
{
    const sc_backend *real = of(d)->real;
    return pass == FORWARD  ? real->forward(d, n, state)
           : update == NULL ? real->backward(d, n, state)
                            : real->backward_update(d, n, state, update);
}
static sc_status timed_pass(sc_device *d, const sc_op_node *n, void *state, int pass,
                            const sc_adamw *update)
{
    sc_profile *p = of(d);
    profile_node *node = state;
    if (!p->running)
        return run_pass(d, n, node->state, pass, update);
    double begin = sc_now(), waited = p->collectives;
    p->inside = true;
    sc_status status = finished(p, run_pass(d, n, node->state, pass, update));
    p->inside = false;
    node->seconds[pass] += sc_now() - begin;
    node->collectives += p->collectives - waited;
    node->calls[pass]++;
    return status;
}
static sc_status timed_forward(sc_device *d, const sc_op_node *n, void *state)
{
    return timed_pass(d, n, state, FORWARD, NULL);
}
static sc_status timed_backward(sc_device *d, const sc_op_node *n, void *state)
{
    return timed_pass(d, n, state, BACKWARD, NULL);
}
static sc_status timed_backward_update(sc_device *d, const sc_op_node *n, void *state,
                                       const sc_adamw *o)
{
    return timed_pass(d, n, state, BACKWARD, o);
}

static sc_status timed_adamw(sc_device *d, const sc_adamw *o, size_t count, void *value,
                             const void *grad, void *m, void *v)
{
    sc_profile *p = of(d);
    double begin = sc_now();
    sc_status status = finished(p, p->real->adamw(d, o, count, value, grad, m, v));
    if (p->running) {
        p->adamw += sc_now() - begin;
        /* value and two moments in and out, the gradient in */
        p->adamw_bytes += 7.0 * (double)count * (double)sc_dtype_size(p->real->real);
    }
    return status;
}

/* ---- collectives --------------------------------------------------------------------------------
 */

static const sc_comm *real_of(const sc_comm *c)
{
    return ((const struct profile_comm *)c)->real;
}

static sc_status waited(const sc_comm *c, double begin, sc_status status)
{
    sc_profile *p = ((const struct profile_comm *)c)->profile;
    if (p->running && p->inside)
        p->collectives += sc_now() - begin;
    return status;
}

static sc_status timed_all_reduce(const sc_comm *c, void *buf, size_t count, sc_dtype dtype,
                                  sc_reduce op)
{
    sc_profile *p = ((const struct profile_comm *)c)->profile;
    double begin = sc_now();
    if (p->running && !p->inside && dtype == p->real->real) /* verdicts of ranks are integers */
        p->reduced_bytes += (double)count * (double)sc_dtype_size(dtype);
    return waited(c, begin, real_of(c)->all_reduce(real_of(c), buf, count, dtype, op));
}
static sc_status timed_all_gather(const sc_comm *c, const void *send, void *recv,
                                  const int64_t *counts, sc_dtype dtype)
{
    double begin = sc_now();
    return waited(c, begin, real_of(c)->all_gather(real_of(c), send, recv, counts, dtype));
}
static sc_status timed_broadcast(const sc_comm *c, void *buf, size_t bytes, int root)
{
    double begin = sc_now();
    return waited(c, begin, real_of(c)->broadcast(real_of(c), buf, bytes, root));
}
static sc_status timed_barrier(const sc_comm *c)
{
    double begin = sc_now();
    return waited(c, begin, real_of(c)->barrier(real_of(c)));
}

/* ---- the profile --------------------------------------------------------------------------------
 */

sc_status sc_profile_open(sc_device *d, const sc_comm *c, sc_profile **out)
{
    *out = NULL;
    sc_profile *p = sc_alloc(1, sizeof *p);
    if (p == NULL)
        return SC_ENOMEM;
    sc_status status =
        d->backend->peak != NULL ? d->backend->peak(d, &p->peak_flops, &p->peak_bytes) : SC_OK;
    if (status != SC_OK) {
        free(p);
        return status;
    }
    p->device = d;
    p->last = &p->first;
    p->real = d->backend;
    p->face = *d->backend;
    p->face.prepare = timed_prepare;
    p->face.release = timed_release;
    p->face.forward = timed_forward;
    p->face.backward = timed_backward;
    if (p->real->backward_update != NULL)
        p->face.backward_update = timed_backward_update;
    p->face.adamw = timed_adamw;
    p->face.queue = NULL; /* every op is waited for */
    d->backend = &p->face;
    p->comm = (struct profile_comm){*c, c, p};
    p->comm.face.all_reduce = timed_all_reduce;
    p->comm.face.all_gather = timed_all_gather;
    p->comm.face.broadcast = timed_broadcast;
    p->comm.face.barrier = timed_barrier;
    p->comm.face.free = NULL; /* the real one is its owner's */
    *out = p;
    return SC_OK;
}

void sc_profile_close(sc_profile *p)
{
    if (p == NULL)
        return;
    p->device->backend = p->real;
    for (profile_node *n = p->first; n != NULL;) {
        profile_node *next = n->next;
        free(n);
        n = next;
    }
    free(p);
}

const sc_comm *sc_profile_comm(const sc_profile *p)
{
    return &p->comm.face;
}

void sc_profile_start(sc_profile *p)
{
    for (profile_node *n = p->first; n != NULL; n = n->next)
        for (int pass = FORWARD; pass <= BACKWARD; pass++) {
            n->seconds[pass] = n->collectives = 0;
            n->calls[pass] = 0;
        }
    for (int i = 0; i < SC_PROFILE_PARTS; i++)
        p->part[i] = 0;
    p->collectives = p->adamw = p->adamw_bytes = p->reduced_bytes = p->seconds = 0;
    p->steps = 0;
    p->running = true;
    p->begun = p->mark = sc_now();
}

void sc_profile_stop(sc_profile *p)
{
    if (!p->running)
        return;
    p->running = false;
    p->seconds = sc_now() - p->begun;
}

void sc_profile_lap(sc_profile *p, sc_profile_part part)
{
    if (p == NULL || !p->running)
        return;
    double now = sc_now();
    p->part[part] += now - p->mark;
    p->mark = now;
}

void sc_profile_step(sc_profile *p)
{
    if (p != NULL && p->running)
        p->steps++;
}

int64_t sc_profile_steps(const sc_profile *p)
{
    return p->steps;
}
