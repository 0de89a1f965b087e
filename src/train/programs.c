/* The model's graphs, recorded and compiled for the row counts of the job: full batches and the
 * last partial one of each pass, and the texts. All share one arena.
 */
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

sc_status sc_trainer_spec(const sc_train_options *o, const sc_text_batch *texts, sc_model_spec *out)
{
    *out = (sc_model_spec){.image_encoder = o->image_encoder,
                           .text_encoder = o->text_encoder,
                           .embed_dim = o->embed_dim,
                           .img_size = o->img_size,
                           .train_size = sc_dataset_row_size(o->dataset, SC_ROW_TRAIN),
                           .vocabulary = o->vocabulary,
                           .context = o->context,
                           .classes = sc_dataset_classes(o->dataset),
                           .texts = texts->texts,
                           .text_length = texts->length,
                           .pack = &texts->pack,
                           .temperature = o->temperature,
                           .freeze_image = o->freeze_image,
                           .freeze_text = o->freeze_text,
                           .freeze_bn = o->freeze_bn,
                           .loss = o->loss};
    out->loss.tau0 = o->temperature;
    return SC_OK;
}

typedef struct plan {
    sc_program_desc desc[5];
    sc_program **slot[5];
    int64_t *rows[5];
    int n;
} plan;

static sc_status plan_add(sc_trainer *t, plan *p, const sc_graph *g, int64_t rows, bool training,
                          sc_program **slot)
{
    int64_t *share = sc_alloc((size_t)t->comm->size, sizeof *share);
    if (!share)
        return SC_ENOMEM;
    sc_split_rows(rows, t->comm->size, share);
    p->rows[p->n] = share;
    p->slot[p->n] = slot;
    p->desc[p->n++] = (sc_program_desc){.graph = g,
                                        .rows_local = share[t->comm->rank],
                                        .rows = share,
                                        .training = training,
                                        .local_batch_norm = !t->o->sync_bn};
    return SC_OK;
}

static sc_status plan_pass(sc_trainer *t, plan *p, const sc_graph *g, int64_t count, bool training,
                           sc_pass_programs *pass)
{
    pass->full_rows = count >= t->batch ? t->batch : 0;
    pass->tail_rows = count % t->batch;
    if (pass->full_rows)
        SC_TRY(plan_add(t, p, g, pass->full_rows, training, &pass->full));
    if (pass->tail_rows)
        SC_TRY(plan_add(t, p, g, pass->tail_rows, training, &pass->tail));
    return SC_OK;
}

static sc_status compile(sc_trainer *t)
{
    plan p = {0};
    sc_program *programs[5] = {0};
    sc_status status = plan_pass(t, &p, t->train_graph, t->o->split->train_count, true, &t->train);
    if (status == SC_OK)
        status = plan_pass(t, &p, t->eval_graph, t->o->split->val_count, false, &t->eval);
    /* the texts are whole on every rank: rows only say how the group looks */
    if (status == SC_OK)
        status = plan_add(t, &p, t->texts_graph, t->comm->size, false, &t->text_program);
    if (status == SC_OK)
        status = sc_programs_compile(t->device, t->params, t->comm, p.desc, p.n, programs);
    for (int i = 0; i < p.n; i++) {
        if (status == SC_OK)
            *p.slot[i] = programs[i];
        free(p.rows[i]);
    }
    return status;
}

/* What stays the same from batch to batch. */
static sc_status write_constants(sc_trainer *t, sc_program *p, bool texts, bool loss)
{
    if (!p)
        return SC_OK;
    if (texts) {
        SC_TRY(sc_model_write_texts(p, &t->spec, t->texts.tokens, t->texts.end));
        SC_TRY(sc_program_write(p, "text_class", t->texts.group));
    }
    return loss ? sc_trainer_write(t, p, "class_weights", t->class_weights, t->classes) : SC_OK;
}

sc_status sc_trainer_compile(sc_trainer *t)
{
    const sc_model_io train = {t->o->augment, t->o->dump_steps > 0}, none = {0};
    SC_TRY(sc_trainer_spec(t->o, &t->texts, &t->spec));
    SC_TRY(sc_model_record(&t->spec, SC_MODEL_TRAIN, &train, &t->train_graph));
    SC_TRY(sc_model_record(&t->spec, SC_MODEL_TEXTS, &none, &t->texts_graph));
    SC_TRY(sc_model_record(&t->spec, SC_MODEL_EVAL, &none, &t->eval_graph));
    SC_TRY(sc_params_create(t->device, t->train_graph, &t->params));
    SC_TRY(compile(t));
    SC_TRY(write_constants(t, t->train.full, true, true));
    SC_TRY(write_constants(t, t->train.tail, true, true));
    SC_TRY(write_constants(t, t->text_program, true, false));
    SC_TRY(write_constants(t, t->eval.full, false, true));
    return write_constants(t, t->eval.tail, false, true);
}

void sc_trainer_release_programs(sc_trainer *t)
{
    sc_program *all[] = {t->train.full, t->train.tail, t->eval.full, t->eval.tail, t->text_program};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sc_program_free(all[i]);
    sc_params_free(t->params);
    sc_graph_free(t->train_graph);
    sc_graph_free(t->texts_graph);
    sc_graph_free(t->eval_graph);
}

sc_status sc_trainer_read(const sc_trainer *t, sc_program *p, const char *name, double *out,
                          int64_t n)
{
    SC_TRY(sc_program_read(p, name, out));
    if (t->device->backend->real == SC_F64)
        return SC_OK;
    /* floats were read into the front half of the array: widen them in place, from the end */
    for (int64_t i = n - 1; i >= 0; i--) {
        float v;
        memcpy(&v, (const char *)out + (size_t)i * sizeof v, sizeof v);
        out[i] = v;
    }
    return SC_OK;
}

sc_status sc_trainer_write(const sc_trainer *t, sc_program *p, const char *name, const double *v,
                           int64_t n)
{
    if (t->device->backend->real == SC_F64)
        return sc_program_write(p, name, v);
    float *f = sc_alloc((size_t)n, sizeof *f);
    if (!f)
        return SC_ENOMEM;
    for (int64_t i = 0; i < n; i++)
        f[i] = (float)v[i];
    sc_status status = sc_program_write(p, name, f);
    free(f);
    return status;
}

sc_status sc_trainer_write_batch(const sc_trainer *t, sc_program *p, const sc_batch *b)
{
    const sc_row_store *rows = t->rows.of[b->kind];
    SC_TRY(rows ? sc_program_write_rows(p, "images", rows, b->samples + b->local_first)
                : sc_program_write(p, "images", b->pixels));
    SC_TRY(sc_program_write(p, "draws", b->draws));
    return sc_program_write(p, "labels", b->labels);
}
