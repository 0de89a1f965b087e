/* The lock of an output folder: held, released, taken over. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lock.h"

static char dir[] = "/tmp/sc_lock.XXXXXX";
static char path[64];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof path, "%s/lock", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return sc_remove_tree(dir) == SC_OK ? 0 : 1;
}

/* As another process: a kernel lock does not stop its own process's other descriptors everywhere.
 */
static sc_status elsewhere(const char *host)
{
    pid_t child = fork();
    if (child == 0) {
        app_lock *l;
        sc_status s = app_lock_take(path, host, 0, &l);
        _exit(s == SC_OK ? 0 : s == SC_EUSAGE && strstr(sc_message(), "host here") ? 1 : 2);
    }
    int code = 0;
    waitpid(child, &code, 0);
    assert_true(WIFEXITED(code));
    assert_in_range(WEXITSTATUS(code), 0, 1);
    return WEXITSTATUS(code) == 0 ? SC_OK : SC_EUSAGE;
}

static void held_and_released(void **state)
{
    (void)state;
    app_lock *l;
    assert_int_equal(app_lock_take(path, "here", 0, &l), SC_OK);
    assert_int_equal(elsewhere("here"), SC_EUSAGE);
    assert_int_equal(elsewhere("there"), SC_EUSAGE);
    app_lock_release(l);
    assert_false(sc_file_exists(path));
    assert_int_equal(elsewhere("there"), SC_OK); /* that process ended without releasing */
    assert_true(sc_file_exists(path));
    assert_int_equal(elsewhere("there"), SC_OK); /* same host, gone: taken over */
}

static void foreign(const char *text, int age)
{
    assert_int_equal(sc_write_file(path, text, strlen(text)), SC_OK);
    struct timespec when = {.tv_sec = time(NULL) - age};
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){when, when}, 0), 0);
}

static void another_host(void **state)
{
    (void)state;
    static const char text[] = "host here\npid 4\nticks 5\njob 77\nstarted yesterday\n";
    unsetenv("SLURM_JOB_ID");
    foreign(text, 10);
    assert_int_equal(elsewhere("there"), SC_EUSAGE); /* renewed ten seconds ago: alive */
    setenv("SLURM_JOB_ID", "77", 1);
    assert_int_equal(elsewhere("there"), SC_EUSAGE);
    setenv("SLURM_RESTART_COUNT", "1", 1);
    assert_int_equal(elsewhere("there"), SC_OK); /* the same job, requeued */
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_RESTART_COUNT");
    foreign(text, 600);
    assert_int_equal(elsewhere("there"), SC_OK); /* silent for ten minutes */
    foreign("not a lock", 0);
    assert_int_equal(elsewhere("there"), SC_OK);
}

static void loss_is_noticed(void **state)
{
    (void)state;
    app_lock *l;
    assert_int_equal(app_lock_take(path, "here", 0, &l), SC_OK);
    assert_int_equal(app_lock_renew(l), SC_OK);
    foreign("host there\npid 4\nticks 5\njob -\nstarted now\n", 0); /* replaces the file */
    app_lock_release(l);
    assert_true(sc_file_exists(path)); /* somebody else's is left alone */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(held_and_released, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(another_host, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(loss_is_noticed, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
