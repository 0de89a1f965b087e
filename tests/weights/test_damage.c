/* Damaged files are refused with one line or loaded; never a crash, never a huge allocation. Run
 * under the sanitizers for the first half of that, without them for the second: there the address
 * space is small. */
#include "weights_test.h"

#include "superclip/codec.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static const char *const goldens[] = {
    SC_TEST_DIR "/golden/weights_torch.pth",        SC_TEST_DIR "/golden/weights_views.pth",
    SC_TEST_DIR "/golden/weights_deflated.pth",     SC_TEST_DIR "/golden/weights_ours.pth",
    SC_TEST_DIR "/golden/weights_ours.safetensors", SC_TEST_DIR "/golden/weights_hf.safetensors"};
enum { GOLDENS = sizeof goldens / sizeof goldens[0], PTH = 4 };

static char *path;
static int file = -1;
static long loads, accepted;

static int start(void **state)
{
    (void)state;
    path = temporary_path("damage");
    file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (!SANITIZED) { /* the files have 9 KB: 48 MiB more than now is far beyond what they justify
                       */
        struct rlimit limit;
        getrlimit(RLIMIT_AS, &limit);
        char *statm;
        size_t n;
        if (sc_read_file("/proc/self/statm", 4096, &statm, &n) != SC_OK)
            return -1;
        limit.rlim_cur = strtoul(statm, NULL, 10) * (rlim_t)sysconf(_SC_PAGESIZE) + (48u << 20);
        free(statm);
        setrlimit(RLIMIT_AS, &limit);
    }
    return file >= 0 ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    print_message("%ld damaged files, %ld of them loaded\n", loads, accepted);
    close(file);
    unlink(path);
    free(path);
    return 0;
}

static void load_damaged(const char *bytes, size_t n, bool safetensors)
{
    assert_int_equal(ftruncate(file, 0), 0);
    assert_int_equal(pwrite(file, bytes, n, 0), (ssize_t)n);
    sc_status status;
    sc_message_clear();
    loads++;
    if (safetensors) {
        sc_tensor_set s;
        status = sc_safetensors_load(path, &s);
        if (status == SC_OK)
            sc_tensor_set_free(&s);
    } else {
        sc_object *o;
        sc_tensor_set s;
        status = sc_pth_load(path, &o);
        if (status == SC_OK) {
            if (sc_state_dict_of(path, o, &s) == SC_OK)
                sc_tensor_set_free(&s);
            sc_obj_free(o);
        }
    }
    accepted += status == SC_OK;
    if (status != SC_OK && status != SC_EFORMAT)
        fail_msg("status %d: %s", (int)status, sc_message());
    if (status != SC_OK && strncmp(sc_message(), path, strlen(path)) != 0)
        fail_msg("a message without the file: %s", sc_message());
}

static void read_golden(int i, char **data, size_t *n)
{
    assert_int_equal(sc_read_file(goldens[i], 1 << 20, data, n), SC_OK);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (int g = 0; g < GOLDENS; g++) {
        char *data;
        size_t n;
        read_golden(g, &data, &n);
        long before = accepted;
        for (size_t cut = 0; cut < n; cut++)
            load_damaged(data, cut, g >= PTH);
        assert_int_equal(accepted, before);
        load_damaged(data, n, g >= PTH);
        assert_int_equal(accepted, before + 1);
        free(data);
    }
}

static void every_flipped_byte_is_survived(void **state)
{
    (void)state;
    static const char flips[] = {'\xFF', '\x01'};
    for (int g = 0; g < GOLDENS; g++) {
        char *data;
        size_t n;
        read_golden(g, &data, &n);
        for (size_t i = 0; i < n; i++)
            for (size_t f = 0; f < (g < 2 ? 1 : sizeof flips); f++) {
                data[i] = (char)(data[i] ^ flips[f]);
                load_damaged(data, n, g >= PTH);
                data[i] = (char)(data[i] ^ flips[f]);
            }
        free(data);
    }
}

static uint32_t word(const char *p)
{
    return *(const uint8_t *)p | (uint32_t)((const uint8_t *)p)[1] << 8 |
           (uint32_t)((const uint8_t *)p)[2] << 16 | (uint32_t)((const uint8_t *)p)[3] << 24;
}

