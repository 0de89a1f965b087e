/* Streams, events and graphs by their contract: a call queues, and work runs only while the host
 * waits or asks. Which of the streams that could go on does so is drawn from shim_set_schedule's
 * (SHIM_SCHEDULE's) seed, and stays with one stream for a while: what is not ordered by a stream or
 * an event runs in either order under some seed. The branches of a graph are streams of their own
 * for this.
 *
 * A thread runs the streams that it used last. Recording is per thread
 * (cudaStreamCaptureModeThreadLocal).
 */
#include "device.h"

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <vector>

typedef std::function<void()> work;
typedef std::shared_ptr<bool> mark; /* true: reached */

enum { EACH_ASK = 64 }; /* items that run while the host asks once */

namespace
{
struct item {
    work run; /* may be empty */
    std::vector<mark> after;
    mark done; /* may be NULL */
};
struct node {
    work run;
    std::vector<int> after;
    int lane;
};
struct recording {
    std::vector<node> nodes;
    cudaStream_t origin;
    std::set<cudaStream_t> members;
    std::atomic<bool> spoilt{false}; /* by any thread */
    bool talks = false;
};
/* Nodes of launched graphs, by lane. */
struct loose {
    item what;
    int lane;
};
struct home {
    std::set<cudaStream_t> streams;
    std::deque<loose> nodes;
    std::set<recording *> recordings; /* begun by this thread */
    uint64_t draw = 0;
};
std::mutex lock;
int lanes; /* numbers given */
uint64_t seed = getenv("SHIM_SCHEDULE") ? (uint64_t)atol(getenv("SHIM_SCHEDULE")) : 1;
long waits, dropped = -1;

std::map<int, std::unique_ptr<home>> all; /* threads end before their streams */
home *here()
{
    static int next;
    thread_local home *mine;
    if (!mine) {
        std::lock_guard<std::mutex> hold(lock);
        mine = (all[next++] = std::make_unique<home>()).get();
    }
    return mine;
}
} // namespace

struct shim_stream {
    std::deque<item> queue;
    std::shared_ptr<recording> to; /* NULL: not recording */
    std::vector<int> tips;         /* nodes that the next one comes after */
    home *owner;
    int lane;
};
struct shim_event {
    mark done; /* NULL: never recorded, or into a graph */
    std::weak_ptr<recording> to;
    bool into_graph = false;
    std::vector<int> tips;
};
struct shim_graph {
    std::vector<node> nodes;
    bool talks;
};
struct shim_graph_exec {
    std::vector<node> nodes;
    bool talks;
    mark last; /* of the newest launch */
};

