/* Which ops the backend has: the others must be refused. */
#ifndef SC_TESTS_CUDA_OPS_HERE_H
#define SC_TESTS_CUDA_OPS_HERE_H

#include "superclip/backend.h"

static inline bool cuda_has(sc_op op)
{
    switch (op) {
    case SC_OP_ACTIVATE:
    case SC_OP_MULTIPLY:
    case SC_OP_DEPTHWISE_CONV2D:
    case SC_OP_CHANNEL_NORM:
    case SC_OP_LAYER_SCALE:
    case SC_OP_SCALE_CHANNELS:
        return false;
    default:
        return true;
    }
}

#endif
