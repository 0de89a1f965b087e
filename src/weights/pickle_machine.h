/* What the parts of the pickle machine share: the bytes of the stream, the stack, the marks. */
#ifndef SC_WEIGHTS_PICKLE_MACHINE_H
#define SC_WEIGHTS_PICKLE_MACHINE_H

#include "pickle.h"

/* pickle_stack.c: all of them fail with a message when the stream or the stack holds too little. */
sc_status sc_pickle_take(sc_unpickler *u, uint64_t n, const uint8_t **p);
sc_status sc_pickle_take_uint(sc_unpickler *u, int width, uint64_t *v);
sc_status sc_pickle_take_line(sc_unpickler *u, const char **text, size_t *n);
sc_status sc_pickle_push(sc_unpickler *u, sc_pv *v);
size_t sc_pickle_floor_of(const sc_unpickler *u); /* where the values above the newest mark begin */
sc_status sc_pickle_pop(sc_unpickler *u, sc_pv **v);
sc_status sc_pickle_top(sc_unpickler *u, sc_pv **v);
sc_status sc_pickle_push_mark(sc_unpickler *u);
/* Takes everything above the newest mark, and the mark. The items stay valid until the next push.
 */
sc_status sc_pickle_pop_mark(sc_unpickler *u, sc_pv ***items, size_t *n);
sc_status sc_pickle_push_new(sc_unpickler *u, sc_pv_type type, sc_pv **v);
sc_status sc_pickle_push_int(sc_unpickler *u, int64_t i);
sc_status sc_pickle_push_float(sc_unpickler *u, double f);

/* pickle_text.c: runs `op` if it pushes a constant or a text; *mine says whether it does. */
sc_status sc_pickle_run_value(sc_unpickler *u, int op, bool *mine);

#endif
