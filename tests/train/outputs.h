/* The files of a job that must be the same bytes however it came to its end. */
#ifndef TESTS_TRAIN_OUTPUTS_H
#define TESTS_TRAIN_OUTPUTS_H

#include "job.h"

enum { FILES = 4 };
typedef struct contents {
    char *data[FILES]; /* history.json first */
    size_t n[FILES];
} contents;

contents read_all(const job *j);
void free_all(contents *c);
/* Fails the test with "what at: file differs". */
void expect_same(const job *j, const contents *want, const char *what, int at);
/* Fails the test with the message when the status is another. */
void must(sc_status have, sc_status want);

#endif
