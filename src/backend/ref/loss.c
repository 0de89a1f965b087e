/* superclip_loss: class loss on z = x.t / tau and contrastive loss on S_ij = x_i . t_{y_j} / tau0.
 * The columns of one class are equal in S, so everything is computed from x.t [B, C] and the class
 * counts of the batch.
 */
#include "ref.h"

#include <math.h>
#include <string.h>

typedef struct batch {
    const sc_op_node *n;
    const sc_loss_attrs *a;
    int64_t rows, classes, width;
    const double *x, *t, *weights; /* [B,E] [C,E] [C] */
    const int32_t *labels;
    double tau;
    double *dots;    /* saved: x.t [B,C] */
    double *count;   /* scratch: rows of each class [C] */
    double *row_lse; /* scratch: log sum_j exp S_ij [B] */
    double *col_lse; /* scratch: log sum_i exp S_ij for a column of class c [C] */
    double *grad;    /* scratch: gradient of dots [B,C] */
} batch;

static void memory(const sc_op_node *n, size_t *saved, size_t *scratch)
{
    size_t rows = (size_t)n->in[0].desc.shape.d[0], classes = (size_t)n->in[1].desc.shape.d[0];
    *saved = rows * classes * sizeof(double);
    *scratch = (rows * classes + rows + 2 * classes) * sizeof(double);
}

static batch batch_of(const sc_op_node *n)
{
    batch b = {.n = n, .a = &n->attrs.loss};
    b.rows = n->in[0].desc.shape.d[0];
    b.width = n->in[0].desc.shape.d[1];
    b.classes = n->in[1].desc.shape.d[0];
    b.x = n->in[0].data;
    b.t = n->in[1].data;
    b.labels = n->in[2].data;
    b.weights = n->in[3].data;
    b.tau = ref_param(n, 0)[0];
    b.dots = n->saved;
    b.grad = n->scratch;
    b.row_lse = b.grad + b.rows * b.classes;
    b.count = b.row_lse + b.rows;
    b.col_lse = b.count + b.classes;
    return b;
}

static double log_sum_exp(const double *v, int64_t n, double scale)
{
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        top = fmax(top, scale * v[i]);
    for (int64_t i = 0; i < n; i++)
        sum += exp(scale * v[i] - top);
    return top + log(sum);
}

/* ---- the class part ---------------------------------------------------------------------------
 */

static double weight_sum(const batch *b)
{
    double sum = 0;
    for (int64_t i = 0; i < b->rows; i++)
        sum += b->weights[b->labels[i]];
    return sum;
}

/* 1 - p of the true class, without the cancellation: the other classes' probabilities. */
static double other_probability(const double *z, int64_t classes, int32_t label, double lse)
{
    double sum = 0;
    for (int64_t c = 0; c < classes; c++)
        sum += c != label ? exp(z[c] - lse) : 0;
    return sum;
}

static double focal_term(const sc_loss_attrs *a, double logp, double q)
{
    return -a->focal_alpha * pow(q, a->focal_gamma) * logp;
}

/* d focal_term / d logp, where q = 1 - p and dq/dlogp = -p */
static double focal_slope(const sc_loss_attrs *a, double logp, double q)
{
    double g = a->focal_gamma;
    double inner = q > 0 && g != 0 ? g * pow(q, g - 1) * exp(logp) * logp : 0;
    return -a->focal_alpha * (pow(q, g) - inner);
}

static double class_loss(const batch *b, const double *logits)
{
    double sum = 0, norm = b->a->focal ? (double)b->rows : weight_sum(b);
    for (int64_t i = 0; i < b->rows; i++) {
        const double *z = logits + i * b->classes;
        double lse = log_sum_exp(z, b->classes, 1), logp = z[b->labels[i]] - lse;
        if (b->a->focal)
            sum += focal_term(b->a, logp, other_probability(z, b->classes, b->labels[i], lse));
        else
            sum += b->weights[b->labels[i]] * -logp;
    }
    return norm > 0 ? sum / norm : 0;
}

/* Adds d class / d dots, times `scale`; returns scale * d class / d tau. */
static double class_gradient(const batch *b, const double *logits, double scale)
{
    double norm = b->a->focal ? (double)b->rows : weight_sum(b), dtau = 0;
    for (int64_t i = 0; norm > 0 && i < b->rows; i++) {
        const double *z = logits + i * b->classes;
        int32_t label = b->labels[i];
        double lse = log_sum_exp(z, b->classes, 1), slope = -b->weights[label];
        if (b->a->focal)
            slope = focal_slope(b->a, z[label] - lse, other_probability(z, b->classes, label, lse));
        for (int64_t c = 0; c < b->classes; c++) {
            double dz = scale * slope / norm * ((c == label) - exp(z[c] - lse));
            b->grad[i * b->classes + c] += dz / b->tau;
            dtau -= dz * z[c] / b->tau;
        }
    }
    return dtau;
}

/* ---- the contrastive part ---------------------------------------------------------------------
 */

