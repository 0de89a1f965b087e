#include "blas.h"

#include <stdlib.h>

#include "libraries.h"

/* cublasLtMatmulAlgo_t and cublasLtMatmulHeuristicResult_t. */
typedef struct blas_algorithm {
    uint64_t data[8];
} blas_algorithm;
typedef struct blas_result {
    blas_algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
} blas_result;

typedef struct blas_api {
    size_t (*version)(void);
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*desc_new)(void **out, int compute, int scale);
    int (*desc_free)(void *desc);
    int (*desc_set)(void *desc, int name, const void *value, size_t bytes);
    int (*layout_new)(void **out, int type, uint64_t rows, uint64_t cols, int64_t ld);
    int (*layout_free)(void *layout);
    int (*prefer_new)(void **out);
    int (*prefer_free)(void *p);
    int (*prefer_set)(void *p, int name, const void *value, size_t bytes);
    int (*heuristic)(void *handle, void *desc, void *a, void *b, void *c, void *d, void *prefer,
                     int asked, blas_result *results, int *found);
    int (*multiply)(void *handle, void *desc, const void *alpha, const void *a, void *a_layout,
                    const void *b, void *b_layout, const void *beta, const void *c, void *c_layout,
                    void *d, void *d_layout, const blas_algorithm *algorithm, void *workspace,
                    size_t workspace_bytes, void *stream);
} blas_api;

struct blas {
    blas_api api;
    void *handle;
};
struct blas_product {
    void *desc, *layout[3];
    const void *a, *b;
    void *d;
    float beta;
    blas_algorithm algorithm;
};

