/* The rows of the op table, and larger ones, on a backend against `ref`. */
#include "check_ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Shapes beyond the table: several splits of a channel, several tiles of channels, long heads. */
#define TENSOR(k, b, ...)                                                                          \
    {                                                                                              \
        k, {sizeof((int[]){__VA_ARGS__}) / sizeof(int), {__VA_ARGS__}}, FILL_NORMAL, 0.3, b, false \
    }
static const op_case larger[] = {
    {.name = "batch_norm 3 tiles, 5 splits",
     .op = SC_OP_BATCH_NORM,
     .attrs = {.eps = 1e-5, .momentum = 0.1, .relu = true},
     .n_in = 2,
     .n_out = 1,
     .n_param = 5,
     .in = {TENSOR(SC_COMPUTE, 1, 3, 136, 19, 21), TENSOR(SC_COMPUTE, 1, 3, 136, 19, 21)},
     .out = {TENSOR(SC_COMPUTE, 1, 3, 136, 19, 21)},
     .param = {TENSOR(SC_EXACT, 0.3, 136),
               TENSOR(SC_EXACT, 0.5, 136),
               {SC_EXACT, {1, {136}}, FILL_NORMAL, 0, 1, true},
               {SC_EXACT, {1, {136}}, FILL_POSITIVE, 0.5, 2, true},
               {SC_INT32, {1, {1}}, FILL_INT, 1, 0, true}}},
    {.name = "batch_norm mean 1000",
     .op = SC_OP_BATCH_NORM,
     .attrs = {.eps = 1e-5, .momentum = 0.1},
     .n_in = 1,
     .n_out = 1,
     .n_param = 5,
     .in = {{SC_COMPUTE, {4, {4, 8, 23, 29}}, FILL_NORMAL, 1000, 8, false}},
     .out = {TENSOR(SC_COMPUTE, 1, 4, 8, 23, 29)},
     .param = {TENSOR(SC_EXACT, 0.3, 8),
               TENSOR(SC_EXACT, 0.5, 8),
               {SC_EXACT, {1, {8}}, FILL_NORMAL, 0, 1, true},
               {SC_EXACT, {1, {8}}, FILL_POSITIVE, 0.5, 2, true},
               {SC_INT32, {1, {1}}, FILL_INT, 1, 0, true}}},
    {.name = "attention 96 tokens, head 64",
     .op = SC_OP_ATTENTION,
     .attrs = {.heads = 1},
     .n_in = 1,
     .n_out = 1,
     .in = {TENSOR(SC_COMPUTE, 1, 1, 96, 192)},
     .out = {TENSOR(SC_COMPUTE, 1, 1, 96, 64)}},
    {.name = "attention head 128",
     .op = SC_OP_ATTENTION,
     .attrs = {.heads = 1},
     .n_in = 1,
     .n_out = 1,
     .in = {TENSOR(SC_COMPUTE, 1, 1, 40, 384)},
     .out = {TENSOR(SC_COMPUTE, 1, 1, 40, 128)}},
    {.name = "attention full, head 128",
     .op = SC_OP_ATTENTION,
     .attrs = {.heads = 1},
     .n_in = 4,
     .n_out = 1,
     .in = {TENSOR(SC_COMPUTE, 1, 3, 40, 128),
            TENSOR(SC_COMPUTE, 1, 3, 40, 128),
            TENSOR(SC_COMPUTE, 1, 3, 40, 128),
            {SC_INT32, {1, {3}}, FILL_INT, 40, 0, false}},
     .out = {TENSOR(SC_COMPUTE, 1, 3, 40, 128)}},
    {.name = "layer_norm 1032 wide",
     .op = SC_OP_LAYER_NORM,
     .attrs = {.eps = 1e-5},
     .n_in = 1,
     .n_out = 1,
     .n_param = 2,
     .in = {TENSOR(SC_EXACT, 1, 9, 3, 1032)},
     .out = {TENSOR(SC_COMPUTE, 1, 9, 3, 1032)},
     .param = {TENSOR(SC_EXACT, 0.3, 1032), TENSOR(SC_EXACT, 0.5, 1032)}},
    {.name = "superclip_loss 70 images",
     .op = SC_OP_SUPERCLIP_LOSS,
     .attrs =
         {.loss = {.superclip = true, .class_weight = 1, .contrastive_weight = 1, .tau0 = 0.07}},
     .n_in = 4,
     .n_out = 2,
     .n_param = 1,
     .in = {{SC_EXACT, {2, {70, 24}}, FILL_UNIT, 0, 1, false},
            {SC_EXACT, {2, {5, 24}}, FILL_UNIT, 0, 1, false},
            {SC_INT32, {1, {70}}, FILL_INT, 5, 0, false},
            {SC_EXACT, {1, {5}}, FILL_POSITIVE, 0.25, 4, true}},
     .out = {{SC_EXACT, {1, {3}}, FILL_NORMAL, 0, 0, false},
             {SC_EXACT, {2, {70, 5}}, FILL_NORMAL, 0, 0, true}},
     .param = {{SC_EXACT, {0, {0}}, FILL_POSITIVE, 0.25, 0.5, false}}},
    {.name = "avg_pool 3 tiles",
     .op = SC_OP_AVG_POOL,
     .n_in = 1,
     .n_out = 1,
     .in = {TENSOR(SC_COMPUTE, 1, 2, 140, 9, 7)},
     .out = {TENSOR(SC_EXACT, 1, 2, 140)}},
};
const op_case *check_larger(size_t *count)
{
    *count = sizeof larger / sizeof *larger;
    return larger;
}

