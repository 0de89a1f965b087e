#include "fake_data.h"

#include <stdlib.h>

void fake_data_init(sc_dataset *d, int64_t count, int size, int train_size)
{
    *d = (sc_dataset){.count = count, .size = size, .train_size = train_size, .bad_row = -1};
    d->labels = calloc((size_t)count, sizeof *d->labels);
    for (int64_t i = 0; i < count; i++) /* 4 : 2 : 1, so that weights matter */
        d->labels[i] = i % 7 < 4 ? 0 : i % 7 < 6 ? 1 : 2;
}

void fake_data_free(sc_dataset *d)
{
    free(d->labels);
}

void fake_fold(const sc_dataset *d, int fold, int folds, sc_fold *out)
{
    *out = (sc_fold){.train = calloc((size_t)d->count, sizeof *out->train),
                     .val = calloc((size_t)d->count, sizeof *out->val)};
    for (int64_t i = 0; i < d->count; i++)
        if (i % folds == fold)
            out->val[out->val_count++] = i;
        else
            out->train[out->train_count++] = i;
}

void fake_fold_free(sc_fold *f)
{
    free(f->train);
    free(f->val);
}

int64_t sc_dataset_count(const sc_dataset *d)
{
    return d->count;
}

int sc_dataset_classes(const sc_dataset *d)
{
    (void)d;
    return FAKE_CLASSES;
}

const char *const *sc_dataset_class_names(const sc_dataset *d)
{
    static const char *const names[FAKE_CLASSES] = {"bridge", "cr, \"own\"", "implant"};
    (void)d;
    return names;
}

const int32_t *sc_dataset_labels(const sc_dataset *d)
{
    return d->labels;
}

const char *sc_dataset_hash(const sc_dataset *d)
{
    (void)d;
    return "made up";
}

const char *sc_dataset_path(const sc_dataset *d, int64_t i)
{
    return sc_dataset_class_names(d)[d->labels[i]];
}

int sc_dataset_img_size(const sc_dataset *d)
{
    return d->size;
}

int sc_dataset_row_size(const sc_dataset *d, sc_row_kind kind)
{
    return kind == SC_ROW_TRAIN ? d->train_size : d->size;
}

sc_status sc_dataset_row(sc_dataset *d, sc_row_kind kind, int64_t i, uint8_t *dst)
{
    int p = sc_dataset_row_size(d, kind);
    atomic_fetch_add(&d->reads, 1);
    if (i == d->bad_row)
        return sc_fail(SC_EFORMAT, "row %lld is damaged", (long long)i);
    for (int y = 0; y < p; y++)
        for (int x = 0; x < p; x++)
            for (int c = 0; c < 3; c++) {
                uint32_t noise = (uint32_t)(i * 1000003 + y * 10007 + x * 101 + c * 7 +
                                            (kind == SC_ROW_TRAIN ? 55 : 0));
                noise = noise * 2654435761u >> 25; /* 0..127 */
                int pattern = (x * (d->labels[i] + 1) / 4 + y * (2 - d->labels[i]) / 4) % 2;
                *dst++ = (uint8_t)(noise + (pattern ? 120 : 0));
            }
    return SC_OK;
}
