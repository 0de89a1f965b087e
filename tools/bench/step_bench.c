/* step_bench: the whole training step (forward, backward, AdamW) of a model on the CPU backend, on
 * random pixels and tokens, and where its time goes.
 *
 *   step_bench [--image resnet18] [--text clip:ViT-B/32] [--batch 32] [--size 224] [--texts 9]
 *              [--length 20] [--shared 0] [--vocabulary 49408] [--threads 2] [--steps 15]
 * [--precision bf16|fp32]
 *              [--profile N] [--processor-time 0|1]
 *
 * The texts have --length tokens, of which they begin with --shared in common. Prints the median,
 * the least and the memory; --profile N also the N most expensive nodes.
 * --processor-time 1 counts the first thread's processor time: for --threads 1 on a busy machine.
 */
#include "options.h"

#include "superclip/model.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

typedef struct options {
    const char *image, *text, *precision;
    int batch, size, texts, length, shared, vocabulary, threads, steps, profile, processor_time;
} options;

static int read_options(int argc, char **argv, options *o)
{
    *o = (options){"resnet18", "clip:ViT-B/32", "bf16", 32, 224, 9, 20, 0, 49408, 2, 15, 0, 0};
    const bench_option table[] = {
        {"--image", &o->image, NULL},
        {"--text", &o->text, NULL},
        {"--precision", &o->precision, NULL},
        {"--batch", NULL, &o->batch},
        {"--size", NULL, &o->size},
        {"--texts", NULL, &o->texts},
        {"--length", NULL, &o->length},
        {"--vocabulary", NULL, &o->vocabulary},
        {"--shared", NULL, &o->shared},
        {"--threads", NULL, &o->threads},
        {"--steps", NULL, &o->steps},
        {"--profile", NULL, &o->profile},
        {"--processor-time", NULL, &o->processor_time},
    };
    if (bench_read_options("step_bench", argc, argv, table, sizeof table / sizeof *table) != 0)
        return 1;
    if (o->steps < 1 || o->batch < 1 || o->texts < 1 || o->length < 2 || o->threads < 1 ||
        o->shared >= o->length) {
        fprintf(stderr, "step_bench: --steps, --batch, --texts and --threads from 1, --length "
                        "from 2 and above --shared\n");
        return 1;
    }
    return 0;
}

typedef struct bench {
    options o;
    sc_device *d;
    sc_graph *g;
    sc_params *p;
    sc_program *program;
    sc_comm *comm;
    sc_profile *profile; /* NULL without --profile */
    int32_t *tokens, *end;
    sc_text_pack pack;
} bench;

static sc_status make_texts(bench *b)
{
    const options *o = &b->o;
    b->tokens = sc_alloc((size_t)(o->texts * o->length), sizeof *b->tokens);
    b->end = sc_alloc((size_t)o->texts, sizeof *b->end);
    if (!b->tokens || !b->end)
        return SC_ENOMEM;
    uint32_t s = 2;
    for (int i = 0; i < o->texts * o->length; i++)
        b->tokens[i] = i >= o->length && i % o->length < o->shared
                           ? b->tokens[i - o->length]
                           : (int32_t)((s = s * 1664525u + 1013904223u) >> 8) % o->vocabulary;
    for (int i = 0; i < o->texts; i++)
        b->end[i] = o->length - 1;
    return sc_text_pack_make(b->tokens, b->end, o->texts, o->length, &b->pack);
}

static sc_status fill_inputs(bench *b, const sc_model_spec *spec)
{
    const options *o = &b->o;
    size_t pixels = (size_t)o->batch * (size_t)o->size * (size_t)o->size * 3;
    uint8_t *images = sc_alloc(pixels, 1);
    sc_augment *draws = sc_alloc((size_t)o->batch, sizeof *draws);
    int32_t *small = sc_alloc((size_t)(o->texts + o->batch), sizeof *small);
    float *weights = sc_alloc((size_t)o->texts, sizeof *weights);
    sc_status status = SC_ENOMEM;
    if (!images || !draws || !small || !weights)
        goto done;
    uint32_t s = 1;
    for (size_t i = 0; i < pixels; i++)
        images[i] = (uint8_t)((s = s * 1664525u + 1013904223u) >> 24);
    SC_TRY_GOTO(sc_program_write(b->program, "images", images));
    SC_TRY_GOTO(sc_program_write(b->program, "draws", draws));
    SC_TRY_GOTO(sc_model_write_texts(b->program, spec, b->tokens, b->end));
    for (int i = 0; i < o->texts; i++)
        small[i] = i;
    SC_TRY_GOTO(sc_program_write(b->program, "text_class", small));
    for (int i = 0; i < o->batch; i++)
        small[i] = i % o->texts;
    SC_TRY_GOTO(sc_program_write(b->program, "labels", small));
    for (int i = 0; i < o->texts; i++)
        weights[i] = 1;
    status = sc_program_write(b->program, "class_weights", weights);
done:
    free(images);
    free(draws);
    free(small);
    free(weights);
    return status;
}

