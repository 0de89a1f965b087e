/* .pth files both ways. tests/oracle/weights_check.py opens the golden file that this test writes
 * byte for byte in PyTorch; tests/oracle/weights_golden.py made the files of PyTorch that it reads.
 */
#include "weights_test.h"

#include "../../src/weights/zip.h"

#include <math.h>
#include <signal.h>
#include <sys/resource.h>

/* ---- our file ------------------------------------------------------------------------------- */

static sc_object *int_list(const int64_t *v, size_t n)
{
    sc_object *list = sc_obj_list();
    for (size_t i = 0; i < n; i++)
        sc_obj_append(list, sc_obj_int(v[i]));
    return list;
}

static sc_object *tuples(void)
{
    sc_object *list = sc_obj_list();
    for (int n = 0; n < 5; n++) {
        sc_object *t = sc_obj_tuple();
        for (int i = 0; i < n; i++)
            sc_obj_append(t, sc_obj_int(i));
        sc_obj_append(list, t);
    }
    return list;
}

static sc_object *nested_list(void)
{
    sc_object *list = sc_obj_list(), *inner = sc_obj_list();
    sc_obj_append(inner, sc_obj_string("a"));
    sc_obj_append(list, sc_obj_int(1));
    sc_obj_append(list, sc_obj_list());
    sc_obj_append(list, inner);
    return list;
}

static sc_object *model_state(void)
{
    sc_object *m = sc_obj_ordered_dict();
    sc_obj_put(m, "0.weight", ramp_object(SC_F32, SC_SHAPE(2, 3), 0));
    sc_obj_put(m, "0.bias", ramp_object(SC_F32, SC_SHAPE(2), 1));
    sc_obj_put(m, "1.weight", ramp_object(SC_F32, SC_SHAPE(2), 2));
    sc_obj_put(m, "1.bias", ramp_object(SC_F32, SC_SHAPE(2), 3));
    sc_obj_put(m, "1.running_mean", ramp_object(SC_F32, SC_SHAPE(2), 4));
    sc_obj_put(m, "1.running_var", ramp_object(SC_F32, SC_SHAPE(2), 5));
    sc_obj_put(m, "1.num_batches_tracked", ramp_object(SC_I64, (sc_shape){0}, 6));
    return m;
}

static sc_object *optimizer_state(void)
{
    static const sc_shape shapes[] = {{2, {2, 3}}, {1, {2}}, {1, {2}}, {1, {2}}};
    sc_object *o = sc_obj_dict(), *state = sc_obj_dict(), *groups = sc_obj_list();
    sc_object *group = sc_obj_dict(), *betas = sc_obj_tuple(), *params = sc_obj_list();
    for (int i = 0; i < 4; i++) {
        sc_object *of_one = sc_obj_dict();
        sc_obj_put(of_one, "step", ramp_object(SC_F32, (sc_shape){0}, 5));
        sc_obj_put(of_one, "exp_avg", ramp_object(SC_F32, shapes[i], 1));
        sc_obj_put(of_one, "exp_avg_sq", ramp_object(SC_F32, shapes[i], 2));
        sc_obj_put_key(state, sc_obj_int(i), of_one);
        sc_obj_append(params, sc_obj_int(i));
    }
    sc_obj_append(betas, sc_obj_float(0.9));
    sc_obj_append(betas, sc_obj_float(0.999));
    sc_obj_put(group, "lr", sc_obj_float(5e-5));
    sc_obj_put(group, "betas", betas);
    sc_obj_put(group, "eps", sc_obj_float(1e-8));
    sc_obj_put(group, "weight_decay", sc_obj_float(0.01));
    sc_obj_put(group, "amsgrad", sc_obj_bool(false));
    sc_obj_put(group, "foreach", sc_obj_none());
    sc_obj_put(group, "maximize", sc_obj_bool(false));
    sc_obj_put(group, "capturable", sc_obj_bool(false));
    sc_obj_put(group, "differentiable", sc_obj_bool(false));
    sc_obj_put(group, "fused", sc_obj_none());
    sc_obj_put(group, "initial_lr", sc_obj_float(1e-4));
    sc_obj_put(group, "params", params);
    sc_obj_append(groups, group);
    sc_obj_put(o, "state", state);
    sc_obj_put(o, "param_groups", groups);
    return o;
}

