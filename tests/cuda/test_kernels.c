/* Launchers that no op of the table reaches, or not with all they can do: augmentation bit for bit
 * with `ref`, refused draws; AdamW; QuickGELU; layouts; sums.
 */
#include "cuda.h"
#include "harness.h"
#include "shim/shim.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void *device_memory(size_t bytes, const void *from)
{
    void *p = NULL;
    assert_int_equal(sc_cuda_malloc(bytes, &p), 0);
    if (from)
        assert_int_equal(sc_cuda_copy(NULL, p, from, bytes), 0);
    return p;
}
static float random_float(uint32_t seed, uint32_t i)
{
    const uint32_t key[2] = {seed, 11}, counter[4] = {i, 0, 0, 0};
    uint32_t w[4];
    sc_philox4x32(key, counter, w);
    return 4 * sc_uniform24(w[0]) - 2;
}
/* `count` floats on the device, and `host` if wanted. bf: as bfloat16, host rounded alike. */
static void *random_device(uint32_t seed, size_t count, bool bf, float *host)
{
    float *v = calloc(count + 1, sizeof *v);
    uint16_t *b = calloc(count + 1, sizeof *b);
    assert_true(v && b);
    for (size_t i = 0; i < count; i++) {
        v[i] = random_float(seed, (uint32_t)i);
        b[i] = sc_f32_to_bf16(v[i]);
        if (bf)
            v[i] = sc_bf16_to_f32(b[i]);
    }
    void *p = bf ? device_memory(count * 2, b) : device_memory(count * 4, v);
    if (host)
        memcpy(host, v, count * sizeof *v);
    free(v);
    free(b);
    return p;
}
static double read_at(const void *p, size_t i, bool bf)
{
    return (double)(bf ? sc_bf16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i]);
}
static sc_cuda_type type_of(bool bf)
{
    return bf ? SC_CUDA_BF16 : SC_CUDA_F32;
}

