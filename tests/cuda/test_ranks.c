/* batch_norm and all_gather over three ranks, one of them without rows: what one rank of `ref`
 * gives, and running statistics equal on every rank to the last bit. Between the launches the
 * collectives go through host memory.
 */
#include "../nn/fake_comm.h"
#include "cuda.h"
#include "harness.h"
#include "shim/shim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS = 3 };
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
    (void)snprintf(r->message, sizeof r->message, "%s", sc_message());
}
static void check(const op_case *c, const char *what, const double *got, const double *want,
                  int64_t count)
{
    double e = worst_error(got, want, count, 2e-5);
    if (!(e <= 1))
        fail_msg("%s: %s is off by %.3g tolerances", c->name, what, e);
}
/* The ranks' arrays one behind the other, or their sum. */
static void check_all(const op_case *c, const char *what, double *const piece[RANKS],
                      const int64_t count[RANKS], bool sum, const double *want, int64_t want_count)
{
    double *all = calloc((size_t)want_count + 1, sizeof *all);
    int64_t at = 0;
    assert_non_null(all);
    for (int k = 0; k < RANKS; k++)
        for (int64_t i = 0; i < count[k]; i++)
            all[sum ? i : at++] += piece[k][i];
    assert_true(sum || at == want_count);
    check(c, what, all, want, want_count);
    free(all);
}
static void compare(const op_case *c, rank_run r[RANKS], const case_result *one)
{
    for (int i = 0; i < c->n_in; i++) {
        double *const p[] = {r[0].result.in_grad[i], r[1].result.in_grad[i],
                             r[2].result.in_grad[i]};
        const int64_t n[] = {r[0].result.in_count[i], r[1].result.in_count[i],
                             r[2].result.in_count[i]};
        if (one->in_grad[i])
            check_all(c, "input gradient", p, n, false, one->in_grad[i], one->in_count[i]);
    }
    double *const y[] = {r[0].result.out[0], r[1].result.out[0], r[2].result.out[0]};
    const int64_t n[] = {r[0].result.out_count[0], r[1].result.out_count[0],
                         r[2].result.out_count[0]};
    if (c->op == SC_OP_ALL_GATHER)
        for (int k = 0; k < RANKS; k++)
            check(c, "output", y[k], one->out[0], one->out_count[0]);
    else
        check_all(c, "output", y, n, false, one->out[0], one->out_count[0]);
    for (int i = 0; i < c->n_param; i++) {
        const int64_t count = one->param_count[i], counts[] = {count, count, count};
        double *const g[] = {r[0].result.param_grad[i], r[1].result.param_grad[i],
                             r[2].result.param_grad[i]};
        if (one->param_grad[i])
            check_all(c, "parameter gradient", g, counts, true, one->param_grad[i], count);
        for (int k = 0; one->param[i] && k < RANKS; k++) {
            check(c, "parameter", r[k].result.param[i], one->param[i], count);
            assert_memory_equal(r[k].result.param[i], r[0].result.param[i],
                                (size_t)count * sizeof(double));
        }
    }
}
static void test_ranks(void **state)
{
    (void)state;
    size_t count;
    const op_case *c = op_cases(&count);
    int tried = 0;
    for (size_t i = 0; i < count; i++) {
        const int64_t all = c[i].in[0].shape.d[0];
        if ((c[i].op != SC_OP_BATCH_NORM && c[i].op != SC_OP_ALL_GATHER) || all < 2)
            continue;
        const int64_t rows[RANKS] = {all - all / 2, 0, all / 2};
        case_run how = {.backend = sc_backend_cuda(),
                        .precision = SC_FP32,
                        .threads = 1,
                        .rows = rows,
                        .training = true,
                        .backward = true};
        rank_run r[RANKS] = {
            {.c = &c[i], .how = how}, {.c = &c[i], .how = how}, {.c = &c[i], .how = how}};
        case_result one;
        fake_comm_run(RANKS, one_rank, r, sizeof *r);
        for (int k = 0; k < RANKS; k++)
            if (r[k].status != SC_OK)
                fail_msg("%s, rank %d: %s", c[i].name, k, r[k].message);
        how.rows = NULL;
        how.backend = sc_backend_ref();
        how.precision = SC_FP64;
        assert_int_equal(run_case(&c[i], &how, &one), SC_OK);
        compare(&c[i], r, &one);
        case_result_free(&one);
        for (int k = 0; k < RANKS; k++)
            case_result_free(&r[k].result);
        tried++;
    }
    assert_true(tried >= 10);
    assert_int_equal(shim_allocations(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ranks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
