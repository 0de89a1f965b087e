#include "cudnn.h"

#include <stdio.h>
#include <stdlib.h>

static thread_local std::string last_error;
int refuse(int status, const char *words)
{
    last_error = words;
    return status;
}

/* ---- which attributes there are ---- */
namespace
{
struct rule {
    int kind, name, type;
    int64_t fewest, most;
    bool required;
};
const rule rules[] = {
    {DNN_TENSOR, DNN_TENSOR_TYPE, DNN_T_DATA_TYPE, 1, 1, true},
    {DNN_TENSOR, DNN_TENSOR_DIMS, DNN_T_INT64, 1, 8, true},
    {DNN_TENSOR, DNN_TENSOR_STRIDES, DNN_T_INT64, 1, 8, true},
    {DNN_TENSOR, DNN_TENSOR_UID, DNN_T_INT64, 1, 1, true},
    {DNN_TENSOR, DNN_TENSOR_ALIGNMENT, DNN_T_INT64, 1, 1, true},
    {DNN_CONVOLUTION, DNN_CONV_COMPUTE_TYPE, DNN_T_DATA_TYPE, 1, 1, true},
    {DNN_CONVOLUTION, DNN_CONV_MODE, DNN_T_CONVOLUTION_MODE, 1, 1, true},
    {DNN_CONVOLUTION, DNN_CONV_SPATIAL_DIMS, DNN_T_INT64, 1, 1, true},
    {DNN_CONVOLUTION, DNN_CONV_DILATIONS, DNN_T_INT64, 2, 2, true},
    {DNN_CONVOLUTION, DNN_CONV_STRIDES, DNN_T_INT64, 2, 2, true},
    {DNN_CONVOLUTION, DNN_CONV_PRE_PADDINGS, DNN_T_INT64, 2, 2, true},
    {DNN_CONVOLUTION, DNN_CONV_POST_PADDINGS, DNN_T_INT64, 2, 2, true},
    {DNN_FORWARD, DNN_FORWARD_CONV, DNN_T_DESCRIPTOR, 1, 1, true},
    {DNN_FORWARD, DNN_FORWARD_X, DNN_T_DESCRIPTOR, 1, 1, true},
    {DNN_FORWARD, DNN_FORWARD_W, DNN_T_DESCRIPTOR, 1, 1, true},
    {DNN_FORWARD, DNN_FORWARD_Y, DNN_T_DESCRIPTOR, 1, 1, true},
    {DNN_BACK_DATA, DNN_DATA_CONV, DNN_T_DESCRIPTOR, 1, 1, true},
    {DNN_BACK_DATA, DNN_DATA_W, DNN_T_DESCRIPTOR, 1, 1, true},
    {DNN_BACK_DATA, DNN_DATA_DX, DNN_T_DESCRIPTOR, 1, 1, true},
    {DNN_BACK_DATA, DNN_DATA_DY, DNN_T_DESCRIPTOR, 1, 1, true},
    {DNN_BACK_FILTER, DNN_FILTER_CONV, DNN_T_DESCRIPTOR, 1, 1, true},
    {DNN_BACK_FILTER, DNN_FILTER_X, DNN_T_DESCRIPTOR, 1, 1, true},
    {DNN_BACK_FILTER, DNN_FILTER_DW, DNN_T_DESCRIPTOR, 1, 1, true},
    {DNN_BACK_FILTER, DNN_FILTER_DY, DNN_T_DESCRIPTOR, 1, 1, true},
    {DNN_GRAPH, DNN_GRAPH_OPS, DNN_T_DESCRIPTOR, 1, 100, true},
    {DNN_GRAPH, DNN_GRAPH_HANDLE, DNN_T_HANDLE, 1, 1, false},
    {DNN_HEURISTICS, DNN_HEURISTICS_GRAPH, DNN_T_DESCRIPTOR, 1, 1, true},
    {DNN_HEURISTICS, DNN_HEURISTICS_MODE, DNN_T_HEURISTIC_MODE, 1, 1, true},
    {DNN_HEURISTICS, DNN_HEURISTICS_DEVICE, DNN_T_DESCRIPTOR, 1, 1, false},
    {DNN_PLAN, DNN_PLAN_HANDLE, DNN_T_HANDLE, 1, 1, false},
    {DNN_PLAN, DNN_PLAN_CONFIG, DNN_T_DESCRIPTOR, 1, 1, false},
    {DNN_PLAN, DNN_PLAN_DEVICE, DNN_T_DESCRIPTOR, 1, 1, false},
    {DNN_PLAN, DNN_PLAN_JSON, DNN_T_CHAR, 1, 1 << 20, false},
    {DNN_PACK, DNN_PACK_UIDS, DNN_T_INT64, 1, 100, true},
    {DNN_PACK, DNN_PACK_POINTERS, DNN_T_POINTER, 1, 100, true},
    {DNN_PACK, DNN_PACK_WORKSPACE, DNN_T_POINTER, 1, 1, false},
    {DNN_DEVICE, DNN_DEVICE_HANDLE, DNN_T_HANDLE, 1, 1, false},
    {DNN_DEVICE, DNN_DEVICE_JSON, DNN_T_CHAR, 1, 1 << 20, false},
};
const rule *rule_of(int kind, int name)
{
    for (const rule &r : rules)
        if (r.kind == kind && r.name == name)
            return &r;
    return nullptr;
}
size_t element(int type)
{
    switch (type) {
    case DNN_T_CHAR:
        return 1;
    case DNN_T_DATA_TYPE:
    case DNN_T_CONVOLUTION_MODE:
    case DNN_T_HEURISTIC_MODE:
    case DNN_T_NUMERICAL_NOTE:
        return sizeof(int);
    default:
        return 8;
    }
}
descriptor *child(const descriptor *d, int name, int kind)
{
    descriptor *c = d->get<descriptor *>(name);
    return c && c->kind == kind && c->finalized ? c : nullptr;
}

/* ---- finalizing ---- */
int tensor(descriptor *d)
{
    const int64_t n = d->set.at(DNN_TENSOR_DIMS).count;
    const int type = d->get<int>(DNN_TENSOR_TYPE);
    const int64_t size = type == DNN_FLOAT ? 4 : 2, align = d->get<int64_t>(DNN_TENSOR_ALIGNMENT);
    if (type != DNN_FLOAT && type != DNN_BFLOAT16)
        return refuse(NOT_SUPPORTED, "an element type that is not stood in for");
    if (n != 4 || d->set.at(DNN_TENSOR_STRIDES).count != n)
        return refuse(BAD_PARAM, "_nbDims != _nbStrides");
    if (align <= 0 || align % size != 0)
        return refuse(BAD_PARAM, "_ptrAlignment % sizeofCudnnType(_dataType) != 0");
    int64_t dim[4], stride[4];
    for (int i = 0; i < 4; i++) {
        dim[i] = d->get<int64_t>(DNN_TENSOR_DIMS, i);
        stride[i] = d->get<int64_t>(DNN_TENSOR_STRIDES, i);
        if (dim[i] <= 0)
            return refuse(BAD_PARAM, "a dimension of 0");
    }
    if (stride[1] != 1 || stride[3] != dim[1] || stride[2] != dim[3] * dim[1] ||
        stride[0] != dim[2] * dim[3] * dim[1])
        return refuse(BAD_PARAM, "strides that are not channels last cost a copy");
    if (align < 16 || dim[1] % 8 != 0)
        return refuse(BAD_PARAM, "slow: 16-byte alignment and channels in eights are wanted");
    return OK;
}
int convolution(descriptor *d)
{
    if (d->get<int>(DNN_CONV_COMPUTE_TYPE) != DNN_FLOAT)
        return refuse(NOT_SUPPORTED, "sums not in float");
    if (d->get<int>(DNN_CONV_MODE) != DNN_CROSS_CORRELATION)
        return refuse(BAD_PARAM, "a true convolution turns the kernel");
    if (d->get<int64_t>(DNN_CONV_SPATIAL_DIMS) != 2)
        return refuse(BAD_PARAM, "spatial dims");
    for (int i = 0; i < 2; i++)
        if (d->get<int64_t>(DNN_CONV_DILATIONS, i) != 1 ||
            d->get<int64_t>(DNN_CONV_STRIDES, i) < 1 ||
            d->get<int64_t>(DNN_CONV_PRE_PADDINGS, i) < 0 ||
            d->get<int64_t>(DNN_CONV_PRE_PADDINGS, i) != d->get<int64_t>(DNN_CONV_POST_PADDINGS, i))
            return refuse(BAD_PARAM, "strides, paddings, dilations");
    return OK;
}
int operation(descriptor *d)
{
    static const struct {
        int kind, x, w, y, conv;
    } as[] = {
        {DNN_FORWARD, DNN_FORWARD_X, DNN_FORWARD_W, DNN_FORWARD_Y, DNN_FORWARD_CONV},
        {DNN_BACK_DATA, DNN_DATA_DX, DNN_DATA_W, DNN_DATA_DY, DNN_DATA_CONV},
        {DNN_BACK_FILTER, DNN_FILTER_X, DNN_FILTER_DW, DNN_FILTER_DY, DNN_FILTER_CONV},
    };
    int k = 0;
    while (as[k].kind != d->kind)
        k++;
    descriptor *t[3] = {child(d, as[k].x, DNN_TENSOR), child(d, as[k].w, DNN_TENSOR),
                        child(d, as[k].y, DNN_TENSOR)};
    descriptor *c = child(d, as[k].conv, DNN_CONVOLUTION);
    if (!t[0] || !t[1] || !t[2] || !c)
        return refuse(BAD_PARAM, "(!xDesc.isFinalized()) || (!wDesc.isFinalized())");
    descriptor::geometry &g = d->conv;
    int64_t *const dims[3] = {g.x, g.w, g.y};
    g.kind = d->kind;
    g.type = t[0]->get<int>(DNN_TENSOR_TYPE);
    for (int i = 0; i < 3; i++) {
        g.uid[i] = t[i]->get<int64_t>(DNN_TENSOR_UID);
        if (t[i]->get<int>(DNN_TENSOR_TYPE) != g.type)
            return refuse(NOT_SUPPORTED, "mixed element types");
        for (int a = 0; a < 4; a++)
            dims[i][a] = t[i]->get<int64_t>(DNN_TENSOR_DIMS, a);
    }
    if (g.uid[0] == g.uid[1] || g.uid[0] == g.uid[2] || g.uid[1] == g.uid[2])
        return refuse(BAD_PARAM, "two tensors with one uid");
    for (int a = 0; a < 2; a++) {
        g.pad[a] = c->get<int64_t>(DNN_CONV_PRE_PADDINGS, a);
        g.stride[a] = c->get<int64_t>(DNN_CONV_STRIDES, a);
        if (g.y[2 + a] != (g.x[2 + a] + 2 * g.pad[a] - g.w[2 + a]) / g.stride[a] + 1)
            return refuse(BAD_PARAM, "is_valid_spatial_dim(...)");
    }
    if (g.x[0] != g.y[0] || g.x[1] != g.w[1] || g.y[1] != g.w[0])
        return refuse(BAD_PARAM, "channels and images of x, w and y do not fit");
    return OK;
}
int heuristics(descriptor *d)
{
    descriptor *g = child(d, DNN_HEURISTICS_GRAPH, DNN_GRAPH);
    const int mode = d->get<int>(DNN_HEURISTICS_MODE);
    if (!g)
        return refuse(NOT_FINALIZED, "desc->isFinalized() == false");
    d->inner = g;
    const bool by_device =
        d->has(DNN_HEURISTICS_DEVICE) && child(d, DNN_HEURISTICS_DEVICE, DNN_DEVICE);
    if (!by_device && !g->has(DNN_GRAPH_HANDLE))
        return OK; /* no results and no error, as the real one */
    if (mode == DNN_MODE_A)
        d->results = {ENGINE_CHANGING, ENGINE_RUNTIME, ENGINE_TENSOR};
    else if (mode == DNN_MODE_FALLBACK)
        d->results = {ENGINE_PLAIN};
    return OK;
}
std::string plan_text(int engine, const descriptor::geometry &g)
{
    std::string s = "{\"standin\":";
    char number[32];
    const int64_t *const all[] = {g.x, g.w, g.y, g.pad, g.stride, g.uid};
    const int count[] = {4, 4, 4, 2, 2, 3};
    snprintf(number, sizeof number, "[%d,%d,%d", engine, g.kind, g.type);
    s += number;
    for (int a = 0; a < 6; a++)
        for (int i = 0; i < count[a]; i++) {
            snprintf(number, sizeof number, ",%lld", (long long)all[a][i]);
            s += number;
        }
    return s + "]}";
}
bool read_plan(const std::string &text, int *engine, descriptor::geometry *g)
{
    int64_t *const all[] = {g->x, g->w, g->y, g->pad, g->stride, g->uid};
    const int count[] = {4, 4, 4, 2, 2, 3};
    const char head[] = "{\"standin\":[";
    if (text.compare(0, sizeof head - 1, head) != 0)
        return false;
    const char *at = text.c_str() + sizeof head - 1;
    char *end = nullptr;
    *engine = (int)strtol(at, &end, 10);
    g->kind = (int)strtol(end + 1, &end, 10);
    g->type = (int)strtol(end + 1, &end, 10);
    for (int a = 0; a < 6; a++)
        for (int i = 0; i < count[a]; i++)
            all[a][i] = strtoll(end + 1, &end, 10);
    return strcmp(end, "]}") == 0;
}
int plan(descriptor *d)
{
    if (!d->has(DNN_PLAN_DEVICE) && !d->has(DNN_PLAN_HANDLE))
        abort(); /* the real library reads address 0 */
    if (d->has(DNN_PLAN_DEVICE) && !child(d, DNN_PLAN_DEVICE, DNN_DEVICE))
        return refuse(NOT_FINALIZED, "the device");
    if (d->has(DNN_PLAN_HANDLE) && !d->get<handle *>(DNN_PLAN_HANDLE))
        return refuse(BAD_PARAM, "the handle");
    if (d->has(DNN_PLAN_JSON)) {
        const value &v = d->set.at(DNN_PLAN_JSON);
        d->text.assign(v.bytes.data(), (size_t)v.count);
        return read_plan(d->text, &d->engine, &d->conv)
                   ? OK
                   : refuse(ARCH_MISMATCH, "not a plan of mine");
    }
    descriptor *c = d->has(DNN_PLAN_CONFIG) ? d->get<descriptor *>(DNN_PLAN_CONFIG) : nullptr;
    if (!c || c->kind != DNN_CONFIG || !c->inner)
        return refuse(BAD_PARAM, "no engine configuration");
    d->engine = c->engine;
    d->conv = c->inner->conv;
    d->text = plan_text(d->engine, d->conv);
    return OK;
}
int pack(descriptor *d)
{
    const int64_t n = d->set.at(DNN_PACK_UIDS).count;
    if (d->set.at(DNN_PACK_POINTERS).count != n)
        return refuse(BAD_PARAM, "ptrs_count != uids_count");
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < i; k++)
            if (d->get<int64_t>(DNN_PACK_UIDS, i) == d->get<int64_t>(DNN_PACK_UIDS, k))
                return refuse(BAD_PARAM, "a uid twice");
    return OK;
}
int device(descriptor *d)
{
    if (d->has(DNN_DEVICE_JSON)) {
        const value &v = d->set.at(DNN_DEVICE_JSON);
        d->text.assign(v.bytes.data(), (size_t)v.count);
    } else if (d->has(DNN_DEVICE_HANDLE) && d->get<handle *>(DNN_DEVICE_HANDLE)) {
        d->text = "{\"multiProcessorCount\":4,\"maxSharedMemoryPerBlockOptin\":101376,"
                  "\"deviceVer\":800,\"driverVer\":13000}";
    } else {
        return refuse(BAD_PARAM, "no device");
    }
    return OK;
}
} // namespace

