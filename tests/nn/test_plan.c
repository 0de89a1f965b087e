/* The memory plan: no two live buffers meet, on random intervals (all pairs compared) and on random
 * graphs (simulated by the trace backend), for training and evaluation programs that share an
 * arena.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/nn/plan.h"
#include "fake_comm.h"
#include "trace_backend.h"

/* A small generator; quality does not matter here. */
static uint32_t below(uint64_t *seed, uint32_t n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33) % n;
}

/* ---- intervals ---------------------------------------------------------------------------------
 */

static bool meet(const nn_buffer *a, const nn_buffer *b)
{
    return a->start <= b->end && b->start <= a->end && a->offset < b->offset + b->bytes &&
           b->offset < a->offset + a->bytes;
}

static size_t peak(const nn_buffer *b, size_t n, int times)
{
    size_t most = 0;
    for (int t = 0; t < times; t++) {
        size_t live = 0;
        for (size_t i = 0; i < n; i++)
            live += b[i].start <= t && t <= b[i].end ? nn_align(b[i].bytes) : 0;
        most = live > most ? live : most;
    }
    return most;
}

static void test_random_intervals(void **state)
{
    (void)state;
    enum { MOST = 120, TIMES = 60 };
    uint64_t seed = 1;
    for (int round = 0; round < 300; round++) {
        nn_buffer b[MOST];
        size_t n = below(&seed, MOST + 1), total, end = 0;
        for (size_t i = 0; i < n; i++) {
            int start = (int)below(&seed, TIMES);
            b[i] = (nn_buffer){1 + below(&seed, round % 2 ? 5000 : 200), start,
                               start + (int)below(&seed, (uint32_t)(TIMES - start)), SIZE_MAX};
        }
        assert_int_equal(nn_plan(b, n, &total), SC_OK);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(b[i].offset % NN_ALIGNMENT, 0);
            end =
                b[i].offset + nn_align(b[i].bytes) > end ? b[i].offset + nn_align(b[i].bytes) : end;
            for (size_t k = 0; k < i; k++)
                assert_false(meet(&b[i], &b[k]));
        }
        assert_int_equal(total, end);
        assert_true(total >= peak(b, n, TIMES));
        assert_true(2 * total <= 3 * peak(b, n, TIMES)); /* greedy wastes at most half on these */
    }
}

static void test_chain_reuses_memory(void **state)
{
    (void)state;
    nn_buffer b[50];
    size_t total;
    for (int i = 0; i < 50; i++)
        b[i] = (nn_buffer){1000, i, i + 1, 0};
    assert_int_equal(nn_plan(b, 50, &total), SC_OK);
    assert_int_equal(total, 2 * 1024);
}

/* ---- random graphs -----------------------------------------------------------------------------
 */

enum { CHANNELS = 2, SIDE = 3, WIDTH = 6, MOST_VALUES = 2 * TRACE_NODES };

typedef struct maker {
    uint64_t seed;
    sc_graph *g;
    trace_device *d;
    sc_value flat[MOST_VALUES], image[MOST_VALUES]; /* [n, WIDTH], [n, CHANNELS, SIDE, SIDE] */
    uint32_t n_flat, n_image;
    int names;
} maker;

static const char *name(maker *m, char out[32])
{
    (void)snprintf(out, 32, "p%d", m->names++);
    return out;
}

static sc_param weight(maker *m, sc_shape shape)
{
    char text[32];
    return sc_weight(m->g, name(m, text), shape, SC_CONSTANT(0), below(&m->seed, 4) > 0);
}

/* Tells the trace backend what was recorded. */
static sc_value note(maker *m, sc_value out, int n_in, sc_value a, sc_value b)
{
    m->d->nodes[m->d->n_nodes++] =
        (trace_node){.n_in = n_in, .n_out = 1, .in = {a.id, b.id}, .out = {out.id}};
    return out;
}

static void add_flat(maker *m)
{
    sc_value a = m->flat[below(&m->seed, m->n_flat)], b = m->flat[below(&m->seed, m->n_flat)], y;
    switch (below(&m->seed, 4)) {
    case 0:
        y = note(m, sc_add(m->g, a, b), 2, a, b);
        break;
    case 1:
        y = note(m, sc_l2_normalize(m->g, a), 1, a, a);
        break;
    case 2:
        y = sc_layer_norm(m->g, a, weight(m, SC_SHAPE(WIDTH)), weight(m, SC_SHAPE(WIDTH)), 1e-5);
        note(m, y, 1, a, a);
        break;
    default:
        y = sc_linear(m->g, a, weight(m, SC_SHAPE(WIDTH, WIDTH)), (sc_param){-1},
                      (sc_linear_options){.exact = below(&m->seed, 2)});
        note(m, y, 1, a, a);
    }
    m->flat[m->n_flat++] = y;
}

static void add_batch_norm(maker *m, sc_value a, sc_value b)
{
    char text[32];
    bool residual = below(&m->seed, 2) && a.id != b.id;
    sc_batch_norm_options o = {
        .relu = true, .residual = residual ? b : (sc_value){-1}, .eps = 1e-5, .momentum = 0.1};
    sc_batch_norm_params p =
        sc_batch_norm_declare(m->g, name(m, text), CHANNELS, below(&m->seed, 4) > 0);
    m->image[m->n_image++] = note(m, sc_batch_norm(m->g, a, p, o), residual ? 2 : 1, a, b);
}

