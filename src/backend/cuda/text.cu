/* Rows of texts: embed, prepend and select_row. An index outside its range is told by its place
 * in `fault`, and reads row 0.
 */
#include "device.cuh"

enum { THREADS = 128 };

__device__ __forceinline__ int checked(int index, int count, int64_t at, int *fault)
{
    if (index >= 0 && index < count)
        return index;
    if (fault != nullptr)
        atomicMax(fault, static_cast<int>(at) + 1);
    return 0;
}

/* grid texts * length */
__global__ void __launch_bounds__(THREADS)
    embed_kernel(const int32_t *__restrict__ tokens, const int32_t *__restrict__ places,
                 const float *__restrict__ table, const float *__restrict__ positions,
                 const float *__restrict__ types, float *__restrict__ y, int length, int width,
                 int vocabulary, int context, int *fault)
{
    const int64_t at = blockIdx.x;
    const int64_t position =
        places != nullptr ? checked(places[at], context, at, fault) : at % length;
    const int token = checked(tokens[at], vocabulary, at, fault);
    for (int e = static_cast<int>(threadIdx.x); e < width; e += THREADS)
        y[at * width + e] = table[static_cast<int64_t>(token) * width + e] +
                            positions[position * width + e] + (types != nullptr ? types[e] : 0.0f);
}

/* A block a token's place. The first place of a token takes all of them, in their order; the others
 * end at once: sums without atomics. */
__global__ void __launch_bounds__(THREADS)
    embed_back_kernel(const int32_t *__restrict__ tokens, const float *__restrict__ dy,
                      float *__restrict__ dtable, int count, int width, int vocabulary)
{
    int earlier = 0;
    const int at = static_cast<int>(blockIdx.x), token = tokens[at];
    if (token < 0 || token >= vocabulary)
        return;
    for (int i = static_cast<int>(threadIdx.x); i < at; i += THREADS)
        earlier |= tokens[i] == token;
    if (__syncthreads_or(earlier))
        return;
    for (int e = static_cast<int>(threadIdx.x); e < width; e += THREADS) {
        float sum = 0.0f;
        for (int i = at; i < count; i++)
            if (tokens[i] == token)
                sum += dy[static_cast<int64_t>(i) * width + e];
        dtable[static_cast<int64_t>(token) * width + e] += sum;
    }
}
/* grid context */
__global__ void __launch_bounds__(THREADS)
    positions_kernel(const float *__restrict__ dy, const int32_t *__restrict__ places,
                     float *__restrict__ dpositions, int64_t texts, int length, int width)
{
    const int position = static_cast<int>(blockIdx.x);
    for (int e = static_cast<int>(threadIdx.x); e < width; e += THREADS) {
        float sum = 0.0f;
        for (int64_t i = 0; places != nullptr && i < texts * length; i++)
            if (places[i] == position)
                sum += dy[i * width + e];
        for (int64_t t = 0; places == nullptr && position < length && t < texts; t++)
            sum += dy[(t * length + position) * width + e];
        dpositions[static_cast<int64_t>(position) * width + e] = sum;
    }
}

/* grid texts * (length + 1) */
template <typename X>
__global__ void __launch_bounds__(THREADS)
    prepend_kernel(const X *__restrict__ x, const float *__restrict__ first,
                   const float *__restrict__ positions, float *__restrict__ y, int length,
                   int width, int step)
{
    const int64_t at = blockIdx.x, position = at % (length + 1);
    const int64_t row = at / (length + 1) * length + position - 1;
    for (int e = static_cast<int>(threadIdx.x); e < width; e += THREADS)
        y[at * width + e] = positions[position * width + e] +
                            (position == 0 ? first[e] : sc_get(x, row * step + e));
}
/* grid texts * length; numbers behind a row's width get 0 */
template <typename X>
__global__ void __launch_bounds__(THREADS)
    prepend_back_kernel(const float *__restrict__ dy, X *dx, bool add, int length, int width,
                        int step)
{
    const int64_t row = blockIdx.x, from = row / length * (length + 1) + row % length + 1;
    for (int e = static_cast<int>(threadIdx.x); e < step; e += THREADS)
        sc_emit1(dx, row * step + e, e < width ? dy[from * width + e] : 0.0f, add);
}

