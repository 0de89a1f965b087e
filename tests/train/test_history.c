/* Whole trainings against PyTorch in double (tests/oracle/train_golden.py): full batches, no
 * augmentation, every loss option, three epochs; on ref also the parameters at the end, on cpu in
 * fp32 the losses.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "job.h"
#include "superclip/weights.h"

enum { COLUMNS = 13 };

static void set_options(sc_train_options *o, const char *name)
{
    o->epochs = 3;
    o->learning_rate = 1e-4; /* the default */
    o->batch_size = 14;
    o->augment = false;
    if (strcmp(name, "contrastive_only") == 0)
        o->loss.superclip = false;
    else if (strcmp(name, "no_class_weights") == 0)
        o->weighted_loss = false;
    else if (strcmp(name, "inverse_sqrt") == 0)
        o->weight_method = SC_INVERSE_SQRT;
    else if (strcmp(name, "part_weights") == 0) {
        o->loss.class_weight = 0.7;
        o->loss.contrastive_weight = 1.3;
    } else if (strcmp(name, "focal") == 0) {
        o->loss.focal = true;
        o->loss.focal_alpha = 0.25;
        o->loss.focal_gamma = 2;
    } else if (strcmp(name, "focal_sharp") == 0) {
        o->loss.focal = true;
        o->loss.focal_alpha = 0.6;
        o->loss.focal_gamma = 3.5;
    } else if (strcmp(name, "multi_positive") == 0)
        o->loss.multi_positive = true;
    else if (strcmp(name, "freeze_image") == 0)
        o->freeze_image = true;
    else if (strcmp(name, "freeze_text") == 0)
        o->freeze_text = true;
    else if (strcmp(name, "freeze_bn") == 0)
        o->freeze_bn = true;
    else if (strcmp(name, "no_text_projection") == 0)
        o->embed_dim = 64;
    else if (strcmp(name, "superclip") != 0)
        fail_msg("unknown case %s", name);
}

static void columns_of(const sc_epoch_metrics *m, double v[COLUMNS])
{
    const double all[COLUMNS] = {m->train_loss,
                                 m->train_acc,
                                 m->val_loss,
                                 m->val_acc,
                                 m->val_mAP,
                                 m->val_precision,
                                 m->val_recall,
                                 m->val_f1,
                                 m->train_class_loss,
                                 m->train_contrastive_loss,
                                 m->val_class_loss,
                                 m->val_contrastive_loss,
                                 m->lr};
    memcpy(v, all, sizeof all);
}

static void check_parameters(const job *j, double sum, double square)
{
    char *path = sc_path_join(j->dir, "checkpoint_latest.pth");
    sc_object *root;
    sc_tensor_set set;
    double have_sum = 0, have_square = 0;
    assert_int_equal(sc_pth_load(path, &root), SC_OK);
    assert_int_equal(sc_state_dict_of(path, root, &set), SC_OK);
    for (size_t i = 0; i < set.count; i++) {
        if (strstr(set.items[i].name, "running_") || strstr(set.items[i].name, "num_batches"))
            continue;
        for (int64_t k = 0; k < sc_shape_count(&set.items[i].shape); k++) {
            double v = sc_tensor_get(&set.items[i], k);
            have_sum += v;
            have_square += v * v;
        }
    }
    /* 3.7e5 parameters; sums of a few hundred */
    if (!(fabs(have_sum - sum) <= 1e-6) || !(fabs(have_square - square) <= 1e-6))
        fail_msg("parameters: sum %.17g, squares %.17g; want %.17g, %.17g", have_sum, have_square,
                 sum, square);
    sc_tensor_set_free(&set);
    sc_obj_free(root);
    free(path);
}

/* How far a figure may be from PyTorch's in double. Epoch e's training loss is that of e - 1
 * updates, its validation that of e. */
static double tolerance(bool exact, int column, int epoch)
{
    if (exact) /* double against double; AdamW's first steps divide by tiny second moments */
        return 1e-9;
    int updates = column == 0 || column == 1 || column == 8 || column == 9 ? epoch : epoch + 1;
    return updates <= 1 ? 1e-5 : 3e-3;
}

static bool is_loss(int column)
{
    return column == 0 || column == 2 || column >= 8;
}

static void run_case(FILE *f, const char *name, int epochs, bool exact)
{
    job j;
    sc_train_result r;
    double want[COLUMNS], have[COLUMNS], sum, square;
    job_init(&j);
    set_options(&j.o, name);
    if (!exact) {
        j.backend = sc_backend_cpu();
        j.precision = SC_FP32;
    }
    if (job_run(&j, &r) != SC_OK)
        fail_msg("%s: %s", name, sc_message());
    assert_int_equal(r.history.count, epochs);
    for (int e = 0; e < epochs; e++) {
        columns_of(&r.history.epochs[e], have);
        for (int c = 0; c < COLUMNS; c++) {
            assert_int_equal(fscanf(f, "%lf", &want[c]), 1);
            if (!exact && !is_loss(c))
                continue; /* one image more or less is a jump */
            if (!(fabs(have[c] - want[c]) <= tolerance(exact, c, e) * (1 + fabs(want[c]))))
                fail_msg("%s, epoch %d, column %d: %.17g, PyTorch has %.17g", name, e + 1, c,
                         have[c], want[c]);
        }
    }
    assert_int_equal(fscanf(f, "%lf %lf", &sum, &square), 2);
    if (exact)
        check_parameters(&j, sum, square);
    sc_train_result_free(&r);
    job_free(&j);
}

static void run_all(bool exact)
{
    FILE *f = fopen(SC_TEST_DIR "/golden/train_history.txt", "r");
    char line[512], name[64];
    int epochs, cases = 0;
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    for (; fscanf(f, " case %63s %d", name, &epochs) == 2; cases++)
        run_case(f, name, epochs, exact);
    assert_int_equal(cases, 12);
    fclose(f);
}

static void equals_pytorch(void **state)
{
    (void)state;
    run_all(true);
}

static void equals_pytorch_in_fp32(void **state)
{
    (void)state;
    run_all(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(equals_pytorch),
                                       cmocka_unit_test(equals_pytorch_in_fp32)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
