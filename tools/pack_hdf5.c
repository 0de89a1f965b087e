/* pack_hdf5: image folders -> HDF5 shards, alone or under mpirun. Rank 0 begins and finishes, every
 * rank packs a share, and all agree after each step.
 */
#include "pack_tool.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void write_log(void *ctx, sc_log_level level, const char *line)
{
    (void)ctx;
    fprintf(stderr, "%s%s\n",
            level == SC_LOG_WARN    ? "warning: "
            : level == SC_LOG_ERROR ? "bad: "
                                    : "",
            line);
}

/* Everybody learns the worst of the ranks' statuses; rank 0 prints the first message. */
static sc_status agree(const sc_world *w, sc_status mine)
{
    const sc_comm *c = w->comm;
    bool any = false;
    SC_TRY(sc_comm_any(c, mine != SC_OK, &any));
    if (!any)
        return SC_OK;
    char *all = NULL;
    size_t *sizes = NULL;
    const char *message = mine != SC_OK ? sc_message() : "";
    SC_TRY(sc_comm_gather_bytes(c, message, strlen(message), 0, &all, &sizes));
    for (size_t r = 0, at = 0; c->rank == 0 && r < (size_t)c->size; at += sizes[r++])
        if (sizes[r] > 0) {
            fprintf(stderr, "pack_hdf5: error: %.*s\n", (int)sizes[r], all + at);
            break;
        }
    free(all);
    free(sizes);
    return mine != SC_OK ? mine : SC_EUSAGE;
}

/* Cores this process may use, shared fairly with the other ranks of the host when they overlap. */
static int threads_for(const sc_world *w)
{
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    int n = cores >= online ? cores / w->node_size : cores;
    return n < 1 ? 1 : n;
}

/* Ranks that see other files than rank 0 would pack another set. Where a host mounts the folder
 * does not matter. */
static sc_status same_files(const sc_world *w, const sc_pack_options *o, const sc_source_list *l)
{
    char mine[65], theirs[65];
    sc_source_list files = *l;
    files.folder = NULL;
    files.ctimes_ns = NULL;
    sc_source_key(&files, o, mine);
    memcpy(theirs, mine, sizeof mine);
    SC_TRY(w->comm->broadcast(w->comm, theirs, sizeof theirs, 0));
    return strcmp(mine, theirs) == 0
               ? SC_OK
               : sc_fail(SC_EUSAGE,
                         "%s: host %s sees other files there than rank 0; use a folder "
                         "that all hosts share",
                         o->src, w->host);
}

static sc_status pack(const sc_world *w, sc_pack_options *o, sc_source_list *l)
{
    int rank = w->comm->rank, size = w->comm->size;
    pack_progress *progress = NULL;
    sc_status status = rank == 0 ? sc_source_scan(o->src, o->log, l) : SC_OK;
    if (rank == 0 && status == SC_OK)
        status = sc_pack_begin(o, l);
    SC_TRY(agree(w, status));
    status = rank > 0 ? sc_source_scan(o->src, o->log, l) : SC_OK;
    sc_status same = same_files(w, o, l);
    status = agree(w, status != SC_OK ? status : same);
    if (status == SC_OK)
        status = agree(w, pack_progress_open(w, l->count, &progress));
    if (status == SC_OK) {
        o->progress = pack_progress_update;
        o->progress_ctx = progress;
        status = sc_pack_part(o, l, rank, size);
        sc_status closed = pack_progress_close(progress);
        status = agree(w, status != SC_OK ? status : closed);
    }
    if (status != SC_OK) {
        if (rank == 0)
            sc_pack_abandon(o);
        return status;
    }
    if (rank == 0)
        status = sc_pack_finish(o, l, size);
    return agree(w, status);
}

int main(int argc, char **argv)
{
    sc_world *w = NULL;
    if (sc_world_open(&argc, &argv, &w) != SC_OK) {
        fprintf(stderr, "pack_hdf5: error: %s\n", sc_message());
        return 1;
    }
    static const sc_log log = {write_log, NULL};
    sc_pack_options o;
    sc_source_list l = {0};
    pack_request request;
    sc_status status = pack_options_parse(argc, argv, &o, &request);
    if (status != SC_OK) {
        if (w->comm->rank == 0)
            fprintf(stderr, "pack_hdf5: error: %s\n", sc_message());
    } else if (request != PACK_RUN) {
        if (w->comm->rank == 0)
            fputs(request == PACK_HELP ? pack_help : "pack_hdf5 " SC_VERSION "\n", stdout);
    } else {
        o.threads = threads_for(w);
        o.log = &log;
        status = pack(w, &o, &l);
    }
    sc_source_list_free(&l);
    sc_world_close(w);
    return status == SC_OK ? 0 : 1;
}