namespace
{
std::set<shim_graph_exec *> executable;

bool reached(const item &i)
{
    for (const mark &m : i.after)
        if (!*m)
            return false;
    return true;
}
uint64_t mixed(uint64_t v)
{
    v = (v + 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return v ^ v >> 31;
}
/* The stream becomes this thread's to run. */
void adopt(cudaStream_t s)
{
    home *mine = here();
    std::lock_guard<std::mutex> hold(lock);
    if (s->owner == mine)
        return;
    if (s->owner)
        s->owner->streams.erase(s);
    s->owner = mine;
    mine->streams.insert(s);
}
/* Takes one item that can run; false: there is none. */
bool take(home *h, item *out)
{
    std::lock_guard<std::mutex> hold(lock);
    const uint64_t turn = mixed(seed * 1000003 + h->draw++ / 48);
    uint64_t best = 0;
    cudaStream_t stream = nullptr;
    auto chosen = h->nodes.end();
    for (cudaStream_t s : h->streams)
        if (!s->queue.empty() && reached(s->queue.front()) &&
            mixed(turn + (uint64_t)s->lane) >= best) {
            best = mixed(turn + (uint64_t)s->lane);
            stream = s;
        }
    for (auto n = h->nodes.begin(); n != h->nodes.end(); ++n)
        if (reached(n->what) && mixed(turn + (uint64_t)n->lane) > best) {
            best = mixed(turn + (uint64_t)n->lane);
            chosen = n;
            stream = nullptr;
        }
    if (stream) {
        *out = std::move(stream->queue.front());
        stream->queue.pop_front();
    } else if (chosen != h->nodes.end()) {
        *out = std::move(chosen->what);
        h->nodes.erase(chosen);
    } else {
        return false;
    }
    return true;
}
bool step()
{
    item next;
    if (!take(here(), &next))
        return false;
    if (next.run) {
        device_work open;
        next.run();
    }
    if (next.done)
        *next.done = true;
    return true;
}
void must_step()
{
    if (step())
        return;
    fprintf(stderr, "shim: streams wait for events that nothing will reach\n");
    abort();
}
void drain(cudaStream_t s)
{
    adopt(s);
    while (!s->queue.empty())
        must_step();
}
void queue(cudaStream_t s, item i)
{
    adopt(s);
    std::lock_guard<std::mutex> hold(lock);
    s->queue.push_back(std::move(i));
}
int add_node(cudaStream_t s, work run)
{
    s->to->nodes.push_back({std::move(run), s->tips, s->lane});
    s->tips = {(int)s->to->nodes.size() - 1};
    return s->tips[0];
}
void leave(const std::shared_ptr<recording> &r)
{
    home *mine = here();
    {
        std::lock_guard<std::mutex> hold(lock);
        mine->recordings.erase(r.get());
    }
    for (cudaStream_t s : r->members) {
        s->to = nullptr;
        s->tips.clear();
    }
}
cudaError_t refused(cudaError_t e, const char *what)
{
    shim_refused(what);
    return shim_keep(e);
}
/* Nodes that the origin's tips come after, themselves included. */
std::vector<bool> joined(const recording &r)
{
    std::vector<bool> in(r.nodes.size());
    for (int t : r.origin->tips)
        in[(size_t)t] = true;
    for (size_t i = r.nodes.size(); i-- > 0;)
        if (in[i])
            for (int a : r.nodes[i].after)
                in[(size_t)a] = true;
    return in;
}
} // namespace

bool shim_recording(cudaStream_t stream)
{
    return stream && stream->to;
}
cudaError_t shim_spoil(cudaStream_t stream, const char *name)
{
    stream->to->spoilt = true;
    return refused(cudaErrorStreamCaptureUnsupported, name);
}
cudaError_t shim_unsafe(const char *name)
{
    bool any = false;
    for (recording *r : here()->recordings)
        any = r->spoilt = true;
    return any ? refused(cudaErrorStreamCaptureUnsupported, name) : cudaSuccess;
}
/* "Invalid to synchronize a device when any of its streams is in capture mode": whoever records. */
cudaError_t cudaDeviceSynchronize(void)
{
    bool any = false;
    {
        std::lock_guard<std::mutex> hold(lock);
        for (auto &h : all)
            for (recording *r : h.second->recordings)
                any = r->spoilt = true;
    }
    if (any)
        return refused(cudaErrorStreamCaptureUnsupported,
                       "a wait for the whole device while a thread records");
    shim_drain();
    return cudaSuccess;
}
int shim_wait_for_device(void)
{
    return (int)cudaDeviceSynchronize();
}
void shim_drain(void)
{
    while (step())
        ;
}
void shim_push(cudaStream_t stream, std::function<void()> run)
{
    if (stream == nullptr) {
        device_work open;
        run();
    } else if (!stream->to) {
        queue(stream, {std::move(run), {}, nullptr});
    } else if (stream->to->spoilt) {
        shim_set_error(cudaErrorStreamCaptureInvalidated, nullptr);
    } else {
        add_node(stream, std::move(run));
    }
}
void shim_now(cudaStream_t stream, const std::function<void()> &run)
{
    shim_push(stream, run);
    if (stream->to)
        stream->to->talks = true;
    else
        drain(stream);
}
void shim_set_schedule(unsigned long s)
{
    seed = s;
}
void shim_drop_wait(long n)
{
    waits = 0;
    dropped = n;
}
long shim_waits(void)
{
    return waits;
}

/* ---- streams ---- */
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    *stream = new shim_stream{};
    {
        std::lock_guard<std::mutex> hold(lock);
        (*stream)->lane = lanes++;
    }
    adopt(*stream);
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    if (stream->to)
        return shim_spoil(stream, "cudaStreamDestroy of a stream that records");
    drain(stream);
    std::lock_guard<std::mutex> hold(lock);
    stream->owner->streams.erase(stream);
    delete stream;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (shim_called("cudaStreamSynchronize"))
        return cudaErrorLaunchFailure;
    if (stream->to)
        return shim_spoil(stream, "cudaStreamSynchronize of a stream that records");
    if (shim_unsafe("cudaStreamSynchronize while recording"))
        return cudaErrorStreamCaptureUnsupported;
    drain(stream);
    return shim_take_error();
}
/* Work goes on while somebody asks. */
cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    (void)shim_called("cudaStreamQuery");
    if (stream->to)
        return shim_spoil(stream, "cudaStreamQuery of a stream that records");
    if (shim_unsafe("cudaStreamQuery while recording"))
        return cudaErrorStreamCaptureUnsupported;
    adopt(stream);
    for (int k = 0; k < EACH_ASK && !stream->queue.empty(); k++)
        must_step();
    const cudaError_t e = shim_take_error();
    return e != cudaSuccess || stream->queue.empty() ? e : shim_keep(cudaErrorNotReady);
}

