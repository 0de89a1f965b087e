/* A group of threads of this process behind the collective contract, for tests of many ranks
 * without mpirun. Sums in rank order. run_ranks starts one thread a rank and waits for all of them.
 */
#ifndef TESTS_TRAIN_THREAD_COMM_H
#define TESTS_TRAIN_THREAD_COMM_H

#include "superclip/comm.h"

typedef sc_status (*rank_function)(const sc_comm *c, void *arg);
/* status[size]: what each rank returned; arg[r] goes to rank r. */
void run_ranks(int size, rank_function f, void *const *arg, sc_status *status);

#endif
