/* safetensors both ways; headers that lie. */
#include "weights_test.h"

static sc_status read_item(void *ctx, size_t i, void *dst)
{
    const sc_tensor *t = &((const sc_tensor_set *)ctx)->items[i];
    memcpy(dst, t->data, sc_tensor_bytes(t));
    return SC_OK;
}

static sc_status read_none(void *ctx, size_t i, void *dst)
{
    (void)ctx, (void)dst;
    return sc_fail(SC_EIO, "tensor %zu cannot be had", i);
}

/* And one that fails leaves the file that was there. */
static void a_reader_gives_the_same_bytes(void **state)
{
    (void)state;
    char *path = temporary_path("reader.safetensors"), *first, *again;
    sc_tensor_set s;
    size_t n, m;
    assert_int_equal(sc_safetensors_load(SC_TEST_DIR "/golden/weights_hf.safetensors", &s), SC_OK);
    assert_int_equal(sc_safetensors_save(path, &s, NULL), SC_OK);
    assert_int_equal(sc_read_file(path, 1 << 20, &first, &n), SC_OK);
    unlink(path);
    const sc_tensor_reader r = {s.items, s.count, read_item, &s};
    assert_int_equal(sc_safetensors_write(path, &r, NULL), SC_OK);
    const sc_tensor_reader none = {s.items, s.count, read_none, NULL};
    assert_int_equal(sc_safetensors_write(path, &none, NULL), SC_EIO);
    assert_int_equal(sc_read_file(path, 1 << 20, &again, &m), SC_OK);
    assert_int_equal(n, m);
    assert_memory_equal(first, again, n);
    sc_tensor_set_free(&s);
    free(first);
    free(again);
    unlink(path);
    free(path);
}

static void writing_gives_the_bytes_the_library_was_shown(void **state)
{
    (void)state;
    char *path = temporary_path("ours.safetensors"), *made, *golden;
    sc_tensor_set s = {0};
    sc_tensor t;
    for (int i = DTYPES - 1; i >= 0; i--) { /* the order of the set does not matter */
        t = ramp(sc_dtype_name(all_dtypes[i]), all_dtypes[i], SC_SHAPE(2, 3), 0);
        assert_int_equal(sc_tensor_set_add(&s, &t), SC_OK);
    }
    t = ramp("scalar", SC_F32, (sc_shape){0}, 7);
    assert_int_equal(sc_tensor_set_add(&s, &t), SC_OK);
    t = ramp("empty", SC_F32, SC_SHAPE(0, 3), 0);
    assert_int_equal(sc_tensor_set_add(&s, &t), SC_OK);
    static const char *const metadata[] = {"made", "by a test", NULL};
    assert_int_equal(sc_safetensors_save(path, &s, metadata), SC_OK);
    sc_tensor_set_free(&s);
    size_t n, m;
    assert_int_equal(sc_read_file(path, 1 << 20, &made, &n), SC_OK);
    assert_int_equal(
        sc_read_file(SC_TEST_DIR "/golden/weights_ours.safetensors", 1 << 20, &golden, &m), SC_OK);
    if (n != m || memcmp(made, golden, n) != 0)
        fail_msg("%s differs from the golden file; if it should, check it with "
                 "tests/oracle/weights_check.py",
                 path);
    free(made);
    free(golden);
    assert_int_equal(sc_safetensors_load(path, &s), SC_OK);
    for (int i = 0; i < DTYPES; i++)
        assert_ramp(sc_tensor_set_find(&s, sc_dtype_name(all_dtypes[i])), all_dtypes[i],
                    SC_SHAPE(2, 3), 0);
    assert_ramp(sc_tensor_set_find(&s, "scalar"), SC_F32, (sc_shape){0}, 7);
    assert_ramp(sc_tensor_set_find(&s, "empty"), SC_F32, SC_SHAPE(0, 3), 0);
    sc_tensor_set_free(&s);
    unlink(path);
    free(path);
}

