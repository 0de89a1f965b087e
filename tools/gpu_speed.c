/* gpu_check's timings. */
#include "gpu_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REPETITIONS = 7, WARM = 5 };

typedef struct timing {
    double step, least, host; /* seconds: medians, and the least step */
} timing;

static int ascending(const void *a, const void *b)
{
    const double d = *(const double *)a - *(const double *)b;
    return (d > 0) - (d < 0);
}
static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, ascending);
    return v[n / 2];
}

/* Steps one behind the other, waited for at their end; and single ones on an idle device, of which
 * the time until the calls return is the host's. */
static sc_status time_steps(const gpu_check *c, stepper *s, timing *out)
{
    const int repetitions = c->small ? 1 : REPETITIONS, steps = c->steps;
    double step[REPETITIONS], host[REPETITIONS];
    for (int i = 0; i < (c->small ? 2 : WARM); i++)
        SC_TRY(stepper_step(s));
    SC_TRY(stepper_wait(s));
    for (int r = 0; r < repetitions; r++) {
        double begin = sc_now();
        for (int i = 0; i < steps; i++)
            SC_TRY(stepper_step(s));
        SC_TRY(stepper_wait(s));
        step[r] = (sc_now() - begin) / steps;
        begin = sc_now();
        SC_TRY(stepper_step(s));
        host[r] = sc_now() - begin;
        SC_TRY(stepper_wait(s));
    }
    *out = (timing){.step = median(step, repetitions), .host = median(host, repetitions)};
    out->least = step[0]; /* sorted by now */
    return SC_OK;
}

static sc_status speed_of(gpu_check *c, const step_size *size, bool eager)
{
    step_how how = gpu_how(c, SC_BF16_MIXED);
    stepper s = {0};
    timing t;
    double losses[3];
    how.eager = eager;
    sc_status status = SC_OK;
    const double begin = sc_now();
    SC_TRY_GOTO(stepper_open(size, &how, &s));
    SC_TRY_GOTO(stepper_step(&s));
    SC_TRY_GOTO(stepper_wait(&s));
    const double first = sc_now() - begin;
    SC_TRY_GOTO(time_steps(c, &s, &t));
    SC_TRY_GOTO(stepper_losses(&s, losses));
    char what[80];
    snprintf(what, sizeof what, "step of batch %d, bf16%s", size->batch, eager ? ", no graph" : "");
    if (!isfinite(losses[0]))
        status = sc_fail(SC_ENUMERIC, "the loss is %g", losses[0]);
    else
        gpu_figure(
            what,
            "median %.3f ms, least %.3f ms, %.0f images/s; host %.1f us; the first step %.1f s "
            "after the start",
            t.step * 1e3, t.least * 1e3, size->batch / t.step, t.host * 1e6, first);
done:
    stepper_close(&s);
    return status;
}

void gpu_speed(gpu_check *c)
{
    for (int i = 0; i < c->n_batches; i++)
        for (int eager = 0; eager < 2; eager++) {
            step_size size = c->model;
            size.batch = c->batches[i];
            if (speed_of(c, &size, eager) != SC_OK) {
                char what[80];
                snprintf(what, sizeof what, "speed of batch %d", size.batch);
                gpu_failed(c, what);
            }
        }
}

/* Every op at least as long as its arithmetic or its bytes take, one after the other. */
static double roofline(const gpu_check *c, const sc_profile_report *r)
{
    double seconds = r->adamw_bytes / c->bytes;
    for (int i = 0; i < r->n_nodes; i++)
        seconds += fmax(r->nodes[i].flops / c->flops, r->nodes[i].bytes / c->bytes);
    return seconds / (double)r->steps;
}

/* The report of `steps` profiled steps; free it. */
static sc_status profiled(gpu_check *c, const step_size *size, int steps, sc_profile_report *out)
{
    step_how how = gpu_how(c, SC_BF16_MIXED);
    stepper s = {0};
    how.profile = true;
    sc_status status = SC_OK;
    SC_TRY_GOTO(stepper_open(size, &how, &s));
    for (int i = 0; i < 2; i++)
        SC_TRY_GOTO(stepper_step(&s));
    sc_profile_start(s.profile);
    for (int i = 0; i < steps; i++)
        SC_TRY_GOTO(stepper_step(&s));
    sc_profile_stop(s.profile);
    status = sc_profile_report_make(s.profile, out);
done:
    stepper_close(&s);
    return status;
}
static sc_status profile_of(gpu_check *c, const step_size *size)
{
    step_how how = gpu_how(c, SC_BF16_MIXED);
    sc_profile_report r;
    stepper s = {0};
    timing t;
    sc_text text;
    SC_TRY(profiled(c, size, c->small ? 1 : 5, &r));
    sc_text_init(&text);
    sc_profile_report_text(&r, 12, &text);
    const double least = roofline(c, &r);
    sc_profile_report_free(&r);
    sc_status status = sc_text_status(&text);
    if (status == SC_OK)
        status = stepper_open(size, &how, &s);
    if (status == SC_OK)
        status = time_steps(c, &s, &t);
    stepper_close(&s);
    if (status == SC_OK) {
        char what[80];
        snprintf(what, sizeof what, "roofline of batch %d, bf16", size->batch);
        gpu_figure(what, "%.3f ms at %.0f TFLOP/s and %.2f TB/s; a step takes %.2f times that",
                   least * 1e3, c->flops * 1e-12, c->bytes * 1e-12, t.step / least);
        printf("\n```\n%s```\n\n| check | verdict | figures |\n|---|---|---|\n", text.data);
    }
    sc_text_free(&text);
    return status;
}

void gpu_profile(gpu_check *c)
{
    for (int i = 0; i < c->n_batches; i++) {
        step_size size = c->model;
        size.batch = c->batches[i];
        if (profile_of(c, &size) != SC_OK) {
            char what[80];
            snprintf(what, sizeof what, "profile of batch %d", size.batch);
            gpu_failed(c, what);
        }
    }
}
