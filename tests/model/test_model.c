/* The model against PyTorch (tests/oracle/model_golden.py): names, shapes and order of the state
 * dict of every encoder; features, losses and gradients of each family's small member on ref.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "superclip/backend.h"
#include "superclip/model.h"

static sc_model_spec spec_of(const char *image, const char *text, int embed_dim, int vocabulary)
{
    return (sc_model_spec){
        .image_encoder = image,
        .text_encoder = text,
        .embed_dim = embed_dim,
        .img_size = 32,
        .train_size = 35,
        .vocabulary = vocabulary,
        .context = 77,
        .classes = 3,
        .texts = 3,
        .text_length = 6,
        .temperature = 0.07,
        .loss = {.superclip = true, .class_weight = 1, .contrastive_weight = 1, .tau0 = 0.07}};
}

static sc_device *open_ref(void)
{
    const sc_device_options o = {1, SC_FP64, NULL};
    sc_device *d;
    assert_int_equal(sc_backend_ref()->open(&o, &d), SC_OK);
    return d;
}

/* A device that hands out no memory: enough for looking at the parameters of big models. */
static sc_status alloc_nothing(sc_device *d, size_t bytes, void **out)
{
    (void)d;
    (void)bytes;
    *out = malloc(1);
    return *out ? SC_OK : SC_ENOMEM;
}

static void free_nothing(sc_device *d, void *p)
{
    (void)d;
    free(p);
}

static sc_device *open_hollow(sc_backend *own)
{
    sc_device *d = open_ref();
    *own = *d->backend;
    own->alloc = alloc_nothing;
    own->free = free_nothing;
    d->backend = own;
    return d;
}

/* "name [2, 3]\n" of every entry, in order. */
static void list_state(const sc_params *p, sc_text *out)
{
    for (size_t i = 0; i < sc_params_count(p); i++) {
        sc_param_info info = sc_params_info(p, i);
        char shape[96];
        sc_text_putf(out, "%s %s\n", info.name, sc_shape_text(&info.shape, shape));
    }
}

static void names_equal_pytorch(void **state)
{
    (void)state;
    FILE *f = fopen(SC_TEST_DIR "/golden/model_names.txt", "r");
    assert_non_null(f);
    char line[256], image[64], text[64];
    int dim, vocabulary, count, whole, models = 0;
    unsigned crc;
    sc_backend hollow;
    sc_device *d = open_hollow(&hollow);
    while (fgets(line, sizeof line, f)) {
        assert_int_equal(sscanf(line, "model %63s %63s %d %d %d %x %d", image, text, &dim,
                                &vocabulary, &count, &crc, &whole),
                         7);
        sc_model_spec spec = spec_of(image, text, dim, vocabulary);
        sc_graph *g;
        sc_params *p;
        sc_text list;
        assert_int_equal(sc_model_record(&spec, SC_MODEL_TRAIN, NULL, &g), SC_OK);
        assert_int_equal(sc_params_create(d, g, &p), SC_OK);
        sc_text_init(&list);
        list_state(p, &list);
        const char *at = list.data;
        for (int i = 0; whole && i < count; i++) {
            assert_non_null(fgets(line, sizeof line, f));
            if (strncmp(at, line, strlen(line)) != 0)
                fail_msg("%s + %s, entry %d: want %shave %.60s", image, text, i, line, at);
            at += strlen(line);
        }
        assert_int_equal(sc_params_count(p), count);
        assert_int_equal(sc_crc32c(0, list.data, list.len), crc);
        sc_text_free(&list);
        sc_params_free(p);
        sc_graph_free(g);
        models++;
    }
    assert_true(models >= 20);
    d->backend->close(d);
    fclose(f);
}

/* ---- numbers ----------------------------------------------------------------------------------
 */

/* The pixels of tests/oracle/train_oracle.py. */
static void fill_images(uint8_t *dst, const int32_t *labels, int n, int size)
{
    for (int i = 0; i < n; i++)
        for (int y = 0; y < size; y++)
            for (int x = 0; x < size; x++)
                for (int c = 0; c < 3; c++) {
                    uint32_t noise = (uint32_t)(i * 1000003 + y * 10007 + x * 101 + c * 7);
                    noise = noise * 2654435761u >> 25;
                    int pattern = (x * (labels[i] + 1) / 4 + y * (2 - labels[i]) / 4) % 2;
                    *dst++ = (uint8_t)(noise + (pattern ? 120 : 0));
                }
}

/* Sums in another order than PyTorch's, in double, over up to 10^5 terms that partly cancel: wholly
 * in the gradient of a bias in front of a BatchNorm, of which rounding errors are left. */
