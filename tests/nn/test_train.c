/* A whole small model on ref: every gradient against finite differences, every split over ranks
 * against one rank, AdamW against PyTorch, and resuming.
 */
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

/* ---- finite differences ------------------------------------------------------------------------
 */

static double loss_of(tiny *t, const sc_tensor_set *set)
{
    double losses[3];
    OK(sc_params_import(t->params, set));
    OK(sc_program_forward(t->program));
    OK(sc_program_read(t->program, "losses", losses));
    return losses[0];
}

/* Richardson's rule on central differences: error h^4, rounding about 1e-16 / h. */
static double slope(tiny *t, const sc_tensor_set *set, double *at)
{
    const double h = 2e-5;
    double here = *at, d[2];
    for (int k = 0; k < 2; k++) {
        *at = here + h * (k + 1);
        double up = loss_of(t, set);
        *at = here - h * (k + 1);
        d[k] = (up - loss_of(t, set)) / (2 * h * (k + 1));
    }
    *at = here;
    return (4 * d[0] - d[1]) / 3;
}

/* Largest error relative to the largest slope of the tensor (a slope of 0 counts in absolute
 * terms). */
static void check_tensor(tiny *t, const sc_tensor_set *set, const sc_tensor *grad)
{
    sc_tensor *p = sc_tensor_set_find(set, grad->name);
    double worst = 0, top = 1e-4;
    for (int64_t i = 0; i < sc_shape_count(&grad->shape); i++) {
        double s = slope(t, set, (double *)p->data + i);
        worst = fmax(worst, fabs(s - sc_tensor_get(grad, i)));
        top = fmax(top, fabs(s));
    }
    if (!(worst <= 1e-6 * top))
        fail_msg("%s: gradient differs by %g of %g", grad->name, worst, top);
}

static void check_gradients(tiny_options o, size_t tensors)
{
    const sc_comm *c = fake_comm_alone();
    const int64_t rows = 6;
    double loss;
    tiny t;
    sc_tensor_set set, grads;
    OK(tiny_open(&o, c, &rows, false, &t));
    OK(tiny_write(&t, c, &rows, 1));
    OK(sc_params_export(t.params, &set));
    OK(tiny_gradients(&t, &loss));
    OK(sc_params_export_gradients(t.params, &grads));
    assert_int_equal(grads.count, tensors);
    for (size_t i = 0; i < grads.count; i++)
        check_tensor(&t, &set, &grads.items[i]);
    sc_tensor_set_free(&set);
    sc_tensor_set_free(&grads);
    tiny_close(&t);
}

enum { IMAGE = 6, HEAD = 2, TEXT = 16, PROJECTION = 1, TEMPERATURE = 1 };

static void test_gradients(void **state)
{
    (void)state;
    check_gradients(tiny_defaults(), IMAGE + HEAD + TEXT + PROJECTION + TEMPERATURE);
}

static void test_gradients_two_consumers(void **state)
{
    (void)state;
    tiny_options o = tiny_defaults();
    o.twice = true;
    check_gradients(o, IMAGE + HEAD + TEXT + PROJECTION + TEMPERATURE);
}

static void test_gradients_focal(void **state)
{
    (void)state;
    tiny_options o = tiny_defaults();
    o.loss.focal = true;
    o.loss.multi_positive = true;
    check_gradients(o, IMAGE + HEAD + TEXT + PROJECTION + TEMPERATURE);
}

/* Without the class loss no gradient reaches the temperature: it is not trainable then. */
static void test_gradients_contrastive_only(void **state)
{
    (void)state;
    tiny_options o = tiny_defaults();
    o.loss.superclip = false;
    check_gradients(o, IMAGE + HEAD + TEXT + PROJECTION);
}

static void test_gradients_frozen(void **state)
{
    (void)state;
    tiny_options o = tiny_defaults();
    o.freeze_image = o.running = true;
    check_gradients(o, HEAD + TEXT + PROJECTION + TEMPERATURE);
    o = tiny_defaults();
    o.freeze_text = true;
    check_gradients(o, IMAGE + HEAD + PROJECTION + TEMPERATURE);
}

/* ---- ranks -------------------------------------------------------------------------------------
 */

#define STEPS 3

