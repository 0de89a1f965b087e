#include "peers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libraries.h"

enum {
#define SC_ABI(ours, number, theirs) ours = (int)(number),
#include "nccl.def"
#undef SC_ABI
    NCCL_OLDEST = 21800 /* 2.18: non-blocking communicators that can be relied on */
};
#define DEADLINE_SECONDS 600.0
#define START_SECONDS 120.0
#define END_SECONDS 30.0 /* after a failure: for what was queued, and for aborting */

typedef struct unique_id {
    char bytes[128];
} unique_id;
/* ncclConfig_t as of 2.14, which every later library takes by its size and version. */
typedef struct start_config {
    size_t size;
    unsigned magic, version;
    int blocking;
} start_config;

typedef struct nccl_api {
    int (*version)(int *v);
    const char *(*error_text)(int status);
    const char *(*last_error)(void *comm); /* in more words; of old failures too */
    int (*unique)(unique_id *id);
    int (*start)(void **comm, int ranks, unique_id id, int rank, start_config *config);
    int (*finalize)(void *comm);
    int (*destroy)(void *comm);
    int (*abort)(void *comm);
    int (*async_error)(void *comm, int *error);
    int (*all_reduce)(const void *send, void *recv, size_t count, int type, int op, void *comm,
                      void *stream);
    int (*broadcast)(const void *send, void *recv, size_t count, int type, int root, void *comm,
                     void *stream);
    int (*group_start)(void);
    int (*group_end)(void);
} nccl_api;

typedef struct group {
    struct group *next;
    const sc_comm *comm;
    int users;
    void *nccl; /* NULL: the host serves it */
    /* A communicator that failed, and the thread that aborts it. */
    void *lost;
    int (*abort)(void *comm);
    pthread_t ender;
    bool ending;
} group;
struct peers {
    void *stream;
    char gpu[16];
    const sc_log *log;
    nccl_api api;
    bool found, looked, warned, failed;
    group *groups;
};

static sc_status load(nccl_api *out)
{
    static const char what[] = "NCCL (libnccl.so.2)";
    void *library = NULL;
    int version = 0;
    SC_TRY(cuda_library(what, "libnccl.so.2", &library));
    const struct {
        const char *name;
        void *function;
    } wanted[] = {
        {"ncclGetVersion", &out->version},      {"ncclGetErrorString", &out->error_text},
        {"ncclGetUniqueId", &out->unique},      {"ncclCommInitRankConfig", &out->start},
        {"ncclCommFinalize", &out->finalize},   {"ncclCommDestroy", &out->destroy},
        {"ncclCommAbort", &out->abort},         {"ncclCommGetAsyncError", &out->async_error},
        {"ncclAllReduce", &out->all_reduce},    {"ncclBroadcast", &out->broadcast},
        {"ncclGroupStart", &out->group_start},  {"ncclGroupEnd", &out->group_end},
        {"ncclGetLastError", &out->last_error},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        SC_TRY(cuda_symbol(library, what, wanted[i].name, wanted[i].function));
    if (out->version(&version) != 0 || version < NCCL_OLDEST)
        return sc_fail(SC_EUNSUPPORTED, "cuda: NCCL %d.%d.%d was found; 2.18 or newer is needed",
                       version / 10000, version / 100 % 100, version % 100);
    return SC_OK;
}

sc_status peers_new(void *stream, const char gpu[16], const sc_log *log, peers **out)
{
    peers *p = sc_alloc(1, sizeof *p);
    *out = p;
    if (p == NULL)
        return SC_ENOMEM;
    p->stream = stream;
    p->log = log;
    memcpy(p->gpu, gpu, sizeof p->gpu);
    return SC_OK;
}
static group *find(const peers *p, const sc_comm *c)
{
    for (group *g = p->groups; g != NULL; g = g->next)
        if (g->comm == c)
            return g;
    return NULL;
}
static void nap(void)
{
    const struct timespec t = {0, 20000};
    (void)nanosleep(&t, NULL);
}

/* ncclCommAbort stops the device's work at once, but returns when the last recorded step with a
 * collective of the communicator is gone. Its owner lets go of the step when it is told of the
 * failure, so a thread waits for that. */
static void *abort_group(void *group_)
{
    const group *g = group_;
    (void)g->abort(g->lost);
    return NULL;
}
static void give_up(const peers *p, group *g)
{
    if (g->nccl == NULL)
        return;
    g->lost = g->nccl;
    g->abort = p->api.abort;
    g->nccl = NULL;
    g->ending = pthread_create(&g->ender, NULL, abort_group, g) == 0;
}
/* Frees it, unless its thread does not come to an end. */
static void free_group(group *g)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)END_SECONDS;
    if (!g->ending || pthread_timedjoin_np(g->ender, NULL, &until) == 0)
        free(g);
}
static sc_status failure(const peers *p, void *comm, const char *what, const char *why)
{
    const char *more = comm != NULL ? p->api.last_error(comm) : NULL;
    const bool told = more != NULL && *more != '\0';
    return sc_fail(SC_ECOMM, "cuda: NCCL: %s: %s%s%s", what, why, told ? ": " : "",
                   told ? more : "");
}
/* Every communicator of the device ends: a rank that aborts one alone may hang in another. */
static sc_status fail_all(peers *p, void *comm, const char *what, const char *why)
{
    const sc_status status = failure(p, comm, what, why);
    p->failed = true;
    for (group *g = p->groups; g != NULL; g = g->next)
        give_up(p, g);
    return status;
}
/* Waits until a call on a communicator, which returned status, is done. NULL: it is; else why it
 * failed. */
