/* Programs: running statistics and counters, local statistics, several programs over one arena,
 * mistakes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_comm.h"
#include "tiny_model.h"

#define OK(expr)                                     \
    do {                                             \
        if ((expr) != SC_OK)                         \
            fail_msg("%s: %s", #expr, sc_message()); \
    } while (0)

static void open_tiny(tiny *t, int64_t rows)
{
    tiny_options o = tiny_defaults();
    OK(tiny_open(&o, fake_comm_alone(), &rows, false, t));
    OK(tiny_write(t, fake_comm_alone(), &rows, 0));
}

static void expect_message(const char *words)
{
    char copy[256];
    (void)snprintf(copy, sizeof copy, "%s", words);
    char *rest = copy;
    for (char *word = strsep(&rest, "|"); word != NULL; word = strsep(&rest, "|"))
        if (strstr(sc_message(), word) == NULL)
            fail_msg("message '%s' lacks '%s'", sc_message(), word);
}

/* ---- BatchNorm's buffers -----------------------------------------------------------------------
 */

static double value_of(const tiny *t, const char *name)
{
    sc_tensor_set set;
    OK(sc_params_export(t->params, &set));
    double v = sc_tensor_get(sc_tensor_set_find(&set, name), 0);
    sc_tensor_set_free(&set);
    return v;
}

static void test_counters(void **state)
{
    (void)state;
    tiny t;
    double loss, mean;
    open_tiny(&t, 4);
    mean = value_of(&t, "image.1.running_mean");
    for (int k = 0; k < 3; k++)
        OK(tiny_gradients(&t, &loss));
    assert_true(value_of(&t, "image.1.num_batches_tracked") == 3);
    assert_true(value_of(&t, "image.1.running_mean") != mean);
    mean = value_of(&t, "image.1.running_mean");
    const int64_t rows = 4;
    const sc_program_desc eval = {t.graph, rows, &rows, false, false};
    sc_program_free(t.program);
    OK(sc_programs_compile(t.device, t.params, fake_comm_alone(), &eval, 1, &t.program));
    OK(tiny_write(&t, fake_comm_alone(), &rows, 0));
    OK(sc_program_forward(t.program));
    assert_true(value_of(&t, "image.1.num_batches_tracked") == 3);
    assert_true(value_of(&t, "image.1.running_mean") == mean);
    assert_int_equal(sc_program_backward(t.program), SC_EINTERNAL);
    tiny_close(&t);
}

static void test_frozen_statistics(void **state)
{
    (void)state;
    tiny_options o = tiny_defaults();
    o.running = true;
    const int64_t rows = 1;
    double loss;
    tiny t;
    OK(tiny_open(&o, fake_comm_alone(), &rows, false, &t));
    OK(tiny_write(&t, fake_comm_alone(), &rows, 0));
    assert_true(sc_program_can_train(t.program));
    OK(tiny_gradients(&t, &loss));
    assert_true(value_of(&t, "image.1.num_batches_tracked") == 0);
    assert_true(value_of(&t, "image.1.running_var") == 1);
    tiny_close(&t);
}

/* Statistics of the own rows only: ranks drift apart until rank 0's buffers are broadcast. */
typedef struct local_rank {
    sc_status status;
    double loss, mean, after;
    uint32_t checksum, after_checksum;
} local_rank;

static sc_status run_local_rank(const sc_comm *c, local_rank *r, tiny *t)
{
    static const int64_t rows[2] = {3, 4};
    tiny_options o = tiny_defaults();
    SC_TRY(tiny_open(&o, c, rows, true, t));
    SC_TRY(tiny_write(t, c, rows, 0));
    SC_TRY(tiny_gradients(t, &r->loss));
    r->mean = value_of(t, "image.1.running_mean");
    r->checksum = sc_params_checksum(t->params);
    SC_TRY(sc_params_broadcast_buffers(t->params, c));
    r->after = value_of(t, "image.1.running_mean");
    r->after_checksum = sc_params_checksum(t->params);
    return SC_OK;
}

static void local_rank_thread(const sc_comm *c, void *ctx)
{
    tiny t;
    ((local_rank *)ctx)->status = run_local_rank(c, ctx, &t);
    tiny_close(&t);
}

static void test_local_batch_norm(void **state)
{
    (void)state;
    local_rank r[2] = {{0}};
    fake_comm_run(2, local_rank_thread, r, sizeof *r);
    assert_int_equal(r[0].status, SC_OK);
    assert_int_equal(r[1].status, SC_OK);
    assert_true(r[0].loss == r[1].loss);
    assert_true(r[0].mean != r[1].mean);
    assert_int_not_equal(r[0].checksum, r[1].checksum);
    assert_true(r[1].after == r[0].mean && r[0].after == r[0].mean);
    assert_int_equal(r[0].after_checksum, r[1].after_checksum);
}

