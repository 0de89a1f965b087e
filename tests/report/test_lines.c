/* Progress lines against tqdm's, epoch lines, and the run log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "superclip/report.h"

#include <fcntl.h>
#include <regex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static double number(const sc_json *object, const char *key)
{
    return sc_json_number(sc_json_get(object, key));
}

static void progress_lines_are_tqdms(void **state)
{
    (void)state;
    sc_json_doc *doc = NULL;
    int cases = 0;
    assert_int_equal(sc_json_read_file(SC_TEST_DIR "/golden/report/progress.json", &doc), SC_OK);
    for (const sc_json *c = sc_json_first(sc_json_root(doc)); c; c = sc_json_next(c), cases++) {
        sc_progress_state s = {.validating = sc_json_bool(sc_json_get(c, "validating")),
                               .superclip = sc_json_bool(sc_json_get(c, "superclip")),
                               .epoch = (int)number(c, "epoch"),
                               .done = (int64_t)number(c, "done"),
                               .total = (int64_t)number(c, "total"),
                               .seconds = number(c, "seconds"),
                               .loss = number(c, "loss"),
                               .class_loss = number(c, "class_loss"),
                               .contrastive_loss = number(c, "contrastive_loss"),
                               .acc = number(c, "acc")};
        sc_text line;
        sc_text_init(&line);
        sc_progress_format(&s, &line);
        assert_string_equal(line.data, sc_json_string(sc_json_get(c, "line")));
        sc_text_free(&line);
    }
    assert_int_equal(cases, 80);
    sc_json_free(doc);
}

static void the_contracts_own_lines(void **state)
{
    (void)state;
    sc_progress_state s = {.superclip = true,
                           .epoch = 1,
                           .done = 202,
                           .total = 202,
                           .seconds = 18 - 0.06,
                           .loss = 2.6845,
                           .class_loss = 1.5028,
                           .contrastive_loss = 1.1816,
                           .acc = 12.25};
    sc_text t;
    sc_text_init(&t);
    sc_progress_format(&s, &t);
    assert_string_equal(t.data,
                        "Epoch 1 [Train]: 100%|##########| 202/202 [00:17<00:00, 11.26it/s, "
                        "loss=2.6845, cls=1.5028, clip=1.1816, acc=12.25%]");
    sc_text_clear(&t);
    sc_epoch_metrics m = {.train_loss = 2.6845,
                          .train_acc = 12.25,
                          .val_loss = 2.6845,
                          .val_acc = 14.11,
                          .val_mAP = 1.57,
                          .train_class_loss = 1.5028,
                          .train_contrastive_loss = 1.1816,
                          .val_class_loss = 1.5028,
                          .val_contrastive_loss = 1.1816};
    sc_epoch_format(&m, true, &t);
    assert_string_equal(
        t.data,
        "Train Loss: 2.6845 (Class: 1.5028, Contrastive: 1.1816), Train Acc: 12.25%\n"
        "Val Loss: 2.6845 (Class: 1.5028, Contrastive: 1.1816), Val Acc: 14.11%, Val mAP: 1.57%\n");
    sc_text_clear(&t);
    sc_epoch_format(&m, false, &t);
    assert_string_equal(t.data, "Train Loss: 2.6845, Train Acc: 12.25%\n"
                                "Val Loss: 2.6845, Val Acc: 14.11%, Val mAP: 1.57%\n");
    sc_text_free(&t);
}

static void odd_states_do_not_break_a_line(void **state)
{
    (void)state;
    static const sc_progress_state odd[] = {{.total = 0},
                                            {.done = 5, .total = 0, .seconds = 1},
                                            {.done = -1, .total = 3},
                                            {.done = 9, .total = 3, .seconds = 1e300},
                                            {.done = 1, .total = 3, .seconds = -4},
                                            {.done = 1, .total = INT64_MAX, .seconds = 1e18}};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        sc_text t;
        sc_text_init(&t);
        sc_progress_format(&odd[i], &t);
        assert_int_equal(sc_text_status(&t), SC_OK);
        assert_non_null(strchr(t.data, '|'));
        assert_int_equal(t.data[t.len - 1], ']');
        sc_text_free(&t);
    }
}

/* ---- the run log ------------------------------------------------------------------- */

