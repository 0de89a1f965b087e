/* Private to base. */
#ifndef SC_BASE_SYNC_H
#define SC_BASE_SYNC_H

#include "superclip/base.h"

int sc_sync_fd(int fd); /* fsync that a signal does not end */
/* Makes the entry of `path` in its folder durable: what was created or renamed there survives a
 * power failure only after this. */
sc_status sc_sync_parent(const char *path);

#endif
