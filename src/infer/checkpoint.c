/* From a .pth file to everything that is needed to build its model. */
#include "checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "superclip/model.h"

/* ---- the config --------------------------------------------------------------------------------
 */

/* The value of a key or of its other name in the checkpoint's config; NULL: absent or None. */
static const sc_object *config_value(const sc_checkpoint *c, const char *key, const char *alias)
{
    const sc_object *config = sc_obj_get(sc_pth_root(c->file), "config");
    const sc_object *v = sc_obj_get(config, key);
    if (!v && alias)
        v = sc_obj_get(config, alias);
    return v && v->type != SC_OBJ_NONE ? v : NULL;
}

static sc_status wrong(const sc_checkpoint *c, const char *key, const char *what)
{
    return sc_fail(SC_EFORMAT, "%s: '%s' of its config is not %s", sc_pth_path(c->file), key, what);
}

static sc_status no_config(const sc_checkpoint *c, const char *key, const char *flag)
{
    return sc_fail(SC_EUSAGE,
                   "%s: has no config, which would name its %s; give %s if you know it, or name a "
                   "checkpoint of sc_mpi or train_clip.py",
                   sc_pth_path(c->file), key, flag);
}

static sc_status take_name(const sc_checkpoint *c, const char *key, const char *alias,
                           const char *flag, const char *hint, const char *initial, char **out)
{
    const sc_object *v = config_value(c, key, alias);
    if (v && v->type != SC_OBJ_STRING)
        return wrong(c, key, "a name");
    if (v && hint && strcmp(v->s, hint) != 0)
        return sc_fail(SC_EUSAGE, "%s: its %s is '%s', not '%s'; leave %s out",
                       sc_pth_path(c->file), key, v->s, hint, flag);
    if (!v && !hint && !sc_obj_get(sc_pth_root(c->file), "config"))
        return no_config(c, key, flag);
    *out = sc_strdup(v ? v->s : hint ? hint : initial);
    return *out ? SC_OK : SC_ENOMEM;
}

static sc_status take_int(const sc_checkpoint *c, const char *key, int least, int most, int initial,
                          int *out)
{
    const sc_object *v = config_value(c, key, NULL);
    if (v && (v->type != SC_OBJ_INT || v->i < least || v->i > most))
        return sc_fail(SC_EFORMAT, "%s: '%s' of its config is not a whole number in %d..%d",
                       sc_pth_path(c->file), key, least, most);
    *out = v ? (int)v->i : initial;
    return SC_OK;
}

static sc_status take_size(sc_checkpoint *c, int hint)
{
    if (!hint && !sc_obj_get(sc_pth_root(c->file), "config"))
        return no_config(c, "img_size", "--img-size");
    SC_TRY(take_int(c, "img_size", 16, 4096, hint ? hint : 224, &c->img_size));
    if (hint && hint != c->img_size)
        return sc_fail(SC_EUSAGE, "%s: its img_size is %d, not %d; leave --img-size out",
                       sc_pth_path(c->file), c->img_size, hint);
    return SC_OK;
}

static sc_status read_config(sc_checkpoint *c, const sc_infer_hints *h)
{
    const sc_object *amp = config_value(c, "use_amp", NULL);
    if (amp && amp->type != SC_OBJ_BOOL)
        return wrong(c, "use_amp", "true or false");
    c->use_amp = !amp || amp->b;
    SC_TRY(take_name(c, "image_encoder_name", "image_encoder", "--image-encoder", h->image_encoder,
                     "resnet18", &c->image_encoder));
    SC_TRY(take_name(c, "text_encoder_name", "text_encoder", "--text-encoder", h->text_encoder,
                     "clip:ViT-B/32", &c->text_encoder));
    SC_TRY(take_int(c, "batch_size", 1, 1 << 20, 32, &c->batch_size));
    SC_TRY(take_size(c, h->img_size));
    sc_status status = sc_encoder_check(c->image_encoder, true);
    if (status == SC_OK)
        status = sc_encoder_check(c->text_encoder, false);
    return status == SC_OK ? SC_OK : sc_fail_prefix(status, "%s", sc_pth_path(c->file));
}

/* ---- the tensors -------------------------------------------------------------------------------
 */

