#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */
static uint32_t hash_name(const char *s)
{
    uint32_t h = 2166136261u;
    for (; *s; s++)
        h = (h ^ (uint8_t)*s) * 16777619u;
    return h;
}
static void draw(uint32_t seed, uint32_t which, uint64_t i, uint32_t w[4])
{
    const uint32_t key[2] = {seed, which}, counter[4] = {(uint32_t)i, (uint32_t)(i >> 32), 0, 77};
    sc_philox4x32(key, counter, w);
}
static double normal(const uint32_t w[4])
{
    double u = ((double)w[0] + 0.5) * 0x1p-32, v = (double)w[1] * 0x1p-32;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}
static double to_bf16(double v)
{
    return (double)sc_bf16_to_f32(sc_f32_to_bf16((float)v));
}

sc_augment draw_augment(uint32_t n, int side, int crop)
{
    uint32_t w[4], v[4], u[4];
    draw(n, 900, 0, w);
    draw(n, 900, 1, v);
    draw(n, 900, 2, u);
    sc_augment a = {0};
    a.crop_top = (int32_t)(w[0] % (uint32_t)(side - crop + 1));
    a.crop_left = (int32_t)(w[1] % (uint32_t)(side - crop + 1));
    a.flip_h = w[2] & 1;
    a.flip_v = w[2] >> 1 & 1;
    a.jitter = (w[2] >> 2 & 7) != 0;
    a.rotate = (w[2] >> 5 & 7) != 0;
    for (uint8_t i = 0; i < 4; i++)
        a.jitter_order[i] = i;
    for (uint32_t i = 3; i > 0; i--) {
        uint32_t j = (w[3] >> (8 * i)) % (i + 1);
        uint8_t t = a.jitter_order[i];
        a.jitter_order[i] = a.jitter_order[j];
        a.jitter_order[j] = t;
    }
    /* wider than training draws: clipping and every sector of the hue are met */
    a.brightness = 0.3f + 1.7f * sc_uniform24(v[0]);
    a.contrast = 0.3f + 1.7f * sc_uniform24(v[1]);
    a.saturation = 3.0f * sc_uniform24(v[2]);
    a.hue = sc_uniform24(v[3]) - 0.5f;
    a.angle = 30.0f * sc_uniform24(u[0]) - 15.0f;
    double t = -(double)a.angle * 3.14159265358979323846 / 180, cx = crop / 2.0, c = cos(t),
           s = sin(t);
    double m2 = c * -cx + s * -cx + cx, m5 = -s * -cx + c * -cx + cx;
    const double f[6] = {c, s, m2 + c * 0.5 + s * 0.5, -s, c, m5 - s * 0.5 + c * 0.5};
    for (int i = 0; i < 6; i++)
        a.rotate_fix[i] = (int32_t)floor(f[i] * 65536 + 0.5);
    if (u[1] & 1 && crop > 2) {
        a.erase_h = 1 + (int32_t)(u[2] % (uint32_t)(crop - 1));
        a.erase_w = 1 + (int32_t)(u[3] % (uint32_t)(crop - 1));
        a.erase_top = (int32_t)(u[1] >> 8) % (crop - a.erase_h + 1);
        a.erase_left = (int32_t)(u[1] >> 4 & 0xfff) % (crop - a.erase_w + 1);
    }
    return a;
}

