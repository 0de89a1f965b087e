/* Published state dicts under the names of our model's parameters. Which of its family's layouts a
 * file has is told by its names; every tensor that a tower needs is looked for, every other one is
 * accounted for.
 */
#include "family.h"

#include <stdlib.h>
#include <string.h>

struct sc_pretrained {
    sc_tensor_reader from;
    const char *path;
    const char **plain; /* the file's names without the prefixes that wrappers put before them */
    bool *used;
    sc_tensor_set set; /* ours, no data */
    sc_recipe *recipes;
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

bool sc_names_has(const sc_names *names, const char *name)
{
    return find(names, name) >= 0;
}

static const sc_layout *layout_of(const sc_pretrained *p, const sc_family *family)
{
    for (size_t i = 0; i < family->layout_count; i++)
        if (find(p, family->layouts[i].witness) >= 0)
            return &family->layouts[i];
    return NULL;
}

static bool is_spare(const sc_layout *l, const char *name)
{
    for (const char *const *s = l->spare; *s; s++) {
        size_t n = strlen(*s);
        if ((*s)[n - 1] == '*' ? !strncmp(name, *s, n - 1) : !strcmp(name, *s))
            return true;
    }
    return false;
}

/* Our own files have our names: a whole model's state dict, or one tower's without "image_encoder."
 * before them (sc_export --tower). */
static sc_status as_ours(const sc_names *names, const char *ours, sc_recipe *r)
{
    (void)names;
    return sc_recipe_one(r, sc_strdup(ours));
}

static const char *const image_spare[] = {"temperature", "image_encoder.projection.*",
                                          "text_encoder.*", NULL};
static const char *const text_spare[] = {"temperature", "text_encoder.projection.*",
                                         "image_encoder.*", NULL};
static const char *const tower_spare[] = {"projection.*", NULL};
static const struct own {
    const char *prefix; /* of the model's names, which the file's lack */
    sc_layout layout;
} own_files[] = {{"", {"image_encoder.", as_ours, image_spare}},
                 {"", {"text_encoder.", as_ours, text_spare}},
                 {"image_encoder.", {"image_encoder.", as_ours, tower_spare}},
                 {"text_encoder.", {"text_encoder.", as_ours, tower_spare}}};
enum { OWN_FILES = sizeof own_files / sizeof own_files[0] };

/* The layout of a file of ours. Only names with "backbone." in them are nobody else's. */
static const struct own *own_file_of(const sc_pretrained *p, const sc_tensor *wanted, size_t n)
{
    size_t k = 0;
    while (k < n && !strstr(wanted[k].name, ".backbone."))
        k++;
    const char *first = k < n ? wanted[k].name : "";
    for (int i = 0; i < OWN_FILES; i++) {
        const struct own *o = &own_files[i];
        if (!strncmp(first, o->layout.witness, strlen(o->layout.witness)) &&
            find(p, first + strlen(o->prefix)) >= 0)
            return o;
    }
    return NULL;
}

/* ---- checks ---------------------------------------------------------------------------------- */

/* What the file's tensor has to be for a tensor of ours. */
static sc_shape source_shape(const sc_tensor *ours, const sc_recipe *r)
{
    sc_shape s = ours->shape;
    if (r->transposed && s.n == 2)
        s = SC_SHAPE(s.d[1], s.d[0]);
    if (s.n > 0 && r->parts > 1)
        s.d[0] /= r->parts;
    return s;
}

static sc_shape squeeze(const sc_shape *s)
{
    sc_shape out = {0};
    for (int i = 0; i < s->n; i++)
        if (s->d[i] != 1)
            out.d[out.n++] = s->d[i];
    return out;
}

static bool fits(const sc_shape *have, const sc_shape *wanted, const sc_recipe *r)
{
    if (!r->squeezed)
        return sc_shape_equal(have, wanted);
    sc_shape a = squeeze(have), b = squeeze(wanted);
    return sc_shape_equal(&a, &b);
}

static bool is_counter(const sc_tensor *ours)
{
    return ours->dtype == SC_I64;
}

static void offend_missing(const sc_pretrained *p, const char *name, sc_offenders *o)
{
    const char *near =
        o->count < SC_OFFENDERS_SHOWN ? sc_nearest(name, p->plain, p->from.count) : NULL;
    if (near)
        sc_offend(o, "'%s' is missing (nearest: '%.150s')", name, near);
    else
        sc_offend(o, "'%s' is missing", name);
}

static void check_source(sc_pretrained *p, sc_tensor *ours, sc_recipe *r, int k, sc_offenders *o)
{
    char a[96], b[96];
    int at = find(p, r->names[k]);
    if (at < 0) {
        offend_missing(p, r->names[k], o);
        return;
    }
    const sc_tensor *t = &p->from.items[at];
    sc_shape wanted = source_shape(ours, r);
    if (!fits(&t->shape, &wanted, r))
        sc_offend(o, "'%s' is %s, not %s", t->name, sc_shape_text(&t->shape, a),
                  sc_shape_text(&wanted, b));
    else if (sc_dtype_is_float(t->dtype) == is_counter(ours) ||
             (k > 0 && t->dtype != p->from.items[r->sources[0]].dtype))
        sc_offend(o, "'%s' holds %s", t->name, sc_dtype_name(t->dtype));
    r->sources[k] = (size_t)at;
    p->used[at] = true;
}

/* `prefix`: what the layout's names lack of ours. */
static sc_status map_one(sc_pretrained *p, const char *prefix, const sc_layout *l,
                         const sc_tensor *wanted, sc_offenders *o)
{
    sc_recipe *r = &p->recipes[p->set.count];
    size_t n = strlen(prefix);
    if (strncmp(wanted->name, prefix, n) != 0)
        return sc_fail(SC_EINTERNAL, "'%s' does not begin with %s", wanted->name, prefix);
    SC_TRY(l->map(p, wanted->name + n, r));
    sc_tensor ours = {
        .name = sc_strdup(wanted->name), .dtype = wanted->dtype, .shape = wanted->shape};
    if (!ours.name)
        return SC_ENOMEM;
    if (r->may_lack && find(p, r->names[0]) < 0)
        r->parts = 0;
    for (int k = 0; k < r->parts; k++)
        check_source(p, &ours, r, k, o);
    if (r->parts > 0 && o->count == 0)
        ours.dtype = p->from.items[r->sources[0]].dtype;
    return sc_tensor_set_add(&p->set, &ours);
}

static void check_rest(const sc_pretrained *p, const sc_layout *l, sc_offenders *o)
{
    for (size_t i = 0; i < p->from.count; i++)
        if (!p->used[i] && !is_spare(l, p->plain[i]))
            sc_offend(o, "'%s' is unknown", p->from.items[i].name);
}

/* ---- opening and reading --------------------------------------------------------------------- */

static sc_status map_all(sc_pretrained *p, const char *encoder, const sc_tensor *wanted, size_t n)
{
    const sc_published *row;
    const sc_family *family = sc_family_find(encoder, &row);
    if (!family)
        return sc_fail(SC_EUNSUPPORTED, "%s: files with weights of %s cannot be read", p->path,
                       encoder);
    const sc_layout *l = layout_of(p, family);
    const char *prefix = family->tower;
    const struct own *own = l ? NULL : own_file_of(p, wanted, n);
    if (own) {
        l = &own->layout;
        prefix = own->prefix;
    }
    if (!l)
        return sc_fail(SC_EFORMAT,
                       "%s: holds no %s whose names are known (its first tensor is '%.100s')",
                       p->path, family->what, p->from.count ? p->from.items[0].name : "");
    sc_offenders o = {0};
    sc_status status = SC_OK;
    for (size_t i = 0; i < n && status == SC_OK; i++)
        status = map_one(p, prefix, l, &wanted[i], &o);
    if (status == SC_OK)
        check_rest(p, l, &o);
    sc_status verdict = sc_offenders_status(&o, "%s: does not fit %s", p->path, encoder);
    return status == SC_OK ? verdict : status;
}

sc_status sc_pretrained_open(const sc_weights *w, const char *encoder, const sc_tensor *wanted,
                             size_t n, sc_pretrained **out)
{
    *out = NULL;
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
        p->plain[i] = without_prefixes(p->from.items[i].name);
    if (status == SC_OK)
        status = map_all(p, encoder, wanted, n);
    for (size_t i = 0; p->recipes && i < n; i++) /* the sources' numbers are enough from here on */
        for (int k = 0; k < SC_MOST_PARTS; k++)
            free(p->recipes[i].names[k]);
    if (status == SC_OK)
        *out = p;
    else
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
    const sc_recipe *r = &p->recipes[i];
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
    free(p->recipes);
    sc_tensor_set_free(&p->set);
    free((void *)p->plain);
    free(p->used);
    free(p);
}
