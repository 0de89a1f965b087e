/* Class texts -> the token matrix, as wide as the longest text, and the same without padding. Every
 * text is encoded once a step whatever the batch holds.
 */
#include <stdlib.h>
#include <string.h>

#include "superclip/train.h"

static sc_status measure(const sc_train_text *texts, const char *const *class_names, int classes,
                         int context, sc_text_batch *b)
{
    b->texts = b->length = 0;
    for (int c = 0; c < classes; c++) {
        const sc_train_text *t = &texts[c];
        if (t->count < 1)
            return sc_fail(SC_EUSAGE, "class '%s' has no text", class_names[c]);
        b->texts += t->count;
        for (int i = 0; i < t->count; i++) {
            if (t->lengths[i] < 1 || t->lengths[i] > context)
                return sc_fail(SC_EINTERNAL, "a text of class %d has %d tokens, context is %d", c,
                               t->lengths[i], context);
            if (t->lengths[i] > b->length)
                b->length = t->lengths[i];
        }
    }
    return SC_OK;
}

sc_status sc_text_batch_make(const sc_train_text *texts, const char *const *class_names,
                             int classes, int context, sc_text_batch *b)
{
    int row = 0;
    *b = (sc_text_batch){0};
    SC_TRY(measure(texts, class_names, classes, context, b));
    b->tokens = sc_alloc((size_t)b->texts * (size_t)b->length, sizeof *b->tokens);
    b->end = sc_alloc((size_t)b->texts, sizeof *b->end);
    b->group = sc_alloc((size_t)b->texts, sizeof *b->group);
    if (!b->tokens || !b->end || !b->group) {
        sc_text_batch_free(b);
        return SC_ENOMEM;
    }
    for (int c = 0; c < classes; c++)
        for (int i = 0; i < texts[c].count; i++, row++) {
            int n = texts[c].lengths[i];
            memcpy(b->tokens + (ptrdiff_t)row * b->length, texts[c].ids[i],
                   (size_t)n * sizeof(int32_t));
            b->end[row] = n - 1;
            b->group[row] = c;
        }
    sc_status status = sc_text_pack_make(b->tokens, b->end, b->texts, b->length, &b->pack);
    if (status != SC_OK)
        sc_text_batch_free(b);
    return status;
}

void sc_text_batch_free(sc_text_batch *b)
{
    free(b->tokens);
    free(b->end);
    free(b->group);
    sc_text_pack_free(&b->pack);
    *b = (sc_text_batch){0};
}
