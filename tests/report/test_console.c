/* The console, seen through a small terminal of the test's own. With "probe" as its argument the
 * program is what test_launcher.sh runs under mpirun. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "superclip/report.h"

#include <fcntl.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sc_progress_state train_state(int64_t done, int64_t total, double seconds)
{
    return (sc_progress_state){.superclip = true,
                               .epoch = 1,
                               .done = done,
                               .total = total,
                               .seconds = seconds,
                               .loss = 2.5,
                               .class_loss = 1.5,
                               .contrastive_loss = 1,
                               .acc = 12.25};
}

/* ---- capturing standard output ----------------------------------------------------- */

typedef struct capture {
    int kept, end;
    char text[60000];
} capture;

static void begin(capture *c)
{
    int ends[2];
    fflush(stdout);
    c->kept = dup(STDOUT_FILENO);
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    dup2(ends[1], STDOUT_FILENO);
    close(ends[1]);
    c->end = ends[0];
}

static void end(capture *c)
{
    dup2(c->kept, STDOUT_FILENO);
    close(c->kept);
    size_t n = 0;
    for (ssize_t got; (got = read(c->end, c->text + n, sizeof c->text - 1 - n)) > 0;)
        n += (size_t)got;
    c->text[n] = '\0';
    close(c->end);
}

/* ---- a terminal: lines, a cursor, and the three escapes the console uses ----------- */

enum { ROWS = 200, COLUMNS = 300 };
typedef struct terminal {
    char line[ROWS][COLUMNS];
    int row, column, widest;
} terminal;

static void feed(terminal *t, const char *s)
{
    memset(t, 0, sizeof *t);
    for (; *s; s++) {
        if (*s == '\n') {
            t->row++;
            t->column = 0;
        } else if (*s == '\r') {
            t->column = 0;
        } else if (*s == '\x1b') {
            int n = 0;
            assert_int_equal(*++s, '[');
            while (*++s >= '0' && *s <= '9')
                n = 10 * n + *s - '0';
            if (*s == 'A') {
                assert_true(n <= t->row);
                t->row -= n;
            } else { /* J: to the end of the screen */
                assert_int_equal(*s, 'J');
                assert_int_equal(t->column, 0);
                for (int r = t->row; r < ROWS; r++)
                    t->line[r][0] = '\0';
            }
        } else {
            assert_true(t->column < COLUMNS - 1);
            t->line[t->row][t->column++] = *s;
            t->line[t->row][t->column] = '\0';
            t->widest = t->column > t->widest ? t->column : t->widest;
        }
    }
}

static void live_lines_are_redrawn_in_place(void **state)
{
    (void)state;
    static capture c;
    static terminal t;
    sc_console *console;
    setenv("COLUMNS", "60", 1);
    setenv("LINES", "24", 1);
    begin(&c);
    sc_console_open(SC_PROGRESS_LIVE, 6, &console);
    sc_console_matrix(console, 0, 0, 0);
    for (int i = 0; i <= 50; i++) {
        sc_progress_state s = train_state(i, 50, i * 0.1);
        sc_console_job(console, 4, "[b fold 1]", &s);
        sc_console_job(console, 2, "[a fold 2]", &s);
        if (i == 20)
            sc_console_line(console, "a line that stays");
        sc_console_matrix(console, 0, 0, i / 300.0);
    }
    sc_console_matrix(console, 1, 1, 0.3);
    end(&c);
    feed(&t, c.text);
    assert_string_equal(t.line[0], "a line that stays");
    assert_memory_equal(t.line[1], "[a fold 2] Epoch 1 [Train]: 100%|##########| 50/50 [", 52);
    assert_memory_equal(t.line[2], "[b fold 1] Epoch 1 [Train]: 100%|##########| 50/50 [", 52);
    assert_memory_equal(t.line[3], "Jobs: 1/6 done, 2 running, 1 failed, 30%, ETA ", 46);
    assert_string_equal(t.line[4], "");
    assert_true(t.widest < 60); /* never the last column: no terminal wraps */
    begin(&c);
    sc_console_job_done(console, 2);
    sc_console_close(console);
    end(&c);
    assert_non_null(strstr(c.text, "Jobs: 1/6 done, 1 failed, 30%"));
}

