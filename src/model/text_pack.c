/* Texts without padding, their common beginning once. */
#include <stdlib.h>
#include <string.h>

#include "superclip/model.h"

/* Tokens that all texts begin with; every text keeps one of its own. */
static int common(const int32_t *tokens, const int32_t *end, int texts, int length)
{
    int n = end[0];
    for (int t = 1; t < texts; t++) {
        const int32_t *text = tokens + (ptrdiff_t)t * length;
        int same = 0;
        while (same < n && same < end[t] && text[same] == tokens[same])
            same++;
        n = same;
    }
    return texts > 1 ? n : 0;
}

static void put(sc_text_pack *p, int row, const int32_t *text, int from, int to)
{
    for (int i = from; i < to; i++, row++) {
        p->tokens[row] = text[i];
        p->places[row] = i;
    }
}

sc_status sc_text_pack_make(const int32_t *tokens, const int32_t *end, int texts, int length,
                            sc_text_pack *p)
{
    *p = (sc_text_pack){.texts = texts, .shared = common(tokens, end, texts, length)};
    p->rows = p->shared;
    for (int t = 0; t < texts; t++) {
        p->rows += end[t] + 1 - p->shared;
        p->longest = end[t] + 1 > p->longest ? end[t] + 1 : p->longest;
    }
    p->tokens = sc_alloc((size_t)p->rows, sizeof *p->tokens);
    p->places = sc_alloc((size_t)p->rows, sizeof *p->places);
    p->begins = sc_alloc((size_t)texts + 1, sizeof *p->begins);
    p->end = sc_alloc((size_t)texts, sizeof *p->end);
    if (!p->tokens || !p->places || !p->begins || !p->end) {
        sc_text_pack_free(p);
        return SC_ENOMEM;
    }
    put(p, 0, tokens, 0, p->shared);
    p->begins[0] = p->shared;
    for (int t = 0; t < texts; t++) {
        put(p, p->begins[t], tokens + (ptrdiff_t)t * length, p->shared, end[t] + 1);
        p->begins[t + 1] = p->begins[t] + end[t] + 1 - p->shared;
        p->end[t] = p->begins[t + 1] - 1;
    }
    return SC_OK;
}

void sc_text_pack_free(sc_text_pack *p)
{
    free(p->tokens);
    free(p->places);
    free(p->begins);
    free(p->end);
    *p = (sc_text_pack){0};
}
