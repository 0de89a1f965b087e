/* Plans executed by plain loops over channels-last arrays, sums in double. */
#include "cudnn.h"

#include "cuda_bf16.h"

namespace
{
float load(const void *p, int type, int64_t i)
{
    return type == DNN_FLOAT ? ((const float *)p)[i]
                             : __bfloat162float(((const __nv_bfloat16 *)p)[i]);
}
void store(void *p, int type, int64_t i, double v)
{
    if (type == DNN_FLOAT)
        ((float *)p)[i] = (float)v;
    else
        ((__nv_bfloat16 *)p)[i] = __float2bfloat16_rn((float)v);
}
/* A tensor core reads floats as TF32: 10 bits of fraction. */
std::vector<float> read(const void *p, int type, int64_t count, bool tf32)
{
    std::vector<float> v((size_t)count);
    for (int64_t i = 0; i < count; i++) {
        v[(size_t)i] = load(p, type, i);
        if (tf32) {
            uint32_t u;
            memcpy(&u, &v[(size_t)i], sizeof u);
            u &= 0xffffe000u;
            memcpy(&v[(size_t)i], &u, sizeof u);
        }
    }
    return v;
}
int64_t volume(const int64_t d[4])
{
    return d[0] * d[1] * d[2] * d[3];
}

/* f(first x, first w, first y) for every pair of pixels a tap joins; channels are the caller's. */
template <typename F> void for_taps(const descriptor::geometry &g, F f)
{
    for (int64_t n = 0; n < g.y[0]; n++)
        for (int64_t i = 0; i < g.y[2]; i++)
            for (int64_t j = 0; j < g.y[3]; j++)
                for (int64_t p = 0; p < g.w[2]; p++)
                    for (int64_t q = 0; q < g.w[3]; q++) {
                        const int64_t r = i * g.stride[0] - g.pad[0] + p;
                        const int64_t s = j * g.stride[1] - g.pad[1] + q;
                        if (r >= 0 && r < g.x[2] && s >= 0 && s < g.x[3])
                            f(((n * g.x[2] + r) * g.x[3] + s) * g.x[1], (p * g.w[3] + q) * g.w[1],
                              ((n * g.y[2] + i) * g.y[3] + j) * g.y[1]);
                    }
}
void convolve(const descriptor::geometry &g, bool tf32, void *const at[3])
{
    const int64_t c = g.x[1], o = g.y[1], row = g.w[2] * g.w[3] * c;
    const int64_t count[3] = {volume(g.x), volume(g.w), volume(g.y)};
    const int result = g.kind == DNN_FORWARD ? 2 : g.kind == DNN_BACK_DATA ? 0 : 1;
    std::vector<float> in[3];
    for (int i = 0; i < 3; i++)
        if (i != result)
            in[i] = read(at[i], g.type, count[i], tf32);
    std::vector<double> sum((size_t)count[result]);
    const float *x = in[0].data(), *w = in[1].data(), *y = in[2].data();
    double *to = sum.data();
    for_taps(g, [&](int64_t fx, int64_t fw, int64_t fy) {
        for (int64_t k = 0; k < o; k++) {
            const int64_t wk = fw + k * row;
            if (g.kind == DNN_FORWARD) {
                double s = 0;
                for (int64_t a = 0; a < c; a++)
                    s += (double)x[fx + a] * (double)w[wk + a];
                to[fy + k] += s;
            } else if (y[fy + k] != 0) {
                const double v = (double)y[fy + k];
                for (int64_t a = 0; a < c; a++)
                    if (g.kind == DNN_BACK_DATA)
                        to[fx + a] += v * (double)w[wk + a];
                    else
                        to[wk + a] += v * (double)x[fx + a];
            }
        }
    });
    for (int64_t i = 0; i < count[result]; i++)
        store(at[result], g.type, i, to[i]);
}
} // namespace

int64_t engine_workspace(int engine, const descriptor::geometry &g)
{
    return engine == ENGINE_PLAIN ? 0 : 131 + g.w[0] * 16;
}

int run_plan(const handle *h, const descriptor *plan, const descriptor *pack)
{
    const descriptor::geometry g = plan->conv;
    const int64_t bytes = g.type == DNN_FLOAT ? 4 : 2;
    const int64_t *const dims[3] = {g.x, g.w, g.y};
    const int engine = plan->engine;
    const size_t work = (size_t)engine_workspace(engine, g);
    void *at[3] = {nullptr, nullptr, nullptr};
    size_t size[3];
    void *workspace =
        pack->has(DNN_PACK_WORKSPACE) ? pack->get<void *>(DNN_PACK_WORKSPACE) : nullptr;
    for (int i = 0; i < 3; i++) {
        for (int64_t k = 0; k < pack->set.at(DNN_PACK_UIDS).count; k++)
            if (pack->get<int64_t>(DNN_PACK_UIDS, k) == g.uid[i])
                at[i] = pack->get<void *>(DNN_PACK_POINTERS, k);
        size[i] = (size_t)(volume(dims[i]) * bytes);
        if (!at[i])
            return refuse(BAD_PARAM, "a tensor has no pointer");
        if ((uintptr_t)at[i] % 16 != 0)
            return refuse(MISALIGNED, "a pointer is less aligned than its tensor says");
        if (!shim_device_memory(at[i], size[i], "a convolution"))
            return refuse(EXECUTION_FAILED, "a tensor leaves its allocation");
    }
    for (int i = 0; i < 3; i++) {
        const char *a = (const char *)at[i], *w = (const char *)workspace;
        for (int k = 0; k < i; k++)
            if (a < (const char *)at[k] + size[k] && (const char *)at[k] < a + size[i])
                return refuse(BAD_PARAM, "two tensors share memory");
        if (work > 0 && a < w + work && w < a + size[i])
            return refuse(BAD_PARAM, "the workspace lies in a tensor");
    }
    if (work > 0 && (!workspace || (uintptr_t)workspace % 16 != 0 ||
                     !shim_device_memory(workspace, work, "a workspace")))
        return refuse(BAD_PARAM, "no workspace, or less than the plan wants");
    shim_push(h->stream, [=] {
        if (work > 0)
            memset(workspace, 0xff, work);
        convolve(g, engine != ENGINE_PLAIN && g.type == DNN_FLOAT, at);
        if (engine == ENGINE_CHANGING) /* the bits of a run that nobody sees again */
            store(at[g.kind == DNN_FORWARD ? 2 : g.kind == DNN_BACK_DATA ? 0 : 1], g.type, 0, NAN);
    });
    return OK;
}
