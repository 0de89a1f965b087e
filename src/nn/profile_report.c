/* From what a profile counted to figures and tables. */
#include "profile.h"

#include <stdlib.h>
#include <string.h>

/* ---- what an op does at least -------------------------------------------------------------------
 */

double nn_node_flops(const sc_op_node *n, int pass)
{
    const sc_shape *x = &n->in[0].desc.shape, *w = &n->params[0].desc.shape;
    double out = (double)sc_shape_count(&n->out[0].desc.shape), forward;
    bool dx = n->in[0].grad != NULL, dw = n->n_params > 0 && n->params[0].grad != NULL;
    if (n->op == SC_OP_CONV2D || n->op == SC_OP_DEPTHWISE_CONV2D) {
        forward = 2 * out * (double)(sc_shape_count(w) / w->d[0]);
    } else if (n->op == SC_OP_LINEAR) {
        forward = 2 * out * (double)x->d[x->n - 1];
    } else if (n->op == SC_OP_ATTENTION) { /* two products forward, four backward */
        forward = 4 * out * (double)(n->n_in == 2 ? n->attrs.longest : x->d[1]);
        dw = dx;
    } else {
        return 0;
    }
    return pass == 0 ? forward : forward * (dx + dw);
}

static double param_bytes(const sc_backend *b, const sc_op_node *n, int k, double rows)
{
    const sc_param_desc *d = &n->params[k].desc;
    if (d->kind == SC_PARAM_COUNTER)
        return 0;
    double bytes = (double)sc_shape_count(&d->shape) * (double)sc_dtype_size(b->real);
    return n->op == SC_OP_EMBED && rows < bytes ? rows : bytes; /* only rows that are looked up */
}

double nn_node_bytes(const sc_device *d, const sc_backend *b, const sc_op_node *n, int pass)
{
    static const struct {
        unsigned in, out;
    } needs[] = {
#define SC_OP(E, name, i0, i1, o, p, ni, no) {ni, no},
#include "superclip/ops.def"
#undef SC_OP
    };
    double sum = 0, rows = (double)b->value_bytes(d, &n->out[0].desc);
    for (int k = 0; k < n->n_in; k++) {
        double bytes = (double)b->value_bytes(d, &n->in[k].desc);
        if (pass == 0 || needs[n->op].in >> k & 1u)
            sum += bytes;
        if (pass == 1 && n->in[k].grad != NULL)
            sum += n->in[k].accumulate ? 2 * bytes : bytes;
    }
    for (int k = 0; k < n->n_out; k++) {
        double bytes = (double)b->value_bytes(d, &n->out[k].desc);
        if (pass == 0 || needs[n->op].out >> k & 1u)
            sum += bytes;
        if (pass == 1 && n->out[k].grad != NULL)
            sum += bytes;
    }
    for (int k = 0; k < n->n_params; k++) {
        double bytes = param_bytes(b, n, k, rows);
        sum += bytes;
        if (pass == 1 && n->params[k].grad != NULL)
            sum += bytes;
    }
    return sum;
}

/* ---- rows ---------------------------------------------------------------------------------------
 */

static void describe(const profile_node *n, char out[160])
{
    char a[96], b[96], window[32] = "";
    if (n->op == SC_OP_CONV2D || n->op == SC_OP_DEPTHWISE_CONV2D || n->op == SC_OP_MAX_POOL)
        snprintf(window, sizeof window, " %dx%d/%d", n->kernel, n->kernel, n->attrs.stride);
    snprintf(out, 160, "%.60s -> %.60s%s%s", sc_shape_text(&n->in, a), sc_shape_text(&n->out, b),
             window, n->training ? "" : " (evaluation)");
}

static bool equal(const profile_node *a, const profile_node *b)
{
    return a->op == b->op && a->training == b->training && a->kernel == b->kernel &&
           a->attrs.stride == b->attrs.stride && sc_shape_equal(&a->in, &b->in) &&
           sc_shape_equal(&a->out, &b->out);
}

