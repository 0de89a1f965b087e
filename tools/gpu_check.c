/* gpu_check: does the CUDA backend compute on this machine's GPU what it has to, and how fast? The
 * report's rows go to standard output as markdown; tools/gpu_check.sh runs it stage by stage.
 *
 *   gpu_check [STAGE...] [options]
 *
 *   device     the device, and what is free in its memory
 *   libraries  cuDNN and cuBLASLt: which files they are, and that they compute
 *   ops        every row of the op table against `ref`: fp32 and bf16; forward, backward,
 *              accumulating, evaluation; each twice with the same bytes
 *   step       losses and gradients of a whole step against the CPU backend
 *   same       the same seed twice, recorded and not: the same bytes
 *   speed      times of a step and of the host in it
 *   profile    where the time goes, and the step's share of the roofline
 */
#include "gpu_check.h"

#include "check_ops.h"
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const step_size full = {"resnet18", "clip:ViT-B/32", 32, 224, 9, 12, 49408, 512},
                       small = {"resnet-tiny", "clip:tiny", 6, 64, 4, 6, 514, 64};

/* ---- rows of the report ------------------------------------------------------------------------
 */
static void put_row(const char *what, const char *verdict, const char *format, va_list a)
{
    char words[600];
    vsnprintf(words, sizeof words, format, a);
    for (char *p = words; *p; p++) /* a bar would end the cell */
        if (*p == '|')
            *p = '/';
    printf("| %s | %s | %s |\n", what, verdict, words);
    fflush(stdout); /* a hang further on must not take it along */
}
void gpu_row(gpu_check *c, bool passed, const char *what, const char *format, ...)
{
    va_list a;
    va_start(a, format);
    put_row(what, passed ? "PASS" : "FAIL", format, a);
    va_end(a);
    c->failures += !passed;
}
void gpu_failed(gpu_check *c, const char *what)
{
    gpu_row(c, false, what, "%s", sc_message());
}
void gpu_figure(const char *what, const char *format, ...)
{
    va_list a;
    va_start(a, format);
    put_row(what, "measured", format, a);
    va_end(a);
}
const char *gpu_precision(sc_precision_mode p)
{
    return p == SC_FP32 ? "fp32" : "bf16";
}

static void quiet(void *ctx, sc_log_level level, const char *line)
{
    (void)ctx;
    if (level != SC_LOG_INFO)
        fprintf(stderr, "gpu_check: %s\n", line);
}
static const sc_log warnings = {quiet, NULL};
step_how gpu_how(const gpu_check *c, sc_precision_mode p)
{
    return (step_how){.backend = c->cuda, .precision = p, .threads = c->threads, .log = &warnings};
}

/* ---- stages ------------------------------------------------------------------------------------
 */
static void check_device(gpu_check *c)
{
    const sc_device_options o = {c->threads, SC_BF16_MIXED, &warnings};
    sc_device *d = NULL;
    sc_device_memory m = {0};
    sc_status status = c->cuda->open(&o, &d);
    if (status == SC_OK && c->cuda->memory)
        status = c->cuda->memory(d, &m);
    if (status == SC_OK)
        gpu_row(c, d->precision == SC_BF16_MIXED, "device", "%s; %.1f of %.1f GB free",
                d->description, (double)m.free * 1e-9, (double)m.total * 1e-9);
    else
        gpu_failed(c, "device");
    if (d)
        c->cuda->close(d);
}

static const sc_precision_mode precisions[] = {SC_FP32, SC_BF16_MIXED};