/* ---- events ---- */
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    if (flags != cudaEventDisableTiming)
        return refused(cudaErrorInvalidValue, "an event that takes the time");
    *event = new shim_event{};
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    if (shim_called("cudaEventRecord"))
        return cudaErrorLaunchFailure;
    event->into_graph = stream->to != nullptr;
    event->to = stream->to;
    event->tips = stream->tips;
    event->done = nullptr;
    if (stream->to)
        return stream->to->spoilt ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
    event->done = std::make_shared<bool>(false);
    queue(stream, {nullptr, {}, event->done});
    return cudaSuccess;
}
static cudaError_t wait_in_graph(cudaStream_t stream, const shim_event *event)
{
    const std::shared_ptr<recording> r = event->to.lock();
    if (!r || !r->members.count(r->origin))
        return refused(cudaErrorInvalidValue, "a wait for an event of a recording that ended");
    if (r->spoilt)
        return cudaErrorStreamCaptureInvalidated;
    if (stream->to && stream->to != r) {
        stream->to->spoilt = r->spoilt = true;
        return refused(cudaErrorStreamCaptureMerge, "two recordings would become one");
    }
    if (!stream->to) {
        stream->to = r;
        stream->tips.clear();
        r->members.insert(stream);
    }
    for (int t : event->tips)
        stream->tips.push_back(t);
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    if (shim_called("cudaStreamWaitEvent"))
        return cudaErrorLaunchFailure;
    if (waits++ == dropped)
        return cudaSuccess; /* a test forgets this one */
    if (event->into_graph)
        return wait_in_graph(stream, event);
    if (stream->to) {
        stream->to->spoilt = true;
        return refused(cudaErrorStreamCaptureIsolation,
                       "a recording waits for an event from outside");
    }
    if (event->done)
        queue(stream, {nullptr, {event->done}, nullptr});
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    (void)shim_called("cudaEventSynchronize");
    if (event->into_graph)
        return refused(cudaErrorCapturedEvent, "cudaEventSynchronize of a recorded event");
    if (shim_unsafe("cudaEventSynchronize while recording"))
        return cudaErrorStreamCaptureUnsupported;
    while (event->done && !*event->done)
        must_step();
    return shim_take_error();
}
cudaError_t cudaEventQuery(cudaEvent_t event)
{
    (void)shim_called("cudaEventQuery");
    if (event->into_graph)
        return refused(cudaErrorCapturedEvent, "cudaEventQuery of a recorded event");
    if (shim_unsafe("cudaEventQuery while recording"))
        return cudaErrorStreamCaptureUnsupported;
    for (int k = 0; k < EACH_ASK && event->done && !*event->done; k++)
        must_step();
    const cudaError_t e = shim_take_error();
    return e != cudaSuccess || !event->done || *event->done ? e : shim_keep(cudaErrorNotReady);
}

