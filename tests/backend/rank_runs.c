#include "rank_runs.h"

#include "../nn/fake_comm.h"
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RANKS 3

typedef struct rank_run {
    const op_case *c;
    case_run how;
    case_result result;
    sc_status status;
    char message[256];
} rank_run;

static void one_rank(const sc_comm *comm, void *ctx)
{
    rank_run *r = ctx;
    r->how.comm = comm;
    r->status = run_case(r->c, &r->how, &r->result);
    snprintf(r->message, sizeof r->message, "%s", sc_message());
}

static void check(const op_case *c, const char *what, const double *got, const double *want,
                  int64_t count)
{
    double e = worst_error(got, want, count, 2e-5);
    if (!(e <= 1))
        fail_msg("%s: %s is off by %.3g tolerances", c->name, what, e);
}
/* The ranks' pieces one behind the other, or whole on each of them. */
static void check_pieces(const op_case *c, const char *what, bool whole, double *const piece[RANKS],
                         const int64_t count[RANKS], const double *want, int64_t want_count)
{
    int64_t at = 0;
    for (int k = 0; k < RANKS; k++) {
        if (!piece[k]) {
            assert_null(want);
            continue;
        }
        check(c, what, piece[k], want + at, count[k]);
        at += whole ? 0 : count[k];
    }
    if (!whole && want)
        assert_int_equal(at, want_count);
}
static void check_params(const op_case *c, rank_run *r, const case_result *one)
{
    for (int i = 0; i < c->n_param; i++) {
        int64_t count = one->param_count[i];
        if (one->param_grad[i]) {
            double *sum = calloc((size_t)count, sizeof *sum);
            assert_non_null(sum);
            for (int k = 0; k < RANKS; k++)
                for (int64_t j = 0; j < count; j++)
                    sum[j] += r[k].result.param_grad[i][j];
            check(c, "sum of parameter gradients", sum, one->param_grad[i], count);
            free(sum);
        }
        for (int k = 0; one->param[i] && k < RANKS; k++) {
            check(c, "parameter", r[k].result.param[i], one->param[i], count);
            assert_memory_equal(r[k].result.param[i], r[0].result.param[i],
                                (size_t)count * sizeof(double));
        }
    }
}
static void compare_ranks(const op_case *c, rank_run r[RANKS], const case_result *one)
{
    for (int i = 0; i < c->n_out; i++) {
        double *const piece[RANKS] = {r[0].result.out[i], r[1].result.out[i], r[2].result.out[i]};
        const int64_t count[RANKS] = {r[0].result.out_count[i], r[1].result.out_count[i],
                                      r[2].result.out_count[i]};
        check_pieces(c, "output", c->op == SC_OP_ALL_GATHER, piece, count, one->out[i],
                     one->out_count[i]);
    }
    for (int i = 0; i < c->n_in; i++) {
        double *const piece[RANKS] = {r[0].result.in_grad[i], r[1].result.in_grad[i],
                                      r[2].result.in_grad[i]};
        const int64_t count[RANKS] = {r[0].result.in_count[i], r[1].result.in_count[i],
                                      r[2].result.in_count[i]};
        check_pieces(c, "input gradient", false, piece, count, one->in_grad[i], one->in_count[i]);
    }
    check_params(c, r, one);
}

static bool splits(sc_op op)
{
    return op == SC_OP_AUGMENT || op == SC_OP_CONV2D || op == SC_OP_BATCH_NORM ||
           op == SC_OP_MAX_POOL || op == SC_OP_AVG_POOL || op == SC_OP_LINEAR || op == SC_OP_ADD ||
           op == SC_OP_ACTIVATE || op == SC_OP_MULTIPLY || op == SC_OP_DEPTHWISE_CONV2D ||
           op == SC_OP_CHANNEL_NORM || op == SC_OP_LAYER_SCALE || op == SC_OP_SCALE_CHANNELS ||
           op == SC_OP_L2_NORMALIZE || op == SC_OP_ALL_GATHER;
}

void rank_runs_compare(const sc_backend *b, int at_least)
{
    size_t count;
    int tried = 0;
    const op_case *c = op_cases(&count);
    for (size_t i = 0; i < count; i++) {
        if (!splits(c[i].op))
            continue;
        int64_t n = c[i].in[0].shape.d[0];
        const int64_t rows[RANKS] = {n - n / 2, 0, n / 2};
        case_run how = {.precision = SC_FP32,
                        .threads = 1,
                        .rows = rows,
                        .training = true,
                        .backward = true,
                        .backend = b};
        rank_run r[RANKS];
        for (int k = 0; k < RANKS; k++)
            r[k] = (rank_run){.c = &c[i], .how = how};
        fake_comm_run(RANKS, one_rank, r, sizeof r[0]);
        for (int k = 0; k < RANKS; k++)
            if (r[k].status != SC_OK)
                fail_msg("%s, rank %d: %s", c[i].name, k, r[k].message);
        case_result one;
        how.rows = NULL;
        how.backend = sc_backend_ref();
        how.precision = SC_FP64;
        assert_int_equal(run_case(&c[i], &how, &one), SC_OK);
        compare_ranks(&c[i], r, &one);
        case_result_free(&one);
        for (int k = 0; k < RANKS; k++)
            case_result_free(&r[k].result);
        tried++;
    }
    assert_true(tried >= at_least);
}
