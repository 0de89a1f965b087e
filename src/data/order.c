/* In which order an epoch visits its samples, and the class weights that the sampler and the loss
 * share. Pure functions of (random_state, epoch, fold): any number of ranks and any resume compute
 * the same order.
 */
#include "superclip/data.h"

#include "draws.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* Above this many choices a 24-bit uniform would favour some of them measurably (relative error
 * n / 2^24), so 64 or 53 bits of the same draw are used. */
#define MAX_CHOICES_24 65536

void sc_class_weights(const int64_t *counts, int classes, sc_weight_method m, double smooth,
                      double *out)
{
    int64_t total = 0;
    int present = 0;
    for (int c = 0; c < classes; c++) {
        total += counts[c];
        present += counts[c] > 0;
    }
    for (int c = 0; c < classes; c++) {
        const double smoothed = (double)counts[c] + smooth;
        if (counts[c] == 0)
            out[c] = 0.0;
        else if (m == SC_INVERSE_SQRT)
            out[c] = sqrt((double)total / smoothed);
        else
            out[c] = (double)total / ((double)present * smoothed);
    }
}

/* floor(u * n) of one draw's words, n >= 1 */
static int64_t draw_index(const uint32_t words[4], int64_t n)
{
    if (n <= MAX_CHOICES_24)
        return (int64_t)sc_below24(words[0], (uint32_t)n);
    const uint64_t w = (uint64_t)words[0] << 32 | words[1];
    return (int64_t)((unsigned __int128)w * (unsigned __int128)n >> 64);
}

/* Fisher-Yates from the end; the swap partner of place i is drawn at position i. */
static void permute(const int64_t *samples, int64_t n, uint64_t random_state, sc_stream stream,
                    int epoch, int fold, int64_t *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = samples[i];
    for (int64_t i = n - 1; i > 0; i--) {
        uint32_t words[4];
        draw_words(random_state, stream, epoch, i, DRAW_ORDER, fold, words);
        const int64_t j = draw_index(words, i + 1);
        const int64_t t = out[i];
        out[i] = out[j];
        out[j] = t;
    }
}

/* First i with sum[i] > target; sum ascends and sum[n - 1] > target. Samples of weight 0 have the
 * sum of their predecessor and are never first. */
static int64_t first_above(const double *sum, int64_t n, double target)
{
    int64_t low = 0, high = n - 1;
    while (low < high) {
        const int64_t mid = low + (high - low) / 2;
        if (sum[mid] > target)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

/* sum[i] = weights of the samples 0..i, added left to right. */
static sc_status sum_weights(const sc_fold *f, const int32_t *labels, const double *weights,
                             int classes, double *sum)
{
    double total = 0.0;
    for (int64_t i = 0; i < f->train_count; i++) {
        const int32_t label = labels[f->train[i]];
        if (label < 0 || label >= classes)
            return sc_fail(SC_EINTERNAL, "sample %" PRId64 " has class %d of %d", f->train[i],
                           (int)label, classes);
        if (!(weights[label] >= 0.0))
            return sc_fail(SC_ENUMERIC, "the sampling weight of class number %d is %g", (int)label,
                           weights[label]);
        total += weights[label];
        sum[i] = total;
    }
    if (!(total > 0.0) || !isfinite(total))
        return sc_fail(SC_ENUMERIC, "the sampling weights of the training samples sum to %g",
                       total);
    return SC_OK;
}

sc_status sc_train_order(const sc_fold *f, const int32_t *labels, const double *weights,
                         int classes, uint64_t random_state, int epoch, int fold, int64_t *out)
{
    const int64_t n = f->train_count;
    if (!weights) {
        permute(f->train, n, random_state, SC_STREAM_ORDER, epoch, fold, out);
        return SC_OK;
    }
    if (n == 0)
        return SC_OK;
    double *sum = sc_alloc((size_t)n, sizeof *sum);
    if (!sum)
        return SC_ENOMEM;
    const sc_status status = sum_weights(f, labels, weights, classes, sum);
    for (int64_t i = 0; status == SC_OK && i < n; i++) {
        uint32_t words[4];
        draw_words(random_state, SC_STREAM_ORDER, epoch, i, DRAW_ORDER, fold, words);
        const uint64_t w = (uint64_t)words[0] << 32 | words[1];
        const double u =
            n <= MAX_CHOICES_24 ? (double)sc_uniform24(words[0]) : (double)(w >> 11) * 0x1p-53;
        out[i] = f->train[first_above(sum, n, u * sum[n - 1])];
    }
    free(sum);
    return status;
}

void sc_val_order(const sc_fold *f, uint64_t random_state, int fold, int64_t *out)
{
    permute(f->val, f->val_count, random_state, SC_STREAM_VAL_ORDER, 0, fold, out);
}
