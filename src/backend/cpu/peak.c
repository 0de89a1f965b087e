/* The yardstick of a profile: multiply-adds and memory at their fastest, on this device's threads,
 * beside whatever else the machine does. Takes about half a second. */
#include "cpu.h"

#include <omp.h>
#include <stdlib.h>

enum { TRIAL_COUNT = 12 };

/* FLOP a second of all threads: each counts what it did until the time is over. */
static double trial_flops(cpu_device *d, double seconds)
{
    const int64_t rounds = 20000; /* about 0.1 ms */
    const bool bf = d->head.precision == SC_BF16_MIXED;
    double work = 0, begin = sc_now();
#pragma omp parallel reduction(+ : work)
    {
        float vector[16];
        do {
            vector[0] = 0.999f;
            vector[1] = 0.001f;
            work += d->k.fma_loop(rounds, bf, vector);
        } while (sc_now() - begin < seconds);
    }
    return work / (sc_now() - begin);
}

/* y += s x through memory: two arrays that no cache holds. What is written was read before, so
 * twelve bytes an element are all that moves. */
static double trial_bytes(cpu_device *d, float *memory, int64_t n)
{
    float *y = memory;
    const float *x = memory + n;
    double begin = sc_now();
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i += CPU_GRAIN)
        d->k.axpy(y + i, x + i, n - i < CPU_GRAIN ? n - i : CPU_GRAIN, 0.5f);
    return 12.0 * (double)n / (sc_now() - begin);
}

sc_status cpu_peak(sc_device *dev, double *flops, double *bytes)
{
    cpu_device *d = (cpu_device *)dev;
    const int64_t n = (int64_t)24 << 20; /* 96 MiB an array */
    void *memory = NULL;
    SC_TRY(dev->backend->alloc(dev, (size_t)n * 2 * sizeof(float), &memory));
    omp_set_num_threads(dev->threads);
    /* pages of its own: reading untouched ones reads the system's one page of zeros */
    cpu_zero(memory, (size_t)n * 2 * sizeof(float));
    *flops = *bytes = 0;
    for (int i = 0; i < TRIAL_COUNT; i++) { /* the best: others only slow it down */
        double f = trial_flops(d, 0.02), b = trial_bytes(d, memory, n);
        *flops = f > *flops ? f : *flops;
        *bytes = b > *bytes ? b : *bytes;
    }
    dev->backend->free(dev, memory);
    return SC_OK;
}