static void expect(const char *what, const double *v, int64_t n, const double want[3])
{
    double sum = 0, square = 0, scale = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += v[i];
        square += v[i] * v[i];
        scale += fabs(v[i]);
    }
    if (!(fabs(sum - want[0]) <= 1e-10 * (1e-2 + scale)) ||
        !(fabs(square - want[1]) <= 1e-10 * (1e-6 + square)) ||
        !(fabs(v[0] - want[2]) <= 1e-10 * (1e-3 + sqrt(square))))
        fail_msg("%s: sum %.17g, squares %.17g, first %.17g; want %.17g, %.17g, %.17g", what, sum,
                 square, v[0], want[0], want[1], want[2]);
}

static void read_any(sc_program *p, const char *name, double *out)
{
    char base[64];
    const char *dot = strstr(name, ".grad");
    if (!dot) {
        assert_int_equal(sc_program_read(p, name, out), SC_OK);
        return;
    }
    snprintf(base, sizeof base, "%.*s", (int)(dot - name), name);
    assert_int_equal(sc_program_read_grad(p, base, out), SC_OK);
}

#define LARGEST 45
static const int32_t tokens[4][6] = {
    {512, 64, 321, 513}, {512, 65, 66, 323, 513}, {512, 71, 72, 73, 330, 513}, {512, 70, 326, 513}};
static const int32_t end[4] = {3, 4, 5, 3};
static void write_inputs(sc_program *p, const sc_model_spec *spec, int size)
{
    static const int32_t group[4] = {0, 1, 1, 2}, labels[6] = {0, 0, 0, 0, 1, 1};
    static const double weights[3] = {0.5, 1, 2};
    static uint8_t pixels[6 * LARGEST * LARGEST * 3];
    static const sc_augment draws[6];
    fill_images(pixels, labels, 6, size);
    assert_int_equal(sc_model_write_texts(p, spec, tokens[0], end), SC_OK);
    assert_int_equal(sc_program_write(p, "text_class", group), SC_OK);
    assert_int_equal(sc_program_write(p, "class_weights", weights), SC_OK);
    assert_int_equal(sc_program_write(p, "images", pixels), SC_OK);
    assert_int_equal(sc_program_write(p, "draws", draws), SC_OK);
    assert_int_equal(sc_program_write(p, "labels", labels), SC_OK);
}

static void compare_with_golden(sc_program *p, const sc_tensor_set *grads, const char *golden)
{
    char name[128], path[256];
    snprintf(path, sizeof path, SC_TEST_DIR "/golden/model_%s.txt", golden);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    double want[3], buffer[6 * 24];
    size_t seen = 0;
    while (fscanf(f, "%127s %lf %lf %lf", name, &want[0], &want[1], &want[2]) == 4) {
        const sc_tensor *g = sc_tensor_set_find(grads, name);
        if (g) {
            seen++;
            expect(name, g->data, sc_shape_count(&g->shape), want);
            continue;
        }
        sc_shape shape;
        char base[64];
        snprintf(base, sizeof base, "%.*s", (int)strcspn(name, "."), name);
        assert_int_equal(sc_program_shape(p, base, &shape), SC_OK);
        assert_true(sc_shape_count(&shape) <= 6 * 24);
        read_any(p, name, buffer);
        expect(name, buffer, sc_shape_count(&shape), want);
    }
    fclose(f);
    assert_int_equal(seen, grads->count);
}

/* The towers' vectors, but CLIP's, become 1 + normal of 0.1: as they start, a layer scale of 1e-6
 * would hide what lies behind it. */
static void redraw_vectors(sc_params *p)
{
    static const char image[] = "image_encoder.backbone.", bert[] = "text_encoder.backbone.e";
    sc_tensor_set all;
    assert_int_equal(sc_params_export(p, &all), SC_OK);
    for (size_t i = 0; i < all.count; i++) {
        sc_param_info info = sc_params_info(p, i);
        float v[2048];
        if (info.kind != SC_PARAM_WEIGHT || info.shape.n != 1 ||
            (strncmp(info.name, image, sizeof image - 1) != 0 &&
             strncmp(info.name, bert, sizeof bert - 1) != 0))
            continue;
        assert_in_range(info.shape.d[0], 1, 2048);
        sc_init_fill(info.name, SC_NORMAL(0.1), 7, info.shape.d[0], v);
        for (int64_t k = 0; k < info.shape.d[0]; k++)
            sc_tensor_set_element(&all.items[i], k, (double)(1 + v[k]));
    }
    assert_int_equal(sc_params_import(p, &all), SC_OK);
    sc_tensor_set_free(&all);
}