static sc_object *scheduler_state(void)
{
    sc_object *s = sc_obj_dict(), *base = sc_obj_list(), *last = sc_obj_list();
    sc_obj_append(base, sc_obj_float(1e-4));
    sc_obj_append(last, sc_obj_float(5e-5));
    sc_obj_put(s, "T_max", sc_obj_int(7));
    sc_obj_put(s, "eta_min", sc_obj_int(0));
    sc_obj_put(s, "base_lrs", base);
    sc_obj_put(s, "last_epoch", sc_obj_int(5));
    sc_obj_put(s, "_step_count", sc_obj_int(6));
    sc_obj_put(s, "_get_lr_called_within_step", sc_obj_bool(false));
    sc_obj_put(s, "_last_lr", last);
    return s;
}

static sc_object *checkpoint(void)
{
    static const int64_t numbers[] = {0,          255,         256,       65535,
                                      65536,      -1,          INT32_MAX, INT32_MIN,
                                      2147483648, -2147483649, INT64_MAX, INT64_MIN};
    sc_object *c = sc_obj_dict(), *floats = sc_obj_list(), *ordered = sc_obj_ordered_dict();
    sc_object *tensors = sc_obj_dict(), *tied = sc_obj_list();
    sc_obj_append(floats, sc_obj_float(0.1));
    sc_obj_append(floats, sc_obj_float(-1.5e-300));
    sc_obj_append(floats, sc_obj_float((double)INFINITY));
    sc_obj_put(ordered, "b", sc_obj_int(1));
    sc_obj_put(ordered, "a", sc_obj_int(2));
    for (int i = 0; i < DTYPES; i++)
        sc_obj_put(tensors, sc_dtype_name(all_dtypes[i]),
                   ramp_object(all_dtypes[i], SC_SHAPE(2, 3), 0));
    sc_obj_put(tensors, "scalar", ramp_object(SC_F32, (sc_shape){0}, 7));
    sc_obj_put(tensors, "empty", ramp_object(SC_F32, SC_SHAPE(0, 3), 0));
    sc_obj_put(tensors, "wide", ramp_object(SC_F32, SC_SHAPE(2, 1, 2, 1, 2), 0));
    sc_tensor owner = ramp(NULL, SC_F32, SC_SHAPE(2, 2), 0), view = owner;
    view.owned = false;
    sc_obj_append(tied, sc_obj_tensor(&owner));
    sc_obj_append(tied, sc_obj_tensor(&view));
    sc_obj_put(c, "epoch", sc_obj_int(3));
    sc_obj_put(c, "numbers", int_list(numbers, sizeof numbers / sizeof numbers[0]));
    sc_obj_put(c, "floats", floats);
    sc_obj_put(c, "nothing", sc_obj_none());
    sc_obj_put(c, "yes", sc_obj_bool(true));
    sc_obj_put(c, "no", sc_obj_bool(false));
    sc_obj_put(c, "text", sc_obj_string("\u79cd\u690d\u4f53 \"x\"\n"));
    sc_obj_put(c, "list", nested_list());
    sc_obj_put(c, "tuples", tuples());
    sc_obj_put(c, "ordered", ordered);
    sc_obj_put(c, "tensors", tensors);
    sc_obj_put(c, "tied", tied);
    sc_obj_put(c, "model_state_dict", model_state());
    sc_obj_put(c, "optimizer_state_dict", optimizer_state());
    sc_obj_put(c, "scheduler_state_dict", scheduler_state());
    return c;
}

static void assert_same_file(const char *made, const char *golden)
{
    char *a, *b;
    size_t n, m;
    assert_int_equal(sc_read_file(made, 1 << 24, &a, &n), SC_OK);
    assert_int_equal(sc_read_file(golden, 1 << 24, &b, &m), SC_OK);
    if (n != m || memcmp(a, b, n) != 0)
        fail_msg("%s differs from %s; if it should, check it with tests/oracle/weights_check.py",
                 made, golden);
    free(a);
    free(b);
}

static void writing_gives_the_bytes_pytorch_was_shown(void **state)
{
    (void)state;
    char *path = temporary_path("ours.pth");
    for (int i = 0; i < 2; i++) { /* the same tree, built anew, gives the same bytes */
        sc_object *c = checkpoint();
        assert_int_equal(sc_pth_save(path, c), SC_OK);
        sc_obj_free(c);
        assert_same_file(path, SC_TEST_DIR "/golden/weights_ours.pth");
    }
    unlink(path);
    free(path);
}

