/* Hugging Face's BERT and ViT files under our names: bare, inside a model with a head, with older
 * names. The files are made here; the values are ramps.
 */
#include "weights_test.h"

static char *path;

typedef struct row {
    const char *name;
    int64_t rows; /* of a matrix [rows, 4], or elements of a vector when 0 */
} row;

static void add(sc_tensor_set *s, const char *prefix, const row *r, double start)
{
    char name[160];
    snprintf(name, sizeof name, "%s%s", prefix, r->name);
    sc_tensor t = ramp(name, SC_F32, r->rows ? SC_SHAPE(r->rows, 4) : SC_SHAPE(4), start);
    assert_int_equal(sc_tensor_set_add(s, &t), SC_OK);
}

static sc_tensor_set set_of(const char *prefix, const row *rows, size_t n)
{
    sc_tensor_set s = {0};
    for (size_t i = 0; i < n; i++)
        add(&s, prefix, &rows[i], 100.0 * (double)i);
    return s;
}

/* Opens `file` as `encoder`; `wanted` have the values of the rows of the same number, or 0. */
static sc_status try_file(const char *encoder, const sc_tensor_set *file,
                          const sc_tensor_set *wanted, bool last_is_zero)
{
    sc_weights *w = NULL;
    sc_pretrained *p = NULL;
    assert_int_equal(sc_safetensors_save(path, file, NULL), SC_OK);
    assert_int_equal(sc_weights_open(path, &w), SC_OK);
    const sc_status status = sc_pretrained_open(w, encoder, wanted->items, wanted->count, &p);
    if (status == SC_OK) {
        const sc_tensor_reader r = sc_pretrained_reader(p);
        assert_int_equal(r.count, wanted->count);
        for (size_t i = 0; i < r.count; i++) {
            float v[64];
            assert_int_equal(r.items[i].dtype, SC_F32);
            assert_int_equal(r.read(r.ctx, i, v), SC_OK);
            const bool zero = last_is_zero && i + 1 == r.count;
            for (int64_t k = 0; k < sc_shape_count(&r.items[i].shape); k++)
                assert_true(v[k] == (zero ? 0 : (float)sc_tensor_get(&wanted->items[i], k)));
        }
    }
    sc_pretrained_close(p);
    sc_weights_close(w);
    return status;
}

#define COUNT(a) (sizeof(a) / sizeof *(a))
static const row bert[] = {{"embeddings.word_embeddings.weight", 7},
                           {"embeddings.LayerNorm.weight", 0},
                           {"embeddings.LayerNorm.bias", 0},
                           {"encoder.layer.0.attention.self.query.weight", 4},
                           {"encoder.layer.0.output.LayerNorm.weight", 0},
                           {"pooler.dense.weight", 4}};
static const row older[] = {{"embeddings.word_embeddings.weight", 7},
                            {"embeddings.LayerNorm.gamma", 0},
                            {"embeddings.LayerNorm.beta", 0},
                            {"encoder.layer.0.attention.self.query.weight", 4},
                            {"encoder.layer.0.output.LayerNorm.gamma", 0},
                            {"pooler.dense.weight", 4}};

static void bert_files(void **state)
{
    (void)state;
    const row head = {"cls.predictions.bias", 0}, ids = {"embeddings.position_ids", 0},
              other = {"encoder.layer.1.output.dense.weight", 4};
    sc_tensor_set wanted = set_of("text_encoder.backbone.", bert, COUNT(bert));
    sc_tensor_set files[] = {
        set_of("", bert, COUNT(bert)),         set_of("bert.", bert, COUNT(bert)),
        set_of("bert.", older, COUNT(older)),  set_of("", older, COUNT(older) - 1), /* no pooler */
        set_of("", bert, COUNT(bert)), /* a tensor too many */
        set_of("bert.", bert, COUNT(bert) - 2) /* one too few */};
    add(&files[0], "", &ids, 0);
    add(&files[1], "", &head, 0);
    add(&files[4], "", &other, 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(try_file("bert-base-chinese", &files[i], &wanted, i == 3), SC_OK);
    assert_int_equal(try_file("bert-tiny", &files[4], &wanted, false), SC_EFORMAT);
    assert_non_null(strstr(sc_message(), "'encoder.layer.1.output.dense.weight' is unknown"));
    assert_int_equal(try_file("bert-tiny", &files[5], &wanted, false), SC_EFORMAT);
    assert_non_null(
        strstr(sc_message(), "'bert.encoder.layer.0.output.LayerNorm.weight' is missing"));
    for (size_t i = 0; i < COUNT(files); i++)
        sc_tensor_set_free(&files[i]);
    sc_tensor_set_free(&wanted);
}

static const row vit[] = {{"embeddings.cls_token", 0},
                          {"embeddings.position_embeddings", 5},
                          {"encoder.layer.0.attention.attention.query.weight", 4},
                          {"layernorm.weight", 0},
                          {"pooler.dense.weight", 4}};

static void vit_files(void **state)
{
    (void)state;
    const row head = {"classifier.weight", 3};
    row larger[COUNT(vit)];
    memcpy(larger, vit, sizeof vit);
    larger[1].rows = 10;
    sc_tensor_set wanted = set_of("image_encoder.backbone.", vit, COUNT(vit));
    sc_tensor_set files[] = {set_of("", vit, COUNT(vit)), set_of("vit.", vit, COUNT(vit) - 1),
                             set_of("", larger, COUNT(larger))};
    add(&files[1], "", &head, 0);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(try_file("vit", &files[i], &wanted, i == 1), SC_OK);
    /* positions of another image size are not interpolated */
    assert_int_equal(try_file("vit", &files[2], &wanted, false), SC_EFORMAT);
    assert_non_null(
        strstr(sc_message(), "'embeddings.position_embeddings' is [10, 4], not [5, 4]"));
    for (size_t i = 0; i < COUNT(files); i++)
        sc_tensor_set_free(&files[i]);
    sc_tensor_set_free(&wanted);
}

static int make_folder(void **state)
{
    static char folder[] = "/tmp/sc_hf_XXXXXX";
    *state = mkdtemp(folder);
    path = *state ? sc_path_join(folder, "model.safetensors") : NULL;
    return path ? 0 : -1;
}

static int remove_folder(void **state)
{
    free(path);
    return sc_remove_tree(*state) == SC_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bert_files), cmocka_unit_test(vit_files)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