/* The whole tensor of all ranks as doubles (bytes and ints too). */
static double *fill(const case_tensor *t, uint32_t seed, uint32_t which, const op_case *c)
{
    int64_t count = sc_shape_count(&t->shape), width = t->shape.n ? t->shape.d[t->shape.n - 1] : 1;
    double *v = calloc((size_t)count + 1, sizeof *v);
    for (int64_t i = 0; v && i < count; i++) {
        uint32_t w[4];
        draw(seed, which, (uint64_t)i, w);
        switch (t->fill) {
        case FILL_NORMAL:
        case FILL_UNIT:
            v[i] = to_bf16(t->a + (t->b != 0 ? t->b : 1) * normal(w));
            break;
        case FILL_POSITIVE:
            v[i] = to_bf16(t->a + (t->b - t->a) * w[0] * 0x1p-32);
            break;
        case FILL_TEXTURE:
            v[i] = (double)(w[0] % 4) - 1.5;
            break;
        case FILL_INT:
            v[i] = (double)(w[0] % (uint32_t)t->a);
            break;
        case FILL_GROUPS:
            v[i] = (double)(i % (int64_t)t->a);
            break;
        case FILL_BEGINS:
            v[i] = t->a + floor((t->b - t->a) * (double)i / (double)(count - 1));
            break;
        case FILL_BYTES:
            v[i] = (double)(w[0] & 255);
            break;
        case FILL_DRAWS:
            break;
        }
    }
    if (v && t->fill == FILL_DRAWS)
        for (int64_t r = 0; r < t->shape.d[0]; r++) {
            sc_augment a =
                draw_augment(seed + (uint32_t)r, (int)c->in[0].shape.d[1], c->attrs.crop);
            for (size_t k = 0; k < sizeof a; k++)
                v[r * (int64_t)sizeof a + (int64_t)k] = ((const uint8_t *)&a)[k];
        }
    if (v && t->fill == FILL_UNIT)
        for (int64_t r = 0; r < count / width; r++) {
            double s = 0;
            for (int64_t e = 0; e < width; e++)
                s += v[r * width + e] * v[r * width + e];
            for (int64_t e = 0; e < width; e++)
                v[r * width + e] = (double)(float)(v[r * width + e] / sqrt(s));
        }
    return v;
}

/* ---- one run ---- */
typedef struct run {
    const op_case *c;
    const case_run *how;
    const sc_backend *b;
    sc_device *d;
    sc_op_node n, then;
    sc_comm *alone;
    int64_t rows_alone;
    sc_param_shared shared[5];
    void *state, *then_state;
    uint32_t seed;
    bool wide; /* host reals are double */
} run;

/* Rows [first, first + count) of this rank, when the first dimension is split. */
static bool split(const run *r, const case_tensor *t, bool output)
{
    if (!r->how->rows || t->shape.n == 0)
        return false;
    if (r->c->op == SC_OP_ALL_GATHER && output)
        return false;
    return true;
}
static int64_t first_row(const run *r)
{
    int64_t at = 0;
    for (int k = 0; r->how->rows && k < r->how->comm->rank; k++)
        at += r->how->rows[k];
    return at;
}
static sc_value_desc desc_of(const run *r, const case_tensor *t, bool output)
{
    sc_value_desc v = {t->kind, t->shape};
    if (split(r, t, output))
        v.shape.d[0] = r->how->rows[r->how->comm->rank];
    return v;
}
static int64_t row_size(const case_tensor *t)
{
    int64_t n = 1;
    for (int i = 1; i < t->shape.n; i++)
        n *= t->shape.d[i];
    return n;
}

static void *to_host(const run *r, sc_kind kind, const double *v, int64_t count)
{
    void *p = calloc((size_t)count + 1, 8);
    for (int64_t i = 0; p && i < count; i++) {
        if (kind == SC_BYTES)
            ((uint8_t *)p)[i] = (uint8_t)v[i];
        else if (kind == SC_INT32)
            ((int32_t *)p)[i] = (int32_t)v[i];
        else if (r->wide)
            ((double *)p)[i] = v[i];
        else
            ((float *)p)[i] = (float)v[i];
    }
    return p;
}
static double *to_double(const run *r, const void *p, int64_t count)
{
    double *v = calloc((size_t)count + 1, sizeof *v);
    for (int64_t i = 0; v && i < count; i++)
        v[i] = r->wide ? ((const double *)p)[i] : (double)((const float *)p)[i];
    return v;
}