static void a_file_of_the_library_is_read(void **state)
{
    (void)state;
    sc_tensor_set s;
    if (sc_safetensors_load(SC_TEST_DIR "/golden/weights_hf.safetensors", &s) != SC_OK)
        fail_msg("%s", sc_message());
    assert_int_equal(s.count, 26);
    for (int i = 0; i < DTYPES; i++)
        assert_ramp(sc_tensor_set_find(&s, sc_dtype_name(all_dtypes[i])), all_dtypes[i],
                    SC_SHAPE(2, 3), 0);
    assert_ramp(sc_tensor_set_find(&s, "channels_last"), SC_F32, SC_SHAPE(2, 3, 4, 5), 0);
    assert_ramp(sc_tensor_set_find(&s, "empty_view"), SC_F32, SC_SHAPE(0, 6), 0);
    assert_ramp(sc_tensor_set_find(&s, "eight"), SC_F32, SC_SHAPE(1, 2, 1, 2, 1, 2, 1, 2), 0);
    sc_tensor_set_free(&s);
}

static sc_status load_text(const char *path, const char *header, size_t data)
{
    sc_text t;
    sc_text_init(&t);
    uint64_t n = strlen(header);
    sc_text_add(&t, &n, 8); /* the tests run on little-endian machines, as the program does */
    sc_text_puts(&t, header);
    for (size_t i = 0; i < data; i++)
        sc_text_add(&t, "x", 1);
    assert_int_equal(sc_write_file(path, t.data, t.len), SC_OK);
    sc_text_free(&t);
    sc_tensor_set s;
    sc_message_clear();
    sc_status status = sc_safetensors_load(path, &s);
    sc_tensor_set_free(&s);
    return status;
}

static void headers_that_lie_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *told; /* NULL: accepted */
    } rows[] = {
        {"{}", 0, NULL},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}  ", 8, NULL},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,9],\"data_offsets\":[0,0]}}", 0, NULL},
        {"{\"__metadata__\":{\"a\":\"b\"}}", 0, NULL},
        {"{}", 1, "need 0 bytes of data, it has 1"},
        {"[]", 0, "is not a safetensors file"},
        {" {}", 0, "is not a safetensors file"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, "need 8 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, "need 8 bytes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9]}}", 9, "do not fit"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "do not fit"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}", 9, "does not begin"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "not a size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0.5],\"data_offsets\":[0,8]}}", 8, "not a size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
         "do not fit"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2305843009213693953,8],\"data_offsets\":[0,32]}}",
         32, "not a size"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
         "more than 8 dimensions"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "no shape"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "no dtype"},
        {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "F8_E4M3"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "two positions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4, "two positions"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]}}", 4,
         "two positions"},
        {"{\"a\":7}", 0, "not an object"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
         3, "does not begin"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}",
         5, "does not begin"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
         4, "twice"},
        {"{\"a\":", 0, "the text ends here"},
        {"{} x", 0, "nothing may follow"},
    };
    char *path = temporary_path("lies.safetensors");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sc_status status = load_text(path, rows[i].header, rows[i].data);
        if (!rows[i].told) {
            if (status != SC_OK)
                fail_msg("%s: %s", rows[i].header, sc_message());
            continue;
        }
        if (status != SC_EFORMAT || !strstr(sc_message(), rows[i].told) ||
            strncmp(sc_message(), path, strlen(path)) != 0)
            fail_msg("%s: %d %s", rows[i].header, (int)status, sc_message());
    }
    sc_tensor_set s;
    assert_int_equal(sc_write_file(path, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F{}", 10), SC_OK);
    assert_int_equal(sc_safetensors_load(path, &s), SC_EFORMAT);
    assert_int_equal(sc_write_file(path, "\3\0\0\0\0\0\0\0{}", 10), SC_OK);
    assert_int_equal(sc_safetensors_load(path, &s), SC_EFORMAT);
    assert_int_equal(sc_write_file(path, "1234567", 7), SC_OK);
    assert_int_equal(sc_safetensors_load(path, &s), SC_EFORMAT);
    unlink(path);
    assert_int_equal(sc_safetensors_load(path, &s), SC_EIO);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writing_gives_the_bytes_the_library_was_shown),
        cmocka_unit_test(a_reader_gives_the_same_bytes),
        cmocka_unit_test(a_file_of_the_library_is_read),
        cmocka_unit_test(headers_that_lie_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
