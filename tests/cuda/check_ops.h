/* Rows of the op table on a backend against `ref`, told in words: what the tests over the shim and
 * gpu_check on a device share.
 */
#ifndef SC_TEST_CUDA_CHECK_OPS_H
#define SC_TEST_CUDA_CHECK_OPS_H

#include "harness.h"

/* Relative to a value and its tensor's root mean square, as the CPU backend's
 * (tests/backend/test_ops.c says why). */
double check_tolerance(sc_precision_mode p);
/* Shapes beyond the table: several splits of a channel, several tiles of channels, long heads. */
const op_case *check_larger(size_t *count);

/* Twice on how->backend and once on `ref`: SC_OK when every output, gradient and parameter is
 * within the tolerance and the two runs gave the same bytes; else a status whose message names row,
 * mode and tensor. turn (may be NULL) is called with 1 before the second run and with 0 behind it.
 * *worst (may be NULL) rises to the largest error met, in tolerances. */
sc_status check_case(const op_case *c, const case_run *how, const char *mode,
                     void (*turn)(int which), double *worst);
/* In training, in training with gradients that are added to, and in evaluation. */
sc_status check_modes(const op_case *c, case_run how, void (*turn)(int which), double *worst);

#endif
