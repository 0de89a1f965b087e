/* superclip_loss: float data, sums in double. With g_ic = x_i . t_c every part is a function of the
 * [B, C] matrix g, since equal labels share a text: row i of S has n_c equal columns for class c.
 * Backward computes g again; it costs less than keeping it would explain.
 */
#include "cpu.h"

#include <math.h>
#include <string.h>

typedef struct loss {
    int64_t b, c, e;
    const float *x, *t, *weights;
    const int32_t *labels;
    double tau;
    const sc_loss_attrs *a;
    double *g;                                 /* [b, c] */
    double *dg;                                /* [b, c] */
    double *row_class, *row_contrast, *column; /* log-sum-exps: [b], [b], [c] */
    double *count;                             /* [c]: samples of a class in the batch */
    double weight_sum;
} loss;

static size_t loss_doubles(int64_t b, int64_t c)
{
    return (size_t)(2 * b * c + 2 * b + 2 * c);
}
static sc_status loss_memory(cpu_device *d, const sc_op_node *n, size_t *saved, size_t *scratch)
{
    (void)d;
    (void)saved;
    *scratch = cpu_align(loss_doubles(n->in[0].desc.shape.d[0], n->in[1].desc.shape.d[0]) *
                         sizeof(double));
    return SC_OK;
}

static double log_sum_exp(const double *v, int64_t step, const double *factor, int64_t n,
                          double scale)
{
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        if ((!factor || factor[i] > 0) && !(v[i * step] * scale <= top))
            top = v[i * step] * scale;
    if (!isfinite(top))
        return top;
    for (int64_t i = 0; i < n; i++)
        sum += (factor ? factor[i] : 1) * exp(v[i * step] * scale - top);
    return top + log(sum);
}

static sc_status loss_begin(const sc_op_node *n, loss *l)
{
    *l = (loss){.b = n->in[0].desc.shape.d[0],
                .c = n->in[1].desc.shape.d[0],
                .e = n->in[0].desc.shape.d[1],
                .x = n->in[0].data,
                .t = n->in[1].data,
                .labels = n->in[2].data,
                .weights = n->in[3].data,
                .tau = (double)*(const float *)n->params[0].value,
                .a = &n->attrs.loss};
    l->g = n->scratch;
    l->dg = l->g + l->b * l->c;
    l->row_class = l->dg + l->b * l->c;
    l->row_contrast = l->row_class + l->b;
    l->column = l->row_contrast + l->b;
    l->count = l->column + l->c;
    memset(l->count, 0, (size_t)l->c * sizeof(double));
    for (int64_t i = 0; i < l->b; i++) {
        if (l->labels[i] < 0 || l->labels[i] >= l->c)
            return sc_fail(SC_EINTERNAL, "cpu: loss: label %d of %lld classes", l->labels[i],
                           (long long)l->c);
        l->count[l->labels[i]] += 1;
        l->weight_sum += (double)l->weights[l->labels[i]];
    }
    const double scale0 = 1 / l->a->tau0;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < l->b; i++) {
        double *g = l->g + i * l->c;
        for (int64_t c = 0; c < l->c; c++) {
            double s = 0;
            for (int64_t e = 0; e < l->e; e++)
                s += (double)l->x[i * l->e + e] * (double)l->t[c * l->e + e];
            g[c] = s;
        }
        l->row_class[i] = log_sum_exp(g, 1, NULL, l->c, 1 / l->tau);
        l->row_contrast[i] = log_sum_exp(g, 1, l->count, l->c, scale0);
    }
#pragma omp parallel for schedule(static)
    for (int64_t c = 0; c < l->c; c++)
        l->column[c] = log_sum_exp(l->g + c, l->c, NULL, l->b, scale0);
    return SC_OK;
}

static double class_loss(const loss *l)
{
    double sum = 0;
    for (int64_t i = 0; i < l->b; i++) {
        int32_t y = l->labels[i];
        double log_p = l->g[i * l->c + y] / l->tau - l->row_class[i];
        if (l->a->focal)
            sum -= l->a->focal_alpha * pow(-expm1(log_p), l->a->focal_gamma) * log_p;
        else
            sum -= (double)l->weights[y] * log_p;
    }
    if (l->a->focal)
        return l->b > 0 ? sum / (double)l->b : 0;
    return l->weight_sum > 0 ? sum / l->weight_sum : 0;
}
/* The target's logit: its own column, or the mean over the columns (rows) of its class. */
static double target(const loss *l, int64_t i, bool column)
{
    int32_t y = l->labels[i];
    if (!l->a->multi_positive || !column)
        return l->g[i * l->c + y] / l->a->tau0;
    double sum = 0;
    for (int64_t k = 0; k < l->b; k++)
        if (l->labels[k] == y)
            sum += l->g[k * l->c + y];
    return sum / l->count[y] / l->a->tau0;
}
static double contrastive_loss(const loss *l)
{
    double sum = 0;
    for (int64_t i = 0; i < l->b; i++)
        sum +=
            l->row_contrast[i] + l->column[l->labels[i]] - target(l, i, false) - target(l, i, true);
    return l->b > 0 ? sum / (2 * (double)l->b) : 0;
}

