/* The element types of safetensors, in the order its writers lay tensors out (largest first). */
#ifndef SC_WEIGHTS_SAFETENSORS_H
#define SC_WEIGHTS_SAFETENSORS_H

#include "input_file.h"
#include "superclip/weights.h"

typedef struct sc_safetensors_type {
    const char *name;
    sc_dtype dtype;
} sc_safetensors_type;

enum { SC_SAFETENSORS_TYPES = 10 };
extern const sc_safetensors_type sc_safetensors_types[SC_SAFETENSORS_TYPES];

/* The header, checked: tensors without data in the order of the file, and where their bytes begin.
 * Both belong to the caller, also after a failure. */
sc_status sc_safetensors_list(const sc_input_file *f, sc_tensor_set *set, uint64_t **offsets);

#endif
