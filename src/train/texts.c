/* Class texts -> the token matrix. Every text is encoded once a step whatever the batch holds; the
 * matrix is as wide as the longest text, since behind the end token nothing counts (causal mask).
 */
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

static sc_status measure(const sc_train_options *o, int classes, sc_text_batch *b)
{
    b->texts = b->length = 0;
    for (int c = 0; c < classes; c++) {
        const sc_train_text *t = &o->class_texts[c];
        if (t->count < 1)
            return sc_fail(SC_EUSAGE, "class '%s' has no text",
                           sc_dataset_class_names(o->dataset)[c]);
        b->texts += t->count;
        for (int i = 0; i < t->count; i++) {
            if (t->lengths[i] < 1 || t->lengths[i] > o->context)
                return sc_fail(SC_EINTERNAL, "a text of class %d has %d tokens, context is %d", c,
                               t->lengths[i], o->context);
            if (t->lengths[i] > b->length)
                b->length = t->lengths[i];
        }
    }
    return SC_OK;
}

sc_status sc_text_batch_make(const sc_train_options *o, sc_text_batch *b)
{
    int classes = sc_dataset_classes(o->dataset), row = 0;
    *b = (sc_text_batch){0};
    SC_TRY(measure(o, classes, b));
    b->tokens = sc_alloc((size_t)b->texts * (size_t)b->length, sizeof *b->tokens);
    b->end = sc_alloc((size_t)b->texts, sizeof *b->end);
    b->group = sc_alloc((size_t)b->texts, sizeof *b->group);
    if (!b->tokens || !b->end || !b->group) {
        sc_text_batch_free(b);
        return SC_ENOMEM;
    }
    for (int c = 0; c < classes; c++)
        for (int i = 0; i < o->class_texts[c].count; i++, row++) {
            int n = o->class_texts[c].lengths[i];
            memcpy(b->tokens + (ptrdiff_t)row * b->length, o->class_texts[c].ids[i],
                   (size_t)n * sizeof(int32_t));
            b->end[row] = n - 1;
            b->group[row] = c;
        }
    return SC_OK;
}

void sc_text_batch_free(sc_text_batch *b)
{
    free(b->tokens);
    free(b->end);
    free(b->group);
    *b = (sc_text_batch){0};
}
