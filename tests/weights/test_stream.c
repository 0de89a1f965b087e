/* One tensor at a time: written from a source, left in the file and read by number. */
#include "weights_test.h"

#include <dirent.h>

enum { TENSORS = 5 };

static sc_shape shape_of(int64_t i)
{
    return i == 3 ? SC_SHAPE(0, 4) : SC_SHAPE(i + 1, 7);
}

/* Gives ramps out of one buffer; the tensor `broken` cannot be had. */
typedef struct giver {
    sc_tensor now;
    int64_t broken;
} giver;

static sc_status give(void *ctx, int64_t number, const void **bytes)
{
    giver *g = ctx;
    if (number == g->broken)
        return sc_fail(SC_ENUMERIC, "tensor %d is not finite", (int)number);
    sc_tensor_free(&g->now);
    g->now = ramp(NULL, SC_F32, shape_of(number), (double)number * 100);
    *bytes = g->now.data;
    return SC_OK;
}

static sc_object *tree(bool later)
{
    sc_object *root = sc_obj_dict(), *inner = sc_obj_ordered_dict();
    char name[8];
    sc_obj_put(root, "epoch", sc_obj_int(3));
    for (int64_t i = 0; i < TENSORS; i++) {
        snprintf(name, sizeof name, "t%d", (int)i);
        sc_obj_put(inner, name,
                   later ? sc_obj_tensor_later(SC_F32, shape_of(i), i)
                         : ramp_object(SC_F32, shape_of(i), (double)i * 100));
    }
    sc_obj_put(root, "model_state_dict", inner);
    return root;
}