/* No index: row 0. step: rows from text to text. */
template <typename X, typename Y>
__global__ void __launch_bounds__(THREADS)
    select_kernel(const X *__restrict__ x, const int32_t *__restrict__ index, Y *y, bool add,
                  int step, int length, int width, int *fault)
{
    const int64_t t = blockIdx.x;
    const int64_t row = t * step + (index != nullptr ? checked(index[t], length, t, fault) : 0);
    for (int e = static_cast<int>(threadIdx.x); e < width; e += THREADS)
        sc_emit1(y, t * width + e, sc_get(x, row * width + e), add);
}
/* grid texts * length: every row of dx is written once */
template <typename D, typename X>
__global__ void __launch_bounds__(THREADS)
    select_back_kernel(const D *__restrict__ dy, const int32_t *__restrict__ index, X *dx, bool add,
                       int length, int width)
{
    const int64_t row = blockIdx.x, t = row / length;
    const bool chosen = row % length == (index != nullptr ? index[t] : 0);
    if (add && !chosen)
        return;
    for (int e = static_cast<int>(threadIdx.x); e < width; e += THREADS)
        sc_emit1(dx, row * width + e, chosen ? sc_get(dy, t * width + e) : 0.0f, add);
}

/* grid rows: the texts that chose this row, in their order */
template <typename D, typename X>
__global__ void __launch_bounds__(THREADS)
    pick_back_kernel(const D *__restrict__ dy, const int32_t *__restrict__ index, X *dx, bool add,
                     int64_t texts, int width)
{
    const int64_t row = blockIdx.x;
    for (int e = static_cast<int>(threadIdx.x); e < width; e += THREADS) {
        float sum = 0.0f;
        for (int64_t t = 0; t < texts; t++)
            if (index[t] == row)
                sum += sc_get(dy, t * width + e);
        sc_emit1(dx, row * width + e, sum, add);
    }
}

