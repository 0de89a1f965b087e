/* Private to train: the state of one job on one rank, and what the files of this room offer each
 * other. Every rank of the group holds the same state; `leader` alone writes files.
 */
#ifndef SUPERCLIP_TRAIN_TRAINER_H
#define SUPERCLIP_TRAIN_TRAINER_H

#include "superclip/json.h"
#include "superclip/train.h"
#include "superclip/weights.h"

/* Sums over the batches of one pass. */
typedef struct sc_pass_sums {
    double loss[3]; /* total, class, contrastive */
    int64_t correct, rows, batches;
} sc_pass_sums;

/* What the next step needs beyond parameters and moments: a checkpoint's sc_state. */
typedef struct sc_train_state {
    int epoch;    /* from 0: the epoch in progress; `epochs` once all are done */
    int64_t step; /* batches of its training pass behind us; all of them: validation is next */
    sc_pass_sums sums;
    sc_history history;
    sc_best best;  /* by best_metric */
    sc_best watch; /* by the early-stopping monitor */
    int stale;     /* epochs since `watch` improved */
    bool stopped_early, finished;
} sc_train_state;
void sc_train_state_free(sc_train_state *s);

/* ---- timing.json --------------------------------------------------------------------------- */
typedef struct sc_epoch_timing {
    double train_seconds, val_seconds, images_per_second, step_ms_median, loader_wait_seconds;
} sc_epoch_timing;
typedef struct sc_timing {
    sc_epoch_timing *epochs;
    int count, cap;
    double *step_ms; /* of the epoch in progress, on this run */
    int64_t steps, steps_cap;
} sc_timing;
/* The first `epochs` entries of the file of an earlier run; missing ones are zero. */
sc_status sc_timing_resume(sc_timing *t, const char *dir, int epochs);
void sc_timing_step(sc_timing *t, double seconds);
sc_status sc_timing_epoch(sc_timing *t, const sc_epoch_timing *e); /* fills step_ms_median */
sc_status sc_timing_save(const sc_timing *t, const char *dir);
void sc_timing_free(sc_timing *t);

/* ---- the checkpoint writer: one thread, one file at a time -------------------------------------
 */
typedef struct sc_ckpt_writer sc_ckpt_writer;
sc_status sc_ckpt_writer_open(sc_ckpt_writer **out);
/* Commits a file whose bytes are all written. Waits for the file before this one; returns that
 * one's failure. Takes over file. With prev the file that is at `path` becomes `prev` first,
 * without a moment in which neither is there. */
sc_status sc_ckpt_writer_submit(sc_ckpt_writer *w, sc_atomic_file *file, const char *path,
                                const char *prev);
bool sc_ckpt_writer_busy(sc_ckpt_writer *w);
sc_status sc_ckpt_writer_flush(sc_ckpt_writer *w);
void sc_ckpt_writer_close(sc_ckpt_writer *w); /* waits; NULL is fine */

/* ---- the trainer ----------------------------------------------------------------------------- */
typedef struct sc_pass_programs { /* a pass's full batches and its last, smaller one */
    sc_program *full, *tail;
    int64_t full_rows, tail_rows;
} sc_pass_programs;

/* ---- resident.c: rows that stay on the device -------------------------------------------------
 */
typedef struct sc_resident_rows {
    const sc_row_store *of[2]; /* by sc_row_kind; NULL: not there */
    struct resident_set *set;  /* NULL: nothing was taken */
} sc_resident_rows;
/* For a job that reads `used` samples. Nothing is taken where r is NULL or the data does not fit.
 */
sc_status sc_resident_take(sc_resident *r, sc_dataset *d, int64_t used, bool augment, int threads,
                           const sc_log *log, sc_resident_rows *out);
void sc_resident_give_back(sc_resident *r, sc_resident_rows *rows);

