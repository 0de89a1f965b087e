/* The planner: against brute force in small worlds, by invariants in large ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "superclip/jobs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static sc_job job_of(int config, int fold, double rows, double flops)
{
    return (sc_job){.config = config,
                    .fold = fold,
                    .epochs = 10,
                    .train_rows = rows,
                    .val_rows = rows / 4,
                    .batch = 32,
                    .row_flops = flops,
                    .repeated_flops = 2 * flops,
                    .reduced_bytes = 45e6,
                    .collectives = 40};
}

static sc_machine machine_of(int ranks)
{
    return (sc_machine){
        .ranks = ranks, .ranks_per_node = 8, .flops = 1e11, .bandwidth = 1e10, .latency = 2e-6};
}

/* ---- an independent queue ---------------------------------------------------------- */

/* Makespan of the plan's own queue on these group sizes, by looking at every group each time. */
static double queue_makespan(const sc_job *jobs, const int *queue, int count, const sc_machine *m,
                             const int *sizes, int groups)
{
    double *at = sc_alloc((size_t)groups, sizeof *at), end = 0;
    for (int i = 0; i < count; i++) {
        int g = 0;
        for (int k = 1; k < groups; k++)
            if (at[k] < at[g])
                g = k;
        at[g] += sc_job_seconds(&jobs[queue[i]], m, sizes[g]);
        end = at[g] > end ? at[g] : end;
    }
    free(at);
    return end;
}

/* Longest first on groups of `size`. */
static void longest_first(const sc_job *jobs, int count, const sc_machine *m, int size, int *queue)
{
    int n = 0;
    for (int i = 0; i < count; i++) {
        if (jobs[i].done)
            continue;
        int at = n++;
        double t = sc_job_seconds(&jobs[i], m, size);
        for (; at > 0 && sc_job_seconds(&jobs[queue[at - 1]], m, size) < t; at--)
            queue[at] = queue[at - 1];
        queue[at] = i;
    }
}

/* ---- invariants -------------------------------------------------------------------- */

static void check_groups(const sc_plan *p, int ranks)
{
    int sum = 0;
    int *members = sc_alloc((size_t)p->groups + 1, sizeof *members);
    for (int g = 0; g < p->groups; g++) {
        assert_true(p->group_size[g] >= 1);
        sum += p->group_size[g];
    }
    assert_true(sum <= ranks);
    for (int r = 0; r < ranks; r++) {
        assert_true(p->group_of_rank[r] >= -1 && p->group_of_rank[r] < p->groups);
        if (p->group_of_rank[r] >= 0)
            members[p->group_of_rank[r]]++;
    }
    for (int g = 0; g < p->groups; g++)
        assert_int_equal(members[g], p->group_size[g]);
    free(members);
}

static void check_jobs(const sc_plan *p, const sc_job *jobs, int count, const sc_machine *m)
{
    int todo = 0;
    bool *queued = sc_alloc((size_t)count + 1, sizeof *queued);
    double *at = sc_alloc((size_t)p->groups + 1, sizeof *at), end = 0;
    for (int i = 0; i < count; i++) {
        todo += !jobs[i].done;
        assert_int_equal(p->group_of_job[i] < 0, jobs[i].done);
    }
    assert_int_equal(p->order_count, todo);
    for (int i = 0; i < p->order_count; i++) {
        int j = p->order[i], g = p->group_of_job[j];
        assert_false(queued[j] || jobs[j].done);
        queued[j] = true;
        assert_true(g >= 0 && g < p->groups);
        assert_true(p->seconds[j] == sc_job_seconds(&jobs[j], m, p->group_size[g]));
        assert_true(p->start[j] == at[g]); /* a group's jobs follow each other without a gap */
        at[g] += p->seconds[j];
        end = at[g] > end ? at[g] : end;
    }
    assert_true(end == p->makespan);
    free(at);
    free(queued);
}

static void check_plan(const sc_job *jobs, int count, const sc_machine *m)
{
    sc_plan best, second;
    assert_int_equal(sc_plan_make(jobs, count, m, 0, &best, &second), SC_OK);
    check_groups(&best, m->ranks);
    check_jobs(&best, jobs, count, m);
    if (second.groups > 0) {
        check_groups(&second, m->ranks);
        check_jobs(&second, jobs, count, m);
        assert_true(second.makespan >= best.makespan);
        assert_true(second.groups != best.groups || memcmp(second.group_size, best.group_size,
                                                           (size_t)best.groups * sizeof(int)) != 0);
    }
    if (best.order_count > 0) {
        double again =
            queue_makespan(jobs, best.order, best.order_count, m, best.group_size, best.groups);
        assert_true(again == best.makespan);
        static const int all = 0;
        for (int forced = all; forced < 2; forced++) { /* one group of all; groups of one rank */
            sc_plan other;
            assert_int_equal(sc_plan_make(jobs, count, m, forced ? 1 : m->ranks, &other, NULL),
                             SC_OK);
            assert_true(best.makespan <= other.makespan);
            check_jobs(&other, jobs, count, m);
            sc_plan_free(&other);
        }
    }
    sc_plan_free(&best);
    sc_plan_free(&second);
}

