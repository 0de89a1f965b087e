/* A small job for tests: resnet-tiny + clip:tiny on made-up data, the ref backend unless told. */
#ifndef TESTS_TRAIN_JOB_H
#define TESTS_TRAIN_JOB_H

#include "fake_data.h"
#include "superclip/train.h"

typedef struct job {
    sc_dataset data;
    sc_fold fold;
    sc_train_options o;
    char dir[256];
    const sc_backend *backend;
    sc_precision_mode precision;
    int stop_at; /* stop before this training step of the run, counted from 1; 0: never */
    int steps;   /* seen so far */
} job;

/* 21 images of 3 classes, 3 folds, batches of 5 (14 train: 5 5 4; 7 validate: 5 2), 2 epochs; a
 * fresh folder. */
void job_init(job *j);
void job_free(job *j);
/* Trains once, on one rank. */
sc_status job_run(job *j, sc_train_result *out);
/* Trains on `ranks` threads; the result of rank 0; the first failure. */
sc_status job_run_ranks(job *j, int ranks, sc_train_result *out);
/* A file of the job's folder; caller frees. NULL when it is not there. */
char *job_file(const job *j, const char *name, size_t *n);
void job_remove(const job *j, const char *name);

#endif
