/* Epoch orders, class weights and augmentation draws: golden vectors
 * (tests/oracle/augment_draws.py), and what must hold for any seed. */
#include "superclip/data.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *read_golden(const char *path)
{
    char *data = NULL;
    size_t size = 0;
    assert_int_equal(sc_read_file(path, 1 << 20, &data, &size), SC_OK);
    return data;
}

static unsigned float_bits(float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}

static void print_draws(const sc_augment *a, char out[512])
{
    const int32_t *r = a->rotate_fix;
    snprintf(
        out, 512, "%d %d %d %d %d %d %d %d %08x %08x %08x %08x %08x %d %d %d %d %d %d %d %d %d %d",
        a->crop_top, a->crop_left, a->flip_h, a->flip_v, a->jitter_order[0], a->jitter_order[1],
        a->jitter_order[2], a->jitter_order[3], float_bits(a->brightness), float_bits(a->contrast),
        float_bits(a->saturation), float_bits(a->hue), float_bits(a->angle), r[0], r[1], r[2], r[3],
        r[4], r[5], a->erase_top, a->erase_left, a->erase_h, a->erase_w);
}

static void draws_equal_the_golden_ones(void **state)
{
    (void)state;
    char *data = read_golden(SC_TEST_DIR "/golden/augment_draws.txt");
    int lines = 0;
    for (char *p = data; *p; p = strchr(p, '\n') + 1, lines++) {
        char got[512];
        sc_augment a;
        const uint64_t seed = strtoull(p, &p, 10);
        const int epoch = (int)strtol(p, &p, 10);
        const int64_t position = strtoll(p, &p, 10);
        const int fold = (int)strtol(p, &p, 10), size = (int)strtol(p, &p, 10);
        const int row = (int)strtol(p, &p, 10);
        sc_augment_draw(seed, epoch, position, fold, size, row, &a);
        assert_true(a.jitter == 1 && a.rotate == 1);
        print_draws(&a, got);
        p += strlen(" : ");
        if (strncmp(got, p, strcspn(p, "\n")) != 0 || strlen(got) != strcspn(p, "\n"))
            fail_msg("line %d: %s", lines + 1, got);
    }
    assert_true(lines > 200);
    free(data);
}

/* Every choice over 20,000 samples: in range, unbiased within five standard deviations. */
static void draws_are_in_range_and_fair(void **state)
{
    (void)state;
    enum { N = 20000, SIZE = 32, ROW = 35 };
    int flips_h = 0, flips_v = 0, erased = 0, top[ROW - SIZE + 1] = {0}, first[4] = {0};
    double angle = 0.0, brightness = 0.0;
    for (int64_t i = 0; i < N; i++) {
        sc_augment a;
        int seen = 0;
        sc_augment_draw(5, 2, i, 3, SIZE, ROW, &a);
        assert_in_range(a.crop_left, 0, ROW - SIZE);
        top[a.crop_top]++;
        flips_h += a.flip_h;
        flips_v += a.flip_v;
        for (int k = 0; k < 4; k++)
            seen |= 1 << a.jitter_order[k];
        assert_int_equal(seen, 15);
        first[a.jitter_order[0]]++;
        assert_true(a.brightness >= 0.8f && a.brightness <= 1.2f && fabsf(a.hue) <= 0.1f);
        assert_true(fabsf(a.angle) <= 15.0f);
        angle += (double)a.angle;
        brightness += (double)a.brightness;
        erased += a.erase_h > 0;
        assert_true((a.erase_h > 0) == (a.erase_w > 0) && a.erase_h < SIZE && a.erase_w < SIZE);
        assert_in_range(a.erase_top, 0, SIZE - a.erase_h);
        assert_in_range(a.erase_left, 0, SIZE - a.erase_w);
    }
    assert_in_range(flips_h, 10000 - 354, 10000 + 354);
    assert_in_range(flips_v, 10000 - 354, 10000 + 354);
    assert_in_range(erased, 2000 - 212, 2000 + 212);
    for (int k = 0; k < 4; k++) {
        assert_in_range(top[k], 5000 - 306, 5000 + 306);
        assert_in_range(first[k], 5000 - 306, 5000 + 306);
    }
    assert_true(fabs(angle / N) < 5 * 8.66 / sqrt(N));
    assert_true(fabs(brightness / N - 1.0) < 5 * 0.1155 / sqrt(N));
}

/* ---- orders --------------------------------------------------------------------------------- */
enum { MOST = 70000 };
static const double CLASS_WEIGHTS[4] = {1.5, 0.25, 0.0, 3.0};

