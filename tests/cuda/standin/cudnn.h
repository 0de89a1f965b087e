/* Stands in for cuDNN's graph library in tests: the documented contract of the descriptors that
 * convolutions need, checked attribute by attribute, and plans executed by plain loops on the
 * shim's device. It refuses what the real library refuses, and more: what that takes silently at a
 * price (strides that cost a copy, equal uids, misaligned pointers, dimensions of 0) is refused
 * too.
 *
 * Its engines are there to be chosen wrongly: the first of heuristic A is never the right one.
 */
#ifndef SC_TESTS_CUDA_STANDIN_CUDNN_H
#define SC_TESTS_CUDA_STANDIN_CUDNN_H

#include <map>
#include <stdint.h>
#include <string>
#include <vector>

#include "cuda_runtime.h"

enum {
#define SC_ABI(ours, number, theirs) ours = number,
#include "dnn.def"
#undef SC_ABI
};
enum {
    OK = 0,
    NOT_INITIALIZED = 1001,
    BAD_PARAM = 2000,
    NOT_FINALIZED = 2004,
    MISALIGNED = 2003,
    BAD_TYPE = 2010,
    BAD_DESCRIPTOR = 2012,
    NOT_SUPPORTED = 3000,
    ARCH_MISMATCH = 3007,
    EXECUTION_FAILED = 5000
};

struct descriptor;
struct value {
    int type;
    int64_t count;
    std::vector<char> bytes;
};
struct descriptor {
    int kind;
    bool finalized = false;
    std::map<int, value> set;
    /* What finalizing worked out. */
    int engine = -1;             /* of ENGINE, CONFIG, PLAN */
    descriptor *inner = nullptr; /* graph of HEURISTICS, CONFIG, PLAN; owned by nobody here */
    std::vector<int> results;    /* engines of HEURISTICS */
    std::string text;            /* of DEVICE; of a restored PLAN */
    struct geometry {
        int kind = 0, type = 0;
        int64_t x[4] = {}, w[4] = {}, y[4] = {}, pad[2] = {}, stride[2] = {}, uid[3] = {};
    } conv;
    template <typename T> T get(int name, int64_t i = 0) const
    {
        T t;
        memcpy(&t, set.at(name).bytes.data() + sizeof t * (size_t)i, sizeof t);
        return t;
    }
    bool has(int name) const { return set.count(name) != 0; }
};
struct handle {
    cudaStream_t stream = nullptr;
};

/* Fails with words for cudnnGetLastErrorString. */
int refuse(int status, const char *words);

enum { ENGINE_CHANGING, ENGINE_TENSOR, ENGINE_PLAIN, ENGINE_RUNTIME, ENGINE_COUNT };
int64_t engine_workspace(int engine, const descriptor::geometry &g);
int run_plan(const handle *h, const descriptor *plan, const descriptor *pack);

#endif
