/* Parameters: initial values, strict import, running statistics and counters, several programs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../golden/golden.h"
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

/* ---- initial values ----------------------------------------------------------------------------
 */

/* log, cos and sin may differ in the last bit of a double between libraries: one float ulp. */
static void test_init_golden(void **state)
{
    (void)state;
    golden_file *f = golden_open(SC_TEST_DIR "/golden/init.golden");
    assert_non_null(f);
    for (size_t i = 0; i < f->count; i++) {
        const golden_case *c = &f->cases[i];
        const golden_tensor *t = golden_find(c, "values");
        sc_init init = {strcmp(c->op, "normal") == 0 ? SC_INIT_NORMAL : SC_INIT_UNIFORM,
                        golden_attr(c, "a", 0)};
        float out[64];
        sc_init_fill(c->name, init, (uint64_t)golden_attr(c, "seed", 0), t->shape.d[0], out);
        for (int64_t k = 0; k < t->shape.d[0]; k++) {
            double wanted = golden_get(t, k);
            assert_true(fabs((double)out[k] - wanted) <= fabs(wanted) * 0x1p-23);
        }
    }
    golden_free(f);
}

static void test_init_statistics(void **state)
{
    (void)state;
    enum { N = 200000 };
    float *v = malloc(N * sizeof *v), prefix[5];
    assert_non_null(v);
    double mean = 0, square = 0, top = 0;
    sc_init_fill("a", SC_NORMAL(2), 3, N, v);
    for (int i = 0; i < N; i++) {
        mean += (double)v[i] / N;
        square += (double)v[i] * (double)v[i] / N;
    }
    assert_true(fabs(mean) < 0.02 && fabs(square - 4) < 0.05); /* 4 standard errors */
    sc_init_fill("a", SC_NORMAL(2), 3, 5, prefix);
    assert_memory_equal(prefix, v, sizeof prefix);
    sc_init_fill("b", SC_NORMAL(2), 3, 5, prefix);
    assert_memory_not_equal(prefix, v, sizeof prefix);
    sc_init_fill("a", SC_NORMAL(2), 4, 5, prefix);
    assert_memory_not_equal(prefix, v, sizeof prefix);
    sc_init_fill("a", SC_UNIFORM(0.5), 3, N, v);
    for (int i = 0; i < N; i++)
        top = fmax(top, fabs((double)v[i]));
    assert_true(top <= 0.5 && top > 0.4999);
    free(v);
}

/* ---- order and facts ---------------------------------------------------------------------------
 */

static void test_info(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool trainable, replicated;
    } wanted[] = {{"temperature", true, true},
                  {"image.0.weight", true, false},
                  {"image.1.weight", true, false},
                  {"image.1.bias", true, false},
                  {"image.1.running_mean", false, false},
                  {"image.1.running_var", false, false},
                  {"image.1.num_batches_tracked", false, false},
                  {"image.2.weight", true, false}};
    tiny t;
    sc_tensor_set set;
    open_tiny(&t, 4);
    OK(sc_params_export(t.params, &set));
    assert_int_equal(set.count, sc_params_count(t.params));
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        sc_param_info info = sc_params_info(t.params, i);
        assert_string_equal(info.name, wanted[i].name);
        assert_string_equal(set.items[i].name, wanted[i].name);
        assert_int_equal(info.trainable, wanted[i].trainable);
        assert_int_equal(info.replicated, wanted[i].replicated);
    }
    assert_int_equal(set.items[6].dtype, SC_I64);
    assert_int_equal(set.items[6].shape.n, 0);
    assert_int_equal(set.items[1].dtype, SC_F64);
    sc_tensor_set_free(&set);
    tiny_close(&t);
}

/* ---- strict import -----------------------------------------------------------------------------
 */

static void rename_item(sc_tensor_set *set, size_t i, const char *name)
{
    free(set->items[i].name);
    set->items[i].name = sc_strdup(name);
    assert_non_null(set->items[i].name);
}

/* `set` must be refused with the words in the message, and nothing may have changed. */
static void refused(tiny *t, sc_tensor_set *set, const char *words)
{
    uint32_t before = sc_params_checksum(t->params);
    sc_tensor_set_element(&set->items[0], 0, 0.123); /* would show if it got in */
    assert_int_equal(sc_params_import(t->params, set), SC_EFORMAT);
    expect_message(words);
    assert_int_equal(sc_params_checksum(t->params), before);
    sc_tensor_set_free(set);
    OK(sc_params_export(t->params, set));
}

static void test_import_is_strict(void **state)
{
    (void)state;
    tiny t;
    sc_tensor_set set;
    open_tiny(&t, 4);
    OK(sc_params_export(t.params, &set));
    rename_item(&set, 1, "image.0.weights");
    refused(&t, &set, "'image.0.weight' is missing|'image.0.weights' is unknown|nearest");
    set.items[1].shape = SC_SHAPE(3, 4, 3, 3);
    refused(&t, &set, "'image.0.weight' is [3, 4, 3, 3], not [4, 3, 3, 3]");
    for (size_t i = 7; i < 12; i++)
        rename_item(&set, i, (const char *[]){"q1", "q2", "q3", "q4", "q5"}[i - 7]);
    refused(&t, &set, "'image.2.weight' is missing|and 7 more");
    set.items[6].dtype = SC_F64; /* the counter */
    refused(&t, &set, "num_batches_tracked' holds float64");
    sc_tensor_set_free(&set);
    tiny_close(&t);
}

/* Half-precision files are read too; float32 and back is exact in double. */
static void test_import_other_types(void **state)
{
    (void)state;
    tiny t;
    sc_tensor_set set, again, narrow = {0};
    open_tiny(&t, 4);
    OK(sc_params_export(t.params, &set));
    for (size_t i = 0; i < set.count; i++) {
        sc_tensor from = set.items[i], to;
        OK(sc_tensor_new(from.name, from.dtype == SC_F64 ? SC_F32 : SC_I64, from.shape, &to));
        for (int64_t k = 0; k < sc_shape_count(&from.shape); k++)
            sc_tensor_set_element(&to, k, sc_tensor_get(&from, k));
        OK(sc_tensor_set_add(&narrow, &to));
    }
    uint32_t before = sc_params_checksum(t.params);
    OK(sc_params_init(t.params, 1000));
    assert_int_not_equal(sc_params_checksum(t.params), before);
    OK(sc_params_import(t.params, &narrow));
    assert_int_equal(sc_params_checksum(t.params), before); /* initial values are floats */
    OK(sc_params_export(t.params, &again));
    for (size_t i = 0; i < set.count; i++)
        assert_memory_equal(set.items[i].data, again.items[i].data, sc_tensor_bytes(&set.items[i]));
    sc_tensor_set_free(&set);
    sc_tensor_set_free(&again);
    sc_tensor_set_free(&narrow);
    tiny_close(&t);
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
    x = sc_conv2d(g, x, sc_weight(g, "w", SC_SHAPE(2, 2, 3, 3), SC_NORMAL(1), true), 1, 0);
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
        cmocka_unit_test(test_init_golden),
        cmocka_unit_test(test_init_statistics),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_import_is_strict),
        cmocka_unit_test(test_import_other_types),
        cmocka_unit_test(test_counters),
        cmocka_unit_test(test_frozen_statistics),
        cmocka_unit_test(test_local_batch_norm),
        cmocka_unit_test(test_can_train),
        cmocka_unit_test(test_shared_arena),
        cmocka_unit_test(test_program_errors),
        cmocka_unit_test(test_bad_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