/* A convolution that shrinks the image to one pixel, then BatchNorm. */
static bool can_train(const int64_t *rows, int ranks, bool local)
{
    sc_comm many = *fake_comm_alone(); /* only its size is read here */
    many.size = ranks;
    const sc_device_options options = {.threads = 1, .precision = SC_FP64};
    sc_device *d;
    sc_params *params;
    sc_program *p;
    sc_graph *g = sc_graph_new();
    sc_value x = sc_input(g, "x", SC_COMPUTE, SC_ROWS_LOCAL, SC_SHAPE(-1, 2, 3, 3));
    x = sc_conv2d(g, x, sc_weight(g, "w", SC_SHAPE(2, 2, 3, 3), SC_NORMAL(1), true), (sc_param){-1},
                  1, 0);
    x = sc_batch_norm(g, x, sc_batch_norm_declare(g, "bn", 2, true),
                      (sc_batch_norm_options){.residual = {-1}, .eps = 1e-5, .momentum = 0.1});
    x = sc_all_gather(g, sc_l2_normalize(g, sc_avg_pool(g, x)));
    sc_minimize(g, x);
    OK(sc_graph_status(g));
    OK(sc_backend_ref()->open(&options, &d));
    OK(sc_params_create(d, g, &params));
    const sc_program_desc desc = {g, rows[0], rows, true, local};
    OK(sc_programs_compile(d, params, &many, &desc, 1, &p));
    bool can = sc_program_can_train(p);
    sc_program_free(p);
    sc_params_free(params);
    sc_graph_free(g);
    d->backend->close(d);
    return can;
}

static void test_can_train(void **state)
{
    (void)state;
    assert_false(can_train((int64_t[]){1}, 1, false));
    assert_true(can_train((int64_t[]){2}, 1, false));
    assert_true(can_train((int64_t[]){1, 1}, 2, false));
    assert_false(can_train((int64_t[]){0, 1}, 2, false));
    assert_false(can_train((int64_t[]){2, 1}, 2, true)); /* on rank 0 too: all must agree */
    assert_true(can_train((int64_t[]){2, 0}, 2, true));
}

/* ---- programs ----------------------------------------------------------------------------------
 */

static double loss_alone(int64_t rows, int batch)
{
    tiny t;
    double loss;
    open_tiny(&t, rows);
    OK(tiny_write(&t, fake_comm_alone(), &rows, batch));
    OK(tiny_gradients(&t, &loss));
    tiny_close(&t);
    return loss;
}

/* Batches of two sizes over one set of parameters and one arena. */
static void test_shared_arena(void **state)
{
    (void)state;
    tiny t;
    open_tiny(&t, 6);
    sc_program *p[2];
    const int64_t rows[2] = {6, 2};
    const sc_program_desc desc[2] = {{t.graph, 6, &rows[0], true, false},
                                     {t.graph, 2, &rows[1], true, false}};
    size_t alone = sc_program_memory_of(t.program).arena;
    sc_program_free(t.program);
    t.program = NULL;
    OK(sc_programs_compile(t.device, t.params, fake_comm_alone(), desc, 2, p));
    assert_int_equal(sc_program_memory_of(p[1]).arena, alone);
    for (int k = 0; k < 4; k++) {
        double loss;
        t.program = p[k % 2];
        OK(tiny_write(&t, fake_comm_alone(), &rows[k % 2], k));
        OK(tiny_gradients(&t, &loss));
        assert_true(loss == loss_alone(rows[k % 2], k));
    }
    sc_program_free(p[0]);
    tiny_close(&t);
}

static void test_program_errors(void **state)
{
    (void)state;
    tiny t;
    double v[64];
    sc_shape shape;
    sc_program *p;
    open_tiny(&t, 4);
    OK(sc_program_shape(t.program, "images", &shape));
    assert_int_equal(shape.d[0], 4);
    OK(sc_program_shape(t.program, "logits", &shape));
    assert_int_equal(shape.d[1], TINY_CLASSES);
    assert_int_equal(sc_program_write(t.program, "image", v), SC_EINTERNAL);
    expect_message("no input 'image'");
    assert_int_equal(sc_program_read(t.program, "images", v), SC_EINTERNAL);
    assert_int_equal(sc_program_read_grad(t.program, "logits", v), SC_EINTERNAL);
    expect_message("'logits' has no gradient");
    const int64_t rows = 4, none = 0;
    const sc_program_desc wrong = {t.graph, 3, &rows, true, false};
    assert_int_equal(sc_programs_compile(t.device, t.params, fake_comm_alone(), &wrong, 1, &p),
                     SC_EINTERNAL);
    const sc_program_desc empty = {t.graph, 0, &none, true, false};
    assert_int_equal(sc_programs_compile(t.device, t.params, fake_comm_alone(), &empty, 1, &p),
                     SC_EINTERNAL);
    expect_message("empty");
    tiny_options o = tiny_defaults();
    o.loss.superclip = false;
    sc_graph *other = tiny_graph(&o);
    const sc_program_desc differs = {other, 4, &rows, true, false};
    assert_int_equal(sc_programs_compile(t.device, t.params, fake_comm_alone(), &differs, 1, &p),
                     SC_EINTERNAL);
    expect_message("'temperature' is not trained here");
    sc_graph_free(other);
    tiny_close(&t);
}

/* A token outside the vocabulary is an error, not a read behind the table. */
static void test_bad_index(void **state)
{
    (void)state;
    tiny t;
    int32_t tokens[TINY_TEXTS * TINY_LENGTH] = {0}, labels[4] = {0, 1, TINY_CLASSES, 0};
    open_tiny(&t, 4);
    OK(sc_program_write(t.program, "labels", labels));
    assert_int_equal(sc_program_forward(t.program), SC_EINTERNAL);
    expect_message("label 3 of row 2");
    tokens[7] = TINY_VOCABULARY;
    OK(sc_program_write(t.program, "tokens", tokens));
    assert_int_equal(sc_program_forward(t.program), SC_EINTERNAL);
    expect_message("token 11 of element 7");
    tiny_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counters),         cmocka_unit_test(test_frozen_statistics),
        cmocka_unit_test(test_local_batch_norm), cmocka_unit_test(test_can_train),
        cmocka_unit_test(test_shared_arena),     cmocka_unit_test(test_program_errors),
        cmocka_unit_test(test_bad_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
