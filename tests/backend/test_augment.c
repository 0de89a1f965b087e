/* augment on the CPU equals `ref` in every bit, for random draws at many sizes, on one thread and
 * two; bf16 equals the rounded table entry.
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define IMAGES 24

typedef struct fixture {
    int side, crop;
    uint8_t *rows;
    sc_augment draws[IMAGES];
} fixture;

typedef struct node {
    const sc_backend *b;
    sc_device *d;
    sc_comm *alone;
    sc_op_node n;
    void *state;
} node;

static sc_status open_node(node *o, const fixture *f, sc_precision_mode precision, int threads)
{
    static const int64_t rows = IMAGES;
    const sc_backend *b = o->b;
    sc_op_node *n = &o->n;
    const sc_device_options options = {threads, precision, NULL};
    size_t saved, scratch;
    SC_TRY(b->open(&options, &o->d));
    o->alone = sc_comm_single();
    *n = (sc_op_node){.op = SC_OP_AUGMENT,
                      .n_in = 2,
                      .n_out = 1,
                      .precision = o->d->precision,
                      .comm = o->alone,
                      .rows = &rows,
                      .rows_global = rows,
                      .training = true};
    n->attrs.crop = f->crop;
    n->in[0].desc = (sc_value_desc){SC_BYTES, {4, {IMAGES, f->side, f->side, 3}}};
    n->in[1].desc = (sc_value_desc){SC_BYTES, {2, {IMAGES, (int64_t)sizeof(sc_augment)}}};
    n->out[0].desc = (sc_value_desc){SC_COMPUTE, {4, {IMAGES, 3, f->crop, f->crop}}};
    for (int i = 0; i < 2; i++) {
        SC_TRY(b->alloc(o->d, b->value_bytes(o->d, &n->in[i].desc), &n->in[i].data));
        SC_TRY(
            b->upload(o->d, &n->in[i].desc, i ? (const void *)f->draws : f->rows, n->in[i].data));
    }
    SC_TRY(b->alloc(o->d, b->value_bytes(o->d, &n->out[0].desc), &n->out[0].data));
    SC_TRY(b->node_memory(o->d, n, &saved, &scratch));
    SC_TRY(b->alloc(o->d, saved, &n->saved));
    SC_TRY(b->alloc(o->d, scratch, &n->scratch));
    return b->prepare(o->d, n, &o->state);
}
static void close_node(node *o)
{
    if (o->d) {
        o->b->release(o->d, o->state);
        void *const memory[] = {o->n.in[0].data, o->n.in[1].data, o->n.out[0].data, o->n.saved,
                                o->n.scratch};
        for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
            o->b->free(o->d, memory[i]);
        o->b->close(o->d);
    }
    if (o->alone)
        o->alone->free(o->alone);
}

static sc_status augment(const sc_backend *b, sc_precision_mode precision, int threads,
                         const fixture *f, double *out)
{
    const int64_t count = IMAGES * 3 * (int64_t)f->crop * f->crop;
    node o = {.b = b};
    void *host = calloc((size_t)count, 8);
    sc_status status = open_node(&o, f, precision, threads);
    if (status == SC_OK)
        status = b->forward(o.d, &o.n, o.state);
    if (status == SC_OK)
        status = b->download(o.d, &o.n.out[0].desc, o.n.out[0].data, host);
    for (int64_t i = 0; i < count; i++)
        out[i] = b->real == SC_F64 ? ((double *)host)[i] : (double)((float *)host)[i];
    free(host);
    close_node(&o);
    return status;
}

/* Noise, flat colours, greys and near-greys: every branch of the hue. */
static void paint(fixture *f, uint32_t seed)
{
    size_t pixels = IMAGES * (size_t)f->side * (size_t)f->side;
    for (size_t i = 0; i < pixels; i++) {
        const uint32_t key[2] = {seed, 5}, counter[4] = {(uint32_t)i, 0, 0, 0};
        uint32_t w[4];
        sc_philox4x32(key, counter, w);
        for (size_t c = 0; c < 3; c++)
            f->rows[3 * i + c] = (uint8_t)((w[3] & 3) == 0   ? w[0]
                                           : (w[3] & 3) == 1 ? (w[0] & 0xf0) + (w[c] & 3)
                                           : (w[3] & 4)      ? (w[c] & 1) * 255
                                                             : w[c]);
    }
}

static void test_same_bits(void **state)
{
    (void)state;
    static const int sizes[][2] = {{5, 5}, {6, 1}, {9, 7}, {17, 16}, {35, 32}, {70, 64}, {41, 37}};
    for (uint32_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        fixture f = {.side = sizes[k][0], .crop = sizes[k][1]};
        size_t count = IMAGES * 3 * (size_t)f.crop * (size_t)f.crop;
        f.rows = calloc(IMAGES * 3, (size_t)f.side * (size_t)f.side);
        double *want = calloc(count, sizeof *want), *got = calloc(count, sizeof *got);
        paint(&f, k);
        for (uint32_t i = 0; i < IMAGES; i++)
            f.draws[i] = draw_augment(1000 * k + i, f.side, f.crop);
        assert_int_equal(augment(sc_backend_ref(), SC_FP64, 1, &f, want), SC_OK);
        for (int threads = 1; threads <= 2; threads++) {
            assert_int_equal(augment(sc_backend_cpu(), SC_FP32, threads, &f, got), SC_OK);
            assert_memory_equal(got, want, count * sizeof *got);
        }
        assert_int_equal(augment(sc_backend_cpu(), SC_BF16_MIXED, 1, &f, got), SC_OK);
        for (size_t i = 0; i < count; i++) {
            double rounded = (double)sc_bf16_to_f32(sc_f32_to_bf16((float)want[i]));
            assert_true(got[i] == rounded || got[i] == want[i]); /* the latter without bf16 */
        }
        free(f.rows);
        free(want);
        free(got);
    }
}

/* Draws that would read outside the row are refused. */
static void test_bad_draws(void **state)
{
    (void)state;
    fixture f = {.side = 8, .crop = 6};
    f.rows = calloc(IMAGES * 3, 64);
    double *out = calloc(IMAGES * 3 * 36, sizeof *out);
    for (int i = 0; i < IMAGES; i++)
        f.draws[i].crop_top = i == 7 ? 3 : 0;
    assert_int_equal(augment(sc_backend_cpu(), SC_FP32, 1, &f, out), SC_EINTERNAL);
    assert_non_null(strstr(sc_message(), "row 7"));
    free(f.rows);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits),
                                       cmocka_unit_test(test_bad_draws)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