/* The rows of one op in one precision, over one device. */
static void check_op(gpu_check *c, sc_op op, sc_precision_mode precision)
{
    const sc_device_options o = {c->threads, precision, &warnings};
    size_t count[2];
    const op_case *table[2] = {op_cases(&count[0]), check_larger(&count[1])};
    case_run how = {.backend = c->cuda, .precision = precision, .threads = c->threads};
    char what[80];
    double worst = 0;
    int rows = 0, bad = 0;
    snprintf(what, sizeof what, "%s, %s", sc_op_name(op), gpu_precision(precision));
    if (c->cuda->open(&o, &how.device) != SC_OK) {
        gpu_failed(c, what);
        return;
    }
    for (int t = 0; t < (c->small ? 1 : 2); t++)
        for (size_t i = 0; i < count[t]; i++) {
            if (table[t][i].op != op)
                continue;
            rows++;
            if (check_modes(&table[t][i], how, NULL, &worst) == SC_OK)
                continue;
            bad++;
            gpu_failed(c, what);
        }
    if (rows > 0)
        gpu_row(c, bad == 0, what, "%d of %d rows; the worst error is %.2f of the tolerance %.1e",
                rows - bad, rows, worst, check_tolerance(precision));
    c->cuda->close(how.device);
}
static void check_ops(gpu_check *c)
{
    for (int op = 0; op < SC_OP_COUNT; op++)
        if (!c->op || strcmp(c->op, sc_op_name((sc_op)op)) == 0)
            for (int k = 0; k < 2; k++)
                check_op(c, (sc_op)op, precisions[k]);
}

static sc_status gradients_of(const step_size *size, const step_how *how, sc_tensor_set *out,
                              double losses[3])
{
    stepper s = {0};
    sc_status status = stepper_open(size, how, &s);
    if (status == SC_OK)
        status = stepper_gradients(&s, out, losses);
    stepper_close(&s);
    return status;
}
typedef struct step_bounds {
    double whole, worst, loss;
} step_bounds;
/* Rounding flips ReLUs and maxima, and BatchNorm and the temperature's 1/0.07 make it larger: how
 * much depends on the step. The yardstick is the CPU's own bf16 gradient against its fp32 one: bf16
 * may be twice as far; fp32 a twentieth (flips go with the root of the rounding error, of which
 * fp32 has 2^-16; measured on CPUs: 1/85). */
static step_bounds bounds_of(sc_precision_mode p, const gradient_distance *cpu)
{
    if (p == SC_FP32)
        return (step_bounds){fmax(1e-3, cpu->whole / 20), fmax(5e-3, cpu->worst / 20), 1e-4};
    return (step_bounds){fmax(0.05, 2 * cpu->whole), fmax(0.1, 2 * cpu->worst), 0.05};
}
/* What a GPU computed against the CPU's fp32. */
static bool judge_step(gpu_check *c, const char *what, const step_bounds *b,
                       const gradient_distance *far, const double losses[3], const double wanted[3])
{
    double off = 0;
    for (int i = 0; i < 3; i++) {
        const double e = fabs(losses[i] - wanted[i]) / fmax(fabs(wanted[0]), 0.1);
        off = e <= off ? off : isnan(e) ? INFINITY : e;
    }
    const bool good = far->whole <= b->whole && far->worst <= b->worst && off <= b->loss;
    gpu_row(c, good, what,
            "%s + %s, batch %d: gradient off by %.1e (bound %.1e), worst tensor %s by %.1e (%.1e), "
            "losses by %.1e (%.0e); loss %.4f",
            c->model.image, c->model.text, c->model.batch, far->whole, b->whole, far->name,
            far->worst, b->worst, off, b->loss, losses[0]);
    return good;
}
/* Where it goes wrong: the gradients that are off, in the order of the model. */
static void tell_tensors(const char *what, const sc_tensor_set *got, const sc_tensor_set *want,
                         double bound)
{
    sc_text t;
    sc_text_init(&t);
    gradients_off(got, want, bound, 10, &t);
    gpu_figure(what, "off by more than %.1e: %s", bound, t.data ? t.data : "");
    sc_text_free(&t);
}
static void check_step(gpu_check *c)
{
    step_how judge = gpu_how(c, SC_FP32);
    sc_tensor_set want = {0}, rounded = {0};
    gradient_distance cpu = {0.35, 0.7, ""}; /* where no CPU computes in bf16 */
    double wanted[3], losses[3];
    judge.backend = sc_backend_cpu();
    sc_status status = gradients_of(&c->model, &judge, &want, wanted);
    judge.precision = SC_BF16_MIXED;
    if (status == SC_OK) {
        status = gradients_of(&c->model, &judge, &rounded, losses);
        if (status == SC_OK)
            status = gradients_apart(&rounded, &want, &cpu);
        else if (status == SC_EUNSUPPORTED)
            status = SC_OK;
        sc_tensor_set_free(&rounded);
    }
    if (status != SC_OK)
        gpu_failed(c, "whole step on the CPU");
    for (int k = 0; k < 2 && status == SC_OK; k++) {
        const step_how how = gpu_how(c, precisions[k]);
        const step_bounds bounds = bounds_of(precisions[k], &cpu);
        sc_tensor_set got = {0};
        gradient_distance far;
        char what[80];
        snprintf(what, sizeof what, "whole step, %s, against the CPU",
                 gpu_precision(precisions[k]));
        if (gradients_of(&c->model, &how, &got, losses) != SC_OK ||
            gradients_apart(&got, &want, &far) != SC_OK)
            gpu_failed(c, what);
        else if (!judge_step(c, what, &bounds, &far, losses, wanted))
            tell_tensors(what, &got, &want, bounds.worst);
        sc_tensor_set_free(&got);
    }
    sc_tensor_set_free(&want);
}

