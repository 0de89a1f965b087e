/* Published state dicts under the names of our model's parameters. Which of the layouts a file has
 * is told by its names; every tensor that a tower needs is looked for, every other one is accounted
 * for.
 */
#include "superclip/weights.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_PARTS = 3, SHOWN = 3 };

/* Where a tensor of ours comes from: one source, three stacked, or one transposed. */
typedef struct recipe {
    char *names[MOST_PARTS];
    size_t sources[MOST_PARTS];
    int parts; /* 0: not in the file, zero (a counter) */
    bool transposed;
} recipe;

struct sc_pretrained {
    sc_tensor_reader from;
    const char *path;
    char **plain; /* the file's names without the prefixes that wrappers put before them */
    bool *used;
    sc_tensor_set set; /* ours, no data */
    recipe *recipes;
};

/* ---- layouts --------------------------------------------------------------------------------- */

typedef struct layout {
    const char *tower;                              /* prefix of our names */
    const char *witness;                            /* a file that has it has this layout */
    sc_status (*find)(const char *name, recipe *r); /* from a name of ours behind the prefix */
    const char *const *spare; /* what such files hold besides; a trailing * stands for any end */
} layout;

static sc_status one(recipe *r, char *name)
{
    r->names[0] = name;
    r->parts = 1;
    return name ? SC_OK : SC_ENOMEM;
}

/* nn.Sequential's numbers to torchvision's names. */
static sc_status from_torchvision(const char *name, recipe *r)
{
    static const char *const children[] = {"conv1",  "bn1",    NULL,     NULL,
                                           "layer1", "layer2", "layer3", "layer4"};
    int child = name[0] - '0';
    if (child < 0 || child > 7 || !children[child] || name[1] != '.')
        return sc_fail(SC_EINTERNAL, "'%s' is no name of a ResNet", name);
    return one(r, sc_format("%s%s", children[child], name + 1));
}

static sc_status from_openai(const char *name, recipe *r)
{
    static const char ours[] = "backbone.resblocks.";
    if (!strncmp(name, ours, sizeof ours - 1))
        return one(r, sc_format("transformer.resblocks.%s", name + sizeof ours - 1));
    return one(r, sc_strdup(name));
}

static sc_status from_open_clip(const char *name, recipe *r)
{
    SC_TRY(from_openai(name, r));
    char *inner = r->names[0];
    sc_status status = one(r, sc_format("text.%s", inner));
    free(inner);
    return status;
}

/* One block's tensor: "attn.in_proj_weight" and the like. */
static sc_status from_hf_block(int block, const char *part, recipe *r)
{
    static const struct {
        const char *ours, *theirs;
    } rows[] = {{"ln_1.", "layer_norm1."},
                {"ln_2.", "layer_norm2."},
                {"attn.out_proj.", "self_attn.out_proj."},
                {"mlp.c_fc.", "mlp.fc1."},
                {"mlp.c_proj.", "mlp.fc2."}};
    if (!strncmp(part, "attn.in_proj_", 13)) {
        static const char *const names[] = {"self_attn.q_proj.", "self_attn.k_proj.",
                                            "self_attn.v_proj."};
        r->parts = MOST_PARTS;
        for (int i = 0; i < MOST_PARTS; i++)
            if (!(r->names[i] =
                      sc_format("text_model.encoder.layers.%d.%s%s", block, names[i], part + 13)))
                return SC_ENOMEM;
        return SC_OK;
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n = strlen(rows[i].ours);
        if (!strncmp(part, rows[i].ours, n))
            return one(
                r, sc_format("text_model.encoder.layers.%d.%s%s", block, rows[i].theirs, part + n));
    }
    return sc_fail(SC_EINTERNAL, "'%s' is no name of a text block", part);
}

static sc_status from_hf(const char *name, recipe *r)
{
    static const struct {
        const char *ours, *theirs;
    } rows[] = {
        {"token_embedding.weight", "text_model.embeddings.token_embedding.weight"},
        {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
        {"ln_final.weight", "text_model.final_layer_norm.weight"},
        {"ln_final.bias", "text_model.final_layer_norm.bias"},
        {"text_projection", "text_projection.weight"},
    };
    int block, used = 0;
    if (sscanf(name, "backbone.resblocks.%d.%n", &block, &used) == 1 && used > 0)
        return from_hf_block(block, name + used, r);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (!strcmp(name, rows[i].ours)) {
            r->transposed = !strcmp(name, "text_projection"); /* a Linear's weight there */
            return one(r, sc_strdup(rows[i].theirs));
        }
    return sc_fail(SC_EINTERNAL, "'%s' is no name of a text tower", name);
}

static const char *const resnet_spare[] = {"fc.weight", "fc.bias", NULL};
static const char *const clip_spare[] = {"visual.*",         "logit_scale",    "logit_bias",
                                         "input_resolution", "context_length", "vocab_size",
                                         "attn_mask",        "text.attn_mask", NULL};
static const char *const hf_spare[] = {"vision_model.*", "visual_projection.*", "logit_scale",
                                       "text_model.embeddings.position_ids", NULL};

static const layout layouts[] = {
    {"image_encoder.backbone.", "layer1.0.conv1.weight", from_torchvision, resnet_spare},
    {"text_encoder.", "transformer.resblocks.0.ln_1.weight", from_openai, clip_spare},
    {"text_encoder.", "text.transformer.resblocks.0.ln_1.weight", from_open_clip, clip_spare},
    {"text_encoder.", "text_model.encoder.layers.0.layer_norm1.weight", from_hf, hf_spare},
};

/* ---- the file's names ------------------------------------------------------------------------ */

static const char *without_prefixes(const char *name)
{
    static const char *const prefixes[] = {"module.", "_orig_mod.", "model."};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        size_t n = strlen(prefixes[i]);
        if (!strncmp(name, prefixes[i], n))
            return without_prefixes(name + n);
    }
    return name;
}

