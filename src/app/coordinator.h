/* Rank 0's second occupation: it hands out jobs, shows lines and progress of all groups and writes
 * the summaries. No thread: it looks at its mail at every step of its own job, and while it has
 * none. */
#ifndef SC_APP_COORDINATOR_H
#define SC_APP_COORDINATOR_H

#include "messages.h"

typedef struct coordinator coordinator;
/* Opens logs and console. */
sc_status coordinator_open(app *a);
void coordinator_close(app *a); /* NULL coordinator is fine */
/* Answers all mail that has arrived and renews the lock. */
sc_status coordinator_serve(app *a);
/* Hands every other group its first job, the longest to the first group, before rank 0 is busy with
 * its own, which is returned; -1: its group gets none. */
sc_status coordinator_begin(app *a, int *own);
/* The next job for a free group, or -1. */
int coordinator_next(app *a);
/* Nothing runs and nothing will be started any more. */
bool coordinator_idle(const app *a);
/* What the mail of the same name carries; rank 0 calls these for its own group. */
void coordinator_line(app *a, int job, sc_log_level level, const char *line);
void coordinator_progress(app *a, const progress_mail *p);
sc_status coordinator_result(app *a, const result_mail *r, const char *message);
/* Spreads the wish to stop. */
sc_status coordinator_stop(app *a);
/* Prints what came of the run; returns the exit code. */
int coordinator_verdict(app *a);

#endif