static void compare(const char *encoder, const char *text, const char *golden, int size,
                    bool redraw, const sc_text_pack *pack)
{
    sc_device *d = open_ref();
    sc_comm *one = sc_comm_single();
    sc_model_spec spec = spec_of(encoder, text, 24, 514);
    const sc_model_io io = {false, false};
    const int64_t rows[1] = {6};
    sc_graph *g;
    sc_params *p;
    sc_program *program;
    sc_tensor_set grads;
    spec.texts = 4;
    spec.pack = pack;
    spec.img_size = size;
    assert_int_equal(sc_model_record(&spec, SC_MODEL_TRAIN, &io, &g), SC_OK);
    assert_int_equal(sc_params_create(d, g, &p), SC_OK);
    const sc_program_desc desc = {.graph = g, .rows_local = 6, .rows = rows, .training = true};
    assert_int_equal(sc_programs_compile(d, p, one, &desc, 1, &program), SC_OK);
    assert_int_equal(sc_params_init(p, 42), SC_OK);
    if (redraw)
        redraw_vectors(p);
    write_inputs(program, &spec, size);
    assert_int_equal(sc_program_forward(program), SC_OK);
    assert_int_equal(sc_program_backward(program), SC_OK);
    assert_int_equal(sc_params_export_gradients(p, &grads), SC_OK);
    compare_with_golden(program, &grads, golden);
    sc_tensor_set_free(&grads);
    sc_program_free(program);
    sc_params_free(p);
    sc_graph_free(g);
    one->free(one);
    d->backend->close(d);
}

/* The texts as they are, and packed: the same features and gradients. */
static void equals_pytorch(const char *encoder, const char *text, const char *golden, int size,
                           bool redraw)
{
    sc_text_pack pack;
    compare(encoder, text, golden, size, redraw, NULL);
    assert_int_equal(sc_text_pack_make(tokens[0], end, 4, 6, &pack), SC_OK);
    compare(encoder, text, golden, size, redraw, &pack);
    sc_text_pack_free(&pack);
}

static void check_pack(const int32_t *rows, const int32_t *ends, int texts, int length,
                       const sc_text_pack *want)
{
    sc_text_pack p;
    const size_t bytes = (size_t)want->rows * sizeof(int32_t);
    assert_int_equal(sc_text_pack_make(rows, ends, texts, length, &p), SC_OK);
    assert_int_equal(p.texts, texts);
    assert_int_equal(p.rows, want->rows);
    assert_int_equal(p.shared, want->shared);
    assert_int_equal(p.longest, want->longest);
    assert_memory_equal(p.tokens, want->tokens, bytes);
    assert_memory_equal(p.places, want->places, bytes);
    assert_memory_equal(p.begins, want->begins, (size_t)(texts + 1) * sizeof(int32_t));
    assert_memory_equal(p.end, want->end, (size_t)texts * sizeof(int32_t));
    sc_text_pack_free(&p);
}
#define INTS(...) ((int32_t[]){__VA_ARGS__})
static void test_packs(void **state)
{
    (void)state;
    check_pack(INTS(9, 1, 2, 8, 9, 1, 8, 0, 9, 1, 3, 8), INTS(3, 2, 3), 3, 4,
               &(sc_text_pack){.rows = 7,
                               .shared = 2,
                               .longest = 4,
                               .tokens = INTS(9, 1, 2, 8, 8, 3, 8),
                               .places = INTS(0, 1, 2, 3, 2, 2, 3),
                               .begins = INTS(2, 4, 5, 7),
                               .end = INTS(3, 4, 6)});
    /* the same text twice: each keeps an end token; one text alone shares nothing */
    check_pack(INTS(9, 8, 9, 8), INTS(1, 1), 2, 2,
               &(sc_text_pack){.rows = 3,
                               .shared = 1,
                               .longest = 2,
                               .tokens = INTS(9, 8, 8),
                               .places = INTS(0, 1, 1),
                               .begins = INTS(1, 2, 3),
                               .end = INTS(1, 2)});
    check_pack(INTS(9, 8), INTS(1), 1, 2,
               &(sc_text_pack){.rows = 2,
                               .longest = 2,
                               .tokens = INTS(9, 8),
                               .places = INTS(0, 1),
                               .begins = INTS(0, 2),
                               .end = INTS(1)});
    /* no token in common; a text of one token */
    check_pack(INTS(9, 8, 7, 0), INTS(1, 0), 2, 2,
               &(sc_text_pack){.rows = 3,
                               .longest = 2,
                               .tokens = INTS(9, 8, 7),
                               .places = INTS(0, 1, 0),
                               .begins = INTS(0, 2, 3),
                               .end = INTS(1, 2)});
}

