/* Stratified folds: scikit-learn's StratifiedKFold(shuffle=True, random_state=int), bit for bit.
 * The samples of each class are dealt to the folds in the numbers that a round robin over the
 * sorted labels gives, and numpy's legacy shuffle (MT19937) decides which sample goes where.
 * Classes are taken in the order of their first appearance; that decides who shuffles first.
 */
#include "superclip/data.h"

#include <inttypes.h>
#include <stdlib.h>

typedef struct labelled {
    int32_t label;
    int64_t index;
} labelled;

typedef struct class_run {
    int64_t begin, count; /* in the array sorted by (label, index) */
    int64_t first;        /* index of its first sample */
} class_run;

static int compare_labelled(const void *a, const void *b)
{
    const labelled *x = a, *y = b;
    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int compare_first(const void *a, const void *b)
{
    const class_run *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Cuts the sorted array into runs of one label each, in order of first appearance. */
static int64_t find_classes(const labelled *sorted, int64_t n, class_run *runs)
{
    int64_t classes = 0;
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || sorted[i].label != sorted[i - 1].label)
            runs[classes++] = (class_run){.begin = i, .count = 0, .first = sorted[i].index};
        runs[classes - 1].count++;
    }
    qsort(runs, (size_t)classes, sizeof *runs, compare_first);
    return classes;
}

/* "class 'cat'", or its number when names are unknown. */
static const char *class_called(const char *const *names, int32_t label, char *buffer, size_t n)
{
    if (names)
        snprintf(buffer, n, "class '%s'", names[label]);
    else
        snprintf(buffer, n, "class number %d (from 0, in name order)", (int)label);
    return buffer;
}

static sc_status check_counts(const labelled *sorted, const class_run *runs, int64_t classes,
                              const char *const *names, int n_splits, const sc_log *log)
{
    char called[300];
    const class_run *largest = &runs[0];
    if (classes < 2)
        return sc_fail(SC_EUSAGE,
                       "folds need at least 2 classes, the data has only %s: add another class "
                       "folder",
                       class_called(names, sorted[runs[0].begin].label, called, sizeof called));
    for (int64_t c = 0; c < classes; c++)
        if (runs[c].count > largest->count)
            largest = &runs[c];
    if (largest->count < n_splits)
        return sc_fail(
            SC_EUSAGE,
            "n_splits is %d, but no class has that many samples (the largest, %s, has %" PRId64
            "): lower n_splits or add images",
            n_splits, class_called(names, sorted[largest->begin].label, called, sizeof called),
            largest->count);
    for (int64_t c = 0; c < classes; c++)
        if (runs[c].count < n_splits)
            sc_warn(log,
                    "%s has %" PRId64 " sample%s, fewer than n_splits = %d: some folds validate "
                    "without it",
                    class_called(names, sorted[runs[c].begin].label, called, sizeof called),
                    runs[c].count, runs[c].count == 1 ? "" : "s", n_splits);
    return SC_OK;
}

/* numpy's legacy shuffle: from the end, one interval draw a swap. */
static void shuffle(sc_mt19937 *mt, int32_t *a, int64_t n)
{
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t j = sc_mt19937_interval(mt, (uint32_t)i);
        const int32_t t = a[i];
        a[i] = a[j];
        a[j] = t;
    }
}

/* fold_of[i] for every sample; `deal` has room for the largest class. */
static void deal_folds(const labelled *sorted, const class_run *runs, int64_t classes, int n_splits,
                       uint32_t random_state, int32_t *deal, int32_t *fold_of)
{
    sc_mt19937 mt;
    int64_t position = 0; /* of the class in the sorted layout of encoded labels */
    sc_mt19937_seed(&mt, random_state);
    for (int64_t c = 0; c < classes; c++) {
        const int64_t begin = position, end = position + runs[c].count;
        int64_t k = 0;
        for (int f = 0; f < n_splits; f++) {
            const int64_t skip = (f - begin % n_splits + n_splits) % n_splits;
            for (int64_t p = begin + skip; p < end; p += n_splits)
                deal[k++] = f;
        }
        shuffle(&mt, deal, runs[c].count);
        for (int64_t i = 0; i < runs[c].count; i++)
            fold_of[sorted[runs[c].begin + i].index] = deal[i];
        position = end;
    }
}

static sc_status gather_fold(const int32_t *fold_of, int64_t n, int f, sc_fold *out)
{
    int64_t t = 0, v = 0;
    for (int64_t i = 0; i < n; i++)
        v += fold_of[i] == f;
    out->val_count = v;
    out->train_count = n - v;
    out->val = sc_alloc((size_t)v, sizeof *out->val);
    out->train = sc_alloc((size_t)(n - v), sizeof *out->train);
    if (!out->val || !out->train)
        return SC_ENOMEM;
    v = 0;
    for (int64_t i = 0; i < n; i++) {
        if (fold_of[i] == f)
            out->val[v++] = i;
        else
            out->train[t++] = i;
    }
    return SC_OK;
}

sc_status sc_folds_make(const int32_t *labels, int64_t n, const char *const *class_names,
                        int n_splits, uint32_t random_state, const sc_log *log, sc_fold **out)
{
    sc_status status = SC_OK;
    labelled *sorted = NULL;
    class_run *runs = NULL;
    int32_t *deal = NULL, *fold_of = NULL;
    sc_fold *folds = NULL;
    int64_t classes;

    *out = NULL;
    if (n_splits < 2)
        return sc_fail(SC_EUSAGE, "n_splits is %d: cross-validation needs at least 2", n_splits);
    if (n < n_splits)
        return sc_fail(SC_EUSAGE,
                       "n_splits is %d, but there %s only %" PRId64
                       " sample%s: lower n_splits or add images",
                       n_splits, n == 1 ? "is" : "are", n, n == 1 ? "" : "s");
    if (n > INT32_MAX)
        return sc_fail(SC_EUNSUPPORTED, "%" PRId64 " samples are more than folds can hold (2^31-1)",
                       n);
    sorted = sc_alloc((size_t)n, sizeof *sorted);
    runs = sc_alloc((size_t)n, sizeof *runs);
    deal = sc_alloc((size_t)n, sizeof *deal);
    fold_of = sc_alloc((size_t)n, sizeof *fold_of);
    folds = sc_alloc((size_t)n_splits, sizeof *folds);
    if (!sorted || !runs || !deal || !fold_of || !folds) {
        status = SC_ENOMEM;
        goto done;
    }
    for (int64_t i = 0; i < n; i++)
        sorted[i] = (labelled){labels[i], i};
    qsort(sorted, (size_t)n, sizeof *sorted, compare_labelled);
    classes = find_classes(sorted, n, runs);
    SC_TRY_GOTO(check_counts(sorted, runs, classes, class_names, n_splits, log));
    deal_folds(sorted, runs, classes, n_splits, random_state, deal, fold_of);
    for (int f = 0; f < n_splits; f++)
        SC_TRY_GOTO(gather_fold(fold_of, n, f, &folds[f]));
    *out = folds;
    folds = NULL;
done:
    sc_folds_free(folds, n_splits);
    free(fold_of);
    free(deal);
    free(runs);
    free(sorted);
    return status;
}

void sc_folds_free(sc_fold *f, int n_splits)
{
    if (!f)
        return;
    for (int i = 0; i < n_splits; i++) {
        free(f[i].train);
        free(f[i].val);
    }
    free(f);
}