static const char *await(const peers *p, void *comm, int status, double seconds)
{
    const double until = sc_now() + seconds;
    while (status == NCCL_IN_PROGRESS) {
        if (sc_now() > until)
            return "no answer from the other ranks";
        if (p->api.async_error(comm, &status) != 0)
            return "its state cannot be read";
        if (status == NCCL_IN_PROGRESS)
            nap();
    }
    return status == 0 ? NULL : p->api.error_text(status);
}
static sc_status settle(peers *p, void *comm, int status, const char *what, double seconds)
{
    const char *why = await(p, comm, status, seconds);
    return why == NULL ? SC_OK : fail_all(p, comm, what, why);
}

/* True when no two ranks of c are on one GPU. Collective. */
static sc_status all_apart(const peers *p, const sc_comm *c, bool *apart)
{
    const size_t size = (size_t)c->size;
    int64_t *counts = sc_alloc(size, sizeof *counts);
    char(*gpus)[16] = sc_alloc(size, sizeof *gpus);
    sc_status status = counts != NULL && gpus != NULL ? SC_OK : SC_ENOMEM;
    *apart = true;
    for (size_t r = 0; status == SC_OK && r < size; r++)
        counts[r] = 2;
    if (status == SC_OK)
        status = c->all_gather(c, p->gpu, gpus, counts, SC_I64);
    for (size_t i = 0; status == SC_OK && i < size; i++)
        for (size_t k = 0; k < i; k++)
            *apart = *apart && memcmp(gpus[i], gpus[k], sizeof *gpus) != 0;
    free(counts);
    free(gpus);
    return status;
}
/* Collective. *started false: it failed on a rank, with words of this rank's or none; the host then
 * serves all of them. */
static sc_status start(const peers *p, const sc_comm *c, group *g, bool *started)
{
    start_config config = {sizeof config, (unsigned)NCCL_MAGIC, 21400, 0};
    unique_id id = {{0}};
    const char *why = NULL;
    int32_t failed = 0;
    if (c->rank == 0)
        failed = p->api.unique(&id);
    SC_TRY(c->all_reduce(c, &failed, 1, SC_I32, SC_MAX));
    if (failed != 0) {
        why = p->api.error_text(failed);
    } else {
        SC_TRY(c->broadcast(c, &id, sizeof id, 0));
        const int status = p->api.start(&g->nccl, c->size, id, c->rank, &config);
        why = g->nccl != NULL || status != NCCL_IN_PROGRESS
                  ? await(p, g->nccl, status, START_SECONDS)
                  : "no communicator";
    }
    failed = why != NULL;
    if (failed)
        (void)failure(p, g->nccl, "starting", why);
    SC_TRY(c->all_reduce(c, &failed, 1, SC_I32, SC_MAX));
    *started = failed == 0;
    if (why == NULL && failed)
        (void)sc_fail(SC_ECOMM, "NCCL does not start on another rank");
    if (failed)
        give_up(p, g);
    return SC_OK;
}
static void warn_once(peers *p, const sc_comm *c, const char *why)
{
    if (!p->warned && c->rank == 0)
        sc_warn(p->log, "GPUs do not talk to each other, their sums go through the host: %s", why);
    p->warned = true;
}
sc_status peers_join(peers *p, const sc_comm *c)
{
    int32_t lacking = 0;
    bool apart = false, started = false;
    group *g = find(p, c);
    if (c->size == 1)
        return SC_OK;
    if (g != NULL) {
        g->users++;
        return SC_OK;
    }
    if (p->failed)
        return sc_fail(SC_ECOMM, "cuda: NCCL failed before");
    SC_TRY(all_apart(p, c, &apart));
    if (apart && !p->looked) {
        p->looked = true;
        p->found = load(&p->api) == SC_OK;
    }
    lacking = apart && !p->found;
    SC_TRY(c->all_reduce(c, &lacking, 1, SC_I32, SC_MAX));
    g = sc_alloc(1, sizeof *g);
    if (g == NULL)
        return SC_ENOMEM;
    *g = (group){.next = p->groups, .comm = c, .users = 1};
    p->groups = g;
    if (!apart)
        warn_once(p, c, "ranks share a GPU; start as many ranks as GPUs");
    else if (lacking)
        warn_once(p, c, p->found ? "another rank has no NCCL" : sc_message());
    else
        SC_TRY(start(p, c, g, &started));
    if (apart && !lacking && !started)
        warn_once(p, c, sc_message());
    return SC_OK;
}
static void end(peers *p, group *g)
{
    int status;
    if (g->nccl == NULL)
        return;
    status = p->api.finalize(g->nccl);
    if (settle(p, g->nccl, status, "ending", START_SECONDS) == SC_OK)
        (void)p->api.destroy(g->nccl);
}
void peers_leave(peers *p, const sc_comm *c)
{
    for (group **at = &p->groups; *at != NULL; at = &(*at)->next) {
        group *g = *at;
        if (g->comm != c || --g->users > 0)
            continue;
        end(p, g);
        *at = g->next;
        free_group(g);
        return;
    }
}
void peers_free(peers *p)
{
    if (p == NULL)
        return;
    while (p->groups != NULL) {
        group *g = p->groups;
        end(p, g);
        p->groups = g->next;
        free_group(g);
    }
    free(p);
}

