/* The queue, simulated: what the planner minimises. Private to jobs. */
#ifndef SC_JOBS_SIMULATE_H
#define SC_JOBS_SIMULATE_H

#include "superclip/jobs.h"

/* Predicted seconds of every job to do on a group of one size, and the queue of such groups. */
typedef struct sc_cost_column {
    double *seconds; /* [count] */
    int *queue;      /* [count] longest first; made when first asked for */
} sc_cost_column;

/* The jobs to plan; a column a group size, made when first asked for. */
typedef struct sc_costs {
    const sc_job *jobs;
    const sc_machine *machine;
    int *todo; /* [count] index into jobs */
    int count;
    sc_cost_column *columns; /* [ranks + 1] */
} sc_costs;
sc_status sc_costs_init(const sc_job *jobs, int count, const sc_machine *m, sc_costs *out);
void sc_costs_free(sc_costs *c);
/* NULL on failure */
const double *sc_costs_seconds(sc_costs *c, int size);
const int *sc_costs_queue(sc_costs *c, int size);
/* Jobs a second that a group with all its slots taken does, against one after another. */
double sc_costs_throughput(const sc_costs *c, int size);

/* Groups by size, largest first, and what the simulation says about them. */
typedef struct sc_partition {
    int *sizes;     /* [groups] */
    double *finish; /* [groups] */
    int groups, cap;
    double makespan;
    double unevenness; /* of the finishing times; breaks ties */
} sc_partition;
sc_status sc_partition_init(sc_partition *p, int cap);
void sc_partition_free(sc_partition *p);
sc_status sc_partition_copy(sc_partition *to, const sc_partition *from);
bool sc_partition_same(const sc_partition *a, const sc_partition *b);
void sc_partition_sort(sc_partition *p);

/* Where the jobs went. Arrays are the caller's, [count] in the order of c->todo. */
typedef struct sc_trace {
    int *group;
    double *start, *seconds;
} sc_trace;
/* A group with a free slot takes the next job of the queue; of groups whose slots are free at the
 * same time the one with the fewest jobs, the first of those. The queue is that of the largest
 * group. Fills finish, makespan, unevenness. trace may be NULL. */
sc_status sc_simulate(sc_costs *c, sc_partition *p, const sc_trace *trace);

/* The two best different partitions so far, and one to try things on. */
typedef struct sc_search {
    sc_costs costs;
    int ranks, most_groups;
    sc_partition best, second, trial;
    int64_t work; /* simulated (jobs + groups) of the greedy part */
    int tries;
} sc_search;
/* Fills best and second. The partitions have room for most_groups groups, which is at least 1. */
sc_status sc_search_run(sc_search *s, int force_group);

#endif
