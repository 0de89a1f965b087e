/* Compiled into the plugin only, where NVIDIA's headers are: our numbers and structs are theirs. */
#include <cublasLt.h>
#include <cudnn_graph.h>
#if __has_include(<nccl.h>)
#include <nccl.h>
#endif
#include <stddef.h>

#define SC_ABI(ours, number, theirs) _Static_assert((int)(number) == (int)(theirs), #theirs);
#include "blas.def"
#include "dnn.def"
#ifdef NCCL_MAJOR
#include "nccl.def"
/* As peers.c has it: the first members, which never move. */
_Static_assert(offsetof(ncclConfig_t, magic) == 8 && offsetof(ncclConfig_t, version) == 12 &&
                   offsetof(ncclConfig_t, blocking) == 16,
               "ncclConfig_t");
_Static_assert(sizeof(ncclUniqueId) == 128, "ncclUniqueId");
#endif
#undef SC_ABI

/* As blas.c has it. */
typedef struct result {
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
} result;
_Static_assert(sizeof(cublasLtMatmulAlgo_t) == 64, "cublasLtMatmulAlgo_t");
_Static_assert(sizeof(result) == sizeof(cublasLtMatmulHeuristicResult_t), "its size");
_Static_assert(offsetof(result, state) == offsetof(cublasLtMatmulHeuristicResult_t, state),
               "state");
_Static_assert(offsetof(result, workspace) ==
                   offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize),
               "workspace");
_Static_assert(sizeof(cudnnStatus_t) == sizeof(int) && sizeof(cublasStatus_t) == sizeof(int),
               "a status is an int");
