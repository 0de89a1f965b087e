/* Who does what: the partition of the ranks into groups with the least simulated makespan. */
#include "simulate.h"

#include <stdlib.h>
#include <string.h>

enum {
    EXHAUSTIVE_RANKS = 24,      /* up to here every partition may be tried */
    EXHAUSTIVE_WORK = 2000000,  /* partitions x jobs */
    IMPROVEMENT_WORK = 1200000, /* simulated (jobs + groups) of the greedy search */
    IMPROVEMENT_MOST = 2000,    /* and simulations */
    FINE = 64,                  /* sizes and counts tried one by one before a 4 % grid */
    DONORS = 4
};

/* The search: the two best different partitions so far, and one to try things on. */
typedef struct search {
    sc_costs costs;
    int ranks, most_groups;
    sc_partition best, second, trial;
    int64_t work;
    int tries;
} search;

static bool better(const sc_partition *a, const sc_partition *b)
{
    if (b->groups == 0 || a->makespan < b->makespan)
        return true;
    return !(a->makespan > b->makespan) && a->unevenness < b->unevenness;
}

/* Simulates s->trial and keeps it if it is among the two best. */
static sc_status consider(search *s)
{
    sc_partition_sort(&s->trial);
    SC_TRY(sc_simulate(&s->costs, &s->trial, NULL));
    s->work += s->costs.count + s->trial.groups;
    s->tries++;
    if (sc_partition_same(&s->trial, &s->best) || sc_partition_same(&s->trial, &s->second))
        return SC_OK;
    if (better(&s->trial, &s->best)) {
        SC_TRY(sc_partition_copy(&s->second, &s->best));
        return sc_partition_copy(&s->best, &s->trial);
    }
    return better(&s->trial, &s->second) ? sc_partition_copy(&s->second, &s->trial) : SC_OK;
}

/* ---- equal groups -------------------------------------------------------------------------------
 */

/* `groups` groups of `size`, the first `larger` of them with one rank more. */
typedef struct candidate {
    int groups, size, larger;
    double bound; /* no queue of these groups can end sooner */
} candidate;

static sc_status bound(search *s, candidate *c)
{
    const sc_cost_column *a = sc_costs_column(&s->costs, c->size);
    const sc_cost_column *b = sc_costs_column(&s->costs, c->size + (c->larger > 0));
    if (!a || !b)
        return SC_ENOMEM;
    double sum = 0, longest = 0;
    for (int i = 0; i < s->costs.count; i++) {
        double t = a->seconds[i] < b->seconds[i] ? a->seconds[i] : b->seconds[i];
        sum += t;
        longest = t > longest ? t : longest;
    }
    c->bound = sum / c->groups > longest ? sum / c->groups : longest;
    return SC_OK;
}

static int by_bound(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->bound < y->bound || x->bound > y->bound)
        return x->bound < y->bound ? -1 : 1;
    return x->size != y->size ? (x->size > y->size) - (x->size < y->size)
                              : (x->larger > y->larger) - (x->larger < y->larger);
}

/* Marks 1..FINE, a 4 % grid above it, and most/1 .. most/FINE. */
static void mark_grid(bool *marked, int most)
{
    for (int v = 1; v <= most; v += v < FINE ? 1 : 1 + v / 25)
        marked[v] = true;
    for (int k = 1; k <= FINE && k <= most; k++)
        marked[most / k] = true;
}

static int list_candidates(const search *s, const bool *sizes, const bool *counts, candidate *out)
{
    int n = 0;
    for (int size = 1; size <= s->ranks; size++) {
        int groups = s->ranks / size;
        if (sizes[size])
            out[n++] = (candidate){groups < s->most_groups ? groups : s->most_groups, size, 0, 0};
    }
    for (int groups = 1; groups <= s->most_groups; groups++)
        if (counts[groups])
            out[n++] = (candidate){groups, s->ranks / groups, s->ranks % groups, 0};
    return n;
}

static sc_status try_equal(search *s, const candidate *c)
{
    s->trial.groups = c->groups;
    for (int g = 0; g < c->groups; g++)
        s->trial.sizes[g] = c->size + (g < c->larger);
    return consider(s);
}

