/* Generators against published vectors: everything a run draws hangs on them. */
#include "superclip/base.h"

#include <setjmp.h>

#include <cmocka.h>

/* Known-answer vectors of the Random123 distribution, philox4x32 10. */
static void philox_gives_the_published_words(void **state)
{
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } rows[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t out[4];
        sc_philox4x32(rows[i].key, rows[i].counter, out);
        assert_memory_equal(out, rows[i].out, sizeof out);
        /* the result may replace the counter */
        uint32_t place[4] = {rows[i].counter[0], rows[i].counter[1], rows[i].counter[2],
                             rows[i].counter[3]};
        sc_philox4x32(rows[i].key, place, place);
        assert_memory_equal(place, rows[i].out, sizeof place);
    }
}

static void uniforms_stay_below_one(void **state)
{
    (void)state;
    assert_true(sc_uniform24(0) == 0.0f);
    assert_true(sc_uniform24(0xFF) == 0.0f);
    assert_true(sc_uniform24(0x80000000u) == 0.5f);
    assert_true(sc_uniform24(0xFFFFFFFFu) == 0x1.fffffep-1f);
    assert_int_equal(sc_below24(0xFFFFFFFFu, 7), 6);
    assert_int_equal(sc_below24(0, 7), 0);
    assert_int_equal(sc_below24(0x80000000u, 10), 5);
    assert_int_equal(sc_below24(0xFFFFFFFFu, 1), 0);
    /* exactly floor(u * n), where a float product would round up */
    for (uint32_t n = 1; n < 5000; n += 37)
        for (uint32_t word = 0; word < 0xF0000000u; word += 0x01234567u)
            assert_int_equal(sc_below24(word, n), (uint32_t)((double)sc_uniform24(word) * n));
}

/* The words numpy.random.RandomState(seed) is built on. */
static void mt19937_is_numpys(void **state)
{
    (void)state;
    sc_mt19937 mt;
    sc_mt19937_seed(&mt, 42);
    assert_int_equal(sc_mt19937_next(&mt), 1608637542u);
    assert_int_equal(sc_mt19937_next(&mt), 3421126067u);
    assert_int_equal(sc_mt19937_next(&mt), 4083286876u);
    sc_mt19937_seed(&mt, 0);
    assert_int_equal(sc_mt19937_next(&mt), 2357136044u);
    /* the 10000th output of the reference seed 5489 (C++ standard, [rand.predef]) */
    sc_mt19937_seed(&mt, 5489);
    uint32_t last = 0;
    for (int i = 0; i < 10000; i++)
        last = sc_mt19937_next(&mt);
    assert_int_equal(last, 4123659995u);
}

static void shuffling_is_numpys(void **state)
{
    (void)state;
    static const int expected[10] = {8, 1, 5, 0, 7, 2, 9, 4, 3, 6};
    int v[10];
    for (int i = 0; i < 10; i++)
        v[i] = i;
    sc_mt19937 mt;
    sc_mt19937_seed(&mt, 42);
    for (uint32_t i = 9; i > 0; i--) {
        uint32_t j = sc_mt19937_interval(&mt, i);
        int t = v[i];
        v[i] = v[j];
        v[j] = t;
    }
    assert_memory_equal(v, expected, sizeof v);
}

static void intervals_draw_only_what_they_need(void **state)
{
    (void)state;
    sc_mt19937 a, b;
    sc_mt19937_seed(&a, 7);
    sc_mt19937_seed(&b, 7);
    assert_int_equal(sc_mt19937_interval(&a, 0), 0); /* draws nothing */
    assert_int_equal(sc_mt19937_interval(&a, 0xFFFFFFFFu), sc_mt19937_next(&b));
    for (int i = 0; i < 2000; i++)
        assert_in_range(sc_mt19937_interval(&a, 5), 0, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_words),
        cmocka_unit_test(uniforms_stay_below_one),
        cmocka_unit_test(mt19937_is_numpys),
        cmocka_unit_test(shuffling_is_numpys),
        cmocka_unit_test(intervals_draw_only_what_they_need),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
