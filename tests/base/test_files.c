/* Files: a replacement that fails must cost nothing, wherever it fails. */
#include "superclip/base.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char *folder; /* of this test, made anew for each */

static int make_folder(void **state)
{
    char template[] = "/tmp/sc_base_XXXXXX";
    *state = NULL;
    folder = mkdtemp(template) ? sc_strdup(template) : NULL;
    return folder ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    sc_status s = sc_remove_tree(folder);
    free(folder);
    return s == SC_OK ? 0 : -1;
}

static int entries_of(const char *path)
{
    DIR *d = opendir(path);
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

static void assert_content(const char *path, const char *expected)
{
    char *data;
    size_t n;
    assert_int_equal(sc_read_file(path, 1 << 20, &data, &n), SC_OK);
    assert_int_equal(n, strlen(expected));
    assert_string_equal(data, expected);
    free(data);
}

static void replacing_keeps_old_until_commit(void **state)
{
    (void)state;
    char *path = sc_path_join(folder, "state.bin");
    assert_int_equal(sc_write_file(path, "old", 3), SC_OK);
    sc_atomic_file *f;
    assert_int_equal(sc_atomic_open(path, &f), SC_OK);
    assert_int_equal(sc_atomic_write(f, "new ", 4), SC_OK);
    assert_int_equal(sc_atomic_write(f, "content", 7), SC_OK);
    assert_int_equal(sc_atomic_tell(f), 11);
    assert_int_equal(sc_atomic_pwrite(f, "N", 1, 0), SC_OK);
    assert_content(path, "old");
    assert_int_equal(sc_atomic_commit(f), SC_OK);
    assert_content(path, "New content");
    assert_int_equal(sc_atomic_open(path, &f), SC_OK);
    assert_int_equal(sc_atomic_write(f, "given up", 8), SC_OK);
    sc_atomic_abort(f);
    sc_atomic_abort(NULL);
    assert_content(path, "New content");
    assert_int_equal(entries_of(folder), 1);
    free(path);
}

static void large_and_small_writes_mix(void **state)
{
    (void)state;
    enum { BYTES = 400000 };
    char *path = sc_path_join(folder, "big"), *expected = malloc(BYTES), *data;
    assert_non_null(expected);
    for (size_t i = 0; i < BYTES; i++)
        expected[i] = (char)(i * 31 + (i >> 8));
    sc_atomic_file *f;
    assert_int_equal(sc_atomic_open(path, &f), SC_OK);
    size_t at = 0, piece = 1;
    while (at < BYTES) {
        size_t n = piece < BYTES - at ? piece : BYTES - at;
        assert_int_equal(sc_atomic_write(f, expected + at, n), SC_OK);
        at += n;
        piece = piece * 7 % 100003;
        assert_int_equal(sc_atomic_tell(f), at);
    }
    assert_int_equal(sc_atomic_commit(f), SC_OK);
    size_t n;
    assert_int_equal(sc_read_file(path, BYTES, &data, &n), SC_OK);
    assert_int_equal(n, BYTES);
    assert_memory_equal(data, expected, BYTES);
    free(data);
    assert_int_equal(sc_read_file(path, BYTES - 1, &data, &n), SC_EFORMAT);
    free(expected);
    free(path);
}

static void a_link_keeps_being_a_link(void **state)
{
    (void)state;
    char *real = sc_path_join(folder, "real"), *link = sc_path_join(folder, "link");
    struct stat st;
    assert_int_equal(sc_write_file(real, "1", 1), SC_OK);
    assert_int_equal(symlink("real", link), 0);
    assert_int_equal(sc_write_file(link, "22", 2), SC_OK);
    assert_content(real, "22");
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    free(real);
    free(link);
}

/* A limit on file size stands for a full disk where mounting is not allowed. */
static void a_failing_write_leaves_the_old_file(void **state)
{
    (void)state;
    char *path = sc_path_join(folder, "state.bin");
    char block[300000];
    memset(block, 'x', sizeof block);
    assert_int_equal(sc_write_file(path, "old", 3), SC_OK);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 100000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    sc_status whole = sc_write_file(path, block, sizeof block);
    sc_atomic_file *f;
    assert_int_equal(sc_atomic_open(path, &f), SC_OK);
    sc_status status = SC_OK;
    for (size_t i = 0; i < sizeof block;
         i += 100) /* small writes fail when the buffer is flushed */
        if (status == SC_OK)
            status = sc_atomic_write(f, block, 100);
    sc_status again = sc_atomic_write(f, "a", 1), commit = sc_atomic_commit(f);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(whole, SC_EIO);
    assert_int_equal(status, SC_EIO);
    assert_int_equal(again, SC_EIO);
    assert_int_equal(commit, SC_EIO);
    assert_non_null(strstr(sc_message(), "state.bin"));
    assert_content(path, "old");
    assert_int_equal(entries_of(folder), 1);
    free(path);
}

enum { NO_MOUNT = 77 };

/* In a child with its own mounts: a tmpfs of 64 KiB. */
static int on_a_full_disk(void)
{
    char block[200000] = {1};
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", folder, "tmpfs", 0, "size=64k") != 0)
        return NO_MOUNT;
    char *path = sc_path_join(folder, "state.bin");
    if (sc_write_file(path, "old", 3) != SC_OK)
        return 1;
    if (sc_write_file(path, block, sizeof block) != SC_EIO)
        return 2;
    if (!strstr(sc_message(), "No space left"))
        return 3;
    char *data;
    size_t n;
    if (sc_read_file(path, 100, &data, &n) != SC_OK || n != 3 || strcmp(data, "old") != 0)
        return 4;
    if (entries_of(folder) != 1)
        return 5;
    /* and the disk is usable again */
    return sc_write_file(path, "new", 3) == SC_OK ? 0 : 6;
}

static void a_full_disk_leaves_the_old_file(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0)
        _exit(on_a_full_disk());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NO_MOUNT)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void what_cannot_be_written_is_named(void **state)
{
    (void)state;
    char *path = sc_path_join(folder, "missing/state.bin");
    assert_int_equal(sc_write_file(path, "x", 1), SC_EIO);
    assert_non_null(strstr(sc_message(), "missing/state.bin"));
    free(path);
    assert_int_equal(sc_write_file(folder, "x", 1), SC_EIO);
    assert_int_equal(sc_write_file("/dev/full", "x", 1), SC_EIO);
}

