/* superclip_loss. With g_ic = x_i . t_c every part is a function of the [B, C] matrix g, since
 * equal labels share a text: row i of S has count_c equal columns for class c. All of it is a few
 * thousand numbers, so it is computed in double.
 *
 * saved: g [B C], log-sum-exps of the class rows [B], contrastive rows [B] and columns [C], class
 * counts [C].
 */
#include "device.cuh"

#include <math.h>

enum { WARPS = 4, THREADS = 128 };

struct parts {
    double *g, *row_class, *row_contrast, *column, *count;
};
__host__ __device__ __forceinline__ parts parts_of(const sc_cuda_loss &l)
{
    parts p;
    p.g = l.saved;
    p.row_class = p.g + l.rows * l.classes;
    p.row_contrast = p.row_class + l.rows;
    p.column = p.row_contrast + l.rows;
    p.count = p.column + l.classes;
    return p;
}
extern "C" size_t sc_cuda_loss_doubles(int64_t rows, int64_t classes)
{
    return static_cast<size_t>(rows * classes + 2 * rows + 2 * classes);
}
__device__ __forceinline__ int64_t label_of(const sc_cuda_loss &l, int64_t i)
{
    const int64_t y = l.labels[i];
    return y >= 0 && y < l.classes ? y : 0;
}
__device__ __forceinline__ int64_t own_warp(void)
{
    return static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / SC_WARP;
}

/* A warp a pair (image, class); the pairs of image 0 count their class. */
__global__ void __launch_bounds__(WARPS *SC_WARP) dots_kernel(sc_cuda_loss l, float *logits)
{
    const int64_t pair = own_warp(), lane = threadIdx.x % SC_WARP;
    if (pair >= l.rows * l.classes)
        return;
    const int64_t i = pair / l.classes, c = pair % l.classes;
    const parts p = parts_of(l);
    double sum = 0;
    for (int64_t e = lane; e < l.width; e += SC_WARP)
        sum +=
            static_cast<double>(l.x[i * l.width + e]) * static_cast<double>(l.t[c * l.width + e]);
    sum = sc_warp_sum(sum);
    if (lane == 0) {
        p.g[pair] = sum;
        if (logits != nullptr)
            logits[pair] = static_cast<float>(sum / static_cast<double>(*l.tau));
    }
    if (i != 0)
        return;
    double count = 0;
    for (int64_t k = lane; k < l.rows; k += SC_WARP) {
        count += label_of(l, k) == c ? 1.0 : 0.0;
        if (c == 0 && (l.labels[k] < 0 || l.labels[k] >= l.classes))
            atomicMax(l.fault, static_cast<int>(k) + 1);
    }
    count = sc_warp_sum(count);
    if (lane == 0)
        p.count[c] = count;
}

/* log sum_k factor_k exp(scale v_k) over n elements `step` apart, factors of 0 left out */
__device__ __forceinline__ double log_sum_exp(const double *v, int64_t step, const double *factor,
                                              int64_t n, double scale)
{
    const int64_t lane = threadIdx.x % SC_WARP;
    double top = -INFINITY, sum = 0;
    for (int64_t k = lane; k < n; k += SC_WARP)
        if ((factor == nullptr || factor[k] > 0) && v[k * step] * scale > top)
            top = v[k * step] * scale;
    top = sc_warp_max(top);
    for (int64_t k = lane; k < n; k += SC_WARP) {
        const double f = factor == nullptr ? 1.0 : factor[k];
        sum += f > 0 ? f * exp(v[k * step] * scale - top) : 0.0;
    }
    return top + log(sc_warp_sum(sum));
}
/* A warp a row, then a warp a column. */
__global__ void __launch_bounds__(WARPS *SC_WARP) lines_kernel(sc_cuda_loss l)
{
    const int64_t line = own_warp();
    const parts p = parts_of(l);
    if (line >= l.rows + l.classes)
        return;
    if (line < l.rows) {
        const double *g = p.g + line * l.classes;
        const double z = log_sum_exp(g, 1, nullptr, l.classes, 1 / static_cast<double>(*l.tau));
        const double s = log_sum_exp(g, 1, p.count, l.classes, 1 / l.tau0);
        if (threadIdx.x % SC_WARP == 0) {
            p.row_class[line] = z;
            p.row_contrast[line] = s;
        }
    } else {
        const int64_t c = line - l.rows;
        const double s = log_sum_exp(p.g + c, l.classes, nullptr, l.rows, 1 / l.tau0);
        if (threadIdx.x % SC_WARP == 0)
            p.column[c] = s;
    }
}

