/* One writer per output folder. The lock is a kernel lock on a small file, so it ends with its
 * process however that ends; the file says who holds it. Where the file system has no locks, the
 * file alone decides: its process must be gone (same host), or it must not have been renewed for
 * two minutes. */
#ifndef SC_APP_LOCK_H
#define SC_APP_LOCK_H

#include "superclip/base.h"

typedef struct app_lock app_lock;
/* SC_EUSAGE naming host, process and start of the holder. wait_s > 0: tries again for so long. */
sc_status app_lock_take(const char *path, const char *host, double wait_s, app_lock **out);
/* Renews the file's time and checks that it is still ours, at most every few seconds; call it
 * often. SC_EIO: somebody else took it over. */
sc_status app_lock_renew(app_lock *l);
void app_lock_release(app_lock *l); /* removes the file; NULL is fine */

#endif
