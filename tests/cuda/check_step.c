/* A model, its inputs and its steps. */
#include "check_step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t noise(uint32_t *s)
{
    return (*s = *s * 1664525u + 1013904223u) >> 8;
}

/* Every class has a wave of its own, every picture some noise: a loss that can fall. */
static void draw_picture(uint8_t *to, int side, int class, uint32_t *s)
{
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
            for (int k = 0; k < 3; k++) {
                const double wave = sin((x * (1 + class % 3) + y * (1 + class / 3)) * 0.11 + k);
                to[(y * side + x) * 3 + k] =
                    (uint8_t)(128 + 70 * wave + (double)(noise(s) % 64) - 32);
            }
}

static sc_status write_pictures(stepper *s, int side)
{
    const step_size *o = &s->what;
    const size_t bytes = (size_t)side * (size_t)side * 3;
    uint8_t *images = sc_alloc((size_t)o->batch, bytes);
    sc_augment *draws = sc_alloc((size_t)o->batch, sizeof *draws);
    int32_t *labels = sc_alloc((size_t)o->batch, sizeof *labels);
    sc_status status = SC_ENOMEM;
    uint32_t seed = 7;
    if (!images || !draws || !labels)
        goto done;
    for (int i = 0; i < o->batch; i++) { /* crops and flips: the same bytes on every device */
        labels[i] = i % o->classes;
        draw_picture(images + (size_t)i * bytes, side, labels[i], &seed);
        draws[i].crop_top = (int32_t)(noise(&seed) % (uint32_t)(side - o->size + 1));
        draws[i].crop_left = (int32_t)(noise(&seed) % (uint32_t)(side - o->size + 1));
        draws[i].flip_h = i & 1;
        draws[i].flip_v = i >> 1 & 1;
    }
    SC_TRY_GOTO(sc_program_write(s->program, "images", images));
    SC_TRY_GOTO(sc_program_write(s->program, "draws", draws));
    status = sc_program_write(s->program, "labels", labels);
done:
    free(images);
    free(draws);
    free(labels);
    return status;
}
static sc_status write_texts(stepper *s)
{
    const step_size *o = &s->what;
    const int n = o->classes;
    int32_t *tokens = sc_alloc((size_t)(n * o->length), sizeof *tokens);
    int32_t *small = sc_alloc((size_t)n * 2, sizeof *small);
    float *weights = sc_alloc((size_t)n, sizeof *weights);
    sc_status status = SC_ENOMEM;
    uint32_t seed = 11;
    if (!tokens || !small || !weights)
        goto done;
    for (int t = 0; t < n; t++) { /* start, words, end; of differing lengths */
        const int end = o->length - 1 - t % 3;
        for (int l = 0; l < o->length; l++)
            tokens[t * o->length + l] =
                l == 0     ? o->vocabulary - 2
                : l >= end ? o->vocabulary - 1
                           : (int32_t)(noise(&seed) % (uint32_t)(o->vocabulary - 2));
        small[t] = end;
        small[n + t] = t;
        weights[t] = 0.5f + (float)t / (float)n;
    }
    SC_TRY_GOTO(sc_program_write(s->program, "tokens", tokens));
    SC_TRY_GOTO(sc_program_write(s->program, "text_end", small));
    SC_TRY_GOTO(sc_program_write(s->program, "text_class", small + n));
    status = sc_program_write(s->program, "class_weights", weights);
done:
    free(tokens);
    free(small);
    free(weights);
    return status;
}

sc_status stepper_open(const step_size *what, const step_how *how, stepper *out)
{
    const sc_device_options o = {how->threads, how->precision, how->log};
    const int64_t rows = what->batch;
    const int side = what->size * 11 / 10;
    const sc_model_spec spec = {
        .image_encoder = what->image,
        .text_encoder = what->text,
        .embed_dim = what->embed,
        .img_size = what->size,
        .train_size = side,
        .vocabulary = what->vocabulary,
        .context = 77,
        .classes = what->classes,
        .texts = what->classes,
        .text_length = what->length,
        .temperature = 0.07,
        .loss = {.superclip = true, .class_weight = 1, .contrastive_weight = 1, .tau0 = 0.07}};
    const sc_model_io io = {.train_rows = true};
    *out = (stepper){.what = *what};
    SC_TRY(how->backend->open(&o, &out->d));
    if (how->precision == SC_BF16_MIXED && out->d->precision != SC_BF16_MIXED)
        return sc_fail(SC_EUNSUPPORTED, "%s does not compute in bf16", out->d->description);
    SC_TRY(sc_model_record(&spec, SC_MODEL_TRAIN, &io, &out->g));
    SC_TRY(sc_params_create(out->d, out->g, &out->p));
    SC_TRY(sc_params_init(out->p, 42));
    out->alone = sc_comm_single();
    if (out->alone == NULL)
        return SC_ENOMEM;
    const sc_comm *comm = out->alone;
    if (how->profile) {
        SC_TRY(sc_profile_open(out->d, out->alone, &out->profile));
        comm = sc_profile_comm(out->profile);
    }
    const sc_program_desc desc = {
        .graph = out->g, .rows_local = rows, .rows = &rows, .training = true};
    SC_TRY(sc_programs_compile(out->d, out->p, comm, &desc, 1, &out->program));
    if (how->eager)
        sc_program_record_nothing(out->program);
    SC_TRY(write_texts(out));
    return write_pictures(out, side);
}
void stepper_close(stepper *s)
{
    sc_program_free(s->program);
    sc_params_free(s->p);
    sc_profile_close(s->profile);
    sc_graph_free(s->g);
    if (s->alone)
        s->alone->free(s->alone);
    if (s->d)
        s->d->backend->close(s->d);
    *s = (stepper){0};
}

