#include "fake_dataset.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

void fake_dataset_init(sc_dataset *d)
{
    memset(d, 0, sizeof *d);
    for (int i = 0; i < FAKE_SAMPLES; i++)
        d->labels[i] = (i * 7) % 9;
}

int64_t sc_dataset_count(const sc_dataset *d)
{
    (void)d;
    return FAKE_SAMPLES;
}

const int32_t *sc_dataset_labels(const sc_dataset *d)
{
    return d->labels;
}

int sc_dataset_img_size(const sc_dataset *d)
{
    (void)d;
    return FAKE_SIZE;
}

int sc_dataset_row_size(const sc_dataset *d, sc_row_kind kind)
{
    (void)d;
    return kind == SC_ROW_TRAIN ? FAKE_TRAIN_SIZE : FAKE_SIZE;
}

static size_t row_bytes(sc_row_kind kind)
{
    const size_t p = kind == SC_ROW_TRAIN ? FAKE_TRAIN_SIZE : FAKE_SIZE;
    return p * p * 3;
}

static uint8_t row_byte(sc_row_kind kind, int64_t sample)
{
    return (uint8_t)(sample + (kind == SC_ROW_TRAIN ? 100 : 0));
}

sc_status sc_dataset_row(sc_dataset *d, sc_row_kind kind, int64_t i, uint8_t *dst)
{
    atomic_fetch_add(&d->reads, 1);
    if (d->delay_us[i] > 0)
        usleep((useconds_t)d->delay_us[i]);
    if (d->bad[i])
        return sc_fail(SC_EFORMAT, "row %" PRId64 " is damaged", i);
    memset(dst, row_byte(kind, i), row_bytes(kind));
    return SC_OK;
}

bool fake_row_is(const uint8_t *row, sc_row_kind kind, int64_t sample)
{
    for (size_t i = 0; i < row_bytes(kind); i++)
        if (row[i] != row_byte(kind, sample))
            return false;
    return true;
}
