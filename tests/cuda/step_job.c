#include "step_job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim/shim.h"

enum { SIDE = 20, SIZE = 16, LENGTH = 6 };
enum { FULL, TAIL, TEXTS, EVAL, PROGRAMS };

typedef struct job {
    const step_how *how;
    sc_device *d;
    sc_graph *train, *texts, *eval;
    sc_params *params;
    sc_program *program[PROGRAMS];
    sc_reading *reading[2][2]; /* of full and tail */
    sc_reading *evaluated;
} job;

static uint32_t noise(uint32_t *s)
{
    return (*s = *s * 1664525u + 1013904223u) >> 8;
}
static void split(int64_t rows, int ranks, int64_t *share)
{
    for (int r = 0; r < ranks; r++)
        share[r] = rows / ranks + (r < rows % ranks);
}
/* Every rank draws the whole batch and takes its rows. */
static sc_status write_batch(const job *j, sc_program *p, int64_t rows, int step)
{
    static uint8_t images[JOB_ROWS * SIDE * SIDE * 3];
    const bool trains = p != j->program[EVAL];
    const size_t row = 3 * (size_t)(trains ? SIDE * SIDE : SIZE * SIZE);
    sc_augment draws[JOB_ROWS] = {0};
    int32_t labels[JOB_ROWS];
    int64_t share[64] = {0}, first = 0;
    uint32_t s = 7u + 1000u * (uint32_t)step;
    for (size_t i = 0; i < sizeof images; i++)
        images[i] = (uint8_t)(noise(&s) >> 3);
    for (int i = 0; i < JOB_ROWS; i++) {
        draws[i].crop_top = trains ? (i + step) % 5 : 0;
        draws[i].crop_left = trains ? 4 - i % 5 : 0;
        draws[i].flip_h = i & 1;
        labels[i] = (i * i + step) % JOB_CLASSES;
    }
    split(rows, j->how->comm->size, share);
    for (int r = 0; r < j->how->comm->rank; r++)
        first += share[r];
    SC_TRY(sc_program_write(p, "images", images + (size_t)first * row));
    SC_TRY(sc_program_write(p, "draws", &draws[first]));
    return sc_program_write(p, "labels", labels);
}
static sc_status write_texts(sc_program *p)
{
    int32_t tokens[JOB_TEXTS][LENGTH], end[JOB_TEXTS], group[JOB_TEXTS];
    uint32_t s = 11;
    for (int t = 0; t < JOB_TEXTS; t++) {
        end[t] = LENGTH - 1 - t % 3;
        group[t] = t % JOB_CLASSES;
        for (int l = 0; l < LENGTH; l++)
            tokens[t][l] = l == 0 ? 512 : l >= end[t] ? 513 : (int32_t)(noise(&s) % 512);
    }
    SC_TRY(sc_program_write(p, "tokens", tokens));
    SC_TRY(sc_program_write(p, "text_end", end));
    return sc_program_write(p, "text_class", group);
}
static sc_status write_weights(const job *j, sc_program *p)
{
    static const double wide[JOB_CLASSES] = {0.5, 0.75, 1, 1.25};
    static const float narrow[JOB_CLASSES] = {0.5f, 0.75f, 1, 1.25f};
    return sc_program_write(p, "class_weights",
                            j->how->backend->real == SC_F64 ? (const void *)wide
                                                            : (const void *)narrow);
}