static void closing_leaves_the_matrix_line_alone(void **state)
{
    (void)state;
    static capture c;
    static terminal t;
    sc_console *console;
    begin(&c);
    sc_console_open(SC_PROGRESS_LIVE, 1, &console);
    sc_progress_state s = train_state(1, 2, 1);
    sc_console_job(console, 0, "", &s);
    sc_console_matrix(console, 0, 0, 0.5);
    sc_console_line(console, "kept");
    sc_console_job_done(console, 0);
    sc_console_matrix(console, 1, 0, 1);
    sc_console_close(console);
    end(&c);
    feed(&t, c.text);
    assert_string_equal(t.line[0], "kept");
    assert_string_equal(t.line[1], "Jobs: 1/1 done, 100%");
    assert_string_equal(t.line[2], "");
    assert_int_equal(t.row, 2);
}

static void more_jobs_than_rows_are_counted(void **state)
{
    (void)state;
    static capture c;
    static terminal t;
    sc_console *console;
    setenv("LINES", "10", 1);
    begin(&c);
    sc_console_open(SC_PROGRESS_LIVE, 100, &console);
    sc_progress_state s = train_state(1, 2, 1);
    for (int job = 0; job < 50; job++)
        sc_console_job(console, job, "[x]", &s);
    sc_console_matrix(console, 0, 0, 0);
    end(&c);
    feed(&t, c.text);
    assert_string_equal(t.line[7], "... and 43 more jobs");
    assert_memory_equal(t.line[8], "Jobs: 0/100 done, 50 running", 28);
    assert_true(t.row <= 9);
    begin(&c);
    sc_console_close(console);
    end(&c);
    setenv("LINES", "24", 1);
}

/* Letters of several bytes are never cut, wide ones count two columns. */
static void wide_letters_do_not_wrap(void **state)
{
    (void)state;
    static capture c;
    sc_console *console;
    for (int columns = 10; columns < 40; columns++) {
        char text[16];
        snprintf(text, sizeof text, "%d", columns);
        setenv("COLUMNS", text, 1);
        begin(&c);
        sc_console_open(SC_PROGRESS_LIVE, 1, &console);
        sc_progress_state s = train_state(1, 2, 1);
        sc_console_job(console, 0, "植入物é植入物é植入物é植入物é", &s);
        end(&c);
        char *line = strstr(c.text, "\x1b[J") + 3;
        size_t n = strcspn(line, "\n");
        assert_true(sc_utf8_valid(line, n));
        int used = 0;
        for (size_t i = 0; i < n; i++) {
            unsigned char b = (unsigned char)line[i];
            used += b < 0x80 || (b >= 0xc0 && b < 0xe0) ? 1 : b >= 0xe0 ? 2 : 0;
        }
        assert_true(used < columns && used >= columns - 2);
        begin(&c);
        sc_console_close(console);
        end(&c);
    }
    setenv("COLUMNS", "80", 1);
}

/* ---- plain ------------------------------------------------------------------------- */