static sc_status build(bench *b)
{
    const options *o = &b->o;
    sc_device_options device = {o->threads,
                                strcmp(o->precision, "fp32") == 0 ? SC_FP32 : SC_BF16_MIXED, NULL};
    SC_TRY(sc_backend_cpu()->open(&device, &b->d));
    SC_TRY(make_texts(b));
    sc_model_spec spec = {
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
        .pack = &b->pack,
        .temperature = 0.07,
        .loss = {.superclip = true, .class_weight = 1, .contrastive_weight = 1, .tau0 = 0.07}};
    sc_model_io io = {false, false};
    SC_TRY(sc_model_record(&spec, SC_MODEL_TRAIN, &io, &b->g));
    b->comm = sc_comm_single();
    if (!b->comm)
        return SC_ENOMEM;
    SC_TRY(sc_params_create(b->d, b->g, &b->p));
    SC_TRY(sc_params_init(b->p, 42));
    if (o->profile > 0)
        SC_TRY(sc_profile_open(b->d, b->comm, &b->profile));
    const sc_comm *comm = b->profile ? sc_profile_comm(b->profile) : b->comm;
    int64_t rows = o->batch;
    sc_program_desc desc = {.graph = b->g, .rows_local = rows, .rows = &rows, .training = true};
    SC_TRY(sc_programs_compile(b->d, b->p, comm, &desc, 1, &b->program));
    return fill_inputs(b, &spec);
}

static double now(const bench *b)
{
    struct timespec t;
    if (!b->o.processor_time)
        return sc_now();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static sc_status step(bench *b, double seconds[2])
{
    const sc_adamw adamw = {1e-4, 0.9, 0.999, 1e-8, 0.01, 0};
    double t0 = now(b);
    SC_TRY(sc_program_forward(b->program));
    sc_profile_lap(b->profile, SC_TIME_FORWARD);
    double t1 = now(b);
    SC_TRY(sc_program_update(b->program, &adamw));
    sc_profile_lap(b->profile, SC_TIME_BACKWARD);
    sc_profile_step(b->profile);
    seconds[0] = t1 - t0;
    seconds[1] = now(b) - t1;
    return SC_OK;
}

static int ascending(const void *a, const void *b)
{
    double d = *(const double *)a - *(const double *)b;
    return d < 0 ? -1 : d > 0;
}
static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, ascending);
    return v[n / 2];
}

static sc_status print_profile(bench *b)
{
    sc_profile_report r;
    sc_text text;
    sc_profile_stop(b->profile);
    SC_TRY(sc_profile_report_make(b->profile, &r));
    sc_text_init(&text);
    sc_profile_report_text(&r, b->o.profile, &text);
    sc_status status = sc_text_status(&text);
    if (status == SC_OK)
        printf("\n%s", text.data);
    sc_text_free(&text);
    sc_profile_report_free(&r);
    return status;
}

static sc_status measure(bench *b)
{
    const int n = b->o.steps;
    double *t = sc_alloc((size_t)n * 3, sizeof *t), parts[2];
    if (!t)
        return SC_ENOMEM;
    sc_status status = SC_OK;
    for (int i = 0; i < 3; i++) /* the first steps touch their pages */
        SC_TRY_GOTO(step(b, parts));
    if (b->profile)
        sc_profile_start(b->profile);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    for (int i = 0; i < n; i++) {
        SC_TRY_GOTO(step(b, parts));
        for (int k = 0; k < 2; k++)
            t[k * n + i] = parts[k];
        t[2 * n + i] = parts[0] + parts[1];
    }
    getrusage(RUSAGE_SELF, &after);
    float losses[3];
    SC_TRY_GOTO(sc_program_read(b->program, "losses", losses));
    double total = median(t + 2 * n, n);
    sc_program_memory m = sc_program_memory_of(b->program);
    printf("%s\n", b->d->description);
    printf("step: median %.1f ms, least %.1f ms (forward %.1f, backward and update %.1f), %.1f "
           "images/s, loss %.4f\n",
           total * 1e3, t[2 * n] * 1e3, median(t, n) * 1e3, median(t + n, n) * 1e3,
           b->o.batch / total, (double)losses[0]);
    printf("page faults a step: %.1f; memory: activations %.0f, saved %.0f, scratch %.0f, process "
           "%.0f MB\n",
           (double)(after.ru_minflt - before.ru_minflt) / n, (double)m.arena * 1e-6,
           (double)m.saved * 1e-6, (double)m.scratch * 1e-6, (double)after.ru_maxrss * 1e-3);
    if (b->profile)
        status = print_profile(b);
done:
    free(t);
    return status;
}

int main(int argc, char **argv)
{
    bench b = {0};
    sc_backend_cpu_wait_briefly(argv);
    if (read_options(argc, argv, &b.o))
        return 1;
    sc_status status = build(&b);
    if (status == SC_OK)
        status = measure(&b);
    if (status != SC_OK)
        fprintf(stderr, "step_bench: %s: %s\n", sc_status_name(status), sc_message());
    sc_program_free(b.program);
    sc_params_free(b.p);
    sc_profile_close(b.profile);
    sc_graph_free(b.g);
    sc_text_pack_free(&b.pack);
    free(b.tokens);
    free(b.end);
    if (b.comm)
        b.comm->free(b.comm);
    if (b.d)
        b.d->backend->close(b.d);
    return status != SC_OK;
}
