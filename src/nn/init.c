/* Initial values. A tensor's numbers depend on the seed, its name and nothing else: the counter of
 * Philox is (block, block >> 32, hash, hash >> 32) with the 64-bit FNV-1a hash of the name, and
 * element i is number i % 4 of block i / 4. Uniform: one word each; normal: Box-Muller on words (0,
 * 1) and (2, 3), in double.
 */
#include "params.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#define PI 3.14159265358979323846

static uint64_t hash_name(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    return hash;
}

/* In (0, 1): the middle of the word's 2^-32 wide cell, so that its logarithm is finite. */
static double open_uniform(uint32_t word)
{
    return ((double)word + 0.5) * 0x1p-32;
}

static void normal_pair(const uint32_t word[2], double out[2])
{
    double radius = sqrt(-2 * log(open_uniform(word[0])));
    double angle = 2 * PI * open_uniform(word[1]);
    out[0] = radius * cos(angle);
    out[1] = radius * sin(angle);
}

/* Elements [first, first + count) of a tensor; first is a multiple of 4. */
typedef struct stretch {
    uint64_t hash, seed;
    sc_init init;
    int64_t first, count;
    float *out; /* [count] */
    pthread_t thread;
    bool started;
} stretch;

static void fill_block(const stretch *s, int64_t i, float *out, int64_t n)
{
    const uint32_t key[2] = {(uint32_t)s->seed, SC_STREAM_INIT};
    uint64_t block = (uint64_t)i / 4;
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)s->hash,
                                 (uint32_t)(s->hash >> 32)};
    uint32_t word[4];
    double v[4];
    sc_philox4x32(key, counter, word);
    if (s->init.kind == SC_INIT_NORMAL) {
        normal_pair(word, v);
        normal_pair(word + 2, v + 2);
    } else {
        for (int k = 0; k < 4; k++)
            v[k] = 2 * open_uniform(word[k]) - 1;
    }
    for (int64_t k = 0; k < n; k++)
        out[k] = (float)(s->init.a * v[k]);
}

static void *fill_stretch(void *arg)
{
    const stretch *s = arg;
    if (s->init.kind == SC_INIT_CONSTANT) {
        for (int64_t i = 0; i < s->count; i++)
            s->out[i] = (float)s->init.a;
        return NULL;
    }
    for (int64_t i = 0; i < s->count; i += 4)
        fill_block(s, s->first + i, s->out + i, s->count - i < 4 ? s->count - i : 4);
    return NULL;
}

void sc_init_fill(const char *name, sc_init init, uint64_t seed, int64_t count, float *out)
{
    stretch s = {hash_name(name), seed, init, 0, count, out, 0, false};
    (void)fill_stretch(&s);
}

/* The same numbers by several threads: 75 M normals take 3 s on one. */
static void fill_by_threads(const char *name, sc_init init, uint64_t seed, int64_t count,
                            float *out, int threads)
{
    enum { MOST = 64, WORTH = 1 << 16 };
    stretch s[MOST];
    int64_t pieces = count / WORTH + 1;
    if (pieces > threads)
        pieces = threads;
    if (pieces > MOST)
        pieces = MOST;
    for (int64_t k = 0; k < pieces; k++) {
        int64_t first = count / 4 * k / pieces * 4;
        int64_t end = k + 1 < pieces ? count / 4 * (k + 1) / pieces * 4 : count;
        s[k] = (stretch){hash_name(name), seed, init, first, end - first, out + first, 0, false};
        if (k > 0)
            s[k].started = pthread_create(&s[k].thread, NULL, fill_stretch, &s[k]) == 0;
    }
    for (int64_t k = 0; k < pieces; k++)
        if (!s[k].started)
            (void)fill_stretch(&s[k]);
    for (int64_t k = 0; k < pieces; k++)
        if (s[k].started)
            (void)pthread_join(s[k].thread, NULL);
}

/* In place, from the back: n floats at the start of `values` become n doubles. */
static void widen(void *values, size_t n)
{
    const float *from = values;
    double *to = values;
    for (size_t i = n; i-- > 0;) {
        float v = from[i];
        to[i] = (double)v;
    }
}

/* Where the backend keeps PyTorch's layout, the numbers are drawn in place. */
static sc_status fill_one(sc_params *p, nn_param *item, uint64_t seed)
{
    sc_dtype real = p->device->backend->real;
    int64_t count = sc_shape_count(&item->desc.shape);
    bool plain = nn_param_is_plain(p, item);
    void *host = plain ? nn_param_value(p, item) : sc_alloc((size_t)count, sc_dtype_size(real));
    if (host == NULL)
        return SC_ENOMEM;
    fill_by_threads(item->name, item->init, seed, count, host, p->device->threads);
    if (real == SC_F64)
        widen(host, (size_t)count);
    if (plain)
        return SC_OK;
    p->device->backend->param_import(p->device, &item->desc, host, nn_param_value(p, item));
    free(host);
    return SC_OK;
}

sc_status sc_params_init(sc_params *p, uint64_t seed)
{
    for (size_t i = 0; i < p->count; i++) {
        nn_param *item = &p->items[i];
        if (item->desc.kind == SC_PARAM_COUNTER) {
            item->counter = 0;
            continue;
        }
        SC_TRY(fill_one(p, item, seed));
        item->shared.version++;
    }
    return SC_OK;
}
