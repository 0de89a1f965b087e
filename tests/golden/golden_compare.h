/* Every case of a golden file on a backend, twice: the second time adding to the input gradients.
 */
#ifndef SC_TESTS_GOLDEN_COMPARE_H
#define SC_TESTS_GOLDEN_COMPARE_H

#include "superclip/backend.h"

/* The running test fails at the first result further than `tolerance` (of the largest value) from
 * the file's, at any failure, and when fewer than at_least tensors were there to compare. */
void golden_compare(const sc_backend *b, sc_precision_mode precision, const char *path,
                    double tolerance, int at_least);

#endif
