/* The room's door: one tokenizer, two kinds. */
#include "text_priv.h"

#include <stdlib.h>
#include <string.h>

#define CLIP_CONTEXT 77
#define BERT_CONTEXT 128 /* the old script's max_length; the model itself takes 512 */

struct sc_tokenizer {
    clip_tokenizer *clip; /* one of the two */
    bert_tokenizer *bert;
};

sc_status sc_tokenizer_open(sc_tokenizer_kind kind, const char *path, sc_tokenizer **out)
{
    *out = NULL;
    sc_tokenizer *t = sc_alloc(1, sizeof *t);
    if (!t)
        return SC_ENOMEM;
    const sc_status status =
        kind == SC_TOKENIZER_BERT ? bert_open(path, &t->bert) : clip_open(path, &t->clip);
    if (status != SC_OK)
        free(t);
    else
        *out = t;
    return status;
}

void sc_tokenizer_free(sc_tokenizer *t)
{
    if (!t)
        return;
    clip_free(t->clip);
    bert_free(t->bert);
    free(t);
}

int sc_tokenizer_vocabulary(const sc_tokenizer *t)
{
    return t->bert ? bert_vocabulary(t->bert) : clip_vocabulary(t->clip);
}

int sc_tokenizer_context(const sc_tokenizer *t)
{
    return t->bert ? BERT_CONTEXT : CLIP_CONTEXT;
}

int32_t sc_tokenizer_unknown(const sc_tokenizer *t)
{
    return t->bert ? bert_unknown(t->bert) : -1;
}

bool id_list_put(id_list *list, int32_t id)
{
    list->cut = list->n == list->context - 1;
    if (!list->cut)
        list->ids[list->n++] = id;
    return !list->cut;
}

void id_list_end(id_list *list, int32_t id)
{
    list->ids[list->n++] = id;
}

char *text_beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    return slash ? sc_format("%.*s/%s", (int)(slash - path), path, name) : sc_strdup(name);
}

bool text_is(const char *s, size_t n, const char *what)
{
    return n == strlen(what) && memcmp(s, what, n) == 0;
}

sc_status sc_tokenizer_encode(const sc_tokenizer *t, const char *text, int32_t **ids, int *n,
                              bool *cut)
{
    id_list list = {.n = 0, .context = sc_tokenizer_context(t)};
    *ids = NULL;
    *n = 0;
    if (!sc_utf8_valid(text, strlen(text)))
        return sc_fail(SC_EUSAGE, "a text is not valid UTF-8: save the class texts as UTF-8");
    SC_TRY(t->bert ? bert_encode(t->bert, text, &list) : clip_encode(t->clip, text, &list));
    *ids = sc_alloc((size_t)list.n, sizeof **ids);
    if (!*ids)
        return SC_ENOMEM;
    memcpy(*ids, list.ids, (size_t)list.n * sizeof **ids);
    *n = list.n;
    if (cut)
        *cut = list.cut;
    return SC_OK;
}
