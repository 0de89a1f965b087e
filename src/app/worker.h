/* Every rank's main occupation: with its group, one job after the other until rank 0 says the end.
 */
#ifndef SC_APP_WORKER_H
#define SC_APP_WORKER_H

#include "app.h"

/* On every rank. A job's failure is reported and not returned; what is returned ends the world. */
sc_status worker_run(app *a);

#endif
