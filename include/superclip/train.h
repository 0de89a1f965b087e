/* train: one (config, fold) job, data-parallel over the ranks of a group, from fresh or from its
 * checkpoint to its last epoch. Knows epochs, not operators; takes plain options and callbacks.
 */
#ifndef SUPERCLIP_TRAIN_H
#define SUPERCLIP_TRAIN_H

#include "superclip/base.h"
#include "superclip/comm.h"
#include "superclip/data.h"
#include "superclip/jobs.h"
#include "superclip/model.h"

typedef struct sc_train_text { /* one class's texts as token ids, start and end included */
    char *const *texts;
    int32_t *const *ids;
    const int *lengths;
    int count;
} sc_train_text;

/* Data sets kept in a device's memory: uploaded by the first job that wants one, shared by all jobs of this
 * process on that GPU, and given up for another set when no job uses it. A job's results are the same bytes
 * with and without. Thread-safe but for open and close, around all jobs. */
typedef struct sc_resident sc_resident;
/* d: nobody else's, outlives it. room: bytes the data may take. required: SC_EUSAGE where it does not fit,
 * instead of a log line and reading it batch by batch. SC_EUNSUPPORTED on a device that keeps no data. */
sc_status sc_resident_open(sc_device *d, size_t room, bool required, sc_resident **out);
void sc_resident_close(sc_resident *r); /* NULL is fine */
/* Bytes of the rows that jobs with or without augmentation read. */
size_t sc_resident_bytes(const sc_dataset *d, bool augment);

/* Everything a job needs, filled by app; all pointers outlive the call. */
typedef struct sc_train_options {
    /* the job */
    const char *dir;           /* <config dir>/fold_k: exists; the leader writes here */
    int fold;                  /* from 1 */
    const char *identity;      /* JSON; a checkpoint of another identity is refused */
    const char *unknown;       /* keys of it that are not known and not compared, a space between them; or NULL */
    const char *config_json;   /* the resolved config, goes into checkpoints */
    /* data */
    sc_dataset *dataset;
    sc_resident *resident;     /* NULL: rows are read batch by batch */
    const sc_fold *split;
    const sc_train_text *class_texts; /* [classes] */
    /* model */
    const char *image_encoder, *text_encoder;
    int embed_dim, img_size, vocabulary, context;
    double temperature;
    bool freeze_image, freeze_text, freeze_bn, sync_bn;
    /* Where a job that starts afresh has its weights from; a resumed one reads none of them. A state dict of
     * the whole model in a file of any format (sc_weights_open); NULL: random, but for a tower whose published
     * weights are named (sc_pretrained_open). Every rank reads the files itself. */
    const char *init_from, *image_weights, *text_weights;
    /* optimisation */
    int batch_size, epochs;
    double learning_rate, weight_decay;
    uint64_t random_state;
    bool augment;              /* standard */
    bool weighted_sampling;
    sc_weight_method weight_method;
    double weight_smooth;
    bool weighted_loss;        /* class_weights: train */
    sc_loss_attrs loss;        /* tau0 = temperature */
    /* evaluation and stopping */
    bool save_best;
    const char *best_metric;
    int patience;              /* -1: off */
    double min_delta;
    const char *monitor;
    /* running */
    int loader_threads;
    double checkpoint_interval_s;
    bool restart;              /* ignore checkpoints */
    const char *resume_from;   /* NULL: dir/checkpoint_latest.pth when it is there; wins over restart */
    int dump_steps;            /* 0: off; the first steps of this run, dump_dir/step_0001.safetensors ... */
    const char *dump_dir;      /* made when it is not there; tests/oracle/replay_steps.py reads it */
    bool profile;              /* tell where the time of this run's first epoch goes: log, dir/profile.json */
    bool no_graph;             /* on a GPU: queue a step's work anew each time, do not record and replay it */
    const sc_log *log;
} sc_train_options;

