/* Whole steps over ranks under mpirun, on what stands in for CUDA and NCCL: recorded, queued and op
 * by op give the same bytes, and every rank the same parameters. argv[1]: "apart" (a GPU each),
 * "shared" (all on one), "fails" (a collective inside a replayed step fails on rank 0), "lost"
 * (recording fails on rank 0).
 */
#include "step_job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim/shim.h"

const sc_backend *sc_backend_cuda(void);

static int warnings, told;
static void listen(void *ctx, sc_log_level level, const char *line)
{
    (void)ctx;
    warnings += level == SC_LOG_WARN;
    told += strstr(line, "steps are not recorded") != NULL;
}
#define CHECK(x)                                                    \
    do {                                                            \
        if (!(x)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
            exit(1);                                                \
        }                                                           \
    } while (0)

static void run(const step_how *how, step_outcome *out)
{
    if (step_job(how, out) != SC_OK) {
        fprintf(stderr, "%s\n", out->message);
        exit(1);
    }
    sc_tensor_set_free(&out->values);
    CHECK(shim_allocations() == 0);
}
static bool equal(const step_outcome *a, const step_outcome *b)
{
    return a->checksum == b->checksum && memcmp(a->losses, b->losses, sizeof a->losses) == 0 &&
           memcmp(a->features, b->features, sizeof a->features) == 0 &&
           memcmp(a->evaluated, b->evaluated, sizeof a->evaluated) == 0;
}
static void same_everywhere(const sc_comm *c, const step_outcome *o)
{
    int64_t sums[2] = {o->checksum, -(int64_t)o->checksum};
    CHECK(c->all_reduce(c, sums, 2, SC_I64, SC_MAX) == SC_OK);
    CHECK(sums[0] == -sums[1]);
}
/* Recorded, queued anew and recorded again in the other precision. On a shared GPU nothing is
 * recorded. */
static void one_result(step_how *how, bool shared)
{
    step_outcome apart, other;
    for (int k = 0; k < (shared ? 1 : 2); k++) {
        how->precision = k ? SC_BF16_MIXED : SC_FP32;
        how->apart = true;
        run(how, &apart);
        same_everywhere(how->comm, &apart);
        how->apart = false;
        for (int n = 0; n < (shared || k ? 1 : 2); n++) {
            how->eager = n == 1;
            shim_set_schedule((unsigned long)(1 + n + 2 * k));
            told = 0;
            run(how, &other);
            same_everywhere(how->comm, &other);
            CHECK(equal(&apart, &other));
            CHECK(told == (shared && how->comm->rank == 0));
            CHECK(shared || how->eager || (other.calls <= 14 && other.eval_calls <= 10));
        }
    }
}
static void lost_recording(step_how *how)
{
    step_outcome right, other;
    how->steps = 3;
    run(how, &right);
    if (how->comm->rank == 0)
        shim_fail_call("cudaStreamEndCapture", 1);
    told = 0;
    run(how, &other);
    CHECK(equal(&right, &other));
    CHECK(told == (how->comm->rank == 0));
}
/* Which collective: one of a step that is replayed. */
static void failing_peer(step_how *how)
{
    step_outcome out;
    how->steps = JOB_STEPS;
    if (how->comm->rank == 0)
        CHECK(setenv("STANDIN_NCCL_FAIL", "90", 1) == 0);
    const sc_status status = step_job(how, &out);
    if (how->comm->rank == 0) {
        if (status != SC_ECOMM || strstr(out.message, "remote process exited") == NULL) {
            fprintf(stderr, "status %d: %s\n", (int)status, out.message);
            exit(1);
        }
    }
    printf("failed as it should\n");
    fflush(stdout);
    _Exit(0); /* the others wait for rank 0 for ever, as peers of a dead rank do */
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "apart";
    const sc_log log = {listen, NULL};
    sc_world *w = NULL;
    CHECK(sc_world_open(&argc, &argv, &w) == SC_OK);
    const bool shared = strcmp(what, "shared") == 0;
    step_how how = {.backend = sc_backend_cuda(),
                    .precision = SC_FP32,
                    .comm = w->comm,
                    .number = shared ? 0 : w->node_rank,
                    .steps = JOB_STEPS,
                    .counted = 4,
                    .log = &log};
    if (strcmp(what, "fails") == 0)
        failing_peer(&how);
    else if (strcmp(what, "lost") == 0)
        lost_recording(&how);
    else
        one_result(&how, shared);
    printf("rank %d of %d: good\n", w->comm->rank, w->comm->size);
    sc_world_close(w);
    return 0;
}
