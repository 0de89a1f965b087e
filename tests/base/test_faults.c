/* The k-th call into the system fails, for every k, once or from then on: a replacement either
 * happens or leaves the old file, says so, and never leaves its temporary file or a half-written
 * one behind. The calls are wrapped by the linker (CMakeLists.txt). */
#include "superclip/base.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static long calls, fail_at = -1; /* -1: never */
static bool forever, shortened;
static int why;

static bool fails(void)
{
    long now = calls++;
    bool hit = fail_at >= 0 && (forever ? now >= fail_at : now == fail_at);
    if (hit)
        errno = why;
    return hit;
}

ssize_t __real_pwrite(int fd, const void *data, size_t n, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t n, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t n, off_t offset)
{
    if (fails())
        return -1;
    return __real_pwrite(fd, data, shortened && n > 1 ? n / 2 : n, offset);
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    return fails() ? -1 : __real_fsync(fd);
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to)
{
    return fails() ? -1 : __real_rename(from, to);
}

int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    bool hit = fails();
    int rc = __real_close(fd); /* a close that reports an error has closed all the same */
    if (hit)
        errno = why;
    return hit ? -1 : rc;
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

enum { NEW_BYTES = 200000 };
static char folder[] = "/tmp/sc_faults_XXXXXX";
static char path[64], content[NEW_BYTES];

static sc_status replace(void)
{
    sc_atomic_file *f;
    SC_TRY(sc_atomic_open(path, &f));
    sc_status status = SC_OK;
    for (size_t i = 0; i < NEW_BYTES && status == SC_OK; i += 25000)
        status = sc_atomic_write(f, content + i, 25000);
    if (status == SC_OK)
        status = sc_atomic_pwrite(f, content, 4, 0);
    if (status != SC_OK) {
        sc_atomic_abort(f);
        return status;
    }
    return sc_atomic_commit(f);
}

static int files_in_folder(void)
{
    DIR *d = opendir(folder);
    int n = 0;
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static bool holds_new(void)
{
    char *data;
    size_t n;
    assert_int_equal(sc_read_file(path, 1 << 20, &data, &n), SC_OK);
    bool is_new = n == NEW_BYTES && !memcmp(data, content, n);
    assert_true(is_new || (n == 3 && !memcmp(data, "old", 3)));
    free(data);
    return is_new;
}

/* Returns how many calls an undisturbed replacement makes. */
static long with_fault(long at)
{
    fail_at = -1;
    assert_int_equal(sc_write_file(path, "old", 3), SC_OK);
    calls = 0;
    fail_at = at;
    sc_message_clear();
    sc_status status = replace();
    long made = calls;
    fail_at = -1;
    if (status == SC_OK)
        assert_true(holds_new());
    else {
        holds_new(); /* one or the other, whole: after the rename only the folder's sync can fail */
        assert_true(status == SC_EIO || status == SC_ENOMEM);
        assert_true(strlen(sc_message()) > 0);
    }
    assert_int_equal(files_in_folder(), 1);
    return made;
}

static void every_call_may_fail(void **state)
{
    (void)state;
    static const int reasons[] = {ENOSPC, EIO, EDQUOT};
    for (size_t r = 0; r < sizeof reasons / sizeof reasons[0]; r++)
        for (int mode = 0; mode < 2; mode++) {
            why = reasons[r];
            forever = mode;
            long n = with_fault(-1);
            assert_in_range(n, 8, 1000);
            for (long at = 0; at < n; at++)
                with_fault(at);
        }
}

static void interrupted_and_short_writes_go_on(void **state)
{
    (void)state;
    why = EINTR;
    forever = false;
    shortened = true;
    long n = with_fault(-1);
    assert_in_range(n, 20, 1000); /* the halves are completed */
    assert_true(holds_new());
    int complete = 0;
    for (long at = 0; at < n; at++) {
        with_fault(at);
        complete += holds_new();
    }
    shortened = false;
    assert_true(complete > n / 2); /* an interrupted write is no failure */
}

static int start(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (char)(i * 7 + i / 251);
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/state", folder);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    return sc_remove_tree(folder) == SC_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_may_fail),
        cmocka_unit_test(interrupted_and_short_writes_go_on),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