/* ---- the entry points ---- */
#define API extern "C" __attribute__((visibility("default")))

API size_t cudnnGetVersion(void)
{
    const char *told = getenv("STANDIN_CUDNN_VERSION");
    return told ? (size_t)atol(told) : 91900;
}
API const char *cudnnGetErrorString(int status)
{
    return status == OK ? "CUDNN_STATUS_SUCCESS" : "CUDNN_STATUS_STANDIN";
}
API void cudnnGetLastErrorString(char *text, size_t size)
{
    snprintf(text, size, "%s", last_error.c_str());
    last_error.clear();
}
/* Handles begin and end with a wait for the device, "implicitly", as documented. */
API int cudnnCreate(handle **h)
{
    *h = nullptr;
    if (cudaDeviceSynchronize() != cudaSuccess)
        return refuse(NOT_INITIALIZED, "cudaDeviceSynchronize() != cudaSuccess");
    *h = new handle;
    return OK;
}
API int cudnnDestroy(handle *h)
{
    delete h;
    return cudaDeviceSynchronize() == cudaSuccess ? OK : (int)EXECUTION_FAILED;
}
API int cudnnSetStream(handle *h, cudaStream_t s)
{
    h->stream = s;
    return OK;
}
API int cudnnBackendCreateDescriptor(int kind, descriptor **out)
{
    bool known = kind == DNN_ENGINE || kind == DNN_CONFIG;
    for (const rule &r : rules)
        known = known || r.kind == kind;
    if (!known)
        return refuse(4003, "no such descriptor");
    *out = new descriptor{};
    (*out)->kind = kind;
    return OK;
}
API int cudnnBackendDestroyDescriptor(descriptor *d)
{
    delete d;
    return OK;
}
API int cudnnBackendSetAttribute(descriptor *d, int name, int type, int64_t count, const void *from)
{
    const rule *r = rule_of(d->kind, name);
    if (d->finalized)
        return refuse(BAD_PARAM, "the descriptor is finalized");
    if (!r)
        return refuse(BAD_PARAM, "no such attribute of this descriptor");
    if (type != r->type)
        return refuse(BAD_TYPE, "the attribute has another type");
    if (count < r->fewest || count > r->most || !from)
        return refuse(BAD_PARAM, "1 != elemCount");
    const char *p = (const char *)from;
    d->set[name] = {type, count, std::vector<char>(p, p + element(type) * (size_t)count)};
    return OK;
}
API int cudnnBackendFinalize(descriptor *d)
{
    int status = OK;
    if (d->finalized)
        return refuse(BAD_PARAM, "finalized twice");
    for (const rule &r : rules)
        if (r.kind == d->kind && r.required && !d->has(r.name))
            return refuse(BAD_PARAM, "an attribute is missing");
    switch (d->kind) {
    case DNN_TENSOR:
        status = tensor(d);
        break;
    case DNN_CONVOLUTION:
        status = convolution(d);
        break;
    case DNN_FORWARD:
    case DNN_BACK_DATA:
    case DNN_BACK_FILTER:
        status = operation(d);
        break;
    case DNN_GRAPH: {
        descriptor *op = d->get<descriptor *>(DNN_GRAPH_OPS);
        if (!op || !op->finalized || op->conv.kind == 0)
            return refuse(NOT_FINALIZED, "desc->isFinalized() == false");
        d->conv = op->conv;
        break;
    }
    case DNN_HEURISTICS:
        status = heuristics(d);
        break;
    case DNN_PLAN:
        status = plan(d);
        break;
    case DNN_PACK:
        status = pack(d);
        break;
    case DNN_DEVICE:
        status = device(d);
        break;
    default:
        status = refuse(NOT_SUPPORTED, "not stood in for");
    }
    d->finalized = status == OK;
    return status;
}

