#include "pack_tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { TAG_DONE = 1, TAG_END = 2 };

struct pack_progress {
    const sc_world *world;
    sc_mail *mail;
    bool live;
    int64_t total;
    int64_t *done; /* rank 0: [size] */
    int ended;
    double start, shown;
    int shown_tenth;
};

sc_status pack_progress_open(const sc_world *world, int64_t total, pack_progress **out)
{
    pack_progress *p = *out = sc_alloc(1, sizeof *p);
    if (!p || !(p->done = sc_alloc((size_t)world->comm->size, sizeof *p->done)))
        return SC_ENOMEM;
    p->world = world;
    p->total = total;
    p->start = p->shown = sc_now();
    p->live = world->comm->size == 1 && isatty(STDERR_FILENO);
    return world->comm->size > 1 ? sc_mail_open(world->comm, &p->mail) : SC_OK;
}

static void clock_text(double seconds, char out[16])
{
    int s = (int)(seconds < 0 ? 0 : seconds > 359999 ? 359999 : seconds);
    if (s >= 3600)
        snprintf(out, 16, "%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, 16, "%02d:%02d", s / 60, s % 60);
}

/* On a terminal ten times a second; else when another tenth is done, at most once a second. */
static void show(pack_progress *p, bool last)
{
    int64_t done = 0;
    for (int r = 0; r < p->world->comm->size; r++)
        done += p->done[r];
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
    fprintf(stderr, "%sPacking: %3d%%|%s| %lld/%lld [%s<%s, %.1f images/s]%s", p->live ? "\r" : "",
            p->total ? (int)(done * 100 / p->total) : 100, bar, (long long)done,
            (long long)p->total, spent, left, rate, p->live ? (last ? "   \n" : "   ") : "\n");
    fflush(stderr);
}

static void take_mail(pack_progress *p)
{
    bool got = true;
    while (p->mail && got) {
        int from, tag;
        char *data = NULL;
        size_t n;
        if (sc_mail_poll(p->mail, &got, &from, &tag, &data, &n) != SC_OK || !got)
            break;
        if (n == sizeof(int64_t) && from >= 0 && from < p->world->comm->size)
            p->done[from] = *(int64_t *)(void *)data;
        p->ended += tag == TAG_END;
        free(data);
    }
}

void pack_progress_update(void *progress, int64_t done, int64_t total)
{
    pack_progress *p = progress;
    (void)total;
    p->done[p->world->comm->rank] = done;
    if (p->world->comm->rank == 0) {
        take_mail(p);
        show(p, false);
    } else if (sc_now() - p->shown > 0.5) {
        p->shown = sc_now();
        sc_mail_send(p->mail, 0, TAG_DONE, &done, sizeof done);
    }
}

sc_status pack_progress_close(pack_progress *p)
{
    if (!p)
        return SC_OK;
    int rank = p->world->comm->rank, size = p->world->comm->size;
    sc_status status = SC_OK;
    if (p->mail && rank > 0)
        status = sc_mail_send(p->mail, 0, TAG_END, &p->done[rank], sizeof p->done[rank]);
    while (p->mail && rank == 0 && p->ended < size - 1) {
        take_mail(p);
        show(p, false);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    if (rank == 0)
        show(p, true);
    if (p->mail) {
        sc_status closed = sc_mail_close(p->mail);
        status = status != SC_OK ? status : closed;
    }
    free(p->done);
    free(p);
    return status;
}
