/* Rows of a resident data set, one behind the other. Their numbers travel with the launch: nothing
 * is copied to the device before it, and nothing of the host's is read after it.
 */
#include "device.cuh"

enum { AT_ONCE = 448, EACH = 4 }; /* rows of a launch, words of a thread */
struct numbers {
    int32_t row[AT_ONCE];
};

/* grid (words of a row, rows): W divides a row's bytes */
template <typename W>
__global__ void __launch_bounds__(SC_BLOCK)
    gather_kernel(const W *rows, int64_t row_words, numbers n, W *to)
{
    const W *from = rows + n.row[blockIdx.y] * row_words;
    W *const at = to + static_cast<int64_t>(blockIdx.y) * row_words;
    const int64_t step = static_cast<int64_t>(gridDim.x) * SC_BLOCK;
    int64_t i = static_cast<int64_t>(blockIdx.x) * SC_BLOCK + threadIdx.x;
    for (; i + (EACH - 1) * step < row_words; i += EACH * step) {
        W w[EACH];
        SC_UNROLL
        for (int k = 0; k < EACH; k++)
            w[k] = from[i + k * step];
        SC_UNROLL
        for (int k = 0; k < EACH; k++)
            at[i + k * step] = w[k];
    }
    for (; i < row_words; i += step)
        at[i] = from[i];
}

template <typename W>
static int gather(cudaStream_t stream, const uint8_t *rows, size_t row_bytes, const int64_t *index,
                  int64_t n, uint8_t *to)
{
    const int64_t words = static_cast<int64_t>(row_bytes / sizeof(W));
    const unsigned blocks = sc_blocks(words, EACH * SC_BLOCK, 1024);
    for (int64_t first = 0; first < n; first += AT_ONCE) {
        const int64_t left = n - first, count = left < AT_ONCE ? left : int64_t{AT_ONCE};
        numbers some = {};
        for (int64_t i = 0; i < count; i++)
            some.row[i] = static_cast<int32_t>(index[first + i]);
        SC_LAUNCH((gather_kernel<W>), dim3(blocks, static_cast<unsigned>(count)), SC_BLOCK, 0,
                  stream, reinterpret_cast<const W *>(rows), words, some,
                  reinterpret_cast<W *>(to) + first * words);
        const int failed = sc_launched();
        if (failed != 0)
            return failed;
    }
    return 0;
}

extern "C" int sc_cuda_gather(void *stream, const uint8_t *rows, size_t row_bytes,
                              const int64_t *index, int64_t n, uint8_t *to)
{
    const cudaStream_t s = sc_cuda_queue(stream);
    if (row_bytes % sizeof(uint4) == 0)
        return gather<uint4>(s, rows, row_bytes, index, n, to);
    if (row_bytes % sizeof(unsigned) == 0)
        return gather<unsigned>(s, rows, row_bytes, index, n, to);
    return gather<uint8_t>(s, rows, row_bytes, index, n, to);
}
