#include "superclip/tensor.h"

#include <stdlib.h>
#include <string.h>

sc_tensor *sc_tensor_set_find(const sc_tensor_set *s, const char *name)
{
    /* A state dict holds a few hundred names: a walk costs less than an index would explain. */
    for (size_t i = 0; i < s->count; i++)
        if (s->items[i].name && !strcmp(s->items[i].name, name))
            return &s->items[i];
    return NULL;
}

sc_status sc_tensor_set_add(sc_tensor_set *s, sc_tensor *t)
{
    sc_status status = SC_OK;
    if (!t->name)
        status = sc_fail(SC_EINTERNAL, "a tensor without a name cannot join a set");
    else if (sc_tensor_set_find(s, t->name))
        status = sc_fail(SC_EFORMAT, "tensor '%s' appears twice", t->name);
    else if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 16;
        sc_tensor *items = sc_realloc(s->items, cap, sizeof *items);
        if (items) {
            s->items = items;
            s->cap = cap;
        } else
            status = SC_ENOMEM;
    }
    if (status != SC_OK) {
        sc_tensor_free(t);
        return status;
    }
    s->items[s->count++] = *t;
    *t = (sc_tensor){0};
    return SC_OK;
}

void sc_tensor_set_free(sc_tensor_set *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        sc_tensor_free(&s->items[i]);
    free(s->items);
    *s = (sc_tensor_set){0};
}
