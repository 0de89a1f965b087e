#include "simulate.h"

#include <stdlib.h>
#include <string.h>

/* ---- costs ------------------------------------------------------------------------- */

sc_status sc_costs_init(const sc_job *jobs, int count, const sc_machine *m, sc_costs *out)
{
    *out = (sc_costs){.jobs = jobs, .machine = m};
    out->todo = sc_alloc((size_t)count, sizeof *out->todo);
    out->columns = sc_alloc((size_t)m->ranks + 1, sizeof *out->columns);
    if (!out->todo || !out->columns) {
        sc_costs_free(out);
        return SC_ENOMEM;
    }
    for (int i = 0; i < count; i++)
        if (!jobs[i].done)
            out->todo[out->count++] = i;
    return SC_OK;
}

void sc_costs_free(sc_costs *c)
{
    for (int s = 0; c->columns && s <= c->machine->ranks; s++) {
        free(c->columns[s].seconds);
        free(c->columns[s].queue);
    }
    free(c->columns);
    free(c->todo);
    *c = (sc_costs){0};
}

typedef struct keyed {
    double seconds;
    int index;
} keyed;

static int longest_first(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    if (x->seconds > y->seconds || x->seconds < y->seconds)
        return x->seconds > y->seconds ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

const double *sc_costs_seconds(sc_costs *c, int size)
{
    sc_cost_column *column = &c->columns[size];
    if (column->seconds)
        return column->seconds;
    column->seconds = sc_alloc((size_t)c->count, sizeof *column->seconds);
    for (int i = 0; column->seconds && i < c->count; i++)
        column->seconds[i] = sc_job_seconds(&c->jobs[c->todo[i]], c->machine, size);
    return column->seconds;
}

const int *sc_costs_queue(sc_costs *c, int size)
{
    sc_cost_column *column = &c->columns[size];
    if (column->queue)
        return column->queue;
    size_t n = (size_t)c->count;
    const double *seconds = sc_costs_seconds(c, size);
    keyed *order = sc_alloc(n, sizeof *order);
    column->queue = sc_alloc(n, sizeof *column->queue);
    if (seconds && order && column->queue) {
        for (int i = 0; i < c->count; i++)
            order[i] = (keyed){seconds[i], i};
        qsort(order, n, sizeof *order, longest_first);
        for (int i = 0; i < c->count; i++)
            column->queue[i] = order[i].index;
    } else {
        free(column->queue);
        column->queue = NULL;
    }
    free(order);
    return column->queue;
}

/* ---- partitions -------------------------------------------------------------------- */

sc_status sc_partition_init(sc_partition *p, int cap)
{
    *p = (sc_partition){.cap = cap};
    p->sizes = sc_alloc((size_t)cap, sizeof *p->sizes);
    p->finish = sc_alloc((size_t)cap, sizeof *p->finish);
    if (p->sizes && p->finish)
        return SC_OK;
    sc_partition_free(p);
    return SC_ENOMEM;
}

void sc_partition_free(sc_partition *p)
{
    free(p->sizes);
    free(p->finish);
    *p = (sc_partition){0};
}

sc_status sc_partition_copy(sc_partition *to, const sc_partition *from)
{
    if (to->cap < from->groups)
        return sc_fail(SC_EINTERNAL, "a partition of %d groups does not fit", from->groups);
    to->groups = from->groups;
    to->makespan = from->makespan;
    to->unevenness = from->unevenness;
    memcpy(to->sizes, from->sizes, (size_t)from->groups * sizeof *to->sizes);
    memcpy(to->finish, from->finish, (size_t)from->groups * sizeof *to->finish);
    return SC_OK;
}

bool sc_partition_same(const sc_partition *a, const sc_partition *b)
{
    return a->groups == b->groups &&
           memcmp(a->sizes, b->sizes, (size_t)a->groups * sizeof *a->sizes) == 0;
}

static int larger_first(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x < y) - (x > y);
}

void sc_partition_sort(sc_partition *p)
{
    qsort(p->sizes, (size_t)p->groups, sizeof *p->sizes, larger_first);
}

/* ---- the queue --------------------------------------------------------------------- */

/* A binary heap of groups by (time they are free, index). */
static bool sooner(const double *free_at, int a, int b)
{
    if (free_at[a] < free_at[b] || free_at[a] > free_at[b])
        return free_at[a] < free_at[b];
    return a < b;
}

static void sink(int *heap, int n, const double *free_at)
{
    int at = 0, moved = heap[0];
    for (;;) {
        int child = 2 * at + 1;
        if (child >= n)
            break;
        if (child + 1 < n && sooner(free_at, heap[child + 1], heap[child]))
            child++;
        if (!sooner(free_at, heap[child], moved))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

static void judge(sc_partition *p)
{
    p->makespan = p->unevenness = 0;
    for (int g = 0; g < p->groups; g++) {
        if (p->finish[g] > p->makespan)
            p->makespan = p->finish[g];
        p->unevenness += p->finish[g] * p->finish[g];
    }
}

sc_status sc_simulate(sc_costs *c, sc_partition *p, const sc_trace *trace)
{
    const int *queue = sc_costs_queue(c, p->sizes[0]);
    int *heap = sc_alloc((size_t)p->groups, sizeof *heap);
    const double **seconds = sc_alloc((size_t)p->groups, sizeof *seconds);
    sc_status status = queue && heap && seconds ? SC_OK : SC_ENOMEM;
    for (int g = 0; g < p->groups && status == SC_OK; g++) {
        seconds[g] = sc_costs_seconds(c, p->sizes[g]);
        if (!seconds[g]) {
            status = SC_ENOMEM;
            break;
        }
        heap[g] = g; /* in order of index: already a heap while all are free at 0 */
        p->finish[g] = 0;
    }
    for (int i = 0; i < c->count && status == SC_OK; i++) {
        int job = queue[i], g = heap[0];
        if (trace) {
            trace->group[job] = g;
            trace->start[job] = p->finish[g];
            trace->seconds[job] = seconds[g][job];
        }
        p->finish[g] += seconds[g][job];
        sink(heap, p->groups, p->finish);
    }
    free(seconds);
    free(heap);
    if (status == SC_OK)
        judge(p);
    return status;
}