static sc_status upload(run *r, const case_tensor *t, uint32_t which, const sc_value_desc *v,
                        void *to, bool output)
{
    double *all = fill(t, r->seed, which, r->c);
    int64_t at = split(r, t, output) ? first_row(r) * row_size(t) : 0;
    void *host = to_host(r, t->kind, all + at, sc_shape_count(&v->shape));
    sc_status status = r->b->upload(r->d, v, host, to);
    free(host);
    free(all);
    return status;
}
static sc_status download(run *r, const sc_value_desc *v, const void *from, double **out,
                          int64_t *count)
{
    *count = sc_shape_count(&v->shape);
    void *host = calloc((size_t)*count + 1, 8);
    sc_status status = r->b->download(r->d, v, from, host);
    *out = to_double(r, host, *count);
    free(host);
    return status;
}
static double *export_param(run *r, const sc_param_desc *p, const void *value)
{
    int64_t count = sc_shape_count(&p->shape);
    void *host = calloc((size_t)count + 1, 8);
    r->b->param_export(r->d, p, value, host);
    double *v = to_double(r, host, count);
    free(host);
    return v;
}

static bool takes_gradient(const case_tensor *t)
{
    return !t->no_grad && (t->kind == SC_COMPUTE || t->kind == SC_EXACT);
}
/* Gradients arrive as random values; what backward adds to starts random too. */
static case_tensor gradient_like(const case_tensor *t, double size)
{
    case_tensor g = *t;
    g.fill = FILL_NORMAL;
    g.a = 0;
    g.b = size;
    return g;
}

