/* The k-th write, fsync or rename fails as on a full disk, and kills at random times: the old set
 * is there until the new one is complete, and no half set ever has DST's name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "folder.h"

static long countdown; /* 0: nothing fails */
static bool persistent;

static bool fails(void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    if (persistent)
        countdown = 1;
    errno = ENOSPC;
    return true;
}

ssize_t __real_pwrite(int fd, const void *p, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at);
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at)
{
    return fails() ? -1 : __real_pwrite(fd, p, n > 1000 ? n - 1 : n, at); /* short writes too */
}
ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    return fails() ? -1 : __real_write(fd, p, n);
}
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    (void)fd;
    return fails() ? -1 : 0; /* and none is slow */
}
int __real_rename(const char *a, const char *b);
int __wrap_rename(const char *a, const char *b);
int __wrap_rename(const char *a, const char *b)
{
    return fails() ? -1 : __real_rename(a, b);
}
int __real_renameat2(int a, const char *p, int b, const char *q, unsigned flags);
int __wrap_renameat2(int a, const char *p, int b, const char *q, unsigned flags);
int __wrap_renameat2(int a, const char *p, int b, const char *q, unsigned flags)
{
    return fails() ? -1 : __real_renameat2(a, p, b, q, flags);
}

/* The set's img_size, after reading every row; 0: not readable. */
static int readable(const char *dir)
{
    sc_dataset *d;
    if (sc_dataset_open(dir, 0, NULL, &d) != SC_OK)
        return 0;
    int size = sc_dataset_img_size(d);
    uint8_t *row = malloc(64 * 64 * 3);
    for (int64_t i = 0; i < sc_dataset_count(d); i++)
        for (int kind = 0; kind < 2; kind++)
            if (sc_dataset_row(d, (sc_row_kind)kind, i, row) != SC_OK)
                size = 0;
    free(row);
    sc_dataset_close(d);
    return size;
}

static void setup(pack_setup *s, const char *folder)
{
    pack_setup_init(s, folder);
    folder_images(s->src);
    s->o.shards = 2;
    s->o.img_size = 16;
    if (pack_all(&s->o, 1) != SC_OK)
        fail_msg("%s", sc_message());
    s->o.force = true;
}

static void test_failing_calls(void **state)
{
    (void)state;
    char *f = folder_new();
    pack_setup s;
    setup(&s, f);
    int old = 16, last = 0;
    for (int mode = 0; mode < 2; mode++) {
        persistent = mode == 1;
        for (int k = 1;; k++) {
            s.o.img_size = old == 16 ? 24 : 16;
            countdown = k;
            sc_status status = pack_all(&s.o, 2);
            bool reached = persistent ? countdown == 1 : countdown == 0;
            countdown = 0;
            int now = readable(s.dst);
            if (now != old && now != s.o.img_size)
                fail_msg("call %d: the set is gone: %s", k, sc_message());
            if (status == SC_OK && now != s.o.img_size)
                fail_msg("call %d: said to be packed, but is the old set", k);
            if (!persistent && count_names(f, "packing"))
                fail_msg("call %d: left behind", k);
            old = now;
            if (status == SC_OK && !reached) {
                last = k;
                break;
            }
        }
        assert_true(last > 40);
    }
    print_message("%d calls failed, once and from then on\n", last - 1);
    assert_int_equal(count_names(f, ""), 2);
    folder_remove(f);
}

static void test_killed(void **state)
{
    (void)state;
    char *f = folder_new();
    pack_setup s;
    setup(&s, f);
    uint32_t seed = 1;
    int replaced = 0, old = 16;
    for (int i = 0; i < 60; i++) {
        s.o.img_size = old == 16 ? 24 : 16;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(pack_all(&s.o, 1) == SC_OK ? 0 : 1);
        seed = seed * 1664525u + 1013904223u;
        nanosleep(&(struct timespec){.tv_nsec = (long)(seed >> 8) % 12000000}, NULL);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        int now = readable(s.dst);
        if (now != 16 && now != 24)
            fail_msg("kill %d: %s", i, sc_message());
        replaced += now != old;
        old = now;
    }
    print_message("60 kills, %d sets were replaced before\n", replaced);
    s.o.img_size = 32;
    if (pack_all(&s.o, 1) != SC_OK)
        fail_msg("%s", sc_message());
    assert_int_equal(readable(s.dst), 32);
    assert_int_equal(count_names(f, ""), 2);
    folder_remove(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failing_calls),
        cmocka_unit_test(test_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
