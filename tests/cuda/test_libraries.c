/* Where NVIDIA's libraries are looked for: a library of a name that nobody has, put into one place
 * after the other.
 */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "libraries.h"
#include "shim/shim.h"

static const char name[] = "libsc_of_nobody.so.1";
static char root[] = "/tmp/sc-libraries-XXXXXX";

static bool found(void)
{
    void *h = NULL;
    const sc_status status = cuda_library("a library", name, &h);
    if (status == SC_OK) {
        assert_non_null(h);
        (void)dlclose(h);
    } else {
        assert_int_equal(status, SC_EUNSUPPORTED);
        assert_non_null(strstr(sc_message(), "a library was not found"));
    }
    return status == SC_OK;
}
static void forget_all(void)
{
    static const char *const names[] = {"CUDA_HOME", "VIRTUAL_ENV", "CONDA_PREFIX"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(unsetenv(names[i]), 0);
    assert_int_equal(setenv("HOME", "/nowhere", 1), 0);
    assert_int_equal(setenv("PATH", "/nowhere:/nowhere/else", 1), 0);
}
/* A library at root/below; its folder's address without `below`. */
static void put(const char *below)
{
    Dl_info at;
    assert_int_not_equal(dladdr((void *)(uintptr_t)shim_launches, &at), 0);
    char *folder = sc_path_join(root, below), *path = sc_path_join(folder, name);
    char *real = realpath(at.dli_fname, NULL);
    assert_int_equal(sc_make_dirs(folder), SC_OK);
    assert_int_equal(symlink(real, path), 0);
    free(folder);
    free(path);
    free(real);
}
static void test_places(void **state)
{
    static const struct {
        const char *variable, *value, *below;
    } places[] = {
        {"CUDA_HOME", "home", "home/lib64"},
        {"CUDA_HOME", "other", "other/targets/x86_64-linux/lib"},
        {"VIRTUAL_ENV", "venv", "venv/lib/python3.12/site-packages/nvidia/cudnn/lib"},
        {"CONDA_PREFIX", "conda", "conda/lib"},
        {"CONDA_PREFIX", "conda2", "conda2/lib/python3.9/site-packages/nvidia/cu13/lib"},
        {"PATH", "/nowhere::/tmp", NULL},
        {"PATH", "torch/bin", "torch/lib64/python3.11/site-packages/nvidia/nccl/lib"},
        {"PATH", "usr/bin", "usr/local/lib/python3.12/dist-packages/nvidia/nccl/lib"},
        {"HOME", "me", "me/.local/lib/python3.12/site-packages/nvidia/cudnn/lib"},
    };
    (void)state;
    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        forget_all();
        char *value = sc_path_join(root, places[i].value);
        if (strcmp(places[i].variable, "PATH") == 0 && places[i].below != NULL) {
            char *python = sc_path_join(value, "python3");
            assert_int_equal(sc_make_dirs(value), SC_OK);
            assert_int_equal(sc_write_file(python, "", 0), SC_OK);
            free(python);
        }
        assert_int_equal(
            setenv(places[i].variable, places[i].below != NULL ? value : places[i].value, 1), 0);
        assert_false(found());
        if (places[i].below != NULL) {
            put(places[i].below);
            assert_true(found());
        }
        free(value);
    }
    forget_all();
    assert_false(found());
    assert_int_equal(sc_remove_tree(root), SC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_places)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
