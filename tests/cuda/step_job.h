/* A few training steps of a small SuperCLIP model through programs: a full and a tail batch, and
 * class features and batches without a backward pass in between, as a trainer has them.
 */
#ifndef SC_TESTS_CUDA_STEP_JOB_H
#define SC_TESTS_CUDA_STEP_JOB_H

#include "superclip/model.h"

enum {
    JOB_STEPS = 6,
    JOB_CLASSES = 4,
    JOB_TEXTS = 5,
    JOB_DIM = 64,
    JOB_ROWS = 4,
    JOB_TAIL = 3,
    JOB_EVAL = 3
};
typedef struct step_how {
    const sc_backend *backend;
    sc_precision_mode precision;
    const sc_comm *comm;
    int number; /* of the device */
    bool apart; /* forward and update, waited for, instead of sc_program_step */
    bool eager; /* sc_program_step without recordings */
    bool train_only; /* no class features, nothing evaluated */
    bool freeze_text, freeze_image;
    int steps;   /* at most JOB_STEPS */
    int counted; /* a step after which calls are counted, to the end of the next; 0: none */
    const sc_log *log;
} step_how;
typedef struct step_outcome {
    float losses[JOB_STEPS][3];
    float features[2][JOB_CLASSES][JOB_DIM];             /* after three steps and at the end */
    float evaluated[2][JOB_EVAL][JOB_ROWS][JOB_CLASSES]; /* then, logits */
    uint32_t checksum;                                   /* of the parameters */
    sc_tensor_set values;
    long calls;      /* of the runtime, within the counted step */
    long eval_calls; /* within the last batch evaluated */
    char message[300];
} step_outcome;
/* The losses of a queueing device are read a step late, as its reader should. */
sc_status step_job(const step_how *how, step_outcome *out);

#endif
