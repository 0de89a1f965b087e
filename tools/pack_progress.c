#include "cli.h"
#include "pack_tool.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { TAG_DONE = 1, TAG_END = 2 };

struct pack_progress {
    const sc_world *world;
    sc_mail *mail;
    cli_progress line; /* rank 0's; `shown` is when the others sent last */
    int64_t *done;     /* rank 0: [size] */
    int ended;
};

sc_status pack_progress_open(const sc_world *world, int64_t total, pack_progress **out)
{
    pack_progress *p = *out = sc_alloc(1, sizeof *p);
    if (!p || !(p->done = sc_alloc((size_t)world->comm->size, sizeof *p->done)))
        return SC_ENOMEM;
    p->world = world;
    cli_progress_begin(&p->line, "Packing", total, world->comm->size == 1 && isatty(STDERR_FILENO));
    return world->comm->size > 1 ? sc_mail_open(world->comm, &p->mail) : SC_OK;
}

static void show(pack_progress *p, bool last)
{
    int64_t done = 0;
    for (int r = 0; r < p->world->comm->size; r++)
        done += p->done[r];
    cli_progress_show(&p->line, done, last);
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
    } else if (sc_now() - p->line.shown > 0.5) {
        p->line.shown = sc_now();
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
