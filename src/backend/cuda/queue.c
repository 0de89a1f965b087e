/* What the CUDA device offers as a queue: branches are streams, recorded steps are graphs. */
#include "cuda.h"

#include <math.h>
#include <string.h>

sc_status cuda_queue_open(cuda_device *d)
{
    void *p = NULL;
    for (int b = 0; b < SC_BRANCHES; b++) {
        CUDA_TRY(sc_cuda_stream_new(&d->streams[b]), "no stream");
        CUDA_TRY(sc_cuda_event_new(&d->left[b]), "no event");
    }
    for (int i = 0; i < 2; i++)
        CUDA_TRY(sc_cuda_event_new(&d->next.half[i]), "no event");
    CUDA_TRY(sc_cuda_pin(sizeof(float[CUDA_RING][CUDA_ADAMW]), &p), "no pinned memory");
    d->next.ring = p;
    CUDA_TRY(sc_cuda_pin(sizeof(int[CUDA_FAULTS]), &p), "no pinned memory");
    d->next.faults = memset(p, 0, sizeof(int[CUDA_FAULTS]));
    d->branch = SC_BRANCH_MAIN;
    d->stream = d->streams[SC_BRANCH_MAIN];
    return SC_OK;
}
void cuda_queue_close(cuda_device *d)
{
    for (int b = 0; b < SC_BRANCHES; b++) {
        if (d->streams[b] != NULL)
            (void)sc_cuda_stream_free(d->streams[b]);
        if (d->left[b] != NULL)
            (void)sc_cuda_event_free(d->left[b]);
    }
    for (int i = 0; i < 2; i++)
        if (d->next.half[i] != NULL)
            (void)sc_cuda_event_free(d->next.half[i]);
    (void)sc_cuda_unpin(d->next.ring);
    (void)sc_cuda_unpin(d->next.faults);
}

/* ---- host memory, copies, marks ----------------------------------------------------------------
 */
static sc_status queue_pin(sc_device *d, size_t bytes, void **out)
{
    (void)d;
    const int failed = sc_cuda_pin(bytes > 0 ? bytes : 1, out);
    return failed == 0 ? SC_OK
                       : sc_fail(SC_ENOMEM, "cuda: %zu bytes of pinned host memory: %s", bytes,
                                 sc_cuda_error_text(failed));
}
static void queue_unpin(sc_device *d, void *p)
{
    (void)d;
    (void)sc_cuda_unpin(p);
}
static sc_status queue_send(sc_device *head, const sc_value_desc *v, const void *pinned,
                            void *value)
{
    cuda_device *d = (cuda_device *)head;
    const size_t bytes = cuda_value_bytes(head, v);
    return bytes == 0 ? SC_OK
                      : cuda_check(sc_cuda_copy(d->stream, value, pinned, bytes), "an input");
}
static sc_status queue_fetch(sc_device *head, const sc_value_desc *v, const void *value,
                             void *pinned)
{
    cuda_device *d = (cuda_device *)head;
    const size_t bytes = cuda_value_bytes(head, v);
    return bytes == 0 ? SC_OK
                      : cuda_check(sc_cuda_copy(d->stream, pinned, value, bytes), "an output");
}
static sc_status queue_mark_new(sc_device *d, void **mark)
{
    (void)d;
    return cuda_check(sc_cuda_event_new(mark), "no event");
}
static void queue_mark_free(sc_device *d, void *mark)
{
    (void)d;
    if (mark != NULL)
        (void)sc_cuda_event_free(mark);
}
static sc_status queue_mark(sc_device *d, void *mark)
{
    return cuda_check(sc_cuda_event_record(mark, ((cuda_device *)d)->stream), "an event");
}
static sc_status queue_wait(sc_device *head, void *mark)
{
    cuda_device *d = (cuda_device *)head;
    SC_TRY(cuda_wait_event(d, mark));
    SC_TRY(cuda_tell_faults(d->next.faults));
    return d->broken;
}

/* ---- branches ----------------------------------------------------------------------------------
 */
static void queue_select(sc_device *head, sc_branch b)
{
    cuda_device *d = (cuda_device *)head;
    d->branch = b;
    d->stream = d->streams[b];
}
sc_status cuda_order(sc_device *head, sc_branch before, sc_branch after)
{
    cuda_device *d = (cuda_device *)head;
    if (before == after)
        return SC_OK;
    CUDA_TRY(sc_cuda_event_record(d->left[before], d->streams[before]), "an event");
    return cuda_check(sc_cuda_stream_after(d->streams[after], d->left[before]), "an event");
}

