/* Parameters: initial values, order and facts, strict import. */
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

/* Threads share the work of a large tensor, never its numbers. */
static void test_init_by_threads(void **state)
{
    (void)state;
    enum { ROWS = 523, COLUMNS = 751 }; /* neither a multiple of 4 */
    const sc_shape shape = SC_SHAPE(ROWS, COLUMNS);
    const sc_device_options o = {.threads = 5, .precision = SC_FP64};
    sc_device *d;
    sc_params *params;
    sc_tensor_set set;
    float *alone = malloc(ROWS * COLUMNS * sizeof *alone);
    assert_non_null(alone);
    sc_graph *g = sc_graph_new();
    sc_value x = sc_input(g, "x", SC_COMPUTE, SC_ROWS_LOCAL, SC_SHAPE(-1, COLUMNS));
    sc_linear(g, x, sc_weight(g, "w", shape, SC_NORMAL(0.1), true), (sc_param){-1},
              (sc_linear_options){0});
    OK(sc_backend_ref()->open(&o, &d));
    OK(sc_params_create(d, g, &params));
    OK(sc_params_init(params, 11));
    OK(sc_params_export(params, &set));
    sc_init_fill("w", SC_NORMAL(0.1), 11, ROWS * COLUMNS, alone);
    for (int64_t i = 0; i < ROWS * COLUMNS; i++)
        assert_true((double)alone[i] == sc_tensor_get(&set.items[0], i));
    free(alone);
    sc_tensor_set_free(&set);
    sc_params_free(params);
    sc_graph_free(g);
    d->backend->close(d);
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

/* ---- one tensor at a time ----------------------------------------------------------------------
 */

typedef struct half_file { /* a set as 16-bit floats; the tensor `broken` cannot be read */
    sc_tensor_set set;
    int broken;
} half_file;

static sc_status read_half(void *ctx, size_t i, void *dst)
{
    const half_file *f = ctx;
    if ((int)i == f->broken)
        return sc_fail(SC_EFORMAT, "tensor %zu is damaged", i);
    memcpy(dst, f->set.items[i].data, sc_tensor_bytes(&f->set.items[i]));
    return SC_OK;
}

static half_file half_of(const sc_tensor_set *set)
{
    half_file f = {.broken = -1};
    for (size_t i = 0; i < set->count; i++) {
        const sc_tensor *from = &set->items[i];
        const sc_dtype types[] = {SC_F16, SC_BF16, SC_F32, SC_F64};
        sc_tensor to;
        OK(sc_tensor_new(from->name, from->dtype == SC_I64 ? SC_I32 : types[i % 4], from->shape,
                         &to));
        for (int64_t k = 0; k < sc_shape_count(&from->shape); k++)
            sc_tensor_set_element(&to, k, sc_tensor_get(from, k));
        OK(sc_tensor_set_add(&f.set, &to));
    }
    return f;
}

/* Narrow types are widened in place, tensor by tensor, also where memory is handed out itself. */
static void test_read(void **state)
{
    (void)state;
    tiny t;
    sc_tensor_set set;
    open_tiny(&t, 4);
    OK(sc_params_export(t.params, &set));
    half_file f = half_of(&set);
    sc_tensor_reader r = {f.set.items, f.set.count, read_half, &f};
    OK(sc_params_read(t.params, &r));
    sc_tensor_set_free(&set);
    OK(sc_params_export(t.params, &set));
    for (size_t i = 0; i < set.count; i++)
        for (int64_t k = 0; k < sc_shape_count(&set.items[i].shape); k++)
            assert_true(sc_tensor_get(&set.items[i], k) == sc_tensor_get(&f.set.items[i], k));
    f.broken = 3;
    assert_int_equal(sc_params_read(t.params, &r), SC_EFORMAT);
    expect_message("tensor 3 is damaged");
    r.count = 3; /* some of them */
    assert_int_equal(sc_params_read(t.params, &r), SC_EFORMAT);
    expect_message("'image.1.bias' is missing");
    OK(sc_params_read_some(t.params, &r));
    rename_item(&f.set, 1, "image.9.weight");
    assert_int_equal(sc_params_read_some(t.params, &r), SC_EFORMAT);
    expect_message("'image.9.weight' is unknown");
    sc_tensor_set_free(&set);
    sc_tensor_set_free(&f.set);
    tiny_close(&t);
}

static void test_view_equals_export(void **state)
{
    (void)state;
    tiny t;
    sc_tensor_set part[3];
    open_tiny(&t, 4);
    OK(sc_params_export(t.params, &part[0]));
    OK(sc_params_export_moments(t.params, &part[1], &part[2]));
    void *room = malloc(sc_params_room(t.params) + 1);
    assert_non_null(room);
    for (size_t i = 0; i < sc_params_count(t.params); i++) {
        sc_param_info info = sc_params_info(t.params, i);
        for (int k = 0; k < 3; k++) {
            const sc_tensor *x = sc_tensor_set_find(&part[k], info.name);
            const void *bytes;
            OK(sc_params_view(t.params, i, (sc_param_part)k, room, &bytes));
            assert_int_equal(bytes != NULL, x != NULL);
            if (x != NULL)
                assert_memory_equal(bytes, x->data, sc_tensor_bytes(x));
        }
    }
    free(room);
    for (int k = 0; k < 3; k++)
        sc_tensor_set_free(&part[k]);
    tiny_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init_golden),
        cmocka_unit_test(test_init_statistics),
        cmocka_unit_test(test_init_by_threads),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_import_is_strict),
        cmocka_unit_test(test_import_other_types),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_view_equals_export),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