/* The communicator that serves c on the device. */
static sc_status serving(const peers *p, const sc_comm *c, void **nccl, bool *done)
{
    const group *g = find(p, c);
    if (p->failed)
        return sc_fail(SC_ECOMM, "cuda: NCCL failed before");
    *nccl = g != NULL ? g->nccl : NULL;
    *done = *nccl != NULL;
    return SC_OK;
}
sc_status peers_sum(peers *p, const sc_comm *c, void *buf, size_t count, sc_dtype type, bool *done)
{
    void *nccl = NULL;
    SC_TRY(serving(p, c, &nccl, done));
    if (nccl == NULL)
        return SC_OK;
    const int status = p->api.all_reduce(buf, buf, count, type == SC_F64 ? NCCL_F64 : NCCL_F32,
                                         NCCL_SUM, nccl, p->stream);
    return settle(p, nccl, status, "a sum", DEADLINE_SECONDS);
}
sc_status peers_broadcast(peers *p, const sc_comm *c, void *buf, size_t bytes, bool *done)
{
    void *nccl = NULL;
    SC_TRY(serving(p, c, &nccl, done));
    if (nccl == NULL)
        return SC_OK;
    const int status = p->api.broadcast(buf, buf, bytes, NCCL_BYTE, 0, nccl, p->stream);
    return settle(p, nccl, status, "a broadcast", DEADLINE_SECONDS);
}
/* Pieces of different sizes: a broadcast from every rank, launched as one. */
sc_status peers_gather(peers *p, const sc_comm *c, const void *send, void *recv,
                       const size_t *sizes, bool *done)
{
    void *nccl = NULL;
    size_t at = 0;
    SC_TRY(serving(p, c, &nccl, done));
    if (nccl == NULL)
        return SC_OK;
    int status = p->api.group_start();
    for (int r = 0; r < c->size && (status == 0 || status == NCCL_IN_PROGRESS); r++) {
        char *to = (char *)recv + at;
        if (sizes[r] > 0)
            status = p->api.broadcast(r == c->rank ? send : to, to, sizes[r], NCCL_BYTE, r, nccl,
                                      p->stream);
        at += sizes[r];
    }
    const int ended = p->api.group_end();
    if (status == 0 || status == NCCL_IN_PROGRESS)
        status = ended;
    return settle(p, nccl, status, "a gathering", DEADLINE_SECONDS);
}

bool peers_serve(const peers *p, const sc_comm *c)
{
    const group *g = find(p, c);
    return g != NULL && g->nccl != NULL;
}
static int is_ready(void *stream, void *event, bool *ready)
{
    return event != NULL ? sc_cuda_event_ready(event, ready) : sc_cuda_stream_ready(stream, ready);
}
sc_status peers_wait(peers *p, void *stream, void *event)
{
    const double until = sc_now() + (p->failed ? END_SECONDS : DEADLINE_SECONDS);
    bool any = p->failed;
    for (const group *g = p->groups; g != NULL; g = g->next)
        any = any || g->nccl != NULL;
    while (any) {
        bool ready = false;
        const int failed = is_ready(stream, event, &ready);
        if (failed != 0)
            return sc_fail(SC_EINTERNAL, "cuda: the work that was queued: %s",
                           sc_cuda_error_text(failed));
        for (const group *g = p->groups; g != NULL; g = g->next) {
            int error = 0;
            if (g->nccl != NULL && p->api.async_error(g->nccl, &error) == 0 && error != 0 &&
                error != NCCL_IN_PROGRESS)
                return fail_all(p, g->nccl, "a peer failed", p->api.error_text(error));
        }
        if (ready)
            return SC_OK;
        if (sc_now() > until)
            return p->failed ? sc_fail(SC_ECOMM, "cuda: NCCL: what was queued does not end")
                             : fail_all(p, NULL, "waiting", "nothing moved for ten minutes");
        nap();
    }
    const int failed = event != NULL ? sc_cuda_event_wait(event) : sc_cuda_stream_wait(stream);
    return failed == 0 ? SC_OK
                       : sc_fail(SC_EINTERNAL, "cuda: the work that was queued: %s",
                                 sc_cuda_error_text(failed));
}
