/* The few calls of CUDA's runtime that host code needs, behind plain types. */
#include "device.cuh"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* What failed is told once, by its own call: the runtime keeps it for cudaGetLastError, and the
 * next launch, which may have nothing to do with it, would be taken for the one that failed. */
static int told(cudaError_t e)
{
    if (e != cudaSuccess)
        (void)cudaGetLastError();
    return static_cast<int>(e);
}
static int answered(cudaError_t e, bool *ready)
{
    *ready = e == cudaSuccess;
    const int failed = told(e);
    return e == cudaErrorNotReady ? 0 : failed;
}

extern "C" int sc_cuda_devices(int *count)
{
    *count = 0;
    return told(cudaGetDeviceCount(count));
}

extern "C" void sc_cuda_versions(int *driver, int *built_for)
{
    *driver = *built_for = 0;
    (void)told(cudaDriverGetVersion(driver));
    (void)told(cudaRuntimeGetVersion(built_for));
}

extern "C" int sc_cuda_use(int device, sc_cuda_device_facts *facts)
{
    cudaDeviceProp p;
    cudaError_t e = cudaSetDevice(device);
    if (e == cudaSuccess)
        e = cudaGetDeviceProperties(&p, device);
    if (e != cudaSuccess)
        return told(e);
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
    return told(e);
}
extern "C" int sc_cuda_stream_free(void *stream)
{
    return told(cudaStreamDestroy(sc_cuda_queue(stream)));
}
extern "C" int sc_cuda_stream_wait(void *stream)
{
    return told(cudaStreamSynchronize(sc_cuda_queue(stream)));
}

extern "C" int sc_cuda_stream_ready(void *stream, bool *ready)
{
    return answered(cudaStreamQuery(sc_cuda_queue(stream)), ready);
}

extern "C" int sc_cuda_memory(size_t *free_bytes, size_t *total_bytes)
{
    return told(cudaMemGetInfo(free_bytes, total_bytes));
}
extern "C" int sc_cuda_malloc(size_t bytes, void **p)
{
    *p = nullptr;
    return told(cudaMalloc(p, bytes));
}
extern "C" int sc_cuda_free(void *p)
{
    return told(cudaFree(p));
}

extern "C" int sc_cuda_copy(void *stream, void *to, const void *from, size_t bytes)
{
    return told(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, sc_cuda_queue(stream)));
}
extern "C" int sc_cuda_zero(void *stream, void *p, size_t bytes)
{
    return told(cudaMemsetAsync(p, 0, bytes, sc_cuda_queue(stream)));
}

extern "C" int sc_cuda_pin(size_t bytes, void **p)
{
    *p = nullptr;
    return told(cudaHostAlloc(p, bytes, cudaHostAllocDefault));
}
extern "C" int sc_cuda_unpin(void *p)
{
    return told(cudaFreeHost(p));
}

extern "C" int sc_cuda_event_new(void **event)
{
    cudaEvent_t e = nullptr;
    const cudaError_t failed = cudaEventCreateWithFlags(&e, cudaEventDisableTiming);
    *event = e;
    return told(failed);
}
extern "C" int sc_cuda_event_free(void *event)
{
    return told(cudaEventDestroy(static_cast<cudaEvent_t>(event)));
}
extern "C" int sc_cuda_event_record(void *event, void *stream)
{
    return told(cudaEventRecord(static_cast<cudaEvent_t>(event), sc_cuda_queue(stream)));
}
extern "C" int sc_cuda_event_wait(void *event)
{
    return told(cudaEventSynchronize(static_cast<cudaEvent_t>(event)));
}
extern "C" int sc_cuda_event_ready(void *event, bool *ready)
{
    return answered(cudaEventQuery(static_cast<cudaEvent_t>(event)), ready);
}
extern "C" int sc_cuda_stream_after(void *stream, void *event)
{
    return told(cudaStreamWaitEvent(sc_cuda_queue(stream), static_cast<cudaEvent_t>(event), 0));
}

/* Recording threads share it; who waits for the whole device has it alone. Of the process, as the
 * device's context is. */
static pthread_rwlock_t recording = PTHREAD_RWLOCK_INITIALIZER;
static thread_local void *recorded; /* the stream that this thread records */

extern "C" void sc_cuda_hold_recordings(void)
{
    pthread_rwlock_wrlock(&recording);
}
extern "C" void sc_cuda_release_recordings(void)
{
    pthread_rwlock_unlock(&recording);
}
extern "C" int sc_cuda_record_begin(void *stream)
{
    if (recorded != nullptr)
        return static_cast<int>(cudaErrorInvalidValue);
    pthread_rwlock_rdlock(&recording);
    const cudaError_t e =
        cudaStreamBeginCapture(sc_cuda_queue(stream), cudaStreamCaptureModeThreadLocal);
    if (e == cudaSuccess)
        recorded = stream;
    else
        pthread_rwlock_unlock(&recording);
    return told(e);
}
extern "C" int sc_cuda_record_end(void *stream, void **graph)
{
    cudaGraph_t drawn = nullptr;
    cudaGraphExec_t made = nullptr;
    cudaError_t e = cudaStreamEndCapture(sc_cuda_queue(stream), &drawn);
    if (stream == recorded) {
        recorded = nullptr;
        pthread_rwlock_unlock(&recording);
    }
    if (e == cudaSuccess)
        e = cudaGraphInstantiateWithFlags(&made, drawn, 0);
    if (drawn != nullptr)
        cudaGraphDestroy(drawn);
    *graph = made;
    return told(e);
}
extern "C" int sc_cuda_graph_launch(void *graph, void *stream)
{
    return told(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), sc_cuda_queue(stream)));
}
extern "C" int sc_cuda_graph_free(void *graph)
{
    return told(cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)));
}