/* ---- augmentation ---- */
enum { IMAGES = 20 };
static void paint(uint8_t *rows, size_t pixels, uint32_t seed)
{
    for (size_t i = 0; i < pixels; i++) {
        const uint32_t key[2] = {seed, 5}, counter[4] = {(uint32_t)i, 0, 0, 0};
        uint32_t w[4];
        sc_philox4x32(key, counter, w);
        for (size_t c = 0; c < 3;
             c++) /* noise, near-greys, pure colours: every branch of the hue */
            rows[3 * i + c] = (uint8_t)((w[3] & 3) == 0   ? w[0]
                                        : (w[3] & 3) == 1 ? (w[0] & 0xf0) + (w[c] & 3)
                                        : (w[3] & 4)      ? (w[c] & 1) * 255
                                                          : w[c]);
    }
}
/* [IMAGES][3][crop][crop] of the ref backend */
static double *ref_augment_of(const uint8_t *rows, const sc_augment *draws, int side, int crop)
{
    const sc_backend *b = sc_backend_ref();
    const sc_device_options o = {1, SC_FP64, NULL};
    sc_comm *alone = sc_comm_single();
    sc_device *d = NULL;
    size_t saved, scratch, count = IMAGES * 3 * (size_t)crop * (size_t)crop;
    double *out = calloc(count, sizeof *out);
    assert_int_equal(b->open(&o, &d), SC_OK);
    const int64_t images = IMAGES;
    sc_op_node n = {.op = SC_OP_AUGMENT,
                    .n_in = 2,
                    .n_out = 1,
                    .comm = alone,
                    .rows = &images,
                    .rows_global = images,
                    .precision = SC_FP64,
                    .attrs = {.crop = crop}};
    n.in[0].desc = (sc_value_desc){SC_BYTES, {4, {IMAGES, side, side, 3}}};
    n.in[1].desc = (sc_value_desc){SC_BYTES, {2, {IMAGES, (int64_t)sizeof *draws}}};
    n.out[0].desc = (sc_value_desc){SC_COMPUTE, {4, {IMAGES, 3, crop, crop}}};
    n.in[0].data = (void *)(uintptr_t)rows;
    n.in[1].data = (void *)(uintptr_t)draws;
    n.out[0].data = out;
    assert_int_equal(b->node_memory(d, &n, &saved, &scratch), SC_OK);
    n.scratch = malloc(scratch);
    assert_int_equal(b->forward(d, &n, NULL), SC_OK);
    free(n.scratch);
    b->close(d);
    alone->free(alone);
    return out;
}
static void augment_size(uint32_t seed, int side, int crop)
{
    const size_t row = 3 * (size_t)side * (size_t)side, plane = (size_t)crop * (size_t)crop;
    uint8_t *rows = calloc(IMAGES, row);
    sc_augment draws[IMAGES];
    float table[3][256];
    paint(rows, IMAGES * (size_t)side * (size_t)side, seed);
    for (uint32_t i = 0; i < IMAGES; i++)
        draws[i] = draw_augment(5000 * seed + i, side, crop);
    sc_normalize_table(table);
    double *want = ref_augment_of(rows, draws, side, crop);
    sc_cuda_augment a = {.n = IMAGES, .side = side, .crop = crop, .channels = 8};
    void *out = device_memory(IMAGES * plane * 8 * 4, NULL);
    int zero = 0, *fault = device_memory(sizeof zero, &zero);
    a.rows = device_memory(IMAGES * row, rows);
    a.draws = device_memory(sizeof draws, draws);
    a.table = device_memory(sizeof table, table);
    a.sums = device_memory(IMAGES * SC_CUDA_GREY_PARTS * 8, NULL);
    a.fault = fault;
    for (int k = 0; k < 4; k++) {
        const bool bf = k & 1;
        shim_set_order(k >> 1);
        assert_int_equal(sc_cuda_augment_run(NULL, &a, out, type_of(bf)), 0);
        for (size_t i = 0; i < IMAGES * plane; i++)
            for (size_t c = 0; c < 8; c++) {
                double w = c < 3 ? want[(i / plane * 3 + c) * plane + i % plane] : 0;
                if (bf)
                    w = (double)sc_bf16_to_f32(sc_f32_to_bf16((float)w));
                if (!(read_at(out, i * 8 + c, bf) == w))
                    fail_msg("side %d crop %d image %zu pixel %zu channel %zu: %g, not %g", side,
                             crop, i / plane, i % plane, c, read_at(out, i * 8 + c, bf), w);
            }
    }
    shim_set_order(0);
    assert_int_equal(*fault, 0);
    void *const all[] = {(void *)(uintptr_t)a.rows,
                         (void *)(uintptr_t)a.draws,
                         (void *)(uintptr_t)a.table,
                         a.sums,
                         out,
                         fault};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_int_equal(sc_cuda_free(all[i]), 0);
    free(rows);
    free(want);
}
static void test_augment(void **state)
{
    (void)state;
    static const int sizes[][2] = {{5, 5}, {6, 1}, {9, 7}, {17, 16}, {35, 32}, {70, 64}, {41, 37}};
    for (uint32_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        augment_size(k, sizes[k][0], sizes[k][1]);
}
/* Every colour's hue, saturation and blend: 2^24 colours are ref's test; here a lattice of them. */
static void test_augment_colours(void **state)
{
    (void)state;
    enum { SIDE = 52 };
    static uint8_t rows[IMAGES][SIDE * SIDE][3];
    static sc_augment draws[IMAGES];
    memset(draws, 0, sizeof draws);
    for (int i = 0; i < IMAGES; i++) {
        for (int p = 0; p < SIDE * SIDE; p++) {
            uint32_t w = (uint32_t)(i * SIDE * SIDE + p) * 2654435761u;
            for (int c = 0; c < 3; c++)
                rows[i][p][c] = (uint8_t)(w >> (8 + 8 * c));
        }
        draws[i].jitter = 1;
        for (uint8_t k = 0; k < 4; k++)
            draws[i].jitter_order[k] = (uint8_t)((k + i) % 4);
        draws[i].brightness = 0.8f + 0.02f * (float)i;
        draws[i].contrast = 1.2f - 0.02f * (float)i;
        draws[i].saturation = 0.8f + 0.021f * (float)i;
        draws[i].hue = -0.1f + 0.01f * (float)i;
    }
    double *want = ref_augment_of(&rows[0][0][0], draws, SIDE, SIDE);
    float table[3][256];
    sc_normalize_table(table);
    int zero = 0;
    sc_cuda_augment a = {.n = IMAGES, .side = SIDE, .crop = SIDE, .channels = 8};
    void *memory[] = {
        device_memory(sizeof rows, rows),   device_memory(sizeof draws, draws),
        device_memory(sizeof table, table), device_memory(IMAGES * SC_CUDA_GREY_PARTS * 8, NULL),
        device_memory(sizeof zero, &zero),  device_memory(IMAGES * SIDE * SIDE * 8 * 4, NULL)};
    a.rows = memory[0];
    a.draws = memory[1];
    a.table = memory[2];
    a.sums = memory[3];
    a.fault = memory[4];
    const float *out = memory[5];
    assert_int_equal(sc_cuda_augment_run(NULL, &a, memory[5], SC_CUDA_F32), 0);
    for (size_t i = 0; i < IMAGES * SIDE * SIDE; i++)
        for (size_t c = 0; c < 3; c++)
            assert_true((double)out[i * 8 + c] ==
                        want[(i / (SIDE * SIDE) * 3 + c) * SIDE * SIDE + i % (SIDE * SIDE)]);
    /* Draws that would read outside the row are told, and nothing is read. */
    ((sc_augment *)memory[1])[7].crop_top = 1;
    ((sc_augment *)memory[1])[3].erase_h = SIDE + 1;
    assert_int_equal(sc_cuda_augment_run(NULL, &a, memory[5], SC_CUDA_F32), 0);
    assert_int_equal(*a.fault, 8);
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        assert_int_equal(sc_cuda_free(memory[i]), 0);
    free(want);
}

/* ---- AdamW ---- */
static void test_adamw(void **state)
{
    (void)state;
    enum { N = 5003 }; /* not a multiple of 8 */
    const sc_adamw o = {1e-3, 0.9, 0.999, 1e-8, 0.05, 3};
    const sc_device_options options = {1, SC_FP32, NULL}, wide = {1, SC_FP64, NULL};
    sc_device *d, *r;
    static float start[4][N];
    static double want[4][N];
    float *on[4];
    assert_int_equal(sc_backend_cuda()->open(&options, &d), SC_OK);
    assert_int_equal(sc_backend_ref()->open(&wide, &r), SC_OK);
    for (uint32_t k = 0; k < 4; k++) {
        for (uint32_t i = 0; i < N; i++) {
            start[k][i] = random_float(100 + k, i);
            if (k == 3)
                start[k][i] *= start[k][i]; /* second moments */
            if (k > 0 && i >= 800 && i < 1900)
                start[k][i] = 0; /* rows no text used */
            want[k][i] = (double)start[k][i];
        }
        on[k] = device_memory(sizeof start[k], start[k]);
    }
    assert_int_equal(d->backend->adamw(d, &o, N, on[0], on[1], on[2], on[3]), SC_OK);
    assert_int_equal(d->backend->sync(d), SC_OK);
    assert_int_equal(r->backend->adamw(r, &o, N, want[0], want[1], want[2], want[3]), SC_OK);
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < N; i++)
            assert_true(fabs((double)on[k][i] - want[k][i]) <= 2e-7 * (fabs(want[k][i]) + 2));
    /* The copy is the new value, rounded. */
    uint16_t *copy = device_memory(N * 2, NULL);
    const float c[8] = {0.99f, 0.9f, 0.1f, 0.999f, 0.001f, 1e-3f, 0.1f, 1e-8f};
    float *constants = device_memory(sizeof c, c);
    assert_int_equal(sc_cuda_adamw(NULL, on[0], on[1], on[2], on[3], copy, N, constants), 0);
    for (int i = 0; i < N; i++)
        assert_int_equal(copy[i], sc_f32_to_bf16(on[0][i]));
    assert_true(on[0][1000] == (float)(0.99f * (float)want[0][1000]) ||
                fabs((double)on[0][1000] - 0.99 * want[0][1000]) < 1e-6);
    assert_true(on[3][1000] == 0);
    for (int k = 0; k < 4; k++)
        assert_int_equal(sc_cuda_free(on[k]), 0);
    assert_int_equal(sc_cuda_free(copy), 0);
    assert_int_equal(sc_cuda_free(constants), 0);
    d->backend->close(d);
    r->backend->close(r);
}