/* A checksum of all parameters and the loss after a few steps. */
static sc_status few_steps(const step_size *size, int steps, const step_how *how, uint32_t *sum,
                           double *first, double *last)
{
    stepper s = {0};
    double losses[3];
    sc_status status = SC_OK;
    SC_TRY_GOTO(stepper_open(size, how, &s));
    for (int k = 0; k < steps; k++) {
        SC_TRY_GOTO(stepper_step(&s));
        if (k > 0 && k < steps - 1)
            continue;
        SC_TRY_GOTO(stepper_losses(&s, losses));
        *(k == 0 ? first : last) = losses[0];
    }
    *sum = sc_params_checksum(s.p);
done:
    stepper_close(&s);
    return status;
}
static void check_same(gpu_check *c)
{
    const int steps = c->small ? 3 : 8;
    for (int k = 0; k < 2; k++) {
        step_how how = gpu_how(c, precisions[k]);
        uint32_t sums[3];
        double first[3], last[3];
        char what[80];
        sc_status status = SC_OK;
        snprintf(what, sizeof what, "the same seed again, %s", gpu_precision(precisions[k]));
        for (int i = 0; i < 3 && status == SC_OK; i++) {
            how.eager = i == 2;
            status = few_steps(&c->model, steps, &how, &sums[i], &first[i], &last[i]);
        }
        if (status != SC_OK) {
            gpu_failed(c, what);
            continue;
        }
        gpu_row(c, sums[0] == sums[1], what, "%d steps end in parameters %08x and %08x", steps,
                sums[0], sums[1]);
        snprintf(what, sizeof what, "graph and no graph, %s", gpu_precision(precisions[k]));
        gpu_row(c, sums[0] == sums[2], what, "%d steps end in parameters %08x and %08x", steps,
                sums[0], sums[2]);
        snprintf(what, sizeof what, "the loss falls, %s", gpu_precision(precisions[k]));
        gpu_row(c, isfinite(first[0]) && last[0] < first[0], what,
                "%.4f at first, %.4f after %d steps", first[0], last[0], steps);
    }
}

/* ---- the command line --------------------------------------------------------------------------
 */
static const struct {
    const char *name;
    void (*run)(gpu_check *c);
} stages[] = {{"device", check_device}, {"libraries", gpu_libraries}, {"ops", check_ops},
              {"step", check_step},     {"same", check_same},         {"speed", gpu_speed},
              {"profile", gpu_profile}};
enum { STAGES = sizeof stages / sizeof *stages };

enum {
    OPTION_OP,
    OPTION_LIST,
    OPTION_SMALL,
    OPTION_STEPS,
    OPTION_BATCH,
    OPTION_TFLOPS,
    OPTION_TBYTES,
    OPTION_HELP
};
static const cli_option options[] = {{"--op", CLI_VALUE, NULL},     {"--list-ops", CLI_NONE, NULL},
                                     {"--small", CLI_NONE, NULL},   {"--steps", CLI_VALUE, NULL},
                                     {"--batch", CLI_VALUE, NULL},  {"--tflops", CLI_VALUE, NULL},
                                     {"--tbytes", CLI_VALUE, NULL}, {"--help", CLI_NONE, NULL}};
