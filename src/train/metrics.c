/* Classification metrics by scikit-learn's definitions. */
#include <stdlib.h>
#include <string.h>

#include "superclip/train.h"

typedef struct scored {
    double score;
    uint8_t positive;
} scored;

static int by_falling_score(const void *a, const void *b)
{
    double x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x < y) - (x > y);
}

/* sum over distinct scores, falling, of (recall_k - recall_{k-1}) * precision_k */
static double average_precision(scored *rows, int64_t n)
{
    int64_t positives = 0;
    for (int64_t i = 0; i < n; i++)
        positives += rows[i].positive;
    if (positives == 0)
        return 0;
    qsort(rows, (size_t)n, sizeof *rows, by_falling_score);
    double sum = 0, recall_before = 0;
    int64_t hits = 0;
    for (int64_t i = 0; i < n; i++) {
        hits += rows[i].positive;
        if (i + 1 < n && rows[i + 1].score == rows[i].score)
            continue; /* a group of ties is one threshold */
        double recall = (double)hits / (double)positives;
        sum += (recall - recall_before) * ((double)hits / (double)(i + 1));
        recall_before = recall;
    }
    return sum;
}

double sc_average_precision(const double *scores, const uint8_t *positive, int64_t n)
{
    scored *rows = sc_alloc((size_t)n, sizeof *rows);
    if (!rows)
        return 0;
    for (int64_t i = 0; i < n; i++)
        rows[i] = (scored){scores[i], positive[i] != 0};
    double ap = average_precision(rows, n);
    free(rows);
    return ap;
}

static double ratio(int64_t a, int64_t b)
{
    return b > 0 ? (double)a / (double)b : 0;
}

typedef struct class_counts {
    int64_t hits, predicted, present;
} class_counts;

static void macro_figures(const class_counts *c, int classes, sc_eval_metrics *out)
{
    double precision = 0, recall = 0, f1 = 0;
    for (int k = 0; k < classes; k++) {
        precision += ratio(c[k].hits, c[k].predicted);
        recall += ratio(c[k].hits, c[k].present);
        f1 += ratio(2 * c[k].hits, c[k].predicted + c[k].present);
    }
    out->precision = 100 * precision / classes;
    out->recall = 100 * recall / classes;
    out->f1 = 100 * f1 / classes;
}

sc_status sc_eval_metrics_of(const double *probabilities, const int32_t *labels, int64_t n,
                             int classes, sc_eval_metrics *out)
{
    *out = (sc_eval_metrics){0};
    if (n == 0 || classes == 0)
        return SC_OK;
    class_counts *counts = sc_alloc((size_t)classes, sizeof *counts);
    scored *rows = sc_alloc((size_t)n, sizeof *rows);
    if (!counts || !rows) {
        free(counts);
        free(rows);
        return SC_ENOMEM;
    }
    int64_t correct = 0;
    for (int64_t i = 0; i < n; i++) {
        const double *p = probabilities + i * classes;
        int best = 0;
        for (int k = 1; k < classes; k++)
            if (p[k] > p[best])
                best = k;
        counts[best].predicted++;
        counts[labels[i]].present++;
        counts[labels[i]].hits += best == labels[i];
        correct += best == labels[i];
    }
    double ap = 0;
    int present = 0;
    for (int k = 0; k < classes; k++) {
        if (counts[k].present == 0)
            continue;
        for (int64_t i = 0; i < n; i++)
            rows[i] = (scored){probabilities[i * classes + k], labels[i] == k};
        ap += average_precision(rows, n);
        present++;
    }
    out->acc = 100 * (double)correct / (double)n;
    out->mAP = present ? 100 * ap / present : 0;
    macro_figures(counts, classes, out);
    free(counts);
    free(rows);
    return SC_OK;
}