static void contrastive_sums(const batch *b)
{
    memset(b->count, 0, (size_t)b->classes * sizeof(double));
    for (int64_t i = 0; i < b->rows; i++)
        b->count[b->labels[i]]++;
    for (int64_t i = 0; i < b->rows; i++) {
        const double *d = b->dots + i * b->classes;
        double top = -INFINITY, sum = 0;
        for (int64_t c = 0; c < b->classes; c++)
            if (b->count[c] > 0)
                top = fmax(top, d[c] / b->a->tau0);
        for (int64_t c = 0; c < b->classes; c++)
            if (b->count[c] > 0)
                sum += b->count[c] * exp(d[c] / b->a->tau0 - top);
        b->row_lse[i] = top + log(sum);
    }
    for (int64_t c = 0; c < b->classes; c++) {
        double top = -INFINITY, sum = 0;
        for (int64_t i = 0; i < b->rows; i++)
            top = fmax(top, b->dots[i * b->classes + c] / b->a->tau0);
        for (int64_t i = 0; i < b->rows; i++)
            sum += exp(b->dots[i * b->classes + c] / b->a->tau0 - top);
        b->col_lse[c] = top + log(sum);
    }
}

/* Share of the target of row i (or of column j) on the pair (i, j). */
static double target(const batch *b, int64_t i, int64_t j)
{
    if (!b->a->multi_positive)
        return i == j;
    return b->labels[i] == b->labels[j] ? 1 / b->count[b->labels[i]] : 0;
}

static double contrastive_loss(const batch *b)
{
    double sum = 0;
    contrastive_sums(b);
    for (int64_t i = 0; i < b->rows; i++)
        for (int64_t j = 0; j < b->rows; j++) {
            double share = target(b, i, j);
            int32_t c = b->labels[j];
            double s = b->dots[i * b->classes + c] / b->a->tau0;
            if (share > 0)
                sum += share * (b->row_lse[i] - s + b->col_lse[c] - s);
        }
    return sum / (2 * (double)b->rows);
}

/* Adds d contrastive / d dots, times `scale`. */
static void contrastive_gradient(const batch *b, double scale)
{
    double each = scale / (2 * (double)b->rows) / b->a->tau0;
    contrastive_sums(b);
    for (int64_t i = 0; i < b->rows; i++)
        for (int64_t j = 0; j < b->rows; j++) {
            int32_t c = b->labels[j];
            double s = b->dots[i * b->classes + c] / b->a->tau0;
            b->grad[i * b->classes + c] +=
                each * (exp(s - b->row_lse[i]) + exp(s - b->col_lse[c]) - 2 * target(b, i, j));
        }
}

/* ---- the op -----------------------------------------------------------------------------------
 */

static sc_status check_labels(const batch *b)
{
    for (int64_t i = 0; i < b->rows; i++)
        if (b->labels[i] < 0 || b->labels[i] >= b->classes)
            return sc_fail(SC_EINTERNAL, "superclip_loss: label %d of row %lld is not in 0..%lld",
                           b->labels[i], (long long)i, (long long)b->classes - 1);
    return SC_OK;
}

static sc_status forward(const sc_op_node *n)
{
    batch b = batch_of(n);
    double *losses = n->out[0].data, *logits = n->out[1].data;
    SC_TRY(check_labels(&b));
    for (int64_t i = 0; i < b.rows; i++)
        for (int64_t c = 0; c < b.classes; c++) {
            double dot = 0;
            for (int64_t e = 0; e < b.width; e++)
                dot += b.x[i * b.width + e] * b.t[c * b.width + e];
            b.dots[i * b.classes + c] = dot;
            logits[i * b.classes + c] = dot / b.tau;
        }
    losses[1] = b.a->superclip ? class_loss(&b, logits) : 0;
    losses[2] = contrastive_loss(&b);
    losses[0] = b.a->superclip ? b.a->class_weight * losses[1] + b.a->contrastive_weight * losses[2]
                               : losses[2];
    return SC_OK;
}

static void feature_gradients(const batch *b)
{
    double *dx = ref_input_grad(&b->n->in[0]), *dt = ref_input_grad(&b->n->in[1]);
    for (int64_t i = 0; i < b->rows; i++)
        for (int64_t c = 0; c < b->classes; c++) {
            double g = b->grad[i * b->classes + c];
            for (int64_t e = 0; e < b->width; e++) {
                if (dx != NULL)
                    dx[i * b->width + e] += g * b->t[c * b->width + e];
                if (dt != NULL)
                    dt[c * b->width + e] += g * b->x[i * b->width + e];
            }
        }
}

static sc_status backward(const sc_op_node *n)
{
    batch b = batch_of(n);
    const double *dlosses = n->out[0].grad, *logits = n->out[1].data, *dlogits = n->out[1].grad;
    double *dtau = ref_param_grad(&n->params[0]), tau_sum = 0;
    memset(b.grad, 0, (size_t)(b.rows * b.classes) * sizeof(double));
    if (dlosses != NULL && b.a->superclip)
        tau_sum += class_gradient(&b, logits, dlosses[0] * b.a->class_weight + dlosses[1]);
    if (dlosses != NULL)
        contrastive_gradient(&b, dlosses[0] * (b.a->superclip ? b.a->contrastive_weight : 1) +
                                     dlosses[2]);
    for (int64_t k = 0; dlogits != NULL && k < b.rows * b.classes; k++) {
        b.grad[k] += dlogits[k] / b.tau;
        tau_sum -= dlogits[k] * logits[k] / b.tau;
    }
    feature_gradients(&b);
    if (dtau != NULL)
        *dtau = tau_sum;
    return SC_OK;
}

const ref_op ref_superclip_loss = {forward, backward, memory};