/* ---- graphs ---- */
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode)
{
    if (shim_called("cudaStreamBeginCapture"))
        return cudaErrorLaunchFailure;
    if (stream == nullptr || stream->to || mode != cudaStreamCaptureModeThreadLocal)
        return refused(cudaErrorInvalidValue, "a stream that records, or cannot");
    adopt(stream);
    stream->to = std::make_shared<recording>();
    stream->to->origin = stream;
    stream->to->members.insert(stream);
    stream->tips.clear();
    home *mine = here();
    std::lock_guard<std::mutex> hold(lock);
    mine->recordings.insert(stream->to.get());
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    const std::shared_ptr<recording> r = stream->to;
    const bool fails = shim_called("cudaStreamEndCapture");
    *graph = nullptr;
    if (!r)
        return refused(cudaErrorInvalidValue, "nothing was being recorded");
    if (r->origin != stream)
        return refused(cudaErrorStreamCaptureUnmatched, "not the stream that began to record");
    if (!here()->recordings.count(r.get()))
        return refused(cudaErrorStreamCaptureWrongThread, "not the thread that began to record");
    const std::vector<bool> in = joined(*r);
    bool all = true;
    for (cudaStream_t s : r->members)
        for (int t : s->tips)
            all = all && in[(size_t)t];
    const bool spoilt = r->spoilt || fails;
    leave(r);
    r->members.clear();
    if (spoilt)
        return refused(cudaErrorStreamCaptureInvalidated, "the recording was spoilt");
    if (!all)
        return refused(cudaErrorStreamCaptureUnjoined, "a stream of the recording was not joined");
    *graph = new shim_graph{r->nodes, r->talks};
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *exec, cudaGraph_t graph,
                                          unsigned long long)
{
    *exec = nullptr;
    if (shim_called("cudaGraphInstantiate"))
        return cudaErrorMemoryAllocation;
    if (shim_unsafe("cudaGraphInstantiate while recording"))
        return cudaErrorStreamCaptureUnsupported;
    *exec = new shim_graph_exec{graph->nodes, graph->talks, nullptr};
    std::lock_guard<std::mutex> hold(lock);
    executable.insert(*exec);
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    std::lock_guard<std::mutex> hold(lock);
    if (executable.erase(exec) == 0)
        return refused(cudaErrorInvalidValue, "destroying a graph that is not there");
    if (exec->last && !*exec->last)
        shim_set_error(cudaErrorLaunchFailure, "a graph was destroyed while it ran");
    delete exec;
    return cudaSuccess;
}
/* One launch: a gate in the stream, the nodes beside it, and a gate that waits for all of them. */
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    if (shim_called("cudaGraphLaunch"))
        return cudaErrorLaunchFailure;
    {
        std::lock_guard<std::mutex> hold(lock);
        if (!executable.count(exec))
            return refused(cudaErrorInvalidValue, "launching a graph that is not there");
    }
    if (stream->to)
        return shim_spoil(stream, "cudaGraphLaunch into a stream that records");
    const mark gate = std::make_shared<bool>(false);
    std::vector<mark> done;
    queue(stream,
          {nullptr, exec->last ? std::vector<mark>{exec->last} : std::vector<mark>{}, gate});
    for (const node &n : exec->nodes) {
        item i = {n.run, {gate}, std::make_shared<bool>(false)};
        for (int a : n.after)
            i.after.push_back(done[(size_t)a]);
        done.push_back(i.done);
        std::lock_guard<std::mutex> hold(lock);
        stream->owner->nodes.push_back({std::move(i), n.lane});
    }
    exec->last = std::make_shared<bool>(false);
    queue(stream, {nullptr, done, exec->last});
    if (exec->talks) /* its peers wait inside it */
        drain(stream);
    return cudaSuccess;
}
