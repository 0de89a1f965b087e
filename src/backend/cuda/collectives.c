/* Collectives on device memory: NCCL's where ranks have a GPU each, else the communicator's own,
 * through the host.
 */
#include "cuda.h"

#include <stdlib.h>

sc_status cuda_reserve_staging(cuda_device *d, size_t bytes)
{
    if (bytes <= d->staging_bytes)
        return SC_OK;
    char *more = sc_alloc(bytes, 1);
    if (more == NULL)
        return SC_ENOMEM;
    free(d->staging);
    d->staging = more;
    d->staging_bytes = bytes;
    return SC_OK;
}
/* NCCL's work is on a branch of its own, behind and in front of the caller's. */
static sc_status turn_to(cuda_device *d, const sc_comm *c)
{
    return peers_serve(d->peers, c) ? cuda_order(&d->head, d->branch, SC_BRANCH_PEERS) : SC_OK;
}
static sc_status turn_back(cuda_device *d)
{
    return cuda_order(&d->head, SC_BRANCH_PEERS, d->branch);
}
static sc_status bring(cuda_device *d, void *to, const void *from, size_t bytes)
{
    if (bytes > 0)
        CUDA_TRY(sc_cuda_copy(d->stream, to, from, bytes), "a collective's copy");
    return cuda_wait(d);
}
sc_status cuda_all_reduce(cuda_device *d, const sc_comm *c, double *buf, size_t count)
{
    const size_t bytes = count * sizeof *buf;
    bool done = false;
    if (c->size == 1)
        return SC_OK;
    SC_TRY(turn_to(d, c));
    SC_TRY(peers_sum(d->peers, c, buf, count, SC_F64, &done));
    if (done)
        return turn_back(d);
    if (bytes > d->staging_bytes)
        return sc_fail(SC_EINTERNAL, "cuda: %zu bytes of staging were not reserved", bytes);
    SC_TRY(bring(d, d->staging, buf, bytes));
    SC_TRY(c->all_reduce(c, d->staging, count, SC_F64, SC_SUM));
    return bring(d, buf, d->staging, bytes);
}
sc_status cuda_all_gather(cuda_device *d, const sc_comm *c, const void *send, void *recv,
                          const int64_t *counts, sc_dtype dtype)
{
    const size_t size = sc_dtype_size(dtype);
    size_t before = 0, all = 0, sizes[CUDA_MOST_RANKS];
    bool done = false;
    for (int r = 0; r < c->size; r++) {
        sizes[r] = (size_t)counts[r] * size;
        before += r < c->rank ? sizes[r] : 0;
        all += sizes[r];
    }
    if (c->size == 1)
        return all == 0 || send == recv
                   ? SC_OK
                   : cuda_check(sc_cuda_copy(d->stream, recv, send, all), "all_gather");
    SC_TRY(turn_to(d, c));
    SC_TRY(peers_gather(d->peers, c, send, recv, sizes, &done));
    if (done)
        return turn_back(d);
    if (all > d->staging_bytes)
        return sc_fail(SC_EINTERNAL, "cuda: %zu bytes of staging were not reserved", all);
    SC_TRY(bring(d, d->staging + before, send, (size_t)counts[c->rank] * size));
    SC_TRY(c->all_gather(c, d->staging + before, d->staging, counts, dtype));
    return bring(d, recv, d->staging, all);
}

/* Flat floats, a piece at a time. Programs are prepared by then, but nn's own calls reserve
 * nothing. */
enum { PIECE = 16 << 20 };
static sc_status in_pieces(cuda_device *d, const sc_comm *c, char *buf, size_t bytes, bool sum)
{
    bool done = false;
    if (c->size == 1)
        return SC_OK;
    SC_TRY(turn_to(d, c));
    SC_TRY(sum ? peers_sum(d->peers, c, buf, bytes / sizeof(float), SC_F32, &done)
               : peers_broadcast(d->peers, c, buf, bytes, &done));
    if (done)
        return turn_back(d);
    SC_TRY(cuda_reserve_staging(d, bytes < PIECE ? bytes : PIECE));
    for (size_t at = 0; at < bytes; at += PIECE) {
        const size_t n = bytes - at < PIECE ? bytes - at : PIECE;
        SC_TRY(bring(d, d->staging, buf + at, n));
        SC_TRY(sum ? c->all_reduce(c, d->staging, n / sizeof(float), SC_F32, SC_SUM)
                   : c->broadcast(c, d->staging, n, 0));
        SC_TRY(bring(d, buf + at, d->staging, n));
    }
    return SC_OK;
}
sc_status cuda_sum_floats(sc_device *d, const sc_comm *c, void *buf, size_t count)
{
    return in_pieces((cuda_device *)d, c, buf, count * sizeof(float), true);
}
sc_status cuda_share_floats(sc_device *d, const sc_comm *c, void *buf, size_t count)
{
    return in_pieces((cuda_device *)d, c, buf, count * sizeof(float), false);
}
sc_status cuda_join(sc_device *d, const sc_comm *c)
{
    return peers_join(((cuda_device *)d)->peers, c);
}
void cuda_leave(sc_device *d, const sc_comm *c)
{
    peers_leave(((cuda_device *)d)->peers, c);
}
sc_status cuda_wait(cuda_device *d)
{
    return peers_wait(d->peers, d->stream, NULL);
}
sc_status cuda_wait_event(cuda_device *d, void *event)
{
    return peers_wait(d->peers, d->stream, event);
}