static sc_status build_values(run *r)
{
    sc_op_node *n = &r->n;
    const bool back = r->how->backward;
    for (int i = 0; i < r->c->n_in; i++) {
        const case_tensor *t = &r->c->in[i];
        sc_node_value *v = &n->in[i];
        v->desc = desc_of(r, t, false);
        SC_TRY(r->b->alloc(r->d, r->b->value_bytes(r->d, &v->desc), &v->data));
        SC_TRY(upload(r, t, 10u + (uint32_t)i, &v->desc, v->data, false));
        if (!back || !takes_gradient(t))
            continue;
        SC_TRY(r->b->alloc(r->d, r->b->value_bytes(r->d, &v->desc), &v->grad));
        v->accumulate = r->how->accumulate;
        if (v->accumulate) {
            case_tensor g = gradient_like(t, 1);
            SC_TRY(upload(r, &g, 20u + (uint32_t)i, &v->desc, v->grad, false));
        }
    }
    for (int i = 0; i < r->c->n_out; i++) {
        const case_tensor *t = &r->c->out[i];
        sc_node_value *v = r->c->then ? &r->then.out[i] : &n->out[i];
        v->desc = desc_of(r, t, true);
        SC_TRY(r->b->alloc(r->d, r->b->value_bytes(r->d, &v->desc), &v->data));
        if (!back || t->no_grad)
            continue;
        SC_TRY(r->b->alloc(r->d, r->b->value_bytes(r->d, &v->desc), &v->grad));
        case_tensor g = gradient_like(t, t->b != 0 ? t->b : 1);
        SC_TRY(upload(r, &g, 30u + (uint32_t)i, &v->desc, v->grad, true));
    }
    return SC_OK;
}
static sc_status build_params(run *r)
{
    for (int i = 0; i < r->c->n_param; i++) {
        const case_tensor *t = &r->c->param[i];
        sc_node_param *p = &r->n.params[i];
        sc_param_kind kind = t->kind == SC_INT32 ? SC_PARAM_COUNTER
                             : t->no_grad        ? SC_PARAM_BUFFER
                                                 : SC_PARAM_WEIGHT;
        p->desc = (sc_param_desc){r->c->op, i, kind, t->shape};
        p->shared = &r->shared[i];
        if (kind == SC_PARAM_COUNTER)
            continue;
        size_t bytes = r->b->param_elements(r->d, &p->desc) * sc_dtype_size(r->b->real);
        SC_TRY(r->b->alloc(r->d, bytes, &p->value));
        double *v = fill(t, r->seed, 40u + (uint32_t)i, r->c);
        void *host = to_host(r, SC_EXACT, v, sc_shape_count(&t->shape));
        r->b->param_import(r->d, &p->desc, host, p->value);
        p->shared->version = 1;
        free(host);
        free(v);
        if (r->how->backward && kind == SC_PARAM_WEIGHT)
            SC_TRY(r->b->alloc(r->d, bytes, &p->grad));
    }
    return SC_OK;
}
/* Whoever reads it before writing meets NaN. It may be a device's memory. */
static sc_status poison(run *r, void *p, size_t bytes)
{
    const sc_value_desc v = {SC_BYTES, {1, {(int64_t)bytes}}};
    if (bytes == 0)
        return SC_OK;
    void *host = sc_alloc(bytes, 1);
    if (host == NULL)
        return SC_ENOMEM;
    memset(host, 0xff, bytes);
    const sc_status status = r->b->upload(r->d, &v, host, p);
    free(host);
    return status;
}
static sc_status prepare(run *r, sc_op_node *n, void **state)
{
    size_t saved = 0, scratch = 0;
    SC_TRY(r->b->node_memory(r->d, n, &saved, &scratch));
    SC_TRY(r->b->alloc(r->d, saved, &n->saved));
    SC_TRY(r->b->alloc(r->d, scratch, &n->scratch));
    SC_TRY(poison(r, n->scratch, scratch));
    return r->b->prepare(r->d, n, state);
}
/* The second op: a part of the first where the backend joins them, else behind it. */
static sc_status build_then(run *r, bool *joined)
{
    const case_tail *t = r->c->then;
    sc_op_node *a = &r->n, *b = &r->then;
    b->op = t->op;
    b->attrs = t->attrs;
    b->n_in = b->n_out = 1;
    b->training = a->training;
    b->precision = a->precision;
    b->comm = a->comm;
    b->rows = a->rows;
    b->rows_global = a->rows_global;
    b->in[0].desc = a->out[0].desc = desc_of(r, &t->between, true);
    *joined = r->b->joins && r->b->joins(r->d, a, b);
    if (*joined) {
        a->next = b;
        return SC_OK;
    }
    const size_t bytes = r->b->value_bytes(r->d, &b->in[0].desc);
    SC_TRY(r->b->alloc(r->d, bytes, &a->out[0].data));
    b->in[0].data = a->out[0].data;
    if (b->out[0].grad)
        SC_TRY(r->b->alloc(r->d, bytes, &a->out[0].grad));
    b->in[0].grad = a->out[0].grad;
    return prepare(r, b, &r->then_state);
}
static sc_status build_node(run *r, bool *joined)
{
    sc_op_node *n = &r->n;
    n->op = r->c->op;
    n->attrs = r->c->attrs;
    n->n_in = r->c->n_in;
    n->n_out = r->c->n_out;
    n->n_params = r->c->n_param;
    n->training = r->how->training;
    n->precision = r->d->precision;
    n->comm = r->how->comm ? r->how->comm : r->alone;
    r->rows_alone = r->c->in[0].shape.d[0];
    n->rows = r->how->rows ? r->how->rows : &r->rows_alone;
    n->rows_global = r->rows_alone;
    SC_TRY(build_values(r));
    SC_TRY(build_params(r));
    if (r->c->then)
        SC_TRY(build_then(r, joined));
    return prepare(r, n, &r->state);
}

