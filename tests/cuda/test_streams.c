/* What stands in for streams, events and graphs: work that nothing orders runs in either order, and
 * what the runtime refuses while a thread records is refused.
 */
#include "kernels.h"
#include "shim/shim.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    INVALID_VALUE = 1,
    UNSUPPORTED = 900,
    INVALIDATED = 901,
    UNMATCHED = 903,
    UNJOINED = 904,
    ISOLATION = 905,
    CAPTURED_EVENT = 907
};
enum { SEEDS = 16, BYTES = 64 };
#define OK(call) assert_int_equal((call), 0)

typedef struct place {
    void *a, *b, *event, *other;
    unsigned char *device, *pinned;
} place;
static void begin(place *p)
{
    void *memory = NULL;
    *p = (place){0};
    OK(sc_cuda_stream_new(&p->a));
    OK(sc_cuda_stream_new(&p->b));
    OK(sc_cuda_event_new(&p->event));
    OK(sc_cuda_event_new(&p->other));
    OK(sc_cuda_malloc(BYTES, &memory));
    p->device = memory;
    OK(sc_cuda_pin(BYTES, &memory));
    p->pinned = memory;
}
static void end(place *p)
{
    OK(sc_cuda_stream_wait(p->a));
    OK(sc_cuda_stream_wait(p->b));
    OK(sc_cuda_event_free(p->event));
    OK(sc_cuda_event_free(p->other));
    OK(sc_cuda_free(p->device));
    OK(sc_cuda_unpin(p->pinned));
    OK(sc_cuda_stream_free(p->a));
    OK(sc_cuda_stream_free(p->b));
    assert_int_equal(shim_allocations(), 0);
}
/* a writes `value`, b reads: 1 when b saw it. */
static int hand_over(place *p, int value, bool ordered)
{
    memset(p->pinned, value, BYTES / 2);
    memset(p->pinned + BYTES / 2, 0xff, BYTES / 2);
    OK(sc_cuda_copy(p->a, p->device, p->pinned, BYTES / 2));
    if (ordered) {
        OK(sc_cuda_event_record(p->event, p->a));
        OK(sc_cuda_stream_after(p->b, p->event));
    }
    OK(sc_cuda_copy(p->b, p->pinned + BYTES / 2, p->device, BYTES / 2));
    OK(sc_cuda_stream_wait(p->b));
    OK(sc_cuda_stream_wait(p->a));
    return p->pinned[BYTES - 1] == value;
}
static void test_order(void **state)
{
    (void)state;
    place p;
    int lucky = 0;
    begin(&p);
    for (int s = 1; s <= SEEDS; s++) {
        shim_set_schedule((unsigned long)s);
        assert_true(hand_over(&p, s, true));
        lucky += hand_over(&p, s + SEEDS, false);
    }
    assert_in_range(lucky, 1, SEEDS - 1);
    end(&p);
}
/* Pinned memory is read when the copy runs: reused too early it shows. */
static void test_pinned_is_read_late(void **state)
{
    (void)state;
    place p;
    unsigned char got[4], early = 9;
    begin(&p);
    p.pinned[0] = 1;
    OK(sc_cuda_copy(p.a, p.device, p.pinned, 1));
    p.pinned[0] = 2;
    OK(sc_cuda_copy(p.a, p.device + 1, &early, 1)); /* pageable: read now */
    early = 8;
    OK(sc_cuda_copy(p.a, got, p.device, 2)); /* pageable: waits */
    assert_int_equal(got[0], 2);
    assert_int_equal(got[1], 9);
    p.pinned[4] = 7;
    OK(sc_cuda_copy(p.a, p.pinned + 4, p.device, 1));
    assert_int_equal(p.pinned[4], 7); /* not there yet */
    OK(sc_cuda_stream_wait(p.a));
    assert_int_equal(p.pinned[4], 2);
    end(&p);
}
static void test_events(void **state)
{
    (void)state;
    place p;
    bool ready = true;
    begin(&p);
    OK(sc_cuda_stream_after(p.b, p.event)); /* never recorded: nothing to wait for */
    OK(sc_cuda_zero(p.a, p.device, BYTES));
    for (int k = 0; k < 100; k++)
        OK(sc_cuda_zero(p.a, p.device, BYTES));
    OK(sc_cuda_event_record(p.event, p.a));
    OK(sc_cuda_event_ready(p.event, &ready));
    assert_false(ready);
    for (int k = 0; k < 4 && !ready; k++)
        OK(sc_cuda_event_ready(p.event, &ready));
    assert_true(ready);
    end(&p);
}

