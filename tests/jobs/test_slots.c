/* Several jobs on a rank at once: the planner against a simulation that looks at every job at every
 * event, and against arithmetic by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "superclip/jobs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A job of so many seconds on one rank, and hardly fewer on more. */
static sc_job job_of(double seconds)
{
    return (sc_job){.epochs = 1, .train_rows = 1, .batch = 1, .repeated_flops = seconds * 0.75};
}

static sc_machine machine_of(int ranks, int slots, double crowding)
{
    return (sc_machine){.ranks = ranks,
                        .ranks_per_node = ranks,
                        .flops = 1,
                        .bandwidth = 1,
                        .latency = 1,
                        .slots = slots,
                        .crowding = crowding};
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * (1 + fabs(b));
}

/* ---- by hand --------------------------------------------------------------------------------- */

static void five_folds_share_a_gpu(void **state)
{
    (void)state;
    sc_job jobs[5];
    for (int i = 0; i < 5; i++)
        jobs[i] = job_of(100);
    double one = sc_job_seconds(&jobs[0], &(sc_machine){.flops = 1, .bandwidth = 1}, 1);
    static const int slots[] = {0, 1, 2, 5, 8};
    /* two at a time: two pairs and the last alone; with five or more slots all together */
    const double c = SC_GPU_CROWDING, expected[] = {5, 5, 2 * (1 + c) + 1, 1 + 4 * c, 1 + 4 * c};
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        sc_machine m = machine_of(1, slots[i], c);
        sc_plan p;
        assert_int_equal(sc_plan_make(jobs, 5, &m, 0, &p, NULL), SC_OK);
        assert_true(near(p.makespan, expected[i] * one));
        sc_plan_free(&p);
    }
    /* what the constant is made of */
    assert_true(fabs(5 / (1 + 4 * c) - 1.6) < 0.01);
}

static void a_short_job_leaves_its_place(void **state)
{
    (void)state;
    sc_job jobs[] = {job_of(4), job_of(2), job_of(3)};
    double unit = sc_job_seconds(&jobs[1], &(sc_machine){.flops = 1, .bandwidth = 1}, 1) / 2;
    sc_machine m = machine_of(1, 2, 0.5);
    sc_plan p;
    assert_int_equal(sc_plan_make(jobs, 3, &m, 0, &p, NULL), SC_OK);
    /* Two together take 1.5 times as long. Longest first: 4 and 3 begin; 3 ends at 4.5, when 4 has
     * 1 left, which takes 1.5 beside the 2; that then has 1 left, alone. */
    assert_true(near(p.start[0], 0) && near(p.start[2], 0) && near(p.start[1], 4.5 * unit));
    assert_true(near(p.seconds[2], 4.5 * unit) && near(p.seconds[0], 6 * unit));
    assert_true(near(p.seconds[1], 2.5 * unit) && near(p.makespan, 7 * unit));
    sc_plan_free(&p);
}

static void ranks_are_filled_evenly(void **state)
{
    (void)state;
    sc_job jobs[5];
    for (int i = 0; i < 5; i++)
        jobs[i] = job_of(10);
    sc_machine m = machine_of(4, 5, 0.5);
    sc_plan p;
    assert_int_equal(sc_plan_make(jobs, 5, &m, 1, &p, NULL), SC_OK);
    int there[4] = {0};
    for (int i = 0; i < 5; i++)
        there[p.group_of_job[i]]++;
    for (int g = 0; g < 4; g++)
        assert_int_equal(there[g], g == 0 ? 2 : 1);
    sc_plan_free(&p);
}

static void larger_groups_take_one_job(void **state)
{
    (void)state;
    sc_machine m = machine_of(4, 5, 0.5);
    assert_int_equal(sc_group_slots(&m, 1), 5);
    for (int size = 2; size <= 4; size++)
        assert_int_equal(sc_group_slots(&m, size), 1);
    sc_job jobs[] = {job_of(10), job_of(10)};
    sc_plan p;
    assert_int_equal(sc_plan_make(jobs, 2, &m, 4, &p, NULL), SC_OK);
    assert_int_equal(p.groups, 1);
    assert_true(near(p.makespan, p.seconds[0] + p.seconds[1]));
    sc_plan_free(&p);
}

static void impossible_machines_are_refused(void **state)
{
    (void)state;
    sc_job job = job_of(1);
    const sc_machine bad[] = {machine_of(1, -1, 0), machine_of(1, SC_MOST_SLOTS + 1, 0),
                              machine_of(1, 2, -0.1), machine_of(1, 2, 1),
                              machine_of(1, 2, (double)NAN)};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sc_plan p;
        assert_int_equal(sc_plan_make(&job, 1, &bad[i], 0, &p, NULL), SC_EINTERNAL);
    }
}

/* ---- another simulation ---------------------------------------------------------------------- */

typedef struct world {
    double left[64]; /* of each job, alone */
    int at[64];      /* its group, -1: not begun or ended */
    int load[64];    /* jobs of each group */
} world;