/* Where data.pkl lies in a file of stored members, and where the directory keeps its checksum. */
static void find_pickle(const char *data, size_t n, size_t *from, size_t *len, size_t *crc_at)
{
    for (size_t i = 0; i + 46 < n; i++) {
        if (word(data + i) != 0x02014b50)
            continue;
        size_t name = word(data + i + 28) & 0xFFFF;
        if (name < 8 || memcmp(data + i + 46 + name - 8, "data.pkl", 8) != 0)
            continue;
        size_t local = word(data + i + 42);
        *len = word(data + i + 24);
        *from = local + 30 + (word(data + local + 26) & 0xFFFF) + (word(data + local + 26) >> 16);
        *crc_at = i + 16;
        return;
    }
    fail_msg("no data.pkl");
}

static void put_crc(char *data, size_t from, size_t len, size_t crc_at)
{
    uint32_t crc = sc_crc32(0, data + from, len);
    for (int i = 0; i < 4; i++)
        data[crc_at + (size_t)i] = (char)(crc >> (8 * i));
}

/* With the checksum made right again the damage reaches the pickle machine itself. */
static void damaged_pickles_are_survived(void **state)
{
    (void)state;
    static const char opcodes[] =
        "N\x88\x89KMJ\x8a\x8bGILFX\x8c\x8dUTCB]}l)dt\x85\x86\x87\x8f\x90\x91"
        "aesu(012qrphjg\x94"
        "c\x93R\x81\x92"
        "bQ.\x80\x95";
    for (int g = 0; g < PTH; g++) {
        if (g == 2)
            continue; /* its pickle is compressed */
        char *data;
        size_t n, from, len, crc_at;
        read_golden(g, &data, &n);
        find_pickle(data, n, &from, &len, &crc_at);
        for (size_t i = from; i < from + len; i++) {
            char before = data[i];
            /* a bit, or an opcode: a different twelfth of them at each place */
            for (size_t o = i % 12; o < sizeof opcodes + 48; o += 12) {
                size_t bit = (o - sizeof opcodes) / 6;
                data[i] = (char)(o < sizeof opcodes ? opcodes[o] : before ^ 1 << bit % 8);
                put_crc(data, from, len, crc_at);
                load_damaged(data, n, false);
            }
            data[i] = before;
        }
        free(data);
    }
}

/* Several random changes at once, runs copied over others; a fixed seed, so that a failure comes
 * again. */
static void random_damage_is_survived(void **state)
{
    (void)state;
    enum { ROUNDS = 2500 };
    const uint32_t key[2] = {1909, 11};
    for (int g = 0; g < GOLDENS; g++) {
        char *data, *copy;
        size_t n, from = 0, len = 0, crc_at = 0;
        read_golden(g, &data, &n);
        copy = malloc(n);
        assert_non_null(copy);
        if (g < PTH && g != 2)
            find_pickle(data, n, &from, &len, &crc_at);
        for (uint32_t round = 0; round < ROUNDS; round++) {
            memcpy(copy, data, n);
            for (uint32_t i = 0, w[4]; i < 1 + round % 5; i++) {
                const uint32_t counter[4] = {round, i, (uint32_t)g, 0};
                sc_philox4x32(key, counter, w);
                size_t low = len && round % 2 ? from : 0, room = low ? len : n;
                size_t a = low + w[0] % room, b = low + w[1] % room, run = 1 + w[2] % 16;
                if (w[3] % 3 == 0)
                    copy[a] = (char)w[2];
                else if (w[3] % 3 == 1)
                    copy[a] = (char)(copy[a] ^ 1 << w[2] % 8);
                else
                    memmove(copy + a, data + b, run < n - (a > b ? a : b) ? run : 1);
            }
            if (len && round % 2)
                put_crc(copy, from, len, crc_at);
            load_damaged(copy, n, g >= PTH);
        }
        free(copy);
        free(data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_byte_is_survived),
        cmocka_unit_test(damaged_pickles_are_survived),
        cmocka_unit_test(random_damage_is_survived),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
