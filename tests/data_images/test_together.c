/* Several packers of one DST at the same moment, and owners that died: one wins, the others are
 * refused, the winner's set is whole and nothing stays behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "folder.h"

enum { PACKERS = 5, ROUNDS = 30, WON = 0, REFUSED = 1, FAILED = 2 };

/* In a process of its own: packs when the pipe closes; the exit code tells how it ended. */
static pid_t start_packer(const pack_setup *s, int go[2])
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0)
        return child;
    char byte;
    close(go[1]);
    if (read(go[0], &byte, 1) != 0)
        _exit(FAILED);
    sc_status status = pack_all(&s->o, 2);
    bool clear =
        strstr(sc_message(), "is packing there now") || strstr(sc_message(), "exists already");
    if (status != SC_OK && !(status == SC_EUSAGE && clear)) {
        fprintf(stderr, "%s: %s\n", sc_status_name(status), sc_message());
        _exit(FAILED);
    }
    _exit(status == SC_OK ? WON : REFUSED);
}

static void check_whole(const pack_setup *s)
{
    sc_dataset *d;
    uint8_t row[64 * 64 * 3];
    if (sc_dataset_open(s->dst, s->o.img_size, NULL, &d) != SC_OK)
        fail_msg("%s", sc_message());
    assert_int_equal(sc_dataset_count(d), FOLDER_IMAGES);
    for (int64_t i = 0; i < FOLDER_IMAGES; i++)
        for (int kind = 0; kind < 2; kind++)
            if (sc_dataset_row(d, (sc_row_kind)kind, i, row) != SC_OK)
                fail_msg("%s", sc_message());
    sc_dataset_close(d);
}

/* What a packer that was killed leaves, its owner gone. */
static void put_dead(const char *folder)
{
    char host[256] = "", text[400];
    gethostname(host, sizeof host - 1);
    snprintf(text, sizeof text, "%s 999999999 1 0\n", host);
    folder_put(folder, ".packed.packing/set/shard", "x", 1);
    folder_put(folder, ".packed.packing/owner", text, strlen(text));
}

static void test_one_wins(void **state)
{
    (void)state;
    char *f = folder_new();
    pack_setup s;
    pack_setup_init(&s, f);
    folder_images(s.src);
    s.o.img_size = 16;
    s.o.shards = 2;
    int ends[3] = {0, 0, 0};
    for (int round = 0; round < ROUNDS; round++) {
        int go[2], code, won = 0;
        pid_t packers[PACKERS];
        s.o.force = round % 3 == 2;
        if (!s.o.force)
            sc_remove_tree(s.dst);
        if (round % 3 == 1)
            put_dead(f);
        assert_int_equal(pipe(go), 0);
        for (int k = 0; k < PACKERS; k++)
            packers[k] = start_packer(&s, go);
        close(go[1]);
        close(go[0]);
        for (int k = 0; k < PACKERS; k++) {
            assert_int_equal(waitpid(packers[k], &code, 0), packers[k]);
            assert_true(WIFEXITED(code) && WEXITSTATUS(code) < 3);
            ends[WEXITSTATUS(code)]++;
            won += WEXITSTATUS(code) == WON;
        }
        if (won < 1 || (!s.o.force && won > 1))
            fail_msg("round %d: %d of %d packers won", round, won, PACKERS);
        check_whole(&s);
        assert_int_equal(count_names(f, ""), 2);
    }
    print_message("%d won, %d were refused\n", ends[WON], ends[REFUSED]);
    assert_int_equal(ends[FAILED], 0);
    assert_true(ends[REFUSED] > 0);
    folder_remove(f);
}

/* A killed packer whose parent has not asked about it is dead all the same. */
static void test_zombie(void **state)
{
    (void)state;
    char *f = folder_new();
    pack_setup s;
    pack_setup_init(&s, f);
    folder_images(s.src);
    sc_source_list l;
    assert_int_equal(sc_source_scan(s.src, NULL, &l), SC_OK);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(sc_pack_begin(&s.o, &l) == SC_OK ? raise(SIGKILL) : 1);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(info.si_code, CLD_KILLED);
    assert_int_equal(count_names(f, "packing"), 1);
    if (pack_all(&s.o, 1) != SC_OK)
        fail_msg("%s", sc_message());
    check_whole(&s);
    assert_int_equal(waitpid(child, NULL, 0), child);
    sc_source_list_free(&l);
    folder_remove(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_wins),
        cmocka_unit_test(test_zombie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