typedef struct sc_batch_progress {
    bool validating;
    int epoch, epochs;         /* epoch from 1 */
    int64_t batch, batches;    /* batch from 1 */
    double loss, class_loss, contrastive_loss, acc; /* of this batch / running accuracy, percent */
    bool superclip;
} sc_batch_progress;
typedef struct sc_train_events {
    void *ctx;
    void (*batch)(void *ctx, const sc_batch_progress *p); /* on every rank of the group */
    void (*epoch)(void *ctx, int epoch, int epochs, const sc_epoch_metrics *m, bool is_best);
    /* asked at every step on every rank, in validation too; true on any rank stops the group:
     * checkpoint, SC_EINTERRUPTED */
    bool (*stop)(void *ctx);
} sc_train_events;

typedef struct sc_train_result {
    sc_history history;
    sc_best best;
    sc_fold_result fold;
    bool stopped_early, resumed;
} sc_train_result;

/* Collective over comm; every rank gets the same status and message. On success dir holds
 * checkpoint_best.pth (with save_best), checkpoint_latest.pth, history.json, timing.json and
 * val_predictions.csv; rank 0 of comm writes. While a job runs, checkpoint_latest.prev.pth is the
 * checkpoint before the latest: a damaged latest is named in a warning and the job goes on from there;
 * SC_EFORMAT when neither is whole. SC_EINTERRUPTED: stopped as asked, checkpoint_latest holds the step.
 * SC_ENUMERIC: a loss or parameter is not finite, or the temperature <= 0; the last good files stay.
 * SC_ECOMM: the group is broken (also when one rank fails alone inside a step): end the world. */
sc_status sc_train_job(const sc_train_options *o, sc_device *device, const sc_comm *comm,
                       const sc_train_events *events, sc_train_result *out);
void sc_train_result_free(sc_train_result *r);
/* True, with the result read back, when dir holds a finished job of this identity and at least
 * `epochs` epochs (or one that early stopping ended). A mismatch of identity: SC_EUSAGE naming keys;
 * another fold's checkpoint: SC_EUSAGE too.
 * A damaged file: not finished; sc_train_job tells of it. Reads the whole checkpoint. */
sc_status sc_train_finished(const sc_train_options *o, bool *finished, sc_train_result *out);
/* Judges resume_from, else init_from, else the published weights while nothing is written yet: the files, the
 * names and shapes of their tensors and, for resume_from, state, settings and fold. Only the model's options,
 * identity and fold are looked at. Messages and codes are those of sc_train_job. */
sc_status sc_train_check_start(const sc_train_options *o);
/* Predicted bytes a rank needs, from compiled graphs without running anything. */
sc_status sc_train_memory(const sc_train_options *o, sc_device *device, int ranks, size_t *bytes);

/* ---- for evaluation and for prediction ----------------------------------------------------------- */
/* Class texts as the arrays that the text tower eats. */
typedef struct sc_text_batch {
    int texts, length; /* rows and columns of tokens */
    int32_t *tokens;   /* [texts][length], 0 behind a text's end */
    int32_t *end;      /* [texts]: position of the end token */
    int32_t *group;    /* [texts]: class */
    sc_text_pack pack; /* the same for causal towers */
} sc_text_batch;
sc_status sc_text_batch_make(const sc_train_text *texts, const char *const *class_names, int classes,
                             int context, sc_text_batch *out);
void sc_text_batch_free(sc_text_batch *b);
void sc_softmax(const double *z, int n, double *p);
int sc_best_class(const double *p, int classes); /* the first of the largest */
/* The lines of val_predictions.csv: "path,label,predicted,prob_<class>,..."; label -1: left empty. RFC 4180. */
void sc_predictions_head(const char *const *class_names, int classes, sc_text *csv);
void sc_predictions_row(const char *const *class_names, int classes, const char *path, int label,
                        const double *p, sc_text *csv);

/* ---- metrics (scikit-learn's definitions) ------------------------------------------------------ */
/* probabilities [n,classes]; all results in percent. Macro figures over all classes, 0 where undefined;
 * mAP over the classes present, one-vs-rest, ties grouped. */
typedef struct sc_eval_metrics { double acc, mAP, precision, recall, f1; } sc_eval_metrics;
sc_status sc_eval_metrics_of(const double *probabilities, const int32_t *labels, int64_t n, int classes,
                             sc_eval_metrics *out);
/* sklearn.metrics.average_precision_score of one class. */
double sc_average_precision(const double *scores, const uint8_t *positive, int64_t n);

#endif
