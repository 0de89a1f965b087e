/* The element types of safetensors, in the order its writers lay tensors out (largest first). */
#ifndef SC_WEIGHTS_SAFETENSORS_H
#define SC_WEIGHTS_SAFETENSORS_H

#include "superclip/weights.h"

typedef struct sc_safetensors_type {
    const char *name;
    sc_dtype dtype;
} sc_safetensors_type;

enum { SC_SAFETENSORS_TYPES = 10 };
extern const sc_safetensors_type sc_safetensors_types[SC_SAFETENSORS_TYPES];

#endif