static int lines_of(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void plain_text_is_whole_lines_at_a_readable_pace(void **state)
{
    (void)state;
    static capture c;
    sc_console *console;
    begin(&c);
    sc_console_open(SC_PROGRESS_PLAIN, 2, &console);
    for (int i = 1; i <= 1000; i++) {
        sc_progress_state s = train_state(i, 1000, i * 0.5); /* a pass of 500 s */
        sc_console_job(console, 0, "[fold 1]", &s);
        sc_console_matrix(console, 0, 0, i / 2000.0);
    }
    for (int i = 1; i <= 1000; i++) { /* a pass of one second */
        sc_progress_state s = train_state(i, 1000, i * 0.001);
        s.validating = true;
        sc_console_job(console, 0, "[fold 1]", &s);
    }
    sc_console_line(console, "epoch line\n");
    sc_console_job_done(console, 0);
    sc_console_matrix(console, 1, 0, 0.5);
    sc_console_close(console);
    end(&c);
    assert_null(strpbrk(c.text, "\r\x1b"));
    assert_int_equal(lines_of(c.text), 1 + 10 + 1 + 1 + 1); /* matrix, train, val, epoch, matrix */
    assert_memory_equal(c.text, "Jobs: 0/2 done, ", 16);
    assert_non_null(strstr(c.text, "\n[fold 1] Epoch 1 [Train]:  10%|#         | 100/1000 ["));
    assert_non_null(strstr(c.text, "\n[fold 1] Epoch 1 [Train]: 100%|##########| 1000/1000 ["));
    assert_non_null(strstr(c.text, "\n[fold 1] [Val]: 100%|##########| 1000/1000 ["));
    assert_non_null(strstr(c.text, "\nepoch line\n"));
    assert_non_null(strstr(c.text, "\nJobs: 1/2 done, 50%"));
}

static void every_pass_has_its_last_line(void **state)
{
    (void)state;
    static capture c;
    sc_console *console;
    begin(&c);
    sc_console_open(SC_PROGRESS_PLAIN, 1, &console);
    for (int epoch = 1; epoch <= 5; epoch++) {
        for (int val = 0; val < 2; val++) {
            sc_progress_state s = train_state(1, 1, 0.1);
            s.epoch = epoch;
            s.validating = val;
            sc_console_job(console, 0, NULL, &s);
        }
    }
    sc_console_close(console);
    end(&c);
    assert_int_equal(lines_of(c.text), 10);
}

/* ---- choosing ---------------------------------------------------------------------- */

static bool auto_is_live(const char *term, const char *no_color, bool on_terminal)
{
    static capture c;
    sc_console *console;
    int master = -1, slave = -1, kept = -1;
    term ? setenv("TERM", term, 1) : unsetenv("TERM");
    no_color ? setenv("NO_COLOR", no_color, 1) : unsetenv("NO_COLOR");
    begin(&c);
    if (on_terminal) {
        struct winsize size = {24, 80, 0, 0};
        assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
        kept = dup(STDOUT_FILENO);
        dup2(slave, STDOUT_FILENO);
    }
    sc_console_open(SC_PROGRESS_AUTO, 1, &console);
    sc_progress_state s = train_state(1, 1, 1);
    sc_console_job(console, 0, "", &s);
    sc_console_close(console);
    if (on_terminal) {
        char text[4096];
        ssize_t n = read(master, text, sizeof text);
        dup2(kept, STDOUT_FILENO);
        assert_int_equal(write(STDOUT_FILENO, text, (size_t)n), n);
        close(kept);
        close(slave);
        close(master);
    }
    end(&c);
    return strchr(c.text, '\x1b') != NULL;
}

static void auto_looks_at_terminal_and_environment(void **state)
{
    (void)state;
    assert_true(auto_is_live("xterm", NULL, true));
    assert_true(auto_is_live("xterm", "", true));
    assert_false(auto_is_live("xterm", NULL, false));
    assert_false(auto_is_live("dumb", NULL, true));
    assert_false(auto_is_live(NULL, NULL, true));
    assert_false(auto_is_live("xterm", "1", true));
}

static int probe(void)
{
    sc_console *console;
    if (sc_console_open(SC_PROGRESS_AUTO, 1, &console) != SC_OK)
        return 1;
    sc_progress_state s = train_state(1, 1, 1);
    sc_console_job(console, 0, "", &s);
    sc_console_matrix(console, 1, 0, 1);
    sc_console_close(console);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "probe") == 0)
        return probe();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(live_lines_are_redrawn_in_place),
        cmocka_unit_test(closing_leaves_the_matrix_line_alone),
        cmocka_unit_test(more_jobs_than_rows_are_counted),
        cmocka_unit_test(wide_letters_do_not_wrap),
        cmocka_unit_test(plain_text_is_whole_lines_at_a_readable_pace),
        cmocka_unit_test(every_pass_has_its_last_line),
        cmocka_unit_test(auto_looks_at_terminal_and_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
