/* On a device that queues its work: batch k is handed over, then what batch k - 1 gave is looked
 * at. Two are under way at most; nothing is written while one is not accounted for.
 */
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

enum { LOSSES, LOGITS, TEMPERATURE, ENTRIES };

typedef struct late_batch {
    sc_reading *reading; /* NULL: there is none */
    int64_t number, rows;
    int32_t *labels;  /* [batch] */
    int64_t *samples; /* [batch] */
} late_batch;
typedef struct late_pass {
    sc_reading *full[2], *tail[2];
    int next; /* of these pairs */
    late_batch open;
} late_pass;
struct sc_late {
    late_pass train, eval;
    bool temperature;
};

static sc_status make_pair(sc_program *p, bool temperature, sc_reading *pair[2])
{
    static const char *const names[ENTRIES] = {"losses", "logits", "temperature"};
    for (int i = 0; p && i < 2; i++)
        SC_TRY(sc_reading_new(p, names, temperature ? ENTRIES : TEMPERATURE, &pair[i]));
    return SC_OK;
}
static sc_status open_pass(const sc_trainer *t, const sc_pass_programs *programs, bool temperature,
                           late_pass *l)
{
    l->open.labels = sc_alloc((size_t)t->batch, sizeof *l->open.labels);
    l->open.samples = sc_alloc((size_t)t->batch, sizeof *l->open.samples);
    if (!l->open.labels || !l->open.samples)
        return SC_ENOMEM;
    SC_TRY(make_pair(programs->full, temperature, l->full));
    return make_pair(programs->tail, temperature, l->tail);
}
static void close_pass(late_pass *l)
{
    for (int i = 0; i < 2; i++) {
        sc_reading_free(l->full[i]);
        sc_reading_free(l->tail[i]);
    }
    free(l->open.labels);
    free(l->open.samples);
}

sc_status sc_late_open(sc_trainer *t)
{
    sc_program *const programs[] = {t->train.full, t->train.tail, t->eval.full, t->eval.tail};
    if (!sc_program_queues(programs[programs[0] ? 0 : 1]))
        return SC_OK;
    sc_late *l = t->late = sc_alloc(1, sizeof *l);
    if (!l)
        return SC_ENOMEM;
    for (int i = 0; t->o->no_graph && i < 4; i++)
        if (programs[i])
            sc_program_record_nothing(programs[i]);
    l->temperature = t->o->loss.superclip;
    SC_TRY(open_pass(t, &t->train, l->temperature, &l->train));
    return open_pass(t, &t->eval, false, &l->eval);
}

void sc_late_close(sc_late *l)
{
    if (!l)
        return;
    close_pass(&l->train);
    close_pass(&l->eval);
    free(l);
}

static sc_reading *next_reading(late_pass *l, bool full)
{
    sc_reading *r = (full ? l->full : l->tail)[l->next];
    l->next ^= 1;
    return r;
}
static void keep_open(late_pass *l, sc_reading *r, int64_t number, const sc_batch *b)
{
    const size_t rows = (size_t)b->rows_global;
    memcpy(l->open.labels, b->labels, rows * sizeof *b->labels);
    memcpy(l->open.samples, b->samples, rows * sizeof *b->samples);
    l->open.reading = r;
    l->open.number = number;
    l->open.rows = b->rows_global;
}

static void widen(const sc_trainer *t, const void *from, int64_t n, double *to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = t->device->backend->real == SC_F64 ? ((const double *)from)[i]
                                                   : (double)((const float *)from)[i];
}
/* Waits for what is under way; the batch's logits are the newest then. */
static sc_status settle(sc_trainer *t, late_pass *l, late_batch *out, double losses[3])
{
    *out = l->open;
    l->open.reading = NULL;
    SC_TRY(sc_reading_wait(out->reading));
    widen(t, sc_reading_values(out->reading, LOSSES), 3, losses);
    widen(t, sc_reading_values(out->reading, LOGITS), out->rows * t->classes, t->logits);
    return SC_OK;
}

/* ---- training ----------------------------------------------------------------------------------
 */
sc_status sc_late_settle(sc_trainer *t)
{
    late_batch s;
    double losses[3], temperature = 1;
    if (!t->late || !t->late->train.open.reading)
        return SC_OK;
    SC_TRY(settle(t, &t->late->train, &s, losses));
    if (t->late->temperature)
        widen(t, sc_reading_values(s.reading, TEMPERATURE), 1, &temperature);
    SC_TRY(sc_trainer_count_batch(t, s.labels, s.rows, "training", &t->state.sums, losses));
    if (temperature < 0)
        return sc_trainer_bad_temperature(t, s.number);
    sc_trainer_report_batch(t, false, s.number, t->train_batches, &t->state.sums, losses);
    return SC_OK;
}

/* The temperature is what the step began with; all else is what it gave. */
static sc_status queue_step(sc_trainer *t, sc_program *p, const sc_batch *b, const sc_adamw *adamw,
                            sc_reading *r)
{
    SC_TRY(sc_trainer_write_batch(t, p, b));
    if (t->late->temperature)
        SC_TRY(sc_reading_take(r, TEMPERATURE));
    SC_TRY(sc_program_step(p, adamw));
    SC_TRY(sc_reading_take(r, LOSSES));
    SC_TRY(sc_reading_take(r, LOGITS));
    return sc_reading_close(r);
}

sc_status sc_late_step(sc_trainer *t, sc_program *p, const sc_batch *b, const sc_adamw *adamw)
{
    sc_reading *r = next_reading(&t->late->train, p == t->train.full);
    SC_TRY(queue_step(t, p, b, adamw, r));
    SC_TRY(sc_late_settle(t));
    keep_open(&t->late->train, r, t->state.step + 1, b);
    return SC_OK;
}

/* ---- validation --------------------------------------------------------------------------------
 */
sc_status sc_late_settle_validation(sc_trainer *t, sc_pass_sums *sums)
{
    late_batch s;
    double losses[3];
    if (!t->late || !t->late->eval.open.reading)
        return SC_OK;
    SC_TRY(settle(t, &t->late->eval, &s, losses));
    return sc_trainer_count_validated(t, s.samples, s.labels, s.rows, sums, losses);
}

sc_status sc_late_validate(sc_trainer *t, sc_program *p, const sc_batch *b, sc_pass_sums *sums)
{
    sc_reading *r = next_reading(&t->late->eval, p == t->eval.full);
    SC_TRY(sc_trainer_write_batch(t, p, b));
    SC_TRY(sc_program_run(p));
    SC_TRY(sc_reading_take(r, LOSSES));
    SC_TRY(sc_reading_take(r, LOGITS));
    SC_TRY(sc_reading_close(r));
    SC_TRY(sc_late_settle_validation(t, sums));
    keep_open(&t->late->eval, r, 0, b);
    return SC_OK;
}