static bool apart(const run *r)
{
    return r->c->then && !r->n.next;
}
static sc_status forward(run *r)
{
    SC_TRY(r->b->forward(r->d, &r->n, r->state));
    return apart(r) ? r->b->forward(r->d, &r->then, r->then_state) : SC_OK;
}
static sc_status backward(run *r)
{
    if (apart(r))
        SC_TRY(r->b->backward(r->d, &r->then, r->then_state));
    return r->b->backward(r->d, &r->n, r->state);
}
static sc_status execute(run *r, case_result *out)
{
    out->seconds_forward = out->seconds_backward = INFINITY;
    for (int k = 0; k <= r->how->repeat; k++) {
        double t0 = sc_now();
        SC_TRY(forward(r));
        double t1 = sc_now();
        if (r->how->backward)
            SC_TRY(backward(r));
        double t2 = sc_now();
        out->seconds_forward = fmin(out->seconds_forward, t1 - t0);
        out->seconds_backward = fmin(out->seconds_backward, t2 - t1);
    }
    return r->b->sync ? r->b->sync(r->d) : SC_OK;
}
static sc_status collect(run *r, case_result *out)
{
    const sc_op_node *n = &r->n;
    for (int i = 0; i < n->n_out; i++) {
        const sc_node_value *v = r->c->then ? &r->then.out[i] : &n->out[i];
        SC_TRY(download(r, &v->desc, v->data, &out->out[i], &out->out_count[i]));
    }
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i].grad)
            SC_TRY(download(r, &n->in[i].desc, n->in[i].grad, &out->in_grad[i], &out->in_count[i]));
    for (int i = 0; i < n->n_params; i++) {
        out->param_count[i] = sc_shape_count(&n->params[i].desc.shape);
        if (n->params[i].value)
            out->param[i] = export_param(r, &n->params[i].desc, n->params[i].value);
        if (n->params[i].grad)
            out->param_grad[i] = export_param(r, &n->params[i].desc, n->params[i].grad);
    }
    return SC_OK;
}
static void tear_down(run *r)
{
    sc_op_node *n = &r->n;
    if (r->d) {
        r->b->release(r->d, r->state);
        r->b->release(r->d, r->then_state);
        for (int i = 0; i < 4; i++) {
            r->b->free(r->d, n->in[i].data);
            r->b->free(r->d, n->in[i].grad);
        }
        for (int i = 0; i < 2; i++) {
            r->b->free(r->d, n->out[i].data);
            r->b->free(r->d, n->out[i].grad);
            r->b->free(r->d, r->then.out[i].data);
            r->b->free(r->d, r->then.out[i].grad);
        }
        for (int i = 0; i < 5; i++) {
            if (r->b->param_release)
                r->b->param_release(r->d, r->shared[i].state);
            r->b->free(r->d, n->params[i].value);
            r->b->free(r->d, n->params[i].grad);
        }
        r->b->free(r->d, n->saved);
        r->b->free(r->d, n->scratch);
        r->b->free(r->d, r->then.saved);
        r->b->free(r->d, r->then.scratch);
        if (r->d != r->how->device)
            r->b->close(r->d);
    }
    if (r->alone)
        r->alone->free(r->alone);
}

static void quiet(void *ctx, sc_log_level level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}
sc_status run_case(const op_case *c, const case_run *how, case_result *out)
{
    static const sc_log log = {quiet, NULL};
    run r = {.c = c, .how = how, .b = how->backend, .seed = hash_name(c->name)};
    sc_device_options o = {how->threads, how->precision, &log};
    memset(out, 0, sizeof *out);
    r.wide = r.b->real == SC_F64;
    r.alone = sc_comm_single();
    r.d = how->device;
    sc_status status = r.d ? SC_OK : r.b->open(&o, &r.d);
    if (status == SC_OK)
        status = build_node(&r, &out->joined);
    if (status == SC_OK)
        status = execute(&r, out);
    if (status == SC_OK)
        status = collect(&r, out);
    tear_down(&r);
    return status;
}
void case_result_free(case_result *r)
{
    for (int i = 0; i < 2; i++)
        free(r->out[i]);
    for (int i = 0; i < 4; i++)
        free(r->in_grad[i]);
    for (int i = 0; i < 5; i++) {
        free(r->param_grad[i]);
        free(r->param[i]);
    }
    memset(r, 0, sizeof *r);
}

double worst_error(const double *got, const double *want, int64_t count, double tol)
{
    double square = 0, worst = 0;
    for (int64_t i = 0; i < count; i++)
        square += want[i] * want[i];
    double rms = count > 0 ? sqrt(square / (double)count) : 0;
    for (int64_t i = 0; i < count; i++) {
        double error = fabs(got[i] - want[i]), allowed = tol * (fabs(want[i]) + rms) + 1e-30;
        if (!(error <= allowed * worst))
            worst = error <= allowed * 1e300 ? error / allowed : INFINITY;
    }
    return worst;
}