/* ---- steps -------------------------------------------------------------------------------------
 */
sc_status cuda_bring_constants(cuda_device *d, const sc_adamw *o)
{
    cuda_constants *n = &d->next;
    const double c1 = 1 - pow(o->beta1, (double)o->step), c2 = 1 - pow(o->beta2, (double)o->step);
    const float c[CUDA_ADAMW] = {(float)(1 - o->lr * o->weight_decay),
                                 (float)o->beta1,
                                 (float)(1 - o->beta1),
                                 (float)o->beta2,
                                 (float)(1 - o->beta2),
                                 (float)(o->lr / c1),
                                 (float)sqrt(c2),
                                 (float)o->eps};
    const int half = n->at / (CUDA_RING / 2);
    if (n->known && memcmp(c, n->now, sizeof c) == 0)
        return SC_OK;
    if (d->recording)
        return sc_fail(SC_EINTERNAL, "cuda: AdamW's constants change within a recorded step");
    if (n->at % (CUDA_RING / 2) == 0)
        SC_TRY(cuda_wait_event(d, n->half[half]));
    memcpy(n->ring[n->at], c, sizeof c);
    CUDA_TRY(sc_cuda_copy(d->stream, d->constants, n->ring[n->at], sizeof c),
             "the constants of AdamW");
    n->at = (n->at + 1) % CUDA_RING;
    if (n->at % (CUDA_RING / 2) == 0)
        CUDA_TRY(sc_cuda_event_record(n->half[half], d->stream), "an event");
    memcpy(n->now, c, sizeof c);
    n->known = true;
    return SC_OK;
}
static sc_status queue_announce(sc_device *head, const sc_adamw *o)
{
    cuda_device *d = (cuda_device *)head;
    SC_TRY(cuda_bring_constants(d, o));
    return cuda_check(sc_cuda_copy(d->stream, d->next.faults, d->faults, sizeof(int[CUDA_FAULTS])),
                      "reading faults");
}
static bool queue_recordable(sc_device *head, const sc_comm *c)
{
    cuda_device *d = (cuda_device *)head;
    if (c->size == 1 || peers_serve(d->peers, c))
        return true;
    if (!d->told && c->rank == 0)
        sc_info(d->log, "steps are not recorded: sums over ranks go through the host");
    d->told = true;
    return false;
}
static sc_status judged(cuda_device *d, int failed)
{
    const sc_status status = cuda_check(failed, "recording a step");
    if (status != SC_OK)
        sc_warn(d->log, "steps are not recorded, which costs time: %s", sc_message());
    return status;
}
static sc_status queue_record(sc_device *head)
{
    cuda_device *d = (cuda_device *)head;
    SC_TRY(judged(d, sc_cuda_record_begin(d->streams[SC_BRANCH_MAIN])));
    d->recording = true;
    return SC_OK;
}
static sc_status queue_recorded(sc_device *head, void **step)
{
    cuda_device *d = (cuda_device *)head;
    d->recording = false;
    queue_select(head, SC_BRANCH_MAIN);
    return judged(d, sc_cuda_record_end(d->streams[SC_BRANCH_MAIN], step));
}
static sc_status queue_replay(sc_device *head, void *step)
{
    cuda_device *d = (cuda_device *)head;
    return cuda_check(sc_cuda_graph_launch(step, d->streams[SC_BRANCH_MAIN]), "a recorded step");
}
static void queue_forget(sc_device *head, void *step)
{
    cuda_device *d = (cuda_device *)head;
    if (step == NULL)
        return;
    if (cuda_wait(d) != SC_OK && d->broken == SC_OK)
        d->broken = SC_EINTERNAL;
    (void)sc_cuda_graph_free(step);
}
const sc_queue cuda_queue = {
    .pin = queue_pin,
    .unpin = queue_unpin,
    .plain = cuda_plain,
    .send = queue_send,
    .fetch = queue_fetch,
    .mark_new = queue_mark_new,
    .mark_free = queue_mark_free,
    .mark = queue_mark,
    .wait = queue_wait,
    .select = queue_select,
    .order = cuda_order,
    .announce = queue_announce,
    .recordable = queue_recordable,
    .record = queue_record,
    .recorded = queue_recorded,
    .replay = queue_replay,
    .forget = queue_forget,
};