static void assert_same_tree(const sc_object *a, const sc_object *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->b, b->b);
    assert_int_equal(a->i, b->i);
    assert_true(a->f == b->f);
    assert_int_equal(a->count, b->count);
    if (a->s)
        assert_string_equal(a->s, b->s);
    if (a->type == SC_OBJ_TENSOR) {
        assert_int_equal(a->tensor.dtype, b->tensor.dtype);
        assert_true(sc_shape_equal(&a->tensor.shape, &b->tensor.shape));
        assert_memory_equal(a->tensor.data, b->tensor.data, sc_tensor_bytes(&a->tensor));
    }
    for (size_t i = 0; i < a->count; i++) {
        if (a->keys)
            assert_same_tree(a->keys[i], b->keys[i]);
        assert_same_tree(a->items[i], b->items[i]);
    }
}

static void what_was_written_reads_back(void **state)
{
    (void)state;
    sc_object *c = checkpoint(), *back = load(SC_TEST_DIR "/golden/weights_ours.pth");
    assert_same_tree(c, back);
    sc_obj_free(c);
    sc_obj_free(back);
}

static void zip64_is_written_and_read(void **state)
{
    (void)state;
    char *path = temporary_path("zip64.pth");
    char *data;
    size_t n;
    assert_int_equal(sc_read_file(SC_TEST_DIR "/golden/weights_ours.pth", 1 << 24, &data, &n),
                     SC_OK);
    /* with limits this low every size, offset and count takes the wide fields */
    for (uint64_t limit = 0; limit < 5000; limit = limit * 3 + 1) {
        sc_zip_writer w;
        sc_zip_reader r;
        assert_int_equal(sc_zip_create(path, &w), SC_OK);
        w.limit = limit;
        for (size_t i = 0; i < 70; i++) {
            char name[32];
            snprintf(name, sizeof name, "archive/data/%zu", i);
            assert_int_equal(sc_zip_add(&w, name, data, i * 37), SC_OK);
        }
        assert_int_equal(sc_zip_commit(&w), SC_OK);
        if (sc_zip_open(path, &r) != SC_OK)
            fail_msg("%s", sc_message());
        assert_int_equal(r.count, 70);
        for (size_t i = 0; i < 70; i++) {
            char name[32], bytes[70 * 37];
            snprintf(name, sizeof name, "archive/data/%zu", i);
            const sc_zip_entry *e = sc_zip_find(&r, name);
            assert_non_null(e);
            assert_int_equal(e->size, i * 37);
            assert_int_equal(sc_zip_read(&r, e, bytes), SC_OK);
            assert_memory_equal(bytes, data, i * 37);
        }
        sc_zip_close(&r);
    }
    free(data);
    unlink(path);
    free(path);
}

static void more_members_than_16_bits_count(void **state)
{
    (void)state;
    char *path = temporary_path("many.pth");
    enum { MANY = 66000 };
    sc_object *list = sc_obj_list();
    for (int i = 0; i < MANY; i++)
        sc_obj_append(list, ramp_object(SC_U8, SC_SHAPE(1), i % 256));
    assert_int_equal(sc_pth_save(path, list), SC_OK);
    sc_obj_free(list);
    sc_object *back = load(path);
    assert_int_equal(back->count, MANY);
    assert_ramp(&back->items[MANY - 1]->tensor, SC_U8, SC_SHAPE(1), (MANY - 1) % 256);
    sc_obj_free(back);
    unlink(path);
    free(path);
}

/* ---- files of PyTorch ------------------------------------------------------------------------ */

