/* The collective contract over an MPI communicator on host memory. */
#include <stdlib.h>
#include <string.h>

#include "comm_private.h"

sc_status sc_mpi_check(int code, const char *what)
{
    if (code == MPI_SUCCESS)
        return SC_OK;
    char text[MPI_MAX_ERROR_STRING];
    int n = 0;
    if (MPI_Error_string(code, text, &n) != MPI_SUCCESS)
        n = 0;
    return sc_fail(SC_ECOMM, "%s failed: %.*s", what, n, text);
}

sc_status sc_mpi_type_of(sc_dtype dtype, sc_mpi_type *out)
{
    out->size = sc_dtype_size(dtype);
    switch (dtype) {
    case SC_F32:
        out->mpi = MPI_FLOAT;
        return SC_OK;
    case SC_F64:
        out->mpi = MPI_DOUBLE;
        return SC_OK;
    case SC_I64:
        out->mpi = MPI_INT64_T;
        return SC_OK;
    case SC_I32:
        out->mpi = MPI_INT32_T;
        return SC_OK;
    default:
        return sc_fail(SC_EINTERNAL, "a reduction of %s is not part of the contract",
                       sc_dtype_name(dtype));
    }
}

/* Pieces above an int's range travel one rank after the other, in chunks. */
static sc_status gather_by_broadcast(const sc_comm *c, char *recv, const int64_t *counts,
                                     size_t size)
{
    for (int r = 0; r < c->size; r++) {
        size_t bytes = (size_t)counts[r] * size;
        SC_TRY(c->broadcast(c, recv, bytes, r));
        recv += bytes;
    }
    return SC_OK;
}

static sc_status mpi_all_gather(const sc_comm *c, const void *send, void *recv,
                                const int64_t *counts, sc_dtype dtype)
{
    sc_mpi_impl *m = c->impl;
    size_t size = sc_dtype_size(dtype), total = 0, own_at = 0;
    for (int r = 0; r < c->size; r++) {
        if (counts[r] < 0)
            return sc_fail(SC_EINTERNAL, "rank %d gathers %lld elements", r, (long long)counts[r]);
        if (r == c->rank)
            own_at = total;
        total += (size_t)counts[r] * size;
    }
    char *own = (char *)recv + own_at;
    if (send != own && counts[c->rank] > 0)
        memmove(own, send, (size_t)counts[c->rank] * size);
    if (total == 0 || c->size == 1)
        return SC_OK;
    if (total > SC_MPI_CHUNK)
        return gather_by_broadcast(c, recv, counts, size);
    int at = 0;
    for (int r = 0; r < c->size; r++) {
        m->counts[r] = (int)((size_t)counts[r] * size);
        m->displs[r] = at;
        at += m->counts[r];
    }
    return sc_mpi_check(
        MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_BYTE, recv, m->counts, m->displs, MPI_BYTE, m->comm),
        "MPI_Allgatherv");
}

static sc_status mpi_broadcast(const sc_comm *c, void *buf, size_t bytes, int root)
{
    sc_mpi_impl *m = c->impl;
    for (size_t done = 0; done < bytes;) {
        size_t n = bytes - done < SC_MPI_CHUNK ? bytes - done : SC_MPI_CHUNK;
        SC_TRY(sc_mpi_check(MPI_Bcast((char *)buf + done, (int)n, MPI_BYTE, root, m->comm),
                            "MPI_Bcast"));
        done += n;
    }
    return SC_OK;
}

static sc_status mpi_barrier(const sc_comm *c)
{
    sc_mpi_impl *m = c->impl;
    return sc_mpi_check(MPI_Barrier(m->comm), "MPI_Barrier");
}

static void mpi_free(sc_comm *c)
{
    if (!c)
        return;
    sc_mpi_impl *m = c->impl;
    if (m) {
        MPI_Comm_free(&m->comm);
        free(m->scratch);
        free(m->counts);
        free(m->displs);
        free(m);
    }
    free(c);
}

sc_status sc_mpi_wrap(MPI_Comm comm, sc_comm **out)
{
    *out = NULL;
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    sc_comm *c = sc_alloc(1, sizeof *c);
    sc_mpi_impl *m = sc_alloc(1, sizeof *m);
    if (!c || !m) {
        free(c);
        free(m);
        MPI_Comm_free(&comm);
        return SC_ENOMEM;
    }
    m->comm = comm;
    c->impl = m;
    c->all_reduce = sc_mpi_all_reduce;
    c->all_gather = mpi_all_gather;
    c->broadcast = mpi_broadcast;
    c->barrier = mpi_barrier;
    c->free = mpi_free;
    sc_status status;
    SC_TRY_GOTO(sc_mpi_check(MPI_Comm_rank(comm, &c->rank), "MPI_Comm_rank"));
    SC_TRY_GOTO(sc_mpi_check(MPI_Comm_size(comm, &c->size), "MPI_Comm_size"));
    m->counts = sc_alloc(2 * (size_t)c->size, sizeof *m->counts);
    m->displs = sc_alloc(2 * (size_t)c->size, sizeof *m->displs);
    if (!m->counts || !m->displs) {
        status = SC_ENOMEM;
        goto done;
    }
    *out = c;
    return SC_OK;
done:
    mpi_free(c);
    return status;
}

