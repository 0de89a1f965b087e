/* Convolutions by cuDNN's graph API: one operation a graph, plans chosen once from the heuristics'
 * list, deterministic ones only. Tensors are channels last with channel counts that are multiples
 * of 8: x {n,c,h,w}, w {o,c,k,k}, y {n,o,oh,ow}; all three of one element type, sums in float.
 *
 * A plan does not depend on addresses: node_memory asks for it to learn its workspace, prepare
 * binds it to addresses. What a bfloat16 convolution gives is rounded to bfloat16, weight gradients
 * included, as PyTorch's autocast does. In float no engine may use TF32, FFT or Winograd.
 */
#ifndef SC_BACKEND_CUDA_DNN_H
#define SC_BACKEND_CUDA_DNN_H

#include "kernels.h"
#include "superclip/base.h"

enum {
#define SC_ABI(ours, number, theirs) ours = number,
#include "dnn.def"
#undef SC_ABI
    DNN_OLDEST = 91100 /* 9.11.0: the first with device properties */
};

/* cuDNN's functions; descriptors, handles and streams are pointers, a status is an int. */
typedef struct dnn_api {
    size_t (*version)(void);
    const char *(*error_text)(int status);
    void (*last_error)(char *text, size_t size);
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*set_stream)(void *handle, void *stream);
    int (*descriptor_new)(int type, void **out);
    int (*descriptor_free)(void *descriptor);
    int (*finalize)(void *descriptor);
    int (*set)(void *descriptor, int name, int type, int64_t count, const void *values);
    int (*get)(void *descriptor, int name, int type, int64_t asked, int64_t *count, void *values);
    int (*execute)(void *handle, void *plan, void *pack);
} dnn_api;
/* Finds libcudnn_graph; SC_EUNSUPPORTED with a line that says what is missing or too old. */
sc_status dnn_load(dnn_api *out);

typedef enum dnn_pass { DNN_PASS_FORWARD, DNN_PASS_DATA, DNN_PASS_FILTER } dnn_pass;
typedef struct dnn_conv {
    dnn_pass pass;
    sc_cuda_type type;
    int64_t n, c, h, w, o, oh, ow;
    int64_t kernel, stride, pad;
} dnn_conv;

enum { DNN_KEY = 160 };
#define DNN_MOST_WORKSPACE ((size_t)512 << 20) /* no plan takes more */
typedef struct dnn_plan dnn_plan;
struct dnn_plan {
    dnn_plan *next;
    char key[DNN_KEY]; /* dnn_conv_key */
    void *plan;
    size_t workspace;
    int64_t engine; /* its number; -1: restored from the file */
    bool runtime_compiled;
    uint32_t notes; /* its numerical notes, a bit each */
};

typedef struct dnn_cache dnn_cache;
typedef struct dnn {
    dnn_api api;
    void *handle; /* NULL: plans only */
    void *stream; /* the handle's */
    void *device; /* DEVICEPROP descriptor; with a handle it is what plans are kept for */
    dnn_plan *plans;
    dnn_cache *cache; /* may be NULL */
} dnn;

/* cache_folder NULL: plans are not kept. */
sc_status dnn_open(const dnn_api *api, void *stream, const char *cache_folder, const sc_log *log,
                   dnn **out);
/* For a device that is not there: plans can be made, not run. json: cuDNN's device properties. */
sc_status dnn_open_planner(const dnn_api *api, const char *json, const char *cache_folder,
                           dnn **out);
void dnn_close(dnn *d); /* NULL is fine */

/* The plan lives as long as d. SC_EUNSUPPORTED: no deterministic engine. */
sc_status dnn_plan_for(dnn *d, const dnn_conv *c, const dnn_plan **out);
/* Binds addresses, 16-byte aligned; workspace has the plan's bytes. x, w, y: by role, so pass DATA
 * writes x and pass FILTER writes w. */
sc_status dnn_bind(dnn *d, void *x, void *w, void *y, void *workspace, void **pack);
void dnn_unbind(dnn *d, void *pack); /* NULL is fine */
sc_status dnn_run(dnn *d, const dnn_plan *p, void *pack, void *stream);
/* Writes new plans to the cache file; a failure is told once and harms nothing. */
void dnn_keep_plans(dnn *d, const sc_log *log);

/* ---- between the files of this wrapper ---- */
/* "forward bf16 n32 c64 h56 w56 o64 k3 s1 p1" */
void dnn_conv_key(const dnn_conv *c, char key[DNN_KEY]);
sc_status dnn_check(const dnn *d, int status, const char *what);
/* A graph and the descriptors it is made of. */
typedef struct dnn_graph {
    void *tensor[3], *conv, *op, *graph;
} dnn_graph;
sc_status dnn_graph_build(const dnn *d, const dnn_conv *c, dnn_graph *out);
void dnn_graph_free(const dnn *d, dnn_graph *g);
sc_status dnn_choose(const dnn *d, const dnn_conv *c, const dnn_graph *g, dnn_plan *out);
sc_status dnn_restore(const dnn *d, const char *json, dnn_plan *out);
sc_status dnn_plan_json(const dnn *d, const dnn_plan *p, char **json); /* caller frees */

/* A text file of plans by key: cache_get's text belongs to the cache. profile names what plans are
 * bound to: cuDNN's version and the device. A missing, damaged or foreign file is an empty one. */
sc_status dnn_cache_open(const char *folder, const char *profile, dnn_cache **out);
const char *dnn_cache_get(const dnn_cache *c, const char *key);
sc_status dnn_cache_put(dnn_cache *c, const char *key, const char *json);
sc_status dnn_cache_write(dnn_cache *c); /* when something was put */
void dnn_cache_free(dnn_cache *c);

#endif
