/* Signals of a run. SIGUSR1 asks for a checkpoint and exit 42: the handler sets a flag, which the
 * trainer's stop event reads at every step. SIGINT and SIGTERM end the process at once, and what is
 * on disk is the last checkpoint, as every file is replaced whole. */
#ifndef SC_APP_SIGNALS_H
#define SC_APP_SIGNALS_H

#include <stdbool.h>

/* Before MPI starts, so that no early signal ends the process. */
void signals_install(void);
bool signals_stop_asked(void);
/* From now on Ctrl-C and TERM, which end the process at once, say how to go on. For rank 0. */
void signals_announce_end(void);

#endif