static sc_status list_tensors(sc_checkpoint *c)
{
    static const char tower[] = "text_encoder.";
    const char *key, *path = sc_pth_path(c->file);
    const sc_object *dict = sc_state_dict_find(sc_pth_root(c->file), &key);
    if (!dict || (dict->type != SC_OBJ_DICT && dict->type != SC_OBJ_ORDERED_DICT))
        return sc_fail(SC_EFORMAT, "%s: holds no model_state_dict: no checkpoint of a model", path);
    c->image.file = c->text.file = c->file;
    for (size_t i = 0; i < dict->count; i++) {
        const sc_object *name = dict->keys[i], *v = dict->items[i];
        if (name->type != SC_OBJ_STRING || v->type != SC_OBJ_TENSOR)
            return sc_fail(SC_EFORMAT, "%s: '%s' is not a dict of tensors", path, key);
        bool text = strncmp(name->s, tower, sizeof tower - 1) == 0;
        sc_status status = sc_pth_list_add(text ? &c->text : &c->image, name->s, v);
        if (status != SC_OK)
            return sc_fail_prefix(status, "%s", path);
    }
    return SC_OK;
}

/* Length of the first dimension of a tensor that the model cannot be without. */
static sc_status rows_of(const sc_checkpoint *c, const sc_pth_list *list, const char *name,
                         int *out)
{
    const sc_tensor *t = sc_tensor_set_find(&list->set, name);
    if (!t || t->shape.n < 1 || t->shape.d[0] < 1 || t->shape.d[0] > INT32_MAX)
        return sc_fail(SC_EFORMAT,
                       "%s: its model_state_dict has no proper '%s': not a model of "
                       "sc_mpi or train_clip.py",
                       sc_pth_path(c->file), name);
    *out = (int)t->shape.d[0];
    return SC_OK;
}

static sc_status measure(sc_checkpoint *c)
{
    bool bert = sc_encoder_find(c->text_encoder)->tokenizer == SC_TOKENIZER_BERT;
    SC_TRY(rows_of(c, &c->image, "image_encoder.projection.weight", &c->embed_dim));
    SC_TRY(rows_of(c, &c->text,
                   bert ? "text_encoder.backbone.embeddings.word_embeddings.weight"
                        : "text_encoder.token_embedding.weight",
                   &c->vocabulary));
    return rows_of(c, &c->text,
                   bert ? "text_encoder.backbone.embeddings.position_embeddings.weight"
                        : "text_encoder.positional_embedding",
                   &c->context);
}

/* ---- open and close -----------------------------------------------------------------------------
 */

sc_status sc_checkpoint_open(const char *path, const sc_infer_hints *h, const sc_log *log,
                             sc_checkpoint **out)
{
    *out = NULL;
    sc_checkpoint *c = sc_alloc(1, sizeof *c);
    if (!c)
        return SC_ENOMEM;
    sc_status status = sc_pth_open(path, &c->file);
    if (status == SC_OK)
        status = list_tensors(c);
    if (status == SC_OK)
        status = read_config(c, h);
    if (status == SC_OK)
        status = measure(c);
    if (status == SC_OK)
        status = checkpoint_classes(c);
    if (status == SC_OK)
        status = checkpoint_texts(c, h->tokenizer, log);
    if (status == SC_OK)
        *out = c;
    else
        sc_checkpoint_close(c);
    return status;
}

void sc_checkpoint_close(sc_checkpoint *c)
{
    if (!c)
        return;
    for (int k = 0; k < c->classes; k++) {
        checkpoint_text_free(&c->texts[k]);
        free(c->class_names[k]);
    }
    free(c->texts);
    free(c->class_names);
    free(c->image_encoder);
    free(c->text_encoder);
    sc_pth_list_free(&c->image);
    sc_pth_list_free(&c->text);
    sc_pth_close(c->file);
    free(c);
}

sc_status sc_checkpoint_same_classes(const sc_checkpoint *a, const sc_checkpoint *b)
{
    const char *first = sc_pth_path(a->file), *second = sc_pth_path(b->file);
    if (a->classes != b->classes)
        return sc_fail(SC_EUSAGE,
                       "%s has %d classes, %s has %d; checkpoints of one ensemble need the same",
                       first, a->classes, second, b->classes);
    for (int k = 0; k < a->classes; k++)
        if (strcmp(a->class_names[k], b->class_names[k]) != 0)
            return sc_fail(SC_EUSAGE,
                           "class %d is '%s' in %s, '%s' in %s; checkpoints of one ensemble need "
                           "the same classes",
                           k, a->class_names[k], first, b->class_names[k], second);
    return SC_OK;
}
