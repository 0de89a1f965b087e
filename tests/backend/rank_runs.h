/* The op table over several ranks of one process, one of them without rows. */
#ifndef SC_TESTS_BACKEND_RANK_RUNS_H
#define SC_TESTS_BACKEND_RANK_RUNS_H

#include "superclip/backend.h"

/* Every case whose rows can be split, on three ranks of b in fp32 against one rank of `ref`:
 * outputs row for row, parameter gradients in sum, running statistics equal on every rank to the
 * last bit. The running test fails at the first difference, and when fewer than at_least cases were
 * there. */
void rank_runs_compare(const sc_backend *b, int at_least);

#endif
