/* Mail between processes, outside the collectives. Sends are synchronous-mode and non-blocking
 * (MPI_Issend from an owned copy), so "sent" means "received": that makes closing exact. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "comm_private.h"

typedef struct letter {
    struct letter *next;
    MPI_Request request; /* of a send under way */
    int tag;
    size_t n;
    char data[]; /* n bytes and a NUL */
} letter;

struct sc_mail {
    MPI_Comm comm; /* MPI_COMM_NULL: a group of one, letters to oneself wait in the list */
    int size;
    letter *first, **last;
};

sc_status sc_mail_open(const sc_comm *c, sc_mail **out)
{
    *out = NULL;
    MPI_Comm comm = MPI_COMM_NULL;
    if (c->impl) {
        SC_TRY(sc_mpi_check(MPI_Comm_dup(sc_mpi_of(c), &comm), "MPI_Comm_dup"));
        MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    }
    sc_mail *m = sc_alloc(1, sizeof *m);
    bool any = false;
    sc_status status = sc_comm_any(c, !m, &any);
    if (status == SC_OK && any)
        status = sc_fail(SC_ENOMEM, "no memory for the mail of %d ranks", c->size);
    if (status != SC_OK) {
        if (comm != MPI_COMM_NULL)
            MPI_Comm_free(&comm);
        free(m);
        return status;
    }
    m->comm = comm;
    m->size = c->size;
    m->last = &m->first;
    *out = m;
    return SC_OK;
}

static void put_last(sc_mail *m, letter *l)
{
    l->next = NULL;
    *m->last = l;
    m->last = &l->next;
}

static letter *take_first(sc_mail *m)
{
    letter *l = m->first;
    m->first = l->next;
    if (!m->first)
        m->last = &m->first;
    return l;
}

/* Frees letters that have been received. Looks at a few a call, the others' turn comes with the
 * next calls: with a thousand letters under way, asking for all of them each time took seconds. */
static sc_status sweep(sc_mail *m)
{
    for (int i = 0; i < 8 && m->first; i++) {
        letter *l = take_first(m);
        int done = 0;
        sc_status status =
            sc_mpi_check(MPI_Test(&l->request, &done, MPI_STATUS_IGNORE), "MPI_Test");
        if (status == SC_OK && done) {
            free(l);
            continue;
        }
        put_last(m, l);
        SC_TRY(status);
    }
    return SC_OK;
}

sc_status sc_mail_send(sc_mail *m, int to, int tag, const void *data, size_t n)
{
    if (to < 0 || to >= m->size || tag < 0 || n > INT_MAX)
        return sc_fail(SC_EINTERNAL, "mail of %zu bytes, tag %d, to rank %d of %d", n, tag, to,
                       m->size);
    letter *l = malloc(sizeof *l + n + 1);
    if (!l)
        return sc_fail(SC_ENOMEM, "no memory for mail of %zu bytes", n);
    l->next = NULL;
    l->request = MPI_REQUEST_NULL;
    l->tag = tag;
    l->n = n;
    if (n > 0)
        memcpy(l->data, data, n);
    l->data[n] = '\0';
    if (m->comm != MPI_COMM_NULL) {
        sc_status status = sc_mpi_check(
            MPI_Issend(l->data, (int)n, MPI_BYTE, to, tag, m->comm, &l->request), "MPI_Issend");
        if (status != SC_OK) {
            free(l);
            return status;
        }
    }
    put_last(m, l);
    return m->comm != MPI_COMM_NULL ? sweep(m) : SC_OK;
}

static sc_status poll_own(sc_mail *m, bool *got, int *from, int *tag, char **data, size_t *n)
{
    if (!m->first)
        return SC_OK;
    char *copy = malloc(m->first->n + 1);
    if (!copy)
        return sc_fail(SC_ENOMEM, "no memory for mail of %zu bytes", m->first->n);
    letter *l = take_first(m);
    memcpy(copy, l->data, l->n + 1);
    *got = true;
    *from = 0;
    *tag = l->tag;
    *data = copy;
    *n = l->n;
    free(l);
    return SC_OK;
}

sc_status sc_mail_poll(sc_mail *m, bool *got, int *from, int *tag, char **data, size_t *n)
{
    *got = false;
    *data = NULL;
    *n = 0;
    if (m->comm == MPI_COMM_NULL)
        return poll_own(m, got, from, tag, data, n);
    SC_TRY(sweep(m));
    int there = 0, bytes = 0;
    MPI_Message message;
    MPI_Status st;
    SC_TRY(sc_mpi_check(MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, m->comm, &there, &message, &st),
                        "MPI_Improbe"));
    if (!there)
        return SC_OK;
    SC_TRY(sc_mpi_check(MPI_Get_count(&st, MPI_BYTE, &bytes), "MPI_Get_count"));
    char *buf = malloc((size_t)bytes + 1);
    if (!buf)
        return sc_fail(SC_ENOMEM, "no memory for mail of %d bytes", bytes);
    sc_status status = sc_mpi_check(MPI_Mrecv(buf, bytes, MPI_BYTE, &message, &st), "MPI_Mrecv");
    if (status != SC_OK) {
        free(buf);
        return status;
    }
    buf[bytes] = '\0';
    *got = true;
    *from = st.MPI_SOURCE;
    *tag = st.MPI_TAG;
    *data = buf;
    *n = (size_t)bytes;
    return SC_OK;
}

/* Takes and drops everything that has arrived, then lets others work for a moment. */
static sc_status drain(sc_mail *m)
{
    for (bool got = true; got;) {
        int from, tag;
        char *data;
        size_t n;
        SC_TRY(sc_mail_poll(m, &got, &from, &tag, &data, &n));
        free(data);
    }
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    return SC_OK;
}

/* When all own letters were received this rank enters a barrier; when everybody has, nothing can be
 * on its way. Letters that arrive until then are dropped, so that their senders can end too. */
static sc_status close_together(sc_mail *m)
{
    while (m->first)
        SC_TRY(drain(m));
    MPI_Request barrier;
    SC_TRY(sc_mpi_check(MPI_Ibarrier(m->comm, &barrier), "MPI_Ibarrier"));
    for (int done = 0; !done;) {
        SC_TRY(drain(m));
        SC_TRY(sc_mpi_check(MPI_Test(&barrier, &done, MPI_STATUS_IGNORE), "MPI_Test"));
    }
    return SC_OK;
}

sc_status sc_mail_close(sc_mail *m)
{
    if (!m)
        return SC_OK;
    sc_status status = SC_OK;
    if (m->comm != MPI_COMM_NULL) {
        status = close_together(m);
        if (status == SC_OK)
            status = sc_mpi_check(MPI_Comm_free(&m->comm), "MPI_Comm_free");
    }
    /* After a failure letters may still be in MPI's hands: leave them. */
    for (letter *l = m->first, *next; l && status == SC_OK; l = next) {
        next = l->next;
        free(l);
    }
    free(m);
    return status;
}