static void every_world_is_planned_soundly(void **state)
{
    (void)state;
    static const int worlds[] = {1, 2, 3, 5, 7, 8, 16, 24, 25, 31, 64, 100, 257, 1000, 4096};
    uint32_t seed = 7;
    for (size_t w = 0; w < sizeof worlds / sizeof worlds[0]; w++) {
        for (int round = 0; round < 6; round++) {
            sc_job jobs[60];
            int count = round == 0 ? 0 : 1 + (int)(next_random(&seed) % 60);
            for (int i = 0; i < count; i++) {
                jobs[i] = job_of(i / 5, i % 5 + 1, 50 + next_random(&seed) % 1000,
                                 1e9 * (1 + next_random(&seed) % 8));
                jobs[i].done = round == 5 || next_random(&seed) % 5 == 0;
                jobs[i].batch = 1 + next_random(&seed) % 64;
            }
            sc_machine m = machine_of(worlds[w]);
            m.latency = round % 2 ? 1e-3 : 1e-6;
            m.ranks_per_node = 1 + (int)(next_random(&seed) % 9);
            check_plan(jobs, count, &m);
        }
    }
}

/* ---- brute force ------------------------------------------------------------------- */

typedef struct brute {
    const sc_job *jobs;
    int count;
    const sc_machine *machine;
    double queue_second; /* the next best, of another partition */
    double queue_best;   /* best partition with the longest-first queue */
    double any_best;     /* best partition with the best assignment of jobs there is */
    double load[8];
    int sizes[8], groups;
} brute;

static void every_assignment(brute *b, int job)
{
    if (job == b->count) {
        double end = 0;
        for (int g = 0; g < b->groups; g++)
            end = b->load[g] > end ? b->load[g] : end;
        b->any_best = end < b->any_best ? end : b->any_best;
        return;
    }
    for (int g = 0; g < b->groups; g++) {
        double kept = b->load[g];
        b->load[g] += sc_job_seconds(&b->jobs[job], b->machine, b->sizes[g]);
        if (b->load[g] < b->any_best)
            every_assignment(b, job + 1);
        b->load[g] = kept;
    }
}

static void every_partition(brute *b, int left, int largest)
{
    if (b->groups > 0) {
        int queue[8];
        longest_first(b->jobs, b->count, b->machine, b->sizes[0], queue);
        double t = queue_makespan(b->jobs, queue, b->count, b->machine, b->sizes, b->groups);
        if (t < b->queue_best) {
            b->queue_second = b->queue_best;
            b->queue_best = t;
        } else if (t < b->queue_second) {
            b->queue_second = t;
        }
        memset(b->load, 0, sizeof b->load);
        every_assignment(b, 0);
    }
    if (b->groups == b->count) /* a group without a job is no other plan */
        return;
    for (int size = 1; size <= left && size <= largest; size++) {
        b->sizes[b->groups++] = size;
        every_partition(b, left - size, size);
        b->groups--;
    }
}

static void small_worlds_are_planned_best(void **state)
{
    (void)state;
    uint32_t seed = 11;
    double worst = 1;
    for (int round = 0; round < 150; round++) {
        sc_job jobs[6];
        int count = 1 + (int)(next_random(&seed) % 6), ranks = 1 + (int)(next_random(&seed) % 8);
        for (int i = 0; i < count; i++)
            jobs[i] = job_of(0, i + 1, round % 3 ? 50 + next_random(&seed) % 500 : 300, 1e9);
        sc_machine m = machine_of(ranks);
        m.latency = next_random(&seed) % 2 ? 1e-6 : 3e-3;
        brute b = {.jobs = jobs,
                   .count = count,
                   .machine = &m,
                   .queue_best = INFINITY,
                   .queue_second = INFINITY,
                   .any_best = INFINITY};
        every_partition(&b, ranks, ranks);
        sc_plan plan, second;
        assert_int_equal(sc_plan_make(jobs, count, &m, 0, &plan, &second), SC_OK);
        assert_true(plan.makespan == b.queue_best);
        if (second.groups > 0)
            assert_true(second.makespan == b.queue_second);
        else
            assert_int_equal(ranks, 1);
        sc_plan_free(&second);
        worst = plan.makespan / b.any_best > worst ? plan.makespan / b.any_best : worst;
        sc_plan_free(&plan);
    }
    print_message("a longest-first queue costs at most %.3f of the best assignment\n", worst);
    assert_true(worst < 1.25);
}