typedef struct wishes {
    gpu_check *c;
    bool stage[STAGES], list, help;
} wishes;

static sc_status take_rate(const char *option, const char *text, double *out)
{
    char *end;
    const double v = strtod(text, &end);
    if (*text == '\0' || *end != '\0' || !(v > 0 && v < 1e6))
        return sc_fail(SC_EUSAGE, "%s %s: it has to be a number above 0", option, text);
    *out = v * 1e12;
    return SC_OK;
}
static sc_status take_stage(wishes *w, const char *word)
{
    for (int i = 0; i < STAGES; i++)
        if (strcmp(word, stages[i].name) == 0) {
            w->stage[i] = true;
            return SC_OK;
        }
    return sc_fail(SC_EUSAGE,
                   "'%s' is no stage; there are device, libraries, ops, step, same, speed, profile",
                   word);
}
static sc_status take(void *ctx, int option, const char *value)
{
    wishes *w = ctx;
    gpu_check *c = w->c;
    switch (option) {
    case OPTION_OP:
        for (int op = 0; op < SC_OP_COUNT; op++)
            if (strcmp(value, sc_op_name((sc_op)op)) == 0) {
                c->op = value;
                return SC_OK;
            }
        return sc_fail(SC_EUSAGE, "--op %s: no such op; --list-ops has them", value);
    case OPTION_LIST:
        w->list = true;
        return SC_OK;
    case OPTION_SMALL:
        c->small = true;
        c->model = small;
        return SC_OK;
    case OPTION_STEPS:
        return cli_int("--steps", value, 1, 100000, &c->steps);
    case OPTION_BATCH:
        if (c->n_batches == GPU_CHECK_BATCHES)
            return sc_fail(SC_EUSAGE, "--batch: at most %d of them", GPU_CHECK_BATCHES);
        return cli_int("--batch", value, 2, 65536, &c->batches[c->n_batches++]);
    case OPTION_TFLOPS:
        return take_rate("--tflops", value, &c->flops);
    case OPTION_TBYTES:
        return take_rate("--tbytes", value, &c->bytes);
    case OPTION_HELP:
        w->help = true;
        return SC_OK;
    default:
        return take_stage(w, value);
    }
}

static void help(void)
{
    printf("usage: gpu_check [STAGE...] [options]\n"
           "  device libraries ops step same speed profile   what to check; all without a name\n"
           "  --op NAME      of the ops, this one; --list-ops names them\n"
           "  --batch N      batch to time, may be given again (32 and 256)\n"
           "  --steps N      steps in a timed row (50)\n"
           "  --tflops X, --tbytes X   what the device does at most: 10^12 FLOP (bf16) and bytes a "
           "second\n                 (790 and 4.3, an H200)\n"
           "  --small        a small model: does the check itself work?\n"
           "Rows of markdown on standard output. Exit: 0 all passed, 1 something failed or no "
           "device.\n");
}

int main(int argc, char **argv)
{
    gpu_check c = {.model = full, .steps = 50, .flops = 790e12, .bytes = 4.3e12};
    wishes w = {.c = &c};
    bool any = false;
    if (cli_parse("gpu_check", options, sizeof options / sizeof *options, argc, argv, take, &w) !=
        SC_OK) {
        fprintf(stderr, "gpu_check: error: %s\n", sc_message());
        return 1;
    }
    if (w.help || w.list) {
        if (w.help)
            help();
        for (int op = 0; op < SC_OP_COUNT && w.list; op++)
            puts(sc_op_name((sc_op)op));
        return 0;
    }
    if (sc_backend_find_cuda(&c.cuda) != SC_OK) {
        fprintf(stderr, "gpu_check: error: %s\n", sc_message());
        return 1;
    }
    c.threads = sc_threads(sc_cores(false), 1);
    if (c.n_batches == 0) {
        c.n_batches = c.small ? 1 : 2;
        c.batches[0] = c.small ? small.batch : 32;
        c.batches[1] = 256;
    }
    for (int i = 0; i < STAGES; i++)
        any |= w.stage[i];
    for (int i = 0; i < STAGES; i++)
        if (w.stage[i] || !any)
            stages[i].run(&c);
    return c.failures > 0;
}
