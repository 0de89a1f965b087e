/* A group of ranks inside one process: one thread a rank, collectives over a shared board. Sums are
 * taken in rank order, as comm.h promises.
 */
#ifndef SC_TESTS_NN_FAKE_COMM_H
#define SC_TESTS_NN_FAKE_COMM_H

#include "superclip/comm.h"

/* A group of one; static, never freed. */
const sc_comm *fake_comm_alone(void);

/* Runs f(comm, rank's ctx) on `ranks` threads and waits. ctx: an array of `size`-byte elements. */
typedef void fake_rank(const sc_comm *c, void *ctx);
void fake_comm_run(int ranks, fake_rank *f, void *ctx, size_t size);
/* Collectives that rank 0 made since the group started. */
int fake_comm_calls(const sc_comm *c);

#endif