typedef struct split_rank {
    const int64_t *rows; /* [ranks] */
    tiny_options options;
    sc_status status;
    char message[256];
    double losses[STEPS];
    sc_tensor_set grads, first, params; /* gradients of step 1, parameters after steps 1 and 3 */
    double feature_grad[64];
    uint32_t checksum;
} split_rank;

static sc_status train_rank(const sc_comm *c, split_rank *r, tiny *t)
{
    const sc_adamw adamw = {1e-3, 0.9, 0.999, 1e-8, 0.01, 0};
    SC_TRY(tiny_open(&r->options, c, r->rows, false, t));
    for (int step = 0; step < STEPS; step++) {
        SC_TRY(tiny_write(t, c, r->rows, step));
        SC_TRY(tiny_gradients(t, &r->losses[step]));
        if (step == 0) {
            SC_TRY(sc_params_export_gradients(t->params, &r->grads));
            SC_TRY(sc_program_read_grad(t->program, "image_features", r->feature_grad));
        }
        SC_TRY(sc_params_update(t->params, &adamw));
        if (step == 0)
            SC_TRY(sc_params_export(t->params, &r->first));
    }
    r->checksum = sc_params_checksum(t->params);
    return sc_params_export(t->params, &r->params);
}

static void run_rank(const sc_comm *c, void *ctx)
{
    split_rank *r = ctx;
    tiny t;
    r->status = train_rank(c, r, &t);
    (void)snprintf(r->message, sizeof r->message, "%s", sc_message());
    tiny_close(&t);
}

static split_rank *run_split(int ranks, const int64_t *rows, tiny_options o)
{
    split_rank *r = calloc((size_t)ranks, sizeof *r);
    assert_non_null(r);
    for (int i = 0; i < ranks; i++) {
        r[i].rows = rows;
        r[i].options = o;
    }
    fake_comm_run(ranks, run_rank, r, sizeof *r);
    for (int i = 0; i < ranks; i++)
        if (r[i].status != SC_OK)
            fail_msg("rank %d of %d: %s", i, ranks, r[i].message);
    return r;
}

static void free_split(split_rank *r, int ranks)
{
    for (int i = 0; i < ranks; i++) {
        sc_tensor_set_free(&r[i].grads);
        sc_tensor_set_free(&r[i].first);
        sc_tensor_set_free(&r[i].params);
    }
    free(r);
}

static void same_sets(const sc_tensor_set *a, const sc_tensor_set *b, double tolerance,
                      const char *what)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++)
        for (int64_t k = 0; k < sc_shape_count(&a->items[i].shape); k++) {
            double x = sc_tensor_get(&a->items[i], k), y = sc_tensor_get(&b->items[i], k);
            if (!(fabs(x - y) <= tolerance * fmax(1, fabs(x))))
                fail_msg("%s of %s differ: %.17g %.17g", what, a->items[i].name, x, y);
        }
}

/* Sums in another order: a few ulps. AdamW divides by the gradient's own size, so a rounding error
 * e of a gradient g moves a parameter by lr * e / g: more steps, wider bound. */
static void compare_split(const split_rank *one, const split_rank *r, int ranks)
{
    for (int i = 0; i < ranks; i++) {
        assert_true(fabs(one->losses[0] - r[i].losses[0]) <= 1e-12);
        for (int step = 1; step < STEPS; step++)
            assert_true(fabs(one->losses[step] - r[i].losses[step]) <= 1e-10);
        for (int k = 0; k < 35; k++)
            assert_true(fabs(one->feature_grad[k] - r[i].feature_grad[k]) <= 1e-12);
        same_sets(&one->grads, &r[i].grads, 1e-12, "gradients");
        same_sets(&one->first, &r[i].first, 1e-12, "parameters after one step");
        same_sets(&one->params, &r[i].params, 1e-9, "parameters");
        assert_int_equal(r[i].checksum, r[0].checksum);
    }
}