/* Time until the next job ends, and who; count jobs in all. */
static double next_end(const world *w, int count, const sc_machine *m, int *who)
{
    double soonest = INFINITY;
    *who = -1;
    for (int j = 0; j < count; j++) {
        if (w->at[j] < 0)
            continue;
        double t = w->left[j] * (1 + (w->load[w->at[j]] - 1) * m->crowding);
        if (t < soonest) {
            soonest = t;
            *who = j;
        }
    }
    return soonest;
}

static double makespan_of(const sc_job *jobs, int count, const sc_machine *m, const sc_plan *p)
{
    world w;
    memset(&w, 0, sizeof w);
    for (int j = 0; j < count; j++)
        w.at[j] = -1;
    double now = 0;
    for (int begun = 0;;) {
        for (; begun < count; begun++) {
            int g = -1;
            for (int k = 0; k < p->groups; k++)
                if (w.load[k] < sc_group_slots(m, p->group_size[k]) &&
                    (g < 0 || w.load[k] < w.load[g]))
                    g = k;
            if (g < 0)
                break;
            int j = p->order[begun];
            w.at[j] = g;
            w.load[g]++;
            w.left[j] = sc_job_seconds(&jobs[j], m, p->group_size[g]);
        }
        int who;
        double step = next_end(&w, count, m, &who);
        if (who < 0)
            return now;
        for (int j = 0; j < count; j++)
            if (w.at[j] >= 0)
                w.left[j] -= step / (1 + (w.load[w.at[j]] - 1) * m->crowding);
        now += step;
        w.load[w.at[who]]--;
        w.at[who] = -1;
    }
}

static void plans_last_as_long_as_they_say(void **state)
{
    (void)state;
    uint32_t seed = 3;
    for (int round = 0; round < 400; round++) {
        sc_job jobs[40];
        seed = seed * 1664525u + 1013904223u;
        int count = 1 + (int)(seed >> 8) % 40;
        for (int j = 0; j < count; j++) {
            seed = seed * 1664525u + 1013904223u;
            jobs[j] = job_of(1 + (double)((seed >> 8) % 10000) / 7);
            jobs[j].row_flops = (double)((seed >> 8) % 300);
            jobs[j].batch = jobs[j].train_rows = 64;
        }
        static const int ranks[] = {1, 2, 3, 5, 8, 30};
        sc_machine m = machine_of(ranks[round % 6], 1 + round % SC_MOST_SLOTS, (round % 10) / 10.0);
        sc_plan best, second;
        assert_int_equal(sc_plan_make(jobs, count, &m, round % 4 == 3, &best, &second), SC_OK);
        double again = makespan_of(jobs, count, &m, &best);
        assert_true(fabs(again - best.makespan) <= 1e-6 * again);
        double end = 0, before = 0;
        for (int i = 0; i < count; i++) {
            int j = best.order[i];
            assert_true(best.start[j] >= before); /* the queue's order */
            before = best.start[j];
            end = fmax(end, best.start[j] + best.seconds[j]);
            double alone = sc_job_seconds(&jobs[j], &m, best.group_size[best.group_of_job[j]]);
            int slots = sc_group_slots(&m, best.group_size[best.group_of_job[j]]);
            assert_true(best.seconds[j] >= alone * (1 - 1e-9));
            assert_true(best.seconds[j] <= alone * (1 + (slots - 1) * m.crowding) * (1 + 1e-9));
        }
        assert_true(near(end, best.makespan));
        if (second.groups > 0)
            assert_true(best.makespan <= second.makespan);
        sc_plan_free(&best);
        sc_plan_free(&second);
    }
}

/* Not proven for every queue, but a planner that gets slower with more room is wrong in the plain
 * case. */
static void more_slots_do_not_slow_equal_folds(void **state)
{
    (void)state;
    for (int ranks = 1; ranks <= 4; ranks++) {
        sc_job jobs[10];
        for (int i = 0; i < 10; i++)
            jobs[i] = job_of(50);
        sc_machine m = machine_of(ranks, 1, SC_GPU_CROWDING);
        sc_plan one, many;
        assert_int_equal(sc_plan_make(jobs, 10, &m, 1, &one, NULL), SC_OK);
        m.slots = SC_MOST_SLOTS;
        assert_int_equal(sc_plan_make(jobs, 10, &m, 1, &many, NULL), SC_OK);
        assert_true(many.makespan < one.makespan);
        sc_plan_free(&one);
        sc_plan_free(&many);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_folds_share_a_gpu),
        cmocka_unit_test(a_short_job_leaves_its_place),
        cmocka_unit_test(ranks_are_filled_evenly),
        cmocka_unit_test(larger_groups_take_one_job),
        cmocka_unit_test(impossible_machines_are_refused),
        cmocka_unit_test(plans_last_as_long_as_they_say),
        cmocka_unit_test(more_slots_do_not_slow_equal_folds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
