/* What people have on their disks instead of weights, or what somebody wants them to open: each is
 * refused in one line that names the file, the place and the kind, and costs memory in proportion
 * to itself. The files are the fuzz targets' corpus (tests/fuzz).
 */
#include "weights_test.h"

#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

#define CORPUS SC_TEST_DIR "/fuzz/corpus/"

typedef struct bad_file {
    const char *path, *says;
} bad_file;

static const bad_file files[] = {
    {CORPUS "zip/empty", "is empty (0 bytes)"},
    {CORPUS "zip/html", "is text, not a .pth file (a web page"},
    {CORPUS "zip/cut", "no directory at its end; the file is cut off"},
    {CORPUS "zip/bit_flip", "member 'a/data/0' is damaged: its checksum is"},
    {CORPUS "zip/twice", "holds no model_state_dict"},
    {CORPUS "zip/foreign_name", "unsupported object 'os.system'"},
    {CORPUS "zip/foreign_name", "at byte 2 of data.pkl"},
    {CORPUS "zip/foreign_class", "unsupported object 'numpy.core.multiarray._reconstruct'"},
    {CORPUS "zip/cyclic", "contain themselves"},
    {CORPUS "zip/bomb", "member 'a/data.pkl' has 8388618 bytes, at most"},
    {CORPUS "zip/tensor_over_storage",
     "member 'a/data/0' has 8 bytes, but its tensor's storage holds"},
    {CORPUS "zip/big_endian", "byte order 'big' is not read"},
    {CORPUS "zip/legacy_big_endian", "written on a big-endian machine"},
    {CORPUS "safetensors/empty", "is empty (0 bytes)"},
    {CORPUS "safetensors/html", "is text"},
    {CORPUS "safetensors/big_endian", "is not a safetensors file, or is cut off inside its header"},
    {CORPUS "safetensors/header_over_file", "cut off inside its header"},
    {CORPUS "safetensors/hole", "tensor 'a': its data does not begin where the one before ends"},
    {CORPUS "safetensors/overlap", "tensor 'b': its data does not begin where the one before ends"},
    {CORPUS "safetensors/huge_shape", "tensor 'a': its shape and its data_offsets do not fit"},
    {CORPUS "safetensors/twice", "key 'a': is given twice"},
};

static sc_status open_and_read(const char *path)
{
    sc_weights *w;
    SC_TRY(sc_weights_open(path, &w));
    const sc_tensor_reader r = sc_weights_reader(w);
    sc_status status = SC_OK;
    for (size_t i = 0; i < r.count && status == SC_OK; i++) {
        sc_tensor t;
        status = sc_tensor_new(NULL, r.items[i].dtype, r.items[i].shape, &t);
        if (status == SC_OK) {
            status = r.read(r.ctx, i, t.data);
            sc_tensor_free(&t);
        }
    }
    sc_weights_close(w);
    return status;
}

/* 16 MiB more than the process has now. */
static int bound_memory(void **state)
{
    (void)state;
    struct rlimit limit;
    char *statm;
    size_t n;
    if (SANITIZED)
        return 0;
    if (sc_read_file("/proc/self/statm", 4096, &statm, &n) != SC_OK)
        return -1;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = strtoul(statm, NULL, 10) * (rlim_t)sysconf(_SC_PAGESIZE) + (16u << 20);
    free(statm);
    return setrlimit(RLIMIT_AS, &limit);
}

static void each_is_refused_by_its_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const bad_file *f = &files[i];
        sc_message_clear();
        assert_int_equal(open_and_read(f->path), SC_EFORMAT);
        if (strncmp(sc_message(), f->path, strlen(f->path)) != 0 || !strstr(sc_message(), f->says))
            fail_msg("%s\nis refused as\n%s\nand not as\n%s", f->path, sc_message(), f->says);
    }
}

/* A sound file of the same make opens: the ones above are refused for what is wrong with them. */
static void their_sound_sisters_open(void **state)
{
    (void)state;
    static const char *const sound[] = {CORPUS "zip/tensor_good", CORPUS "zip/seed_small",
                                        CORPUS "zip/seed_legacy", CORPUS "zip/seed_deflated",
                                        CORPUS "safetensors/seed_small"};
    for (size_t i = 0; i < sizeof sound / sizeof sound[0]; i++)
        if (open_and_read(sound[i]) != SC_OK)
            fail_msg("%s", sc_message());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(their_sound_sisters_open),
        cmocka_unit_test(each_is_refused_by_its_name),
    };
    return cmocka_run_group_tests(tests, bound_memory, NULL);
}
