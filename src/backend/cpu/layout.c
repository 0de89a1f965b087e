/* Where elements lie (cpu.h) and the way in and out in PyTorch's layout. */
#include "cpu.h"

#include <string.h>

int64_t cpu_count(const sc_value_desc *v)
{
    int64_t n = 1;
    for (int i = 0; i < v->shape.n; i++)
        n *= i == 1 ? cpu_channels(v) : v->shape.d[i];
    if (v->shape.n == 1)
        n = v->shape.d[0];
    return n;
}
int64_t cpu_rows_of(const sc_value_desc *v)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < v->shape.n; i++)
        n *= v->shape.d[i];
    return n;
}

size_t cpu_value_bytes(const sc_device *dev, const sc_value_desc *v)
{
    return cpu_align((size_t)cpu_count(v) * cpu_element((const cpu_device *)dev, v));
}

static inline float get(const void *p, int64_t i, bool bf)
{
    return bf ? sc_bf16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}
static inline void put(void *p, int64_t i, float v, bool bf)
{
    if (bf)
        ((uint16_t *)p)[i] = sc_f32_to_bf16(v);
    else
        ((float *)p)[i] = v;
}

/* Copies between [n][C][hw] and blocks; from_bf / to_bf are the two sides' types. */
static void blocks(const cpu_device *d, const sc_value_desc *v, const void *from, bool from_bf,
                   void *to, bool to_bf, bool into)
{
    const int64_t n = v->shape.d[0], c = v->shape.d[1], hw = v->shape.d[2] * v->shape.d[3],
                  b = d->k.block, nb = cpu_round16(c) / b;
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < n * nb; t++) {
        int64_t image = t / nb, block = t % nb;
        for (int64_t l = 0; l < b; l++) {
            int64_t channel = block * b + l, plain = (image * c + channel) * hw;
            if (into)
                for (int64_t i = 0; i < hw; i++)
                    put(to, (t * hw + i) * b + l,
                        channel < c ? get(from, plain + i, from_bf) : 0.0f, to_bf);
            else if (channel < c)
                for (int64_t i = 0; i < hw; i++)
                    put(to, plain + i, get(from, (t * hw + i) * b + l, from_bf), to_bf);
        }
    }
}
void cpu_block(const cpu_device *d, const sc_value_desc *v, const void *plain, void *blocked)
{
    bool bf = cpu_bf16(d, v);
    blocks(d, v, plain, bf, blocked, bf, true);
}
void cpu_unblock(const cpu_device *d, const sc_value_desc *v, const void *blocked, void *plain)
{
    bool bf = cpu_bf16(d, v);
    blocks(d, v, blocked, bf, plain, bf, false);
}

sc_status cpu_upload(sc_device *dev, const sc_value_desc *v, const void *host, void *value)
{
    cpu_device *d = (cpu_device *)dev;
    bool bf = cpu_bf16(d, v);
    if (cpu_count(v) == 0)
        return SC_OK;
    if (cpu_blocked(v))
        blocks(d, v, host, false, value, bf, true);
    else if (bf)
        cpu_convert(d, value, true, host, false, cpu_count(v), false);
    else
        memcpy(value, host, (size_t)cpu_count(v) * cpu_element(d, v));
    return SC_OK;
}
sc_status cpu_download(sc_device *dev, const sc_value_desc *v, const void *value, void *host)
{
    cpu_device *d = (cpu_device *)dev;
    bool bf = cpu_bf16(d, v);
    if (cpu_count(v) == 0)
        return SC_OK;
    if (cpu_blocked(v))
        blocks(d, v, value, bf, host, false, false);
    else if (bf)
        cpu_convert(d, host, false, value, true, cpu_count(v), false);
    else
        memcpy(host, value, (size_t)cpu_count(v) * cpu_element(d, v));
    return SC_OK;
}

/* The weights of a convolution are the only parameters with a layout of their own. */
static bool conv_weight(const sc_param_desc *p)
{
    return p->op == SC_OP_CONV2D && p->slot == 0;
}
/* out, in, k, k; [out, in] is a kernel of one tap. */
typedef struct weight_dims {
    int64_t d[4];
} weight_dims;
static weight_dims weight_dims_of(const sc_param_desc *p)
{
    const int64_t *s = p->shape.d;
    return p->shape.n == 2 ? (weight_dims){{s[0], s[1], 1, 1}}
                           : (weight_dims){{s[0], s[1], s[2], s[3]}};
}
size_t cpu_param_elements(const sc_device *dev, const sc_param_desc *p)
{
    (void)dev;
    if (!conv_weight(p))
        return (size_t)cpu_round16(sc_shape_count(&p->shape));
    const weight_dims w = weight_dims_of(p);
    int64_t in = w.d[1] <= 4 ? w.d[1] : cpu_round16(w.d[1]);
    return (size_t)(cpu_round16(w.d[0]) * in * w.d[2] * w.d[3]);
}

/* Place of weight [o][i][y][x] in the flat buffer. */
static int64_t weight_place(const int64_t *s, int64_t o, int64_t i, int64_t y, int64_t x)
{
    int64_t ob = o / 16, ol = o % 16;
    if (s[1] <= 4)
        return (((ob * s[2] + y) * s[3] + x) * s[1] + i) * 16 + ol;
    int64_t ibs = cpu_round16(s[1]) / 16;
    return ((((ob * ibs + i / 16) * s[2] + y) * s[3] + x) * 16 + i % 16) * 16 + ol;
}
static void move_weights(const sc_param_desc *p, const float *from, float *to, bool in)
{
    const weight_dims w = weight_dims_of(p);
    const int64_t *s = w.d;
#pragma omp parallel for schedule(static)
    for (int64_t o = 0; o < s[0]; o++)
        for (int64_t i = 0; i < s[1]; i++)
            for (int64_t y = 0; y < s[2]; y++)
                for (int64_t x = 0; x < s[3]; x++) {
                    int64_t plain = ((o * s[1] + i) * s[2] + y) * s[3] + x;
                    int64_t flat = weight_place(s, o, i, y, x);
                    if (in)
                        to[flat] = from[plain];
                    else
                        to[plain] = from[flat];
                }
}
void cpu_param_import(sc_device *dev, const sc_param_desc *p, const void *host, void *value)
{
    size_t padded = cpu_param_elements(dev, p), count = (size_t)sc_shape_count(&p->shape);
    if (conv_weight(p)) {
        memset(value, 0, padded * sizeof(float));
        move_weights(p, host, value, true);
    } else {
        memcpy(value, host, count * sizeof(float));
        memset((float *)value + count, 0, (padded - count) * sizeof(float));
    }
}
void cpu_param_export(sc_device *dev, const sc_param_desc *p, const void *value, void *host)
{
    (void)dev;
    if (conv_weight(p))
        move_weights(p, value, host, false);
    else
        memcpy(host, value, (size_t)sc_shape_count(&p->shape) * sizeof(float));
}
bool cpu_param_plain(const sc_device *dev, const sc_param_desc *p)
{
    (void)dev;
    return !conv_weight(p);
}