sc_status stepper_step(stepper *s)
{
    const sc_adamw adamw = {1e-3, 0.9, 0.999, 1e-8, 0.01, 0};
    if (!s->profile)
        return sc_program_step(s->program, &adamw);
    SC_TRY(sc_program_forward(s->program));
    sc_profile_lap(s->profile, SC_TIME_FORWARD);
    SC_TRY(sc_program_update(s->program, &adamw));
    sc_profile_lap(s->profile, SC_TIME_BACKWARD);
    sc_profile_step(s->profile);
    return SC_OK;
}
sc_status stepper_wait(stepper *s)
{
    return s->d->backend->sync ? s->d->backend->sync(s->d) : SC_OK;
}
sc_status stepper_losses(stepper *s, double losses[3])
{
    float host[3];
    SC_TRY(sc_program_read(s->program, "losses", host));
    for (int i = 0; i < 3; i++)
        losses[i] = (double)host[i];
    return SC_OK;
}
sc_status stepper_gradients(stepper *s, sc_tensor_set *gradients, double losses[3])
{
    SC_TRY(sc_program_forward(s->program));
    SC_TRY(sc_program_backward(s->program));
    SC_TRY(stepper_losses(s, losses));
    return sc_params_export_gradients(s->p, gradients);
}

typedef struct squares {
    double difference, size;
} squares;
static squares measure(const sc_tensor *a, const sc_tensor *b)
{
    squares s = {0, 0};
    for (int64_t i = 0; i < sc_shape_count(&b->shape); i++) {
        const double x = sc_tensor_get(a, i), y = sc_tensor_get(b, i);
        s.difference += (x - y) * (x - y);
        s.size += y * y;
    }
    return s;
}
/* Of a tensor, against its own length or a hundredth of the whole's; NaN counts as far. */
static double distance(const squares *s, const squares *whole)
{
    const double e = sqrt(s->difference) / fmax(sqrt(s->size), 1e-2 * sqrt(whole->size));
    return isnan(e) ? INFINITY : e;
}
static squares size_of_all(const sc_tensor_set *set)
{
    squares all = {0, 0};
    for (size_t i = 0; i < set->count; i++)
        all.size += measure(&set->items[i], &set->items[i]).size;
    return all;
}
sc_status gradients_apart(const sc_tensor_set *got, const sc_tensor_set *want,
                          gradient_distance *out)
{
    *out = (gradient_distance){.worst = -1};
    if (got->count != want->count)
        return sc_fail(SC_EINTERNAL, "%zu gradients, not %zu", got->count, want->count);
    squares total = size_of_all(want);
    for (size_t i = 0; i < want->count; i++) {
        const sc_tensor *b = &want->items[i], *a = sc_tensor_set_find(got, b->name);
        if (a == NULL)
            return sc_fail(SC_EINTERNAL, "no gradient of %s", b->name);
        const squares s = measure(a, b);
        const double e = distance(&s, &total);
        total.difference += s.difference;
        if (e > out->worst) {
            out->worst = e;
            snprintf(out->name, sizeof out->name, "%s", b->name);
        }
    }
    out->whole = sqrt(total.difference) / sqrt(total.size);
    if (!(out->whole <= HUGE_VAL))
        out->whole = INFINITY;
    return SC_OK;
}
void gradients_off(const sc_tensor_set *got, const sc_tensor_set *want, double bound, int most,
                   sc_text *out)
{
    const squares total = size_of_all(want);
    for (size_t i = 0; i < want->count && most > 0; i++) {
        const sc_tensor *b = &want->items[i], *a = sc_tensor_set_find(got, b->name);
        const squares s = a ? measure(a, b) : (squares){INFINITY, 0};
        const double e = distance(&s, &total);
        if (e <= bound)
            continue;
        sc_text_putf(out, "%s %.1e, ", b->name, e);
        most--;
    }
}
