#include "step_profile.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct record {
    const sc_op_node *node;
    double forward, backward;
} record;

static struct {
    const sc_backend *real;
    sc_backend timed;
    record *records;
    size_t count, cap;
    double adamw, adamw_bytes;
    bool processor_time;
} profile;

double profile_now(void)
{
    struct timespec t;
    if (!profile.processor_time)
        return sc_now();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
void profile_use_processor_time(bool yes)
{
    profile.processor_time = yes;
}

static record *find(const sc_op_node *n)
{
    for (size_t i = 0; i < profile.count; i++)
        if (profile.records[i].node == n)
            return &profile.records[i];
    if (profile.count == profile.cap) {
        size_t cap = profile.cap ? 2 * profile.cap : 512;
        record *r = sc_realloc(profile.records, cap, sizeof *r);
        if (!r)
            abort();
        profile.records = r;
        profile.cap = cap;
    }
    profile.records[profile.count] = (record){.node = n};
    return &profile.records[profile.count++];
}

static sc_status timed_forward(sc_device *d, const sc_op_node *n, void *state)
{
    double t = profile_now();
    sc_status s = profile.real->forward(d, n, state);
    find(n)->forward += profile_now() - t;
    return s;
}
static sc_status timed_backward(sc_device *d, const sc_op_node *n, void *state)
{
    double t = profile_now();
    sc_status s = profile.real->backward(d, n, state);
    find(n)->backward += profile_now() - t;
    return s;
}
static sc_status timed_adamw(sc_device *d, const sc_adamw *o, size_t count, void *value,
                             const void *grad, void *m, void *v)
{
    double t = profile_now();
    sc_status s = profile.real->adamw(d, o, count, value, grad, m, v);
    profile.adamw += profile_now() - t;
    profile.adamw_bytes += 28.0 * (double)count;
    return s;
}

void profile_attach(sc_device *d)
{
    profile.real = d->backend;
    profile.timed = *d->backend;
    profile.timed.forward = timed_forward;
    profile.timed.backward = timed_backward;
    profile.timed.adamw = timed_adamw;
    d->backend = &profile.timed;
}
void profile_reset(void)
{
    for (size_t i = 0; i < profile.count; i++)
        profile.records[i].forward = profile.records[i].backward = 0;
    profile.adamw = profile.adamw_bytes = 0;
}

static double flops(const sc_op_node *n)
{
    double out = (double)sc_shape_count(&n->out[0].desc.shape);
    if (n->op == SC_OP_CONV2D) {
        const int64_t *w = n->params[0].desc.shape.d;
        return 2 * out * (double)(w[1] * w[2] * w[3]);
    }
    if (n->op == SC_OP_LINEAR)
        return 2 * out * (double)n->in[0].desc.shape.d[n->in[0].desc.shape.n - 1];
    return 0;
}
static int slowest(const void *a, const void *b)
{
    const record *x = a, *y = b;
    double d = y->forward + y->backward - x->forward - x->backward;
    return d > 0 ? 1 : d < 0 ? -1 : 0;
}
static void print_kinds(double scale)
{
    for (int op = 0; op < SC_OP_COUNT; op++) {
        double forward = 0, backward = 0, work = 0;
        int nodes = 0;
        for (size_t i = 0; i < profile.count; i++)
            if (profile.records[i].node->op == (sc_op)op) {
                forward += profile.records[i].forward;
                backward += profile.records[i].backward;
                work += flops(profile.records[i].node);
                nodes++;
            }
        if (nodes == 0)
            continue;
        printf("%-16s %5d %10.2f %10.2f", sc_op_name((sc_op)op), nodes, forward * scale * 1e3,
               backward * scale * 1e3);
        if (work > 0)
            printf(" %9.0f", 3 * work / ((forward + backward) * scale) * 1e-9);
        printf("\n");
    }
}
void profile_print(int steps, int top)
{
    const double scale = 1.0 / steps;
    printf("\n%-16s %5s %10s %10s %9s   (a step)\n", "op", "nodes", "forward ms", "backward ms",
           "GFLOP/s");
    print_kinds(scale);
    printf("%-16s %5s %10.2f %21s GB/s %.1f\n", "adamw", "", profile.adamw * scale * 1e3, "",
           profile.adamw > 0 ? profile.adamw_bytes / profile.adamw * 1e-9 : 0);
    qsort(profile.records, profile.count, sizeof *profile.records, slowest);
    printf("\n%-16s %-22s %-22s %10s %10s %9s\n", "slowest", "input", "output", "forward ms",
           "backward ms", "GFLOP/s");
    for (size_t i = 0; i < profile.count && i < (size_t)top; i++) {
        const record *r = &profile.records[i];
        char a[96], b[96];
        double all = (r->forward + r->backward) * scale;
        printf("%-16s %-22s %-22s %10.2f %10.2f %9.0f\n", sc_op_name(r->node->op),
               sc_shape_text(&r->node->in[0].desc.shape, a),
               sc_shape_text(&r->node->out[0].desc.shape, b), r->forward * scale * 1e3,
               r->backward * scale * 1e3, all > 0 ? 3 * flops(r->node) / all * 1e-9 : 0);
    }
}
