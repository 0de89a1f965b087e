/* A whole SuperCLIP model of a few hundred parameters, for tests: augment, a residual conv net with
 * BatchNorm, a one-layer text tower with two texts for one class, the loss.
 */
#ifndef SC_TESTS_NN_TINY_MODEL_H
#define SC_TESTS_NN_TINY_MODEL_H

#include "superclip/nn.h"

enum {
    TINY_ROW = 8,
    TINY_CROP = 7,
    TINY_TEXTS = 4,
    TINY_CLASSES = 3,
    TINY_LENGTH = 5,
    TINY_WIDTH = 6,
    TINY_EMBED = 5,
    TINY_VOCABULARY = 11
};

typedef struct tiny_options {
    sc_loss_attrs loss;
    bool freeze_image, freeze_text, running;
    bool twice; /* the image feature has one more consumer */
} tiny_options;
tiny_options tiny_defaults(void);

sc_graph *tiny_graph(const tiny_options *o);

/* One rank's copy of a model with one training program. */
typedef struct tiny {
    sc_device *device;
    sc_graph *graph;
    sc_params *params;
    sc_program *program;
} tiny;
/* rows [c->size]. Seeded parameters, with the temperature at 0.4. */
sc_status tiny_open(const tiny_options *o, const sc_comm *c, const int64_t *rows, bool local_bn,
                    tiny *out);
void tiny_close(tiny *t);
/* Writes the inputs of batch number `batch`: this rank's slice of a seeded global batch. */
sc_status tiny_write(tiny *t, const sc_comm *c, const int64_t *rows, int batch);
/* forward, backward, reduce; the total loss. */
sc_status tiny_gradients(tiny *t, double *loss);

#endif