double check_tolerance(sc_precision_mode p)
{
    return p == SC_FP32 ? 4e-6 : 1.2e-2;
}

/* What two results are compared in. */
typedef struct comparison {
    const op_case *c;
    const char *mode;
    double tolerance, worst;
} comparison;

static sc_status near(comparison *k, const char *what, int i, const double *got, const double *want,
                      int64_t count)
{
    if (!want && !got)
        return SC_OK;
    if (!want || !got)
        return sc_fail(SC_EINTERNAL, "%s (%s): %s %d is missing", k->c->name, k->mode, what, i);
    const double e = worst_error(got, want, count, k->tolerance);
    if (getenv("SC_TEST_ERRORS"))
        printf("%-32s %-18s %s %d: %.2e\n", k->c->name, k->mode, what, i, e * k->tolerance);
    if (!(e <= k->worst))
        k->worst = e;
    if (!(e <= 1))
        return sc_fail(SC_ENUMERIC, "%s (%s): %s %d is off by %.3g tolerances of %.1e", k->c->name,
                       k->mode, what, i, e, k->tolerance);
    return SC_OK;
}
static sc_status same(const comparison *k, const char *what, int i, const double *a,
                      const double *b, int64_t count)
{
    if ((a == NULL) != (b == NULL) || (a && memcmp(a, b, (size_t)count * sizeof *a) != 0))
        return sc_fail(SC_ENUMERIC, "%s (%s): %s %d has other bytes when it is computed again",
                       k->c->name, k->mode, what, i);
    return SC_OK;
}

static sc_status all_near(comparison *k, const case_result *got, const case_result *want)
{
    for (int i = 0; i < k->c->n_out; i++)
        SC_TRY(near(k, "output", i, got->out[i], want->out[i], want->out_count[i]));
    for (int i = 0; i < k->c->n_in; i++)
        SC_TRY(near(k, "input gradient", i, got->in_grad[i], want->in_grad[i], want->in_count[i]));
    for (int i = 0; i < k->c->n_param; i++) {
        SC_TRY(near(k, "parameter gradient", i, got->param_grad[i], want->param_grad[i],
                    want->param_count[i]));
        SC_TRY(near(k, "parameter", i, got->param[i], want->param[i], want->param_count[i]));
    }
    return SC_OK;
}
static sc_status all_same(const comparison *k, const case_result *a, const case_result *b)
{
    for (int i = 0; i < k->c->n_out; i++)
        SC_TRY(same(k, "output", i, a->out[i], b->out[i], a->out_count[i]));
    for (int i = 0; i < k->c->n_in; i++)
        SC_TRY(same(k, "input gradient", i, a->in_grad[i], b->in_grad[i], a->in_count[i]));
    for (int i = 0; i < k->c->n_param; i++) {
        SC_TRY(same(k, "parameter gradient", i, a->param_grad[i], b->param_grad[i],
                    a->param_count[i]));
        SC_TRY(same(k, "parameter", i, a->param[i], b->param[i], a->param_count[i]));
    }
    return SC_OK;
}

static sc_status run_named(const op_case *c, const char *mode, const case_run *how, case_result *r)
{
    const sc_status status = run_case(c, how, r);
    return status == SC_OK
               ? SC_OK
               : sc_fail_prefix(status, "%s (%s) on %s", c->name, mode, how->backend->name);
}

sc_status check_case(const op_case *c, const case_run *how, const char *mode,
                     void (*turn)(int which), double *worst)
{
    case_result got = {0}, again = {0}, want = {0};
    comparison k = {c, mode, check_tolerance(how->precision), 0};
    case_run judge = *how;
    judge.backend = sc_backend_ref();
    judge.device = NULL;
    judge.precision = SC_FP64;
    sc_status status = run_named(c, mode, how, &got);
    if (status != SC_OK)
        goto done;
    if (turn)
        turn(1);
    status = run_named(c, mode, how, &again);
    if (turn)
        turn(0);
    if (status != SC_OK)
        goto done;
    SC_TRY_GOTO(run_named(c, mode, &judge, &want));
    SC_TRY_GOTO(all_near(&k, &got, &want));
    status = all_same(&k, &got, &again);
done:
    if (worst && !(k.worst <= *worst))
        *worst = k.worst;
    case_result_free(&got);
    case_result_free(&again);
    case_result_free(&want);
    return status;
}

sc_status check_modes(const op_case *c, case_run how, void (*turn)(int which), double *worst)
{
    if (c->then && !how.backend->joins) /* two ops, each with rows of its own */
        return SC_OK;
    how.training = how.backward = true;
    how.accumulate = false;
    SC_TRY(check_case(c, &how, "training", turn, worst));
    how.accumulate = true;
    SC_TRY(check_case(c, &how, "accumulating", turn, worst));
    how.training = how.backward = how.accumulate = false;
    return check_case(c, &how, "evaluation", turn, worst);
}