static void views_become_rows(void **state)
{
    (void)state;
    static const char *const files[] = {SC_TEST_DIR "/golden/weights_views.pth",
                                        SC_TEST_DIR "/golden/weights_deflated.pth"};
    for (int f = 0; f < 2; f++) {
        sc_object *root = load(files[f]);
        sc_tensor_set s;
        assert_int_equal(sc_state_dict_of(files[f], root, &s), SC_OK);
        sc_obj_free(root);
        assert_int_equal(s.count, 26);
        for (int i = 0; i < DTYPES; i++)
            assert_ramp(sc_tensor_set_find(&s, sc_dtype_name(all_dtypes[i])), all_dtypes[i],
                        SC_SHAPE(2, 3), 0);
        assert_ramp(sc_tensor_set_find(&s, "base"), SC_F32, SC_SHAPE(4, 6), 0);
        assert_ramp(sc_tensor_set_find(&s, "row"), SC_F32, SC_SHAPE(6), 12);
        assert_ramp(sc_tensor_set_find(&s, "element"), SC_F32, (sc_shape){0}, 23);
        assert_ramp(sc_tensor_set_find(&s, "channels_last"), SC_F32, SC_SHAPE(2, 3, 4, 5), 0);
        assert_ramp(sc_tensor_set_find(&s, "scalar"), SC_F32, (sc_shape){0}, 7.5);
        assert_ramp(sc_tensor_set_find(&s, "empty"), SC_F32, SC_SHAPE(0, 3), 0);
        assert_ramp(sc_tensor_set_find(&s, "empty_view"), SC_F32, SC_SHAPE(0, 6), 0);
        assert_ramp(sc_tensor_set_find(&s, "parameter"), SC_F32, SC_SHAPE(3), 0);
        assert_ramp(sc_tensor_set_find(&s, "eight"), SC_F32, SC_SHAPE(1, 2, 1, 2, 1, 2, 1, 2), 0);
        assert_ramp(sc_tensor_set_find(&s, "one_wide"), SC_F32, SC_SHAPE(5, 1), 0);
        const sc_tensor *t = sc_tensor_set_find(&s, "transposed");
        assert_true(sc_shape_equal(&t->shape, &SC_SHAPE(6, 4)));
        for (int64_t i = 0; i < 24; i++)
            assert_true(sc_tensor_get(t, i) == (double)(i % 4 * 6 + i / 4));
        t = sc_tensor_set_find(&s, "columns");
        for (int64_t i = 0; i < 12; i++)
            assert_true(sc_tensor_get(t, i) == (double)(i / 3 * 6 + i % 3 * 2 + 1));
        t = sc_tensor_set_find(&s, "expanded");
        for (int64_t i = 0; i < 12; i++)
            assert_true(sc_tensor_get(t, i) == (double)(i / 4));
        t = sc_tensor_set_find(&s, "halves");
        for (int64_t i = 0; i < 12; i++)
            assert_true(sc_tensor_get(t, i) == (double)(i % 3 * 4 + i / 3));
        t = sc_tensor_set_find(&s, "step");
        for (int64_t i = 0; i < 4; i++)
            assert_true(sc_tensor_get(t, i) == (double)(3 * i));
        sc_tensor_set_free(&s);
    }
}

static const sc_object *at(const sc_object *o, const char *a, const char *b)
{
    o = sc_obj_get(o, a);
    assert_non_null(o);
    if (b) {
        o = sc_obj_get(o, b);
        assert_non_null(o);
    }
    return o;
}

static void a_training_checkpoint_is_understood(void **state)
{
    (void)state;
    const char *path = SC_TEST_DIR "/golden/weights_torch.pth";
    sc_object *c = load(path);
    assert_int_equal(at(c, "epoch", NULL)->i, 2);
    assert_int_equal(at(c, "big", NULL)->i, (int64_t)1 << 40);
    assert_int_equal(at(c, "small", NULL)->i, -((int64_t)1 << 40));
    assert_int_equal(at(c, "int", NULL)->i, -70000);
    assert_true(at(c, "train_loss", NULL)->f == 0.1 && at(c, "val_acc", NULL)->f == -1.5e-300);
    assert_int_equal(at(c, "best", NULL)->type, SC_OBJ_NONE);
    assert_true(at(c, "amp", NULL)->b && !at(c, "cv", NULL)->b);
    assert_string_equal(at(c, "config", "name")->s, "\u79cd\u690d\u4f53 \"x\"");
    assert_int_equal(at(c, "config", "betas")->type, SC_OBJ_TUPLE);
    assert_int_equal(at(c, "config", "shape")->items[1]->i, 3);
    assert_int_equal(at(c, "config", "long")->count, 5);
    assert_int_equal(at(c, "class_to_idx", NULL)->type, SC_OBJ_ORDERED_DICT);
    const sc_object *states = at(c, "optimizer_state_dict", "state");
    assert_int_equal(states->count, 5);
    assert_int_equal(states->keys[4]->type, SC_OBJ_INT);
    assert_int_equal(states->keys[4]->i, 4);
    assert_ramp(&at(states->items[0], "step", NULL)->tensor, SC_F32, (sc_shape){0}, 3);
    assert_int_equal(at(c, "scheduler_state_dict", "T_max")->i, 7);
    sc_tensor_set s;
    assert_int_equal(sc_state_dict_of(path, c, &s), SC_OK);
    assert_int_equal(s.count, 8);
    assert_string_equal(s.items[0].name, "0.weight"); /* the order of the file is kept */
    assert_ramp(&s.items[0], SC_F32, SC_SHAPE(2, 3, 3, 3), 0);
    assert_ramp(sc_tensor_set_find(&s, "1.num_batches_tracked"), SC_I64, (sc_shape){0}, 20);
    sc_tensor_set_free(&s);
    sc_tensor_set wrong;
    assert_int_equal(sc_tensor_set_of(path, "config", sc_obj_get(c, "config"), &wrong), SC_EFORMAT);
    assert_non_null(strstr(sc_message(), "'name' of 'config' is not a tensor"));
    assert_int_equal(sc_tensor_set_of(path, "nothing", NULL, &wrong), SC_EFORMAT);
    assert_int_equal(sc_state_dict_of(path, sc_obj_get(c, "config"), &wrong), SC_EFORMAT);
    sc_obj_free(c);
}

