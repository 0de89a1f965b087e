/* Class features once, then image batches against them: the two graphs of validation, over
 * parameters that have neither gradients nor moments. The text tower is gone again when its
 * features are known.
 */
#include <stdlib.h>
#include <string.h>

#include "superclip/infer.h"
#include "superclip/model.h"

struct sc_classifier {
    sc_device *device;
    sc_comm *comm;
    sc_graph *graph;
    sc_params *params;
    sc_program *program;
    int64_t batch;
    int classes;
    size_t row_bytes;
    uint8_t *rows;  /* of a batch that is not full */
    void *logits;   /* [batch][classes] of `real` */
    double *scores; /* [classes] */
};

static sc_model_spec spec_of(const sc_checkpoint *c, const sc_text_batch *texts)
{
    /* what concerns the loss alone changes no logit */
    return (sc_model_spec){.image_encoder = c->image_encoder,
                           .text_encoder = c->text_encoder,
                           .embed_dim = c->embed_dim,
                           .img_size = c->img_size,
                           .train_size = c->img_size,
                           .vocabulary = c->vocabulary,
                           .context = c->context,
                           .classes = c->classes,
                           .texts = texts->texts,
                           .text_length = texts->length,
                           .pack = &texts->pack,
                           .temperature = 1,
                           .loss.tau0 = 1};
}

/* A graph's parameters, read, and its program of so many rows. */
static sc_status build(const sc_checkpoint *c, const sc_pth_list *tensors, sc_device *d,
                       const sc_comm *comm, const sc_graph *g, int64_t rows, sc_params **params,
                       sc_program **program)
{
    const sc_tensor_reader r = sc_pth_list_reader((sc_pth_list *)tensors);
    SC_TRY(sc_params_create(d, g, params));
    sc_status status = sc_params_read(*params, &r);
    if (status != SC_OK)
        return strstr(sc_message(), sc_pth_path(c->file))
                   ? status
                   : sc_fail_prefix(status, "%s", sc_pth_path(c->file));
    const sc_program_desc desc = {.graph = g, .rows_local = rows, .rows = &rows};
    return sc_programs_compile(d, *params, comm, &desc, 1, program);
}

static sc_status encode_texts(const sc_checkpoint *c, sc_device *d, const sc_comm *comm,
                              const sc_model_spec *spec, const sc_text_batch *texts, void *features)
{
    sc_graph *g = NULL;
    sc_params *params = NULL;
    sc_program *p = NULL;
    sc_status status;
    SC_TRY_GOTO(sc_model_record(spec, SC_MODEL_TEXTS, NULL, &g));
    SC_TRY_GOTO(build(c, &c->text, d, comm, g, 1, &params, &p));
    SC_TRY_GOTO(sc_model_write_texts(p, spec, texts->tokens, texts->end));
    SC_TRY_GOTO(sc_program_write(p, "text_class", texts->group));
    SC_TRY_GOTO(sc_program_forward(p));
    status = sc_program_read(p, "class_features", features);
done:
    sc_program_free(p);
    sc_params_free(params);
    sc_graph_free(g);
    return status;
}

/* Labels and class weights feed only the losses, which nobody reads. */
static sc_status write_constants(sc_classifier *m, const void *features)
{
    size_t real = sc_dtype_size(m->device->backend->real);
    size_t draws = (size_t)m->batch * sizeof(sc_augment),
           labels = (size_t)m->batch * sizeof(int32_t);
    size_t weights = (size_t)m->classes * real, most = draws > labels ? draws : labels;
    void *zeros = sc_alloc(most > weights ? most : weights, 1);
    if (!zeros)
        return SC_ENOMEM;
    sc_status status = sc_program_write(m->program, "draws", zeros);
    if (status == SC_OK)
        status = sc_program_write(m->program, "labels", zeros);
    if (status == SC_OK)
        status = sc_program_write(m->program, "class_weights", zeros);
    if (status == SC_OK)
        status = sc_program_write(m->program, "class_features", features);
    free(zeros);
    return status;
}

static sc_status open(sc_classifier *m, const sc_checkpoint *c, const sc_text_batch *texts)
{
    const sc_model_spec spec = spec_of(c, texts);
    size_t features = (size_t)c->classes * (size_t)c->embed_dim;
    void *class_features = sc_alloc(features, sizeof(double));
    m->rows = sc_alloc((size_t)m->batch, m->row_bytes);
    m->logits = sc_alloc((size_t)m->batch * (size_t)m->classes, sizeof(double));
    m->scores = sc_alloc((size_t)m->classes, sizeof *m->scores);
    m->comm = sc_comm_single();
    sc_status status = SC_ENOMEM;
    if (!class_features || !m->rows || !m->logits || !m->scores || !m->comm)
        goto done;
    SC_TRY_GOTO(encode_texts(c, m->device, m->comm, &spec, texts, class_features));
    SC_TRY_GOTO(sc_model_record(&spec, SC_MODEL_EVAL, NULL, &m->graph));
    SC_TRY_GOTO(
        build(c, &c->image, m->device, m->comm, m->graph, m->batch, &m->params, &m->program));
    status = write_constants(m, class_features);
done:
    free(class_features);
    return status;
}

sc_status sc_classifier_open(const sc_checkpoint *c, sc_device *d, int64_t batch,
                             sc_classifier **out)
{
    sc_text_batch texts = {0};
    *out = NULL;
    sc_classifier *m = sc_alloc(1, sizeof *m);
    if (!m)
        return SC_ENOMEM;
    m->device = d;
    m->batch = batch;
    m->classes = c->classes;
    m->row_bytes = (size_t)c->img_size * (size_t)c->img_size * 3;
    sc_status status = sc_text_batch_make(c->texts, (const char *const *)c->class_names, c->classes,
                                          c->context, &texts);
    if (status == SC_OK)
        status = open(m, c, &texts);
    sc_text_batch_free(&texts);
    if (status == SC_OK)
        *out = m;
    else
        sc_classifier_free(m);
    return status;
}

static double logit(const sc_classifier *m, int64_t i)
{
    return m->device->backend->real == SC_F64 ? ((const double *)m->logits)[i]
                                              : (double)((const float *)m->logits)[i];
}

sc_status sc_classifier_run(sc_classifier *m, const uint8_t *rows, int64_t n, double *probabilities)
{
    if (n < 1 || n > m->batch)
        return sc_fail(SC_EINTERNAL, "a batch of %lld rows, at most %lld fit", (long long)n,
                       (long long)m->batch);
    if (n < m->batch) { /* what lies behind them changes nothing: no op mixes rows in evaluation */
        memcpy(m->rows, rows, (size_t)n * m->row_bytes);
        rows = m->rows;
    }
    SC_TRY(sc_program_write(m->program, "images", rows));
    SC_TRY(sc_program_forward(m->program));
    SC_TRY(sc_program_read(m->program, "logits", m->logits));
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < m->classes; k++)
            m->scores[k] = logit(m, i * m->classes + k);
        sc_softmax(m->scores, m->classes, probabilities + i * m->classes);
    }
    return SC_OK;
}

void sc_classifier_free(sc_classifier *m)
{
    if (!m)
        return;
    sc_program_free(m->program);
    sc_params_free(m->params);
    sc_graph_free(m->graph);
    if (m->comm)
        m->comm->free(m->comm);
    free(m->rows);
    free(m->logits);
    free(m->scores);
    free(m);
}