static sc_status compile(job *j)
{
    const sc_graph *const graphs[PROGRAMS] = {j->train, j->train, j->texts, j->eval};
    const int64_t sizes[PROGRAMS] = {JOB_ROWS, JOB_TAIL, j->how->comm->size, JOB_ROWS};
    int64_t rows[PROGRAMS][64] = {{0}};
    sc_program_desc desc[PROGRAMS];
    for (int i = 0; i < PROGRAMS; i++) {
        const int64_t all = sizes[i];
        split(all, j->how->comm->size, rows[i]);
        desc[i] = (sc_program_desc){.graph = graphs[i],
                                    .rows_local = rows[i][j->how->comm->rank],
                                    .rows = rows[i],
                                    .training = i < TEXTS};
    }
    SC_TRY(sc_programs_compile(j->d, j->params, j->how->comm, desc, PROGRAMS, j->program));
    for (int i = 0; i < EVAL; i++)
        SC_TRY(write_texts(j->program[i]));
    for (int i = 0; i < PROGRAMS && j->how->eager; i++)
        sc_program_record_nothing(j->program[i]);
    SC_TRY(write_weights(j, j->program[FULL]));
    SC_TRY(write_weights(j, j->program[TAIL]));
    return write_weights(j, j->program[EVAL]);
}
static sc_status open(job *j, const step_how *how)
{
    const sc_device_options o = {2, how->precision, how->log};
    const sc_model_spec spec = {
        .image_encoder = "resnet-tiny",
        .text_encoder = "clip:tiny",
        .embed_dim = JOB_DIM,
        .img_size = SIZE,
        .train_size = SIDE,
        .vocabulary = 514,
        .context = 77,
        .classes = JOB_CLASSES,
        .texts = JOB_TEXTS,
        .text_length = LENGTH,
        .temperature = 0.07,
        .freeze_text = how->freeze_text,
        .freeze_image = how->freeze_image,
        .loss = {.superclip = true, .class_weight = 1, .contrastive_weight = 1, .tau0 = 0.07}};
    const sc_model_io io = {.train_rows = true}, none = {0};
    j->how = how;
    SC_TRY(how->backend->open_nth != NULL ? how->backend->open_nth(&o, how->number, &j->d)
                                          : how->backend->open(&o, &j->d));
    SC_TRY(sc_model_record(&spec, SC_MODEL_TRAIN, &io, &j->train));
    SC_TRY(sc_model_record(&spec, SC_MODEL_TEXTS, &none, &j->texts));
    SC_TRY(sc_model_record(&spec, SC_MODEL_EVAL, &none, &j->eval));
    SC_TRY(sc_params_create(j->d, j->train, &j->params));
    SC_TRY(sc_params_init(j->params, 42));
    SC_TRY(compile(j));
    static const char *const later[] = {"losses", "logits", "temperature"};
    for (int i = 0; i < 2 && sc_program_queues(j->program[0]); i++)
        for (int k = 0; k < 2; k++)
            SC_TRY(sc_reading_new(j->program[i], later, 3, &j->reading[i][k]));
    return sc_program_queues(j->program[EVAL])
               ? sc_reading_new(j->program[EVAL], later, 2, &j->evaluated)
               : SC_OK;
}
static void close(job *j)
{
    for (int i = 0; i < 4; i++)
        sc_reading_free(j->reading[i / 2][i % 2]);
    sc_reading_free(j->evaluated);
    for (int i = 0; i < PROGRAMS; i++)
        sc_program_free(j->program[i]);
    sc_params_free(j->params);
    sc_graph_free(j->train);
    sc_graph_free(j->texts);
    sc_graph_free(j->eval);
    if (j->d != NULL)
        j->d->backend->close(j->d);
}

