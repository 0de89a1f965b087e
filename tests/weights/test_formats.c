/* State dicts in every format that PyTorch and Hugging Face ever wrote
 * (tests/oracle/weights_golden.py). */
#include "weights_test.h"

static sc_weights *open_weights(const char *path)
{
    sc_weights *w;
    if (sc_weights_open(path, &w) != SC_OK)
        fail_msg("%s", sc_message());
    assert_string_equal(sc_weights_path(w), path);
    return w;
}

/* The tensor of that name, read. */
static sc_tensor fetch(const sc_weights *w, const char *name)
{
    sc_tensor_reader r = sc_weights_reader(w);
    for (size_t i = 0; i < r.count; i++)
        if (!strcmp(r.items[i].name, name)) {
            sc_tensor t;
            assert_int_equal(sc_tensor_new(NULL, r.items[i].dtype, r.items[i].shape, &t), SC_OK);
            if (r.read(r.ctx, i, t.data) != SC_OK)
                fail_msg("%s", sc_message());
            return t;
        }
    fail_msg("no tensor '%s'", name);
    return (sc_tensor){0};
}

static void expect_ramp(const sc_weights *w, const char *name, sc_dtype dtype, sc_shape shape,
                        double start)
{
    sc_tensor t = fetch(w, name);
    assert_ramp(&t, dtype, shape, start);
    sc_tensor_free(&t);
}

static void expect_transposed(const sc_weights *w, const char *name)
{
    sc_tensor t = fetch(w, name);
    assert_true(sc_shape_equal(&t.shape, &SC_SHAPE(6, 4)));
    for (int64_t i = 0; i < 24; i++)
        assert_true(sc_tensor_get(&t, i) == (double)(i % 4 * 6 + i / 4));
    sc_tensor_free(&t);
}

static void legacy_files(void **state)
{
    (void)state;
    sc_weights *w = open_weights(SC_TEST_DIR "/golden/weights_legacy.pth");
    assert_int_equal(sc_weights_reader(w).count, 26);
    for (int i = 0; i < DTYPES; i++)
        expect_ramp(w, sc_dtype_name(all_dtypes[i]), all_dtypes[i], SC_SHAPE(2, 3), 0);
    expect_ramp(w, "base", SC_F32, SC_SHAPE(4, 6), 0);
    expect_ramp(w, "row", SC_F32, SC_SHAPE(6), 12);
    expect_ramp(w, "channels_last", SC_F32, SC_SHAPE(2, 3, 4, 5), 0);
    expect_ramp(w, "parameter", SC_F32, SC_SHAPE(3), 0);
    expect_ramp(w, "empty", SC_F32, SC_SHAPE(0, 3), 0);
    expect_transposed(w, "transposed");
    sc_weights_close(w);
    w = open_weights(SC_TEST_DIR "/golden/weights_old.pth");
    expect_ramp(w, "w", SC_F32, SC_SHAPE(2), 0);
    sc_weights_close(w);
}

static void tar_files(void **state)
{
    (void)state;
    sc_weights *w = open_weights(SC_TEST_DIR "/golden/weights_tar.pth");
    assert_int_equal(sc_weights_reader(w).count, 5);
    expect_ramp(w, "base", SC_F32, SC_SHAPE(4, 6), 0);
    expect_transposed(w, "transposed");
    expect_ramp(w, "row", SC_F32, SC_SHAPE(6), 12);
    expect_ramp(w, "long", SC_I64, SC_SHAPE(3, 2), 0);
    expect_ramp(w, "scalar", SC_F32, SC_SHAPE(1), 0);
    sc_weights_close(w);
}

/* The names of state_dict(), through deflated code and classes that are never run. */
static void torchscript_archives(void **state)
{
    (void)state;
    static const char *const names[] = {"projection",    "context_length",  "blocks.0.weight",
                                        "blocks.0.bias", "blocks.2.weight", "blocks.2.bias"};
    sc_weights *w = open_weights(SC_TEST_DIR "/golden/weights_script.pt");
    sc_tensor_reader r = sc_weights_reader(w);
    assert_int_equal(r.count, 6);
    for (size_t k = 0; k < 6; k++) {
        size_t i = 0;
        while (i < r.count && strcmp(r.items[i].name, names[k]) != 0)
            i++;
        if (i == r.count)
            fail_msg("no tensor '%s'", names[k]);
    }
    expect_ramp(w, "projection", SC_F32, SC_SHAPE(4, 3), 0);
    expect_ramp(w, "blocks.0.weight", SC_F16, SC_SHAPE(4, 4), 10);
    expect_ramp(w, "blocks.2.bias", SC_F32, SC_SHAPE(4), 40);
    expect_ramp(w, "context_length", SC_I64, (sc_shape){0}, 77);
    sc_weights_close(w);
}