typedef struct sc_late sc_late;
typedef struct sc_trainer {
    const sc_train_options *o;
    sc_device *device;
    const sc_comm *comm;
    const sc_train_events *events;
    bool leader;
    int classes;
    int64_t batch, train_batches, val_batches;
    const int32_t *labels; /* of the data set */

    sc_text_batch texts;
    sc_model_spec spec;
    sc_graph *train_graph, *texts_graph, *eval_graph;
    sc_params *params;
    sc_pass_programs train, eval;
    sc_program *text_program;

    sc_row_source *source;
    sc_resident_rows rows;
    int64_t *train_order, *val_order;
    double *class_weights;   /* [classes] of the loss */
    double *sampler_weights; /* [classes], or NULL: a permutation */

    double *logits;                          /* [batch][classes] of the newest batch */
    double *probabilities;                   /* [val_count][classes], rows as split->val */
    int32_t *val_labels;                     /* [val_count] */
    double *image_features, *class_features; /* newest batch's, [batch][E], [classes][E] */
    void *class_features_raw;                /* the same in the device's element type */

    sc_train_state state;
    sc_timing timing;
    sc_ckpt_writer *writer; /* leader only */
    sc_status writing;      /* newest failure of a write, told at the next step boundary */
    char writing_message[512];
    double last_write; /* sc_now() of the newest checkpoint_latest */
    bool keep_prev;    /* the present checkpoint_latest is damaged: do not let it replace prev */
    bool warned_skip, resumed;
    int dumped;
    sc_late *late;       /* NULL: steps are waited for */
    sc_profile *profile; /* NULL without --profile */
    bool measuring;      /* its clock runs: after the first step, until its tables are told */
    bool measured;
} sc_trainer;

/* programs.c: records and compiles; frees what was made. */
sc_status sc_trainer_spec(const sc_train_options *o, const sc_text_batch *texts,
                          sc_model_spec *out);
sc_status sc_trainer_compile(sc_trainer *t);
void sc_trainer_release_programs(sc_trainer *t);
/* Values of an output as doubles, whatever the device's element type. */
sc_status sc_trainer_read(const sc_trainer *t, sc_program *p, const char *name, double *out,
                          int64_t n);
sc_status sc_trainer_write(const sc_trainer *t, sc_program *p, const char *name, const double *v,
                           int64_t n);
/* Rows, draws and labels, wherever the rows are. */
sc_status sc_trainer_write_batch(const sc_trainer *t, sc_program *p, const sc_batch *b);

/* agree.c: what every rank of the group learns at a step boundary. */
/* Returns the same status, with the same message, on every rank; *stop: some rank asks to stop. */
sc_status sc_trainer_agree(sc_trainer *t, sc_status mine, bool *stop);
/* For what happens between collectives: a rank that fails there alone leaves the others waiting, so
 * its failure becomes one of the communicator. Numbers that are not finite are so on every rank. */
sc_status sc_trainer_inside(const sc_trainer *t, sc_status status);

/* train_pass.c */
double sc_trainer_lr(const sc_train_options *o, int epoch);
sc_status sc_trainer_train_pass(sc_trainer *t);
/* One more batch's losses and hits, its logits in t->logits; SC_ENUMERIC when a loss is not finite.
 */
sc_status sc_trainer_count_batch(sc_trainer *t, const int32_t *labels, int64_t rows,
                                 const char *pass, sc_pass_sums *sums, const double losses[3]);
sc_status sc_trainer_bad_temperature(const sc_trainer *t, int64_t step); /* SC_ENUMERIC */
void sc_trainer_report_batch(const sc_trainer *t, bool validating, int64_t batch, int64_t batches,
                             const sc_pass_sums *sums, const double losses[3]);

/* late.c: batches on a device that queues its work; nothing of it on others */
sc_status sc_late_open(sc_trainer *t); /* when the programs are compiled */
void sc_late_close(sc_late *l);        /* before they go; NULL is fine */
/* Hands a step over and settles the one before. */
sc_status sc_late_step(sc_trainer *t, sc_program *p, const sc_batch *b, const sc_adamw *adamw);
/* Waits for the step that is under way, if any, and counts and reports it. */
sc_status sc_late_settle(sc_trainer *t);

