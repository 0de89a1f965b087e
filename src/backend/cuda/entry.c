/* The plugin's side of its door. */
#include "cuda.h"
#include "plugin.h"

__attribute__((visibility("default"))) const sc_cuda_plugin sc_cuda_plugin_2 = {
    SC_VERSION, SC_CUDA_LAYOUT, sc_backend_cuda, cuda_open_absent};
