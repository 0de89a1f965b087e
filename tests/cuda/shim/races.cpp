#include "races.h"

#include "cuda_runtime.h"

#include <map>
#include <memory>
#include <set>
#include <stdio.h>
#include <string.h>
#include <unordered_map>
#include <vector>

namespace
{
enum { WORD = 4, PAGE = 1024, MOST_PAGES = 16384, RECENT = 256 };
/* One access: by which thread of which block, to which bytes of a word, behind how many barriers.
 */
struct access {
    uint32_t block;
    uint16_t thread;
    uint8_t bytes;
    uint32_t barriers, warp_barriers;
};
/* The newest write, the newest read, and the newest reads of another lane and of another warp. */
struct word {
    access wrote, read, beside, elsewhere;
};
struct watch {
    std::unordered_map<uintptr_t, std::unique_ptr<word[]>> pages;
    struct {
        uintptr_t page;
        word *words;
    } recent[RECENT] = {};
    uint32_t block = 0, first = 1; /* numbers of blocks grow for ever; first: of this launch */
    uint32_t barriers = 0, warp_barriers[32] = {};
    bool fenced = false;                             /* since the last atomic of this block */
    std::map<const void *, std::set<uint32_t>> told; /* blocks that told of their writes there */
    std::set<uint32_t> heard, known;                 /* known: behind this block's own fence */
};
/* On the heap: a library that is opened late gets little room for what every thread has its own of.
 */
watch &watched()
{
    thread_local std::unique_ptr<watch> w;
    if (!w)
        w.reset(new watch);
    return *w;
}

word *word_at(watch &w, uintptr_t number)
{
    const uintptr_t page = number / PAGE;
    auto &recent = w.recent[page % RECENT];
    if (!recent.words || page != recent.page) {
        std::unique_ptr<word[]> &p = w.pages[page];
        if (!p)
            p.reset(new word[PAGE]());
        recent.words = p.get();
        recent.page = page;
    }
    return &recent.words[number % PAGE];
}
bool races(const watch &w, const access &with, const access &now)
{
    if (with.block < w.first || !(with.bytes & now.bytes))
        return false;
    if (with.block != now.block)
        return w.known.count(with.block) == 0;
    return with.thread != now.thread && with.barriers == now.barriers &&
           (with.thread / 32 != now.thread / 32 || with.warp_barriers == now.warp_barriers);
}
void wrong(const char *what, const access &with, const access &now)
{
    char text[200];
    if (with.block != now.block)
        snprintf(text, sizeof text, "%s of another block without a fence", what);
    else
        snprintf(text, sizeof text, "%s of thread %u without a barrier", what, with.thread);
    shim_wrong(text);
}
void remember_read(word *c, const access &now)
{
    if (c->read.block == now.block && c->read.thread != now.thread) {
        if (c->read.thread / 32 == now.thread / 32)
            c->beside = c->read;
        else {
            c->elsewhere = c->read;
            c->beside = access();
        }
    }
    c->read = now;
}
void touch(uintptr_t at, size_t bytes, bool writes)
{
    if (shim_own_stack((const void *)at))
        return;
    watch &w = watched(); /* asked for once */
    access now = {w.block, (uint16_t)shim_here()->number, 0, w.barriers, 0};
    now.warp_barriers = w.warp_barriers[now.thread / 32];
    for (uintptr_t end = at + bytes; at < end;) {
        const uintptr_t next = (at / WORD + 1) * WORD < end ? (at / WORD + 1) * WORD : end;
        word *c = word_at(w, at / WORD);
        now.bytes = (uint8_t)(((1u << (next - at)) - 1) << at % WORD);
        if (races(w, c->wrote, now))
            wrong(writes ? "race: writes over what was written" : "race: reads a word", c->wrote,
                  now);
        for (const access *r : {&c->read, &c->beside, &c->elsewhere})
            if (writes && races(w, *r, now))
                wrong("race: writes over what was read", *r, now);
        if (writes)
            c->wrote = now;
        else
            remember_read(c, now);
        at = next;
    }
}
} // namespace

void races_block(bool first_of_launch)
{
    watch &w = watched();
    w.block++;
    if (first_of_launch) {
        w.first = w.block;
        w.told.clear();
        if (w.pages.size() > MOST_PAGES) {
            w.pages.clear();
            memset(w.recent, 0, sizeof w.recent);
        }
    }
    w.barriers = 0;
    memset(w.warp_barriers, 0, sizeof w.warp_barriers);
    w.fenced = false;
    w.heard.clear();
    w.known.clear();
}
void races_barrier(void)
{
    watch &w = watched();
    w.barriers++;
}
void races_warp(unsigned warp)
{
    watch &w = watched();
    w.warp_barriers[warp]++;
}
void races_forget(const void *p, size_t bytes)
{
    watch &w = watched();
    if (w.pages.empty())
        return;
    for (uintptr_t at = (uintptr_t)p / WORD; at <= ((uintptr_t)p + bytes) / WORD; at++)
        *word_at(w, at) = word();
}
void shim_fence(void)
{
    watch &w = watched();
    w.fenced = true;
    w.known.insert(w.heard.begin(), w.heard.end());
}
void shim_atomic(const void *at)
{
    watch &w = watched();
    const std::set<uint32_t> &others = w.told[at];
    w.heard.insert(others.begin(), others.end());
    if (w.fenced)
        w.told[at].insert(w.block);
    w.fenced = false;
}

/* What -fsanitize=thread calls; its own library is not linked. */
#define TOUCH(bytes)                             \
    extern "C" void __tsan_read##bytes(void *p)  \
    {                                            \
        touch((uintptr_t)p, bytes, false);       \
    }                                            \
    extern "C" void __tsan_write##bytes(void *p) \
    {                                            \
        touch((uintptr_t)p, bytes, true);        \
    }
TOUCH(1)
TOUCH(2)
TOUCH(4)
TOUCH(8)
TOUCH(16)
#define TOUCH_ODD(bytes)                                   \
    extern "C" void __tsan_unaligned_read##bytes(void *p)  \
    {                                                      \
        touch((uintptr_t)p, bytes, false);                 \
    }                                                      \
    extern "C" void __tsan_unaligned_write##bytes(void *p) \
    {                                                      \
        touch((uintptr_t)p, bytes, true);                  \
    }
TOUCH_ODD(2)
TOUCH_ODD(4)
TOUCH_ODD(8)
TOUCH_ODD(16)
extern "C" void __tsan_read_range(void *p, long bytes)
{
    touch((uintptr_t)p, (size_t)bytes, false);
}
extern "C" void __tsan_write_range(void *p, long bytes)
{
    touch((uintptr_t)p, (size_t)bytes, true);
}
extern "C" void __tsan_vptr_update(void *, void *) {}
extern "C" void __tsan_vptr_read(void *) {}
extern "C" void __tsan_init(void) {}
#ifndef __SANITIZE_ADDRESS__ /* there the sanitizer's own tells it */
/* And -fsanitize=alignment, for an access that is wider than its address allows. */
extern "C" void __ubsan_handle_type_mismatch_v1(void *, void *at)
{
    if (!shim_own_stack(at))
        shim_wrong(at ? "a misaligned address" : "a null address");
}
#endif