static int give_text(const std::string &s, int64_t asked, int64_t *count, void *to)
{
    *count = (int64_t)s.size();
    if (asked > 0)
        memcpy(to, s.data(), asked < *count ? (size_t)asked : s.size());
    return OK;
}
template <typename T> static int give(T v, int64_t *count, void *to)
{
    *count = 1;
    memcpy(to, &v, sizeof v);
    return OK;
}
static int give_notes(int engine, int64_t *count, void *to)
{
    std::vector<int> notes;
    if (engine != ENGINE_PLAIN)
        notes.push_back(DNN_NOTE_TENSOR_CORE);
    if (engine == ENGINE_CHANGING)
        notes.push_back(DNN_NOTE_NONDETERMINISTIC);
    *count = (int64_t)notes.size();
    for (size_t i = 0; i < notes.size(); i++)
        ((int *)to)[i] = notes[i];
    return OK;
}
API int cudnnBackendGetAttribute(descriptor *d, int name, int type, int64_t asked, int64_t *count,
                                 void *to)
{
    if (!d->finalized && d->kind != DNN_CONFIG && d->kind != DNN_ENGINE)
        return refuse(NOT_FINALIZED, "get before finalize");
    if (d->kind == DNN_DEVICE && name == DNN_DEVICE_JSON && type == DNN_T_CHAR)
        return give_text(d->text, asked, count, to);
    if (d->kind == DNN_PLAN && name == DNN_PLAN_JSON && type == DNN_T_CHAR)
        return give_text(d->text, asked, count, to);
    if (d->kind == DNN_PLAN && name == DNN_PLAN_WORKSPACE && type == DNN_T_INT64)
        return give(engine_workspace(d->engine, d->conv), count, to);
    if (d->kind == DNN_HEURISTICS && name == DNN_HEURISTICS_RESULTS && type == DNN_T_DESCRIPTOR) {
        *count = (int64_t)d->results.size();
        for (int64_t i = 0; i < asked && i < *count; i++) {
            descriptor *c = ((descriptor **)to)[i];
            if (!c || c->kind != DNN_CONFIG)
                return refuse(BAD_DESCRIPTOR, "results go into configurations");
            c->engine = d->results[(size_t)i];
            c->inner = d->inner;
            c->finalized = true;
        }
        return OK;
    }
    if (d->kind == DNN_CONFIG && d->engine >= 0 && name == DNN_CONFIG_WORKSPACE &&
        type == DNN_T_INT64)
        return give(engine_workspace(d->engine, d->inner->conv), count, to);
    if (d->kind == DNN_CONFIG && d->engine >= 0 && name == DNN_CONFIG_ENGINE &&
        type == DNN_T_DESCRIPTOR) {
        descriptor *e = *(descriptor **)to;
        if (!e || e->kind != DNN_ENGINE)
            return refuse(BAD_DESCRIPTOR, "an engine descriptor is wanted");
        e->engine = d->engine;
        *count = 1;
        return OK;
    }
    if (d->kind == DNN_ENGINE && name == DNN_ENGINE_INDEX && type == DNN_T_INT64)
        return give((int64_t)d->engine, count, to);
    if (d->kind == DNN_ENGINE && name == DNN_ENGINE_NOTES && type == DNN_T_NUMERICAL_NOTE)
        return give_notes(d->engine, count, to);
    if (d->kind == DNN_ENGINE && name == DNN_ENGINE_BEHAVIOR && type == DNN_T_BEHAVIOR_NOTE) {
        *count = 0;
        return d->engine == ENGINE_RUNTIME ? give((int)DNN_NOTE_RUNTIME_COMPILED, count, to) : OK;
    }
    return refuse(BAD_PARAM, "no such attribute to get");
}
API int cudnnBackendExecute(handle *h, descriptor *p, descriptor *k)
{
    if (!h || !p || !k || p->kind != DNN_PLAN || k->kind != DNN_PACK)
        return refuse(BAD_PARAM, "a handle, a plan and a pack");
    if (!p->finalized || !k->finalized)
        return refuse(NOT_FINALIZED, "a plan and a pack that are finalized");
    return run_plan(h, p, k);
}
