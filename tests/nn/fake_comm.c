#include "fake_comm.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MOST_RANKS 64

/* Every rank posts the address of its piece; after a barrier each reads all; then another barrier.
 */
typedef struct board {
    pthread_barrier_t barrier;
    const void *piece[MOST_RANKS];
    int calls;
} board;

static void meet(const sc_comm *c)
{
    board *b = c->impl;
    if (c->size > 1)
        (void)pthread_barrier_wait(&b->barrier);
}

static void post(const sc_comm *c, const void *piece)
{
    board *b = c->impl;
    b->piece[c->rank] = piece;
    if (c->rank == 0)
        b->calls++;
    meet(c);
}

static double combine(double a, double b, sc_reduce op)
{
    return op == SC_SUM ? a + b : op == SC_MAX ? (a > b ? a : b) : (a < b ? a : b);
}

/* Piece by piece over the stack: the allocation test must see no memory taken here. */
static sc_status reduce(const sc_comm *c, void *buf, size_t count, sc_dtype dtype, sc_reduce op)
{
    enum { PIECE = 512 };
    board *b = c->impl;
    double sum[PIECE];
    if (dtype != SC_F64)
        return sc_fail(SC_ECOMM, "fake comm: only doubles");
    post(c, buf);
    for (size_t at = 0; at < count; at += PIECE) {
        size_t n = count - at < PIECE ? count - at : PIECE;
        memcpy(sum, (const double *)b->piece[0] + at, n * sizeof *sum);
        for (int r = 1; r < c->size; r++)
            for (size_t i = 0; i < n; i++)
                sum[i] = combine(sum[i], ((const double *)b->piece[r])[at + i], op);
        meet(c); /* all have read this piece */
        memcpy((double *)buf + at, sum, n * sizeof *sum);
    }
    meet(c);
    return SC_OK;
}

static sc_status gather(const sc_comm *c, const void *send, void *recv, const int64_t *counts,
                        sc_dtype dtype)
{
    board *b = c->impl;
    size_t at = 0;
    post(c, send);
    for (int r = 0; r < c->size; r++) {
        size_t bytes = (size_t)counts[r] * sc_dtype_size(dtype);
        if (bytes > 0 && (char *)recv + at != b->piece[r])
            memmove((char *)recv + at, b->piece[r], bytes);
        at += bytes;
    }
    meet(c);
    return SC_OK;
}

static sc_status broadcast(const sc_comm *c, void *buf, size_t bytes, int root)
{
    board *b = c->impl;
    post(c, buf);
    if (c->rank != root)
        memcpy(buf, b->piece[root], bytes);
    meet(c);
    return SC_OK;
}

static sc_status wait_all(const sc_comm *c)
{
    meet(c);
    return SC_OK;
}

static void nothing(sc_comm *c)
{
    (void)c;
}

static sc_comm make(board *b, int rank, int size)
{
    return (sc_comm){rank, size, reduce, gather, broadcast, wait_all, nothing, b};
}

const sc_comm *fake_comm_alone(void)
{
    static board b;
    static sc_comm c;
    c = make(&b, 0, 1);
    return &c;
}

int fake_comm_calls(const sc_comm *c)
{
    return ((const board *)c->impl)->calls;
}

typedef struct rank_thread {
    sc_comm comm;
    fake_rank *f;
    void *ctx;
    pthread_t id;
} rank_thread;

static void *run_rank(void *arg)
{
    rank_thread *t = arg;
    t->f(&t->comm, t->ctx);
    return NULL;
}

void fake_comm_run(int ranks, fake_rank *f, void *ctx, size_t size)
{
    board b = {.calls = 0};
    rank_thread *threads = calloc((size_t)ranks, sizeof *threads);
    if (threads == NULL || ranks > MOST_RANKS ||
        pthread_barrier_init(&b.barrier, NULL, (unsigned)ranks) != 0)
        abort();
    for (int r = 0; r < ranks; r++) {
        threads[r] = (rank_thread){make(&b, r, ranks), f, (char *)ctx + (size_t)r * size, 0};
        if (pthread_create(&threads[r].id, NULL, run_rank, &threads[r]) != 0)
            abort();
    }
    for (int r = 0; r < ranks; r++)
        (void)pthread_join(threads[r].id, NULL);
    (void)pthread_barrier_destroy(&b.barrier);
    free(threads);
}
