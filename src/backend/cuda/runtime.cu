/* The few calls of CUDA's runtime that host code needs, behind plain types. */
#include "device.cuh"

#include <stdio.h>
#include <string.h>

extern "C" const char *sc_cuda_error_text(int error)
{
    return cudaGetErrorString(static_cast<cudaError_t>(error));
}

extern "C" int sc_cuda_devices(int *count)
{
    *count = 0;
    return static_cast<int>(cudaGetDeviceCount(count));
}

extern "C" int sc_cuda_use(int device, sc_cuda_device_facts *facts)
{
    cudaDeviceProp p;
    cudaError_t e = cudaSetDevice(device);
    if (e == cudaSuccess)
        e = cudaGetDeviceProperties(&p, device);
    if (e != cudaSuccess)
        return static_cast<int>(e);
    snprintf(facts->name, sizeof facts->name, "%.*s", static_cast<int>(sizeof facts->name) - 1,
             p.name);
    memcpy(facts->uuid, p.uuid.bytes, sizeof facts->uuid);
    facts->major = p.major;
    facts->minor = p.minor;
    facts->processors = p.multiProcessorCount;
    facts->memory = p.totalGlobalMem;
    return 0;
}

extern "C" int sc_cuda_stream_new(void **stream)
{
    cudaStream_t s = nullptr;
    cudaError_t e = cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
    *stream = s;
    return static_cast<int>(e);
}
extern "C" int sc_cuda_stream_free(void *stream)
{
    return static_cast<int>(cudaStreamDestroy(sc_cuda_queue(stream)));
}
extern "C" int sc_cuda_stream_wait(void *stream)
{
    return static_cast<int>(cudaStreamSynchronize(sc_cuda_queue(stream)));
}

extern "C" int sc_cuda_stream_ready(void *stream, bool *ready)
{
    const cudaError_t e = cudaStreamQuery(sc_cuda_queue(stream));
    *ready = e == cudaSuccess;
    return e == cudaErrorNotReady ? 0 : static_cast<int>(e);
}

extern "C" int sc_cuda_memory(size_t *free_bytes, size_t *total_bytes)
{
    return static_cast<int>(cudaMemGetInfo(free_bytes, total_bytes));
}
extern "C" int sc_cuda_malloc(size_t bytes, void **p)
{
    *p = nullptr;
    return static_cast<int>(cudaMalloc(p, bytes));
}
extern "C" int sc_cuda_free(void *p)
{
    return static_cast<int>(cudaFree(p));
}

extern "C" int sc_cuda_copy(void *stream, void *to, const void *from, size_t bytes)
{
    return static_cast<int>(
        cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, sc_cuda_queue(stream)));
}
extern "C" int sc_cuda_zero(void *stream, void *p, size_t bytes)
{
    return static_cast<int>(cudaMemsetAsync(p, 0, bytes, sc_cuda_queue(stream)));
}

extern "C" int sc_cuda_pin(size_t bytes, void **p)
{
    *p = nullptr;
    return static_cast<int>(cudaHostAlloc(p, bytes, cudaHostAllocDefault));
}
extern "C" int sc_cuda_unpin(void *p)
{
    return static_cast<int>(cudaFreeHost(p));
}

extern "C" int sc_cuda_event_new(void **event)
{
    cudaEvent_t e = nullptr;
    const cudaError_t failed = cudaEventCreateWithFlags(&e, cudaEventDisableTiming);
    *event = e;
    return static_cast<int>(failed);
}
extern "C" int sc_cuda_event_free(void *event)
{
    return static_cast<int>(cudaEventDestroy(static_cast<cudaEvent_t>(event)));
}
extern "C" int sc_cuda_event_record(void *event, void *stream)
{
    return static_cast<int>(
        cudaEventRecord(static_cast<cudaEvent_t>(event), sc_cuda_queue(stream)));
}
extern "C" int sc_cuda_event_wait(void *event)
{
    return static_cast<int>(cudaEventSynchronize(static_cast<cudaEvent_t>(event)));
}
extern "C" int sc_cuda_event_ready(void *event, bool *ready)
{
    const cudaError_t e = cudaEventQuery(static_cast<cudaEvent_t>(event));
    *ready = e == cudaSuccess;
    return e == cudaErrorNotReady ? 0 : static_cast<int>(e);
}
extern "C" int sc_cuda_stream_after(void *stream, void *event)
{
    return static_cast<int>(
        cudaStreamWaitEvent(sc_cuda_queue(stream), static_cast<cudaEvent_t>(event), 0));
}

extern "C" int sc_cuda_record_begin(void *stream)
{
    return static_cast<int>(
        cudaStreamBeginCapture(sc_cuda_queue(stream), cudaStreamCaptureModeThreadLocal));
}
extern "C" int sc_cuda_record_end(void *stream, void **graph)
{
    cudaGraph_t drawn = nullptr;
    cudaGraphExec_t made = nullptr;
    cudaError_t e = cudaStreamEndCapture(sc_cuda_queue(stream), &drawn);
    if (e == cudaSuccess)
        e = cudaGraphInstantiateWithFlags(&made, drawn, 0);
    if (drawn != nullptr)
        cudaGraphDestroy(drawn);
    if (e != cudaSuccess)
        cudaGetLastError(); /* told here, not by the next launch */
    *graph = made;
    return static_cast<int>(e);
}
extern "C" int sc_cuda_graph_launch(void *graph, void *stream)
{
    return static_cast<int>(
        cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), sc_cuda_queue(stream)));
}
extern "C" int sc_cuda_graph_free(void *graph)
{
    return static_cast<int>(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)));
}
