/* Recording: shapes, and that every mistake is named once, with the op and the shapes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "superclip/nn.h"

static const sc_init zero = {SC_INIT_CONSTANT, 0};

/* The graph must have failed with a message holding all the words ("|" between them). */
static void expect(sc_graph *g, const char *words)
{
    char copy[256];
    assert_int_equal(sc_graph_status(g), SC_EINTERNAL);
    (void)snprintf(copy, sizeof copy, "%s", words);
    char *rest = copy;
    for (char *word = strsep(&rest, "|"); word != NULL; word = strsep(&rest, "|"))
        if (strstr(sc_message(), word) == NULL)
            fail_msg("message '%s' lacks '%s'", sc_message(), word);
    sc_graph_free(g);
}

static sc_value images(sc_graph *g)
{
    return sc_input(g, "x", SC_COMPUTE, SC_ROWS_LOCAL, SC_SHAPE(-1, 3, 8, 8));
}

static sc_value rows(sc_graph *g, sc_kind kind, sc_rows_kind of)
{
    return sc_input(g, "rows", kind, of, SC_SHAPE(of == SC_ROWS_FIXED ? 4 : -1, 6));
}

static void test_conv_channels(void **state)
{
    (void)state;
    sc_graph *g = sc_graph_new();
    sc_conv2d(g, images(g), sc_weight(g, "w", SC_SHAPE(5, 4, 3, 3), zero, true), (sc_param){-1}, 1,
              1);
    expect(g, "conv2d|3 channels|wants 4|[n, 3, 8, 8]|'w' [5, 4, 3, 3]");
}

static void test_conv_larger_than_image(void **state)
{
    (void)state;
    sc_graph *g = sc_graph_new();
    sc_conv2d(g, images(g), sc_weight(g, "w", SC_SHAPE(5, 3, 9, 9), zero, true), (sc_param){-1}, 1,
              0);
    expect(g, "conv2d|[-1, 5, 0, 0]");
}

static void test_first_error_stays(void **state)
{
    (void)state;
    sc_graph *g = sc_graph_new();
    sc_value bad = sc_avg_pool(g, rows(g, SC_COMPUTE, SC_ROWS_LOCAL));
    assert_true(bad.id < 0);
    assert_true(sc_add(g, bad, bad).id < 0);
    assert_true(sc_weight(g, "later", SC_SHAPE(0), zero, true).id < 0);
    sc_output(g, "o", bad);
    sc_minimize(g, bad);
    expect(g, "avg_pool|4 dimensions");
}

static void test_invalid_value(void **state)
{
    (void)state;
    sc_graph *g = sc_graph_new();
    sc_add(g, images(g), (sc_value){-1});
    expect(g, "add|input 1");
}

static void test_parameter_used_twice(void **state)
{
    (void)state;
    sc_graph *g = sc_graph_new();
    sc_param w = sc_weight(g, "w", SC_SHAPE(3, 3, 1, 1), zero, true);
    sc_conv2d(g, sc_conv2d(g, images(g), w, (sc_param){-1}, 1, 0), w, (sc_param){-1}, 1, 0);
    expect(g, "conv2d|'w' already belongs");
}

static void test_parameter_other_shape(void **state)
{
    (void)state;
    sc_graph *g = sc_graph_new();
    sc_param a = sc_weight(g, "w", SC_SHAPE(3, 2), zero, true);
    assert_int_equal(sc_weight(g, "w", SC_SHAPE(3, 2), zero, true).id, a.id);
    sc_weight(g, "w", SC_SHAPE(2, 3), zero, true);
    expect(g, "'w'|[3, 2]|[2, 3]");
}

