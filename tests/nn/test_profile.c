/* A profile changes no result, accounts for every moment once, and counts what ops do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_comm.h"
#include "profile.h"
#include "tiny_model.h"

#define OK(expr)                                                              \
    do {                                                                      \
        sc_status ok_ = (expr);                                               \
        if (ok_ != SC_OK)                                                     \
            fail_msg("%s: %s: %s", #expr, sc_status_name(ok_), sc_message()); \
    } while (0)

enum { STEPS = 3, ROWS = 4 };

static void step(tiny *t, const sc_comm *c, sc_profile *p, int batch)
{
    const sc_adamw adamw = {1e-3, 0.9, 0.999, 1e-8, 0.01, 0};
    const int64_t rows = ROWS;
    OK(tiny_write(t, c, &rows, batch));
    sc_profile_lap(p, SC_TIME_INPUT);
    OK(sc_program_forward(t->program));
    sc_profile_lap(p, SC_TIME_FORWARD);
    OK(sc_program_backward(t->program));
    sc_profile_lap(p, SC_TIME_BACKWARD);
    OK(sc_program_reduce(t->program));
    sc_profile_lap(p, SC_TIME_REDUCE);
    OK(sc_params_update(t->params, &adamw));
    sc_profile_lap(p, SC_TIME_ADAMW);
    sc_profile_step(p);
}

/* The same model, its program compiled again behind a profile. */
static sc_profile *open_profiled(tiny *t)
{
    const tiny_options o = tiny_defaults();
    const int64_t rows = ROWS;
    sc_profile *p;
    OK(tiny_open(&o, fake_comm_alone(), &rows, false, t));
    sc_program_free(t->program);
    t->program = NULL;
    OK(sc_profile_open(t->device, fake_comm_alone(), &p));
    const sc_program_desc desc = {t->graph, ROWS, &rows, true, false};
    OK(sc_programs_compile(t->device, t->params, sc_profile_comm(p), &desc, 1, &t->program));
    return p;
}

static const sc_profile_row *kind(const sc_profile_report *r, sc_op op)
{
    for (int i = 0; i < r->n_kinds; i++)
        if (r->kinds[i].op == op)
            return &r->kinds[i];
    fail_msg("no row of %s", sc_op_name(op));
    return NULL;
}

static void check_report(const sc_profile_report *r)
{
    double parts = 0, ops = 0, flops[2] = {0}, calls[2] = {0};
    for (int i = 0; i < SC_PROFILE_PARTS; i++)
        parts += r->part[i];
    assert_true(r->part[SC_TIME_FORWARD] > 0 && r->part[SC_TIME_BACKWARD] > 0);
    assert_true(parts <= r->seconds);
    for (int i = 0; i < r->n_kinds; i++) {
        ops += r->kinds[i].forward + r->kinds[i].backward;
        flops[0] += r->kinds[i].flops;
        calls[0] += (double)r->kinds[i].calls;
        assert_int_equal(r->kinds[i].calls % STEPS, 0);
        assert_int_equal(r->kinds[i].evaluation_calls, 0);
        assert_true(r->kinds[i].bytes > 0);
    }
    for (int i = 0; i < r->n_nodes; i++) {
        flops[1] += r->nodes[i].flops;
        calls[1] += (double)r->nodes[i].calls;
    }
    assert_true(ops <= r->part[SC_TIME_FORWARD] + r->part[SC_TIME_BACKWARD]);
    assert_true(flops[0] > 0 && flops[0] == flops[1] && calls[0] == calls[1]);
    assert_true(kind(r, SC_OP_CONV2D)->flops > 0 && kind(r, SC_OP_ATTENTION)->flops > 0);
    assert_true(kind(r, SC_OP_BATCH_NORM)->flops == 0);
    assert_true(r->adamw > 0 && r->adamw <= r->part[SC_TIME_ADAMW]);
    assert_int_equal(r->steps, STEPS);
}

static void test_same_results(void **state)
{
    (void)state;
    const tiny_options o = tiny_defaults();
    const int64_t rows = ROWS;
    tiny plain, timed;
    sc_profile_report r;
    sc_text text;
    OK(tiny_open(&o, fake_comm_alone(), &rows, false, &plain));
    sc_profile *p = open_profiled(&timed);
    const sc_backend *face = timed.device->backend;
    step(&plain, fake_comm_alone(), NULL, 0);
    step(&timed, fake_comm_alone(), p, 0); /* the clock stands: counts nothing */
    sc_profile_start(p);
    for (int i = 1; i <= STEPS; i++) {
        step(&plain, fake_comm_alone(), NULL, i);
        step(&timed, fake_comm_alone(), p, i);
    }
    sc_profile_stop(p);
    assert_int_equal(sc_params_checksum(plain.params), sc_params_checksum(timed.params));
    sc_program_free(timed.program); /* a report may come after the programs are gone */
    timed.program = NULL;
    OK(sc_profile_report_make(p, &r));
    check_report(&r);
    sc_text_init(&text);
    sc_profile_report_text(&r, 5, &text);
    OK(sc_text_status(&text));
    assert_non_null(strstr(text.data, "conv2d"));
    assert_non_null(strstr(text.data, "backward"));
    sc_text_free(&text);
    sc_profile_report_free(&r);
    sc_profile_close(p);
    assert_ptr_not_equal(timed.device->backend, face);
    tiny_close(&plain);
    tiny_close(&timed);
}

/* Started again it begins at zero, and a program that only ran forwards has no step. */
static void test_starts_again(void **state)
{
    (void)state;
    tiny t;
    sc_profile_report r;
    sc_profile *p = open_profiled(&t);
    sc_profile_start(p);
    step(&t, fake_comm_alone(), p, 0);
    assert_int_equal(sc_profile_steps(p), 1);
    sc_profile_start(p);
    assert_int_equal(sc_profile_steps(p), 0);
    OK(sc_profile_report_make(p, &r));
    assert_int_equal(r.n_kinds, 0);
    assert_true(r.adamw == 0 && r.part[SC_TIME_FORWARD] == 0);
    sc_profile_report_free(&r);
    sc_program_free(t.program);
    t.program = NULL;
    sc_profile_close(p);
    tiny_close(&t);
}

/* [2,3,8,8] by [4,3,3,3] gives [2,4,8,8]: 512 results of 27 multiply-adds. */
static void test_counts(void **state)
{
    (void)state;
    float gradient;
    sc_op_node n = {.op = SC_OP_CONV2D, .n_in = 1, .n_out = 1, .n_params = 1};
    n.in[0].desc.shape = SC_SHAPE(2, 3, 8, 8);
    n.out[0].desc.shape = SC_SHAPE(2, 4, 8, 8);
    n.params[0].desc.shape = SC_SHAPE(4, 3, 3, 3);
    assert_true(nn_node_flops(&n, 0) == 2.0 * 512 * 27);
    assert_true(nn_node_flops(&n, 1) == 0);
    n.params[0].grad = &gradient; /* the first layer: no gradient of the image */
    assert_true(nn_node_flops(&n, 1) == 2.0 * 512 * 27);
    n.in[0].grad = &gradient;
    assert_true(nn_node_flops(&n, 1) == 4.0 * 512 * 27);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_results),
        cmocka_unit_test(test_starts_again),
        cmocka_unit_test(test_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
