/* Attention of one head of one text, or of the patches of one image. Its rows are widened to float
 * once ([length][dp], keys and values transposed too, [d][lp], dp and lp rounded up to the vector);
 * queries are taken in blocks, so that scores of a long sequence stay in the second cache.
 */
#include "kernels.h"
#include "simd.h"

#define ROUND(n) (((n) + VL - 1) / VL * VL)
#define BLOCK 64 /* queries at a time */
#define TALL 4   /* rows that a product holds in registers, of WIDE vectors each */
#define WIDE 2

typedef struct head {
    int64_t l, d, dp, lp; /* l: positions that count */
    int64_t shared;       /* the first of them, whose queries are somebody else's */
    float scale;
    bool causal;
    float *q, *k, *v, *dy, *dk, *dv; /* [l][dp]; forward keeps y in dy */
    float *kt, *vt;                  /* [d][lp] */
    float *p, *ds;                   /* [BLOCK][lp] */
    float *dq;                       /* [BLOCK][dp] */
} head;

static int64_t attention_floats(int64_t length, int64_t head_width)
{
    int64_t dp = ROUND(head_width), lp = ROUND(length);
    return 6 * length * dp + 2 * head_width * lp + 2 * BLOCK * lp + BLOCK * dp;
}

static int64_t attention_owed(int64_t shared, int64_t head_width)
{
    return 2 * shared * ROUND(head_width);
}

static head carve(const cpu_attention *a)
{
    head h = {.l = a->valid, .shared = a->shared, .d = a->width / a->heads, .causal = a->causal};
    h.dp = ROUND(h.d);
    h.lp = ROUND(h.l);
    h.scale = 1.0f / sqrtf((float)h.d);
    float *at = a->work;
    float **const rows[] = {&h.q, &h.k, &h.v, &h.dy, &h.dk, &h.dv};
    for (int i = 0; i < 6; i++, at += h.l * h.dp)
        *rows[i] = at;
    h.kt = at;
    h.vt = h.kt + h.d * h.lp;
    h.p = h.vt + h.d * h.lp;
    h.ds = h.p + BLOCK * h.lp;
    h.dq = h.ds + BLOCK * h.lp;
    return h;
}

