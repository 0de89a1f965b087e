/* Killed at any moment, refused by the file system: what is on disk is whole, and the same command
 * then gives the files of an uninterrupted run.
 */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "outputs.h"

static void set_options(job *j)
{
    j->o.weighted_sampling = true;
    j->o.epochs = 3; /* of 3 steps */
}

static contents reference(void)
{
    job j;
    sc_train_result r;
    job_init(&j);
    set_options(&j);
    must(job_run(&j, &r), SC_OK);
    contents c = read_all(&j);
    size_t n;
    assert_null(job_file(&j, "checkpoint_latest.prev.pth", &n));
    sc_train_result_free(&r);
    job_free(&j);
    return c;
}

static int count_files(const job *j)
{
    DIR *d = opendir(j->dir);
    const struct dirent *e;
    int n = 0;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

/* SIGKILL at random times, again and again; checkpoints at every step. */
static void killed_at_random_times(void **state)
{
    (void)state;
    contents want = reference();
    uint32_t random = 12345;
    job j;
    int kills = 0, whole = 0;
    job_init(&j);
    set_options(&j);
    j.o.checkpoint_interval_s = 0;
    while (kills < 20) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            sc_train_result r;
            _exit(job_run(&j, &r) == SC_OK ? 0 : 1);
        }
        random = random * 1664525 + 1013904223;
        usleep((useconds_t)(10000 + (random >> 8) % 300000));
        kill(child, SIGKILL);
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        if (WIFSIGNALED(how)) {
            kills++;
            continue;
        }
        assert_int_equal(WEXITSTATUS(how), 0); /* done before the kill: the next one is anew */
        expect_same(&j, &want, "kills", kills);
        whole++;
        job_free(&j);
        job_init(&j);
        set_options(&j);
        j.o.checkpoint_interval_s = 0;
    }
    sc_train_result r;
    must(job_run(&j, &r), SC_OK);
    sc_train_result_free(&r);
    expect_same(&j, &want, "kills", kills);
    assert_int_equal(count_files(&j), 5); /* and timing.json; no temporary files */
    job_free(&j);
    free_all(&want);
}

/* A folder where a file should go stands for every refusal of the file system. */
static void failing_writes_fail_the_job(void **state)
{
    (void)state;
    static const char *const names[] = {"checkpoint_best.pth", "history.json",
                                        "val_predictions.csv", "timing.json"};
    contents want = reference();
    for (int k = 0; k < 4; k++) {
        job j;
        sc_train_result r;
        job_init(&j);
        set_options(&j);
        char *path = sc_path_join(j.dir, names[k]);
        assert_int_equal(mkdir(path, 0700), 0);
        must(job_run_ranks(&j, 2, &r), SC_EIO);
        assert_non_null(strstr(sc_message(), names[k]));
        must(job_run(&j, &r), SC_EIO);
        assert_int_equal(rmdir(path), 0);
        must(job_run(&j, &r), SC_OK);
        sc_train_result_free(&r);
        expect_same(&j, &want, "failed write", k);
        free(path);
        job_free(&j);
    }
    free_all(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_random_times),
        cmocka_unit_test(failing_writes_fail_the_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