static void keep(const job *j, const void *host, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = j->how->backend->real == SC_F64 ? (float)((const double *)host)[i]
                                                : ((const float *)host)[i];
}
static sc_status eval_batch(const job *j, int step, float to[JOB_ROWS][JOB_CLASSES])
{
    sc_program *p = j->program[EVAL];
    SC_TRY(write_batch(j, p, JOB_ROWS, 100 + step));
    if (j->how->apart || j->evaluated == NULL) {
        double host[JOB_ROWS * JOB_CLASSES];
        SC_TRY(j->how->apart ? sc_program_forward(p) : sc_program_run(p));
        SC_TRY(sc_program_read(p, "logits", host));
        keep(j, host, JOB_ROWS * JOB_CLASSES, to[0]);
        return SC_OK;
    }
    SC_TRY(sc_program_run(p));
    SC_TRY(sc_reading_take(j->evaluated, 0));
    SC_TRY(sc_reading_take(j->evaluated, 1));
    SC_TRY(sc_reading_close(j->evaluated));
    SC_TRY(sc_reading_wait(j->evaluated));
    keep(j, sc_reading_values(j->evaluated, 1), JOB_ROWS * JOB_CLASSES, to[0]);
    return SC_OK;
}
static sc_status evaluate(const job *j, int which, step_outcome *out)
{
    double host[JOB_CLASSES * JOB_DIM];
    if (j->how->train_only)
        return SC_OK;
    SC_TRY(sc_program_forward(j->program[TEXTS]));
    SC_TRY(sc_program_read(j->program[TEXTS], "class_features", host));
    keep(j, host, JOB_CLASSES * JOB_DIM, out->features[which][0]);
    SC_TRY(sc_program_write(j->program[EVAL], "class_features", host));
    for (int k = 0; k < JOB_EVAL; k++) {
        const long before = shim_calls();
        SC_TRY(eval_batch(j, which * JOB_EVAL + k, out->evaluated[which][k]));
        out->eval_calls = shim_calls() - before;
    }
    return SC_OK;
}
static bool is_tail(int step)
{
    return step % 3 == 2;
}
static sc_reading *reading_of(const job *j, int step)
{
    return j->reading[is_tail(step)][step % 2];
}
static sc_status take_late(const job *j, int step, step_outcome *out)
{
    if (step < 0)
        return SC_OK;
    SC_TRY(sc_reading_wait(reading_of(j, step)));
    keep(j, sc_reading_values(reading_of(j, step), 0), 3, out->losses[step]);
    return SC_OK;
}
static sc_status one_step(const job *j, int step, step_outcome *out)
{
    const sc_adamw o = {1e-3 / (1 + step), 0.9, 0.999, 1e-8, 0.01, 0};
    sc_program *p = j->program[is_tail(step)];
    sc_reading *r = reading_of(j, step);
    SC_TRY(write_batch(j, p, is_tail(step) ? JOB_TAIL : JOB_ROWS, step));
    if (j->how->apart || r == NULL) {
        double host[3];
        SC_TRY(j->how->apart ? sc_program_forward(p) : sc_program_step(p, &o));
        SC_TRY(sc_program_read(p, "losses", host));
        keep(j, host, 3, out->losses[step]);
        return j->how->apart ? sc_program_update(p, &o) : SC_OK;
    }
    SC_TRY(sc_reading_take(r, 2));
    SC_TRY(sc_program_step(p, &o));
    SC_TRY(sc_reading_take(r, 0));
    SC_TRY(sc_reading_take(r, 1));
    SC_TRY(sc_reading_close(r));
    return take_late(j, step - 1, out);
}
static sc_status run(const job *j, step_outcome *out)
{
    const bool late = !j->how->apart && reading_of(j, 0) != NULL;
    for (int k = 0; k < j->how->steps; k++) {
        const long before = shim_calls();
        SC_TRY(one_step(j, k, out));
        if (k == j->how->counted)
            out->calls = shim_calls() - before;
        if (k == 2) {
            if (late)
                SC_TRY(take_late(j, k, out));
            SC_TRY(evaluate(j, 0, out));
        }
    }
    if (late)
        SC_TRY(take_late(j, j->how->steps - 1, out));
    SC_TRY(evaluate(j, 1, out));
    out->checksum = sc_params_checksum(j->params);
    if (j->d->backend->sync != NULL)
        SC_TRY(j->d->backend->sync(j->d));
    return sc_params_export(j->params, &out->values);
}
sc_status step_job(const step_how *how, step_outcome *out)
{
    job j = {0};
    memset(out, 0, sizeof *out);
    sc_status status = open(&j, how);
    if (status == SC_OK)
        status = run(&j, out);
    if (status != SC_OK)
        (void)snprintf(out->message, sizeof out->message, "%s", sc_message());
    close(&j);
    return status;
}