static void add(sc_profile_row *row, const profile_node *n)
{
    *(n->training ? &row->calls : &row->evaluation_calls) += n->calls[0];
    *(n->training ? &row->forward : &row->evaluation) += n->seconds[0];
    row->backward += n->seconds[1];
    row->collectives += n->collectives;
    for (int pass = 0; pass < 2; pass++) {
        row->flops += n->flops[pass] * (double)n->calls[pass];
        row->bytes += n->bytes[pass] * (double)n->calls[pass];
        row->done += n->done[pass] * (double)n->calls[pass];
    }
}

static double seconds_of(const sc_profile_row *r)
{
    return r->forward + r->backward + r->evaluation;
}

static void compare_with_peak(const sc_profile_report *r, sc_profile_row *row)
{
    double s = seconds_of(row);
    if (s <= 0 || r->peak_flops <= 0 || r->peak_bytes <= 0)
        return;
    double arithmetic = row->flops / s / r->peak_flops, memory = row->bytes / s / r->peak_bytes;
    row->memory = memory > arithmetic;
    row->share = row->memory ? memory : arithmetic;
}

static int slowest_first(const void *a, const void *b)
{
    double x = seconds_of(a), y = seconds_of(b);
    return (x < y) - (x > y);
}

static bool ran(const profile_node *n)
{
    return n->calls[0] + n->calls[1] > 0;
}

static sc_status make_rows(const sc_profile *p, sc_profile_report *r)
{
    size_t count = 0, made = 0;
    for (const profile_node *n = p->first; n != NULL; n = n->next)
        count += ran(n);
    const profile_node **like = sc_alloc(count, sizeof *like);
    r->nodes = sc_alloc(count, sizeof *r->nodes);
    r->kinds = sc_alloc(SC_OP_COUNT, sizeof *r->kinds);
    if (like == NULL || r->nodes == NULL || r->kinds == NULL) {
        free(like);
        return SC_ENOMEM;
    }
    for (const profile_node *n = p->first; n != NULL; n = n->next) {
        size_t i = 0;
        if (!ran(n))
            continue;
        while (i < made && !equal(like[i], n))
            i++;
        if (i == made) {
            like[made++] = n;
            r->nodes[i].op = n->op;
            describe(n, r->nodes[i].what);
        }
        add(&r->nodes[i], n);
        r->kinds[n->op].op = n->op;
        add(&r->kinds[n->op], n);
    }
    free(like);
    r->n_nodes = (int)made;
    for (int op = 0; op < SC_OP_COUNT; op++)
        if (r->kinds[op].calls + r->kinds[op].evaluation_calls > 0)
            r->kinds[r->n_kinds++] = r->kinds[op];
    for (int i = 0; i < r->n_nodes; i++)
        compare_with_peak(r, &r->nodes[i]);
    for (int i = 0; i < r->n_kinds; i++)
        compare_with_peak(r, &r->kinds[i]);
    qsort(r->nodes, made, sizeof *r->nodes, slowest_first);
    qsort(r->kinds, (size_t)r->n_kinds, sizeof *r->kinds, slowest_first);
    return SC_OK;
}

sc_status sc_profile_report_make(const sc_profile *p, sc_profile_report *out)
{
    *out = (sc_profile_report){.steps = p->steps,
                               .seconds = p->running ? sc_now() - p->begun : p->seconds,
                               .peak_flops = p->peak_flops,
                               .peak_bytes = p->peak_bytes,
                               .adamw = p->adamw,
                               .adamw_bytes = p->adamw_bytes,
                               .reduced_bytes = p->reduced_bytes,
                               .ranks = p->comm.face.size,
                               .threads = p->device->threads};
    memcpy(out->part, p->part, sizeof out->part);
    memcpy(out->device, p->device->description, sizeof out->device);
    sc_status status = make_rows(p, out);
    if (status != SC_OK)
        sc_profile_report_free(out);
    return status;
}

void sc_profile_report_free(sc_profile_report *r)
{
    free(r->kinds);
    free(r->nodes);
    *r = (sc_profile_report){0};
}
