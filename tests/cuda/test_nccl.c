/* The collectives of the CUDA backend under mpirun, over what stands in for NCCL: sums, broadcasts
 * and gatherings of uneven pieces, groups beside and behind each other, ranks that share a GPU,
 * errors. argv[1]: "apart" (a GPU each), "shared" (all on one), "unstarted" (a GPU each, and NCCL
 * that does not start on a rank), "fails" (a collective fails on rank 0).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda.h"

static int warnings;
static char warned[300];
static void count_warning(void *ctx, sc_log_level level, const char *line)
{
    (void)ctx;
    warnings += level == SC_LOG_WARN;
    if (level == SC_LOG_WARN)
        snprintf(warned, sizeof warned, "%s", line);
}
#define CHECK(x)                                                                      \
    do {                                                                              \
        if (!(x)) {                                                                   \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #x, sc_message()); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

enum { COUNT = 1003 };
static float value(int rank, int i)
{
    return (float)(rank + 1) * (float)(i % 17 - 8);
}
static void sums(cuda_device *d, const sc_comm *c, const float *own, float *device)
{
    const sc_backend *b = d->head.backend;
    const sc_value_desc flat = {SC_EXACT, {1, {COUNT}}};
    float got[COUNT];
    const int ranks = c->size * (c->size + 1) / 2;
    CHECK(b->upload(&d->head, &flat, own, device) == SC_OK);
    CHECK(b->sum(&d->head, c, device, COUNT) == SC_OK);
    CHECK(b->download(&d->head, &flat, device, got) == SC_OK);
    for (int i = 0; i < COUNT; i++)
        CHECK(got[i] == (float)ranks * (float)(i % 17 - 8)); /* integers: exact */
    CHECK(b->upload(&d->head, &flat, own, device) == SC_OK);
    CHECK(b->share(&d->head, c, device, COUNT) == SC_OK);
    CHECK(b->download(&d->head, &flat, device, got) == SC_OK);
    for (int i = 0; i < COUNT; i++)
        CHECK(got[i] == value(0, i));
}
/* Rank r gives 3 r elements: rank 0 none. */
static void gather(cuda_device *d, const sc_comm *c, const float *own, float *device)
{
    int64_t counts[64], all = 0;
    const sc_backend *b = d->head.backend;
    float *to = NULL, *got = calloc(64 * 64 * 3, sizeof *got);
    void *memory = NULL;
    for (int r = 0; r < c->size; r++)
        all += counts[r] = 3 * r;
    const sc_value_desc piece = {SC_EXACT, {1, {counts[c->rank]}}}, whole = {SC_EXACT, {1, {all}}};
    CHECK(got && b->alloc(&d->head, (size_t)all * sizeof(float) + 16, &memory) == SC_OK);
    to = memory;
    CHECK(b->upload(&d->head, &piece, own, device) == SC_OK);
    CHECK(cuda_reserve_staging(d, (size_t)all * sizeof(float)) == SC_OK);
    CHECK(cuda_all_gather(d, c, device, to, counts, SC_F32) == SC_OK);
    CHECK(b->download(&d->head, &whole, to, got) == SC_OK);
    for (int64_t r = 0, at = 0; r < c->size; r++)
        for (int i = 0; i < counts[r]; i++)
            CHECK(got[at++] == value((int)r, i));
    b->free(&d->head, to);
    free(got);
}
/* Leaving and joining again under the same address must make a new communicator. */
static void rounds(cuda_device *d, const sc_comm *c, const float *own, float *device)
{
    const sc_backend *b = d->head.backend;
    for (int round = 0; round < 2; round++) {
        CHECK(b->join(&d->head, c) == SC_OK);
        CHECK(b->join(&d->head, c) == SC_OK);
        sums(d, c, own, device);
        b->leave(&d->head, c);
        gather(d, c, own, device);
        b->leave(&d->head, c);
    }
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "apart";
    const sc_log log = {count_warning, NULL};
    const sc_device_options o = {.threads = 1, .precision = SC_FP32, .log = &log};
    sc_world *w = NULL;
    sc_device *head = NULL;
    void *memory = NULL;
    float own[COUNT];
    CHECK(sc_world_open(&argc, &argv, &w) == SC_OK);
    const bool shared = strcmp(what, "shared") == 0, fails = strcmp(what, "fails") == 0;
    const bool unstarted = strcmp(what, "unstarted") == 0;
    const sc_backend *b = sc_backend_cuda();
    CHECK(b->open_nth(&o, shared ? 0 : w->node_rank, &head) == SC_OK);
    cuda_device *d = (cuda_device *)head;
    CHECK(b->alloc(head, COUNT * sizeof(float), &memory) == SC_OK);
    float *device = memory;
    for (int i = 0; i < COUNT; i++)
        own[i] = value(w->comm->rank, i);
    if (fails) {
        const sc_value_desc flat = {SC_EXACT, {1, {COUNT}}};
        if (w->comm->rank == 0)
            CHECK(setenv("STANDIN_NCCL_FAIL", "1", 1) == 0);
        CHECK(b->join(head, w->comm) == SC_OK);
        CHECK(b->upload(head, &flat, own, device) == SC_OK);
        sc_status status = b->sum(head, w->comm, device, COUNT);
        if (status == SC_OK) /* queued: told while waiting for it */
            status = b->sync(head);
        if (w->comm->rank == 0) {
            CHECK(status == SC_ECOMM && strstr(sc_message(), "remote process exited") != NULL);
            CHECK(b->sum(head, w->comm, device, COUNT) == SC_ECOMM); /* and stays so */
        }
        printf("failed as it should\n");
        fflush(stdout);
        _Exit(0); /* the others wait for rank 0 for ever, as peers of a dead rank do */
    }
    rounds(d, w->comm, own, device);
    sc_comm *half = NULL; /* two groups at once */
    CHECK(sc_comm_split(w->comm, w->comm->rank % 2, &half) == SC_OK);
    for (int i = 0; i < COUNT; i++)
        own[i] = value(half->rank, i);
    rounds(d, half, own, device);
    half->free(half);
    CHECK(warnings == ((shared || unstarted) && w->comm->rank == 0 && w->comm->size > 1));
    const char *broken = getenv("STANDIN_NCCL_START_FAILS");
    if (unstarted && w->comm->rank == 0)
        CHECK(strstr(warned, atoi(broken) == 0
                                 ? "starting: unhandled system error: no shared memory"
                                 : "NCCL does not start on another rank"));
    b->free(head, memory);
    b->close(head);
    printf("rank %d of %d: good\n", w->comm->rank, w->comm->size);
    sc_world_close(w);
    return 0;
}