/* ---- failures -------------------------------------------------------------------------------- */

static void other_files_are_called_by_their_kind(void **state)
{
    (void)state;
    char *path = temporary_path("other");
    static const struct {
        const char *bytes;
        size_t n;
        const char *told;
    } rows[] = {
        {"", 0, "is empty"},
        {"<!DOCTYPE html><html>", 21, "is text"},
        {"version https://git-lfs.github.com/spec/v1\n", 43, "is text"},
        {"\x10\0\0\0\0\0\0\0{\"a\":{}}        ", 24, "safetensors"},
        {"PK\3\4", 4, "too short"},
        {"PK\3\4 and then many bytes that are no zip file at all", 53, "no directory"},
        {"\x89PNG\r\n\x1a\n", 8, "is not a .pth file"},
        {"P", 1, "is not a .pth file"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(sc_write_file(path, rows[i].bytes, rows[i].n), SC_OK);
        assert_refused(path, rows[i].told);
    }
    unlink(path);
    sc_object *o;
    assert_int_equal(sc_pth_load(path, &o), SC_EIO);
    assert_int_equal(sc_pth_load("/tmp", &o), SC_EIO);
    free(path);
}

static void a_failing_save_keeps_the_old_file(void **state)
{
    (void)state;
    char *path = temporary_path("kept.pth");
    sc_object *small = sc_obj_dict(), *large = sc_obj_dict();
    sc_obj_put(small, "epoch", sc_obj_int(1));
    sc_obj_put(large, "w", ramp_object(SC_F32, SC_SHAPE(100000), 0));
    assert_int_equal(sc_pth_save(path, small), SC_OK);
    struct rlimit before, low;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    low = before;
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t limit = 0; limit < 400000; limit += 39999) {
        low.rlim_cur = limit;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
        sc_status status = sc_pth_save(path, large);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(status, SC_EIO);
        assert_non_null(strstr(sc_message(), path));
        sc_object *back = load(path);
        assert_int_equal(sc_obj_get(back, "epoch")->i, 1);
        sc_obj_free(back);
    }
    sc_obj_free(small);
    sc_obj_free(large);
    unlink(path);
    free(path);
}

/* A NULL part stands for memory that could not be had: nothing may be saved without it. */
static void a_tree_with_a_missing_part_is_not_saved(void **state)
{
    (void)state;
    char *path = temporary_path("missing.pth");
    sc_object *c = sc_obj_dict(), *inner = sc_obj_dict(), *list = sc_obj_list();
    sc_obj_append(list, NULL);
    sc_obj_put(inner, "list", list);
    sc_obj_put(c, "inner", inner);
    assert_int_equal(sc_pth_save(path, c), SC_ENOMEM);
    assert_int_equal(sc_pth_save(path, NULL), SC_ENOMEM);
    sc_obj_put(NULL, "x", sc_obj_int(1)); /* and none of these leaks or crashes */
    sc_obj_append(NULL, sc_obj_int(1));
    sc_obj_put_key(c, NULL, sc_obj_int(1));
    sc_obj_put(list, "not a dict", sc_obj_int(1));
    sc_obj_append(c, sc_obj_int(1));
    sc_obj_free(c);
    c = sc_obj_dict();
    sc_obj_put(c, "text", sc_obj_string("\xFF"));
    assert_int_equal(sc_pth_save(path, c), SC_EINTERNAL);
    sc_obj_free(c);
    sc_obj_free(NULL);
    assert_false(sc_file_exists(path));
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writing_gives_the_bytes_pytorch_was_shown),
        cmocka_unit_test(what_was_written_reads_back),
        cmocka_unit_test(zip64_is_written_and_read),
        cmocka_unit_test(more_members_than_16_bits_count),
        cmocka_unit_test(views_become_rows),
        cmocka_unit_test(a_training_checkpoint_is_understood),
        cmocka_unit_test(other_files_are_called_by_their_kind),
        cmocka_unit_test(a_failing_save_keeps_the_old_file),
        cmocka_unit_test(a_tree_with_a_missing_part_is_not_saved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
