/* The runtime's calls over host memory: allocations between pages that fault, streams as queues. */
#include "cuda_runtime.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <sys/mman.h>
#include <vector>

struct shim_stream {
    std::deque<std::function<void()>> work;
};

namespace
{
enum { PAGE = 4096, EDGE = 0xa5 };
struct block {
    char *pages; /* a page that faults lies on either side */
    size_t page_bytes, bytes;
};
std::mutex lock;
std::map<char *, block> blocks; /* by first byte */
int inside;                     /* threads that do device work */
bool guarded = getenv("SHIM_GUARD") != nullptr;
std::atomic<long> allocations{0};
size_t taken; /* bytes of all blocks */
thread_local std::set<cudaStream_t> streams; /* of this thread */

void open_blocks(bool on)
{
    for (auto &b : blocks)
        mprotect(b.second.pages, b.second.page_bytes, on ? PROT_READ | PROT_WRITE : PROT_NONE);
}
struct device_work {
    device_work()
    {
        std::lock_guard<std::mutex> hold(lock);
        if (inside++ == 0 && guarded)
            open_blocks(true);
    }
    ~device_work()
    {
        std::lock_guard<std::mutex> hold(lock);
        if (--inside == 0 && guarded)
            open_blocks(false);
    }
};

/* Our own addresses, free ones too: cudaMemcpyDefault asks. */
bool is_device(const void *p, size_t bytes, bool *alive)
{
    std::lock_guard<std::mutex> hold(lock);
    auto it = blocks.upper_bound((char *)(uintptr_t)p);
    *alive = false;
    if (it == blocks.begin())
        return false;
    --it;
    const char *first = it->first, *at = (const char *)p;
    *alive = at + bytes <= first + it->second.bytes;
    return at < first + it->second.bytes;
}
void fail(const char *what, const void *p, size_t bytes)
{
    char text[200];
    snprintf(text, sizeof text, "%s: %zu bytes at %p are not in one device allocation", what, bytes,
             p);
    shim_set_error(cudaErrorInvalidValue, text);
}
void edges_intact(const block &b, const char *first)
{
    for (char *p = b.pages; p < b.pages + b.page_bytes; p++)
        if ((p < first || p >= first + b.bytes) && (unsigned char)*p != EDGE)
            shim_set_error(cudaErrorLaunchFailure,
                           "device memory was written beside an allocation");
}
void one(cudaStream_t s)
{
    std::function<void()> next = std::move(s->work.front());
    s->work.pop_front();
    device_work open;
    next();
}
void drain(cudaStream_t s)
{
    while (!s->work.empty())
        one(s);
}
int devices()
{
    const char *told = getenv("SHIM_DEVICES"); /* all of them the same memory */
    return told ? atoi(told) : 1;
}
/* SHIM_MEMORY_MB limits what can be allocated. */
const size_t ROOM = (size_t)1 << 30;
size_t memory_limit()
{
    const char *told = getenv("SHIM_MEMORY_MB");
    return told ? (size_t)atol(told) << 20 : SIZE_MAX;
}
} // namespace

bool shim_device_memory(const void *p, size_t bytes, const char *what)
{
    bool alive = false;
    if (is_device(p, bytes, &alive) && alive)
        return true;
    fail(what, p, bytes);
    return false;
}
void shim_push(cudaStream_t stream, std::function<void()> work)
{
    if (stream != nullptr) {
        stream->work.push_back(std::move(work));
        return;
    }
    device_work open;
    work();
}
void shim_now(cudaStream_t stream, const std::function<void()> &work)
{
    drain(stream);
    device_work open;
    work();
}
long shim_allocations(void)
{
    return allocations;
}

