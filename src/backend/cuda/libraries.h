/* NVIDIA's libraries, found at run time: the plugin links none of them. */
#ifndef SC_BACKEND_CUDA_LIBRARIES_H
#define SC_BACKEND_CUDA_LIBRARIES_H

#include "superclip/base.h"

/* Opens `soname` from $CUDA_HOME/{lib64,lib,targets/x86_64-linux/lib} when that is set, else as the
 * loader finds it, else from the folder of this code (plugin or program) or its lib folder, else
 * from the packages of the active Python environment ($VIRTUAL_ENV, $CONDA_PREFIX, the python3 of
 * PATH, ~/.local), where PyTorch brings it, else from /usr/local/cuda. The handle is never closed:
 * NVIDIA's libraries keep threads. SC_EUNSUPPORTED: "cuda: cuDNN (libx.so.9) was not found ..." */
sc_status cuda_library(const char *what, const char *soname, void **out);
/* cuBLASLt 13, else 12. */
sc_status cuda_blas_library(const char *what, void **out);
/* One function; SC_EUNSUPPORTED names it and the library. */
sc_status cuda_symbol(void *library, const char *what, const char *name, void *function);

#endif
