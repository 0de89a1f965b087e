/* Who does what: the best partition found, laid out over nodes, jobs and time. */
#include "simulate.h"

#include <stdlib.h>
#include <string.h>

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
    const int *queue = sc_costs_queue(c, p->sizes[0]);
    if (!queue)
        return SC_ENOMEM;
    for (int i = 0; i < c->count; i++) {
        int job = c->todo[i];
        plan->group_of_job[job] = trace->group[i];
        plan->start[job] = trace->start[i];
        plan->seconds[job] = trace->seconds[i];
        plan->order[i] = c->todo[queue[i]];
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

static sc_status check(int count, const sc_machine *m, int force_group)
{
    if (count < 0 || m->ranks < 1 || !(m->flops > 0) || !(m->bandwidth > 0) || !(m->latency >= 0) ||
        m->slots < 0 || m->slots > SC_MOST_SLOTS || !(m->crowding >= 0 && m->crowding < 1))
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
    sc_search s = {.ranks = m->ranks};
    sc_status status;
    SC_TRY(sc_costs_init(jobs, count, m, &s.costs));
    s.most_groups = s.costs.count < m->ranks ? s.costs.count : m->ranks;
    int cap = s.most_groups > 0 ? s.most_groups : 1;
    SC_TRY_GOTO(sc_partition_init(&s.best, cap));
    SC_TRY_GOTO(sc_partition_init(&s.second, cap));
    SC_TRY_GOTO(sc_partition_init(&s.trial, cap));
    if (s.most_groups > 0)
        SC_TRY_GOTO(sc_search_run(&s, force_group));
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
