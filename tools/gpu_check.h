/* Private to gpu_check: what its parts share. */
#ifndef SC_TOOLS_GPU_CHECK_H
#define SC_TOOLS_GPU_CHECK_H

#include "check_step.h"

enum { GPU_CHECK_BATCHES = 4 };
typedef struct gpu_check {
    const sc_backend *cuda;
    step_size model;
    bool small;
    const char *op; /* only its rows; NULL: all */
    int steps;      /* timed ones, of each repetition */
    int batches[GPU_CHECK_BATCHES], n_batches;
    double flops, bytes; /* a second, of the device */
    int threads;
    int failures;
} gpu_check;

/* A row of the report: "| WHAT | VERDICT | WORDS |". A check that is not passed counts as a
 * failure. */
void gpu_row(gpu_check *c, bool passed, const char *what, const char *format, ...) SC_PRINTF(4, 5);
/* The same with sc_message. */
void gpu_failed(gpu_check *c, const char *what);
/* A row that only tells. */
void gpu_figure(const char *what, const char *format, ...) SC_PRINTF(2, 3);
const char *gpu_precision(sc_precision_mode p);
step_how gpu_how(const gpu_check *c, sc_precision_mode p);

/* cuDNN and cuBLASLt: found, computing, and from where. */
void gpu_libraries(gpu_check *c);
/* Milliseconds a step and of the host, and images a second, of each batch. */
void gpu_speed(gpu_check *c);
/* Where the time of a step goes, and its share of the roofline. */
void gpu_profile(gpu_check *c);

#endif
