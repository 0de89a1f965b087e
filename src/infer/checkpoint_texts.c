/* The classes of a checkpoint and their texts as token ids. */
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"
#include "superclip/model.h"
#include "superclip/text.h"

/* ---- classes -----------------------------------------------------------------------------------
 */

static bool is_dict(const sc_object *o)
{
    return o && (o->type == SC_OBJ_DICT || o->type == SC_OBJ_ORDERED_DICT);
}

sc_status checkpoint_classes(sc_checkpoint *c)
{
    const char *path = sc_pth_path(c->file);
    const sc_object *dict = sc_obj_get(sc_pth_root(c->file), "class_to_idx");
    if (!is_dict(dict) || dict->count < 1 || dict->count > 1 << 20)
        return sc_fail(SC_EFORMAT,
                       "%s: has no class_to_idx, so its classes are not known; name a checkpoint "
                       "of sc_mpi or train_clip.py",
                       path);
    c->class_names = sc_alloc(dict->count, sizeof *c->class_names);
    c->texts = sc_alloc(dict->count, sizeof *c->texts);
    if (!c->class_names || !c->texts)
        return SC_ENOMEM;
    c->classes = (int)dict->count;
    for (size_t i = 0; i < dict->count; i++) {
        const sc_object *name = dict->keys[i], *v = dict->items[i];
        if (name->type != SC_OBJ_STRING || v->type != SC_OBJ_INT || v->i < 0 ||
            v->i >= c->classes || c->class_names[v->i])
            return sc_fail(SC_EFORMAT, "%s: its class_to_idx does not number its %d classes from 0",
                           path, c->classes);
        if (!(c->class_names[v->i] = sc_strdup(name->s)))
            return SC_ENOMEM;
    }
    return SC_OK;
}

/* ---- a class's texts
 * ------------------------------------------------------------------------------
 */

typedef struct id_lists {
    int32_t **ids;
    int *lengths;
    int count;
} id_lists;

/* Room for the ids of n texts of class k, which the checkpoint owns. */
static sc_status make_room(sc_checkpoint *c, int k, size_t n, id_lists *l)
{
    *l = (id_lists){sc_alloc(n, sizeof *l->ids), sc_alloc(n, sizeof *l->lengths), (int)n};
    if (!l->ids || !l->lengths) {
        free(l->ids);
        free(l->lengths);
        return SC_ENOMEM;
    }
    c->texts[k] = (sc_train_text){NULL, l->ids, l->lengths, l->count};
    return SC_OK;
}

void checkpoint_text_free(sc_train_text *t)
{
    for (int i = 0; i < t->count; i++)
        free(t->ids[i]);
    free((void *)t->ids);
    free((void *)t->lengths);
    *t = (sc_train_text){0};
}

static sc_status wrong_ids(const sc_checkpoint *c, int k)
{
    return sc_fail(SC_EFORMAT,
                   "%s: class_token_ids of class '%s' is not a list of lists of up to %d tokens "
                   "below %d",
                   sc_pth_path(c->file), c->class_names[k], c->context, c->vocabulary);
}

static bool is_list(const sc_object *o)
{
    return o && (o->type == SC_OBJ_LIST || o->type == SC_OBJ_TUPLE);
}

static sc_status take_ids(sc_checkpoint *c, int k, const sc_object *lists)
{
    id_lists l;
    if (!is_list(lists) || lists->count < 1 || lists->count > 1 << 20)
        return wrong_ids(c, k);
    SC_TRY(make_room(c, k, lists->count, &l));
    for (int i = 0; i < l.count; i++) {
        const sc_object *row = lists->items[i];
        if (!is_list(row) || row->count < 1 || row->count > (size_t)c->context)
            return wrong_ids(c, k);
        l.ids[i] = sc_alloc(row->count, sizeof **l.ids);
        if (!l.ids[i])
            return SC_ENOMEM;
        l.lengths[i] = (int)row->count;
        for (size_t j = 0; j < row->count; j++) {
            const sc_object *id = row->items[j];
            if (id->type != SC_OBJ_INT || id->i < 0 || id->i >= c->vocabulary)
                return wrong_ids(c, k);
            l.ids[i][j] = (int32_t)id->i;
        }
    }
    return SC_OK;
}

/* ---- without token ids: the old script's files -------------------------------------------------
 */