/* Where not every partition is tried, the search must still come close to the best one. */
static void greedy_search_is_close_to_all_partitions(void **state)
{
    (void)state;
    uint32_t seed = 5;
    for (int round = 0; round < 12; round++) {
        sc_job one_kind[12], jobs[12];
        int count = 3 + (int)(next_random(&seed) % 9);
        for (int i = 0; i < count; i++)
            one_kind[i] = jobs[i] =
                job_of(i, 1, 400 + next_random(&seed) % 800, 1e9 * (1 + next_random(&seed) % 6));
        /* the same world times sixteen: 16 ranks are searched whole, 256 are not */
        sc_machine small = machine_of(16), large = machine_of(256);
        for (int i = 0; i < count; i++) {
            one_kind[i].batch = 32;
            one_kind[i].repeated_flops = one_kind[i].collectives = one_kind[i].reduced_bytes = 0;
            jobs[i] = one_kind[i];
            jobs[i].batch = 512;
            jobs[i].train_rows *= 16;
            jobs[i].val_rows *= 16;
        }
        small.latency = large.latency = 0;
        sc_plan a, b;
        assert_int_equal(sc_plan_make(one_kind, count, &small, 0, &a, NULL), SC_OK);
        assert_int_equal(sc_plan_make(jobs, count, &large, 0, &b, NULL), SC_OK);
        if (b.makespan > 1.05 * a.makespan)
            fail_msg("round %d: %g on 256 ranks, %g on 16", round, b.makespan, a.makespan);
        sc_plan_free(&a);
        sc_plan_free(&b);
    }
}

/* ---- cases with a known answer ----------------------------------------------------- */

static void five_folds_on_eight_ranks(void **state)
{
    (void)state;
    sc_job jobs[5];
    for (int i = 0; i < 5; i++) {
        jobs[i] = job_of(0, i + 1, 800, 4e9);
        jobs[i].repeated_flops = 0;
    }
    sc_machine m = machine_of(8);
    sc_plan p;
    assert_int_equal(sc_plan_make(jobs, 5, &m, 0, &p, NULL), SC_OK);
    assert_int_equal(p.groups, 1); /* data parallelism is nearly free: 5 x 1/8 < 1 */
    assert_int_equal(p.group_size[0], 8);
    sc_plan_free(&p);
    m.latency = 0.2; /* a network so slow that any sharing is worse than a rank a fold */
    assert_int_equal(sc_plan_make(jobs, 5, &m, 0, &p, NULL), SC_OK);
    assert_int_equal(p.groups, 5);
    for (int g = 0; g < 5; g++)
        assert_int_equal(p.group_size[g], 1);
    sc_plan_free(&p);
}

static void one_long_job_gets_the_larger_group(void **state)
{
    (void)state;
    sc_job jobs[4];
    for (int i = 0; i < 4; i++)
        jobs[i] = job_of(i, 1, i == 2 ? 4000 : 400, 4e9);
    sc_machine m = machine_of(8);
    m.latency = 1e-3;
    sc_plan p;
    assert_int_equal(sc_plan_make(jobs, 4, &m, 0, &p, NULL), SC_OK);
    int g = p.group_of_job[2];
    assert_int_equal(p.order[0], 2);
    assert_int_equal(g, 0);
    assert_true(p.groups == 1 || p.group_size[0] > p.group_size[p.groups - 1]);
    sc_plan_free(&p);
}

static void a_forced_size_is_kept(void **state)
{
    (void)state;
    sc_job jobs[7];
    for (int i = 0; i < 7; i++)
        jobs[i] = job_of(0, i + 1, 800, 4e9);
    sc_machine m = machine_of(8);
    sc_plan p, second;
    assert_int_equal(sc_plan_make(jobs, 7, &m, 3, &p, &second), SC_OK);
    assert_int_equal(p.groups, 2);
    assert_int_equal(p.group_size[0], 3);
    assert_int_equal(p.group_size[1], 3);
    assert_int_equal(second.groups, 0);
    int idle = 0;
    for (int r = 0; r < 8; r++)
        idle += p.group_of_rank[r] < 0;
    assert_int_equal(idle, 2);
    sc_plan_free(&p);
    sc_plan_free(&second);
    assert_int_equal(sc_plan_make(jobs, 7, &m, 9, &p, NULL), SC_EUSAGE);
    assert_non_null(strstr(sc_message(), "--group-size 9"));
}

