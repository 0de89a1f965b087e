#include <stdio.h>

#include "cli.h"

void cli_progress_begin(cli_progress *p, const char *what, int64_t total, bool live)
{
    double now = sc_now();
    *p = (cli_progress){.what = what, .total = total, .live = live, .start = now, .shown = now};
}

static void clock_text(double seconds, char out[16])
{
    int s = (int)(seconds < 0 ? 0 : seconds > 359999 ? 359999 : seconds);
    if (s >= 3600)
        snprintf(out, 16, "%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, 16, "%02d:%02d", s / 60, s % 60);
}

void cli_progress_show(cli_progress *p, int64_t done, bool last)
{
    double now = sc_now(), passed = now - p->start;
    int tenth = p->total ? (int)(done * 10 / p->total) : 10;
    if (!last && now - p->shown < (p->live ? 0.1 : 1))
        return;
    if (!p->live && tenth == p->shown_tenth)
        return;
    p->shown = now;
    p->shown_tenth = tenth;
    char bar[11], spent[16], left[16];
    for (int i = 0; i < 10; i++)
        bar[i] = i < tenth ? '#' : ' ';
    bar[10] = '\0';
    double rate = passed > 0 ? (double)done / passed : 0;
    clock_text(passed, spent);
    clock_text(rate > 0 ? (double)(p->total - done) / rate : 0, left);
    fprintf(stderr, "%s%s: %3d%%|%s| %lld/%lld [%s<%s, %.1f images/s]%s", p->live ? "\r" : "",
            p->what, p->total ? (int)(done * 100 / p->total) : 100, bar, (long long)done,
            (long long)p->total, spent, left, rate, p->live ? (last ? "   \n" : "   ") : "\n");
    fflush(stderr);
}