static sc_status search_equal(search *s)
{
    bool *sizes = sc_alloc((size_t)s->ranks + 1, sizeof *sizes);
    bool *counts = sc_alloc((size_t)s->ranks + 1, sizeof *counts);
    candidate *list = sc_alloc(2 * (size_t)s->ranks + 2, sizeof *list);
    sc_status status = sizes && counts && list ? SC_OK : SC_ENOMEM;
    if (status == SC_OK) {
        mark_grid(sizes, s->ranks);
        mark_grid(counts, s->most_groups);
        int n = list_candidates(s, sizes, counts, list);
        for (int i = 0; i < n && status == SC_OK; i++)
            status = bound(s, &list[i]);
        qsort(list, (size_t)n, sizeof *list, by_bound);
        for (int i = 0; i < n && status == SC_OK; i++) {
            if (s->second.groups > 0 && list[i].bound > s->second.makespan)
                break;
            status = try_equal(s, &list[i]);
        }
    }
    free(sizes);
    free(counts);
    free(list);
    return status;
}

/* ---- mixed groups
 * --------------------------------------------------------------------------------- */

/* Every partition with parts of at most `largest` that uses at most `left` more ranks. */
static sc_status every_partition(search *s, int *sizes, int groups, int largest, int left)
{
    if (groups > 0) {
        s->trial.groups = groups;
        memcpy(s->trial.sizes, sizes, (size_t)groups * sizeof *sizes);
        SC_TRY(consider(s));
    }
    if (groups == s->most_groups)
        return SC_OK;
    for (int size = largest < left ? largest : left; size >= 1; size--) {
        sizes[groups] = size;
        SC_TRY(every_partition(s, sizes, groups + 1, size, left - size));
    }
    return SC_OK;
}

/* Number of partitions of 0..ranks together, the calls every_partition would make at most. */
static double partitions_up_to(int ranks)
{
    double ways[EXHAUSTIVE_RANKS + 1] = {1}, all = 0;
    for (int part = 1; part <= ranks; part++)
        for (int n = part; n <= ranks; n++)
            ways[n] += ways[n - part];
    for (int n = 0; n <= ranks; n++)
        all += ways[n];
    return all;
}

static bool exhausted(const search *s)
{
    return s->work > IMPROVEMENT_WORK || s->tries > IMPROVEMENT_MOST;
}

/* Tries to move `n` ranks from group `from` (-1: the idle ones) to group `to`; true: it helped. */
static sc_status try_move(search *s, sc_partition *now, int from, int to, int n, bool *helped)
{
    SC_TRY(sc_partition_copy(&s->trial, now));
    s->trial.sizes[to] += n;
    if (from >= 0)
        s->trial.sizes[from] -= n;
    if (from >= 0 && s->trial.sizes[from] == 0)
        s->trial.sizes[from] = s->trial.sizes[--s->trial.groups];
    SC_TRY(consider(s));
    *helped = better(&s->trial, now);
    return *helped ? sc_partition_copy(now, &s->trial) : SC_OK;
}

static sc_status try_split(search *s, sc_partition *now, int group, bool *helped)
{
    SC_TRY(sc_partition_copy(&s->trial, now));
    int size = s->trial.sizes[group];
    s->trial.sizes[group] = size - size / 2;
    s->trial.sizes[s->trial.groups++] = size / 2;
    SC_TRY(consider(s));
    *helped = better(&s->trial, now);
    return *helped ? sc_partition_copy(now, &s->trial) : SC_OK;
}

/* The group that ends last (of equals the first), or first among those after (end, index). */
static int last_to_end(const sc_partition *p)
{
    int at = 0;
    for (int g = 1; g < p->groups; g++)
        if (p->finish[g] > p->finish[at])
            at = g;
    return at;
}

static int next_to_end(const sc_partition *p, int after, int but)
{
    int at = -1;
    for (int g = 0; g < p->groups; g++) {
        bool later = after < 0 || p->finish[g] > p->finish[after] ||
                     (!(p->finish[g] < p->finish[after]) && g > after);
        if (g != but && later && (at < 0 || p->finish[g] < p->finish[at]))
            at = g;
    }
    return at;
}

/* One improvement of `now`: the group that ends last gets ranks of those that end first, or is
 * split. */
