/* The fibres behind the stand-in for CUDA: see cuda_runtime.h. One host thread runs one launch at a
 * time; several host threads may run launches at once (ranks). x86-64 only.
 */
#include "cuda_runtime.h"
#include "races.h"

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <sys/mman.h>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#define WITH_ASAN 1
#else
#define WITH_ASAN 0
#endif

enum { STACK = 64 << 10, GUARD = WITH_ASAN ? 0 : 64, LIMIT_SHARED = 48 << 10 };
static const unsigned char guard_byte = 0xa5;

extern "C" void shim_switch(void **from, void *to);
asm(R"(
    .text
    .type shim_switch, @function
shim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size shim_switch, .-shim_switch
)");

namespace
{
enum state { READY, AT_BARRIER, AT_WARP, DONE };
struct fibre {
    void *sp = nullptr;
    char *stack = nullptr;
    state s = DONE;
    shim_place place;
    unsigned mask;
    bool orders = false; /* waits in a __syncwarp */
    uint64_t value, result;
    int from;
    const char *file;
    int line;
#if WITH_ASAN
    void *fake = nullptr;
#endif
};
struct shared_piece {
    char *p;
    size_t bytes;
};
struct machine {
    std::vector<fibre> fibres;
    std::map<const void *, shared_piece> pieces; /* of the running block */
    char *dynamic = nullptr;
    size_t dynamic_bytes = 0;
    void *main_sp = nullptr;
    fibre *current = nullptr;
    const std::function<void()> *body = nullptr;
    bool descending = false;
    int votes = 0, outcome = 0; /* of the threads at the barrier, of the newest barrier */
    cudaError_t last = cudaSuccess;
    std::string fault;
#if WITH_ASAN
    void *main_fake = nullptr;
    const void *main_bottom = nullptr;
    size_t main_size = 0;
#endif
    ~machine()
    {
        for (fibre &f : fibres)
            if (f.stack)
                munmap(f.stack, STACK);
    }
};
/* This host thread's. A pointer: a thread_local with a constructor is asked for at every access
 * whether it is there yet, and fibres look here all the time. */
thread_local std::unique_ptr<machine> owned;
[[gnu::tls_model("initial-exec")]] thread_local machine *known;
[[gnu::noinline]] machine &make_mine()
{
    known = (owned = std::make_unique<machine>()).get();
    return *known;
}
inline machine &mine()
{
    return known ? *known : make_mine();
}
std::atomic<long> launches{0};

void set_fault(const char *what, const fibre *f)
{
    machine &m = mine();
    char text[400];
    if (f)
        snprintf(text, sizeof text, "%s: block (%u,%u,%u) thread (%u,%u,%u) at %s:%d", what,
                 f->place.block.x, f->place.block.y, f->place.block.z, f->place.thread.x,
                 f->place.thread.y, f->place.thread.z, f->file ? f->file : "its end", f->line);
    else
        snprintf(text, sizeof text, "%s", what);
    if (m.fault.empty())
        m.fault = text;
    m.last = cudaErrorLaunchFailure;
}

void to_main(bool last)
{
    machine &m = mine();
    fibre *f = m.current;
#if WITH_ASAN
    __sanitizer_start_switch_fiber(last ? nullptr : &f->fake, m.main_bottom, m.main_size);
#endif
    (void)last;
    shim_switch(&f->sp, m.main_sp);
#if WITH_ASAN
    __sanitizer_finish_switch_fiber(f->fake, &m.main_bottom, &m.main_size);
#endif
}
void to_fibre(fibre *f)
{
    machine &m = mine();
    m.current = f;
#if WITH_ASAN
    __sanitizer_start_switch_fiber(&m.main_fake, f->stack, STACK);
#endif
    shim_switch(&m.main_sp, f->sp);
#if WITH_ASAN
    __sanitizer_finish_switch_fiber(m.main_fake, nullptr, nullptr);
#endif
    m.current = nullptr;
}
void fibre_main()
{
    machine &m = mine();
#if WITH_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &m.main_bottom, &m.main_size);
#endif
    (*m.body)();
    m.current->s = DONE;
    m.current->file = nullptr;
    m.current->line = 0;
    to_main(true);
    abort(); /* a finished fibre is never entered again */
}
/* Stacks that began at the same place of their pages would meet in the same few lines of a cache.
 */
size_t slide(size_t thread)
{
    return thread % 64 * 192;
}
void start(fibre *f, size_t thread)
{
    if (!f->stack) {
        f->stack = (char *)mmap(nullptr, STACK, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (f->stack == MAP_FAILED)
            abort();
    }
    void **top = (void **)(f->stack + STACK - slide(thread));
    top[-1] = nullptr; /* keeps the entry's stack at 16 bytes + 8 */
    top[-2] = (void *)fibre_main;
    for (int i = 3; i <= 8; i++)
        top[-i] = nullptr;
    f->sp = top - 8;
    f->s = READY;
}

bool same_place(const fibre *a, const fibre *b)
{
    return a->line == b->line && (a->file == b->file || strcmp(a->file, b->file) == 0);
}
/* Releases the block's barrier; false: not all are there yet, or a fault. */
bool release_barrier(size_t threads)
{
    machine &m = mine();
    for (size_t i = 0; i < threads; i++)
        if (m.fibres[i].s != AT_BARRIER)
            return false;
    for (size_t i = 1; i < threads; i++)
        if (!same_place(&m.fibres[i], &m.fibres[0])) {
            set_fault("__syncthreads from different places", &m.fibres[i]);
            return false;
        }
    for (size_t i = 0; i < threads; i++)
        m.fibres[i].s = READY;
    m.outcome = m.votes;
    m.votes = 0;
    races_barrier();
    return true;
}
bool release_lanes(fibre *warp, size_t lanes, unsigned mask)
{
    fibre *first = nullptr;
    for (unsigned l = 0; l < 32; l++) {
        if (!(mask >> l & 1))
            continue;
        if (l >= lanes) {
            set_fault("a warp function names a lane that is not there", first);
            return false;
        }
        if (warp[l].s != AT_WARP || warp[l].mask != mask)
            return false;
        if (first && !same_place(&warp[l], first))
            return false;
        first = first ? first : &warp[l];
    }
    for (unsigned l = 0; l < 32; l++) {
        if (!(mask >> l & 1))
            continue;
        int from = warp[l].from;
        if (from < 0 || from > 31 || !(mask >> from & 1)) {
            set_fault("a shuffle reads a lane outside its mask", &warp[l]);
            return false;
        }
        warp[l].result = warp[from].value;
    }
    for (unsigned l = 0; l < 32; l++)
        if (mask >> l & 1)
            warp[l].s = READY;
    if (first && first->orders && mask == 0xffffffffu)
        races_warp(first->place.number / 32);
    return true;
}
/* One warp as far as it gets without the others. */
bool run_warp(fibre *warp, size_t lanes)
{
    machine &m = mine();
    bool ran = false;
    for (bool more = true; more && m.fault.empty();) {
        more = false;
        for (size_t k = 0; k < lanes; k++) {
            fibre *f = &warp[m.descending ? lanes - 1 - k : k];
            if (f->s == READY) {
                to_fibre(f);
                more = true;
            }
        }
        for (size_t l = 0; l < lanes && m.fault.empty(); l++)
            if (warp[l].s == AT_WARP)
                more = release_lanes(warp, lanes, warp[l].mask) || more;
        ran = ran || more;
    }
    return ran;
}

void run_block(size_t threads)
{
    machine &m = mine();
    const size_t warps = (threads + 31) / 32;
    for (;;) {
        bool moved = false, all_done = true;
        for (size_t k = 0; k < warps && m.fault.empty(); k++) {
            const size_t w = 32 * (m.descending ? warps - 1 - k : k);
            moved = run_warp(&m.fibres[w], threads - w < 32 ? threads - w : 32) || moved;
        }
        for (size_t i = 0; i < threads; i++)
            all_done = all_done && m.fibres[i].s == DONE;
        if (all_done || !m.fault.empty())
            return;
        moved = release_barrier(threads) || moved;
        if (moved || !m.fault.empty())
            continue;
        for (size_t i = 0; i < threads && m.fault.empty(); i++)
            if (m.fibres[i].s != DONE)
                set_fault("not all threads reach the barrier or warp function", &m.fibres[i]);
        return;
    }
}

char *piece_new(size_t bytes)
{
    char *p = (char *)aligned_alloc(16, (bytes + GUARD + 15) / 16 * 16);
    if (!p)
        abort();
#if WITH_ASAN /* exact size: the sanitizer sees the end */
    free(p);
    void *q = nullptr;
    if (posix_memalign(&q, 16, bytes ? bytes : 1))
        abort();
    p = (char *)q;
#endif
    races_forget(p, bytes);
    memset(p, 0xff, bytes);
    for (int i = 0; i < GUARD; i++)
        p[bytes + (size_t)i] = (char)guard_byte;
    return p;
}
void piece_end(char *p, size_t bytes)
{
    for (int i = 0; i < GUARD; i++)
        if ((unsigned char)p[bytes + (size_t)i] != guard_byte) {
            set_fault("shared memory was written behind its end", nullptr);
            break;
        }
    free(p);
}
} // namespace

const shim_place *shim_here(void)
{
    machine &m = mine();
    return &m.current->place;
}
bool shim_own_stack(const void *p)
{
    machine &m = mine();
    const fibre *f = m.current;
    return !f || ((const char *)p >= f->stack && (const char *)p < f->stack + STACK) ||
           (p >= (const void *)f && p < (const void *)(f + 1));
}
void shim_wrong(const char *what)
{
    machine &m = mine();
    set_fault(what, m.current);
}

int shim_barrier(int vote, const char *file, int line)
{
    machine &m = mine();
    fibre *f = m.current;
    f->s = AT_BARRIER;
    m.votes |= vote != 0;
    f->file = file;
    f->line = line;
    to_main(false);
    return m.outcome;
}
uint64_t shim_exchange(unsigned mask, uint64_t value, int from, const char *file, int line)
{
    machine &m = mine();
    fibre *f = m.current;
    f->s = AT_WARP;
    f->mask = mask;
    f->value = value;
    f->from = from;
    f->file = file;
    f->line = line;
    if (!(mask >> f->place.lane & 1))
        set_fault("the caller of a warp function is not in its mask", f);
    to_main(false);
    return f->result;
}
void shim_warp_barrier(unsigned mask, const char *file, int line)
{
    machine &m = mine();
    m.current->orders = true;
    shim_exchange(mask, 0, (int)m.current->place.lane, file, line);
    m.current->orders = false;
}
unsigned shim_ballot(unsigned mask, int vote, const char *file, int line)
{
    unsigned out = 0;
    for (int l = 0; l < 32; l++)
        if (mask >> l & 1 && shim_exchange(mask, vote != 0, l, file, line))
            out |= 1u << l;
    return out;
}
void *shim_shared(const void *tag, size_t bytes)
{
    machine &m = mine();
    auto it = m.pieces.find(tag);
    if (it == m.pieces.end())
        it = m.pieces.insert({tag, {piece_new(bytes), bytes}}).first;
    return it->second.p;
}
void *shim_shared_dynamic(void)
{
    machine &m = mine();
    return m.dynamic;
}

/* What kernels asked for beyond LIMIT_SHARED. */
static std::map<const void *, size_t> asked;
static std::mutex asking;
cudaError_t shim_func_limit(const void *kernel, cudaFuncAttribute, int value)
{
    machine &m = mine();
    if (!kernel || value < 0 || value > (99 << 10)) /* what the smallest supported parts have */
        return m.last = cudaErrorInvalidValue;
    std::lock_guard<std::mutex> hold(asking);
    asked[kernel] = (size_t)value;
    return cudaSuccess;
}
static size_t dynamic_limit(const void *kernel)
{
    std::lock_guard<std::mutex> hold(asking);
    auto it = asked.find(kernel);
    return it == asked.end() || it->second < LIMIT_SHARED ? (size_t)LIMIT_SHARED : it->second;
}

bool shim_fits(const shim_config &c)
{
    machine &m = mine();
    size_t threads = (size_t)c.block.x * c.block.y * c.block.z;
    launches++;
    if (threads == 0 || threads > 1024 || c.block.z > 64 || c.grid.x == 0 || c.grid.y == 0 ||
        c.grid.z == 0 || c.grid.x > 0x7fffffffu || c.grid.y > 65535 || c.grid.z > 65535 ||
        c.shared > dynamic_limit(c.kernel)) {
        m.last = cudaErrorInvalidConfiguration;
        return false;
    }
    return true;
}
void shim_run(const shim_config &c, const std::function<void()> &body)
{
    machine &m = mine();
    size_t threads = (size_t)c.block.x * c.block.y * c.block.z;
    if (m.fibres.size() < threads)
        m.fibres.resize(threads);
    m.body = &body;
    uint64_t blocks = (uint64_t)c.grid.x * c.grid.y * c.grid.z;
    for (uint64_t k = 0; k < blocks && m.fault.empty(); k++) {
        uint64_t b = m.descending ? blocks - 1 - k : k;
        const shim_index block = {(unsigned)(b % c.grid.x), (unsigned)(b / c.grid.x % c.grid.y),
                                  (unsigned)(b / c.grid.x / c.grid.y)};
        shim_index thread = {0, 0, 0};
        for (size_t t = 0; t < threads; t++) {
            shim_place *p = &m.fibres[t].place;
            p->thread = thread;
            p->block = block;
            p->block_dim = {c.block.x, c.block.y, c.block.z};
            p->grid_dim = {c.grid.x, c.grid.y, c.grid.z};
            p->lane = (unsigned)(t % 32);
            p->number = (unsigned)t;
            start(&m.fibres[t], t);
            if (++thread.x == c.block.x) {
                thread.x = 0;
                if (++thread.y == c.block.y) {
                    thread.y = 0;
                    thread.z++;
                }
            }
        }
        races_block(k == 0);
        m.dynamic_bytes = c.shared;
        m.dynamic = c.shared ? piece_new(c.shared) : nullptr;
        run_block(threads);
        size_t fixed = 0;
        for (auto &piece : m.pieces) {
            fixed += piece.second.bytes;
            piece_end(piece.second.p, piece.second.bytes);
        }
        m.pieces.clear();
        if (m.dynamic)
            piece_end(m.dynamic, c.shared);
        m.dynamic = nullptr;
        if (fixed > LIMIT_SHARED || fixed + c.shared > dynamic_limit(c.kernel))
            set_fault("a block uses more shared memory than it may have", nullptr);
    }
}

void shim_set_order(int descending)
{
    machine &m = mine();
    m.descending = descending != 0;
}
const char *shim_fault(void)
{
    machine &m = mine();
    return m.fault.c_str();
}
void shim_clear_fault(void)
{
    machine &m = mine();
    m.fault.clear();
    m.last = cudaSuccess;
}
long shim_launches(void)
{
    return launches;
}
cudaError_t shim_take_error(void)
{
    machine &m = mine();
    cudaError_t e = m.last;
    m.last = cudaSuccess;
    return e;
}
void shim_set_error(cudaError_t e, const char *fault)
{
    machine &m = mine();
    if (fault && m.fault.empty())
        m.fault = fault;
    m.last = e;
}