/* Sample 10 + 3 i at place i, its class the sample modulo 4: as in the golden script. */
static void make_fold(int64_t n, sc_fold *f, int32_t **labels)
{
    f->train_count = f->val_count = n;
    f->train = f->val = test_malloc((size_t)n * sizeof *f->train);
    *labels = test_malloc((size_t)(10 + 3 * n) * sizeof **labels);
    for (int32_t s = 0; s < 10 + 3 * n; s++)
        (*labels)[s] = s % 4;
    for (int64_t i = 0; i < n; i++)
        f->train[i] = 10 + 3 * i;
}

static void check_order(const char *expected, const int64_t *order, int64_t n)
{
    if (strncmp(expected, "sum ", 4) == 0) {
        uint64_t sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum = sum * 1000003u + (uint64_t)order[i];
        assert_true(sum == strtoull(expected + 4, NULL, 10));
        return;
    }
    char *p = (char *)(uintptr_t)expected;
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(order[i], strtoll(p, &p, 10));
    assert_int_equal(*p, '\n');
}

static void orders_equal_the_golden_ones(void **state)
{
    (void)state;
    char *data = read_golden(SC_TEST_DIR "/golden/augment_orders.txt");
    int64_t *order = test_malloc(MOST * sizeof *order);
    int lines = 0;
    for (char *p = data; *p; p = strchr(p, '\n') + 1, lines++) {
        const char kind = *p;
        sc_fold f;
        int32_t *labels;
        p = strchr(p, ' ');
        const int64_t n = strtoll(p, &p, 10);
        const uint64_t seed = strtoull(p, &p, 10);
        const int epoch = (int)strtol(p, &p, 10), fold = (int)strtol(p, &p, 10);
        make_fold(n, &f, &labels);
        if (kind == 'v')
            sc_val_order(&f, seed, fold, order);
        else
            assert_int_equal(sc_train_order(&f, labels, kind == 'w' ? CLASS_WEIGHTS : NULL, 4, seed,
                                            epoch, fold, order),
                             SC_OK);
        check_order(p + strlen(" : "), order, n);
        test_free(f.train);
        test_free(labels);
    }
    assert_true(lines > 40);
    test_free(order);
    free(data);
}

static void weighted_draws_follow_the_weights(void **state)
{
    (void)state;
    enum { N = 40000 };
    int64_t counts[4] = {0}, *order = test_malloc(N * sizeof *order);
    int32_t *labels;
    sc_fold f;
    make_fold(N, &f, &labels);
    assert_int_equal(sc_train_order(&f, labels, CLASS_WEIGHTS, 4, 3, 0, 1, order), SC_OK);
    for (int64_t i = 0; i < N; i++)
        counts[labels[order[i]]]++;
    assert_int_equal(counts[2], 0);
    for (int c = 0; c < 4; c++) {
        const double p = CLASS_WEIGHTS[c] / 4.75; /* the classes are equally frequent */
        assert_true(fabs((double)counts[c] - N * p) <= 5 * sqrt(N * p * (1 - p)));
    }
    test_free(order);
    test_free(f.train);
    test_free(labels);
}

static void impossible_weights_are_refused(void **state)
{
    (void)state;
    static const double wrong[][4] = {
        {0, 0, 0, 0}, {1, -1, 1, 1}, {1, NAN, 1, 1}, {1, INFINITY, 1, 1}};
    int64_t order[8];
    int32_t *labels;
    sc_fold f;
    make_fold(8, &f, &labels);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(sc_train_order(&f, labels, wrong[i], 4, 0, 0, 1, order), SC_ENUMERIC);
    assert_int_equal(sc_train_order(&f, labels, CLASS_WEIGHTS, 3, 0, 0, 1, order), SC_EINTERNAL);
    test_free(f.train);
    test_free(labels);
}

static void class_weights_follow_their_formulas(void **state)
{
    (void)state;
    static const int64_t counts[4] = {10, 0, 30, 60};
    double w[4];
    sc_class_weights(counts, 4, SC_INVERSE_FREQ, 1.0, w);
    assert_true(w[0] == 100.0 / (3 * 11.0) && w[1] == 0.0 && w[3] == 100.0 / (3 * 61.0));
    sc_class_weights(counts, 4, SC_INVERSE_SQRT, 0.0, w);
    assert_true(w[0] == sqrt(10.0) && w[1] == 0.0 && w[2] == sqrt(100.0 / 30.0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_equal_the_golden_ones),
        cmocka_unit_test(draws_are_in_range_and_fair),
        cmocka_unit_test(orders_equal_the_golden_ones),
        cmocka_unit_test(weighted_draws_follow_the_weights),
        cmocka_unit_test(impossible_weights_are_refused),
        cmocka_unit_test(class_weights_follow_their_formulas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
