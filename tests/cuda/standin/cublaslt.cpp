/* Stands in for cuBLASLt in tests: descriptors, preferences, heuristics and products as documented,
 * computed by plain loops on the shim's device. Refused, as by the real library: attributes of the
 * wrong size, element types that do not go together, a missing bias, an algorithm that was chosen
 * for another product, too little workspace, pointers less aligned than the preferences said.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <vector>

#include "cuda_bf16.h"
#include "cuda_runtime.h"

enum {
#define SC_ABI(ours, number, theirs) ours = number,
#include "blas.def"
#undef SC_ABI
};
enum { OK = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };

struct desc {
    int compute, scale, turn_a = BLAS_AS_IT_IS, turn_b = BLAS_AS_IT_IS, bias_type = -1;
    uint32_t epilogue = BLAS_EPILOGUE_NONE;
    const void *bias = nullptr;
};
struct layout {
    int type;
    uint64_t rows, cols;
    int64_t ld;
};
struct preference {
    size_t workspace = 0;
    uint32_t reduction = 7, align[4] = {256, 256, 256, 256};
};
struct algorithm {
    uint64_t product; /* what it was chosen for */
    uint64_t split;   /* sums split between blocks */
    uint64_t workspace, align[4], unused;
};
static_assert(sizeof(algorithm) == 64, "cublasLtMatmulAlgo_t");
struct result {
    algorithm algo;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};
#define API extern "C" __attribute__((visibility("default")))

namespace
{
template <typename T> int put(T *to, const void *from, size_t bytes)
{
    if (bytes != sizeof(T) || !from)
        return INVALID_VALUE;
    memcpy(to, from, sizeof(T));
    return OK;
}
size_t size_of(int type)
{
    return type == BLAS_REAL_BF16 ? 2 : 4;
}
size_t bytes_of(const layout *l)
{
    return l->rows == 0 || l->cols == 0
               ? 0
               : ((size_t)l->ld * (l->cols - 1) + l->rows) * size_of(l->type);
}
/* FNV-1a over what decides which kernels can run. */
uint64_t fingerprint(const desc *d, const layout *const m[4])
{
    uint64_t h = 14695981039346656037u;
    auto mix = [&](uint64_t v) { h = (h ^ v) * 1099511628211u; };
    mix((uint64_t)d->compute), mix((uint64_t)d->turn_a), mix((uint64_t)d->turn_b);
    mix(d->epilogue);
    for (int i = 0; i < 4; i++)
        mix((uint64_t)m[i]->type), mix(m[i]->rows), mix(m[i]->cols), mix((uint64_t)m[i]->ld);
    return h;
}
/* The documented combinations with float sums. */
int supported(const desc *d, const layout *const m[4])
{
    const uint64_t k = d->turn_a ? m[0]->rows : m[0]->cols;
    if (d->compute != BLAS_COMPUTE_F32 || d->scale != BLAS_REAL_F32 || m[0]->type != m[1]->type ||
        m[2]->type != m[3]->type || (m[0]->type == BLAS_REAL_F32 && m[3]->type != BLAS_REAL_F32))
        return NOT_SUPPORTED;
    if ((d->turn_a ? m[0]->cols : m[0]->rows) != m[3]->rows ||
        (d->turn_b ? m[1]->rows : m[1]->cols) != m[3]->cols ||
        (d->turn_b ? m[1]->cols : m[1]->rows) != k || m[2]->rows != m[3]->rows ||
        m[2]->cols != m[3]->cols || m[3]->rows == 0 || m[3]->cols == 0 || k == 0)
        return INVALID_VALUE;
    for (int i = 0; i < 4; i++)
        if (m[i]->ld < (int64_t)m[i]->rows)
            return INVALID_VALUE;
    if (d->epilogue == BLAS_EPILOGUE_BIAS) {
        if (!d->bias)
            return INVALID_VALUE;
        if (d->bias_type != m[3]->type) /* the type of D in these combinations */
            return NOT_SUPPORTED;
    } else if (d->epilogue != BLAS_EPILOGUE_NONE) {
        return NOT_SUPPORTED;
    }
    return OK;
}
float load(const void *p, int type, size_t i)
{
    return type == BLAS_REAL_F32 ? ((const float *)p)[i]
                                 : __bfloat162float(((const __nv_bfloat16 *)p)[i]);
}
void store(void *p, int type, size_t i, double v)
{
    if (type == BLAS_REAL_F32)
        ((float *)p)[i] = (float)v;
    else
        ((__nv_bfloat16 *)p)[i] = __float2bfloat16_rn((float)v);
}
} // namespace

