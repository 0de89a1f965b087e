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

double sc_costs_throughput(const sc_costs *c, int size)
{
    int slots = sc_group_slots(c->machine, size);
    return slots / (1 + (slots - 1) * c->machine->crowding);
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

/* Jobs on one group, which share it evenly: `done` is what each that has been there all the time
 * has had, in seconds of a job without company. */
typedef struct crew {
    double clock, done;
    double end[SC_MOST_SLOTS]; /* of each job: what `done` will be */
    int job[SC_MOST_SLOTS];
    int jobs, slots;
} crew;

static double pace(const crew *w, const sc_machine *m)
{
    return 1 + (w->jobs - 1) * m->crowding;
}

static int first_to_end(const crew *w)
{
    int at = 0;
    for (int k = 1; k < w->jobs; k++)
        if (w->end[k] < w->end[at])
            at = k;
    return at;
}

static double free_at(const crew *w, const sc_machine *m)
{
    if (w->jobs < w->slots)
        return w->clock;
    return w->clock + (w->end[first_to_end(w)] - w->done) * pace(w, m);
}

static void end_first(crew *w, const sc_machine *m, const sc_trace *trace)
{
    int k = first_to_end(w);
    w->clock += (w->end[k] - w->done) * pace(w, m);
    w->done = w->end[k];
    if (trace && w->slots > 1)
        trace->seconds[w->job[k]] = w->clock - trace->start[w->job[k]];
    w->jobs--;
    w->end[k] = w->end[w->jobs];
    w->job[k] = w->job[w->jobs];
    if (w->jobs == 0)
        w->done = 0; /* exact sums where jobs follow each other */
}

/* Into the slot that is free first. */
static void take(crew *w, const sc_machine *m, int job, double seconds, const sc_trace *trace)
{
    if (w->jobs == w->slots)
        end_first(w, m, trace);
    if (trace) {
        trace->start[job] = w->clock;
        trace->seconds[job] = seconds;
    }
    w->end[w->jobs] = w->done + seconds;
    w->job[w->jobs++] = job;
}

/* A binary heap of groups by (time a slot is free, jobs there then, index). */
typedef struct place {
    double free;
    int jobs, group;
} place;

static place place_of(const crew *w, const sc_machine *m, int group)
{
    return (place){free_at(w, m), w->jobs < w->slots ? w->jobs : w->slots - 1, group};
}

static bool sooner(const place *a, const place *b)
{
    if (a->free < b->free || a->free > b->free)
        return a->free < b->free;
    return a->jobs != b->jobs ? a->jobs < b->jobs : a->group < b->group;
}

static void sink(place *heap, int n)
{
    int at = 0;
    place moved = heap[0];
    for (;;) {
        int child = 2 * at + 1;
        if (child >= n)
            break;
        if (child + 1 < n && sooner(&heap[child + 1], &heap[child]))
            child++;
        if (!sooner(&heap[child], &moved))
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
    const sc_machine *m = c->machine;
    const int *queue = sc_costs_queue(c, p->sizes[0]);
    place *heap = sc_alloc((size_t)p->groups, sizeof *heap);
    crew *crews = sc_alloc((size_t)p->groups, sizeof *crews);
    const double **seconds = sc_alloc((size_t)p->groups, sizeof *seconds);
    sc_status status = queue && heap && crews && seconds ? SC_OK : SC_ENOMEM;
    for (int g = 0; g < p->groups && status == SC_OK; g++) {
        seconds[g] = sc_costs_seconds(c, p->sizes[g]);
        if (!seconds[g]) {
            status = SC_ENOMEM;
            break;
        }
        crews[g].slots = sc_group_slots(m, p->sizes[g]);
        heap[g] = (place){0, 0, g}; /* in order of index: already a heap */
    }
    for (int i = 0; i < c->count && status == SC_OK; i++) {
        int job = queue[i], g = heap[0].group;
        if (trace)
            trace->group[job] = g;
        take(&crews[g], m, job, seconds[g][job], trace);
        heap[0] = place_of(&crews[g], m, g);
        sink(heap, p->groups);
    }
    for (int g = 0; g < p->groups && status == SC_OK; g++) {
        while (crews[g].jobs > 0)
            end_first(&crews[g], m, trace);
        p->finish[g] = crews[g].clock;
    }
    free(seconds);
    free(crews);
    free(heap);
    if (status == SC_OK)
        judge(p);
    return status;
}