static void a_source_gives_the_same_bytes(void **state)
{
    (void)state;
    char *path = temporary_path("stream.pth"), *whole, *parts;
    size_t n, m;
    sc_object *a = tree(false), *b = tree(true);
    giver g = {.broken = -1};
    sc_atomic_file *file;
    assert_int_equal(sc_pth_save(path, a), SC_OK);
    assert_int_equal(sc_read_file(path, 1 << 20, &whole, &n), SC_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(sc_pth_write(path, b, &(sc_tensor_source){give, &g}, &file), SC_OK);
    assert_false(sc_file_exists(path)); /* not before it is committed */
    assert_int_equal(sc_atomic_commit(file), SC_OK);
    assert_int_equal(sc_read_file(path, 1 << 20, &parts, &m), SC_OK);
    assert_int_equal(m, n);
    assert_memory_equal(parts, whole, n);
    assert_int_equal(sc_pth_save(path, b), SC_EINTERNAL); /* nobody gives the tensors */
    sc_tensor_free(&g.now);
    sc_obj_free(a);
    sc_obj_free(b);
    free(whole);
    free(parts);
    unlink(path);
    free(path);
}

static int files_beside(const char *path)
{
    char *folder = sc_strdup(path), *slash = strrchr(folder, '/');
    *slash = '\0';
    DIR *d = opendir(folder);
    int count = 0;
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        count += strncmp(e->d_name, slash + 1, strlen(slash + 1)) == 0;
    closedir(d);
    free(folder);
    return count;
}

static void a_source_that_fails_leaves_the_old_file(void **state)
{
    (void)state;
    char *path = temporary_path("fails.pth"), *data;
    size_t n;
    assert_int_equal(sc_write_file(path, "old", 3), SC_OK);
    sc_object *root = tree(true);
    for (int64_t broken = 0; broken < TENSORS; broken++) {
        giver g = {.broken = broken};
        sc_atomic_file *file;
        assert_int_equal(sc_pth_write(path, root, &(sc_tensor_source){give, &g}, &file),
                         SC_ENUMERIC);
        assert_null(file);
        sc_tensor_free(&g.now);
        assert_int_equal(files_beside(path), 1);
    }
    assert_int_equal(sc_read_file(path, 100, &data, &n), SC_OK);
    assert_string_equal(data, "old");
    free(data);
    sc_obj_free(root);
    unlink(path);
    free(path);
}

/* Every tensor of the tree read by itself equals the one of sc_pth_load. */
static void compare(sc_pth *f, const sc_object *later, const sc_object *whole)
{
    assert_int_equal(later->type, whole->type);
    assert_int_equal(later->count, whole->count);
    for (size_t i = 0; i < whole->count; i++)
        compare(f, later->items[i], whole->items[i]);
    if (whole->type != SC_OBJ_TENSOR)
        return;
    assert_true(later->later && !later->tensor.data);
    assert_int_equal(later->tensor.dtype, whole->tensor.dtype);
    assert_true(sc_shape_equal(&later->tensor.shape, &whole->tensor.shape));
    size_t bytes = sc_tensor_bytes(&whole->tensor);
    void *data = malloc(bytes + 1);
    assert_int_equal(sc_pth_read(f, later, data), SC_OK);
    if (bytes)
        assert_memory_equal(data, whole->tensor.data, bytes);
    free(data);
}

static void tensors_read_one_by_one(void **state)
{
    (void)state;
    static const char *const files[] = {"ours", "torch", "views", "deflated"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *path = sc_format(SC_TEST_DIR "/golden/weights_%s.pth", files[i]);
        sc_object *whole = load(path);
        sc_pth *f;
        assert_int_equal(sc_pth_open(path, &f), SC_OK);
        assert_int_equal(sc_pth_verify(f), SC_OK);
        compare(f, sc_pth_root(f), whole);
        assert_int_equal(sc_pth_read(f, whole, NULL), SC_EINTERNAL);
        sc_pth_close(f);
        sc_obj_free(whole);
        free(path);
    }
    sc_pth_close(NULL);
}

static void a_list_reads_under_other_names(void **state)
{
    (void)state;
    char *path = temporary_path("list.pth");
    sc_object *root = tree(false);
    assert_int_equal(sc_pth_save(path, root), SC_OK);
    sc_obj_free(root);
    sc_pth *f;
    assert_int_equal(sc_pth_open(path, &f), SC_OK);
    const sc_object *dict = sc_obj_get(sc_pth_root(f), "model_state_dict");
    sc_pth_list l = {.file = f};
    assert_int_equal(sc_pth_list_dict(&l, "epoch", sc_obj_get(sc_pth_root(f), "epoch")),
                     SC_EFORMAT);
    assert_int_equal(sc_pth_list_add(&l, "other", dict->items[2]), SC_OK);
    assert_int_equal(sc_pth_list_dict(&l, "model_state_dict", dict), SC_OK);
    assert_int_equal(sc_pth_list_add(&l, "t0", dict->items[0]), SC_EFORMAT); /* twice */
    sc_tensor_reader r = sc_pth_list_reader(&l);
    assert_int_equal(r.count, TENSORS + 1);
    assert_string_equal(r.items[0].name, "other");
    sc_tensor t;
    assert_int_equal(sc_tensor_new(NULL, r.items[0].dtype, r.items[0].shape, &t), SC_OK);
    assert_int_equal(r.read(r.ctx, 0, t.data), SC_OK);
    assert_ramp(&t, SC_F32, shape_of(2), 200);
    sc_tensor_free(&t);
    sc_pth_list_free(&l);
    sc_pth_close(f);
    unlink(path);
    free(path);
}

/* One flipped byte in a tensor is seen by the check of the whole file and by reading that tensor.
 */
static void damage_is_found_by_the_check_and_by_reading(void **state)
{
    (void)state;
    char *path = temporary_path("flip.pth"), *data;
    size_t n;
    sc_object *root = tree(false);
    assert_int_equal(sc_pth_save(path, root), SC_OK);
    assert_int_equal(sc_read_file(path, 1 << 20, &data, &n), SC_OK);
    const float *wanted = sc_obj_get(root, "model_state_dict")->items[2]->tensor.data;
    char *at = memmem(data, n, wanted, 21 * sizeof(float));
    assert_non_null(at);
    at[10] ^= 1;
    assert_int_equal(sc_write_file(path, data, n), SC_OK);
    sc_pth *f;
    float room[64];
    assert_int_equal(sc_pth_open(path, &f), SC_OK);
    assert_int_equal(sc_pth_verify(f), SC_EFORMAT);
    assert_non_null(strstr(sc_message(), "data/2"));
    const sc_object *dict = sc_obj_get(sc_pth_root(f), "model_state_dict");
    assert_int_equal(sc_pth_read(f, dict->items[1], room), SC_OK);
    assert_int_equal(sc_pth_read(f, dict->items[2], room), SC_EFORMAT);
    sc_pth_close(f);
    sc_obj_free(root);
    free(data);
    unlink(path);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_gives_the_same_bytes),
        cmocka_unit_test(a_source_that_fails_leaves_the_old_file),
        cmocka_unit_test(tensors_read_one_by_one),
        cmocka_unit_test(a_list_reads_under_other_names),
        cmocka_unit_test(damage_is_found_by_the_check_and_by_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
