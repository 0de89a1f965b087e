#include "trace_backend.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    unsigned in, out;
} needs[SC_OP_COUNT] = {
#define SC_OP(E, name, i0, i1, o, p, ni, no) [SC_OP_##E] = {ni, no},
#include "superclip/ops.def"
#undef SC_OP
};

uint32_t trace_word(int value)
{
    return 0xd0000000u + (uint32_t)value;
}

uint32_t trace_grad_word(int value)
{
    return 0x60000000u + (uint32_t)value;
}

static uint32_t saved_word(int node)
{
    return 0x5a000000u + (uint32_t)node;
}

static size_t words(const sc_value_desc *v)
{
    return (size_t)sc_shape_count(&v->shape);
}

/* Odd sizes, so that alignment is exercised. */
static size_t saved_words(const sc_op_node *n)
{
    return n->op == SC_OP_ADD ? 0 : words(&n->out[0].desc) / 3 + 1;
}

enum { SCRATCH_WORDS = 77 };

static void fill(void *p, size_t n, uint32_t word)
{
    for (size_t i = 0; i < n; i++)
        ((uint32_t *)p)[i] = word;
}

static void check(trace_device *d, const void *p, size_t n, uint32_t word, const char *what,
                  int node)
{
    d->checks++;
    for (size_t i = 0; i < n; i++)
        if (((const uint32_t *)p)[i] != word && d->error[0] == '\0')
            (void)snprintf(d->error, sizeof d->error,
                           "node %d: %s: word %zu of %zu is %08x, not %08x", node, what, i, n,
                           ((const uint32_t *)p)[i], word);
}

static sc_status trace_open(const sc_device_options *o, sc_device **out)
{
    trace_device *d = calloc(1, sizeof *d);
    if (d == NULL)
        return SC_ENOMEM;
    d->base = (sc_device){.backend = trace_backend(), .precision = o->precision, .threads = 1};
    *out = &d->base;
    return SC_OK;
}

static void trace_close(sc_device *d)
{
    free(d);
}

/* Tight blocks: an access behind one is for the address sanitizer. */
static sc_status trace_alloc(sc_device *d, size_t bytes, void **out)
{
    (void)d;
    *out = calloc(1, bytes > 0 ? bytes : 1);
    return *out != NULL ? SC_OK : SC_ENOMEM;
}

static void trace_free(sc_device *d, void *p)
{
    (void)d;
    free(p);
}

static size_t trace_value_bytes(const sc_device *d, const sc_value_desc *v)
{
    (void)d;
    return words(v) * sizeof(uint32_t);
}

/* host: one word, which fills the value. */
static sc_status trace_upload(sc_device *d, const sc_value_desc *v, const void *host, void *value)
{
    (void)d;
    uint32_t word;
    memcpy(&word, host, sizeof word);
    fill(value, words(v), word);
    return SC_OK;
}

static sc_status trace_download(sc_device *d, const sc_value_desc *v, const void *value, void *host)
{
    (void)d;
    memcpy(host, value, words(v) * sizeof(uint32_t));
    return SC_OK;
}

static size_t trace_param_elements(const sc_device *d, const sc_param_desc *p)
{
    (void)d;
    return (size_t)sc_shape_count(&p->shape);
}

static void trace_import(sc_device *d, const sc_param_desc *p, const void *host, void *value)
{
    (void)d;
    memcpy(value, host, (size_t)sc_shape_count(&p->shape) * sizeof(float));
}

static void trace_export(sc_device *d, const sc_param_desc *p, const void *value, void *host)
{
    trace_import(d, p, value, host);
}

static sc_status trace_node_memory(sc_device *d, const sc_op_node *n, size_t *saved,
                                   size_t *scratch)
{
    (void)d;
    *saved = saved_words(n) * sizeof(uint32_t);
    *scratch = SCRATCH_WORDS * sizeof(uint32_t);
    return SC_OK;
}