static sc_status improve_once(search *s, sc_partition *now, bool *helped)
{
    int used = 0, slowest = last_to_end(now);
    *helped = false;
    for (int g = 0; g < now->groups; g++)
        used += now->sizes[g];
    for (int n = s->ranks - used; n > 0 && !*helped && !exhausted(s); n /= 2)
        SC_TRY(try_move(s, now, -1, slowest, n, helped));
    int donor = -1;
    for (int k = 0; k < DONORS && !*helped && !exhausted(s); k++) {
        donor = next_to_end(now, donor, slowest);
        if (donor < 0)
            break;
        for (int n = now->sizes[donor]; n > 0 && !*helped && !exhausted(s); n /= 2)
            SC_TRY(try_move(s, now, donor, slowest, n, helped));
    }
    if (!*helped && !exhausted(s) && now->sizes[0] > 1 && now->groups < s->most_groups)
        SC_TRY(try_split(s, now, 0, helped));
    return SC_OK;
}

static sc_status improve(search *s, const sc_partition *from)
{
    sc_partition now;
    SC_TRY(sc_partition_init(&now, s->trial.cap));
    sc_status status = sc_partition_copy(&now, from);
    bool helped = true;
    while (status == SC_OK && helped && !exhausted(s))
        status = improve_once(s, &now, &helped);
    sc_partition_free(&now);
    return status;
}

static sc_status search_mixed(search *s)
{
    if (s->ranks <= EXHAUSTIVE_RANKS &&
        partitions_up_to(s->ranks) * s->costs.count <= EXHAUSTIVE_WORK) {
        int sizes[EXHAUSTIVE_RANKS];
        return every_partition(s, sizes, 0, s->ranks, s->ranks);
    }
    sc_partition start;
    SC_TRY(sc_partition_init(&start, s->trial.cap));
    s->work = 0;
    s->tries = 0;
    sc_status status = sc_partition_copy(&start, &s->second);
    if (status == SC_OK)
        status = improve(s, &s->best);
    if (status == SC_OK && start.groups > 0 && !exhausted(s))
        status = improve(s, &start);
    sc_partition_free(&start);
    return status;
}

/* ---- the plan
 * --------------------------------------------------------------------------------------- */

/* Groups onto nodes, largest first: one that fits into a node goes where it fits tightest, a larger
 * one takes the emptiest nodes. */
static sc_status place_groups(const sc_machine *m, sc_plan *plan)
{
    int per_node = m->ranks_per_node > 0 ? m->ranks_per_node : m->ranks;
    int nodes = (m->ranks + per_node - 1) / per_node;
    int *left = sc_alloc((size_t)nodes, sizeof *left);
    if (!left)
        return SC_ENOMEM;
    for (int n = 0; n < nodes; n++)
        left[n] = n < nodes - 1 ? per_node : m->ranks - per_node * (nodes - 1);
    for (int r = 0; r < m->ranks; r++)
        plan->group_of_rank[r] = -1;
    for (int g = 0; g < plan->groups; g++) {
        for (int need = plan->group_size[g]; need > 0;) {
            int node = -1;
            for (int n = 0; n < nodes; n++) {
                bool fits = left[n] >= need, held_fits = node >= 0 && left[node] >= need;
                if (left[n] > 0 &&
                    (node < 0 || (fits && !held_fits) || (fits && left[n] < left[node]) ||
                     (!fits && !held_fits && left[n] > left[node])))
                    node = n;
            }
            int end = node < nodes - 1 ? (node + 1) * per_node : m->ranks;
            for (; need > 0 && left[node] > 0; need--, left[node]--)
                plan->group_of_rank[end - left[node]] = g;
        }
    }
    free(left);
    return SC_OK;
}

static sc_status alloc_plan(sc_plan *plan, int groups, int count, int ranks)
{
    *plan = (sc_plan){.groups = groups};
    plan->group_size = sc_alloc((size_t)groups, sizeof *plan->group_size);
    plan->group_of_job = sc_alloc((size_t)count, sizeof *plan->group_of_job);
    plan->order = sc_alloc((size_t)count, sizeof *plan->order);
    plan->group_of_rank = sc_alloc((size_t)ranks, sizeof *plan->group_of_rank);
    plan->start = sc_alloc((size_t)count, sizeof *plan->start);
    plan->seconds = sc_alloc((size_t)count, sizeof *plan->seconds);
    if (plan->group_size && plan->group_of_job && plan->order && plan->group_of_rank &&
        plan->start && plan->seconds)
        return SC_OK;
    sc_plan_free(plan);
    return SC_ENOMEM;
}