/* The sum over the block of f(i) for all rows, at thread 0. */
template <typename F> __device__ __forceinline__ double over_rows(int64_t rows, double *slots, F f)
{
    double sum = 0;
    for (int64_t i = threadIdx.x; i < rows; i += SC_BLOCK)
        sum += f(i);
    return sc_block_sum(sum, slots);
}
__device__ __forceinline__ double weight_of(const sc_cuda_loss &l, int64_t i)
{
    return static_cast<double>(l.weights[label_of(l, i)]);
}
/* One block. The targets of both directions add up to g_iy over the rows, whether they are the
 * diagonal or the mean over all pairs of a class. */
__global__ void __launch_bounds__(SC_BLOCK) total_kernel(sc_cuda_loss l, float *losses)
{
    SC_SHARED(double, slots, SC_WARP);
    const parts p = parts_of(l);
    const double tau = static_cast<double>(*l.tau), rows = static_cast<double>(l.rows);
    const double weights = over_rows(l.rows, slots, [&](int64_t i) { return weight_of(l, i); });
    const double on_class = over_rows(l.rows, slots, [&](int64_t i) {
        const double log_p = p.g[i * l.classes + label_of(l, i)] / tau - p.row_class[i];
        return l.focal ? -l.focal_alpha * pow(-expm1(log_p), l.focal_gamma) * log_p
                       : -weight_of(l, i) * log_p;
    });
    const double on_pairs = over_rows(l.rows, slots, [&](int64_t i) {
        const int64_t y = label_of(l, i);
        return p.row_contrast[i] + p.column[y] - 2 * p.g[i * l.classes + y] / l.tau0;
    });
    if (threadIdx.x != 0)
        return;
    const double norm = l.focal ? rows : weights;
    const double contrastive = rows > 0 ? on_pairs / (2 * rows) : 0;
    const double classes = l.superclip && norm > 0 ? on_class / norm : 0;
    losses[0] = static_cast<float>(
        l.superclip ? l.class_weight * classes + l.contrastive_weight * contrastive : contrastive);
    losses[1] = static_cast<float>(classes);
    losses[2] = static_cast<float>(contrastive);
}

/* d class / d z of row i: the factor of (p - onehot) */
__device__ __forceinline__ double class_slope(const sc_cuda_loss &l, const parts &p, int64_t i,
                                              double weights)
{
    if (!l.focal)
        return weights > 0 ? weight_of(l, i) / weights : 0;
    const double log_p =
        p.g[i * l.classes + label_of(l, i)] / static_cast<double>(*l.tau) - p.row_class[i];
    const double q = -expm1(log_p), gamma = l.focal_gamma;
    const double turn = gamma > 0 && q > 0 ? gamma * pow(q, gamma - 1) * exp(log_p) * log_p : 0;
    return l.focal_alpha * (pow(q, gamma) - turn) / static_cast<double>(l.rows);
}
/* A warp a row: its gradients of g, and its share of the temperature's. */
__global__ void __launch_bounds__(WARPS *SC_WARP)
    slopes_kernel(sc_cuda_loss l, const float *dlosses, const float *dlogits)
{
    const int64_t i = own_warp(), lane = threadIdx.x % SC_WARP;
    if (i >= l.rows)
        return;
    const parts p = parts_of(l);
    double weights = 0;
    for (int64_t k = lane; !l.focal && k < l.rows; k += SC_WARP)
        weights += weight_of(l, k);
    weights = sc_warp_sum(weights);
    const double tau = static_cast<double>(*l.tau);
    double part[3] = {0, 0, 0};
    for (int k = 0; dlosses != nullptr && k < 3; k++)
        part[k] = static_cast<double>(dlosses[k]);
    const double on_class = l.superclip ? part[0] * l.class_weight + part[1] : 0;
    const double on_pairs = part[0] * (l.superclip ? l.contrastive_weight : 1) + part[2];
    const double slope = on_class != 0 ? on_class * class_slope(l, p, i, weights) : 0;
    double dtau = 0;
    for (int64_t c = lane; c < l.classes; c += SC_WARP) {
        const int64_t k = i * l.classes + c;
        const double hit = c == label_of(l, i) ? 1 : 0, z = p.g[k] / tau, s = p.g[k] / l.tau0;
        const double dz = slope * (exp(z - p.row_class[i]) - hit) +
                          (dlogits != nullptr ? static_cast<double>(dlogits[k]) : 0);
        const double both =
            p.count[c] > 0 ? p.count[c] * (exp(s - p.row_contrast[i]) + exp(s - p.column[c])) : 0;
        const double ds = on_pairs * (both - 2 * hit) / (2 * static_cast<double>(l.rows));
        l.work[k] = dz / tau + ds / l.tau0;
        dtau -= dz * z / tau;
    }
    dtau = sc_warp_sum(dtau);
    if (lane == 0)
        l.work[l.rows * l.classes + i] = dtau;
}

