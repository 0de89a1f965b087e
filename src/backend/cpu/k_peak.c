/* What the processor can do at most: a loop of nothing but multiply-adds, and one of nothing but
 * memory. */
#include "kernels.h"
#include "simd.h"

#define CHAINS 12 /* independent sums: more than latency times units, and they fit the registers \
                   */

/* a lies near 1 and b near 0, so that neither overflow nor denormals slow the loop down. */
static double fma_loop(int64_t rounds, bool bf, float *out)
{
    const vf a = splat(out[0]), b = splat(out[1]);
    vf acc[CHAINS];
    for (int k = 0; k < CHAINS; k++)
        acc[k] = splat((float)k);
    double flops = 2.0 * VL * CHAINS * (double)rounds;
#ifdef __AVX512BF16__
    if (bf) {
        const __m512bh x = (__m512bh)(__m512)a, y = (__m512bh)(__m512)b;
        for (int64_t i = 0; i < rounds; i++)
            for (int k = 0; k < CHAINS; k++)
                acc[k] = (vf)_mm512_dpbf16_ps((__m512)acc[k], x, y);
        flops *= 2;
    } else
#else
    (void)bf;
#endif
        for (int64_t i = 0; i < rounds; i++)
            for (int k = 0; k < CHAINS; k++)
                acc[k] = acc[k] * a + b;
    for (int k = 1; k < CHAINS; k++)
        acc[0] += acc[k];
    store(out, 0, acc[0], false);
    return flops;
}

static void axpy(float *y, const float *x, int64_t count, float s)
{
    int64_t i = 0;
    for (; i + VL <= count; i += VL)
        store(y, i, load(y, i, false) + splat(s) * load(x, i, false), false);
    for (; i < count; i++)
        y[i] += s * x[i];
}

void KERNEL(fill_peak)(cpu_kernels *k)
{
    k->fma_loop = fma_loop;
    k->axpy = axpy;
}
