/* From cases to the planner's numbers. They are estimates: only their ratios decide. */
#include <stdlib.h>
#include <string.h>

#include "app.h"

static void token_counts(const app_case *k, double *texts, double *longest)
{
    *texts = *longest = 0;
    for (int c = 0; c < k->classes; c++)
        for (int t = 0; t < k->tokens[c].count; t++) {
            *texts += 1;
            if (k->tokens[c].lengths[t] > *longest)
                *longest = k->tokens[c].lengths[t];
        }
}

static sc_job describe_job(const app *a, int j)
{
    const app_case *k = &a->cases[a->jobs[j].config];
    const sc_config *c = k->config;
    const sc_fold *fold =
        k->overfit ? &k->overfit[a->jobs[j].fold - 1] : &k->folds[a->jobs[j].fold - 1];
    const sc_encoder_info *image = sc_encoder_find(c->image_encoder);
    const sc_encoder_info *text = sc_encoder_find(c->text_encoder);
    double texts, longest, scale = c->img_size / 224.0;
    token_counts(k, &texts, &longest);
    sc_job job = {
        .config = a->jobs[j].config, .fold = a->jobs[j].fold, .done = a->jobs[j].done_before};
    job.epochs = c->epochs;
    job.train_rows = (double)fold->train_count;
    job.val_rows = (double)fold->val_count;
    job.batch = c->batch_size;
    job.row_flops = image->flops_per_row * scale * scale;
    /* The optimiser moves seven numbers a parameter through memory; a core computes some 15
     * operations in the time it moves one byte. */
    double moved = (image->parameters + text->parameters) * 7 * 4 * 15;
    job.repeated_flops = 3 * texts * longest * text->flops_per_row + moved;
    job.reduced_bytes = image->parameters * 4 + (double)k->classes * c->embed_dim * 4;
    /* Batch statistics of a ResNet: about one for every 0.55 million parameters, 20 at least,
     * forward and backward. */
    double layers = image->parameters / 0.55e6;
    job.collectives = c->sync_bn ? 2 * (layers > 20 ? layers : 20) : 2;
    return job;
}

sc_status app_make_plan(app *a, int ranks, int ranks_per_node, sc_plan *best, sc_plan *second)
{
    sc_job *jobs = sc_alloc((size_t)a->job_count, sizeof *jobs);
    if (!jobs)
        return SC_ENOMEM;
    bool bf16 = false;
    for (int j = 0; j < a->job_count; j++) {
        jobs[j] = describe_job(a, j);
        bf16 = bf16 || a->cases[a->jobs[j].config].bf16;
    }
    sc_machine m = {.ranks = ranks,
                    .ranks_per_node = ranks_per_node,
                    .flops = app_flops(a, bf16, sc_threads(a->cores, ranks_per_node)),
                    .slots = a->at_once,
                    .crowding = SC_GPU_CROWDING};
    m.bandwidth = ranks > ranks_per_node ? 1e9 : 2.5e9;
    m.latency = ranks_per_node > a->cores ? 50e-6 : ranks > ranks_per_node ? 20e-6 : 3e-6;
    sc_status status = sc_plan_make(jobs, a->job_count, &m, a->options.group_size, best, second);
    free(jobs);
    return status;
}

bool app_same_shapes(const app *a, int x, int y)
{
    const app_case *k = &a->cases[x], *o = &a->cases[y];
    const sc_config *c = k->config, *d = o->config;
    double texts, longest, other_texts, other_longest;
    token_counts(k, &texts, &longest);
    token_counts(o, &other_texts, &other_longest);
    return strcmp(c->image_encoder, d->image_encoder) == 0 &&
           strcmp(c->text_encoder, d->text_encoder) == 0 && c->embed_dim == d->embed_dim &&
           c->img_size == d->img_size && c->batch_size == d->batch_size && k->bf16 == o->bf16 &&
           k->vocabulary == o->vocabulary && c->n_splits == d->n_splits && texts == other_texts &&
           longest == other_longest;
}

/* A case before `i` whose programs have the same shapes, or -1: compiling takes seconds. */
static int same_shapes(const app *a, const sc_plan *plan, int i)
{
    int group = plan->group_of_job[a->cases[i].first_job];
    for (int e = 0; e < i; e++) {
        int other = plan->group_of_job[a->cases[e].first_job];
        if (group >= 0 && other >= 0 && plan->group_size[group] == plan->group_size[other] &&
            app_same_shapes(a, i, e))
            return e;
    }
    return -1;
}

sc_status app_job_memory(app *a, int config, int ranks, size_t *bytes)
{
    const app_case *k = &a->cases[config];
    app_set *set = &a->sets[k->set];
    sc_device *device;
    sc_train_options o;
    *bytes = 0;
    if (!set->dataset && sc_is_packed(set->dir)) /* the cache of an earlier run */
        (void)sc_dataset_open(set->dir, set->img_size, &a->log, &set->dataset);
    if (!set->dataset)
        return SC_OK;
    SC_TRY(app_device(a, k->bf16, &device));
    app_train_options(a, k->first_job, &a->log, &o);
    return sc_train_memory(&o, device, ranks, bytes);
}

/* Bytes a rank of each config's jobs, on a group of the planned size; all folds are alike. 0 as
 * long as the data is not packed: the programs are compiled for its sizes. */
sc_status app_estimate_memory(app *a, const sc_plan *plan)
{
    free(a->job_memory);
    a->job_memory = sc_alloc((size_t)a->job_count, sizeof *a->job_memory);
    if (!a->job_memory)
        return SC_ENOMEM;
    for (int i = 0; i < a->options.configs_count; i++) {
        const app_case *k = &a->cases[i];
        int group = plan->group_of_job[k->first_job],
            ranks = group >= 0 ? plan->group_size[group] : 1;
        size_t bytes = 0;
        int like = same_shapes(a, plan, i);
        if (like >= 0)
            bytes = a->job_memory[a->cases[like].first_job];
        else
            SC_TRY(app_job_memory(a, i, ranks, &bytes));
        for (int f = 0; f < k->folds_used; f++)
            a->job_memory[k->first_job + f] = bytes;
    }
    return SC_OK;
}
