/* jobs: what there is to do, who does it, and the arithmetic of results. Pure functions.
 */
#ifndef SUPERCLIP_JOBS_H
#define SUPERCLIP_JOBS_H

#include "superclip/base.h"
#include "superclip/json.h"

/* ---- histories ---------------------------------------------------------------------------- */
typedef struct sc_epoch_metrics { /* accuracies, mAP, precision, recall, F1 in percent */
    double train_loss, train_acc, val_loss, val_acc, val_mAP, val_precision, val_recall, val_f1;
    double train_class_loss, train_contrastive_loss, val_class_loss, val_contrastive_loss;
    double lr;
} sc_epoch_metrics;
typedef struct sc_history { sc_epoch_metrics *epochs; int count, cap; } sc_history;
sc_status sc_history_push(sc_history *h, const sc_epoch_metrics *m);
void sc_history_free(sc_history *h);
/* history.json: one list a key; the four part losses only with superclip. */
sc_status sc_history_save(const sc_history *h, bool superclip, const char *path);
/* Also into an open object (for sc_state), and back from it. On failure nothing needs freeing. */
void sc_history_write(const sc_history *h, bool superclip, sc_json_writer *w);
sc_status sc_history_read(const sc_json_doc *doc, const sc_json *object, bool superclip,
                          sc_history *out);

/* ---- best epoch and early stopping ---------------------------------------------------------- */
/* Value of a named metric ("val_loss", "val_acc", "val_mAP"); *up: larger is better. */
double sc_metric_value(const sc_epoch_metrics *m, const char *name, bool *up);
typedef struct sc_best { bool any; double value; int epoch; } sc_best; /* epoch from 0 */
/* True when m is a strict improvement of more than min_delta; then b takes it. */
bool sc_best_update(sc_best *b, const char *metric, double min_delta, int epoch,
                    const sc_epoch_metrics *m);

/* ---- fold results and the summary ------------------------------------------------------------ */
typedef struct sc_fold_result {
    int config, fold; /* fold from 1 */
    bool failed;
    double train_loss, train_acc, val_loss, val_acc, val_mAP; /* of the last epoch */
    double best_val_acc, best_val_mAP, best_precision, best_recall, best_f1;
    int best_epoch; /* from 1 */
} sc_fold_result;
/* From a finished history and its best epoch (precision, recall, f1 are those of that epoch;
 * best_val_acc and best_val_mAP are those of that epoch too). */
void sc_fold_result_of(const sc_history *h, const sc_best *best, sc_fold_result *out);
/* "config" comes from the caller (already written keys), then fold_results and average_results.
 * Failed folds are left out; when there are any, "failed_folds" lists them and "folds" those whose
 * entries the lists hold, in the same order. */
void sc_summary_write(const sc_fold_result *folds, int count, sc_json_writer *w);

/* ---- the plan ---------------------------------------------------------------------------------
 * A job is a (config, fold) pair; its cost model: what one epoch costs on one rank, and which part of
 * it every rank of a group repeats.
 */
typedef struct sc_job {
    int config, fold; /* fold from 1 */
    bool done;        /* finished in an earlier run: not planned */
    double epochs;    /* left to train */
    double train_rows, val_rows;
    double batch;
    double row_flops;      /* one image, forward; backward counts 2 more */
    double repeated_flops; /* per step whatever the slice: text tower, optimiser */
    double reduced_bytes;  /* per step over the network */
    double collectives;    /* small collectives a step (BatchNorm statistics) */
} sc_job;
typedef struct sc_machine {
    int ranks, ranks_per_node;
    double flops;          /* one rank, sustained */
    double bandwidth;      /* bytes/s of a reduction between two ranks */
    double latency;        /* seconds a small collective between two ranks */
    /* A rank that is a group of its own takes up to `slots` jobs at once (0: one). Each of n jobs there takes
     * 1 + (n - 1) crowding times as long as alone, so that n of them are n / (1 + (n - 1) crowding) times as
     * fast as one after another; 0 <= crowding < 1. */
    int slots;
    double crowding;
} sc_machine;
enum { SC_MOST_SLOTS = 8 };
/* What a GPU's jobs cost each other: 1.6 times the speed of one after another with five small ones, the middle of
 * an estimate of 1.4 to 1.8 (from bytes and operations of ResNet-18 at batch 32; to be replaced by a measurement). */
#define SC_GPU_CROWDING 0.53
/* Jobs that a group of `ranks` takes at once: the machine's slots, or 1. */
int sc_group_slots(const sc_machine *m, int ranks);
/* Seconds one job takes on a group of `ranks`, without company. */
double sc_job_seconds(const sc_job *job, const sc_machine *m, int ranks);

typedef struct sc_plan {
    int groups;
    int *group_size;   /* [groups], sums to at most ranks */
    int *group_of_job; /* [jobs]; -1 done */
    int *order;        /* [jobs not done], longest first: the queue */
    int order_count;
    int *group_of_rank; /* [ranks]; -1 idle */
    double makespan;
    double *start, *seconds; /* [jobs] predicted, with the company they will have */
} sc_plan;
/* The partition and order with the least predicted makespan among those considered (equal groups of
 * every size, and one mixed by greedy improvement); force_group > 0 fixes the group size. `second`,
 * if not NULL, gets the best of another partition. 10^4 jobs on 4096 ranks in under a second. */
sc_status sc_plan_make(const sc_job *jobs, int count, const sc_machine *m, int force_group,
                       sc_plan *best, sc_plan *second);
void sc_plan_free(sc_plan *p);
/* Ranks' share of `rows`: contiguous pieces in rank order, sizes differing by at most one. */
void sc_split_rows(int64_t rows, int ranks, int64_t *share);

#endif
