/* Every distinct convolution of an encoder's training step, found by compiling its graph for a
 * backend that only listens.
 */
#ifndef SC_TESTS_CUDA_ENCODER_CONVS_H
#define SC_TESTS_CUDA_ENCODER_CONVS_H

#include "dnn.h"

enum { MOST_CONVS = 512 };
typedef struct conv_list {
    dnn_conv conv[MOST_CONVS]; /* bf16; all three passes where wanted */
    int count;
} conv_list;
/* Adds those of `encoder` at 224 px that are not there yet. */
sc_status encoder_convs(const char *encoder, int batch, conv_list *out);

#endif
