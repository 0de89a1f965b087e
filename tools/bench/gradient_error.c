/* gradient_error: how far the gradients of one training step on the CPU backend are from the double
 * reference, in fp32, in bf16 with direct convolutions alone and in bf16 as the trainer runs it.
 *
 *   gradient_error [--image resnet18] [--text clip:ViT-B/32] [--batch 8] [--size 96] [--texts 9]
 *                  [--length 12] [--vocabulary 514] [--warm 10] [--smooth 1] [--seed 1]
 *                  [--save FILE]
 *
 * The parameters are the initial ones after --warm steps in fp32. --smooth 1: pictures of soft
 * blobs with a little noise, 0: noise. Distances are |g - ref| / |ref|: of the whole gradient, of
 * either tower's, the mean over tensors and the worst tensor. --save writes parameters, inputs and
 * the reference gradients as safetensors; gradient_error.py has PyTorch repeat the step from them.
 */
#include "options.h"

#include "superclip/model.h"
#include "superclip/weights.h"

#include "winograd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct options {
    const char *image, *text, *save;
    int batch, size, texts, length, vocabulary, warm, smooth, seed;
} options;

static int read_options(int argc, char **argv, options *o)
{
    *o = (options){"resnet18", "clip:ViT-B/32", NULL, 8, 96, 9, 12, 514, 10, 1, 1};
    const bench_option table[] = {
        {"--image", &o->image, NULL},   {"--text", &o->text, NULL},
        {"--save", &o->save, NULL},     {"--batch", NULL, &o->batch},
        {"--size", NULL, &o->size},     {"--texts", NULL, &o->texts},
        {"--warm", NULL, &o->warm},     {"--vocabulary", NULL, &o->vocabulary},
        {"--seed", NULL, &o->seed},     {"--length", NULL, &o->length},
        {"--smooth", NULL, &o->smooth},
    };
    if (bench_read_options("gradient_error", argc, argv, table, sizeof table / sizeof *table) != 0)
        return 1;
    if (o->batch < 2 || o->size < 16 || o->texts < 2 || o->length < 3 || o->length > 77 ||
        o->vocabulary < 514 || o->warm < 0) {
        fprintf(stderr,
                "gradient_error: --batch and --texts from 2, --size from 16, --length 3 to 77, "
                "--vocabulary from 514, --warm from 0\n");
        return 1;
    }
    return 0;
}

/* ---- inputs ---- */
typedef struct inputs {
    sc_tensor_set set; /* images, tokens, text_end, text_class, labels */
} inputs;