extern "C" int sc_cuda_embed(void *stream, const int32_t *tokens, const int32_t *places,
                             const float *table, const float *positions, const float *types,
                             float *y, int64_t texts, int length, int width, int vocabulary,
                             int context, int *fault)
{
    if (texts * length <= 0)
        return 0;
    SC_LAUNCH(embed_kernel, static_cast<unsigned>(texts * length), THREADS, 0,
              sc_cuda_queue(stream), tokens, places, table, positions, types, y, length, width,
              vocabulary, context, fault);
    return sc_launched();
}
extern "C" int sc_cuda_embed_back(void *stream, const int32_t *tokens, const int32_t *places,
                                  const float *dy, float *dtable, float *dpositions, int64_t texts,
                                  int length, int width, int vocabulary, int context)
{
    int failed = 0;
    if (dtable != nullptr && texts * length > 0) {
        SC_LAUNCH(embed_back_kernel, static_cast<unsigned>(texts * length), THREADS, 0,
                  sc_cuda_queue(stream), tokens, dy, dtable, static_cast<int>(texts * length),
                  width, vocabulary);
        failed = sc_launched();
    }
    if (failed != 0 || dpositions == nullptr)
        return failed;
    SC_LAUNCH(positions_kernel, static_cast<unsigned>(context), THREADS, 0, sc_cuda_queue(stream),
              dy, places, dpositions, texts, length, width);
    return sc_launched();
}
extern "C" int sc_cuda_prepend(void *stream, sc_cuda_in x, const float *first,
                               const float *positions, float *y, int64_t texts, int length,
                               int width, int step)
{
    if (texts <= 0)
        return 0;
    SC_FOR_TYPE(x.type, X,
                SC_LAUNCH((prepend_kernel<X>), static_cast<unsigned>(texts * (length + 1)), THREADS,
                          0, sc_cuda_queue(stream), static_cast<const X *>(x.p), first, positions,
                          y, length, width, step));
    return sc_launched();
}
extern "C" int sc_cuda_prepend_back(void *stream, const float *dy, sc_cuda_out dx, float *dfirst,
                                    float *dpositions, int64_t texts, int length, int width,
                                    int step)
{
    if (dx.p != nullptr && texts * length > 0)
        SC_FOR_TYPE(dx.type, X,
                    SC_LAUNCH((prepend_back_kernel<X>), static_cast<unsigned>(texts * length),
                              THREADS, 0, sc_cuda_queue(stream), dy, static_cast<X *>(dx.p), dx.add,
                              length, width, step));
    int failed = sc_launched();
    if (failed == 0 && dfirst != nullptr) {
        SC_LAUNCH(positions_kernel, 1, THREADS, 0, sc_cuda_queue(stream), dy,
                  static_cast<const int32_t *>(nullptr), dfirst, texts, length + 1, width);
        failed = sc_launched();
    }
    if (failed != 0 || dpositions == nullptr)
        return failed;
    SC_LAUNCH(positions_kernel, static_cast<unsigned>(length + 1), THREADS, 0,
              sc_cuda_queue(stream), dy, static_cast<const int32_t *>(nullptr), dpositions, texts,
              length + 1, width);
    return sc_launched();
}
extern "C" int sc_cuda_select_row(void *stream, sc_cuda_in x, const int32_t *index, sc_cuda_out y,
                                  int64_t texts, int length, int width, int *fault)
{
    if (texts <= 0)
        return 0;
    SC_FOR_TYPE(x.type, X,
                SC_FOR_TYPE(y.type, Y,
                            SC_LAUNCH((select_kernel<X, Y>), static_cast<unsigned>(texts), THREADS,
                                      0, sc_cuda_queue(stream), static_cast<const X *>(x.p), index,
                                      static_cast<Y *>(y.p), y.add, length, length, width, fault)));
    return sc_launched();
}
extern "C" int sc_cuda_pick_rows(void *stream, sc_cuda_in x, const int32_t *index, sc_cuda_out y,
                                 int64_t texts, int64_t rows, int width, int *fault)
{
    if (texts <= 0)
        return 0;
    SC_FOR_TYPE(x.type, X,
                SC_FOR_TYPE(y.type, Y,
                            SC_LAUNCH((select_kernel<X, Y>), static_cast<unsigned>(texts), THREADS,
                                      0, sc_cuda_queue(stream), static_cast<const X *>(x.p), index,
                                      static_cast<Y *>(y.p), y.add, 0, static_cast<int>(rows),
                                      width, fault)));
    return sc_launched();
}
extern "C" int sc_cuda_pick_rows_back(void *stream, sc_cuda_in dy, const int32_t *index,
                                      sc_cuda_out dx, int64_t texts, int64_t rows, int width)
{
    if (rows <= 0)
        return 0;
    SC_FOR_TYPE(
        dy.type, D,
        SC_FOR_TYPE(dx.type, X,
                    SC_LAUNCH((pick_back_kernel<D, X>), static_cast<unsigned>(rows), THREADS, 0,
                              sc_cuda_queue(stream), static_cast<const D *>(dy.p), index,
                              static_cast<X *>(dx.p), dx.add, texts, width)));
    return sc_launched();
}
extern "C" int sc_cuda_select_row_back(void *stream, sc_cuda_in dy, const int32_t *index,
                                       sc_cuda_out dx, int64_t texts, int length, int width)
{
    if (texts * length <= 0)
        return 0;
    SC_FOR_TYPE(
        dy.type, D,
        SC_FOR_TYPE(dx.type, X,
                    SC_LAUNCH((select_back_kernel<D, X>), static_cast<unsigned>(texts * length),
                              THREADS, 0, sc_cuda_queue(stream), static_cast<const D *>(dy.p),
                              index, static_cast<X *>(dx.p), dx.add, length, width)));
    return sc_launched();
}
