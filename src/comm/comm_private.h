/* Private to comm: what the MPI implementation keeps behind sc_comm.impl. */
#ifndef SC_COMM_PRIVATE_H
#define SC_COMM_PRIVATE_H

#include <mpi.h>

#include "superclip/comm.h"

/* An element type as MPI and as the ordered reduction know it. */
typedef struct sc_mpi_type {
    MPI_Datatype mpi;
    size_t size;
} sc_mpi_type;

/* Memory one reduction may use beside the caller's buffer, in bytes, whatever the message. */
enum { SC_REDUCE_SCRATCH = 4 << 20 };
/* Up to this many bytes from all ranks together, everybody gathers everything and sums alone:
 * one message instead of two. */
enum { SC_REDUCE_SMALL = 64 << 10 };
/* One MPI call moves at most this many bytes, because its counts are ints. */
enum { SC_MPI_CHUNK = 1 << 28 };

typedef struct sc_mpi_impl {
    MPI_Comm comm;
    char *scratch;        /* SC_REDUCE_SCRATCH bytes, made by the first reduction */
    int *counts, *displs; /* [2 * size], [2 * size] */
} sc_mpi_impl;

/* SC_OK, or SC_ECOMM with MPI's own text. `what` names the call. */
sc_status sc_mpi_check(int code, const char *what);
sc_status sc_mpi_type_of(sc_dtype dtype, sc_mpi_type *out);
/* Takes over comm (freed with the result, also on failure). */
sc_status sc_mpi_wrap(MPI_Comm comm, sc_comm **out);
/* The communicator of c, or MPI_COMM_NULL when c is a group of one without MPI. */
MPI_Comm sc_mpi_of(const sc_comm *c);

/* all_reduce of the contract (reduce.c). */
sc_status sc_mpi_all_reduce(const sc_comm *c, void *buf, size_t count, sc_dtype dtype,
                            sc_reduce op);

#endif
