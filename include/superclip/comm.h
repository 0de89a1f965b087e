/* comm: the collective contract, its implementation over MPI on host memory, and what a process
 * knows of its place among the others. Only home of MPI.
 *
 * A collective is called by every rank of the communicator, in the same order, with the same
 * count and type. All return SC_ECOMM when the layer below fails; then the communicator is unusable.
 * Sums are taken in rank order, whatever the message size: every rank gets the same bits, and the
 * same bits again in the next run.
 */
#ifndef SUPERCLIP_COMM_H
#define SUPERCLIP_COMM_H

#include "superclip/base.h"

typedef enum sc_reduce { SC_SUM, SC_MAX, SC_MIN } sc_reduce;

typedef struct sc_comm sc_comm;
struct sc_comm {
    int rank, size;
    /* buf: count elements of dtype, replaced by the reduction over all ranks. F32, F64, I32, I64. */
    sc_status (*all_reduce)(const sc_comm *c, void *buf, size_t count, sc_dtype dtype, sc_reduce op);
    /* recv: the ranks' pieces one behind the other; counts[size] elements each (0 is fine).
     * send may be the own piece's place inside recv. */
    sc_status (*all_gather)(const sc_comm *c, const void *send, void *recv, const int64_t *counts,
                            sc_dtype dtype);
    sc_status (*broadcast)(const sc_comm *c, void *buf, size_t bytes, int root);
    sc_status (*barrier)(const sc_comm *c);
    void (*free)(sc_comm *c); /* collective for MPI communicators */
    void *impl;
};

/* A group of one: every collective is a copy or nothing. Needs no MPI_Init. */
sc_comm *sc_comm_single(void);

/* ---- the world ---------------------------------------------------------------------------- */
typedef struct sc_world {
    sc_comm *comm;          /* all processes */
    int node_rank, node_size; /* place among the processes of this host */
    int node, nodes;        /* which host, of how many */
    char host[256];
} sc_world;
/* MPI_Init_thread(FUNNELED) and the facts above. Works without mpirun (a world of one). */
sc_status sc_world_open(int *argc, char ***argv, sc_world **out);
/* Collective end of an orderly run. */
void sc_world_close(sc_world *w);
/* Ends every rank at once with this exit code; does not return. */
void sc_world_abort(sc_world *w, int exit_code);

/* Collective over c: ranks with the same color >= 0 form a group, ordered by rank; color < 0: *out
 * is NULL. */
sc_status sc_comm_split(const sc_comm *c, int color, sc_comm **out);
/* True on every rank if `mine` is true on any: one small reduction. */
sc_status sc_comm_any(const sc_comm *c, bool mine, bool *any);
/* Gathers one block of bytes a rank on rank `root`: *out = concatenation in rank order, sizes[size];
 * caller frees both; NULL on the other ranks. */
sc_status sc_comm_gather_bytes(const sc_comm *c, const void *data, size_t n, int root, char **out,
                               size_t **sizes);

/* ---- mail --------------------------------------------------------------------------------
 * Small messages between any two processes of a communicator, outside the collectives: log lines,
 * progress, "give me the next job". A send never waits for the receiver (the bytes are copied);
 * a receive takes what has arrived. Uses its own communicator, so it cannot meet a collective.
 */
typedef struct sc_mail sc_mail;
sc_status sc_mail_open(const sc_comm *c, sc_mail **out);  /* collective */
sc_status sc_mail_send(sc_mail *m, int to, int tag, const void *data, size_t n);
/* *got false: nothing there. from/tag: of the message. *data is heap, caller frees (NUL-terminated). */
sc_status sc_mail_poll(sc_mail *m, bool *got, int *from, int *tag, char **data, size_t *n);
/* Collective; waits until every send of this rank was received. */
sc_status sc_mail_close(sc_mail *m);

#endif
