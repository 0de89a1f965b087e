#include "thread_comm.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct team {
    pthread_barrier_t barrier;
    int size;
    const void *piece[64]; /* what each rank shows the others */
    void *sum;
} team;

static void meet(const sc_comm *c)
{
    pthread_barrier_wait(&((team *)c->impl)->barrier);
}

#define REDUCE(TYPE)                                                                     \
    for (size_t i = 0; i < n; i++) {                                                     \
        TYPE v = ((const TYPE *)t->piece[0])[i];                                         \
        for (int r = 1; r < t->size; r++) {                                              \
            TYPE w = ((const TYPE *)t->piece[r])[i];                                     \
            v = op == SC_SUM ? v + w : op == SC_MAX ? (w > v ? w : v) : (w < v ? w : v); \
        }                                                                                \
        ((TYPE *)t->sum)[i] = v;                                                         \
    }

static sc_status all_reduce(const sc_comm *c, void *buf, size_t n, sc_dtype dtype, sc_reduce op)
{
    team *t = c->impl;
    t->piece[c->rank] = buf;
    meet(c);
    if (c->rank == 0) {
        t->sum = malloc(n * sc_dtype_size(dtype) + 1);
        if (dtype == SC_F32)
            REDUCE(float)
        else if (dtype == SC_F64)
            REDUCE(double)
        else if (dtype == SC_I32)
            REDUCE(int32_t)
        else
            REDUCE(int64_t)
    }
    meet(c);
    memcpy(buf, t->sum, n * sc_dtype_size(dtype));
    meet(c);
    if (c->rank == 0)
        free(t->sum);
    return SC_OK;
}

static sc_status all_gather(const sc_comm *c, const void *send, void *recv, const int64_t *counts,
                            sc_dtype dtype)
{
    team *t = c->impl;
    size_t at = 0, own = 0, size = sc_dtype_size(dtype);
    void *copy = malloc((size_t)counts[c->rank] * size + 1);
    memcpy(copy, send, (size_t)counts[c->rank] * size);
    t->piece[c->rank] = copy;
    meet(c);
    for (int r = 0; r < c->size; r++) {
        own = (size_t)counts[r] * size;
        memcpy((char *)recv + at, t->piece[r], own);
        at += own;
    }
    meet(c);
    free(copy);
    return SC_OK;
}

static sc_status broadcast(const sc_comm *c, void *buf, size_t bytes, int root)
{
    team *t = c->impl;
    t->piece[c->rank] = buf;
    meet(c);
    if (c->rank != root)
        memcpy(buf, t->piece[root], bytes);
    meet(c);
    return SC_OK;
}

static sc_status barrier(const sc_comm *c)
{
    meet(c);
    return SC_OK;
}

typedef struct member {
    sc_comm comm;
    rank_function f;
    void *arg;
    sc_status status;
} member;

static void *start(void *arg)
{
    member *m = arg;
    m->status = m->f(&m->comm, m->arg);
    return NULL;
}

void run_ranks(int size, rank_function f, void *const *arg, sc_status *status)
{
    team t = {.size = size};
    member m[64];
    pthread_t thread[64];
    pthread_barrier_init(&t.barrier, NULL, (unsigned)size);
    for (int r = 0; r < size; r++) {
        m[r] = (member){.comm = {.rank = r,
                                 .size = size,
                                 .all_reduce = all_reduce,
                                 .all_gather = all_gather,
                                 .broadcast = broadcast,
                                 .barrier = barrier,
                                 .impl = &t},
                        .f = f,
                        .arg = arg[r]};
        pthread_create(&thread[r], NULL, start, &m[r]);
    }
    for (int r = 0; r < size; r++) {
        pthread_join(thread[r], NULL);
        status[r] = m[r].status;
    }
    pthread_barrier_destroy(&t.barrier);
}
