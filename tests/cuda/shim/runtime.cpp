/* The runtime's calls over host memory: allocations between pages that fault, copies, errors. */
#include "device.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <sys/mman.h>
#include <vector>

namespace
{
enum { PAGE = 4096, EDGE = 0xa5, CUDART = 13000 };
struct block {
    char *pages; /* a page that faults lies on either side */
    size_t page_bytes, bytes;
};
std::mutex lock;
std::map<char *, block> blocks; /* by first byte */
int inside;                     /* threads that do device work */
bool guarded = getenv("SHIM_GUARD") != nullptr;
std::map<char *, size_t> pinned; /* host memory that the device reads and writes by itself */
size_t taken;                    /* bytes of all blocks */
thread_local std::string refusal;
thread_local cudaError_t kept = cudaSuccess;
std::atomic<long> allocations{0}, calls{0};
std::mutex fail_lock;
/* By name, which call of it fails; at first SHIM_FAIL="name:nth". */
std::map<std::string, long> failing_at_first()
{
    const std::string told = getenv("SHIM_FAIL") ? getenv("SHIM_FAIL") : "";
    const size_t colon = told.find(':');
    if (colon == std::string::npos)
        return {};
    return {{told.substr(0, colon), atol(told.c_str() + colon + 1)}};
}
std::map<std::string, long> to_fail = failing_at_first();

void open_blocks(bool on)
{
    for (auto &b : blocks)
        mprotect(b.second.pages, b.second.page_bytes, on ? PROT_READ | PROT_WRITE : PROT_NONE);
}
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
/* SHIM_DRIVER: the CUDA that the driver is for, 0 without one. */
int driver()
{
    const char *told = getenv("SHIM_DRIVER");
    return told ? atoi(told) : CUDART;
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
bool is_pinned(const void *p, size_t bytes)
{
    std::lock_guard<std::mutex> hold(lock);
    auto it = pinned.upper_bound((char *)(uintptr_t)p);
    if (it == pinned.begin())
        return false;
    --it;
    return (const char *)p + bytes <= it->first + it->second;
}
} // namespace

device_work::device_work()
{
    std::lock_guard<std::mutex> hold(lock);
    if (inside++ == 0 && guarded)
        open_blocks(true);
}
device_work::~device_work()
{
    std::lock_guard<std::mutex> hold(lock);
    if (--inside == 0 && guarded)
        open_blocks(false);
}
void shim_refused(const char *words)
{
    refusal = words;
}
bool shim_called(const char *name)
{
    calls++;
    std::lock_guard<std::mutex> hold(fail_lock);
    auto it = to_fail.find(name);
    return it != to_fail.end() && --it->second == 0;
}
void shim_fail_call(const char *name, long nth)
{
    std::lock_guard<std::mutex> hold(fail_lock);
    to_fail[name] = nth;
}
long shim_calls(void)
{
    return calls + shim_launches();
}

bool shim_device_memory(const void *p, size_t bytes, const char *what)
{
    bool alive = false;
    if (is_device(p, bytes, &alive) && alive)
        return true;
    fail(what, p, bytes);
    return false;
}
long shim_allocations(void)
{
    return allocations;
}

cudaError_t shim_keep(cudaError_t e)
{
    return kept = e;
}
cudaError_t cudaGetLastError(void)
{
    const cudaError_t fault = shim_take_error(), e = fault != cudaSuccess ? fault : kept;
    kept = cudaSuccess;
    return e;
}
cudaError_t cudaDriverGetVersion(int *version)
{
    *version = driver();
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART;
    return cudaSuccess;
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
    case cudaErrorInsufficientDriver:
        return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorInvalidDevice:
        return "invalid device ordinal";
    case cudaErrorNotReady:
        return "device not ready";
    case cudaErrorStreamCaptureUnsupported:
    case cudaErrorStreamCaptureInvalidated:
    case cudaErrorStreamCaptureMerge:
    case cudaErrorStreamCaptureUnmatched:
    case cudaErrorStreamCaptureUnjoined:
    case cudaErrorStreamCaptureIsolation:
    case cudaErrorCapturedEvent:
    case cudaErrorStreamCaptureWrongThread:
        return refusal.c_str();
    case cudaErrorDevicesUnavailable:
    case cudaErrorNoDevice:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorECCUncorrectable:
    case cudaErrorSystemNotReady:
    case cudaErrorSystemDriverMismatch:
        break; /* nothing here fails so */
    case cudaErrorLaunchFailure:
        return *shim_fault() ? shim_fault() : "unspecified launch failure";
    }
    return "unrecognized error code";
}
cudaError_t cudaGetDeviceCount(int *count)
{
    *count = devices();
    return driver() / 1000 >= CUDART / 1000 ? cudaSuccess : shim_keep(cudaErrorInsufficientDriver);
}
cudaError_t cudaSetDevice(int device)
{
    return device >= 0 && device < devices() ? cudaSuccess : shim_keep(cudaErrorInvalidDevice);
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
    if (shim_unsafe("cudaMalloc while recording"))
        return cudaErrorStreamCaptureUnsupported;
    if (shim_called("cudaMalloc"))
        return shim_keep(cudaErrorMemoryAllocation);
    {
        std::lock_guard<std::mutex> hold(lock);
        if (bytes > memory_limit() || taken > memory_limit() - bytes)
            return shim_keep(cudaErrorMemoryAllocation);
        taken += bytes;
    }
    char *all =
        (char *)mmap(nullptr, inner + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        return shim_keep(cudaErrorMemoryAllocation);
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
    if (shim_unsafe("cudaFree while recording"))
        return cudaErrorStreamCaptureUnsupported;
    (void)shim_called("cudaFree");
    shim_drain();
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
/* Starts as 0xff bytes: what is read before a copy has come shows. */
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned)
{
    *p = nullptr;
    if (shim_unsafe("cudaHostAlloc while recording"))
        return cudaErrorStreamCaptureUnsupported;
    char *at = shim_called("cudaHostAlloc") ? nullptr : (char *)malloc(bytes);
    if (!at)
        return shim_keep(cudaErrorMemoryAllocation);
    memset(at, 0xff, bytes);
    std::lock_guard<std::mutex> hold(lock);
    pinned[at] = bytes;
    allocations++;
    *p = at;
    return cudaSuccess;
}
cudaError_t cudaFreeHost(void *p)
{
    if (p == nullptr)
        return cudaSuccess;
    if (shim_unsafe("cudaFreeHost while recording"))
        return cudaErrorStreamCaptureUnsupported;
    shim_drain();
    std::lock_guard<std::mutex> hold(lock);
    if (pinned.erase((char *)p) == 0) {
        shim_set_error(cudaErrorInvalidValue, "freeing what is not pinned memory");
        return cudaErrorInvalidValue;
    }
    allocations--;
    free(p);
    return cudaSuccess;
}
/* Pageable host memory is read before the call returns, and written before it returns; pinned
 * memory is read and written when the stream gets there. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream)
{
    bool to_device = false, from_device = false;
    if (shim_called("cudaMemcpyAsync"))
        return cudaErrorLaunchFailure;
    if (bytes == 0)
        return cudaSuccess;
    if (!to || !from || device_part(to, bytes, &to_device) != cudaSuccess ||
        device_part(from, bytes, &from_device) != cudaSuccess)
        return cudaErrorInvalidValue;
    const bool read_later = from_device || is_pinned(from, bytes);
    const bool written_later = to_device || is_pinned(to, bytes);
    if (shim_recording(stream) && !(read_later && written_later))
        return shim_spoil(stream, "a copy of pageable memory is recorded");
    if (read_later) {
        shim_push(stream, [=] { memmove(to, from, bytes); });
    } else {
        std::vector<char> staged((const char *)from, (const char *)from + bytes);
        shim_push(stream, [to, staged] { memcpy(to, staged.data(), staged.size()); });
    }
    return written_later || stream == nullptr ? cudaSuccess : cudaStreamSynchronize(stream);
}
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream)
{
    if (shim_called("cudaMemsetAsync"))
        return cudaErrorLaunchFailure;
    if (bytes == 0)
        return cudaSuccess;
    if (!shim_device_memory(p, bytes, "cudaMemset"))
        return cudaErrorInvalidValue;
    shim_push(stream, [=] { memset(p, value, bytes); });
    return cudaSuccess;
}