static uint32_t noise(uint32_t *s)
{
    return (*s = *s * 1664525u + 1013904223u) >> 8;
}
static double uniform(uint32_t *s)
{
    return noise(s) * 0x1p-24;
}
static void paint(const options *o, uint32_t *s, uint8_t *pixels)
{
    enum { BLOBS = 12 };
    double x[BLOBS], y[BLOBS], width[BLOBS], colour[BLOBS][3];
    for (int b = 0; b < BLOBS; b++) {
        x[b] = uniform(s) * o->size;
        y[b] = uniform(s) * o->size;
        width[b] = (0.04 + 0.3 * uniform(s)) * o->size;
        for (int c = 0; c < 3; c++)
            colour[b][c] = 300 * uniform(s) - 150;
    }
    for (int i = 0; i < o->size * o->size; i++)
        for (int c = 0; c < 3; c++) {
            double v = o->smooth ? 110 + 20 * uniform(s) : 256 * uniform(s);
            for (int b = 0; o->smooth && b < BLOBS; b++)
                v += colour[b][c] * exp(-(pow(i % o->size - x[b], 2) + pow(i / o->size - y[b], 2)) /
                                        (2 * width[b] * width[b]));
            pixels[3 * i + c] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
}
static sc_status add(sc_tensor_set *set, const char *name, sc_dtype dtype, sc_shape shape,
                     void **data)
{
    sc_tensor t;
    SC_TRY(sc_tensor_new(name, dtype, shape, &t));
    *data = t.data;
    sc_status status = sc_tensor_set_add(set, &t);
    if (status != SC_OK)
        sc_tensor_free(&t);
    return status;
}
static sc_status make_inputs(const options *o, sc_tensor_set *set)
{
    void *p;
    uint32_t s = (uint32_t)o->seed;
    SC_TRY(add(set, "images", SC_U8, (sc_shape){4, {o->batch, o->size, o->size, 3}}, &p));
    for (int i = 0; i < o->batch; i++)
        paint(o, &s, (uint8_t *)p + (size_t)i * (size_t)(o->size * o->size * 3));
    SC_TRY(add(set, "tokens", SC_I32, (sc_shape){2, {o->texts, o->length}}, &p));
    for (int i = 0; i < o->texts * o->length; i++)
        ((int32_t *)p)[i] = i % o->length == 0               ? o->vocabulary - 2
                            : i % o->length == o->length - 1 ? o->vocabulary - 1
                                                             : (int32_t)(noise(&s) % 512);
    SC_TRY(add(set, "text_end", SC_I32, (sc_shape){1, {o->texts}}, &p));
    for (int i = 0; i < o->texts; i++)
        ((int32_t *)p)[i] = o->length - 1;
    SC_TRY(add(set, "text_class", SC_I32, (sc_shape){1, {o->texts}}, &p));
    for (int i = 0; i < o->texts; i++)
        ((int32_t *)p)[i] = i;
    SC_TRY(add(set, "labels", SC_I32, (sc_shape){1, {o->batch}}, &p));
    for (int i = 0; i < o->batch; i++)
        ((int32_t *)p)[i] = i % o->texts;
    return SC_OK;
}
static sc_status write_inputs(const options *o, const sc_tensor_set *set, sc_program *p, bool wide)
{
    for (size_t i = 0; i < set->count; i++)
        SC_TRY(sc_program_write(p, set->items[i].name, set->items[i].data));
    size_t n = (size_t)(o->batch > o->texts ? o->batch : o->texts);
    sc_augment *draws = sc_alloc(n, sizeof *draws); /* zeros: no change */
    double *one = sc_alloc(n, sizeof *one);
    sc_status status = SC_ENOMEM;
    if (!draws || !one)
        goto done;
    for (size_t i = 0; i < n; i++)
        if (wide)
            one[i] = 1;
        else
            ((float *)one)[i] = 1;
    SC_TRY_GOTO(sc_program_write(p, "draws", draws));
    status = sc_program_write(p, "class_weights", one);
done:
    free(draws);
    free(one);
    return status;
}

/* ---- a step ---- */
typedef struct run {
    const char *name;
    const sc_backend *backend;
    sc_precision_mode precision;
    bool direct;
    double loss;
    sc_tensor_set gradients;
} run;

typedef struct machine {
    sc_device *d;
    sc_graph *g;
    sc_params *p;
    sc_program *program;
    sc_comm *comm;
} machine;

static sc_status open_machine(const options *o, const run *r, machine *m)
{
    const sc_device_options device = {2, r->precision, NULL};
    SC_TRY(r->backend->open(&device, &m->d));
    if (m->d->precision != r->precision)
        return sc_fail(SC_EUNSUPPORTED, "this processor has no bfloat16 instructions");
    if (r->direct)
        cpu_wino_off(m->d, true);
    const sc_model_spec spec = {
        .image_encoder = o->image,
        .text_encoder = o->text,
        .embed_dim = 512,
        .img_size = o->size,
        .train_size = o->size,
        .vocabulary = o->vocabulary,
        .context = 77,
        .classes = o->texts,
        .texts = o->texts,
        .text_length = o->length,
        .temperature = 0.07,
        .loss = {.superclip = true, .class_weight = 1, .contrastive_weight = 1, .tau0 = 0.07}};
    const sc_model_io io = {false, false};
    SC_TRY(sc_model_record(&spec, SC_MODEL_TRAIN, &io, &m->g));
    SC_TRY(sc_params_create(m->d, m->g, &m->p));
    m->comm = sc_comm_single();
    if (!m->comm)
        return SC_ENOMEM;
    const int64_t rows = o->batch;
    const sc_program_desc desc = {
        .graph = m->g, .rows_local = rows, .rows = &rows, .training = true};
    return sc_programs_compile(m->d, m->p, m->comm, &desc, 1, &m->program);
}
static void close_machine(machine *m)
{
    sc_program_free(m->program);
    sc_params_free(m->p);
    sc_graph_free(m->g);
    if (m->comm)
        m->comm->free(m->comm);
    if (m->d)
        m->d->backend->close(m->d);
}
static sc_status warm(const options *o, const sc_tensor_set *in, sc_tensor_set *parameters)
{
    const run fp32 = {.backend = sc_backend_cpu(), .precision = SC_FP32};
    const sc_adamw adamw = {1e-3, 0.9, 0.999, 1e-8, 0.01, 0};
    machine m = {0};
    sc_status status = SC_OK;
    SC_TRY_GOTO(open_machine(o, &fp32, &m));
    SC_TRY_GOTO(sc_params_init(m.p, 42));
    SC_TRY_GOTO(write_inputs(o, in, m.program, false));
    for (int i = 0; i < o->warm; i++) {
        SC_TRY_GOTO(sc_program_forward(m.program));
        SC_TRY_GOTO(sc_program_backward(m.program));
        SC_TRY_GOTO(sc_params_update(m.p, &adamw));
    }
    status = sc_params_export(m.p, parameters);
done:
    close_machine(&m);
    return status;
}
static sc_status step(const options *o, const sc_tensor_set *in, const sc_tensor_set *parameters,
                      run *r)
{
    const bool wide = r->backend->real == SC_F64;
    machine m = {0};
    double losses[3];
    sc_status status = SC_OK;
    SC_TRY_GOTO(open_machine(o, r, &m));
    SC_TRY_GOTO(sc_params_import(m.p, parameters));
    SC_TRY_GOTO(write_inputs(o, in, m.program, wide));
    SC_TRY_GOTO(sc_program_forward(m.program));
    SC_TRY_GOTO(sc_program_backward(m.program));
    SC_TRY_GOTO(sc_program_read(m.program, "losses", losses));
    float narrow;
    memcpy(&narrow, losses, sizeof narrow);
    r->loss = wide ? losses[0] : (double)narrow;
    status = sc_params_export_gradients(m.p, &r->gradients);
done:
    close_machine(&m);
    return status;
}

/* ---- distances ---- */
typedef struct distance {
    double difference, size; /* squared */
} distance;
static double relative(distance d)
{
    return d.size > 0 ? sqrt(d.difference / d.size) : 0;
}
static void gather(distance *sum, distance d)
{
    sum->difference += d.difference;
    sum->size += d.size;
}
static sc_status report(const run *r, const run *ref)
{
    distance whole = {0}, image = {0}, text = {0};
    double sum = 0, worst = -1;
    const char *name = "";
    for (size_t i = 0; i < ref->gradients.count; i++) {
        const sc_tensor *want = &ref->gradients.items[i];
        const sc_tensor *got = sc_tensor_set_find(&r->gradients, want->name);
        if (!got)
            return sc_fail(SC_EINTERNAL, "%s: no gradient of %s", r->name, want->name);
        distance d = {0};
        for (int64_t k = 0; k < sc_shape_count(&want->shape); k++) {
            double a = sc_tensor_get(got, k), b = sc_tensor_get(want, k);
            d.difference += (a - b) * (a - b);
            d.size += b * b;
        }
        gather(&whole, d);
        gather(strncmp(want->name, "image_", 6) == 0 ? &image : &text, d);
        sum += relative(d);
        if (!(relative(d) <= worst)) {
            worst = relative(d);
            name = want->name;
        }
    }
    printf("%-16s %9.2e  %8.2e  %8.2e  %8.2e  %8.2e  %8.2e %s\n", r->name, r->loss - ref->loss,
           relative(whole), relative(image), relative(text), sum / (double)ref->gradients.count,
           worst, name);
    return SC_OK;
}

static sc_status add_all(sc_tensor_set *to, const char *prefix, const sc_tensor_set *from)
{
    for (size_t i = 0; i < from->count; i++) {
        const sc_tensor *t = &from->items[i];
        char *name = sc_format("%s%s", prefix, t->name);
        void *data;
        sc_status status = name ? add(to, name, t->dtype, t->shape, &data) : SC_ENOMEM;
        free(name);
        SC_TRY(status);
        memcpy(data, t->data, sc_tensor_bytes(t));
    }
    return SC_OK;
}
static sc_status save(const options *o, const sc_tensor_set *in, const sc_tensor_set *parameters,
                      const run *ref)
{
    char loss[32];
    snprintf(loss, sizeof loss, "%.17g", ref->loss);
    const char *metadata[] = {
        "image_encoder", o->image, "text_encoder", o->text, "loss", loss, NULL};
    sc_tensor_set all = {0};
    sc_status status = SC_OK;
    SC_TRY_GOTO(add_all(&all, "", in));
    SC_TRY_GOTO(add_all(&all, "param.", parameters));
    SC_TRY_GOTO(add_all(&all, "grad.", &ref->gradients));
    status = sc_safetensors_save(o->save, &all, metadata);
done:
    sc_tensor_set_free(&all);
    return status;
}

int main(int argc, char **argv)
{
    options o;
    if (read_options(argc, argv, &o))
        return 1;
    run runs[] = {
        {.name = "reference", .backend = sc_backend_ref(), .precision = SC_FP64},
        {.name = "fp32", .backend = sc_backend_cpu(), .precision = SC_FP32},
        {.name = "bf16, direct",
         .backend = sc_backend_cpu(),
         .precision = SC_BF16_MIXED,
         .direct = true},
        {.name = "bf16", .backend = sc_backend_cpu(), .precision = SC_BF16_MIXED},
    };
    const size_t n = sizeof runs / sizeof *runs;
    sc_tensor_set in = {0}, parameters = {0};
    sc_status status = SC_OK;
    SC_TRY_GOTO(make_inputs(&o, &in));
    SC_TRY_GOTO(warm(&o, &in, &parameters));
    for (size_t i = 0; i < n; i++) {
        SC_TRY_GOTO(step(&o, &in, &parameters, &runs[i]));
        if (i == 0)
            printf("%-16s %9s  %8s  %8s  %8s  %8s  %8s\n", "distance of", "loss", "whole", "image",
                   "text", "mean", "worst");
        else
            SC_TRY_GOTO(report(&runs[i], &runs[0]));
        fflush(stdout);
    }
    if (o.save)
        SC_TRY_GOTO(save(&o, &in, &parameters, &runs[0]));
done:
    if (status != SC_OK)
        fprintf(stderr, "gradient_error: %s: %s\n", sc_status_name(status), sc_message());
    for (size_t i = 0; i < n; i++)
        sc_tensor_set_free(&runs[i].gradients);
    sc_tensor_set_free(&in);
    sc_tensor_set_free(&parameters);
    return status != SC_OK;
}
