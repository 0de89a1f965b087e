/* Rank 0's second occupation: it hands out jobs, shows lines and progress of all groups and writes
 * the summaries. No thread: it looks at its mail at every step of its own job, and while it has
 * none or its jobs run on threads. */
#ifndef SC_APP_COORDINATOR_H
#define SC_APP_COORDINATOR_H

#include "messages.h"

typedef struct coordinator coordinator;
/* Opens logs and console. */
sc_status coordinator_open(app *a);
void coordinator_close(app *a); /* NULL coordinator is fine */
/* Answers all mail that has arrived and renews the lock. */
sc_status coordinator_serve(app *a);
/* Hands every other group its first jobs, one to each and then as many more as each takes at once,
 * the longest to the first group, before rank 0 is busy with its own, which go to own[*count]. */
sc_status coordinator_begin(app *a, int32_t own[SC_MOST_SLOTS], int *count);
/* The next job for a free group, or -1. */
int coordinator_next(app *a);
/* Nothing runs and nothing will be started any more. */
bool coordinator_idle(const app *a);
/* A letter to rank 0, of rank 0's own group too; data has a NUL behind its n bytes. */
sc_status coordinator_take(app *a, int from, int tag, const char *data, size_t n);
/* Spreads the wish to stop. */
sc_status coordinator_stop(app *a);
/* Prints what came of the run; returns the exit code. */
int coordinator_verdict(app *a);

#endif