static int find(const sc_pretrained *p, const char *name)
{
    for (size_t i = 0; i < p->from.count; i++)
        if (!strcmp(p->plain[i], name))
            return (int)i;
    return -1;
}

static const layout *layout_of(const sc_pretrained *p, const char *tower)
{
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (!strcmp(layouts[i].tower, tower) && find(p, layouts[i].witness) >= 0)
            return &layouts[i];
    return NULL;
}

static bool is_spare(const layout *l, const char *name)
{
    for (const char *const *s = l->spare; *s; s++) {
        size_t n = strlen(*s);
        if ((*s)[n - 1] == '*' ? !strncmp(name, *s, n - 1) : !strcmp(name, *s))
            return true;
    }
    return false;
}

/* ---- checks ---------------------------------------------------------------------------------- */

typedef struct offenders {
    sc_text text;
    size_t count;
} offenders;

static void offend(offenders *o, const char *fmt, ...) SC_PRINTF(2, 3);
static void offend(offenders *o, const char *fmt, ...)
{
    char line[400];
    va_list args;
    if (o->count++ >= SHOWN)
        return;
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    sc_text_putf(&o->text, "%s%s", o->count > 1 ? "; " : "", line);
}

static bool is_float(sc_dtype t)
{
    return t == SC_F32 || t == SC_F64 || t == SC_BF16 || t == SC_F16;
}

/* What the file's tensor has to be for a tensor of ours. */
static sc_shape source_shape(const sc_tensor *ours, const recipe *r)
{
    sc_shape s = ours->shape;
    if (r->transposed && s.n == 2)
        s = SC_SHAPE(s.d[1], s.d[0]);
    else if (r->parts == MOST_PARTS)
        s.d[0] /= MOST_PARTS;
    return s;
}

static bool is_counter(const sc_tensor *ours)
{
    return ours->dtype == SC_I64;
}

static void nearest(const sc_pretrained *p, const char *name, char out[200])
{
    const char *near = sc_nearest(name, (const char *const *)p->plain, p->from.count);
    out[0] = '\0';
    if (near)
        snprintf(out, 200, " (nearest: '%.150s')", near);
}

static void check_source(sc_pretrained *p, sc_tensor *ours, recipe *r, int k, offenders *o)
{
    char near[200], a[96], b[96];
    int at = find(p, r->names[k]);
    if (at < 0) {
        nearest(p, r->names[k], near);
        offend(o, "'%s' is missing%s", r->names[k], o->count < SHOWN ? near : "");
        return;
    }
    const sc_tensor *t = &p->from.items[at];
    sc_shape wanted = source_shape(ours, r);
    if (!sc_shape_equal(&t->shape, &wanted))
        offend(o, "'%s' is %s, not %s", t->name, sc_shape_text(&t->shape, a),
               sc_shape_text(&wanted, b));
    else if (is_float(t->dtype) == is_counter(ours) ||
             (k > 0 && t->dtype != p->from.items[r->sources[0]].dtype))
        offend(o, "'%s' holds %s", t->name, sc_dtype_name(t->dtype));
    r->sources[k] = (size_t)at;
    p->used[at] = true;
}

static sc_status map_one(sc_pretrained *p, const layout *l, const sc_tensor *wanted, offenders *o)
{
    recipe *r = &p->recipes[p->set.count];
    SC_TRY(l->find(wanted->name + strlen(l->tower), r));
    sc_tensor ours = {
        .name = sc_strdup(wanted->name), .dtype = wanted->dtype, .shape = wanted->shape};
    if (!ours.name)
        return SC_ENOMEM;
    if (is_counter(&ours) && find(p, r->names[0]) < 0) /* older files count no batches */
        r->parts = 0;
    for (int k = 0; k < r->parts; k++)
        check_source(p, &ours, r, k, o);
    if (r->parts > 0 && o->count == 0)
        ours.dtype = p->from.items[r->sources[0]].dtype;
    return sc_tensor_set_add(&p->set, &ours);
}

static void check_rest(const sc_pretrained *p, const layout *l, offenders *o)
{
    for (size_t i = 0; i < p->from.count; i++)
        if (!p->used[i] && !is_spare(l, p->plain[i]))
            offend(o, "'%s' is unknown", p->from.items[i].name);
}

