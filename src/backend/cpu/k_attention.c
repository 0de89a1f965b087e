/* Causal attention of one head of one short text. Everything of a head fits the first caches, so it
 * is widened to float once: rows [length][dp] and transposes [d][lp], dp and lp rounded up to the
 * vector. Vectors run over positions j for scores and over the head's width for products with rows.
 */
#include "kernels.h"
#include "simd.h"

#define ROUND(n) (((n) + VL - 1) / VL * VL)

typedef struct head {
    int64_t l, d, dp, lp;
    float scale;
    float *q, *k, *v, *dy; /* [l][dp] */
    float *kt, *vt;        /* [d][lp] */
    float *p, *ds;         /* [l][lp] */
} head;

static int64_t attention_floats(int64_t length, int64_t head_width)
{
    int64_t dp = ROUND(head_width), lp = ROUND(length);
    return 4 * length * dp + 2 * head_width * lp + 2 * length * lp;
}

static head carve(const cpu_attention *a)
{
    head h = {.l = a->length, .d = a->width / a->heads};
    h.dp = ROUND(h.d);
    h.lp = ROUND(h.l);
    h.scale = 1.0f / sqrtf((float)h.d);
    h.q = a->work;
    h.k = h.q + h.l * h.dp;
    h.v = h.k + h.l * h.dp;
    h.dy = h.v + h.l * h.dp;
    h.kt = h.dy + h.l * h.dp;
    h.vt = h.kt + h.d * h.lp;
    h.p = h.vt + h.d * h.lp;
    h.ds = h.p + h.l * h.lp;
    return h;
}

/* rows[l][dp] = x[i * stride + at + c], padding 0 */
INLINE void take_rows(float *rows, const head *h, const void *x, int64_t at, int64_t stride,
                      bool bf)
{
    for (int64_t i = 0; i < h->l; i++)
        for (int64_t c = 0; c < h->dp; c += VL) {
            int64_t e = at + i * stride + c;
            vf v = c + VL <= h->d ? load(x, e, bf) : load_part(x, e, (int)(h->d - c), bf);
            store(rows, i * h->dp + c, v, false);
        }
}
INLINE void give_rows(void *x, const head *h, const float *rows, int64_t at, int64_t stride,
                      bool bf, bool add)
{
    for (int64_t i = 0; i < h->l; i++)
        for (int64_t c = 0; c < h->d; c += VL) {
            int64_t e = at + i * stride + c;
            int part = (int)(h->d - c < VL ? h->d - c : VL);
            vf v = load(rows, i * h->dp + c, false);
            if (part == VL) {
                store(x, e, add ? v + load(x, e, bf) : v, bf);
            } else {
                store_part(x, e, part, add ? v + load_part(x, e, part, bf) : v, bf);
            }
        }
}
static void transpose(float *t, const float *rows, const head *h)
{
    for (int64_t c = 0; c < h->d; c++) {
        for (int64_t j = 0; j < h->l; j++)
            t[c * h->lp + j] = rows[j * h->dp + c];
        for (int64_t j = h->l; j < h->lp; j++)
            t[c * h->lp + j] = 0;
    }
}

/* out[lp] = sum_c row[c] * t[c][..], for the first n columns */
INLINE void dot_columns(float *out, const float *row, const float *t, const head *h, int64_t n)
{
    for (int64_t j = 0; j < n; j += VL) {
        vf s0 = {0}, s1 = {0};
        int64_t c = 0;
        for (; c + 2 <= h->d; c += 2) {
            s0 += splat(row[c]) * load(t, c * h->lp + j, false);
            s1 += splat(row[c + 1]) * load(t, (c + 1) * h->lp + j, false);
        }
        if (c < h->d)
            s0 += splat(row[c]) * load(t, c * h->lp + j, false);
        store(out, j, s0 + s1, false);
    }
}

/* out[dp] = sum over j in [from, to) of weight[j * step] * rows[j] */
INLINE void mix_rows(float *out, const float *weight, int64_t step, const float *rows,
                     const head *h, int64_t from, int64_t to)
{
    for (int64_t c = 0; c < h->dp; c += VL) {
        vf s = {0};
        for (int64_t j = from; j < to; j++)
            s += splat(weight[j * step]) * load(rows, j * h->dp + c, false);
        store(out, c, s, false);
    }
}