static sc_status trace_prepare(sc_device *d, const sc_op_node *n, void **state)
{
    trace_device *t = (trace_device *)d;
    int *index = calloc(1, sizeof *index);
    if (index == NULL)
        return SC_ENOMEM;
    *index = t->prepared++ % t->n_nodes;
    *state = index;
    if (n->n_in != t->nodes[*index].n_in || n->n_out != t->nodes[*index].n_out)
        (void)snprintf(t->error, sizeof t->error, "node %d is not the recorded one", *index);
    return SC_OK;
}

static void trace_release(sc_device *d, void *state)
{
    (void)d;
    free(state);
}

static sc_status trace_forward(sc_device *d, const sc_op_node *n, void *state)
{
    trace_device *t = (trace_device *)d;
    int i = *(int *)state;
    const trace_node *at = &t->nodes[i];
    t->forwards++;
    fill(n->scratch, SCRATCH_WORDS, 0xbadbadu);
    fill(n->saved, saved_words(n), saved_word(i));
    for (int k = 0; k < n->n_out; k++)
        fill(n->out[k].data, words(&n->out[k].desc), trace_word(at->out[k]));
    /* behind the writes: nothing written may lie on something read */
    for (int k = 0; k < n->n_in; k++)
        check(t, n->in[k].data, words(&n->in[k].desc), trace_word(at->in[k]), "input", i);
    for (int k = 0; k < n->n_out; k++)
        check(t, n->out[k].data, words(&n->out[k].desc), trace_word(at->out[k]), "output", i);
    check(t, n->saved, saved_words(n), saved_word(i), "saved", i);
    check(t, n->scratch, SCRATCH_WORDS, 0xbadbadu, "scratch", i);
    return SC_OK;
}

static uint32_t expected_grad(const trace_device *t, int value)
{
    return value == t->minimize ? 0x3f800000u /* the seed's 1.0f */ : trace_grad_word(value);
}

static void check_kept(trace_device *t, const sc_op_node *n, int i)
{
    const trace_node *at = &t->nodes[i];
    for (int k = 0; k < n->n_in; k++)
        if (needs[n->op].in >> k & 1)
            check(t, n->in[k].data, words(&n->in[k].desc), trace_word(at->in[k]), "kept input", i);
    for (int k = 0; k < n->n_out; k++) {
        if (needs[n->op].out >> k & 1)
            check(t, n->out[k].data, words(&n->out[k].desc), trace_word(at->out[k]), "kept output",
                  i);
        if (n->out[k].grad != NULL)
            check(t, n->out[k].grad, words(&n->out[k].desc), expected_grad(t, at->out[k]),
                  "output gradient", i);
    }
    check(t, n->saved, saved_words(n), saved_word(i), "saved", i);
}

static sc_status trace_backward(sc_device *d, const sc_op_node *n, void *state)
{
    trace_device *t = (trace_device *)d;
    int i = *(int *)state;
    t->backwards++;
    fill(n->scratch, SCRATCH_WORDS, 0xbadbadu);
    for (int k = 0; k < n->n_in; k++) {
        const sc_node_value *in = &n->in[k];
        uint32_t word = trace_grad_word(t->nodes[i].in[k]);
        if (in->grad == NULL)
            continue;
        if (in->accumulate)
            check(t, in->grad, words(&in->desc), word, "gradient to add to", i);
        fill(in->grad, words(&in->desc), word);
    }
    check_kept(t, n, i);
    return SC_OK;
}

static sc_status trace_adamw(sc_device *d, const sc_adamw *o, size_t count, void *value,
                             const void *grad, void *m, void *v)
{
    (void)d, (void)o, (void)count, (void)value, (void)grad, (void)m, (void)v;
    return SC_OK;
}

const sc_backend *trace_backend(void)
{
    static const sc_backend b = {
        .name = "trace",
        .real = SC_F32,
        .open = trace_open,
        .close = trace_close,
        .alloc = trace_alloc,
        .free = trace_free,
        .value_bytes = trace_value_bytes,
        .upload = trace_upload,
        .download = trace_download,
        .param_elements = trace_param_elements,
        .param_import = trace_import,
        .param_export = trace_export,
        .node_memory = trace_node_memory,
        .prepare = trace_prepare,
        .release = trace_release,
        .forward = trace_forward,
        .backward = trace_backward,
        .adamw = trace_adamw,
    };
    return &b;
}
