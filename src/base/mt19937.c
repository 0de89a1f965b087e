#include "superclip/base.h"

/* Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 8(1), 1998. */
enum { N = 624, M = 397 };

void sc_mt19937_seed(sc_mt19937 *mt, uint32_t seed)
{
    for (uint32_t i = 0; i < N; i++) {
        mt->key[i] = seed;
        seed = 1812433253u * (seed ^ (seed >> 30)) + i + 1;
    }
    mt->pos = N;
}

static uint32_t twist(uint32_t upper, uint32_t lower)
{
    uint32_t y = (upper & 0x80000000u) | (lower & 0x7FFFFFFFu);
    return (y >> 1) ^ ((lower & 1u) ? 0x9908B0DFu : 0u);
}

static void refill(sc_mt19937 *mt)
{
    uint32_t *k = mt->key;
    for (int i = 0; i < N; i++)
        k[i] = k[(i + M) % N] ^ twist(k[i], k[(i + 1) % N]);
    mt->pos = 0;
}

uint32_t sc_mt19937_next(sc_mt19937 *mt)
{
    if (mt->pos >= N)
        refill(mt);
    uint32_t y = mt->key[mt->pos++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9D2C5680u;
    y ^= (y << 15) & 0xEFC60000u;
    return y ^ (y >> 18);
}

uint32_t sc_mt19937_interval(sc_mt19937 *mt, uint32_t max)
{
    if (max == 0)
        return 0;
    uint32_t mask = max;
    for (int shift = 1; shift <= 16; shift *= 2)
        mask |= mask >> shift;
    uint32_t value;
    do
        value = sc_mt19937_next(mt) & mask;
    while (value > max);
    return value;
}
