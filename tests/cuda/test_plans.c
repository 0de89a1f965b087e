/* The real cuDNN, without a device: every convolution of every ResNet encoder at 224 px and 32
 * images, in all its passes, bf16 and fp32, gets a deterministic plan on sm_80, sm_90 and sm_100.
 * Plans are kept and found again. SC_TEST_LIST=1 lists engines, notes and workspaces.
 *
 * Engines that are compiled at run time cannot be made without a driver; none is chosen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder_convs.h"
#include "superclip/model.h"

static dnn_api api;
static bool found;

static const struct {
    const char *name;
    int device, processors, shared, sm_khz, memory_khz;
    long long memory;
    int l2;
} archs[] = {
    {"sm_80", 800, 108, 166912, 1410000, 1593000, 85031714816, 41943040},
    {"sm_90", 900, 132, 232448, 1980000, 2619000, 85029158912, 52428800},
    {"sm_100", 1000, 148, 232448, 1965000, 3996000, 191510609920, 132644864},
};
static void device_json(size_t i, char *out, size_t room)
{
    (void)snprintf(
        out, room,
        "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],"
        "\"regsPerBlock\":65536,\"multiProcessorCount\":%d,\"warpSize\":32,"
        "\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlockOptin\":%d,"
        "\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,\"maxCtasPerSM\":32,"
        "\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"pciDeviceId\":0,\"isTccDriver\":0,"
        "\"supportCoopLaunch\":1,\"totalGlobalMem\":%lld,\"smClockRateKHz\":%d,"
        "\"memClockRateKHz\":%d,\"l2CacheSize\":%d,\"cudaDeviceId\":0,\"deviceVer\":%d,"
        "\"driverVer\":13000,\"deviceName\":\"%s\"}",
        archs[i].processors, archs[i].shared, archs[i].memory, archs[i].sm_khz, archs[i].memory_khz,
        archs[i].l2, archs[i].device, archs[i].name);
}
static dnn *open_planner(size_t arch, const char *folder)
{
    char json[1200];
    dnn *d = NULL;
    device_json(arch, json, sizeof json);
    if (dnn_open_planner(&api, json, folder, &d) != SC_OK)
        fail_msg("%s: %s", archs[arch].name, sc_message());
    return d;
}
static bool skipped(void)
{
    if (!found)
        print_message("skipped: %s\n", sc_message());
    return !found;
}

static void check_plan(const dnn_plan *p, const dnn_conv *c, const char *arch)
{
    if (getenv("SC_TEST_LIST") != NULL)
        print_message("%-6s %-60s engine %3lld notes %03x %9zu bytes\n", arch, p->key,
                      (long long)p->engine, p->notes, p->workspace);
    const uint32_t never = c->type == SC_CUDA_F32
                               ? 1u << DNN_NOTE_NONDETERMINISTIC | 1u << DNN_NOTE_TENSOR_CORE |
                                     1u << DNN_NOTE_DOWN_CONVERT
                               : 1u << DNN_NOTE_NONDETERMINISTIC;
    if ((p->notes & never) != 0)
        fail_msg("%s: %s: engine %lld has notes %x", arch, p->key, (long long)p->engine, p->notes);
    assert_non_null(p->plan);
    assert_false(p->runtime_compiled);
}
static void plan_all(const conv_list *l, size_t arch)
{
    dnn *d = open_planner(arch, NULL);
    size_t most = 0;
    int made = 0, tensor_cores = 0;
    for (int i = 0; i < l->count; i++)
        for (int fp32 = 0; fp32 < 2; fp32++) {
            const dnn_plan *p = NULL, *again = NULL;
            dnn_conv c = l->conv[i];
            c.type = fp32 ? SC_CUDA_F32 : SC_CUDA_BF16;
            if (dnn_plan_for(d, &c, &p) != SC_OK)
                fail_msg("%s: %s", archs[arch].name, sc_message());
            check_plan(p, &c, archs[arch].name);
            assert_int_equal(dnn_plan_for(d, &c, &again), SC_OK);
            assert_ptr_equal(again, p);
            most = p->workspace > most ? p->workspace : most;
            tensor_cores += !fp32 && (p->notes >> DNN_NOTE_TENSOR_CORE & 1);
            made++;
        }
    print_message("%s: %d plans of %d convolutions, bf16 on tensor cores: %d, largest workspace "
                  "%.1f MB\n",
                  archs[arch].name, made, l->count, tensor_cores, (double)most / 1e6);
    assert_int_equal(tensor_cores, l->count);
    dnn_close(d);
}
static void test_every_encoder(void **state)
{
    (void)state;
    size_t encoders = 0;
    const sc_encoder_info *e = sc_encoder_list(&encoders);
    if (skipped())
        skip();
    conv_list *l = calloc(1, sizeof *l);
    assert_non_null(l);
    for (size_t i = 0; i < encoders; i++)
        if (e[i].image && strncmp(e[i].name, "resnet", 6) == 0 &&
            encoder_convs(e[i].name, 32, l) != SC_OK)
            fail_msg("%s: %s", e[i].name, sc_message());
    assert_in_range(l->count, 100, MOST_CONVS - 1);
    for (size_t a = 0; a < sizeof archs / sizeof *archs; a++)
        plan_all(l, a);
    free(l);
}

static void test_kept_plans(void **state)
{
    (void)state;
    const dnn_conv c = {.pass = DNN_PASS_FILTER,
                        .type = SC_CUDA_BF16,
                        .n = 32,
                        .c = 64,
                        .h = 56,
                        .w = 56,
                        .o = 64,
                        .oh = 56,
                        .ow = 56,
                        .kernel = 3,
                        .stride = 1,
                        .pad = 1};
    char folder[] = "/tmp/sc-plans-XXXXXX";
    const dnn_plan *p = NULL;
    if (skipped())
        skip();
    assert_non_null(mkdtemp(folder));
    for (int run = 0; run < 3; run++) {
        dnn *d = open_planner(1, folder);
        assert_int_equal(dnn_plan_for(d, &c, &p), SC_OK);
        assert_true(run == 0 ? p->engine >= 0 : p->engine == -1); /* -1: from the file */
        dnn_keep_plans(d, NULL);
        dnn_close(d);
    }
    dnn *other = open_planner(0, folder); /* another device: another file */
    assert_int_equal(dnn_plan_for(other, &c, &p), SC_OK);
    assert_true(p->engine >= 0);
    dnn_close(other);
    assert_int_equal(sc_remove_tree(folder), SC_OK);
}
static void test_no_such_convolution(void **state)
{
    (void)state;
    dnn_conv c = {.pass = DNN_PASS_FORWARD,
                  .type = SC_CUDA_BF16,
                  .n = 2,
                  .c = 8,
                  .h = 5,
                  .w = 5,
                  .o = 8,
                  .oh = 9,
                  .ow = 9,
                  .kernel = 3,
                  .stride = 1,
                  .pad = 1};
    const dnn_plan *p = NULL;
    if (skipped())
        skip();
    dnn *d = open_planner(1, NULL);
    assert_int_equal(dnn_plan_for(d, &c, &p), SC_EINTERNAL); /* y would be 5 x 5 */
    assert_non_null(strstr(sc_message(), "2000"));
    c.oh = c.ow = 5;
    assert_int_equal(dnn_plan_for(d, &c, &p), SC_OK);
    dnn_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_encoder),
                                       cmocka_unit_test(test_kept_plans),
                                       cmocka_unit_test(test_no_such_convolution)};
    found = dnn_load(&api) == SC_OK;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
