/* Looking for the partition of the ranks into groups with the least simulated makespan. */
#include "simulate.h"

#include <stdlib.h>
#include <string.h>

enum {
    EXHAUSTIVE_RANKS = 24,      /* up to here every partition may be tried */
    EXHAUSTIVE_WORK = 2000000,  /* partitions x jobs */
    IMPROVEMENT_WORK = 1200000, /* simulated (jobs + groups) of the greedy sc_search */
    IMPROVEMENT_MOST = 2000,    /* and simulations */
    FINE = 64,                  /* sizes and counts tried one by one before a 4 % grid */
    DONORS = 4
};

static bool better(const sc_partition *a, const sc_partition *b)
{
    if (b->groups == 0 || a->makespan < b->makespan)
        return true;
    return !(a->makespan > b->makespan) && a->unevenness < b->unevenness;
}

/* Simulates s->trial and keeps it if it is among the two best. */
static sc_status consider(sc_search *s)
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

/* ---- equal groups ------------------------------------------------------------------ */

/* `groups` groups of `size`, the first `larger` of them with one rank more. */
typedef struct candidate {
    int groups, size, larger;
    double bound; /* no queue of these groups can end sooner */
} candidate;

static sc_status bound(sc_search *s, candidate *c)
{
    const double *a = sc_costs_seconds(&s->costs, c->size);
    const double *b = sc_costs_seconds(&s->costs, c->size + (c->larger > 0));
    if (!a || !b)
        return SC_ENOMEM;
    double sum = 0, longest = 0, crowd = sc_costs_throughput(&s->costs, c->size);
    for (int i = 0; i < s->costs.count; i++) {
        double t = a[i] < b[i] ? a[i] : b[i];
        sum += a[i] / crowd < b[i] ? a[i] / crowd : b[i];
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

static int list_candidates(const sc_search *s, const bool *sizes, const bool *counts,
                           candidate *out)
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

static sc_status try_equal(sc_search *s, const candidate *c)
{
    s->trial.groups = c->groups;
    for (int g = 0; g < c->groups; g++)
        s->trial.sizes[g] = c->size + (g < c->larger);
    return consider(s);
}

static sc_status search_equal(sc_search *s)
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

/* ---- mixed groups ------------------------------------------------------------------ */

/* Every partition with parts of at most `largest` that uses at most `left` more ranks. */
static sc_status every_partition(sc_search *s, int *sizes, int groups, int largest, int left)
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

static bool exhausted(const sc_search *s)
{
    return s->work > IMPROVEMENT_WORK || s->tries > IMPROVEMENT_MOST;
}

/* Tries to move `n` ranks from group `from` (-1: the idle ones) to group `to`; true: it helped. */
static sc_status try_move(sc_search *s, sc_partition *now, int from, int to, int n, bool *helped)
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

static sc_status try_split(sc_search *s, sc_partition *now, int group, bool *helped)
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
static sc_status improve_once(sc_search *s, sc_partition *now, bool *helped)
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

static sc_status improve(sc_search *s, const sc_partition *from)
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

static sc_status search_mixed(sc_search *s)
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

sc_status sc_search_run(sc_search *s, int force_group)
{
    if (force_group > 0) {
        int groups = s->ranks / force_group;
        candidate only = {groups < s->most_groups ? groups : s->most_groups, force_group, 0, 0};
        return try_equal(s, &only);
    }
    SC_TRY(search_equal(s));
    return search_mixed(s);
}
