/* Times every op of every program of a device by standing between nn and its backend. */
#ifndef SC_BENCH_STEP_PROFILE_H
#define SC_BENCH_STEP_PROFILE_H

#include "superclip/backend.h"

/* Puts the timer in front of d's backend; one device a process. */
void profile_attach(sc_device *d);
void profile_reset(void);
/* Seconds: of the wall clock, or of this thread's processor time (honest on a busy machine, for one
 * compute thread). */
double profile_now(void);
void profile_use_processor_time(bool yes);
/* Totals an op kind, then the `top` most expensive nodes with shapes and GFLOP/s, a step. */
void profile_print(int steps, int top);

#endif
