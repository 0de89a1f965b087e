/* Whole training steps of a SuperCLIP model on a backend, from fixed pictures, texts and initial
 * values: what gpu_check compares and times.
 */
#ifndef SC_TEST_CUDA_CHECK_STEP_H
#define SC_TEST_CUDA_CHECK_STEP_H

#include "superclip/model.h"

typedef struct step_size {
    const char *image, *text;
    int batch, size, classes, length, vocabulary, embed;
} step_size;

typedef struct stepper {
    step_size what;
    sc_device *d;
    sc_graph *g;
    sc_params *p;
    sc_comm *alone;
    sc_program *program;
    sc_profile *profile; /* NULL: not asked for */
} stepper;

typedef struct step_how {
    const sc_backend *backend;
    sc_precision_mode precision;
    int threads;
    bool eager;   /* nothing is recorded */
    bool profile; /* ops are timed one by one */
    const sc_log *log;
} step_how;

/* Ready for the first step; close it whatever it returns. SC_EUNSUPPORTED when the device gives
 * another precision than the one wanted. */
sc_status stepper_open(const step_size *what, const step_how *how, stepper *out);
void stepper_close(stepper *s);
/* One step as the trainer has them; a device that queues its work may still be at it. */
sc_status stepper_step(stepper *s);
sc_status stepper_wait(stepper *s);
/* Forward and backward without an update: gradients (free them) and losses. */
sc_status stepper_gradients(stepper *s, sc_tensor_set *gradients, double losses[3]);
sc_status stepper_losses(stepper *s, double losses[3]);

/* How far gradients are from others: of all as one vector, and of the tensor that is worst, where
 * one much shorter than the whole counts as a hundredth of it (a bias in front of a BatchNorm has
 * none but rounding). Differing names: SC_EINTERNAL. */
typedef struct gradient_distance {
    double whole, worst;
    char name[160]; /* of the worst */
} gradient_distance;
sc_status gradients_apart(const sc_tensor_set *got, const sc_tensor_set *want,
                          gradient_distance *out);
/* Appends "name error, " of the first `most` tensors that are off by more than the bound. */
void gradients_off(const sc_tensor_set *got, const sc_tensor_set *want, double bound, int most,
                   sc_text *out);

#endif
