/* AdamW, one pass over memory. */
#include "kernels.h"
#include "simd.h"

INLINE vf root(vf v)
{
    for (int i = 0; i < VL; i++)
        v[i] = sqrtf(v[i]);
    return v;
}

INLINE bool all_zero(vi v)
{
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)v, (__m512i)v) == 0;
#elif defined(__AVX2__)
    return _mm256_testz_si256((__m256i)v, (__m256i)v) != 0;
#else
    int32_t any = 0;
    for (int i = 0; i < VL; i++)
        any |= v[i];
    return any == 0;
#endif
}

INLINE void step(float *p, const float *g, float *m, float *v, int64_t i, const int part,
                 const float c[8])
{
    vf pv, gv, mv, vv;
    if (part) {
        pv = load_part(p, i, part, false);
        gv = load_part(g, i, part, false);
        mv = load_part(m, i, part, false);
        vv = load_part(v, i, part, false);
    } else {
        pv = load(p, i, false);
        gv = load(g, i, false);
        mv = load(m, i, false);
        vv = load(v, i, false);
    }
    /* Rows of the token table that no text used yet only decay; their moments need no writing. */
    if (all_zero((vi)gv | (vi)mv | (vi)vv)) {
        pv = splat(c[0]) * pv;
        if (part)
            store_part(p, i, part, pv, false);
        else
            store(p, i, pv, false);
        return;
    }
    mv = splat(c[1]) * mv + splat(c[2]) * gv;
    vv = splat(c[3]) * vv + splat(c[4]) * gv * gv;
    pv = splat(c[0]) * pv - splat(c[5]) * mv / (root(vv) * splat(c[6]) + splat(c[7]));
    if (part) {
        store_part(p, i, part, pv, false);
        store_part(m, i, part, mv, false);
        store_part(v, i, part, vv, false);
    } else {
        store(p, i, pv, false);
        store(m, i, mv, false);
        store(v, i, vv, false);
    }
}
static void adamw(float *p, const float *g, float *m, float *v, int64_t count, const float c[8])
{
    int64_t i = 0;
    for (; i + VL <= count; i += VL)
        step(p, g, m, v, i, 0, c);
    if (i < count)
        step(p, g, m, v, i, (int)(count - i), c);
}

static void decay(float *p, int64_t count, const float c[8])
{
    for (int64_t i = 0; i < count; i++)
        p[i] = c[0] * p[i];
}
static bool none(const float *p, int64_t count)
{
    uint32_t any = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t word;
        memcpy(&word, p + i, sizeof word);
        any |= word;
    }
    return any == 0;
}

void KERNEL(fill_optim)(cpu_kernels *k)
{
    k->adamw = adamw;
    k->decay = decay;
    k->all_zero = none;
}