/* device[0] = pinned[0]; then both halves of a fork; then the join. */
static void record_diamond(place *p, bool joined, void **graph)
{
    OK(sc_cuda_record_begin(p->a));
    OK(sc_cuda_copy(p->a, p->device, p->pinned, 1));
    OK(sc_cuda_event_record(p->event, p->a));
    OK(sc_cuda_stream_after(p->b, p->event));
    OK(sc_cuda_copy(p->b, p->device + 1, p->device, 1));
    OK(sc_cuda_copy(p->a, p->device + 2, p->device, 1));
    OK(sc_cuda_event_record(p->other, p->b));
    if (joined)
        OK(sc_cuda_stream_after(p->a, p->other));
    OK(sc_cuda_copy(p->a, p->pinned + 1, p->device + 1, 2));
    assert_int_equal(sc_cuda_record_end(p->a, graph), joined ? 0 : UNJOINED);
}
static void test_graph(void **state)
{
    (void)state;
    place p;
    void *graph = NULL;
    begin(&p);
    p.pinned[0] = 3;
    record_diamond(&p, true, &graph);
    assert_int_equal(p.pinned[1], 0xff); /* recorded, not run */
    for (int s = 1; s <= SEEDS; s++) {
        shim_set_schedule((unsigned long)s);
        p.pinned[0] = (unsigned char)s;
        OK(sc_cuda_graph_launch(graph, p.a));
        OK(sc_cuda_stream_wait(p.a));
        assert_int_equal(p.pinned[1], s);
        assert_int_equal(p.pinned[2], s);
    }
    OK(sc_cuda_graph_free(graph));
    assert_int_equal(sc_cuda_graph_free(graph), INVALID_VALUE);
    assert_int_equal(sc_cuda_graph_launch(graph, p.a), INVALID_VALUE);
    record_diamond(&p, false, &graph);
    assert_null(graph);
    record_diamond(&p, true, &graph); /* and the streams are free again */
    OK(sc_cuda_graph_free(graph));
    end(&p);
}
/* The join that is forgotten shows under some seed. */
static void test_forgotten_wait(void **state)
{
    (void)state;
    place p;
    void *graph = NULL;
    int right = 0;
    begin(&p);
    memset(p.pinned, 0, BYTES);
    shim_drop_wait(2); /* of the fork, the join, and one between that orders the copies */
    OK(sc_cuda_record_begin(p.a));
    OK(sc_cuda_event_record(p.event, p.a));
    OK(sc_cuda_stream_after(p.b, p.event));
    OK(sc_cuda_copy(p.b, p.device, p.pinned, 1));
    OK(sc_cuda_event_record(p.other, p.b));
    OK(sc_cuda_event_record(p.event, p.a));
    OK(sc_cuda_stream_after(p.b, p.event));
    OK(sc_cuda_stream_after(p.a, p.other)); /* this one */
    OK(sc_cuda_copy(p.a, p.pinned + 1, p.device, 1));
    OK(sc_cuda_event_record(p.other, p.b));
    OK(sc_cuda_stream_after(p.a, p.other));
    assert_int_equal(shim_waits(), 4);
    shim_drop_wait(-1);
    OK(sc_cuda_record_end(p.a, &graph));
    for (int s = 1; s <= SEEDS; s++) {
        shim_set_schedule((unsigned long)s);
        p.pinned[0] = (unsigned char)s;
        OK(sc_cuda_graph_launch(graph, p.a));
        OK(sc_cuda_stream_wait(p.a));
        right += p.pinned[1] == s;
    }
    assert_in_range(right, 1, SEEDS - 1);
    OK(sc_cuda_graph_free(graph));
    end(&p);
}
typedef int refused_call(place *p);
static int wait_for(place *p)
{
    return sc_cuda_stream_wait(p->a);
}
static int ask_another(place *p)
{
    bool ready;
    return sc_cuda_stream_ready(p->b, &ready);
}
static int allocate(place *p)
{
    void *q;
    (void)p;
    return sc_cuda_malloc(1, &q);
}
static int release(place *p)
{
    return sc_cuda_free(p->device);
}
static int pin(place *p)
{
    void *q;
    (void)p;
    return sc_cuda_pin(1, &q);
}
static int copy_pageable(place *p)
{
    char c = 0;
    return sc_cuda_copy(p->a, p->device, &c, 1);
}
static int read_pageable(place *p)
{
    char c = 0;
    return sc_cuda_copy(p->a, &c, p->device, 1);
}
static int wait_outside(place *p)
{
    return sc_cuda_stream_after(p->a, p->other);
}
static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        refused_call *call;
        int error;
    } cases[] = {{wait_for, UNSUPPORTED},      {ask_another, UNSUPPORTED},
                 {allocate, UNSUPPORTED},      {release, UNSUPPORTED},
                 {pin, UNSUPPORTED},           {copy_pageable, UNSUPPORTED},
                 {read_pageable, UNSUPPORTED}, {wait_outside, ISOLATION}};
    place p;
    void *graph = NULL;
    bool ready;
    begin(&p);
    OK(sc_cuda_event_record(p.other, p.b));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        OK(sc_cuda_record_begin(p.a));
        OK(sc_cuda_zero(p.a, p.device, BYTES));
        assert_int_equal(cases[i].call(&p), cases[i].error);
        assert_int_equal(sc_cuda_record_end(p.a, &graph), INVALIDATED);
        assert_null(graph);
        OK(sc_cuda_stream_wait(p.a));
    }
    OK(sc_cuda_record_begin(p.a));
    OK(sc_cuda_event_record(p.event, p.a));
    OK(sc_cuda_stream_after(p.b, p.event));
    assert_int_equal(sc_cuda_event_ready(p.event, &ready), CAPTURED_EVENT);
    assert_int_equal(sc_cuda_record_end(p.b, &graph), UNMATCHED);
    OK(sc_cuda_record_end(p.a, &graph)); /* b has no work of its own in it */
    OK(sc_cuda_graph_free(graph));
    assert_int_equal(sc_cuda_record_end(p.a, &graph), INVALID_VALUE);
    end(&p);
}