cudaError_t cudaGetLastError(void)
{
    return shim_take_error();
}
const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaSuccess:
        return "no error";
    case cudaErrorInvalidValue:
        return *shim_fault() ? shim_fault() : "invalid argument";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorInvalidDevice:
        return "invalid device ordinal";
    case cudaErrorNotReady:
        return "device not ready";
    case cudaErrorLaunchFailure:
        return *shim_fault() ? shim_fault() : "unspecified launch failure";
    }
    return "unrecognized error code";
}
cudaError_t cudaGetDeviceCount(int *count)
{
    *count = devices();
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device)
{
    return device >= 0 && device < devices() ? cudaSuccess : cudaErrorInvalidDevice;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    if (device < 0 || device >= devices())
        return cudaErrorInvalidDevice;
    memset(p, 0, sizeof *p);
    memcpy(p->uuid.bytes, &device, sizeof device);
    snprintf(p->name, sizeof p->name, "fibres on the host");
    p->totalGlobalMem = std::min(ROOM, memory_limit());
    p->sharedMemPerBlockOptin = 99 << 10;
    p->major = 8;
    p->multiProcessorCount = 4;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    std::lock_guard<std::mutex> hold(lock);
    *total_bytes = std::min(ROOM, memory_limit());
    *free_bytes = *total_bytes - std::min(*total_bytes, taken);
    return cudaSuccess;
}
/* The last byte lies before the page that faults, up to what 256-byte alignment costs. */
cudaError_t cudaMalloc(void **p, size_t bytes)
{
    const size_t room = (bytes + 255) / 256 * 256, inner = (room + PAGE - 1) / PAGE * PAGE;
    *p = nullptr;
    {
        std::lock_guard<std::mutex> hold(lock);
        if (bytes > memory_limit() || taken > memory_limit() - bytes)
            return cudaErrorMemoryAllocation;
        taken += bytes;
    }
    char *all =
        (char *)mmap(nullptr, inner + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return cudaErrorMemoryAllocation;
    block b = {all + PAGE, inner, bytes};
    char *first = b.pages + (inner - room);
    mprotect(b.pages, inner, PROT_READ | PROT_WRITE);
    memset(b.pages, EDGE, inner);
    memset(first, 0xff, bytes);
    std::lock_guard<std::mutex> hold(lock);
    if (guarded && inside == 0)
        mprotect(b.pages, inner, PROT_NONE);
    blocks[first] = b;
    allocations++;
    *p = first;
    return cudaSuccess;
}
/* Waits for the device, as the real one does; the addresses fault from then on. */
cudaError_t cudaFree(void *p)
{
    if (p == nullptr)
        return cudaSuccess;
    for (cudaStream_t s : streams)
        drain(s);
    std::lock_guard<std::mutex> hold(lock);
    auto it = blocks.find((char *)p);
    if (it == blocks.end()) {
        shim_set_error(cudaErrorInvalidValue, "freeing what is not an allocation");
        return cudaErrorInvalidValue;
    }
    const block b = it->second;
    mprotect(b.pages, b.page_bytes, PROT_READ);
    edges_intact(b, it->first);
    blocks.erase(it);
    taken -= b.bytes;
    /* Kept as addresses nobody gets again, without memory behind them. */
    mmap(b.pages - PAGE, b.page_bytes + 2 * PAGE, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    allocations--;
    return cudaSuccess;
}

static cudaError_t device_part(const void *p, size_t bytes, bool *device)
{
    bool alive = false;
    *device = is_device(p, bytes, &alive);
    if (!*device || alive)
        return cudaSuccess;
    fail("a copy", p, bytes);
    return cudaErrorInvalidValue;
}
/* Pageable host memory is read before the call returns, and written before it returns. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream)
{
    bool to_device = false, from_device = false;
    if (bytes == 0)
        return cudaSuccess;
    if (!to || !from || device_part(to, bytes, &to_device) != cudaSuccess ||
        device_part(from, bytes, &from_device) != cudaSuccess)
        return cudaErrorInvalidValue;
    if (from_device) {
        shim_push(stream, [=] { memmove(to, from, bytes); });
    } else {
        std::vector<char> staged((const char *)from, (const char *)from + bytes);
        shim_push(stream, [to, staged] { memcpy(to, staged.data(), staged.size()); });
    }
    return to_device || stream == nullptr ? cudaSuccess : cudaStreamSynchronize(stream);
}
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream)
{
    if (bytes == 0)
        return cudaSuccess;
    if (!shim_device_memory(p, bytes, "cudaMemset"))
        return cudaErrorInvalidValue;
    shim_push(stream, [=] { memset(p, value, bytes); });
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    *stream = new shim_stream;
    streams.insert(*stream);
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    drain(stream);
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    drain(stream);
    return shim_take_error();
}
/* Work goes on while somebody asks. */
cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    if (!stream->work.empty())
        one(stream);
    const cudaError_t e = shim_take_error();
    return e != cudaSuccess || stream->work.empty() ? e : cudaErrorNotReady;
}