/* p[i][0..i] = softmax of the scaled scores, 0 behind */
static void probabilities(const head *h)
{
    for (int64_t i = 0; i < h->l; i++) {
        float *p = h->p + i * h->lp;
        dot_columns(p, h->q + i * h->dp, h->kt, h, i + 1);
        float top = -INFINITY, sum = 0;
        for (int64_t j = 0; j <= i; j++)
            top = p[j] > top ? p[j] : top;
        for (int64_t j = 0; j <= i; j += VL)
            store(p, j, vexp((load(p, j, false) - splat(top)) * splat(h->scale)), false);
        for (int64_t j = 0; j <= i; j++)
            sum += p[j];
        for (int64_t j = 0; j < h->lp; j++)
            p[j] = j <= i ? p[j] / sum : 0.0f;
    }
}

static void attention(const cpu_attention *a, int head_index)
{
    head h = carve(a);
    int64_t at = head_index * h.d;
    take_rows(h.q, &h, a->qkv, at, 3 * a->width, a->bf_qkv);
    take_rows(h.k, &h, a->qkv, a->width + at, 3 * a->width, a->bf_qkv);
    take_rows(h.v, &h, a->qkv, 2 * a->width + at, 3 * a->width, a->bf_qkv);
    transpose(h.kt, h.k, &h);
    probabilities(&h);
    for (int64_t i = 0; i < h.l; i++)
        mix_rows(h.dy + i * h.dp, h.p + i * h.lp, 1, h.v, &h, 0, i + 1);
    give_rows(a->y, &h, h.dy, at, a->width, a->bf_y, false);
}

static void attention_back(const cpu_attention *a, int head_index)
{
    head h = carve(a);
    int64_t at = head_index * h.d;
    take_rows(h.q, &h, a->qkv, at, 3 * a->width, a->bf_qkv);
    take_rows(h.k, &h, a->qkv, a->width + at, 3 * a->width, a->bf_qkv);
    take_rows(h.v, &h, a->qkv, 2 * a->width + at, 3 * a->width, a->bf_qkv);
    take_rows(h.dy, &h, a->dy, at, a->width, a->bf_y);
    transpose(h.kt, h.k, &h);
    transpose(h.vt, h.v, &h);
    probabilities(&h);
    /* dS = P * (dP - sum_j P dP) * scale, dP = dy v^T */
    for (int64_t i = 0; i < h.l; i++) {
        float *ds = h.ds + i * h.lp;
        const float *p = h.p + i * h.lp;
        float mean = 0;
        dot_columns(ds, h.dy + i * h.dp, h.vt, &h, i + 1);
        for (int64_t j = 0; j <= i; j++)
            mean += p[j] * ds[j];
        for (int64_t j = 0; j < h.lp; j++)
            ds[j] = j <= i ? p[j] * (ds[j] - mean) * h.scale : 0.0f;
    }
    /* v's and the transposes' memory is free now: dv, then dk and dq over it */
    float *out = h.v;
    for (int64_t j = 0; j < h.l; j++)
        mix_rows(out + j * h.dp, h.p + j, h.lp, h.dy, &h, j, h.l);
    give_rows(a->dqkv, &h, out, 2 * a->width + at, 3 * a->width, a->bf_dqkv, a->add);
    for (int64_t j = 0; j < h.l; j++)
        mix_rows(out + j * h.dp, h.ds + j, h.lp, h.q, &h, j, h.l);
    give_rows(a->dqkv, &h, out, a->width + at, 3 * a->width, a->bf_dqkv, a->add);
    for (int64_t i = 0; i < h.l; i++)
        mix_rows(out + i * h.dp, h.ds + i * h.lp, 1, h.k, &h, 0, i + 1);
    give_rows(a->dqkv, &h, out, at, 3 * a->width, a->bf_dqkv, a->add);
}

void KERNEL(fill_attention)(cpu_kernels *k)
{
    k->attention_floats = attention_floats;
    k->attention = attention;
    k->attention_back = attention_back;
}