static void test_splits(void **state)
{
    (void)state;
    static const int64_t one[] = {7}, even[] = {4, 3}, empty_last[] = {7, 0},
                         empty_first[] = {0, 7}, three[] = {3, 0, 4},
                         eight[] = {1, 0, 2, 1, 0, 0, 2, 1};
    static const struct {
        int ranks;
        const int64_t *rows;
    } splits[] = {{2, even}, {2, empty_last}, {2, empty_first}, {3, three}, {8, eight}};
    split_rank *whole = run_split(1, one, tiny_defaults());
    for (size_t k = 0; k < sizeof splits / sizeof *splits; k++) {
        split_rank *r = run_split(splits[k].ranks, splits[k].rows, tiny_defaults());
        compare_split(whole, r, splits[k].ranks);
        free_split(r, splits[k].ranks);
    }
    free_split(whole, 1);
}

/* ---- AdamW -------------------------------------------------------------------------------------
 */

static const double *doubles(const golden_case *c, const char *name, int k)
{
    char full[24];
    (void)snprintf(full, sizeof full, k < 0 ? "%s" : "%s%d", name, k);
    const golden_tensor *t = golden_find(c, full);
    assert_non_null(t);
    return t->data;
}

static void near_all(const double *a, const double *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_true(fabs(a[i] - b[i]) <= 1e-14 * fmax(1, fabs(b[i])));
}

static void test_adamw(void **state)
{
    (void)state;
    enum { N = 37, GOLDEN_STEPS = 5 };
    golden_file *f = golden_open(SC_TEST_DIR "/golden/adamw.golden");
    assert_non_null(f);
    assert_int_equal(f->count, 3);
    for (size_t i = 0; i < f->count; i++) {
        const golden_case *c = &f->cases[i];
        double p[N], m[N] = {0}, v[N] = {0};
        sc_adamw o = {golden_attr(c, "lr", 0),           0.9, 0.999, 1e-8,
                      golden_attr(c, "weight_decay", 0), 0};
        memcpy(p, doubles(c, "before", -1), sizeof p);
        for (int step = 0; step < GOLDEN_STEPS; step++) {
            o.step = step + 1;
            OK(sc_backend_ref()->adamw(NULL, &o, N, p, doubles(c, "grad", step), m, v));
            near_all(p, doubles(c, "after", step), N);
        }
        near_all(m, doubles(c, "m", -1), N);
        near_all(v, doubles(c, "v", -1), N);
    }
    golden_free(f);
}

/* ---- resuming ----------------------------------------------------------------------------------
 */

static void steps(tiny *t, int from, int to)
{
    const sc_adamw adamw = {1e-3, 0.9, 0.999, 1e-8, 0.01, 0};
    const int64_t rows = 5;
    for (int step = from; step < to; step++) {
        double loss;
        OK(tiny_write(t, fake_comm_alone(), &rows, step));
        OK(tiny_gradients(t, &loss));
        OK(sc_params_update(t->params, &adamw));
    }
}

static void test_resume(void **state)
{
    (void)state;
    tiny_options o = tiny_defaults();
    const int64_t rows = 5;
    tiny whole, first, second;
    sc_tensor_set set, m, v;
    OK(tiny_open(&o, fake_comm_alone(), &rows, false, &whole));
    OK(tiny_open(&o, fake_comm_alone(), &rows, false, &first));
    OK(tiny_open(&o, fake_comm_alone(), &rows, false, &second));
    steps(&whole, 0, 6);
    steps(&first, 0, 3);
    OK(sc_params_export(first.params, &set));
    OK(sc_params_export_moments(first.params, &m, &v));
    OK(sc_params_import(second.params, &set));
    OK(sc_params_import_moments(second.params, &m, &v));
    sc_params_set_step(second.params, sc_params_step(first.params));
    steps(&second, 3, 6);
    assert_int_equal(sc_params_step(whole.params), 6);
    assert_int_equal(sc_params_checksum(whole.params), sc_params_checksum(second.params));
    assert_int_not_equal(sc_params_checksum(whole.params), sc_params_checksum(first.params));
    sc_tensor_set_free(&set);
    sc_tensor_set_free(&m);
    sc_tensor_set_free(&v);
    tiny_close(&whole);
    tiny_close(&first);
    tiny_close(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_gradients_two_consumers),
        cmocka_unit_test(test_gradients_focal),
        cmocka_unit_test(test_gradients_contrastive_only),
        cmocka_unit_test(test_gradients_frozen),
        cmocka_unit_test(test_splits),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_resume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