static void safetensors_and_shards(void **state)
{
    (void)state;
    sc_weights *w = open_weights(SC_TEST_DIR "/golden/weights_hf.safetensors");
    expect_ramp(w, "channels_last", SC_F32, SC_SHAPE(2, 3, 4, 5), 0);
    expect_transposed(w, "transposed");
    sc_weights_close(w);
    w = open_weights(SC_TEST_DIR "/golden/weights_model.safetensors.index.json");
    assert_int_equal(sc_weights_reader(w).count, 3);
    expect_ramp(w, "a.weight", SC_F32, SC_SHAPE(2, 3), 0);
    expect_ramp(w, "b", SC_F16, SC_SHAPE(4), 0);
    expect_ramp(w, "c", SC_F32, SC_SHAPE(3), 5);
    sc_weights_close(w);
    sc_weights_close(NULL);
}

static void zip_checkpoints(void **state)
{
    (void)state;
    sc_weights *w = open_weights(SC_TEST_DIR "/golden/weights_torch.pth");
    assert_int_equal(sc_weights_reader(w).count, 8);
    expect_ramp(w, "0.weight", SC_F32, SC_SHAPE(2, 3, 3, 3), 0);
    sc_weights_close(w);
}

/* ---- wrong indexes --------------------------------------------------------------------------- */

static void index_is_refused(const char *index, const char *told)
{
    char *folder = temporary_path("index"), *path = sc_format("%s/m.index.json", folder), *data;
    char *part = sc_format("%s/part", folder);
    size_t n;
    sc_weights *w;
    assert_int_equal(sc_make_dirs(folder), SC_OK);
    assert_int_equal(sc_read_file(SC_TEST_DIR "/golden/weights_model-00002-of-00002.safetensors",
                                  1 << 20, &data, &n),
                     SC_OK);
    assert_int_equal(sc_write_file(part, data, n), SC_OK);
    assert_int_equal(sc_write_file(path, index, strlen(index)), SC_OK);
    assert_true(sc_weights_open(path, &w) != SC_OK);
    assert_null(w);
    if (!strstr(sc_message(), told) || !strstr(sc_message(), path))
        fail_msg("message '%s' lacks '%s' or the file", sc_message(), told);
    assert_int_equal(sc_remove_tree(folder), SC_OK);
    free(folder);
    free(path);
    free(part);
    free(data);
}

static void indexes_are_checked(void **state)
{
    (void)state;
    index_is_refused("{", "m.index.json");
    index_is_refused("[1]", "weight_map");
    index_is_refused("{\"weight_map\": [\"c\"]}", "weight_map");
    index_is_refused("{\"weight_map\": {\"c\": \"../part\"}}", "'c'");
    index_is_refused("{\"weight_map\": {\"c\": \"..\"}}", "'c'");
    index_is_refused("{\"weight_map\": {\"c\": 3}}", "'c'");
    index_is_refused("{\"weight_map\": {\"c\": \"part\", \"d\": \"part\"}}", "'d' is not in part");
    index_is_refused("{\"weight_map\": {\"d\": \"part\"}}", "'c' of");
}

/* Every byte of the small old files flipped, and every length: an answer, never a crash. */
static void old_files_may_be_damaged(void **state)
{
    (void)state;
    static const char *const files[] = {"weights_old.pth", "weights_tar.pth", "weights_script.pt"};
    char *path = temporary_path("damaged");
    for (size_t k = 0; k < 3; k++) {
        char *from = sc_format(SC_TEST_DIR "/golden/%s", files[k]), *data;
        size_t n;
        assert_int_equal(sc_read_file(from, 1 << 20, &data, &n), SC_OK);
        size_t step = n / 1500 + 1;
        for (size_t i = 0; i < 2 * n; i += step) {
            char *copy = malloc(n);
            memcpy(copy, data, n);
            if (i < n)
                copy[i] = (char)(copy[i] ^ (1 << i % 8));
            sc_weights *w;
            assert_int_equal(sc_write_file(path, copy, i < n ? n : i - n), SC_OK);
            free(copy);
            sc_status status = sc_weights_open(path, &w);
            if (status == SC_OK) {
                sc_tensor_reader r = sc_weights_reader(w);
                for (size_t t = 0; t < r.count; t++) {
                    void *room = malloc(sc_tensor_bytes(&r.items[t]) + 1);
                    if (room)
                        (void)r.read(r.ctx, t, room);
                    free(room);
                }
            } else
                assert_non_null(strstr(sc_message(), path));
            sc_weights_close(w);
        }
        free(data);
        free(from);
    }
    unlink(path);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legacy_files),
        cmocka_unit_test(tar_files),
        cmocka_unit_test(torchscript_archives),
        cmocka_unit_test(safetensors_and_shards),
        cmocka_unit_test(zip_checkpoints),
        cmocka_unit_test(indexes_are_checked),
        cmocka_unit_test(old_files_may_be_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