static void test_batch_norm(void **state)
{
    (void)state;
    sc_batch_norm_options o = {.residual = {-1}, .eps = 1e-5, .momentum = 0.1};
    sc_graph *g = sc_graph_new();
    sc_batch_norm(g, images(g), sc_batch_norm_declare(g, "bn", 4, true), o);
    expect(g, "batch_norm|must be [3]|'bn.weight' [4]");
    g = sc_graph_new();
    sc_value x = images(g);
    o.residual = sc_max_pool(g, x, 2, 2, 0);
    sc_batch_norm(g, x, sc_batch_norm_declare(g, "bn", 3, true), o);
    expect(g, "batch_norm|residual|[n, 3, 4, 4]");
    g = sc_graph_new();
    o.residual = x = images(g);
    sc_batch_norm(g, x, sc_batch_norm_declare(g, "bn", 3, true), o);
    expect(g, "batch_norm|another value");
    g = sc_graph_new();
    o = (sc_batch_norm_options){.residual = {-1}, .eps = 0, .momentum = 0.1};
    sc_batch_norm(g, images(g), sc_batch_norm_declare(g, "bn", 3, true), o);
    expect(g, "batch_norm|eps 0");
}

static void test_max_pool_padding(void **state)
{
    (void)state;
    sc_graph *g = sc_graph_new();
    sc_max_pool(g, images(g), 2, 2, 2);
    expect(g, "max_pool|padding 2");
}

static void test_rows_must_agree(void **state)
{
    (void)state;
    sc_graph *g = sc_graph_new();
    sc_value local = rows(g, SC_EXACT, SC_ROWS_LOCAL);
    sc_add(g, local, sc_all_gather(g, local));
    expect(g, "add|[n, 6]|[N, 6]");
    g = sc_graph_new();
    sc_all_gather(g, rows(g, SC_EXACT, SC_ROWS_FIXED));
    expect(g, "all_gather|already");
}

static void test_linear(void **state)
{
    (void)state;
    const sc_linear_options plain = {0}, transposed = {.transposed = true};
    sc_graph *g = sc_graph_new();
    sc_value x = rows(g, SC_COMPUTE, SC_ROWS_FIXED);
    sc_param none = {-1};
    sc_linear(g, x, sc_weight(g, "a", SC_SHAPE(3, 6), zero, true), none, plain);
    sc_linear(g, x, sc_weight(g, "b", SC_SHAPE(6, 3), zero, true), none, transposed);
    assert_int_equal(sc_graph_status(g), SC_OK);
    sc_linear(g, x, sc_weight(g, "c", SC_SHAPE(6, 3), zero, true), none, plain);
    expect(g, "linear|wants 3 numbers|has 6|'c' [6, 3]");
    g = sc_graph_new();
    x = rows(g, SC_COMPUTE, SC_ROWS_FIXED);
    sc_linear(g, x, sc_weight(g, "a", SC_SHAPE(3, 6), zero, true),
              sc_weight(g, "bias", SC_SHAPE(6), zero, true), plain);
    expect(g, "linear|must be [3]|'bias' [6]");
}

static void test_text_ops(void **state)
{
    (void)state;
    sc_graph *g = sc_graph_new();
    sc_value tokens = sc_input(g, "t", SC_INT32, SC_ROWS_FIXED, SC_SHAPE(2, 9));
    sc_embed(g, tokens, (sc_value){-1}, sc_weight(g, "table", SC_SHAPE(20, 4), zero, true),
             sc_weight(g, "positions", SC_SHAPE(8, 4), zero, true), (sc_param){-1});
    expect(g, "embed|[2, 9]|'positions' [8, 4]");
    g = sc_graph_new();
    sc_attention(g, sc_input(g, "q", SC_COMPUTE, SC_ROWS_FIXED, SC_SHAPE(2, 5, 24)), 3);
    expect(g, "attention|3 heads|[2, 5, 24]");
    g = sc_graph_new();
    sc_value x = sc_input(g, "x", SC_EXACT, SC_ROWS_FIXED, SC_SHAPE(2, 5, 4));
    sc_select_row(g, x, sc_input(g, "i", SC_INT32, SC_ROWS_FIXED, SC_SHAPE(3)));
    expect(g, "select_row|int32 for each row|[3]");
    g = sc_graph_new();
    x = rows(g, SC_EXACT, SC_ROWS_FIXED);
    sc_group_mean(g, x, sc_input(g, "i", SC_INT32, SC_ROWS_FIXED, SC_SHAPE(4)), 5);
    expect(g, "group_mean|5 groups");
}