static sc_status check(int status, const char *what)
{
    if (status == 0)
        return SC_OK;
    return sc_fail(status == BLAS_OUT_OF_MEMORY ? SC_ENOMEM : SC_EINTERNAL,
                   "cuda: cuBLASLt: %s: status %d", what, status);
}
static sc_status load(blas_api *out)
{
    static const char what[] = "cuBLASLt (libcublasLt.so.13 or .12)";
    void *library = NULL;
    SC_TRY(cuda_blas_library(what, &library));
    const struct {
        const char *name;
        void *function;
    } wanted[] = {
        {"cublasLtGetVersion", &out->version},
        {"cublasLtCreate", &out->create},
        {"cublasLtDestroy", &out->destroy},
        {"cublasLtMatmulDescCreate", &out->desc_new},
        {"cublasLtMatmulDescDestroy", &out->desc_free},
        {"cublasLtMatmulDescSetAttribute", &out->desc_set},
        {"cublasLtMatrixLayoutCreate", &out->layout_new},
        {"cublasLtMatrixLayoutDestroy", &out->layout_free},
        {"cublasLtMatmulPreferenceCreate", &out->prefer_new},
        {"cublasLtMatmulPreferenceDestroy", &out->prefer_free},
        {"cublasLtMatmulPreferenceSetAttribute", &out->prefer_set},
        {"cublasLtMatmulAlgoGetHeuristic", &out->heuristic},
        {"cublasLtMatmul", &out->multiply},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        SC_TRY(cuda_symbol(library, what, wanted[i].name, wanted[i].function));
    return SC_OK;
}
sc_status blas_open(blas **out)
{
    blas_api api;
    *out = NULL;
    SC_TRY(load(&api));
    blas *b = sc_alloc(1, sizeof *b);
    if (b == NULL)
        return SC_ENOMEM;
    b->api = api;
    sc_cuda_hold_recordings();
    const int failed = api.create(&b->handle);
    sc_cuda_release_recordings();
    const sc_status status = check(failed, "no handle");
    if (status != SC_OK)
        free(b);
    else
        *out = b;
    return status;
}
void blas_close(blas *b)
{
    if (b == NULL)
        return;
    sc_cuda_hold_recordings();
    (void)b->api.destroy(b->handle);
    sc_cuda_release_recordings();
    free(b);
}

static int type_of(sc_cuda_type t)
{
    return t == SC_CUDA_BF16 ? BLAS_REAL_BF16 : BLAS_REAL_F32;
}
static sc_status set_desc(const blas *b, void *desc, int name, const void *value, size_t bytes)
{
    return check(b->api.desc_set(desc, name, value, bytes), "describing a product");
}
static sc_status describe(blas *b, const blas_matrix *const m[3], const void *bias, blas_product *p)
{
    const int turn_a = m[0]->turned ? BLAS_TURNED : BLAS_AS_IT_IS;
    const int turn_b = m[1]->turned ? BLAS_TURNED : BLAS_AS_IT_IS;
    const uint32_t epilogue = bias != NULL ? BLAS_EPILOGUE_BIAS : BLAS_EPILOGUE_NONE;
    SC_TRY(check(b->api.desc_new(&p->desc, BLAS_COMPUTE_F32, BLAS_REAL_F32), "a product"));
    SC_TRY(set_desc(b, p->desc, BLAS_DESC_TURN_A, &turn_a, sizeof turn_a));
    SC_TRY(set_desc(b, p->desc, BLAS_DESC_TURN_B, &turn_b, sizeof turn_b));
    SC_TRY(set_desc(b, p->desc, BLAS_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    if (bias != NULL) { /* before the heuristics: they look at its alignment */
        const int type = type_of(m[2]->type);
        SC_TRY(set_desc(b, p->desc, BLAS_DESC_BIAS, &bias, sizeof bias));
        SC_TRY(set_desc(b, p->desc, BLAS_DESC_BIAS_TYPE, &type, sizeof type));
    }
    for (int i = 0; i < 3; i++)
        SC_TRY(check(b->api.layout_new(&p->layout[i], type_of(m[i]->type), (uint64_t)m[i]->rows,
                                       (uint64_t)m[i]->cols, m[i]->rows),
                     "a matrix"));
    return SC_OK;
}
static sc_status choose(blas *b, blas_product *p)
{
    static const int sides[] = {BLAS_PREFER_ALIGNMENT_A, BLAS_PREFER_ALIGNMENT_B,
                                BLAS_PREFER_ALIGNMENT_C, BLAS_PREFER_ALIGNMENT_D};
    enum { ASKED = 8 }; /* the first that can run */
    const size_t workspace = BLAS_WORKSPACE;
    const uint32_t reduction = BLAS_REDUCTION_NONE, alignment = BLAS_ALIGNMENT;
    void *prefer = NULL;
    blas_result results[ASKED];
    int found = 0, best = 0;
    sc_status status = SC_OK;
    SC_TRY_GOTO(check(b->api.prefer_new(&prefer), "preferences"));
    SC_TRY_GOTO(
        check(b->api.prefer_set(prefer, BLAS_PREFER_WORKSPACE, &workspace, sizeof workspace),
              "preferences"));
    SC_TRY_GOTO(
        check(b->api.prefer_set(prefer, BLAS_PREFER_REDUCTION, &reduction, sizeof reduction),
              "preferences"));
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++)
        SC_TRY_GOTO(check(b->api.prefer_set(prefer, sides[i], &alignment, sizeof alignment),
                          "preferences"));
    const int failed = b->api.heuristic(b->handle, p->desc, p->layout[0], p->layout[1],
                                        p->layout[2], p->layout[2], prefer, ASKED, results, &found);
    if (failed != 0)
        found = 0;
    while (best < found && (results[best].state != 0 || results[best].workspace > workspace))
        best++;
    if (best < found)
        p->algorithm = results[best].algorithm;
    else
        status = sc_fail(SC_EUNSUPPORTED, "cuda: cuBLASLt %zu has no algorithm (status %d)",
                         b->api.version(), failed != 0 || found == 0 ? failed : results[0].state);
done:
    if (prefer != NULL)
        (void)b->api.prefer_free(prefer);
    return status;
}
sc_status blas_product_new(blas *b, const blas_matrix *x, const blas_matrix *y,
                           const blas_matrix *d, bool add, const void *bias, blas_product **out)
{
    const blas_matrix *const m[3] = {x, y, d};
    const void *const at[4] = {x->p, y->p, d->p, bias};
    sc_status status = SC_OK;
    *out = NULL;
    for (int i = 0; i < 4; i++)
        if ((uintptr_t)at[i] % BLAS_ALIGNMENT != 0 || (i < 3 && at[i] == NULL))
            return sc_fail(SC_EINTERNAL, "cuda: a product's matrix %d lies at %p", i, at[i]);
    blas_product *p = sc_alloc(1, sizeof *p);
    if (p == NULL)
        return SC_ENOMEM;
    p->a = x->p;
    p->b = y->p;
    p->d = (void *)(uintptr_t)d->p;
    p->beta = add ? 1.0f : 0.0f;
    SC_TRY_GOTO(describe(b, m, bias, p));
    SC_TRY_GOTO(choose(b, p));
    *out = p;
done:
    if (status != SC_OK) {
        blas_product_free(b, p);
        sc_fail_prefix(status, "a product %lld x %lld of sums over %lld", (long long)d->rows,
                       (long long)d->cols, (long long)(x->turned ? x->rows : x->cols));
    }
    return status;
}
void blas_product_free(blas *b, blas_product *p)
{
    if (p == NULL)
        return;
    for (int i = 0; i < 3; i++)
        if (p->layout[i] != NULL)
            (void)b->api.layout_free(p->layout[i]);
    if (p->desc != NULL)
        (void)b->api.desc_free(p->desc);
    free(p);
}
sc_status blas_product_run(blas *b, const blas_product *p, void *workspace, void *stream)
{
    const float one = 1.0f;
    return check(b->api.multiply(b->handle, p->desc, &one, p->a, p->layout[0], p->b, p->layout[1],
                                 &p->beta, p->d, p->layout[2], p->d, p->layout[2], &p->algorithm,
                                 workspace, BLAS_WORKSPACE, stream),
                 "a product");
}
