/* What a job costs on a group of ranks. */
#include "superclip/jobs.h"

#include <math.h>

/* Rows of the fullest rank, summed over the batches of a pass. */
static double slice_rows(double rows, double batch, int ranks)
{
    double whole = floor(rows / batch), rest = rows - whole * batch;
    return whole * ceil(batch / ranks) + ceil(rest / ranks);
}

/* A small collective climbs a binary tree. */
static double small_collective(const sc_machine *m, int ranks)
{
    return ranks > 1 ? m->latency * ceil(log2(ranks)) : 0;
}

/* A ring moves 2 (n-1)/n of the buffer over each link: once for two ranks, at most twice. */
static double reduction(const sc_machine *m, double bytes, int ranks)
{
    if (ranks < 2)
        return 0;
    return bytes / m->bandwidth * 2 * (ranks - 1) / ranks + small_collective(m, ranks);
}

double sc_job_seconds(const sc_job *job, const sc_machine *m, int ranks)
{
    double batch = job->batch >= 1 ? job->batch : 1;
    double train_steps = ceil(job->train_rows / batch), val_steps = ceil(job->val_rows / batch);
    double flops = 3 * job->row_flops * slice_rows(job->train_rows, batch, ranks) +
                   job->repeated_flops * train_steps +
                   job->row_flops * slice_rows(job->val_rows, batch, ranks) +
                   job->repeated_flops / 3; /* validation encodes the texts once, forward only */
    double network = train_steps * (reduction(m, job->reduced_bytes, ranks) +
                                    job->collectives * small_collective(m, ranks)) +
                     val_steps * small_collective(m, ranks);
    return job->epochs * (flops / m->flops + network);
}

int sc_group_slots(const sc_machine *m, int ranks)
{
    return ranks == 1 && m->slots > 1 ? m->slots : 1;
}

void sc_split_rows(int64_t rows, int ranks, int64_t *share)
{
    for (int r = 0; r < ranks; r++)
        share[r] = rows / ranks + (r < rows % ranks);
}