/* ---- element by element: every pair of types, odd counts, adding ---- */
static void test_quick_gelu(void **state)
{
    (void)state;
    enum { N = 2061 };
    static float z[N], dy[N], before[N];
    for (int k = 0; k < 16; k++) {
        const bool zb = k & 1, yb = k & 2, add = k & 4, back = k & 8;
        const double tol = yb ? 4e-3 : 1e-6;
        void *zd = random_device(1, N, zb, z), *gd = random_device(2, N, zb, dy);
        void *out = random_device(3, N, yb, before);
        const sc_cuda_in zi = {zd, type_of(zb)}, gi = {gd, type_of(zb)};
        const sc_cuda_out o = {out, type_of(yb), add};
        assert_int_equal(back ? sc_cuda_activate_back(NULL, SC_CUDA_QUICK_GELU, gi, zi, o, N)
                              : sc_cuda_activate(NULL, SC_CUDA_QUICK_GELU, zi, o, N),
                         0);
        for (size_t i = 0; i < N; i++) {
            double u = (double)z[i], s = 1 / (1 + exp(-1.702 * u));
            double w = back ? (double)dy[i] * (s + 1.702 * u * s * (1 - s)) : u * s;
            w += add ? (double)before[i] : 0;
            assert_true(fabs(read_at(out, i, yb) - w) <= tol * (fabs(w) + 1));
        }
        assert_int_equal(sc_cuda_free(zd), 0);
        assert_int_equal(sc_cuda_free(gd), 0);
        assert_int_equal(sc_cuda_free(out), 0);
    }
}
static void test_layouts(void **state)
{
    (void)state;
    static const int shapes[][3] = {{2, 3, 49}, {1, 1, 1}, {3, 40, 33}, {2, 64, 64}, {5, 9, 7}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int bf = 0; bf < 2; bf++) {
            const size_t n = (size_t)shapes[s][0], c = (size_t)shapes[s][1],
                         plane = (size_t)shapes[s][2], padded = (c + 7) / 8 * 8;
            float *host = calloc(n * c * plane, sizeof *host);
            float *planes = random_device(9, n * c * plane, bf, host);
            void *last = device_memory(n * plane * padded * 4, NULL);
            if (bf) { /* values a bfloat16 holds */
                assert_int_equal(sc_cuda_free(planes), 0);
                planes = device_memory(n * c * plane * 4, host);
            }
            assert_int_equal(
                sc_cuda_to_channels_last(NULL, planes, (sc_cuda_out){last, type_of(bf), false},
                                         (int64_t)n, (int)c, (int64_t)plane, (int)padded),
                0);
            for (size_t i = 0; i < n * plane * padded; i++) {
                size_t ch = i % padded, at = i / padded;
                double w = ch < c ? (double)host[(at / plane * c + ch) * plane + at % plane] : 0;
                assert_true(read_at(last, i, bf) == w);
            }
            memset(planes, 0xff, n * c * plane * 4);
            assert_int_equal(sc_cuda_to_planes(NULL, (sc_cuda_in){last, type_of(bf)}, planes,
                                               (int64_t)n, (int)c, (int64_t)plane, (int)padded),
                             0);
            assert_memory_equal(planes, host, n * c * plane * 4);
            assert_int_equal(sc_cuda_free(planes), 0);
            assert_int_equal(sc_cuda_free(last), 0);
            free(host);
        }
}
static void test_sums(void **state)
{
    (void)state;
    enum { N = 70001, ROWS = 37, WIDTH = 1891 };
    static float x[N];
    void *d = random_device(4, N, false, x);
    double *parts = device_memory(SC_CUDA_SUM_PARTS * 8, NULL), *out = device_memory(8, NULL);
    int zero = 0, *bad = device_memory(sizeof zero, &zero);
    for (int count = 0; count <= N; count = count < 1000 ? count + 333 : count + 34499) {
        double sum = 0, squares = 0;
        for (int i = 0; i < count; i++) {
            sum += (double)x[i];
            squares += (double)x[i] * (double)x[i];
        }
        assert_int_equal(sc_cuda_sum(NULL, d, count, false, parts, out), 0);
        assert_true(fabs(*out - sum) < 1e-9);
        assert_int_equal(sc_cuda_sum(NULL, d, count, true, parts, out), 0);
        assert_true(fabs(*out - squares) <= 1e-12 * squares);
    }
    float *columns = device_memory(WIDTH * 4, NULL);
    assert_int_equal(
        sc_cuda_column_sum(NULL, (sc_cuda_in){d, SC_CUDA_F32}, columns, ROWS, WIDTH, NULL), 0);
    for (int e = 0; e < WIDTH; e++) {
        double sum = 0;
        for (int r = 0; r < ROWS; r++)
            sum += (double)x[r * WIDTH + e];
        assert_true(fabs((double)columns[e] - sum) < 1e-5);
    }
    assert_int_equal(sc_cuda_check_finite(NULL, d, N, bad), 0);
    assert_int_equal(*bad, 0);
    ((float *)d)[N - 1] = INFINITY;
    assert_int_equal(sc_cuda_check_finite(NULL, d, N - 1, bad), 0);
    assert_int_equal(*bad, 0);
    assert_int_equal(sc_cuda_check_finite(NULL, d, N, bad), 0);
    assert_int_equal(*bad, 1);
    *bad = 0;
    ((float *)d)[N - 1] = 0;
    ((float *)d)[17] = NAN;
    assert_int_equal(sc_cuda_check_finite(NULL, d, N, bad), 0);
    assert_int_equal(*bad, 1);
    void *const all[] = {d, parts, out, bad, columns};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_int_equal(sc_cuda_free(all[i]), 0);
}