/* The config's text_template with the class name in it. */
static char *from_template(const sc_checkpoint *c, const char *name)
{
    static const char mark[] = "{class_name}";
    const sc_object *v = sc_obj_get(sc_obj_get(sc_pth_root(c->file), "config"), "text_template");
    const char *template = v && v->type == SC_OBJ_STRING ? v->s : mark, *at;
    sc_text t;
    sc_text_init(&t);
    while ((at = strstr(template, mark)) != NULL) {
        sc_text_add(&t, template, (size_t)(at - template));
        sc_text_puts(&t, name);
        template = at + sizeof mark - 1;
    }
    sc_text_puts(&t, template);
    char *text = sc_text_status(&t) == SC_OK ? sc_strdup(t.data) : NULL;
    sc_text_free(&t);
    return text;
}

/* given: a text, a list of texts, or NULL. */
static sc_status encode(sc_checkpoint *c, int k, const sc_tokenizer *z, const sc_object *given)
{
    const char *path = sc_pth_path(c->file), *name = c->class_names[k];
    bool list = is_list(given);
    id_lists l;
    if (list && given->count == 0)
        return sc_fail(SC_EFORMAT, "%s: class_texts of class '%s' is empty", path, name);
    SC_TRY(make_room(c, k, list ? given->count : 1, &l));
    for (int i = 0; i < l.count; i++) {
        const sc_object *one = list ? given->items[i] : given;
        if (one && one->type != SC_OBJ_STRING)
            return sc_fail(SC_EFORMAT,
                           "%s: class_texts of class '%s' is not a text or a list of texts", path,
                           name);
        char *made = one ? NULL : from_template(c, name);
        if (!one && !made)
            return SC_ENOMEM;
        sc_status status =
            sc_tokenizer_encode(z, one ? one->s : made, &l.ids[i], &l.lengths[i], NULL);
        free(made);
        if (status != SC_OK)
            return sc_fail_prefix(status, "%s: class '%s'", path, name);
    }
    return SC_OK;
}

/* A tokenizer of the checkpoint's vocabulary. The one of bytes alone needs no file. */
static sc_status open_tokenizer(const sc_checkpoint *c, const char *given, sc_tokenizer **out)
{
    enum { BYTES_ALONE = 514 };
    const char *path = sc_pth_path(c->file);
    sc_tokenizer_kind kind = sc_encoder_find(c->text_encoder)->tokenizer;
    sc_found found = {0};
    sc_status status = SC_OK;
    if (given || kind != SC_TOKENIZER_CLIP || c->vocabulary != BYTES_ALONE)
        status = sc_vocabulary_find(c->text_encoder, "--tokenizer", given, NULL, &found);
    if (status != SC_OK)
        return sc_fail_prefix(status,
                              "%s: holds no class_token_ids, so its texts need the file of "
                              "the tokenizer it was trained with (--tokenizer FILE)",
                              path);
    status = sc_tokenizer_open(kind, found.path, out);
    if (status == SC_OK && sc_tokenizer_vocabulary(*out) != c->vocabulary) {
        status = sc_fail(SC_EUSAGE,
                         "%s: its model has %d tokens, but the tokenizer %s has %d: give the file "
                         "it was trained with (--tokenizer FILE)",
                         path, c->vocabulary, found.path ? found.path : "of bytes alone",
                         sc_tokenizer_vocabulary(*out));
        sc_tokenizer_free(*out);
    }
    sc_found_free(&found);
    return status;
}

static sc_status tokenize(sc_checkpoint *c, const char *tokenizer)
{
    const sc_object *texts = sc_obj_get(sc_pth_root(c->file), "class_texts");
    sc_tokenizer *z = NULL;
    if (texts && texts->type != SC_OBJ_NONE && !is_dict(texts))
        return sc_fail(SC_EFORMAT, "%s: class_texts is not a dict of texts", sc_pth_path(c->file));
    SC_TRY(open_tokenizer(c, tokenizer, &z));
    sc_status status = SC_OK;
    for (int k = 0; k < c->classes && status == SC_OK; k++)
        status = encode(c, k, z, sc_obj_get(texts, c->class_names[k]));
    sc_tokenizer_free(z);
    return status;
}

sc_status checkpoint_texts(sc_checkpoint *c, const char *tokenizer, const sc_log *log)
{
    const sc_object *ids = sc_obj_get(sc_pth_root(c->file), "class_token_ids");
    if (!ids || ids->type == SC_OBJ_NONE)
        return tokenize(c, tokenizer);
    if (tokenizer)
        sc_warn(log, "%s: holds the token ids of its texts; --tokenizer is not needed",
                sc_pth_path(c->file));
    for (int k = 0; k < c->classes; k++)
        SC_TRY(take_ids(c, k, sc_obj_get(ids, c->class_names[k])));
    return SC_OK;
}
