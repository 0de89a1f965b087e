#include "faults.h"

#include "device.cuh"

__global__ void divergent_barrier(void)
{
    if (threadIdx.x < 16)
        __syncthreads();
}
__global__ void two_barriers(void)
{
    if (threadIdx.x < 16)
        __syncthreads();
    else
        __syncthreads();
}
__global__ void partial_shuffle(int *out)
{
    if (threadIdx.x == 31)
        return;
    out[threadIdx.x] = __shfl_xor_sync(SC_ALL_LANES, static_cast<int>(threadIdx.x), 1);
}
__global__ void lane_outside_mask(int *out)
{
    if (threadIdx.x < 16)
        out[threadIdx.x] = __shfl_sync(0xffffu, static_cast<int>(threadIdx.x), 20);
}
__global__ void behind_shared(int at)
{
    SC_SHARED(float, v, 8);
    if (threadIdx.x == 0)
        v[at] = 1.0f;
}
__global__ void too_much_shared(void)
{
    SC_SHARED(float, v, 13000);
    v[threadIdx.x] = 1.0f;
}
__global__ void nothing(void) {}
__global__ void neighbours(int with_barrier, int *out)
{
    SC_SHARED(int, v, 64);
    const unsigned i = threadIdx.x;
    v[i] = static_cast<int>(i);
    if (with_barrier)
        __syncthreads();
    out[i] = v[(i + 1) % blockDim.x];
}
__global__ void free_sum(const float *x, int each, float *out)
{
    SC_SHARED(float, slots, SC_WARP);
    float sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < each; i += SC_BLOCK)
        sum += x[static_cast<int>(blockIdx.x) * each + i];
    sum = sc_block_sum(sum, slots);
    if (threadIdx.x == 0)
        out[blockIdx.x] = sum;
}

/* Between a write of shared memory and the read of a neighbour's: what of fault_order it is told.
 */
__global__ void exchange(fault_order between, int *out)
{
    SC_SHARED(int, v, 64);
    const unsigned i = threadIdx.x;
    v[i] = static_cast<int>(i);
    if (between == FAULT_SYNCTHREADS)
        __syncthreads();
    if (between == FAULT_SYNCWARP)
        __syncwarp();
    if (between == FAULT_SHUFFLE)
        __shfl_xor_sync(SC_ALL_LANES, static_cast<int>(i), 1);
    out[i] = v[i ^ 1u];
}
/* Reads what a neighbour overwrites next. */
__global__ void overwrite(int with_barrier, int *out)
{
    SC_SHARED(int, v, 64);
    const unsigned i = threadIdx.x;
    v[i] = static_cast<int>(i);
    __syncthreads();
    out[i] = v[(i + 40) % 64];
    if (with_barrier)
        __syncthreads();
    v[i] = -1;
}
/* The last block adds up what all have written. */
__global__ void last_adds(fault_fences fences, int *each, unsigned *ticket, int *out)
{
    SC_SHARED(unsigned, turn, 1);
    if (threadIdx.x == 0) {
        each[blockIdx.x] = static_cast<int>(blockIdx.x) + 1;
        if (fences != FAULT_NO_FENCE_WRITING)
            __threadfence();
        *turn = atomicInc(ticket, gridDim.x - 1);
        if (fences != FAULT_NO_FENCE_READING)
            __threadfence();
    }
    __syncthreads();
    if (*turn != gridDim.x - 1 || threadIdx.x != 1)
        return;
    *out = 0;
    for (unsigned b = 0; b < gridDim.x; b++)
        *out += each[b];
}
__global__ void one_place(int *out)
{
    *out = 1;
}
__global__ void wide_load(const float *from, float *out)
{
    sc_store<8>(out, 0, sc_load<8>(from, 0));
}
__global__ void dynamic_a(void) {}
__global__ void dynamic_b(void) {}

extern "C" int fault_divergent_barrier(void)
{
    SC_LAUNCH(divergent_barrier, 1, 32, 0, nullptr);
    return sc_launched();
}
extern "C" int fault_two_barriers(void)
{
    SC_LAUNCH(two_barriers, 1, 32, 0, nullptr);
    return sc_launched();
}
extern "C" int fault_partial_shuffle(void)
{
    int out[32];
    SC_LAUNCH(partial_shuffle, 1, 32, 0, nullptr, out);
    return sc_launched();
}
extern "C" int fault_lane_outside_mask(void)
{
    int out[32];
    SC_LAUNCH(lane_outside_mask, 1, 32, 0, nullptr, out);
    return sc_launched();
}
extern "C" int fault_behind_shared(void)
{
    SC_LAUNCH(behind_shared, 1, 32, 0, nullptr, 8);
    return sc_launched();
}
extern "C" int fault_too_much_shared(void)
{
    SC_LAUNCH(too_much_shared, 1, 32, 0, nullptr);
    return sc_launched();
}
extern "C" int fault_too_many_threads(void)
{
    SC_LAUNCH(nothing, 1, 1056, 0, nullptr);
    return sc_launched();
}
extern "C" int fault_empty_grid(void)
{
    SC_LAUNCH(nothing, 0, 32, 0, nullptr);
    return sc_launched();
}
extern "C" int fault_neighbours(int with_barrier, int *out, int threads)
{
    SC_LAUNCH(neighbours, 1, static_cast<unsigned>(threads), 0, nullptr, with_barrier, out);
    return sc_launched();
}
extern "C" int fault_free_sum(const float *x, int each, int blocks, float *out)
{
    SC_LAUNCH(free_sum, static_cast<unsigned>(blocks), SC_BLOCK, 0, nullptr, x, each, out);
    return sc_launched();
}

extern "C" int fault_exchange(fault_order between, int *out)
{
    SC_LAUNCH(exchange, 1, 64, 0, nullptr, between, out);
    return sc_launched();
}
extern "C" int fault_overwrite(int with_barrier, int *out)
{
    SC_LAUNCH(overwrite, 1, 64, 0, nullptr, with_barrier, out);
    return sc_launched();
}
extern "C" int fault_last_adds(fault_fences fences, int blocks, int *each, int *out)
{
    static unsigned ticket;
    SC_LAUNCH(last_adds, static_cast<unsigned>(blocks), 32, 0, nullptr, fences, each, &ticket, out);
    return sc_launched();
}
extern "C" int fault_one_place(int blocks, int threads, int *out)
{
    SC_LAUNCH(one_place, static_cast<unsigned>(blocks), static_cast<unsigned>(threads), 0, nullptr,
              out);
    return sc_launched();
}
extern "C" int fault_misaligned(const float *from, float *out)
{
    SC_LAUNCH(wide_load, 1, 1, 0, nullptr, from, out);
    return sc_launched();
}
extern "C" int fault_dynamic(int ask_a, int launch_b)
{
    enum { MUCH = 60 << 10 };
    if (ask_a)
        (void)cudaFuncSetAttribute(dynamic_a, cudaFuncAttributeMaxDynamicSharedMemorySize, MUCH);
    if (launch_b)
        SC_LAUNCH(dynamic_b, 1, 32, MUCH, nullptr);
    else
        SC_LAUNCH(dynamic_a, 1, 32, MUCH, nullptr);
    return sc_launched();
}
