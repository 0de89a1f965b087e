/* The door between the program and libsc_cuda.so. Both sides compile this file; the plugin exports
 * one constant, and takes the functions of base and tensor that it uses from the program
 * (exports.txt), so that both have one message, one log and one allocator.
 */
#ifndef SC_BACKEND_CUDA_PLUGIN_H
#define SC_BACKEND_CUDA_PLUGIN_H

#include "superclip/absent.h"
#include "superclip/backend.h"

typedef struct sc_cuda_plugin {
    char version[16]; /* SC_VERSION */
    uint64_t layout;  /* SC_CUDA_LAYOUT */
    const sc_backend *(*backend)(void);
    sc_status (*open_absent)(const sc_device_options *o, const char *gpu, sc_device **out);
} sc_cuda_plugin;
extern const sc_cuda_plugin sc_cuda_plugin_2; /* its name in the library */
#define SC_CUDA_PLUGIN "sc_cuda_plugin_2"

/* Differs when the structs or ops that both sides share differ. */
#define SC_CUDA_LAYOUT                                                               \
    ((uint64_t)sizeof(sc_op_node) ^ (uint64_t)sizeof(sc_backend) << 12 ^             \
     (uint64_t)sizeof(sc_device) << 22 ^ (uint64_t)sizeof(sc_device_options) << 32 ^ \
     (uint64_t)sizeof(sc_comm) << 40 ^ (uint64_t)sizeof(sc_attrs) << 46 ^            \
     (uint64_t)SC_OP_COUNT << 56)

#endif
