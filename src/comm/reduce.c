/* Reductions in rank order. MPI_Allreduce may pick another order of additions by message size and
 * rank count, and does not promise equal bits on every rank; here rank 0's values come first, then
 * rank 1's, and so on, whatever the size:
 *   small: everybody gathers all vectors and adds them up;
 *   large: in blocks, each rank receives its piece of the block from all (all-to-all), adds the
 *   pieces up and hands the sum round (all-gather). Every byte travels twice, as in a ring.
 */
#include <stdlib.h>
#include <string.h>

#include "comm_private.h"

/* acc[i] = acc[i] op x[i]. One body a type and operation, so that the compiler can vectorise. */
#define FOLD(T, EXPR)                      \
    do {                                   \
        T *a_ = acc;                       \
        const T *x_ = x;                   \
        for (size_t i = 0; i < count; i++) \
            a_[i] = (EXPR);                \
    } while (0)
/* NaN wins a maximum or minimum: it must not be lost. */
#define FOLD_FLOAT(T)                                               \
    switch (op) {                                                   \
    case SC_SUM:                                                    \
        FOLD(T, a_[i] + x_[i]);                                     \
        break;                                                      \
    case SC_MAX:                                                    \
        FOLD(T, (a_[i] != a_[i] || a_[i] > x_[i]) ? a_[i] : x_[i]); \
        break;                                                      \
    case SC_MIN:                                                    \
        FOLD(T, (a_[i] != a_[i] || a_[i] < x_[i]) ? a_[i] : x_[i]); \
        break;                                                      \
    }
/* Sums wrap around instead of being undefined. */
#define FOLD_INT(T, U)                          \
    switch (op) {                               \
    case SC_SUM:                                \
        FOLD(T, (T)((U)a_[i] + (U)x_[i]));      \
        break;                                  \
    case SC_MAX:                                \
        FOLD(T, a_[i] > x_[i] ? a_[i] : x_[i]); \
        break;                                  \
    case SC_MIN:                                \
        FOLD(T, a_[i] < x_[i] ? a_[i] : x_[i]); \
        break;                                  \
    }

static void fold(void *restrict acc, const void *restrict x, size_t count, sc_dtype dtype,
                 sc_reduce op)
{
    if (dtype == SC_F32) {
        FOLD_FLOAT(float)
    } else if (dtype == SC_F64) {
        FOLD_FLOAT(double)
    } else if (dtype == SC_I64) {
        FOLD_INT(int64_t, uint64_t)
    } else {
        FOLD_INT(int32_t, uint32_t)
    }
}

static sc_status reduce_small(const sc_comm *c, void *buf, size_t count, sc_dtype dtype,
                              sc_reduce op, sc_mpi_type t)
{
    sc_mpi_impl *m = c->impl;
    SC_TRY(
        sc_mpi_check(MPI_Allgather(buf, (int)count, t.mpi, m->scratch, (int)count, t.mpi, m->comm),
                     "MPI_Allgather"));
    size_t bytes = count * t.size;
    memcpy(buf, m->scratch, bytes);
    for (int r = 1; r < c->size; r++)
        fold(buf, m->scratch + (size_t)r * bytes, count, dtype, op);
    return SC_OK;
}

/* One block of at most SC_REDUCE_SCRATCH bytes, dealt to the ranks in pieces. */
static sc_status reduce_block(const sc_comm *c, char *block, size_t count, sc_dtype dtype,
                              sc_reduce op, sc_mpi_type t)
{
    sc_mpi_impl *m = c->impl;
    int *piece = m->counts, *at = m->displs;
    int *mine = m->counts + c->size, *from = m->displs + c->size;
    size_t share = count / (size_t)c->size, rest = count % (size_t)c->size, first = 0;
    for (int r = 0; r < c->size; r++) {
        size_t n = share + ((size_t)r < rest ? 1 : 0);
        piece[r] = (int)n;
        at[r] = (int)first;
        first += n;
    }
    for (int r = 0; r < c->size; r++) {
        mine[r] = piece[c->rank];
        from[r] = r * piece[c->rank];
    }
    SC_TRY(
        sc_mpi_check(MPI_Alltoallv(block, piece, at, t.mpi, m->scratch, mine, from, t.mpi, m->comm),
                     "MPI_Alltoallv"));
    size_t n = (size_t)piece[c->rank];
    char *own = block + (size_t)at[c->rank] * t.size;
    memcpy(own, m->scratch, n * t.size);
    for (int r = 1; r < c->size; r++)
        fold(own, m->scratch + (size_t)r * n * t.size, n, dtype, op);
    return sc_mpi_check(MPI_Allgatherv(MPI_IN_PLACE, 0, t.mpi, block, piece, at, t.mpi, m->comm),
                        "MPI_Allgatherv");
}

sc_status sc_mpi_all_reduce(const sc_comm *c, void *buf, size_t count, sc_dtype dtype, sc_reduce op)
{
    sc_mpi_impl *m = c->impl;
    sc_mpi_type t;
    SC_TRY(sc_mpi_type_of(dtype, &t));
    if (c->size == 1 || count == 0)
        return SC_OK;
    if (!m->scratch) {
        /* Pieces are rounded up, so up to one element a rank comes on top. */
        m->scratch = malloc(SC_REDUCE_SCRATCH + (size_t)c->size * sizeof(double));
        if (!m->scratch)
            return sc_fail(SC_ENOMEM, "no memory for the %d-byte buffer of a reduction",
                           SC_REDUCE_SCRATCH);
    }
    if (count <= SC_REDUCE_SMALL / (t.size * (size_t)c->size) || count < (size_t)c->size) {
        if (count * (size_t)c->size * t.size <= SC_REDUCE_SCRATCH)
            return reduce_small(c, buf, count, dtype, op, t);
    }
    size_t block = SC_REDUCE_SCRATCH / t.size;
    for (size_t first = 0; first < count; first += block) {
        size_t n = count - first < block ? count - first : block;
        SC_TRY(reduce_block(c, (char *)buf + first * t.size, n, dtype, op, t));
    }
    return SC_OK;
}