static void test_augment(void **state)
{
    (void)state;
    sc_graph *g = sc_graph_new();
    sc_value x = sc_input(g, "x", SC_BYTES, SC_ROWS_LOCAL, SC_SHAPE(-1, 8, 8, 3));
    sc_value d =
        sc_input(g, "d", SC_BYTES, SC_ROWS_LOCAL, SC_SHAPE(-1, (int64_t)sizeof(sc_augment)));
    sc_augment_images(g, x, d, 9);
    expect(g, "augment|cannot cut 9");
}

static sc_loss_values loss(sc_graph *g, sc_rows_kind of, sc_loss_attrs a)
{
    int64_t n = of == SC_ROWS_FIXED ? 4 : -1;
    sc_value x = sc_input(g, "x", SC_EXACT, of, SC_SHAPE(n, 6));
    sc_value t = sc_input(g, "t", SC_EXACT, SC_ROWS_FIXED, SC_SHAPE(3, 6));
    sc_value y = sc_input(g, "y", SC_INT32, of, SC_SHAPE(n));
    sc_value w = sc_input(g, "w", SC_EXACT, SC_ROWS_FIXED, SC_SHAPE(3));
    sc_shape scalar = {0};
    return sc_superclip_loss(g, x, t, y, w, sc_weight(g, "temperature", scalar, zero, true), a);
}

static void test_loss(void **state)
{
    (void)state;
    const sc_loss_attrs good = {.superclip = true, .class_weight = 1, .tau0 = 0.07};
    sc_loss_attrs bad = good;
    sc_graph *g = sc_graph_new();
    sc_loss_values v = loss(g, SC_ROWS_GLOBAL, good);
    sc_minimize(g, v.losses);
    assert_int_equal(sc_graph_status(g), SC_OK);
    sc_minimize(g, v.losses);
    expect(g, "minimize|not two");
    g = sc_graph_new();
    loss(g, SC_ROWS_LOCAL, good);
    expect(g, "superclip_loss|gathered");
    bad.tau0 = 0;
    g = sc_graph_new();
    loss(g, SC_ROWS_GLOBAL, bad);
    expect(g, "superclip_loss|tau0");
    bad = good;
    bad.superclip = false;
    bad.focal = true;
    g = sc_graph_new();
    loss(g, SC_ROWS_GLOBAL, bad);
    expect(g, "superclip_loss|focal");
}

static void test_names(void **state)
{
    (void)state;
    sc_graph *g = sc_graph_new();
    sc_value x = images(g);
    sc_output(g, "same", x);
    sc_output_grad(g, "same", x);
    assert_int_equal(sc_graph_status(g), SC_OK);
    sc_output(g, "x", x);
    expect(g, "output 'x'|taken");
    g = sc_graph_new();
    images(g);
    images(g);
    expect(g, "input 'x'|taken");
    g = sc_graph_new();
    sc_input(g, "x", SC_COMPUTE, SC_ROWS_LOCAL, SC_SHAPE(4, 3));
    expect(g, "input 'x'|[4, 3]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv_channels),
        cmocka_unit_test(test_conv_larger_than_image),
        cmocka_unit_test(test_first_error_stays),
        cmocka_unit_test(test_invalid_value),
        cmocka_unit_test(test_parameter_used_twice),
        cmocka_unit_test(test_parameter_other_shape),
        cmocka_unit_test(test_batch_norm),
        cmocka_unit_test(test_max_pool_padding),
        cmocka_unit_test(test_rows_must_agree),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_text_ops),
        cmocka_unit_test(test_augment),
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
