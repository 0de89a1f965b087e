/* Images of one class share a text, so with diagonal targets a row cannot tell its own column from
 * those of its class: the contrastive loss of a batch with m_c images of class c cannot fall below
 * (1/B) sum_c m_c log m_c. Users who wonder why it stops there find the figure in the log.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

static double mean_floor(const sc_trainer *t, const int64_t *order, int64_t n, int64_t *counts)
{
    double sum = 0;
    int64_t batches = 0;
    for (int64_t first = 0; first < n; first += t->batch, batches++) {
        int64_t rows = n - first < t->batch ? n - first : t->batch;
        double floor = 0;
        memset(counts, 0, (size_t)t->classes * sizeof *counts);
        for (int64_t i = 0; i < rows; i++)
            counts[t->labels[order[first + i]]]++;
        for (int c = 0; c < t->classes; c++)
            if (counts[c] > 1)
                floor += (double)counts[c] * log((double)counts[c]);
        sum += floor / (double)rows;
    }
    return batches ? sum / (double)batches : 0;
}

sc_status sc_trainer_log_floors(sc_trainer *t)
{
    const sc_train_options *o = t->o;
    if (!t->leader)
        return SC_OK;
    int64_t *counts = sc_alloc((size_t)t->classes, sizeof *counts);
    if (!counts)
        return SC_ENOMEM;
    sc_status status = sc_train_order(o->split, t->labels, t->sampler_weights, t->classes,
                                      o->random_state, 0, o->fold, t->train_order);
    if (status == SC_OK)
        sc_info(o->log,
                "fold %d: images of a class share their text, so the contrastive loss cannot fall "
                "below "
                "%.4f in training and %.4f in validation",
                o->fold, mean_floor(t, t->train_order, o->split->train_count, counts),
                mean_floor(t, t->val_order, o->split->val_count, counts));
    free(counts);
    return status;
}