/* ---- opening and reading --------------------------------------------------------------------- */

static sc_status map_all(sc_pretrained *p, const char *tower, const sc_tensor *wanted, size_t n)
{
    const layout *l = layout_of(p, tower);
    if (!l)
        return sc_fail(SC_EFORMAT,
                       "%s: holds no %s whose names are known (its first tensor is '%.100s')",
                       p->path,
                       *tower == 'i' ? "ResNet of torchvision"
                                     : "text tower of OpenAI, open_clip or Hugging Face CLIP",
                       p->from.count ? p->from.items[0].name : "");
    offenders o = {0};
    sc_text_init(&o.text);
    sc_status status = SC_OK;
    for (size_t i = 0; i < n && status == SC_OK; i++)
        status = map_one(p, l, &wanted[i], &o);
    if (status == SC_OK) {
        check_rest(p, l, &o);
        status = sc_text_status(&o.text);
    }
    if (status == SC_OK && o.count > SHOWN)
        status = sc_fail(SC_EFORMAT, "%s: does not fit the encoder: %s; and %zu more", p->path,
                         o.text.data, o.count - SHOWN);
    else if (status == SC_OK && o.count > 0)
        status = sc_fail(SC_EFORMAT, "%s: does not fit the encoder: %s", p->path, o.text.data);
    sc_text_free(&o.text);
    return status;
}

sc_status sc_pretrained_open(const sc_weights *w, const char *tower, const sc_tensor *wanted,
                             size_t n, sc_pretrained **out)
{
    *out = NULL;
    for (size_t i = 0; i < n; i++)
        if (strncmp(wanted[i].name, tower, strlen(tower)) != 0)
            return sc_fail(SC_EINTERNAL, "'%s' does not begin with %s", wanted[i].name, tower);
    sc_pretrained *p = sc_alloc(1, sizeof *p);
    if (!p)
        return SC_ENOMEM;
    p->from = sc_weights_reader(w);
    p->path = sc_weights_path(w);
    p->plain = sc_alloc(p->from.count, sizeof *p->plain);
    p->used = sc_alloc(p->from.count, sizeof *p->used);
    p->recipes = sc_alloc(n, sizeof *p->recipes);
    sc_status status = p->plain && p->used && p->recipes ? SC_OK : SC_ENOMEM;
    for (size_t i = 0; i < p->from.count && status == SC_OK; i++)
        p->plain[i] = (char *)without_prefixes(p->from.items[i].name);
    if (status == SC_OK)
        status = map_all(p, tower, wanted, n);
    if (status == SC_OK) {
        *out = p;
        return SC_OK;
    }
    for (size_t i = 0; p->recipes && i < n; i++) /* also the one that failed */
        for (int k = 0; k < MOST_PARTS; k++)
            free(p->recipes[i].names[k]);
    free(p->recipes);
    p->recipes = NULL;
    sc_pretrained_close(p);
    return status;
}

static sc_status read_transposed(const sc_pretrained *p, const sc_tensor *ours, size_t source,
                                 void *dst)
{
    const sc_tensor *t = &p->from.items[source];
    size_t size = sc_dtype_size(t->dtype), rows = (size_t)ours->shape.d[0],
           columns = (size_t)ours->shape.d[1];
    char *room = sc_alloc(rows * columns, size);
    if (!room)
        return SC_ENOMEM;
    sc_status status = p->from.read(p->from.ctx, source, room);
    for (size_t i = 0; i < rows && status == SC_OK; i++)
        for (size_t j = 0; j < columns; j++)
            memcpy((char *)dst + (i * columns + j) * size, room + (j * rows + i) * size, size);
    free(room);
    return status;
}

static sc_status read_mapped(void *ctx, size_t i, void *dst)
{
    const sc_pretrained *p = ctx;
    const recipe *r = &p->recipes[i];
    const sc_tensor *ours = &p->set.items[i];
    if (r->parts == 0) {
        memset(dst, 0, sc_tensor_bytes(ours));
        return SC_OK;
    }
    if (r->transposed)
        return read_transposed(p, ours, r->sources[0], dst);
    for (int k = 0; k < r->parts; k++) {
        SC_TRY(p->from.read(p->from.ctx, r->sources[k], dst));
        dst = (char *)dst + sc_tensor_bytes(&p->from.items[r->sources[k]]);
    }
    return SC_OK;
}

sc_tensor_reader sc_pretrained_reader(const sc_pretrained *p)
{
    return (sc_tensor_reader){p->set.items, p->set.count, read_mapped, (void *)p};
}

void sc_pretrained_close(sc_pretrained *p)
{
    if (!p)
        return;
    for (size_t i = 0; p->recipes && i < p->set.count; i++)
        for (int k = 0; k < MOST_PARTS; k++)
            free(p->recipes[i].names[k]);
    free(p->recipes);
    sc_tensor_set_free(&p->set);
    free(p->plain);
    free(p->used);
    free(p);
}
