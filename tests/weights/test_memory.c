/* The k-th allocation fails, for every k: loading and saving report it, free what they had, and do
 * not touch the file that was there. Leaks show under the sanitizers. */
#include "weights_test.h"

#include "superclip/json.h"

static long calls, fail_at = -1;
static bool forever;

static bool fails(void)
{
    long now = calls++;
    return fail_at >= 0 && (forever ? now >= fail_at : now == fail_at);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

static char *path;

static sc_object *small_tree(void)
{
    sc_object *root = sc_obj_dict(), *list = sc_obj_list();
    sc_tensor t;
    for (int i = 0; i < 6; i++)
        sc_obj_append(list, sc_obj_int(i));
    sc_obj_put(root, "list", list);
    sc_obj_put(root, "name", sc_obj_string("x"));
    if (sc_tensor_new(NULL, SC_F32, SC_SHAPE(4), &t) == SC_OK)
        sc_obj_put(root, "w", sc_obj_tensor(&t));
    else
        sc_obj_put(root, "w", NULL);
    return root;
}

static sc_status save_pth(void)
{
    sc_object *root = small_tree();
    sc_status status = sc_pth_save(path, root);
    sc_obj_free(root);
    return status;
}

static sc_status load_pth_file(const char *from)
{
    sc_object *root;
    SC_TRY(sc_pth_load(from, &root));
    sc_tensor_set set;
    sc_status status = sc_state_dict_of(from, root, &set);
    if (status == SC_OK)
        sc_tensor_set_free(&set);
    sc_obj_free(root);
    return status;
}

static sc_status load_pth(void)
{
    return load_pth_file(SC_TEST_DIR "/golden/weights_torch.pth");
}

static sc_status load_deflated(void)
{
    return load_pth_file(SC_TEST_DIR "/golden/weights_deflated.pth");
}

static sc_status load_and_save_safetensors(void)
{
    sc_tensor_set set;
    SC_TRY(sc_safetensors_load(SC_TEST_DIR "/golden/weights_hf.safetensors", &set));
    sc_status status = sc_safetensors_save(path, &set, NULL);
    sc_tensor_set_free(&set);
    return status;
}

static sc_status json(void)
{
    static const char text[] = "[{\"a\": [1, 2, {\"b\": \"c\"}], \"d\": null, \"e\": 0.5}]";
    sc_json_doc *doc;
    sc_json_writer w;
    SC_TRY(sc_json_parse("t", text, sizeof text - 1, &doc));
    sc_jw_init(&w);
    sc_jw_value(&w, NULL, sc_json_root(doc));
    sc_status status = sc_jw_save(&w, path);
    sc_jw_free(&w);
    sc_json_free(doc);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static sc_status (*const jobs[])(void) = {save_pth, load_pth, load_deflated,
                                              load_and_save_safetensors, json};
    for (size_t j = 0; j < sizeof jobs / sizeof jobs[0]; j++)
        for (int mode = 0; mode < 2; mode++) {
            fail_at = -1;
            forever = mode;
            calls = 0;
            assert_int_equal(jobs[j](), SC_OK);
            long n = calls;
            assert_in_range(n, 5, 100000);
            assert_int_equal(sc_write_file(path, "old", 3), SC_OK);
            int refused = 0;
            for (long at = 0; at < n; at++) {
                calls = 0;
                fail_at = at;
                sc_message_clear();
                sc_status status = jobs[j]();
                fail_at = -1;
                if (status == SC_OK)
                    continue;
                refused++;
                if (!strstr(sc_message(), "emory"))
                    fail_msg("job %zu, allocation %ld: %d %s", j, at, (int)status, sc_message());
                char *data;
                size_t bytes;
                assert_int_equal(sc_read_file(path, 1 << 20, &data, &bytes), SC_OK);
                assert_true(bytes >=
                            3); /* the old file, or the whole one of a round that went well */
                free(data);
            }
            assert_true(refused > n * 9 / 10);
        }
}

static int start(void **state)
{
    (void)state;
    path = temporary_path("memory");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    unlink(path);
    free(path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, start, stop);
}
