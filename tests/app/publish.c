/* Makes files of published weights out of our own checkpoints, so that runs can begin with them:
 *   publish image|text CHECKPOINT OUT [HOW]   torchvision's or OpenAI's names; OUT ends in .pth or
 *                                             .safetensors; HOW: f16 bf16 f64 i32 (element types),
 *                                             extra missing misshapen (one tensor is wrong)
 *   publish whole CHECKPOINT OUT [renamed]    the model's state dict as it is, or with one other
 * name publish same A B PREFIX                   the tensors whose names begin so are equal, bit by
 * bit publish differ A B PREFIX                 at least one of them is not
 */
#include <stdlib.h>
#include <string.h>

#include "superclip/weights.h"

static int fail(const char *what)
{
    fprintf(stderr, "publish: %s\n", what);
    return 1;
}

static sc_status load(const char *path, sc_tensor_set *out)
{
    sc_weights *w;
    SC_TRY(sc_weights_open(path, &w));
    sc_tensor_reader r = sc_weights_reader(w);
    sc_status status = SC_OK;
    for (size_t i = 0; i < r.count && status == SC_OK; i++) {
        sc_tensor t;
        status = sc_tensor_new(r.items[i].name, r.items[i].dtype, r.items[i].shape, &t);
        if (status == SC_OK)
            status = r.read(r.ctx, i, t.data);
        if (status == SC_OK)
            status = sc_tensor_set_add(out, &t);
    }
    sc_weights_close(w);
    return status;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Heap; NULL: the tensor is not of the tower, or its projection. */
static char *published_name(const char *name, bool image)
{
    static const char *const children[] = {"conv1",  "bn1",    NULL,     NULL,
                                           "layer1", "layer2", "layer3", "layer4"};
    static const char backbone[] = "image_encoder.backbone.", text[] = "text_encoder.",
                      blocks[] = "backbone.", projection[] = "projection.";
    const char *rest;
    if (image && !strncmp(name, backbone, sizeof backbone - 1)) {
        rest = name + sizeof backbone - 1;
        return sc_format("%s%s", children[rest[0] - '0'], rest + 1);
    }
    if (image || strncmp(name, text, sizeof text - 1) != 0)
        return NULL;
    rest = name + sizeof text - 1;
    if (!strncmp(rest, projection, sizeof projection - 1))
        return NULL;
    bool block = !strncmp(rest, blocks, sizeof blocks - 1);
    return sc_format("%s%s", block ? "transformer." : "", block ? rest + sizeof blocks - 1 : rest);
}

static sc_status add_zeros(sc_tensor_set *to, const char *name, sc_shape shape)
{
    sc_tensor t;
    SC_TRY(sc_tensor_new(name, SC_F32, shape, &t));
    return sc_tensor_set_add(to, &t);
}

static sc_dtype type_of(const char *how, sc_dtype own)
{
    static const struct {
        const char *name;
        sc_dtype type;
    } rows[] = {{"f16", SC_F16}, {"bf16", SC_BF16}, {"f64", SC_F64}, {"i32", SC_I32}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (own != SC_I64 && !strcmp(rows[i].name, how))
            return rows[i].type;
    return own;
}

static sc_status publish(const sc_tensor_set *ours, bool image, const char *how, sc_tensor_set *out)
{
    for (size_t i = 0; i < ours->count; i++) {
        const sc_tensor *from = &ours->items[i];
        char *name = published_name(from->name, image);
        bool first = out->count == 0;
        if (!name || (first && !strcmp(how, "missing"))) {
            if (name)
                how = "done";
            free(name);
            continue;
        }
        sc_tensor t;
        SC_TRY(sc_tensor_new(name, type_of(how, from->dtype), from->shape, &t));
        free(name);
        for (int64_t k = 0; k < sc_shape_count(&from->shape); k++)
            sc_tensor_set_element(&t, k, sc_tensor_get(from, k));
        if (first && !strcmp(how, "misshapen"))
            t.shape = SC_SHAPE(sc_shape_count(&t.shape));
        SC_TRY(sc_tensor_set_add(out, &t));
    }
    if (!strcmp(how, "extra"))
        SC_TRY(add_zeros(out, image ? "layer9.weight" : "transformer.extra", SC_SHAPE(2)));
    SC_TRY(add_zeros(out, image ? "fc.weight" : "visual.proj", SC_SHAPE(10, 4)));
    return image ? add_zeros(out, "fc.bias", SC_SHAPE(10))
                 : add_zeros(out, "logit_scale", (sc_shape){0});
}

static sc_status save(const char *path, sc_tensor_set *set)
{
    const char *end = strrchr(path, '.');
    if (end && !strcmp(end, ".safetensors"))
        return sc_safetensors_save(path, set, NULL);
    sc_object *dict = sc_obj_ordered_dict();
    for (size_t i = 0; i < set->count; i++) {
        sc_tensor view = set->items[i];
        view.owned = false;
        view.name = NULL;
        sc_obj_put(dict, set->items[i].name, sc_obj_tensor(&view));
    }
    sc_status status = sc_pth_save(path, dict);
    sc_obj_free(dict);
    return status;
}

static int make(char **argv, const char *how)
{
    sc_tensor_set ours = {0}, out = {0};
    sc_status status = load(argv[2], &ours);
    bool whole = !strcmp(argv[1], "whole");
    if (status == SC_OK && !whole)
        status = publish(&ours, !strcmp(argv[1], "image"), how, &out);
    if (status == SC_OK && !strcmp(how, "renamed"))
        ours.items[0].name[strlen(ours.items[0].name) - 1] = '\0';
    if (status == SC_OK)
        status = save(argv[3], whole ? &ours : &out);
    sc_tensor_set_free(&ours);
    sc_tensor_set_free(&out);
    return status == SC_OK ? 0 : fail(sc_message());
}

/* ---- comparison ------------------------------------------------------------------------------ */

static int compare(char **argv, bool want_same)
{
    sc_tensor_set a = {0}, b = {0};
    int looked = 0, different = 0;
    if (load(argv[2], &a) != SC_OK || load(argv[3], &b) != SC_OK)
        return fail(sc_message());
    for (size_t i = 0; i < a.count; i++) {
        const sc_tensor *x = &a.items[i], *y = sc_tensor_set_find(&b, x->name);
        if (strncmp(x->name, argv[4], strlen(argv[4])) != 0)
            continue;
        looked++;
        if (y && y->dtype == x->dtype && sc_shape_equal(&x->shape, &y->shape) &&
            !memcmp(x->data, y->data, sc_tensor_bytes(x)))
            continue;
        different++;
        if (want_same)
            fprintf(stderr, "publish: %s differs\n", x->name);
    }
    sc_tensor_set_free(&a);
    sc_tensor_set_free(&b);
    if (!looked)
        return fail("no such tensor");
    return want_same == (different == 0) ? 0 : fail(want_same ? "not the same" : "the same");
}

int main(int argc, char **argv)
{
    if (argc == 5 && (!strcmp(argv[1], "same") || !strcmp(argv[1], "differ")))
        return compare(argv, !strcmp(argv[1], "same"));
    if (argc == 4 || argc == 5)
        return make(argv, argc == 5 ? argv[4] : "");
    return fail("wrong arguments");
}