/* Indices outside their range are told by sync, with their place; nothing outside is read. */
static void test_bad_index(void **state)
{
    (void)state;
    const sc_device_options o = {1, SC_FP32, NULL};
    sc_device *head;
    assert_int_equal(sc_backend_cuda()->open(&o, &head), SC_OK);
    cuda_device *d = (cuda_device *)head;
    const int32_t tokens[4] = {0, 1, 5, 2}, rows[2] = {1, -1};
    int32_t *t = device_memory(sizeof tokens, tokens), *r = device_memory(sizeof rows, rows);
    float *table = random_device(5, 5 * 8, false, NULL), *y = device_memory(4 * 8 * 4, NULL);
    assert_int_equal(sc_cuda_embed(d->stream, t, NULL, table, table, NULL, y, 2, 2, 8, 5, 2,
                                   &d->faults[FAULT_EMBED]),
                     0);
    assert_int_equal(head->backend->sync(head), SC_EINTERNAL);
    assert_non_null(strstr(sc_message(), "element 2"));
    assert_int_equal(head->backend->sync(head), SC_OK);
    assert_int_equal(sc_cuda_select_row(d->stream, (sc_cuda_in){table, SC_CUDA_F32}, r,
                                        (sc_cuda_out){y, SC_CUDA_F32, false}, 2, 2, 8,
                                        &d->faults[FAULT_SELECT]),
                     0);
    assert_int_equal(head->backend->sync(head), SC_EINTERNAL);
    assert_non_null(strstr(sc_message(), "text 1"));
    assert_int_equal(head->backend->sync(head), SC_OK);
    enum { TEXTS = 3, LENGTH = 4, WIDTH = 8 };
    const int32_t ends[][TEXTS] = {{3, 0, LENGTH}, {0, -1, 3}, {0, 3, 1}};
    static const char *const told[] = {"text 2", "text 1", NULL};
    float *q = random_device(6, TEXTS * LENGTH * WIDTH, false, NULL);
    float *lse = device_memory(TEXTS * LENGTH * 4, NULL);
    float *out = device_memory(TEXTS * LENGTH * WIDTH * 4, NULL);
    int32_t *last = device_memory(sizeof ends[0], NULL);
    for (int i = 0; i < 3; i++) {
        const sc_cuda_full_attention attention = {.texts = TEXTS,
                                                  .length = LENGTH,
                                                  .width = WIDTH,
                                                  .heads = 1,
                                                  .type = SC_CUDA_F32,
                                                  .x = {q, q, q},
                                                  .last = last,
                                                  .lse = lse,
                                                  .fault = &d->faults[FAULT_ATTENTION]};
        assert_int_equal(sc_cuda_copy(d->stream, last, ends[i], sizeof ends[i]), 0);
        assert_int_equal(sc_cuda_full_attention_run(d->stream, &attention,
                                                    (sc_cuda_out){out, SC_CUDA_F32, false}),
                         0);
        assert_int_equal(head->backend->sync(head), told[i] ? SC_EINTERNAL : SC_OK);
        if (told[i])
            assert_non_null(strstr(sc_message(), told[i]));
    }
    void *const all[] = {t, r, table, y, q, lse, out, last};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_int_equal(sc_cuda_free(all[i]), 0);
    head->backend->close(head);
    assert_int_equal(shim_allocations(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_augment),  cmocka_unit_test(test_augment_colours),
        cmocka_unit_test(test_adamw),    cmocka_unit_test(test_quick_gelu),
        cmocka_unit_test(test_layouts),  cmocka_unit_test(test_sums),
        cmocka_unit_test(test_bad_index)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
