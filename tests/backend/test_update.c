/* Backward and AdamW in one pass leave the bytes of the one after the other, values and moments, in
 * any order of the two ways: whole steps of the small SuperCLIP model, with texts that change, so
 * that some token rows have moments and no gradient, some a gradient for the first time and most
 * neither.
 */
#include "superclip/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BATCH = 5, SIZE = 64, TEXTS = 4, LENGTH = 6, STEPS = 3 };

typedef struct job {
    sc_device *d;
    sc_graph *g;
    sc_params *p;
    sc_program *program;
    sc_comm *alone;
    sc_tensor_set values, m, v;
} job;

static uint32_t noise(uint32_t *s)
{
    return (*s = *s * 1664525u + 1013904223u) >> 8;
}
static sc_status write_texts(sc_program *p, uint32_t s)
{
    int32_t tokens[TEXTS][LENGTH];
    for (int t = 0; t < TEXTS; t++)
        for (int l = 0; l < LENGTH; l++)
            tokens[t][l] = l == 0 ? 512 : l == LENGTH - 1 ? 513 : (int32_t)(noise(&s) % 40);
    return sc_program_write(p, "tokens", tokens);
}
static sc_status write_rest(sc_program *p)
{
    static uint8_t images[BATCH][SIZE][SIZE][3];
    static const float weights[TEXTS] = {0.5f, 0.75f, 1, 1.25f};
    sc_augment draws[BATCH] = {0};
    int32_t end[TEXTS], group[TEXTS], labels[BATCH];
    uint32_t s = 7;
    for (size_t i = 0; i < sizeof images; i++)
        ((uint8_t *)images)[i] = (uint8_t)(noise(&s) >> 3);
    for (int i = 0; i < BATCH; i++)
        labels[i] = i % TEXTS;
    for (int t = 0; t < TEXTS; t++) {
        end[t] = LENGTH - 1;
        group[t] = t;
    }
    SC_TRY(sc_program_write(p, "images", images));
    SC_TRY(sc_program_write(p, "draws", draws));
    SC_TRY(sc_program_write(p, "text_end", end));
    SC_TRY(sc_program_write(p, "text_class", group));
    SC_TRY(sc_program_write(p, "labels", labels));
    return sc_program_write(p, "class_weights", weights);
}

static sc_status compile(job *j, sc_precision_mode precision)
{
    static const int64_t rows = BATCH;
    const sc_device_options o = {2, precision, NULL};
    const sc_model_spec spec = {
        .image_encoder = "resnet-tiny",
        .text_encoder = "clip:tiny",
        .embed_dim = 48,
        .img_size = SIZE,
        .train_size = SIZE,
        .vocabulary = 514,
        .context = 77,
        .classes = TEXTS,
        .texts = TEXTS,
        .text_length = LENGTH,
        .temperature = 0.07,
        .loss = {.superclip = true, .class_weight = 1, .contrastive_weight = 1, .tau0 = 0.07}};
    const sc_model_io io = {.train_rows = true};
    SC_TRY(sc_backend_cpu()->open(&o, &j->d));
    SC_TRY(sc_model_record(&spec, SC_MODEL_TRAIN, &io, &j->g));
    SC_TRY(sc_params_create(j->d, j->g, &j->p));
    SC_TRY(sc_params_init(j->p, 42));
    j->alone = sc_comm_single();
    sc_program_desc desc = {.graph = j->g, .rows_local = rows, .rows = &rows, .training = true};
    SC_TRY(sc_programs_compile(j->d, j->p, j->alone, &desc, 1, &j->program));
    return write_rest(j->program);
}
/* how: a letter a step, 'o' in one pass, 's' separately */
static sc_status train(job *j, sc_precision_mode precision, const char *how)
{
    const sc_adamw adamw = {1e-3, 0.9, 0.999, 1e-8, 0.01, 0};
    SC_TRY(compile(j, precision));
    for (int k = 0; k < STEPS; k++) {
        SC_TRY(write_texts(j->program, (uint32_t)k));
        SC_TRY(sc_program_forward(j->program));
        if (how[k] == 'o') {
            SC_TRY(sc_program_update(j->program, &adamw));
            continue;
        }
        SC_TRY(sc_program_backward(j->program));
        SC_TRY(sc_program_reduce(j->program));
        SC_TRY(sc_params_update(j->p, &adamw));
    }
    assert_int_equal(sc_params_step(j->p), STEPS);
    SC_TRY(sc_params_export(j->p, &j->values));
    return sc_params_export_moments(j->p, &j->m, &j->v);
}
static void release(job *j)
{
    sc_tensor_set_free(&j->values);
    sc_tensor_set_free(&j->m);
    sc_tensor_set_free(&j->v);
    sc_program_free(j->program);
    sc_params_free(j->p);
    sc_graph_free(j->g);
    if (j->alone)
        j->alone->free(j->alone);
    if (j->d)
        j->d->backend->close(j->d);
}

static void same_bytes(const sc_tensor_set *a, const sc_tensor_set *b, const char *what)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++)
        if (memcmp(a->items[i].data, b->items[i].data, sc_tensor_bytes(&b->items[i])) != 0)
            fail_msg("%s of %s differ", what, b->items[i].name);
}
static void compare(sc_precision_mode precision, const char *how)
{
    job want = {0}, got = {0};
    if (train(&want, precision, "sss") != SC_OK || train(&got, precision, how) != SC_OK)
        fail_msg("%s: %s", how, sc_message());
    same_bytes(&got.values, &want.values, "values");
    same_bytes(&got.m, &want.m, "first moments");
    same_bytes(&got.v, &want.v, "second moments");
    release(&want);
    release(&got);
}
static void test_one_pass(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        compare(k ? SC_FP32 : SC_BF16_MIXED, "ooo");
        compare(k ? SC_FP32 : SC_BF16_MIXED, "soo");
        compare(k ? SC_FP32 : SC_BF16_MIXED, "oso");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_pass)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
