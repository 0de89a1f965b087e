/* absent: a GPU that is not there, for a login node that wants to know what jobs would take of one.
 * Programs are measured on it (sc_train_memory): ops tell their memory, convolutions are planned by
 * cuDNN for the named kind of GPU where the library is found, and its workspace is taken at the most
 * that a plan may have where it is not. Nothing else works: alloc fails.
 */
#ifndef SUPERCLIP_ABSENT_H
#define SUPERCLIP_ABSENT_H

#include "superclip/backend.h"

/* gpu: one of the choices of --plan-gpu. The device is the CUDA backend's, its memory what an empty
 * GPU of that kind has for a program; its description names it and says what plans the convolutions.
 * SC_EUNSUPPORTED with a line when there is no CUDA backend or no such GPU in its table. */
sc_status sc_backend_open_absent(const sc_device_options *o, const char *gpu, sc_device **out);

#endif