/* The same for a batch of the validation. */
sc_status sc_late_validate(sc_trainer *t, sc_program *p, const sc_batch *b, sc_pass_sums *sums);
sc_status sc_late_settle_validation(sc_trainer *t, sc_pass_sums *sums);

/* evaluate.c */
sc_status sc_trainer_validate(sc_trainer *t, sc_epoch_metrics *m);
/* One more batch's losses, hits and probabilities; its logits are in t->logits. */
sc_status sc_trainer_count_validated(sc_trainer *t, const int64_t *samples, const int32_t *labels,
                                     int64_t rows, sc_pass_sums *sums, const double losses[3]);

/* floors.c: one log line */
sc_status sc_trainer_log_floors(sc_trainer *t);

/* predictions.c */
sc_status sc_trainer_save_predictions(const sc_trainer *t);

/* dump.c: --dump-steps */
typedef struct sc_step_dump sc_step_dump;
sc_status sc_step_dump_begin(sc_trainer *t, const sc_batch *b, sc_step_dump **out);
sc_status sc_step_dump_gradients(sc_trainer *t, sc_program *p, const sc_batch *b, sc_step_dump *d);
sc_status sc_step_dump_finish(sc_trainer *t, const sc_batch *b, sc_step_dump *d);
void sc_step_dump_free(sc_step_dump *d);

/* profile.c: --profile. Nothing without it. */
void sc_trainer_profile_step(sc_trainer *t);  /* a training step is done */
void sc_trainer_profile_epoch(sc_trainer *t); /* an epoch is done and counted */

/* checkpoint_save.c: leader only */
sc_status sc_trainer_save_latest(sc_trainer *t);
sc_status sc_trainer_save_best(sc_trainer *t);
/* Waits for the disk; removes the fallback. */
sc_status sc_trainer_finish_files(sc_trainer *t);

/* checkpoint_load.c */
#define SC_CKPT_LATEST "checkpoint_latest.pth"
#define SC_CKPT_PREV "checkpoint_latest.prev.pth"
#define SC_CKPT_BEST "checkpoint_best.pth"
sc_status sc_trainer_resume(sc_trainer *t);
/* leftovers.c: temporary files of a killed run */
void sc_remove_leftovers(const char *dir);
/* The file, opened, checked (checksums included) and its state parsed: SC_EFORMAT when it cannot be
 * resumed from, SC_EUSAGE when its identity (but for the keys o->unknown) or its fold is
 * another. */
sc_status sc_ckpt_read(const char *path, const sc_train_options *o, sc_pth **file,
                       sc_train_state *state);
/* SC_EIO when the ranks of the group hold different parameters: they read other bytes. Collective.
 */
sc_status sc_trainer_check_replicas(sc_trainer *t);

/* start_weights.c: what a fresh job begins with */
/* Fills the parameters: from init_from, or random ones and published towers over them. Collective.
 */
sc_status sc_trainer_start_weights(sc_trainer *t);
/* Do init_from, or else the published towers, fit the graph's parameters? Reads no tensor. */
sc_status sc_check_start_weights(const sc_train_options *o, const sc_graph *g);

/* state.c: sc_train_state <-> the sc_state dictionary */
sc_object *sc_state_to_object(const sc_trainer *t);
sc_status sc_state_from_object(const char *path, const sc_object *dict, sc_train_state *out);

/* identity.c: SC_EUSAGE naming the keys that differ, and the advice behind them; `unknown` lists
 * keys that are left out, a space between them. */
sc_status sc_identity_check(const char *path, const char *have, const char *want,
                            const char *unknown, const char *advice);
sc_status sc_object_from_json(const char *name, const char *text, sc_object **out);

/* Frees on the way out of a failed open; safe on a zeroed trainer. */
void sc_trainer_close(sc_trainer *t);
/* Buffers and programs, without initial weights, loader and writer. */
sc_status sc_trainer_build(sc_trainer *t, const sc_train_options *o, sc_device *device,
                           const sc_comm *comm, const sc_train_events *events);

#endif