static void reading_refuses_what_is_no_file(void **state)
{
    (void)state;
    char *data = NULL, *pipe_path = sc_path_join(folder, "pipe");
    size_t n;
    assert_int_equal(sc_read_file(folder, 100, &data, &n), SC_EIO);
    assert_int_equal(sc_read_file("/nowhere/at/all", 100, &data, &n), SC_EIO);
    assert_non_null(strstr(sc_message(), "/nowhere/at/all"));
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    assert_int_equal(sc_read_file(pipe_path, 100, &data, &n), SC_EIO); /* and does not block */
    assert_null(data);
    free(pipe_path);
    assert_int_equal(sc_read_file("/proc/self/status", 1 << 20, &data, &n), SC_OK); /* size 0 */
    assert_true(n > 100);
    free(data);
}

static void folders_are_made_and_removed(void **state)
{
    (void)state;
    char *deep = sc_path_join(folder, "a/b//c/"), *file = sc_path_join(folder, "a/b/file");
    char *outside = sc_path_join(folder, "outside"), *link = sc_path_join(folder, "a/b/link");
    char *a = sc_path_join(folder, "a");
    assert_int_equal(sc_make_dirs(deep), SC_OK);
    assert_int_equal(sc_make_dirs(deep), SC_OK);
    assert_int_equal(sc_write_file(file, "x", 1), SC_OK);
    assert_int_equal(sc_make_dirs(file), SC_EIO);
    assert_int_equal(sc_make_dirs(""), SC_EUSAGE);
    assert_int_equal(sc_make_dirs("/"), SC_OK);
    assert_int_equal(sc_make_dirs(outside), SC_OK);
    assert_int_equal(symlink(outside, link), 0);
    assert_int_equal(sc_remove_tree(a), SC_OK);
    assert_false(sc_file_exists(a));
    assert_true(sc_file_exists(outside)); /* the link went, not what it points to */
    assert_int_equal(sc_remove_tree(a), SC_OK);
    free(deep);
    free(file);
    free(outside);
    free(link);
    free(a);
}

static void paths_join(void **state)
{
    (void)state;
    static const char *const rows[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"},
                                          {"/", "b", "/b"},  {"a", "/b", "/b"},  {"a", "", "a/"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *p = sc_path_join(rows[i][0], rows[i][1]);
        assert_string_equal(p, rows[i][2]);
        free(p);
    }
}

int main(void)
{
#define IN_A_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(replacing_keeps_old_until_commit),
        IN_A_FOLDER(large_and_small_writes_mix),
        IN_A_FOLDER(a_link_keeps_being_a_link),
        IN_A_FOLDER(a_failing_write_leaves_the_old_file),
        IN_A_FOLDER(a_full_disk_leaves_the_old_file),
        IN_A_FOLDER(what_cannot_be_written_is_named),
        IN_A_FOLDER(reading_refuses_what_is_no_file),
        IN_A_FOLDER(folders_are_made_and_removed),
        cmocka_unit_test(paths_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