/* rows[from + i][dp] = x[i * stride + at + c], padding 0 */
INLINE void take_rows(float *rows, const head *h, int64_t from, int64_t n, const void *x,
                      int64_t at, int64_t stride, bool bf)
{
    rows += from * h->dp;
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < h->dp; c += VL) {
            int64_t e = at + i * stride + c;
            vf v = c + VL <= h->d ? load(x, e, bf) : load_part(x, e, (int)(h->d - c), bf);
            store(rows, i * h->dp + c, v, false);
        }
}
/* n rows back to x from its row `from` on. */
INLINE void give_rows(void *x, const head *h, const float *rows, int64_t from, int64_t n,
                      int64_t at, int64_t stride, bool bf, bool add)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < h->d; c += VL) {
            int64_t e = at + (from + i) * stride + c;
            int part = (int)(h->d - c < VL ? h->d - c : VL);
            vf v = load(rows, i * h->dp + c, false);
            if (part == VL) {
                store(x, e, add ? v + load(x, e, bf) : v, bf);
            } else {
                store_part(x, e, part, add ? v + load_part(x, e, part, bf) : v, bf);
            }
        }
}
/* Positions that do not count get 0. */
INLINE void give_zeros(void *x, const head *h, int64_t length, int64_t at, int64_t stride, bool bf)
{
    const vf zero = {0};
    for (int64_t i = h->l; i < length; i++)
        for (int64_t c = 0; c < h->d; c += VL)
            store_part(x, at + i * stride + c, (int)(h->d - c < VL ? h->d - c : VL), zero, bf);
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

/* c[rows][cols] (+)= a b over k terms: a[i][t] lies at i * a_row + t * a_step; cols is a multiple
 * of the vector. */
typedef struct product {
    float *c;
    const float *a, *b;
    int64_t ldc, a_row, a_step, ldb, rows, cols, k;
    bool add;
} product;

INLINE void product_tile(const product *p, int64_t i, int64_t j, const int tall, const int wide)
{
    vf s[TALL][WIDE] = {{{0}}};
    const float *a = p->a + i * p->a_row, *b = p->b + j;
    for (int64_t t = 0; t < p->k; t++)
        for (int w = 0; w < wide; w++) {
            const vf y = load(b, t * p->ldb + w * VL, false);
            for (int r = 0; r < tall; r++)
                s[r][w] += splat(a[r * p->a_row + t * p->a_step]) * y;
        }
    for (int r = 0; r < tall; r++)
        for (int w = 0; w < wide; w++) {
            const int64_t e = (i + r) * p->ldc + j + w * VL;
            store(p->c, e, p->add ? load(p->c, e, false) + s[r][w] : s[r][w], false);
        }
}
static void run_product(const product *p)
{
    for (int64_t j = 0; j < p->cols; j += WIDE * VL) {
        const bool both = j + WIDE * VL <= p->cols;
        int64_t i = 0;
        for (; i + TALL <= p->rows; i += TALL) {
            if (both)
                product_tile(p, i, j, TALL, WIDE);
            else
                product_tile(p, i, j, TALL, 1);
        }
        for (; i < p->rows; i++) {
            if (both)
                product_tile(p, i, j, 1, WIDE);
            else
                product_tile(p, i, j, 1, 1);
        }
    }
}

/* Keys that the queries [from, from + n) see between them. */
static int64_t reach(const head *h, int64_t from, int64_t n)
{
    return h->causal ? from + n : h->l;
}

INLINE void softmax_row(float *p, int64_t seen, int64_t padded, float scale)
{
    vf top = splat(-INFINITY), sum = {0};
    int64_t j = 0;
    for (; j + VL <= seen; j += VL) {
        const vf v = load(p, j, false);
        top = select_vf(v > top, v, top);
    }
    float t[VL], highest = -INFINITY;
    memcpy(t, &top, sizeof t);
    for (int i = 0; i < VL; i++)
        highest = t[i] > highest ? t[i] : highest;
    for (; j < seen; j++)
        highest = p[j] > highest ? p[j] : highest;
    for (j = 0; j < seen; j += VL) {
        vf v = vexp((load(p, j, false) - splat(highest)) * splat(scale));
        if (seen - j < VL)
            v = first_lanes(v, (int)(seen - j));
        store(p, j, v, false);
        sum += v;
    }
    const vf by = splat(1.0f / sum_lanes(sum));
    for (int64_t e = 0; e < j; e += VL)
        store(p, e, load(p, e, false) * by, false);
    for (; j < padded; j += VL)
        store(p, j, (vf){0}, false);
}

/* p[i][..] = softmax of the scaled scores of query from + i, 0 behind what it sees */
static void probabilities(const head *h, int64_t from, int64_t n)
{
    const int64_t keys = ROUND(reach(h, from, n));
    run_product(&(product){.c = h->p,
                           .ldc = h->lp,
                           .a = h->q + from * h->dp,
                           .a_row = h->dp,
                           .a_step = 1,
                           .b = h->kt,
                           .ldb = h->lp,
                           .rows = n,
                           .cols = keys,
                           .k = h->d});
    for (int64_t i = 0; i < n; i++)
        softmax_row(h->p + i * h->lp, h->causal ? from + i + 1 : h->l, keys, h->scale);
}

/* ds = p * (dp - sum_j p dp) * scale, dp = dy v^T */
static void score_gradients(const head *h, int64_t from, int64_t n)
{
    const int64_t keys = ROUND(reach(h, from, n));
    run_product(&(product){.c = h->ds,
                           .ldc = h->lp,
                           .a = h->dy + from * h->dp,
                           .a_row = h->dp,
                           .a_step = 1,
                           .b = h->vt,
                           .ldb = h->lp,
                           .rows = n,
                           .cols = keys,
                           .k = h->d});
    for (int64_t i = 0; i < n; i++) {
        float *ds = h->ds + i * h->lp;
        const float *p = h->p + i * h->lp;
        vf sum = {0};
        for (int64_t j = 0; j < keys; j += VL)
            sum += load(p, j, false) * load(ds, j, false);
        const vf mean = splat(sum_lanes(sum));
        for (int64_t j = 0; j < keys; j += VL)
            store(ds, j, load(p, j, false) * (load(ds, j, false) - mean) * splat(h->scale), false);
    }
}

/* out[n][dp] = weights[n][keys] rows[keys][dp] */
static void mix(const head *h, float *out, const float *weights, const float *rows, int64_t n,
                int64_t keys)
{
    run_product(&(product){.c = out,
                           .ldc = h->dp,
                           .a = weights,
                           .a_row = h->lp,
                           .a_step = 1,
                           .b = rows,
                           .ldb = h->dp,
                           .rows = n,
                           .cols = h->dp,
                           .k = keys});
}
/* out[keys][dp] += weights[n][keys]^T rows[n][dp]; the first block begins it */
static void mix_back(const head *h, float *out, const float *weights, const float *rows, int64_t n,
                     int64_t keys)
{
    run_product(&(product){.c = out,
                           .ldc = h->dp,
                           .a = weights,
                           .a_row = 1,
                           .a_step = h->lp,
                           .b = rows,
                           .ldb = h->dp,
                           .rows = keys,
                           .cols = h->dp,
                           .k = n,
                           .add = true});
}

/* Queries of the own rows, keys and values of all. */
static void take_text(const head *h, const cpu_attention *a, int64_t at)
{
    float *const rows[] = {h->q, h->k, h->v};
    for (int part = 0; part < 3; part++) {
        if (part > 0)
            take_rows(rows[part], h, 0, h->shared, a->before[part], at, a->stride, a->bf_x);
        take_rows(rows[part], h, h->shared, h->l - h->shared, a->x[part], at, a->stride, a->bf_x);
    }
    transpose(h->kt, h->k, h);
}

static void attention(const cpu_attention *a, int head_index)
{
    head h = carve(a);
    const int64_t at = head_index * h.d;
    take_text(&h, a, at);
    for (int64_t from = h.shared; from < h.l; from += BLOCK) {
        const int64_t n = h.l - from < BLOCK ? h.l - from : BLOCK;
        probabilities(&h, from, n);
        mix(&h, h.dy, h.p, h.v, n, reach(&h, from, n));
        give_rows(a->y, &h, h.dy, from - h.shared, n, at, a->width, a->bf_y, false);
    }
    give_zeros(a->y, &h, a->length, at, a->width, a->bf_y);
}

static void attention_back(const cpu_attention *a, int head_index)
{
    head h = carve(a);
    const int64_t at = head_index * h.d;
    take_text(&h, a, at);
    take_rows(h.dy, &h, h.shared, h.l - h.shared, a->dy, at, a->width, a->bf_y);
    transpose(h.vt, h.v, &h);
    if (a->owed && h.shared == 0)
        memcpy(h.dk, a->owed, (size_t)(2 * h.l * h.dp) * sizeof(float));
    else
        memset(h.dk, 0, (size_t)(2 * h.l * h.dp) * sizeof(float)); /* and dv behind it */
    for (int64_t from = h.shared; from < h.l; from += BLOCK) {
        const int64_t n = h.l - from < BLOCK ? h.l - from : BLOCK, keys = reach(&h, from, n);
        probabilities(&h, from, n);
        score_gradients(&h, from, n);
        mix_back(&h, h.dv, h.p, h.dy + from * h.dp, n, keys);
        mix_back(&h, h.dk, h.ds, h.q + from * h.dp, n, keys);
        if (a->dx[0]) {
            mix(&h, h.dq, h.ds, h.k, n, keys);
            give_rows(a->dx[0], &h, h.dq, from - h.shared, n, at, a->stride, a->bf_x, a->add[0]);
        }
    }
    const float *const rows[] = {NULL, h.dk, h.dv};
    for (int part = 1; part < 3; part++)
        for (int64_t e = 0; e < h.shared * h.dp; e++)
            a->owed[(part - 1) * h.shared * h.dp + e] += rows[part][e];
    for (int part = 0; part < 3; part++) {
        if (a->dx[part] && part > 0)
            give_rows(a->dx[part], &h, rows[part] + h.shared * h.dp, 0, h.l - h.shared, at,
                      a->stride, a->bf_x, a->add[part]);
        if (a->dx[part] && !a->add[part])
            give_zeros(a->dx[part], &h, a->length, at, a->stride, a->bf_x);
    }
}

void KERNEL(fill_attention)(cpu_kernels *k)
{
    k->attention_floats = attention_floats;
    k->attention_owed = attention_owed;
    k->attention = attention;
    k->attention_back = attention_back;
}