static sc_status fill_plan(sc_costs *c, sc_partition *p, sc_plan *plan, const sc_trace *trace)
{
    SC_TRY(sc_simulate(c, p, trace));
    plan->makespan = p->makespan;
    memcpy(plan->group_size, p->sizes, (size_t)p->groups * sizeof *p->sizes);
    const sc_cost_column *first = sc_costs_column(c, p->sizes[0]);
    for (int i = 0; i < c->count; i++) {
        int job = c->todo[i];
        plan->group_of_job[job] = trace->group[i];
        plan->start[job] = trace->start[i];
        plan->seconds[job] = trace->seconds[i];
        plan->order[i] = c->todo[first->queue[i]];
    }
    plan->order_count = c->count;
    return SC_OK;
}

static sc_status make_plan(sc_costs *c, sc_partition *p, int count, sc_plan *plan)
{
    SC_TRY(alloc_plan(plan, p->groups, count, c->machine->ranks));
    for (int i = 0; i < count; i++)
        plan->group_of_job[i] = -1;
    size_t n = (size_t)c->count;
    sc_trace trace = {sc_alloc(n, sizeof(int)), sc_alloc(n, sizeof(double)),
                      sc_alloc(n, sizeof(double))};
    sc_status status = trace.group && trace.start && trace.seconds ? SC_OK : SC_ENOMEM;
    if (status == SC_OK && p->groups > 0)
        status = fill_plan(c, p, plan, &trace);
    if (status == SC_OK)
        status = place_groups(c->machine, plan);
    free(trace.group);
    free(trace.start);
    free(trace.seconds);
    if (status != SC_OK)
        sc_plan_free(plan);
    return status;
}

static sc_status run_search(search *s, int force_group)
{
    if (force_group > 0) {
        int groups = s->ranks / force_group;
        candidate only = {groups < s->most_groups ? groups : s->most_groups, force_group, 0, 0};
        return try_equal(s, &only);
    }
    SC_TRY(search_equal(s));
    return search_mixed(s);
}

static sc_status check(int count, const sc_machine *m, int force_group)
{
    if (count < 0 || m->ranks < 1 || !(m->flops > 0) || !(m->bandwidth > 0) || !(m->latency >= 0))
        return sc_fail(SC_EINTERNAL, "the planner was given an impossible machine");
    if (force_group > m->ranks)
        return sc_fail(SC_EUSAGE, "--group-size %d is more than the %d ranks there are; lower it",
                       force_group, m->ranks);
    return SC_OK;
}

sc_status sc_plan_make(const sc_job *jobs, int count, const sc_machine *m, int force_group,
                       sc_plan *best, sc_plan *second)
{
    *best = (sc_plan){0};
    if (second)
        *second = (sc_plan){0};
    SC_TRY(check(count, m, force_group));
    search s = {.ranks = m->ranks};
    sc_status status;
    SC_TRY(sc_costs_init(jobs, count, m, &s.costs));
    s.most_groups = s.costs.count < m->ranks ? s.costs.count : m->ranks;
    int cap = s.most_groups > 0 ? s.most_groups : 1;
    SC_TRY_GOTO(sc_partition_init(&s.best, cap));
    SC_TRY_GOTO(sc_partition_init(&s.second, cap));
    SC_TRY_GOTO(sc_partition_init(&s.trial, cap));
    if (s.most_groups > 0)
        SC_TRY_GOTO(run_search(&s, force_group));
    SC_TRY_GOTO(make_plan(&s.costs, &s.best, count, best));
    if (second && s.second.groups > 0) {
        status = make_plan(&s.costs, &s.second, count, second);
        if (status != SC_OK)
            sc_plan_free(best);
    }
done:
    sc_partition_free(&s.best);
    sc_partition_free(&s.second);
    sc_partition_free(&s.trial);
    sc_costs_free(&s.costs);
    return status;
}

void sc_plan_free(sc_plan *p)
{
    free(p->group_size);
    free(p->group_of_job);
    free(p->order);
    free(p->group_of_rank);
    free(p->start);
    free(p->seconds);
    *p = (sc_plan){0};
}