/* Blocks [0, B): rows of dx; [B, B + C): rows of dt; the last: dtau. */
__global__ void __launch_bounds__(THREADS)
    mix_kernel(sc_cuda_loss l, float *dx, bool add_x, float *dt, bool add_t, float *dtau)
{
    const int64_t b = blockIdx.x;
    if (b == l.rows + l.classes) {
        if (threadIdx.x != 0 || dtau == nullptr)
            return;
        double sum = 0;
        for (int64_t i = 0; i < l.rows; i++)
            sum += l.work[l.rows * l.classes + i];
        *dtau = static_cast<float>(sum);
        return;
    }
    const bool image = b < l.rows;
    float *out = image ? dx : dt;
    if (out == nullptr)
        return;
    const int64_t own = image ? b : b - l.rows, terms = image ? l.classes : l.rows;
    const double *factor = image ? l.work + own * l.classes : l.work + own;
    const int64_t step = image ? 1 : l.classes;
    const float *from = image ? l.t : l.x;
    for (int64_t e = threadIdx.x; e < l.width; e += THREADS) {
        double sum = 0;
        for (int64_t k = 0; k < terms; k++)
            sum += factor[k * step] * static_cast<double>(from[k * l.width + e]);
        const int64_t at = own * l.width + e;
        if (image ? add_x : add_t)
            sum += static_cast<double>(out[at]);
        out[at] = static_cast<float>(sum);
    }
}

static unsigned warps(int64_t n)
{
    return static_cast<unsigned>(sc_ceil(n, WARPS));
}

extern "C" int sc_cuda_loss_forward(void *stream, const sc_cuda_loss *l, float *losses,
                                    float *logits)
{
    int failed = 0;
    if (l->rows > 0) {
        SC_LAUNCH(dots_kernel, warps(l->rows * l->classes), WARPS * SC_WARP, 0,
                  sc_cuda_queue(stream), *l, logits);
        failed = sc_launched();
    }
    if (failed == 0 && l->rows > 0) {
        SC_LAUNCH(lines_kernel, warps(l->rows + l->classes), WARPS * SC_WARP, 0,
                  sc_cuda_queue(stream), *l);
        failed = sc_launched();
    }
    if (failed != 0)
        return failed;
    SC_LAUNCH(total_kernel, 1, SC_BLOCK, 0, sc_cuda_queue(stream), *l, losses);
    return sc_launched();
}
extern "C" int sc_cuda_loss_backward(void *stream, const sc_cuda_loss *l, const float *dlosses,
                                     const float *dlogits, sc_cuda_out dx, sc_cuda_out dt,
                                     float *dtau)
{
    int failed = 0;
    if (l->rows > 0) {
        SC_LAUNCH(slopes_kernel, warps(l->rows), WARPS * SC_WARP, 0, sc_cuda_queue(stream), *l,
                  dlosses, dlogits);
        failed = sc_launched();
    }
    if (failed != 0)
        return failed;
    SC_LAUNCH(mix_kernel, static_cast<unsigned>(l->rows + l->classes + 1), THREADS, 0,
              sc_cuda_queue(stream), *l, static_cast<float *>(dx.p), dx.add,
              static_cast<float *>(dt.p), dt.add, dtau);
    return sc_launched();
}
