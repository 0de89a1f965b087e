/* Activations, alone and in a product. Which one is the same for a whole launch, so the branch
 * costs nothing beside the exponential.
 */
#include "sweep.cuh"

__device__ __forceinline__ float sigmoid(float v)
{
    return 1.0f / (1.0f + expf(-v));
}
__device__ __forceinline__ float normal_cdf(float v)
{
    return 0.5f * erfcf(-0.70710678f * v);
}
__device__ __forceinline__ float value(sc_cuda_activation f, float z)
{
    switch (f) {
    case SC_CUDA_QUICK_GELU:
        return z * sigmoid(1.702f * z);
    case SC_CUDA_GELU:
        return z * normal_cdf(z);
    case SC_CUDA_SILU:
        return z * sigmoid(z);
    case SC_CUDA_RELU:
        return z > 0.0f ? z : 0.0f;
    case SC_CUDA_RELU6:
        return z > 0.0f ? fminf(z, 6.0f) : 0.0f;
    case SC_CUDA_SIGMOID:
        return sigmoid(z);
    case SC_CUDA_NO_ACTIVATION:
        break;
    }
    return z;
}
__device__ __forceinline__ float slope(sc_cuda_activation f, float z)
{
    float s;
    switch (f) {
    case SC_CUDA_QUICK_GELU:
        s = sigmoid(1.702f * z);
        return s + 1.702f * z * s * (1.0f - s);
    case SC_CUDA_GELU:
        return normal_cdf(z) + z * 0.39894228f * expf(-0.5f * z * z);
    case SC_CUDA_SILU:
        s = sigmoid(z);
        return s + z * s * (1.0f - s);
    case SC_CUDA_RELU:
        return z > 0.0f ? 1.0f : 0.0f;
    case SC_CUDA_RELU6:
        return z > 0.0f && z < 6.0f ? 1.0f : 0.0f;
    case SC_CUDA_SIGMOID:
        s = sigmoid(z);
        return s * (1.0f - s);
    case SC_CUDA_NO_ACTIVATION:
        break;
    }
    return 1.0f;
}

template <typename Z, typename Y> struct activation {
    sc_cuda_activation f;
    const Z *z;
    Y *y;
    bool add;
    template <int V> __device__ void run(int64_t i) const
    {
        sc_vec<V> r = sc_load<V>(z, i);
        for (int k = 0; k < V; k++)
            r.v[k] = value(f, r.v[k]);
        sc_emit<V>(y, i, r, add);
    }
};
template <typename D, typename Z, typename Y> struct activation_back {
    sc_cuda_activation f;
    const D *dy;
    const Z *z;
    Y *dz;
    bool add;
    template <int V> __device__ void run(int64_t i) const
    {
        sc_vec<V> r = sc_load<V>(dy, i);
        const sc_vec<V> u = sc_load<V>(z, i);
        for (int k = 0; k < V; k++)
            r.v[k] *= slope(f, u.v[k]);
        sc_emit<V>(dz, i, r, add);
    }
};
/* y = value(a) b */
template <typename A, typename B, typename Y> struct gated {
    sc_cuda_activation f;
    const A *a;
    const B *b;
    Y *y;
    bool add;
    template <int V> __device__ void run(int64_t i) const
    {
        sc_vec<V> r = sc_load<V>(b, i);
        const sc_vec<V> u = sc_load<V>(a, i);
        for (int k = 0; k < V; k++)
            r.v[k] *= value(f, u.v[k]);
        sc_emit<V>(y, i, r, add);
    }
};
template <typename D, typename A, typename B> struct gated_back {
    sc_cuda_activation f;
    const D *dy;
    const A *a;
    const B *b;
    A *da; /* either may be NULL */
    B *db;
    bool add_a, add_b;
    template <int V> __device__ void run(int64_t i) const
    {
        const sc_vec<V> d = sc_load<V>(dy, i), u = sc_load<V>(a, i), w = sc_load<V>(b, i);
        sc_vec<V> ga, gb;
        for (int k = 0; k < V; k++) {
            ga.v[k] = d.v[k] * w.v[k] * slope(f, u.v[k]);
            gb.v[k] = d.v[k] * value(f, u.v[k]);
        }
        if (da != nullptr)
            sc_emit<V>(da, i, ga, add_a);
        if (db != nullptr)
            sc_emit<V>(db, i, gb, add_b);
    }
};

extern "C" int sc_cuda_activate(void *stream, sc_cuda_activation f, sc_cuda_in z, sc_cuda_out y,
                                int64_t count)
{
    SC_FOR_TYPE(z.type, Z,
                SC_FOR_TYPE(y.type, Y,
                            return sweep_run(stream, count,
                                             activation<Z, Y>{f, static_cast<const Z *>(z.p),
                                                              static_cast<Y *>(y.p), y.add})));
}
extern "C" int sc_cuda_activate_back(void *stream, sc_cuda_activation f, sc_cuda_in dy,
                                     sc_cuda_in z, sc_cuda_out dz, int64_t count)
{
    SC_FOR_TYPE(dy.type, D,
                SC_FOR_TYPE(z.type, Z,
                            SC_FOR_TYPE(dz.type, Y,
                                        return sweep_run(stream, count,
                                                         activation_back<D, Z, Y>{
                                                             f, static_cast<const D *>(dy.p),
                                                             static_cast<const Z *>(z.p),
                                                             static_cast<Y *>(dz.p), dz.add}))));
}
extern "C" int sc_cuda_multiply(void *stream, sc_cuda_activation f, sc_cuda_in a, sc_cuda_in b,
                                sc_cuda_out y, int64_t count)
{
    SC_FOR_TYPE(
        a.type, A,
        SC_FOR_TYPE(b.type, B,
                    SC_FOR_TYPE(y.type, Y,
                                return sweep_run(stream, count,
                                                 gated<A, B, Y>{f, static_cast<const A *>(a.p),
                                                                static_cast<const B *>(b.p),
                                                                static_cast<Y *>(y.p), y.add}))));
}
extern "C" int sc_cuda_multiply_back(void *stream, sc_cuda_activation f, sc_cuda_in dy,
                                     sc_cuda_in a, sc_cuda_in b, sc_cuda_out da, sc_cuda_out db,
                                     int64_t count)
{
    SC_FOR_TYPE(dy.type, D,
                SC_FOR_TYPE(a.type, A,
                            SC_FOR_TYPE(b.type, B,
                                        return sweep_run(
                                            stream, count,
                                            gated_back<D, A, B>{
                                                f, static_cast<const D *>(dy.p),
                                                static_cast<const A *>(a.p),
                                                static_cast<const B *>(b.p), static_cast<A *>(da.p),
                                                static_cast<B *>(db.p), da.add, db.add}))));
}
