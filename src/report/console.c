/* The console: live lines redrawn in place, or whole lines at a readable pace. */
#include "superclip/report.h"
#include "terminal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1 /* between two redraws of the live lines */
#define PLAIN_SECONDS 5.0  /* between two plain lines of a pass that goes on */

typedef struct row { /* a running job */
    int job;
    sc_text text;
    int shown_tenth; /* plain: of the pass, last printed */
    double shown_at; /* plain: when, in the pass's own seconds */
    bool validating;
    int epoch;
} row;

struct sc_console {
    pthread_mutex_t lock;
    bool live;
    int jobs;
    row *rows;
    int row_count, row_cap;
    int drawn; /* live lines on the screen now */
    double drawn_at;
    bool matrix_known;
    int done, failed;
    double fraction, first_fraction;
    double first_at; /* when the first fraction came: the ETA counts what this run has done */
    sc_text screen;  /* bytes of one redraw, written at once */
};

static void write_out(const char *data, size_t n)
{
    while (n > 0) {
        ssize_t done = write(STDOUT_FILENO, data, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return; /* nobody listens any more: not training's problem */
        data += done;
        n -= (size_t)done;
    }
}

sc_status sc_console_open(sc_progress_mode mode, int jobs, sc_console **out)
{
    sc_console *c = sc_alloc(1, sizeof *c);
    if (!c)
        return SC_ENOMEM;
    pthread_mutex_init(&c->lock, NULL);
    c->live = mode == SC_PROGRESS_LIVE || (mode == SC_PROGRESS_AUTO && sc_terminal_is_live());
    c->jobs = jobs;
    sc_text_init(&c->screen);
    *out = c;
    return SC_OK;
}

/* ---- the matrix line --------------------------------------------------------------- */

static void clock_text(double seconds, sc_text *out)
{
    long long s = seconds < 1e9 ? (long long)seconds : 0;
    if (s >= 3600)
        sc_text_putf(out, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else
        sc_text_putf(out, "%02lld:%02lld", s / 60, s % 60);
}

static void matrix_text(const sc_console *c, sc_text *out)
{
    double here = c->fraction - c->first_fraction, elapsed = sc_now() - c->first_at;
    sc_text_putf(out, "Jobs: %d/%d done", c->done, c->jobs);
    if (c->row_count > 0)
        sc_text_putf(out, ", %d running", c->row_count);
    if (c->failed > 0)
        sc_text_putf(out, ", %d failed", c->failed);
    sc_text_putf(out, ", %.0f%%", 100 * c->fraction);
    if (c->done + c->failed < c->jobs && here > 0) {
        sc_text_puts(out, ", ETA ");
        clock_text(elapsed * (1 - c->fraction) / here, out);
    }
}

/* ---- live -------------------------------------------------------------------------- */

static void erase(sc_console *c)
{
    if (c->drawn > 0)
        sc_text_putf(&c->screen, "\x1b[%dA", c->drawn);
    sc_text_puts(&c->screen, "\r\x1b[J");
    c->drawn = 0;
}

static void draw_line(sc_console *c, const char *line, int columns)
{
    sc_text_add(&c->screen, line, sc_terminal_fit(line, columns - 1));
    sc_text_puts(&c->screen, "\n");
    c->drawn++;
}

static void draw(sc_console *c)
{
    int columns, rows;
    char more[64];
    sc_terminal_size(&columns, &rows);
    int room =
        rows > 4 ? rows - 3 : 1; /* the matrix line, the line of those left out, the cursor's */
    for (int i = 0; i < c->row_count && i < room; i++)
        draw_line(c, c->rows[i].text.data ? c->rows[i].text.data : "", columns);
    if (c->row_count > room) {
        snprintf(more, sizeof more, "... and %d more jobs", c->row_count - room);
        draw_line(c, more, columns);
    }
    if (c->matrix_known) {
        sc_text matrix;
        sc_text_init(&matrix);
        matrix_text(c, &matrix);
        draw_line(c, matrix.data ? matrix.data : "", columns);
        sc_text_free(&matrix);
    }
    c->drawn_at = sc_now();
}

static void flush(sc_console *c)
{
    if (!c->screen.failed)
        write_out(c->screen.data, c->screen.len);
    c->screen.failed = false;
    sc_text_clear(&c->screen);
}

static void redraw(sc_console *c, bool now)
{
    if (!now && sc_now() - c->drawn_at < REDRAW_SECONDS)
        return;
    erase(c);
    draw(c);
    flush(c);
}

/* ---- rows -------------------------------------------------------------------------- */

static row *row_of(sc_console *c, int job)
{
    for (int i = 0; i < c->row_count; i++)
        if (c->rows[i].job == job)
            return &c->rows[i];
    if (c->row_count == c->row_cap) {
        int cap = c->row_cap ? 2 * c->row_cap : 16;
        row *grown = sc_realloc(c->rows, (size_t)cap, sizeof *grown);
        if (!grown)
            return NULL;
        c->rows = grown;
        c->row_cap = cap;
    }
    int at = c->row_count++;
    for (; at > 0 && c->rows[at - 1].job > job; at--) /* lines stay in the order of the jobs */
        c->rows[at] = c->rows[at - 1];
    c->rows[at] = (row){.job = job, .epoch = -1};
    sc_text_init(&c->rows[at].text);
    return &c->rows[at];
}

static void put_line(sc_console *c, const char *line)
{
    sc_text_puts(&c->screen, line);
    if (line[0] == '\0' || line[strlen(line) - 1] != '\n')
        sc_text_puts(&c->screen, "\n");
}

/* Plain: the end of every pass, and of a long pass at most its tenths. */
static bool worth_a_line(row *r, const sc_progress_state *s)
{
    int tenth = s->total > 0 ? (int)(10 * s->done / s->total) : 10;
    if (r->epoch != s->epoch || r->validating != s->validating) {
        r->epoch = s->epoch;
        r->validating = s->validating;
        r->shown_tenth = 0;
        r->shown_at = 0;
    }
    if (tenth == r->shown_tenth || (tenth < 10 && s->seconds - r->shown_at < PLAIN_SECONDS))
        return false;
    r->shown_tenth = tenth;
    r->shown_at = s->seconds;
    return true;
}

void sc_console_line(sc_console *c, const char *line)
{
    pthread_mutex_lock(&c->lock);
    if (c->live)
        erase(c);
    put_line(c, line);
    if (c->live)
        draw(c);
    flush(c);
    pthread_mutex_unlock(&c->lock);
}

void sc_console_job(sc_console *c, int job, const char *label, const sc_progress_state *s)
{
    pthread_mutex_lock(&c->lock);
    row *r = row_of(c, job);
    if (r && (c->live || worth_a_line(r, s))) {
        sc_text_clear(&r->text);
        if (label && label[0])
            sc_text_putf(&r->text, "%s ", label);
        sc_progress_format(s, &r->text);
        if (c->live) {
            redraw(c, false);
        } else if (!r->text.failed) {
            put_line(c, r->text.data);
            flush(c);
        }
    }
    pthread_mutex_unlock(&c->lock);
}

void sc_console_job_done(sc_console *c, int job)
{
    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < c->row_count; i++) {
        if (c->rows[i].job != job)
            continue;
        sc_text_free(&c->rows[i].text);
        memmove(&c->rows[i], &c->rows[i + 1], (size_t)(c->row_count - i - 1) * sizeof *c->rows);
        c->row_count--;
        break;
    }
    if (c->live)
        redraw(c, true);
    pthread_mutex_unlock(&c->lock);
}

void sc_console_matrix(sc_console *c, int done, int failed, double fraction)
{
    pthread_mutex_lock(&c->lock);
    bool news = !c->matrix_known || done != c->done || failed != c->failed;
    if (!c->matrix_known) {
        c->first_fraction = fraction;
        c->first_at = sc_now();
    }
    c->matrix_known = true;
    c->done = done;
    c->failed = failed;
    c->fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
    if (c->live) {
        redraw(c, news);
    } else if (news) {
        matrix_text(c, &c->screen);
        sc_text_puts(&c->screen, "\n");
        flush(c);
    }
    pthread_mutex_unlock(&c->lock);
}

void sc_console_close(sc_console *c)
{
    if (!c)
        return;
    if (c->live) { /* the running jobs' lines go, the matrix stays as the last word */
        for (int i = 0; i < c->row_count; i++)
            sc_text_free(&c->rows[i].text);
        c->row_count = 0;
        redraw(c, true);
    }
    for (int i = 0; i < c->row_count; i++)
        sc_text_free(&c->rows[i].text);
    free(c->rows);
    sc_text_free(&c->screen);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