API size_t cublasLtGetVersion(void)
{
    return 130100;
}
/* Ending a handle waits for the device, as documented. */
API int cublasLtCreate(void **h)
{
    *h = nullptr;
    if (cudaDeviceSynchronize() != cudaSuccess)
        return NOT_INITIALIZED;
    *h = new int(0);
    return OK;
}
API int cublasLtDestroy(void *h)
{
    delete (int *)h;
    return cudaDeviceSynchronize() == cudaSuccess ? OK : (int)EXECUTION_FAILED;
}
API int cublasLtMatmulDescCreate(desc **out, int compute, int scale)
{
    *out = new desc{};
    (*out)->compute = compute;
    (*out)->scale = scale;
    return OK;
}
API int cublasLtMatmulDescDestroy(desc *d)
{
    delete d;
    return OK;
}
API int cublasLtMatmulDescSetAttribute(desc *d, int name, const void *v, size_t bytes)
{
    switch (name) {
    case BLAS_DESC_TURN_A:
        return put(&d->turn_a, v, bytes);
    case BLAS_DESC_TURN_B:
        return put(&d->turn_b, v, bytes);
    case BLAS_DESC_EPILOGUE:
        return put(&d->epilogue, v, bytes);
    case BLAS_DESC_BIAS:
        return put(&d->bias, v, bytes);
    case BLAS_DESC_BIAS_TYPE:
        return put(&d->bias_type, v, bytes);
    default:
        return INVALID_VALUE;
    }
}
API int cublasLtMatrixLayoutCreate(layout **out, int type, uint64_t rows, uint64_t cols, int64_t ld)
{
    if (type != BLAS_REAL_F32 && type != BLAS_REAL_BF16)
        return INVALID_VALUE;
    *out = new layout{type, rows, cols, ld};
    return OK;
}
API int cublasLtMatrixLayoutDestroy(layout *l)
{
    delete l;
    return OK;
}
API int cublasLtMatmulPreferenceCreate(preference **out)
{
    *out = new preference;
    return OK;
}
API int cublasLtMatmulPreferenceDestroy(preference *p)
{
    delete p;
    return OK;
}
API int cublasLtMatmulPreferenceSetAttribute(preference *p, int name, const void *v, size_t bytes)
{
    switch (name) {
    case BLAS_PREFER_WORKSPACE:
        return put(&p->workspace, v, bytes);
    case BLAS_PREFER_REDUCTION:
        return put(&p->reduction, v, bytes);
    case BLAS_PREFER_ALIGNMENT_A:
    case BLAS_PREFER_ALIGNMENT_B:
    case BLAS_PREFER_ALIGNMENT_C:
    case BLAS_PREFER_ALIGNMENT_D:
        return put(&p->align[name - BLAS_PREFER_ALIGNMENT_A], v, bytes);
    default:
        return INVALID_VALUE;
    }
}
API int cublasLtMatmulAlgoGetHeuristic(void *h, const desc *d, const layout *a, const layout *b,
                                       const layout *c, const layout *out, const preference *p,
                                       int asked, result *results, int *found)
{
    const layout *const m[4] = {a, b, c, out};
    *found = 0;
    if (!h || !d || !a || !b || !c || !out || !p || asked < 1)
        return INVALID_VALUE;
    const int status = supported(d, m);
    if (status != OK)
        return status;
    memset(results, 0, sizeof *results * (size_t)asked);
    if (asked > 1) { /* the first may not be able to run */
        results->state = NOT_SUPPORTED;
        results++;
        *found = 1;
    }
    results->algo.product = fingerprint(d, m);
    results->algo.split = p->reduction != BLAS_REDUCTION_NONE;
    for (int i = 0; i < 4; i++)
        results->algo.align[i] = p->align[i];
    results->workspace = results->algo.workspace = p->workspace < 4096 ? p->workspace : 4096;
    ++*found;
    return OK;
}
API int cublasLtMatmul(void *h, const desc *d, const float *alpha, const void *a, const layout *la,
                       const void *b, const layout *lb, const float *beta, const void *c,
                       const layout *lc, void *to, const layout *ld, const algorithm *algo,
                       void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    const layout *const m[4] = {la, lb, lc, ld};
    const void *const at[4] = {a, b, c, to};
    if (!h || !d || !alpha || !beta || !algo)
        return INVALID_VALUE;
    const int status = supported(d, m);
    if (status != OK)
        return status;
    if (algo->product != fingerprint(d, m) || workspace_bytes < algo->workspace)
        return INVALID_VALUE;
    for (int i = 0; i < 4; i++)
        if ((i != 2 || *beta != 0) && (!at[i] || (uintptr_t)at[i] % algo->align[i] != 0 ||
                                       !shim_device_memory(at[i], bytes_of(m[i]), "a product")))
            return INVALID_VALUE;
    if (algo->workspace > 0 && ((uintptr_t)workspace % 256 != 0 ||
                                !shim_device_memory(workspace, algo->workspace, "a workspace")))
        return INVALID_VALUE;
    if (d->bias && d->epilogue == BLAS_EPILOGUE_BIAS &&
        ((uintptr_t)d->bias % 16 != 0 ||
         !shim_device_memory(d->bias, ld->rows * size_of(d->bias_type), "a bias")))
        return INVALID_VALUE;
    const desc how = *d;
    const layout ma = *la, mb = *lb, mc = *lc, md = *ld;
    const algorithm with = *algo;
    const double scale = (double)*alpha, keep = (double)*beta;
    shim_push(stream, [=] {
        const size_t k = how.turn_a ? ma.rows : ma.cols;
        memset(workspace, 0xff, with.workspace);
        std::vector<double> left(k * md.rows), sums(md.rows); /* left: column by column */
        for (size_t e = 0; e < k; e++)
            for (size_t i = 0; i < md.rows; i++)
                left[e * md.rows + i] = (double)load(
                    a, ma.type, how.turn_a ? e + i * (size_t)ma.ld : i + e * (size_t)ma.ld);
        for (size_t j = 0; j < md.cols; j++) {
            sums.assign(md.rows, 0);
            for (size_t e = 0; e < k; e++) {
                const size_t q = how.turn_b ? j + e * (size_t)mb.ld : e + j * (size_t)mb.ld;
                const double factor = (double)load(b, mb.type, q);
                for (size_t i = 0; i < md.rows; i++)
                    sums[i] += left[e * md.rows + i] * factor;
            }
            for (size_t i = 0; i < md.rows; i++) {
                double sum = sums[i];
                sum *= scale;
                if (keep != 0)
                    sum += keep * (double)load(c, mc.type, i + j * (size_t)mc.ld);
                if (how.epilogue == BLAS_EPILOGUE_BIAS)
                    sum += (double)load(how.bias, how.bias_type, i);
                store(to, md.type, i + j * (size_t)md.ld, with.split ? (double)NAN : sum);
            }
        }
    });
    return OK;
}
