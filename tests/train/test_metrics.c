/* Metrics against scikit-learn (tests/oracle/train_metrics_golden.py) and by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "superclip/train.h"

static uint32_t xorshift(uint32_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 17;
    *s ^= *s << 5;
    return *s;
}

/* The case that the golden script makes from the same seed. */
static void make_case(int n, int classes, unsigned coarse, uint32_t seed, int32_t *labels,
                      double *p)
{
    for (int i = 0; i < n; i++)
        labels[i] = (int32_t)(xorshift(&seed) % (uint32_t)classes);
    for (int i = 0; i < n * classes; i++)
        p[i] = (double)(xorshift(&seed) % (coarse ? coarse : 1u << 24) + 1);
    for (int i = 0; i < n; i++) {
        double sum = 0;
        p[i * classes + labels[i]] *= 1.5;
        for (int c = 0; c < classes; c++)
            sum += p[i * classes + c];
        for (int c = 0; c < classes; c++)
            p[i * classes + c] /= sum;
    }
}

/* Sums of at most 60 terms of size 1: 1e-11 percent is far above their rounding, far below a
 * miscount. */
static void close_to(double have, double want)
{
    if (!(fabs(have - want) <= 1e-11 * 100))
        fail_msg("have %.17g, want %.17g", have, want);
}

static void equals_scikit_learn(void **state)
{
    (void)state;
    FILE *f = fopen(SC_TEST_DIR "/golden/train_metrics.txt", "r");
    assert_non_null(f);
    int n, classes, cases = 0;
    unsigned coarse, seed;
    while (fscanf(f, "case %d %d %u %u", &n, &classes, &coarse, &seed) == 4) {
        double want[5];
        int32_t labels[64];
        double *p = calloc((size_t)(n * classes), sizeof *p);
        sc_eval_metrics m;
        for (int k = 0; k < 5; k++)
            assert_int_equal(fscanf(f, "%lf ", &want[k]), 1);
        make_case(n, classes, coarse, seed, labels, p);
        assert_int_equal(sc_eval_metrics_of(p, labels, n, classes, &m), SC_OK);
        close_to(m.acc, want[0]);
        close_to(m.mAP, want[1]);
        close_to(m.precision, want[2]);
        close_to(m.recall, want[3]);
        close_to(m.f1, want[4]);
        free(p);
        cases++;
    }
    fclose(f);
    assert_int_equal(cases, 240);
}

static void ties_are_one_threshold(void **state)
{
    (void)state;
    const double scores[] = {0.5, 0.5, 0.5, 0.5};
    const uint8_t one[] = {0, 0, 0, 1}, first[] = {1, 0, 0, 0}, none[4] = {0};
    close_to(sc_average_precision(scores, one, 4), 0.25);
    close_to(sc_average_precision(scores, first, 4), 0.25);
    close_to(sc_average_precision(scores, none, 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_scikit_learn),
        cmocka_unit_test(ties_are_one_threshold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
