/* Stands in for NCCL in tests: its contract for non-blocking communicators, on MPI. Ranks meet by
 * the id in a folder of /tmp. A collective runs in its call, after what its stream had queued:
 * there is no device that would go on by itself while the host is in MPI. Every rank has to be in
 * the same one, with the same count and type, or the communicator fails, and its error is read
 * asynchronously. Recorded, it runs when the graph is launched. STANDIN_NCCL_FAIL=N: the N-th
 * collective that this process runs fails, as if a peer were gone; STANDIN_NCCL_START_FAILS=R: rank
 * R of the world cannot start a communicator. As in the real library, aborting returns only when
 * no graph holds the communicator any more.
 */
#include <errno.h>
#define OMPI_SKIP_MPICXX 1 /* C only, as the library linked has it */
#include <atomic>
#include <memory>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "cuda_runtime.h"

enum {
#define SC_ABI(ours, number, theirs) ours = (int)(number),
#include "nccl.def"
#undef SC_ABI
};
enum { OK = 0, SYSTEM = 2, INTERNAL = 3, INVALID_ARGUMENT = 4 };
#define API extern "C" __attribute__((visibility("default")))

struct unique_id {
    char bytes[128];
};
struct config {
    size_t size;
    unsigned magic, version;
    int blocking;
};
struct communicator {
    MPI_Comm comm = MPI_COMM_NULL;
    int rank = 0, ranks = 0;
    int busy = 0;              /* asks until the last call is done */
    std::atomic<int> error{0}; /* told by ncclCommGetAsyncError from then on */
    bool finalized = false;
    std::shared_ptr<int> users = std::make_shared<int>(0); /* graphs hold it too */
};

namespace
{
int nesting;
std::vector<communicator *> in_group;
long collectives;
std::string last_error;

int begun(communicator *c)
{
    c->busy = 2;
    return NCCL_IN_PROGRESS;
}
/* Before any call: "communicator used before the previous operation returned ncclSuccess". */
int usable(const communicator *c)
{
    if (!c || c->finalized)
        return INVALID_ARGUMENT;
    if (c->error)
        return NCCL_REMOTE_ERROR;
    return c->busy > 0 && nesting == 0 ? (int)NCCL_INVALID_USAGE : (int)OK;
}
size_t size_of(int type)
{
    return type == NCCL_F64 ? 8 : type == NCCL_F32 ? 4 : 1;
}
/* All ranks in the same collective? */
bool agreed(communicator *c, long long kind, long long count, long long type)
{
    long long mine[6] = {kind, count, type, -kind, -count, -type}, all[6];
    if (c->error)
        return false;
    MPI_Allreduce(mine, all, 6, MPI_LONG_LONG, MPI_MAX, c->comm);
    for (int i = 0; i < 3; i++)
        if (all[i] != -all[i + 3])
            c->error = INTERNAL;
    return c->error == 0;
}
bool fails_now()
{
    const char *at = getenv("STANDIN_NCCL_FAIL");
    collectives++;
    return at && atol(at) == collectives;
}
int called(communicator *c)
{
    if (nesting > 0) {
        in_group.push_back(c);
        return OK;
    }
    return begun(c);
}
} // namespace

