/* A small made-up data set in memory behind the sc_dataset functions that training uses, so that
 * these tests need no files. Pixels are a formula that tests/oracle/train_oracle.py repeats: a
 * pattern of the class plus noise, all in integers.
 */
#ifndef TESTS_TRAIN_FAKE_DATA_H
#define TESTS_TRAIN_FAKE_DATA_H

#include "superclip/data.h"

#include <stdatomic.h>

#define FAKE_CLASSES 3

struct sc_dataset {
    int64_t count;
    int size, train_size; /* S, S' */
    int32_t *labels;
    int64_t bad_row; /* reading it fails; -1: none */
    atomic_int reads;
};
void fake_data_init(sc_dataset *d, int64_t count, int size, int train_size);
void fake_data_free(sc_dataset *d);
/* Every `folds`-th sample (from `fold`, from 0) validates, the others train. */
void fake_fold(const sc_dataset *d, int fold, int folds, sc_fold *out);
void fake_fold_free(sc_fold *f);

#endif