static void groups_that_fit_a_node_stay_on_it(void **state)
{
    (void)state;
    sc_job jobs[9];
    for (int i = 0; i < 9; i++)
        jobs[i] = job_of(0, i + 1, 800, 4e9);
    sc_machine m = machine_of(24); /* three nodes of eight; groups of three: two on each node */
    sc_plan p;
    assert_int_equal(sc_plan_make(jobs, 6, &m, 3, &p, NULL), SC_OK);
    for (int g = 0; g < p.groups; g++) {
        int node = -1;
        for (int r = 0; r < 24; r++) {
            if (p.group_of_rank[r] != g)
                continue;
            assert_true(node < 0 || node == r / 8);
            node = r / 8;
        }
    }
    sc_plan_free(&p);
}

/* Groups of 3, 3, 2, 2, 2 on two nodes of six: 3 + 3 and 2 + 2 + 2, so that none is split. */
static void mixed_groups_go_where_they_fit_tightest(void **state)
{
    (void)state;
    sc_job jobs[5];
    for (int i = 0; i < 5; i++)
        jobs[i] = (sc_job){.fold = i + 1,
                           .epochs = 1,
                           .train_rows = i < 2 ? 300 : 200,
                           .batch = 6,
                           .row_flops = 1,
                           .collectives = 1};
    sc_machine m = {.ranks = 12, .ranks_per_node = 6, .flops = 1, .bandwidth = 1, .latency = 1e-6};
    static const int expected[] = {3, 3, 2, 2, 2};
    sc_plan p;
    assert_int_equal(sc_plan_make(jobs, 5, &m, 0, &p, NULL), SC_OK);
    assert_int_equal(p.groups, 5);
    assert_memory_equal(p.group_size, expected, sizeof expected);
    for (int r = 0; r < 12; r++)
        assert_int_equal(p.group_size[p.group_of_rank[r]], r < 6 ? 3 : 2);
    sc_plan_free(&p);
}

static void the_same_jobs_give_the_same_plan(void **state)
{
    (void)state;
    sc_job jobs[30];
    uint32_t seed = 3;
    for (int i = 0; i < 30; i++)
        jobs[i] = job_of(i / 5, i % 5 + 1, 100 + next_random(&seed) % 900, 2e9);
    sc_machine m = machine_of(100);
    sc_plan a, b;
    assert_int_equal(sc_plan_make(jobs, 30, &m, 0, &a, NULL), SC_OK);
    assert_int_equal(sc_plan_make(jobs, 30, &m, 0, &b, NULL), SC_OK);
    assert_int_equal(a.groups, b.groups);
    assert_memory_equal(a.group_of_rank, b.group_of_rank, 100 * sizeof(int));
    assert_memory_equal(a.group_of_job, b.group_of_job, 30 * sizeof(int));
    sc_plan_free(&a);
    sc_plan_free(&b);
}

static void ten_thousand_jobs_on_4096_ranks(void **state)
{
    (void)state;
    enum { JOBS = 10000 };
    sc_job *jobs = sc_alloc(JOBS, sizeof *jobs);
    uint32_t seed = 1;
    for (int i = 0; i < JOBS; i++)
        jobs[i] = job_of(i / 5, i % 5 + 1, 300 + next_random(&seed) % 3000,
                         1e9 * (1 + next_random(&seed) % 8));
    sc_machine m = machine_of(4096);
    sc_plan p, second;
    clock_t before = clock(); /* of the processor: other tests may run beside this one */
    assert_int_equal(sc_plan_make(jobs, JOBS, &m, 0, &p, &second), SC_OK);
    double seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
    print_message("planned in %.2f s of processor time\n", seconds);
    check_jobs(&p, jobs, JOBS, &m);
    check_groups(&p, 4096);
#if !defined(__SANITIZE_ADDRESS__) && defined(__OPTIMIZE__)
    assert_true(seconds < 1.0);
#endif
    sc_plan_free(&p);
    sc_plan_free(&second);
    free(jobs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_world_is_planned_soundly),
        cmocka_unit_test(small_worlds_are_planned_best),
        cmocka_unit_test(greedy_search_is_close_to_all_partitions),
        cmocka_unit_test(five_folds_on_eight_ranks),
        cmocka_unit_test(one_long_job_gets_the_larger_group),
        cmocka_unit_test(a_forced_size_is_kept),
        cmocka_unit_test(groups_that_fit_a_node_stay_on_it),
        cmocka_unit_test(mixed_groups_go_where_they_fit_tightest),
        cmocka_unit_test(the_same_jobs_give_the_same_plan),
        cmocka_unit_test(ten_thousand_jobs_on_4096_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
