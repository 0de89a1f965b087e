/* The processes of a run and their places on hosts. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm_private.h"

extern char **environ;

/* True when a launcher started this process (Open MPI's mpirun, srun with PMIx or PMI, MPICH's
 * hydra). Without one MPI is left alone: a singleton's start takes half a second and a daemon. */
static bool launched(void)
{
    static const char *const marks[] = {"OMPI_COMM_WORLD_", "PMIX_",          "PMI_", "PMI2_",
                                        "MPI_LOCALNRANKS=", "MV2_COMM_WORLD_"};
    for (char **e = environ; e && *e; e++)
        for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
            if (strncmp(*e, marks[i], strlen(marks[i])) == 0)
                return true;
    return false;
}

/* srun without --mpi=pmix: many processes that know nothing of each other. */
static bool launched_apart(void)
{
    const char *tasks = getenv("SLURM_STEP_NUM_TASKS");
    return getenv("SLURM_STEP_ID") && getenv("SLURM_PROCID") && tasks && atoi(tasks) > 1;
}

static sc_status find_node(sc_world *w)
{
    MPI_Comm node = MPI_COMM_NULL, heads = MPI_COMM_NULL;
    MPI_Comm all = sc_mpi_of(w->comm);
    sc_status status = SC_OK;
    int facts[2] = {0, 1};
    SC_TRY(sc_mpi_check(
        MPI_Comm_split_type(all, MPI_COMM_TYPE_SHARED, w->comm->rank, MPI_INFO_NULL, &node),
        "MPI_Comm_split_type"));
    SC_TRY_GOTO(sc_mpi_check(MPI_Comm_rank(node, &w->node_rank), "MPI_Comm_rank"));
    SC_TRY_GOTO(sc_mpi_check(MPI_Comm_size(node, &w->node_size), "MPI_Comm_size"));
    SC_TRY_GOTO(sc_mpi_check(
        MPI_Comm_split(all, w->node_rank == 0 ? 0 : MPI_UNDEFINED, w->comm->rank, &heads),
        "MPI_Comm_split"));
    if (heads != MPI_COMM_NULL) {
        SC_TRY_GOTO(sc_mpi_check(MPI_Comm_rank(heads, &facts[0]), "MPI_Comm_rank"));
        SC_TRY_GOTO(sc_mpi_check(MPI_Comm_size(heads, &facts[1]), "MPI_Comm_size"));
    }
    SC_TRY_GOTO(sc_mpi_check(MPI_Bcast(facts, 2, MPI_INT, 0, node), "MPI_Bcast"));
    w->node = facts[0];
    w->nodes = facts[1];
done:
    if (heads != MPI_COMM_NULL)
        MPI_Comm_free(&heads);
    MPI_Comm_free(&node);
    return status;
}

static sc_status open_mpi(int *argc, char ***argv, sc_world *w)
{
    /* Waiting ranks give their core to working ones: with more processes than cores a 4-byte
     * reduction takes 50 ms without this, 14 us with it (Open MPI reads it in MPI_Init). */
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    int provided = 0;
    SC_TRY(sc_mpi_check(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided),
                        "MPI_Init_thread"));
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (provided < MPI_THREAD_FUNNELED)
        return sc_fail(SC_ECOMM, "this MPI does not support threads (MPI_THREAD_FUNNELED)");
    MPI_Comm comm;
    SC_TRY(sc_mpi_check(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup"));
    SC_TRY(sc_mpi_wrap(comm, &w->comm));
    return find_node(w);
}

sc_status sc_world_open(int *argc, char ***argv, sc_world **out)
{
    *out = NULL;
    sc_world *w = sc_alloc(1, sizeof *w);
    if (!w)
        return SC_ENOMEM;
    w->node_size = w->nodes = 1;
    if (gethostname(w->host, sizeof w->host - 1) != 0)
        strcpy(w->host, "unknown");
    sc_status status = SC_OK;
    if (launched()) {
        status = open_mpi(argc, argv, w);
    } else if (launched_apart()) {
        status =
            sc_fail(SC_EUSAGE, "srun started these processes without MPI; use srun --mpi=pmix, or "
                               "mpirun inside the allocation");
    } else {
        w->comm = sc_comm_single();
        status = w->comm ? SC_OK : SC_ENOMEM;
    }
    if (status != SC_OK) {
        if (w->comm)
            w->comm->free(w->comm);
        free(w);
        return status;
    }
    *out = w;
    return SC_OK;
}

void sc_world_close(sc_world *w)
{
    if (!w)
        return;
    bool mpi = w->comm->impl != NULL;
    w->comm->free(w->comm);
    free(w);
    if (mpi)
        MPI_Finalize();
}

void sc_world_abort(sc_world *w, int exit_code)
{
    fflush(NULL);
    if (w && w->comm->impl)
        MPI_Abort(MPI_COMM_WORLD, exit_code);
    _exit(exit_code);
}