static char *contents(const char *path)
{
    char *data = NULL;
    size_t n;
    assert_int_equal(sc_read_file(path, 1 << 20, &data, &n), SC_OK);
    return data;
}

static void log_lines_are_on_disk_at_once(void **state)
{
    (void)state;
    char dir[] = "/tmp/sc_log_XXXXXX", inner[64], pattern[160];
    assert_non_null(mkdtemp(dir));
    snprintf(inner, sizeof inner, "%s/a/b", dir);
    sc_run_log *l = NULL;
    assert_int_equal(sc_run_log_open(inner, "resnet18_clip", 3, &l), SC_OK);
    char path[256];
    snprintf(path, sizeof path, "%s", sc_run_log_path(l));
    snprintf(pattern, sizeof pattern, "^%s/resnet18_clip_gpu3_[0-9]{8}_[0-9]{6}\\.log$", inner);
    regex_t re;
    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    assert_int_equal(regexec(&re, path, 0, NULL, 0), 0);
    regfree(&re);
    sc_run_log_line(l, 0, "first");
    sc_run_log_line(l, 2, "second\n");
    char *text = contents(path);
    assert_string_equal(text, "first\n[fold 2] second\n");
    free(text);
    sc_run_log_close(l);
    sc_run_log_close(NULL);
    sc_remove_tree(dir);
}

static void an_existing_log_is_appended_to(void **state)
{
    (void)state;
    char dir[] = "/tmp/sc_log_XXXXXX", path[256];
    assert_non_null(mkdtemp(dir));
    for (int attempt = 0; attempt < 20; attempt++) { /* both opened within one second */
        sc_run_log *a = NULL, *b = NULL;
        assert_int_equal(sc_run_log_open(dir, "x", 0, &a), SC_OK);
        assert_int_equal(sc_run_log_open(dir, "x", 0, &b), SC_OK);
        bool same = strcmp(sc_run_log_path(a), sc_run_log_path(b)) == 0;
        snprintf(path, sizeof path, "%s", sc_run_log_path(a));
        sc_run_log_line(a, 0, "one");
        sc_run_log_line(b, 0, "two");
        sc_run_log_close(a);
        sc_run_log_close(b);
        if (!same)
            continue;
        char *text = contents(path);
        assert_non_null(strstr(text, "one\ntwo\n"));
        free(text);
        break;
    }
    sc_remove_tree(dir);
}

static void an_unwritable_folder_is_an_error(void **state)
{
    (void)state;
    sc_run_log *l = NULL;
    assert_int_not_equal(sc_run_log_open("/dev/null/x", "x", 0, &l), SC_OK);
    assert_non_null(strstr(sc_message(), "/dev/null"));
    assert_null(l);
}

/* A file that may not grow stands for a full disk: one message, no signal, and later lines whole.
 */
static void a_full_disk_is_told_once(void **state)
{
    (void)state;
    char dir[] = "/tmp/sc_log_XXXXXX";
    assert_non_null(mkdtemp(dir));
    sc_run_log *l = NULL;
    assert_int_equal(sc_run_log_open(dir, "x", 0, &l), SC_OK);
    fflush(stderr);
    int ends[2], kept = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    struct rlimit before, small = {10, 10};
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    sc_run_log_line(l, 0, "123456");
    sc_run_log_line(l, 0, "abcdefgh"); /* torn: three bytes fit */
    sc_run_log_line(l, 0, "lost");
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    sc_run_log_line(l, 0, "again");
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(ends[1]);
    char told[4096];
    ssize_t n = read(ends[0], told, sizeof told - 1);
    close(ends[0]);
    assert_true(n > 0);
    told[n] = '\0';
    const char *first = strstr(told, "training goes on");
    assert_non_null(first);
    assert_null(strstr(first + 1, "training goes on"));
    char *text = contents(sc_run_log_path(l));
    assert_string_equal(text, "123456\nabc\nagain\n");
    free(text);
    sc_run_log_close(l);
    sc_remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(progress_lines_are_tqdms),
        cmocka_unit_test(the_contracts_own_lines),
        cmocka_unit_test(odd_states_do_not_break_a_line),
        cmocka_unit_test(log_lines_are_on_disk_at_once),
        cmocka_unit_test(an_existing_log_is_appended_to),
        cmocka_unit_test(an_unwritable_folder_is_an_error),
        cmocka_unit_test(a_full_disk_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
