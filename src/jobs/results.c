/* Best epoch, fold results, and the summary over folds. */
#include "superclip/jobs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double sc_metric_value(const sc_epoch_metrics *m, const char *name, bool *up)
{
    *up = strcmp(name, "val_loss") != 0;
    if (strcmp(name, "val_loss") == 0)
        return m->val_loss;
    if (strcmp(name, "val_acc") == 0)
        return m->val_acc;
    return strcmp(name, "val_mAP") == 0 ? m->val_mAP : NAN;
}

bool sc_best_update(sc_best *b, const char *metric, double min_delta, int epoch,
                    const sc_epoch_metrics *m)
{
    bool up;
    double value = sc_metric_value(m, metric, &up);
    double gain = up ? value - b->value : b->value - value;
    if (isnan(value) || (b->any && !(gain > min_delta)))
        return false;
    *b = (sc_best){.any = true, .value = value, .epoch = epoch};
    return true;
}

void sc_fold_result_of(const sc_history *h, const sc_best *best, sc_fold_result *out)
{
    if (h->count == 0) {
        out->failed = true;
        return;
    }
    const sc_epoch_metrics *last = &h->epochs[h->count - 1];
    int at = best->any && best->epoch >= 0 && best->epoch < h->count ? best->epoch : h->count - 1;
    const sc_epoch_metrics *top = &h->epochs[at];
    out->failed = false;
    out->train_loss = last->train_loss;
    out->train_acc = last->train_acc;
    out->val_loss = last->val_loss;
    out->val_acc = last->val_acc;
    out->val_mAP = last->val_mAP;
    out->best_val_acc = top->val_acc;
    out->best_val_mAP = top->val_mAP;
    out->best_precision = top->val_precision;
    out->best_recall = top->val_recall;
    out->best_f1 = top->val_f1;
    out->best_epoch = at + 1;
}

/* ---- summary ----------------------------------------------------------------------- */

typedef struct figure {
    const char *name; /* "fold_" before it in fold_results, "avg_" and "std_" in average_results */
    size_t offset;
    bool averaged; /* fold_best_epoch is listed, not averaged */
} figure;

#define FIGURE(member, averaged)                            \
    {                                                       \
#member, offsetof(sc_fold_result, member), averaged \
    }
static const figure figures[] = {
    FIGURE(train_loss, true),   FIGURE(train_acc, true),   FIGURE(val_loss, true),
    FIGURE(val_acc, true),      FIGURE(val_mAP, true),     FIGURE(best_val_acc, true),
    FIGURE(best_val_mAP, true), FIGURE(best_epoch, false), FIGURE(best_precision, true),
    FIGURE(best_recall, true),  FIGURE(best_f1, true),
};
enum { FIGURES = sizeof figures / sizeof figures[0] };

static double get(const sc_fold_result *r, const figure *f)
{
    double v;
    memcpy(&v, (const char *)r + f->offset, sizeof v);
    return v;
}

static int by_fold(const void *a, const void *b)
{
    int x = ((const sc_fold_result *)a)->fold, y = ((const sc_fold_result *)b)->fold;
    return (x > y) - (x < y);
}

static void write_fold_results(const sc_fold_result *folds, int count, sc_json_writer *w)
{
    char key[64];
    sc_jw_object(w, "fold_results");
    for (int i = 0; i < FIGURES; i++) {
        snprintf(key, sizeof key, "fold_%s", figures[i].name);
        sc_jw_list(w, key);
        for (int k = 0; k < count; k++) {
            if (folds[k].failed)
                continue;
            if (figures[i].averaged)
                sc_jw_number(w, NULL, get(&folds[k], &figures[i]));
            else
                sc_jw_int(w, NULL, folds[k].best_epoch);
        }
        sc_jw_end(w);
    }
    sc_jw_end(w);
}

/* numpy.mean and numpy.std (denominator n); without folds not a number, written as null */
static void mean_and_std(const sc_fold_result *folds, int count, const figure *f, double *mean,
                         double *std)
{
    double sum = 0, squares = 0;
    int n = 0;
    for (int k = 0; k < count; k++) {
        if (!folds[k].failed) {
            sum += get(&folds[k], f);
            n++;
        }
    }
    *mean = n ? sum / n : NAN;
    for (int k = 0; k < count; k++) {
        double d = folds[k].failed ? 0 : get(&folds[k], f) - *mean;
        squares += d * d;
    }
    *std = n ? sqrt(squares / n) : NAN;
}

static void write_averages(const sc_fold_result *folds, int count, sc_json_writer *w)
{
    char key[64];
    sc_jw_object(w, "average_results");
    for (int i = 0; i < FIGURES; i++) {
        if (!figures[i].averaged)
            continue;
        double mean, std;
        mean_and_std(folds, count, &figures[i], &mean, &std);
        snprintf(key, sizeof key, "avg_%s", figures[i].name);
        sc_jw_number(w, key, mean);
        snprintf(key, sizeof key, "std_%s", figures[i].name);
        sc_jw_number(w, key, std);
    }
    sc_jw_end(w);
}

static void list_folds(const sc_fold_result *folds, int count, bool failed, const char *key,
                       sc_json_writer *w)
{
    sc_jw_inline_list(w, key);
    for (int k = 0; k < count; k++)
        if (folds[k].failed == failed)
            sc_jw_int(w, NULL, folds[k].fold);
    sc_jw_end(w);
}

/* Where folds are missing: which ones, and whose entries the lists hold. */
static void write_failed(const sc_fold_result *folds, int count, sc_json_writer *w)
{
    int failed = 0;
    for (int k = 0; k < count; k++)
        failed += folds[k].failed;
    if (failed == 0)
        return;
    list_folds(folds, count, false, "folds", w);
    list_folds(folds, count, true, "failed_folds", w);
}

void sc_summary_write(const sc_fold_result *folds, int count, sc_json_writer *w)
{
    sc_fold_result *sorted = sc_alloc((size_t)count, sizeof *sorted);
    if (!sorted) {
        w->text.failed = true;
        return;
    }
    if (count > 0)
        memcpy(sorted, folds, (size_t)count * sizeof *folds);
    qsort(sorted, (size_t)count, sizeof *sorted, by_fold);
    write_fold_results(sorted, count, w);
    write_averages(sorted, count, w);
    write_failed(sorted, count, w);
    free(sorted);
}
