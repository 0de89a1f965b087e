/* Training on a device that queues its work: step k is handed over, then the losses of step k - 1
 * are looked at. Two steps are under way at most; nothing is written while one is not accounted
 * for.
 */
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

enum { LOSSES, LOGITS, TEMPERATURE, ENTRIES };

typedef struct late_step {
    sc_reading *reading; /* NULL: there is none */
    int64_t number, rows;
    int32_t *labels; /* [batch] */
} late_step;
struct sc_late {
    sc_reading *full[2], *tail[2];
    int next; /* of these pairs */
    late_step open;
    bool temperature;
};

static sc_status make_pair(sc_late *l, sc_program *p, sc_reading *pair[2])
{
    static const char *const names[ENTRIES] = {"losses", "logits", "temperature"};
    for (int i = 0; p && i < 2; i++)
        SC_TRY(sc_reading_new(p, names, l->temperature ? ENTRIES : TEMPERATURE, &pair[i]));
    return SC_OK;
}

sc_status sc_late_open(sc_trainer *t)
{
    sc_program *programs[] = {t->train.full, t->train.tail};
    if (!sc_program_queues(programs[programs[0] ? 0 : 1]))
        return SC_OK;
    sc_late *l = t->late = sc_alloc(1, sizeof *l);
    if (!l)
        return SC_ENOMEM;
    for (int i = 0; t->o->no_graph && i < 2; i++)
        if (programs[i])
            sc_program_record_nothing(programs[i]);
    l->temperature = t->o->loss.superclip;
    l->open.labels = sc_alloc((size_t)t->batch, sizeof *l->open.labels);
    if (!l->open.labels)
        return SC_ENOMEM;
    SC_TRY(make_pair(l, t->train.full, l->full));
    return make_pair(l, t->train.tail, l->tail);
}

void sc_late_close(sc_late *l)
{
    if (!l)
        return;
    for (int i = 0; i < 2; i++) {
        sc_reading_free(l->full[i]);
        sc_reading_free(l->tail[i]);
    }
    free(l->open.labels);
    free(l);
}

static void widen(const sc_trainer *t, const void *from, int64_t n, double *to)
{
    for (int64_t i = 0; i < n; i++)
        to[i] = t->device->backend->real == SC_F64 ? ((const double *)from)[i]
                                                   : (double)((const float *)from)[i];
}

sc_status sc_late_settle(sc_trainer *t)
{
    sc_late *l = t->late;
    double losses[3], temperature = 1;
    if (!l || !l->open.reading)
        return SC_OK;
    const late_step s = l->open;
    l->open.reading = NULL;
    SC_TRY(sc_reading_wait(s.reading));
    widen(t, sc_reading_values(s.reading, LOSSES), 3, losses);
    widen(t, sc_reading_values(s.reading, LOGITS), s.rows * t->classes, t->logits);
    if (l->temperature)
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
    sc_late *l = t->late;
    sc_reading *r = (p == t->train.full ? l->full : l->tail)[l->next];
    l->next ^= 1;
    SC_TRY(queue_step(t, p, b, adamw, r));
    SC_TRY(sc_late_settle(t));
    memcpy(l->open.labels, b->labels, (size_t)b->rows_global * sizeof *b->labels);
    l->open = (late_step){r, t->state.step + 1, b->rows_global, l->open.labels};
    return SC_OK;
}