MPI_Comm sc_mpi_of(const sc_comm *c)
{
    return c->impl ? ((const sc_mpi_impl *)c->impl)->comm : MPI_COMM_NULL;
}

sc_status sc_comm_split(const sc_comm *c, int color, sc_comm **out)
{
    *out = NULL;
    if (!c->impl) {
        if (color < 0)
            return SC_OK;
        *out = sc_comm_single();
        return *out ? SC_OK : SC_ENOMEM;
    }
    MPI_Comm part;
    SC_TRY(sc_mpi_check(
        MPI_Comm_split(sc_mpi_of(c), color < 0 ? MPI_UNDEFINED : color, c->rank, &part),
        "MPI_Comm_split"));
    return part == MPI_COMM_NULL ? SC_OK : sc_mpi_wrap(part, out);
}

sc_status sc_comm_any(const sc_comm *c, bool mine, bool *any)
{
    int32_t flag = mine;
    SC_TRY(c->all_reduce(c, &flag, 1, SC_I32, SC_MAX));
    *any = flag != 0;
    return SC_OK;
}

static sc_status send_chunks(MPI_Comm comm, const char *data, size_t n, int to)
{
    for (size_t done = 0; done < n;) {
        size_t k = n - done < SC_MPI_CHUNK ? n - done : SC_MPI_CHUNK;
        SC_TRY(sc_mpi_check(MPI_Send(data + done, (int)k, MPI_BYTE, to, 0, comm), "MPI_Send"));
        done += k;
    }
    return SC_OK;
}

static sc_status receive_chunks(MPI_Comm comm, char *data, size_t n, int from)
{
    for (size_t done = 0; done < n;) {
        size_t k = n - done < SC_MPI_CHUNK ? n - done : SC_MPI_CHUNK;
        SC_TRY(sc_mpi_check(
            MPI_Recv(data + done, (int)k, MPI_BYTE, from, 0, comm, MPI_STATUS_IGNORE), "MPI_Recv"));
        done += k;
    }
    return SC_OK;
}

sc_status sc_comm_gather_bytes(const sc_comm *c, const void *data, size_t n, int root, char **out,
                               size_t **sizes)
{
    *out = NULL;
    *sizes = NULL;
    sc_status status = SC_OK;
    size_t *size = sc_alloc((size_t)c->size, sizeof *size);
    int64_t *counts = sc_alloc((size_t)c->size, sizeof *counts);
    int64_t *all = sc_alloc((size_t)c->size, sizeof *all);
    char *text = NULL;
    /* Every rank learns all sizes: a rank without memory must not leave the others waiting. */
    bool failed = !size || !counts || !all, any = false;
    SC_TRY_GOTO(sc_comm_any(c, failed, &any));
    if (any) {
        status = sc_fail(SC_ENOMEM, "no memory to gather %zu bytes a rank", n);
        goto done;
    }
    for (int r = 0; r < c->size; r++)
        counts[r] = 1;
    int64_t own = (int64_t)n;
    SC_TRY_GOTO(c->all_gather(c, &own, all, counts, SC_I64));
    size_t total = 0;
    for (int r = 0; r < c->size; r++) {
        size[r] = (size_t)all[r];
        total += size[r];
    }
    if (c->rank == root) {
        text = malloc(total + 1);
        if (text)
            text[total] = '\0';
    }
    SC_TRY_GOTO(sc_comm_any(c, c->rank == root && !text, &any));
    if (any) {
        status = sc_fail(SC_ENOMEM, "no memory to gather %zu bytes on rank %d", total, root);
        goto done;
    }
    if (c->rank != root) {
        status = send_chunks(sc_mpi_of(c), data, n, root);
        goto done;
    }
    size_t at = 0;
    for (int r = 0; r < c->size; r++) {
        if (r == root && n > 0)
            memcpy(text + at, data, n);
        else if (r != root)
            SC_TRY_GOTO(receive_chunks(sc_mpi_of(c), text + at, size[r], r));
        at += size[r];
    }
    *out = text;
    *sizes = size;
    text = NULL;
    size = NULL;
done:
    free(text);
    free(size);
    free(counts);
    free(all);
    return status;
}