static void add_image(maker *m)
{
    sc_value a = m->image[below(&m->seed, m->n_image)], b = m->image[below(&m->seed, m->n_image)],
             y;
    switch (below(&m->seed, 4)) {
    case 0:
        add_batch_norm(m, a, b);
        return;
    case 1:
        y = sc_max_pool(m->g, a, 3, 1, 1);
        break;
    case 2:
        y = sc_avg_pool(m->g, a);
        note(m, y, 1, a, a);
        m->flat[m->n_flat++] = note(m,
                                    sc_linear(m->g, y, weight(m, SC_SHAPE(WIDTH, CHANNELS)),
                                              (sc_param){-1}, (sc_linear_options){0}),
                                    1, y, y);
        return;
    default:
        y = sc_conv2d(m->g, a, weight(m, SC_SHAPE(CHANNELS, CHANNELS, 3, 3)), (sc_param){-1}, 1, 1);
    }
    m->image[m->n_image++] = note(m, y, 1, a, a);
}

/* Two inputs, random ops over random earlier values, random outputs, one value to minimise. */
static void make_graph(maker *m)
{
    char text[32];
    m->g = sc_graph_new();
    m->flat[m->n_flat++] = sc_input(m->g, "flat", SC_EXACT, SC_ROWS_GLOBAL, SC_SHAPE(-1, WIDTH));
    m->image[m->n_image++] =
        sc_input(m->g, "image", SC_COMPUTE, SC_ROWS_GLOBAL, SC_SHAPE(-1, CHANNELS, SIDE, SIDE));
    uint32_t ops = 3 + below(&m->seed, 60);
    for (uint32_t k = 0; k < ops; k++)
        if (below(&m->seed, 2))
            add_flat(m);
        else
            add_image(m);
    sc_value last = m->flat[m->n_flat - 1];
    sc_value y =
        sc_linear(m->g, last, sc_weight(m->g, "last", SC_SHAPE(WIDTH, WIDTH), SC_CONSTANT(0), true),
                  (sc_param){-1}, (sc_linear_options){0});
    note(m, y, 1, last, last);
    sc_value end = note(m, sc_l2_normalize(m->g, y), 1, y, y);
    sc_minimize(m->g, end);
    m->d->minimize = end.id;
    for (int k = 0; k < 5; k++) {
        sc_value v =
            k % 2 ? m->flat[below(&m->seed, m->n_flat)] : m->image[below(&m->seed, m->n_image)];
        if (below(&m->seed, 2))
            sc_output_grad(m->g, name(m, text), v);
        else
            sc_output(m->g, name(m, text), v);
    }
    if (sc_graph_status(m->g) != SC_OK)
        fail_msg("%s", sc_message());
}

static void write_inputs(const maker *m, sc_program *p)
{
    const uint32_t flat = trace_word(m->flat[0].id), image = trace_word(m->image[0].id);
    assert_int_equal(sc_program_write(p, "flat", &flat), SC_OK);
    assert_int_equal(sc_program_write(p, "image", &image), SC_OK);
}

static void run(const maker *m, sc_program *p, bool training)
{
    write_inputs(m, p);
    assert_int_equal(sc_program_forward(p), SC_OK);
    if (training)
        assert_int_equal(sc_program_backward(p), SC_OK);
    if (m->d->error[0] != '\0')
        fail_msg("%s", m->d->error);
}

static void simulate(uint64_t seed, long *checks)
{
    sc_device *device;
    const sc_device_options options = {.threads = 1, .precision = SC_FP32};
    const int64_t rows[3] = {3, 1, 5};
    sc_params *params;
    sc_program *p[3];
    assert_int_equal(trace_backend()->open(&options, &device), SC_OK);
    maker *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->seed = seed;
    m->d = (trace_device *)device;
    make_graph(m);
    assert_int_equal(sc_params_create(device, m->g, &params), SC_OK);
    const sc_program_desc desc[3] = {{m->g, rows[0], &rows[0], true, false},
                                     {m->g, rows[1], &rows[1], true, false},
                                     {m->g, rows[2], &rows[2], false, false}};
    if (sc_programs_compile(device, params, fake_comm_alone(), desc, 3, p) != SC_OK)
        fail_msg("%s", sc_message());
    for (int k = 0; k < 6; k++)
        run(m, p[k % 3], k % 3 < 2);
    assert_int_equal(sc_program_memory_of(p[0]).arena, sc_program_memory_of(p[2]).arena);
    *checks += m->d->checks;
    assert_true(m->d->backwards > 0);
    sc_program_free(p[1]); /* any order; the last one frees the arena */
    run(m, p[0], true);
    sc_program_free(p[0]);
    sc_program_free(p[2]);
    sc_params_free(params);
    sc_graph_free(m->g);
    free(m);
    device->backend->close(device);
}

static void test_random_graphs(void **state)
{
    (void)state;
    long checks = 0;
    for (uint64_t seed = 1; seed <= 300; seed++)
        simulate(seed, &checks);
    assert_true(checks > 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_intervals),
        cmocka_unit_test(test_chain_reuses_memory),
        cmocka_unit_test(test_random_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
