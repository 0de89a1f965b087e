/* A made-up packed set: rows whose bytes tell their sample, rows that fail, rows that are slow. It
 * stands in for the real sc_dataset functions when row_source.c is linked without the shard reader.
 */
#ifndef TESTS_DATA_ROWS_FAKE_DATASET_H
#define TESTS_DATA_ROWS_FAKE_DATASET_H

#include "superclip/data.h"

#include <stdatomic.h>

#define FAKE_SAMPLES 100
#define FAKE_SIZE 16
#define FAKE_TRAIN_SIZE 17

struct sc_dataset {
    int32_t labels[FAKE_SAMPLES];
    atomic_bool bad[FAKE_SAMPLES]; /* reading it fails; loaders may be reading ahead */
    int delay_us[FAKE_SAMPLES];    /* reading it takes this long */
    atomic_int reads;
};

void fake_dataset_init(sc_dataset *d);
/* Whether a row is what sc_dataset_row writes for this sample. */
bool fake_row_is(const uint8_t *row, sc_row_kind kind, int64_t sample);

#endif
