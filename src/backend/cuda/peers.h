/* NCCL communicators, one for each communicator that programs are compiled over. One GPU a rank;
 * ranks that share a GPU have none, and their collectives go through the host.
 *
 * Communicators are non-blocking: no call of NCCL's waits for a peer, we do, with a deadline. A
 * failure of any rank is found while waiting for the device (peers_wait) and ends every
 * communicator of the device: what was queued behind it computes nothing that can be used.
 */
#ifndef SC_BACKEND_CUDA_PEERS_H
#define SC_BACKEND_CUDA_PEERS_H

#include "kernels.h"
#include "superclip/comm.h"

typedef struct peers peers;
/* gpu: the device's UUID. */
sc_status peers_new(void *stream, const char gpu[16], const sc_log *log, peers **out);
void peers_free(peers *p); /* NULL is fine */

/* Collective over c. Finds NCCL when it is first needed; without it, where it does not start on all
 * ranks, or where ranks share a GPU, warns once and leaves c to the host. A communicator may be
 * joined more often than once. */
sc_status peers_join(peers *p, const sc_comm *c);
void peers_leave(peers *p, const sc_comm *c);

/* Queue a collective on device memory, on the stream of peers_new, where all of them are in the
 * order of the calls; *done false: c is the host's to serve. */
sc_status peers_sum(peers *p, const sc_comm *c, void *buf, size_t count, sc_dtype type, bool *done);
sc_status peers_broadcast(peers *p, const sc_comm *c, void *buf, size_t bytes, bool *done);
/* sizes: bytes of every rank. */
sc_status peers_gather(peers *p, const sc_comm *c, const void *send, void *recv,
                       const size_t *sizes, bool *done);

/* Whether the calls above will queue for c, and none of them goes through the host. */
bool peers_serve(const peers *p, const sc_comm *c);

/* Waits for a stream, or for an event when there is one. SC_ECOMM when a peer failed, or nothing
 * moved for ten minutes. */
sc_status peers_wait(peers *p, void *stream, void *event);

#endif