static void resnet_equals_pytorch(void **state)
{
    (void)state;
    equals_pytorch("resnet-tiny", "clip:tiny", "tiny", 32, false);
}
static void convnext_equals_pytorch(void **state)
{
    (void)state;
    equals_pytorch("convnext-mini", "clip:tiny", "convnext-mini", LARGEST, true);
}
static void efficientnet_equals_pytorch(void **state)
{
    (void)state;
    equals_pytorch("efficientnet-mini", "clip:tiny", "efficientnet-mini", LARGEST, true);
}
static void starnet_equals_pytorch(void **state)
{
    (void)state;
    equals_pytorch("starnet-mini", "clip:tiny", "starnet-mini", LARGEST, true);
}

static void vit_and_bert_equal_pytorch(void **state)
{
    (void)state;
    equals_pytorch("vit-tiny", "bert-tiny", "vit-tiny", 32, true);
}

static void wrong_names_are_refused(void **state)
{
    (void)state;
    assert_int_equal(sc_encoder_check("resnet18", true), SC_OK);
    assert_int_equal(sc_encoder_check("clip:ViT-B/32", false), SC_OK);
    assert_int_equal(sc_encoder_check("resnet8", true), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "did you mean 'resnet18'"));
    assert_int_equal(sc_encoder_check("clip:ViT-B/23", false), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "did you mean 'clip:ViT-B/"));
    assert_int_equal(sc_encoder_check("resnet18", false), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "is an image encoder"));
    assert_int_equal(sc_encoder_check("convnext_base", true), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "did you mean 'convnext-base'"));
    assert_int_equal(sc_encoder_check("bert-base-chinese", false), SC_OK);
    size_t n;
    const sc_encoder_info *list = sc_encoder_list(&n);
    for (size_t i = 0; i < n; i++)
        assert_ptr_equal(sc_encoder_find(list[i].name), &list[i]);
}

/* Four strides of 2 behind patches of 4 pixels leave nothing of an image below 32. */
static void small_images_are_refused(void **state)
{
    (void)state;
    sc_model_spec spec = spec_of("convnext-mini", "clip:tiny", 16, 514);
    sc_graph *g;
    spec.img_size = 31;
    assert_int_equal(sc_model_record(&spec, SC_MODEL_TRAIN, NULL, &g), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "img_size 31 is too small for image encoder"));
    assert_non_null(strstr(sc_message(), "32 or more"));
    spec.img_size = 32;
    assert_int_equal(sc_model_record(&spec, SC_MODEL_TRAIN, NULL, &g), SC_OK);
    sc_graph_free(g);
    spec.image_encoder = "vit-tiny";
    spec.img_size = 40;
    assert_int_equal(sc_model_record(&spec, SC_MODEL_TRAIN, NULL, &g), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "img_size 40 is no multiple of 16"));
}

/* The registry's counts are what the cost model and --plan use. */
static void parameter_counts_are_true(void **state)
{
    (void)state;
    sc_backend hollow;
    sc_device *d = open_hollow(&hollow);
    size_t n;
    const sc_encoder_info *list = sc_encoder_list(&n);
    for (size_t i = 0; i < n; i++) {
        const char *image = list[i].image ? list[i].name : "resnet-tiny";
        const char *text = list[i].image ? "clip:tiny" : list[i].name;
        const bool bert = list[i].tokenizer == SC_TOKENIZER_BERT;
        sc_model_spec spec = spec_of(image, text, 16, list[i].image ? 514 : bert ? 21128 : 49408);
        spec.img_size = spec.train_size = 224; /* a ViT has positions */
        sc_graph *g;
        sc_params *p;
        double count = 0;
        assert_int_equal(sc_model_record(&spec, SC_MODEL_TRAIN, NULL, &g), SC_OK);
        assert_int_equal(sc_params_create(d, g, &p), SC_OK);
        const char *prefix = list[i].image ? "image_encoder." : "text_encoder.";
        for (size_t k = 0; k < sc_params_count(p); k++) {
            sc_param_info info = sc_params_info(p, k);
            if (info.kind == SC_PARAM_WEIGHT && strncmp(info.name, prefix, strlen(prefix)) == 0 &&
                !strstr(info.name, "_encoder.projection."))
                count += (double)sc_shape_count(&info.shape);
        }
        if (count != list[i].parameters)
            fail_msg("%s has %.0f parameters, the registry says %.0f", list[i].name, count,
                     list[i].parameters);
        sc_params_free(p);
        sc_graph_free(g);
    }
    d->backend->close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packs),
        cmocka_unit_test(names_equal_pytorch),
        cmocka_unit_test(resnet_equals_pytorch),
        cmocka_unit_test(convnext_equals_pytorch),
        cmocka_unit_test(efficientnet_equals_pytorch),
        cmocka_unit_test(starnet_equals_pytorch),
        cmocka_unit_test(vit_and_bert_equal_pytorch),
        cmocka_unit_test(wrong_names_are_refused),
        cmocka_unit_test(small_images_are_refused),
        cmocka_unit_test(parameter_counts_are_true),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