API int ncclGetVersion(int *v)
{
    const char *told = getenv("STANDIN_NCCL_VERSION");
    *v = told ? atoi(told) : 22809;
    return OK;
}
API const char *ncclGetErrorString(int e)
{
    return e == NCCL_REMOTE_ERROR    ? "remote process exited or there was a network error"
           : e == NCCL_INVALID_USAGE ? "invalid usage"
           : e == INVALID_ARGUMENT   ? "invalid argument"
           : e == SYSTEM             ? "unhandled system error"
                                     : "internal error";
}
API const char *ncclGetLastError(const communicator *)
{
    return last_error.c_str();
}
API int ncclGetUniqueId(unique_id *id)
{
    static int made;
    memset(id, 0, sizeof *id);
    snprintf(id->bytes, sizeof id->bytes, "/tmp/sc-nccl-%d-%d", (int)getpid(), made++);
    return mkdir(id->bytes, 0700) == 0 ? OK : INTERNAL;
}
/* Every rank leaves its place in the world in the id's folder and reads the others'. */
API int ncclCommInitRankConfig(communicator **out, int ranks, unique_id id, int rank,
                               const config *how)
{
    *out = nullptr;
    if (!how || how->magic != (unsigned)NCCL_MAGIC || how->size < sizeof *how ||
        how->version < 21400 || how->blocking != 0 || rank < 0 || rank >= ranks)
        return INVALID_ARGUMENT;
    communicator *c = new communicator;
    std::vector<int> world((size_t)ranks);
    MPI_Comm_rank(MPI_COMM_WORLD, &world[(size_t)rank]);
    const std::string base = std::string(id.bytes) + "/";
    const std::string own = base + std::to_string(rank);
    FILE *f = fopen((own + ".part").c_str(), "w");
    if (!f)
        return INTERNAL;
    fprintf(f, "%d\n", world[(size_t)rank]);
    fclose(f);
    rename((own + ".part").c_str(), own.c_str());
    for (int r = 0; r < ranks; r++) {
        FILE *g = nullptr;
        for (int tries = 0; !g && tries < 20000; tries++) {
            g = fopen((base + std::to_string(r)).c_str(), "r");
            if (!g)
                usleep(1000);
        }
        if (!g || fscanf(g, "%d", &world[(size_t)r]) != 1)
            return INTERNAL;
        fclose(g);
    }
    MPI_Group all, some;
    MPI_Comm_group(MPI_COMM_WORLD, &all);
    MPI_Group_incl(all, ranks, world.data(), &some);
    MPI_Comm_create_group(MPI_COMM_WORLD, some, 77, &c->comm);
    MPI_Group_free(&some);
    MPI_Group_free(&all);
    MPI_Barrier(c->comm); /* all have read */
    unlink(own.c_str());
    if (rank == 0)
        for (int tries = 0; rmdir(id.bytes) != 0 && errno == ENOTEMPTY && tries < 5000; tries++)
            usleep(1000);
    c->rank = rank;
    c->ranks = ranks;
    *out = c;
    const char *unlucky = getenv("STANDIN_NCCL_START_FAILS");
    if (unlucky && atoi(unlucky) == world[(size_t)rank]) {
        c->error = SYSTEM;
        last_error = "no shared memory segment";
    }
    return begun(c);
}
API int ncclCommGetAsyncError(communicator *c, int *error)
{
    if (!c || !error)
        return INVALID_ARGUMENT;
    if (c->busy > 0)
        c->busy--;
    *error = c->error ? c->error.load() : c->busy > 0 ? (int)NCCL_IN_PROGRESS : (int)OK;
    return OK;
}
API int ncclCommFinalize(communicator *c)
{
    const int status = usable(c);
    if (status != OK)
        return status;
    if (c->users.use_count() > 1) /* "destroy the graphs first" */
        return NCCL_INVALID_USAGE;
    c->finalized = true;
    return begun(c);
}
static int gone(communicator *c)
{
    if (c->comm != MPI_COMM_NULL && !c->error)
        MPI_Comm_free(&c->comm);
    delete c;
    return OK;
}
API int ncclCommDestroy(communicator *c)
{
    return c && c->finalized && c->busy == 0 ? gone(c) : (int)NCCL_INVALID_USAGE;
}
API int ncclCommAbort(communicator *c)
{
    int none = 0;
    c->error.compare_exchange_strong(none, NCCL_REMOTE_ERROR);
    while (c->users.use_count() > 1)
        usleep(1000);
    return OK; /* a pointer to it may still be asked about: kept */
}
API int ncclAllReduce(const void *send, void *recv, size_t count, int type, int op, communicator *c,
                      cudaStream_t stream)
{
    const int status = usable(c);
    if (status != OK)
        return status;
    if (op != NCCL_SUM || (type != NCCL_F32 && type != NCCL_F64) || send != recv || nesting > 0 ||
        !shim_device_memory(recv, count * size_of(type), "ncclAllReduce"))
        return INVALID_ARGUMENT;
    const std::shared_ptr<int> user = c->users;
    shim_now(stream, [=] {
        (void)user;
        if (fails_now())
            c->error = NCCL_REMOTE_ERROR;
        if (agreed(c, 1, (long long)count, type))
            MPI_Allreduce(MPI_IN_PLACE, recv, (int)count, type == NCCL_F64 ? MPI_DOUBLE : MPI_FLOAT,
                          MPI_SUM, c->comm);
    });
    return called(c);
}
API int ncclBroadcast(const void *send, void *recv, size_t count, int type, int root,
                      communicator *c, cudaStream_t stream)
{
    const int status = usable(c);
    const size_t bytes = count * size_of(type);
    if (status != OK)
        return status;
    if (root < 0 || root >= c->ranks || !shim_device_memory(recv, bytes, "ncclBroadcast") ||
        (c->rank == root && !shim_device_memory(send, bytes, "ncclBroadcast")))
        return INVALID_ARGUMENT;
    const std::shared_ptr<int> user = c->users;
    shim_now(stream, [=] {
        (void)user;
        if (fails_now())
            c->error = NCCL_REMOTE_ERROR;
        if (!agreed(c, 100 + root, (long long)count, type))
            return;
        if (c->rank == root && send != recv)
            memmove(recv, send, bytes);
        MPI_Bcast(recv, (int)bytes, MPI_BYTE, root, c->comm);
    });
    return called(c);
}
API int ncclGroupStart(void)
{
    nesting++;
    return OK;
}
API int ncclGroupEnd(void)
{
    int status = OK;
    if (nesting == 0)
        return NCCL_INVALID_USAGE;
    if (--nesting > 0)
        return OK;
    for (communicator *c : in_group)
        status = begun(c);
    in_group.clear();
    return status;
}