static sc_status loss_forward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)d;
    (void)state;
    loss l;
    SC_TRY(loss_begin(n, &l));
    double contrastive = contrastive_loss(&l), class = l.a->superclip ? class_loss(&l) : 0;
    double total = l.a->superclip
                       ? l.a->class_weight * class + l.a->contrastive_weight * contrastive
                       : contrastive;
    float *out = n->out[0].data, *logits = n->out[1].data;
    out[0] = (float)total;
    out[1] = (float)class;
    out[2] = (float)contrastive;
    for (int64_t i = 0; logits && i < l.b * l.c; i++)
        logits[i] = (float)(l.g[i] / l.tau);
    return SC_OK;
}

/* d class / d z of one sample: the factor of (p - onehot). */
static double class_slope(const loss *l, int64_t i)
{
    int32_t y = l->labels[i];
    if (!l->a->focal)
        return l->weight_sum > 0 ? (double)l->weights[y] / l->weight_sum : 0;
    double log_p = l->g[i * l->c + y] / l->tau - l->row_class[i], p = exp(log_p), q = -expm1(log_p),
           gamma = l->a->focal_gamma;
    double turn = gamma > 0 && q > 0 ? gamma * pow(q, gamma - 1) * p * log_p : 0;
    return l->a->focal_alpha * (pow(q, gamma) - turn) / (double)l->b;
}
/* dg = d(loss)/dg for the gradients of out0 and out1; returns d(loss)/d(tau). */
static double fill_dg(const sc_op_node *n, const loss *l)
{
    const float *d0 = n->out[0].grad, *d1 = n->out[1].grad;
    double total = d0 ? (double)d0[0] : 0;
    double on_class = l->a->superclip ? total * l->a->class_weight + (d0 ? (double)d0[1] : 0) : 0;
    double on_contrast =
        total * (l->a->superclip ? l->a->contrastive_weight : 1) + (d0 ? (double)d0[2] : 0);
    double dtau = 0;
    for (int64_t i = 0; i < l->b; i++) {
        const double slope = on_class * (on_class != 0 ? class_slope(l, i) : 0);
        for (int64_t c = 0; c < l->c; c++) {
            int64_t k = i * l->c + c;
            double hit = c == l->labels[i], z = l->g[k] / l->tau, s = l->g[k] / l->a->tau0;
            double dz = slope * (exp(z - l->row_class[i]) - hit) + (d1 ? (double)d1[k] : 0);
            double rows = l->count[c] > 0 ? l->count[c] * exp(s - l->row_contrast[i]) : 0;
            double columns = l->count[c] > 0 ? l->count[c] * exp(s - l->column[c]) : 0;
            double ds = on_contrast * (rows + columns - 2 * hit) / (2 * (double)l->b);
            l->dg[k] = dz / l->tau + ds / l->a->tau0;
            dtau -= dz * z / l->tau;
        }
    }
    return dtau;
}

/* out[e] (+)= sum_k factor[k * step] * rows[k][e] */
static void mix(float *out, bool add, const double *factor, int64_t step, const float *rows,
                int64_t n, int64_t e)
{
    enum { CHUNK = 128 };
    for (int64_t from = 0; from < e; from += CHUNK) {
        double acc[CHUNK] = {0};
        int64_t width = e - from < CHUNK ? e - from : CHUNK;
        for (int64_t k = 0; k < n; k++)
            for (int64_t j = 0; j < width; j++)
                acc[j] += factor[k * step] * (double)rows[k * e + from + j];
        for (int64_t j = 0; j < width; j++)
            out[from + j] = (float)(acc[j] + (add ? (double)out[from + j] : 0));
    }
}
static sc_status loss_backward(cpu_device *d, const sc_op_node *n, void *state)
{
    (void)d;
    (void)state;
    loss l;
    SC_TRY(loss_begin(n, &l));
    double dtau = fill_dg(n, &l);
    if (n->params[0].grad)
        *(float *)n->params[0].grad = (float)dtau;
    float *dx = n->in[0].grad, *dt = n->in[1].grad;
    if (dx) {
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < l.b; i++)
            mix(dx + i * l.e, n->in[0].accumulate, l.dg + i * l.c, 1, l.t, l.c, l.e);
    }
    if (dt) {
#pragma omp parallel for schedule(static)
        for (int64_t c = 0; c < l.c; c++)
            mix(dt + c * l.e, n->in[1].accumulate, l.dg + c, l.c, l.x, l.b, l.e);
    }
    return SC_OK;
}
const cpu_op cpu_op_superclip_loss = {loss_memory, NULL, NULL, loss_forward, loss_backward};
