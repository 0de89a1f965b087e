/* Private to tools/pack_hdf5: its command line and its progress line. */
#ifndef SC_PACK_TOOL_H
#define SC_PACK_TOOL_H

#include "superclip/comm.h"
#include "superclip/data.h"

typedef enum pack_request { PACK_RUN, PACK_HELP, PACK_VERSION } pack_request;
/* argv -> options; strings point into argv. SC_EUSAGE names the argument. */
sc_status pack_options_parse(int argc, char **argv, sc_pack_options *out, pack_request *request);
extern const char pack_help[];

/* Progress of all ranks, shown by rank 0 on standard error: one line redrawn on a terminal, else
 * whole lines now and then. All ranks call open and close. */
typedef struct pack_progress pack_progress;
sc_status pack_progress_open(const sc_world *world, int64_t total, pack_progress **out);
void pack_progress_update(void *progress, int64_t done, int64_t total); /* of this rank's part */
/* Rank 0 waits, showing progress, until every rank has said that it is done. */
sc_status pack_progress_close(pack_progress *p);

#endif