/* A launch tells of its own failure, not of one that its thread has been told before. */
static void launch(place *p)
{
    OK(sc_cuda_convert(p->a, (sc_cuda_in){p->device, SC_CUDA_F32},
                       (sc_cuda_out){p->device + BYTES / 2, SC_CUDA_BF16, false}, 8));
}
static void test_told_once(void **state)
{
    (void)state;
    enum { NO_MEMORY = 2 };
    place p;
    void *memory = NULL;
    bool ready = true;
    begin(&p);
    shim_fail_call("cudaMalloc", 1);
    assert_int_equal(sc_cuda_malloc(1, &memory), NO_MEMORY);
    launch(&p);
    shim_fail_call("cudaHostAlloc", 1);
    assert_int_equal(sc_cuda_pin(1, &memory), NO_MEMORY);
    launch(&p);
    for (int i = 0; i < 200; i++) /* more than runs while the host asks once */
        OK(sc_cuda_zero(p.a, p.device, BYTES));
    OK(sc_cuda_event_record(p.event, p.a));
    OK(sc_cuda_event_ready(p.event, &ready));
    assert_false(ready);
    launch(&p);
    OK(sc_cuda_stream_ready(p.a, &ready));
    assert_false(ready);
    launch(&p);
    end(&p);
}

/* Handles of libraries are made and ended by one thread while another records. */
enum { ROUNDS = 200 };
static void *hold_often(void *going)
{
    for (int i = 0; i < ROUNDS; i++) {
        sc_cuda_hold_recordings();
        if (shim_wait_for_device() != 0)
            *(int *)going = -1;
        sc_cuda_release_recordings();
    }
    return NULL;
}
static void test_hold(void **state)
{
    (void)state;
    place p;
    void *graph = NULL;
    int outcome = 0;
    pthread_t other;
    begin(&p);
    assert_int_equal(pthread_create(&other, NULL, hold_often, &outcome), 0);
    for (int i = 0; i < ROUNDS; i++) {
        OK(sc_cuda_record_begin(p.a));
        OK(sc_cuda_zero(p.a, p.device, BYTES));
        OK(sc_cuda_record_end(p.a, &graph));
        OK(sc_cuda_graph_free(graph));
    }
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_int_equal(outcome, 0);
    OK(sc_cuda_record_begin(p.a)); /* without holding, the recording is lost */
    assert_int_equal(shim_wait_for_device(), UNSUPPORTED);
    assert_int_equal(sc_cuda_record_end(p.a, &graph), INVALIDATED);
    end(&p);
}

static void test_advice(void **state)
{
    (void)state;
    const struct {
        int error;
        const char *advice;
    } told[] = {{2, "--data-on-gpu off"},      {46, "--gpus"},
                {100, "CUDA_VISIBLE_DEVICES"}, {209, "sm_80"},
                {214, "another GPU"},          {802, "fabric manager"},
                {803, "started again"},        {101, "invalid device ordinal"}};
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        assert_non_null(strstr(sc_cuda_error_text(told[i].error), told[i].advice));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),          cmocka_unit_test(test_pinned_is_read_late),
        cmocka_unit_test(test_events),         cmocka_unit_test(test_graph),
        cmocka_unit_test(test_forgotten_wait), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_told_once),      cmocka_unit_test(test_hold),
        cmocka_unit_test(test_advice)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
