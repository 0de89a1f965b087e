/* CLIP's byte-pair tokenizer: clean text -> words -> bytes -> symbols, merged by rank.
 * Source: OpenAI CLIP's simple_tokenizer (Sennrich et al. 2016 over bytes).
 */
#include "text_priv.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdlib.h>
#include <string.h>

/* The white space of Python's regex module. PCRE2's \s would add U+180E. */
#define SPACES                                                                         \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}" \
    "\\x{202f}\\x{205f}\\x{3000}"
/* U+0345, the one combining mark with a capital (a Greek letter), matches nothing: Python's regex
 * module compares it case-insensitively with \p{L} in the last class and finds a letter there. */
static const char PATTERN[] = "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|"
                              "\\p{L}+|\\p{N}|[^" SPACES "\\x{345}\\p{L}\\p{N}]+";

struct clip_tokenizer {
    bpe_table table;
    pcre2_code *pattern;
};

/* The symbols of one word while they are merged; grows, is used again for the next word. */
typedef struct word {
    int32_t *symbols;
    size_t count, cap;
} word;

sc_status clip_open(const char *path, clip_tokenizer **out)
{
    int error;
    PCRE2_SIZE offset;
    *out = NULL;
    clip_tokenizer *t = sc_alloc(1, sizeof *t);
    if (!t)
        return SC_ENOMEM;
    const sc_status status = bpe_table_load(path, &t->table);
    if (status != SC_OK) {
        free(t);
        return status;
    }
    t->pattern = pcre2_compile((PCRE2_SPTR)PATTERN, PCRE2_ZERO_TERMINATED,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_CASELESS, &error, &offset, NULL);
    if (!t->pattern) {
        clip_free(t);
        return sc_fail(SC_EINTERNAL, "the word pattern does not compile: PCRE2 error %d at %zu",
                       error, (size_t)offset);
    }
    *out = t;
    return SC_OK;
}

void clip_free(clip_tokenizer *t)
{
    if (!t)
        return;
    pcre2_code_free(t->pattern);
    bpe_table_free(&t->table);
    free(t);
}

int clip_vocabulary(const clip_tokenizer *t)
{
    return t->table.vocabulary;
}

static sc_status word_from_bytes(const bpe_table *t, const char *s, size_t n, word *w)
{
    if (n > w->cap) {
        int32_t *grown = sc_realloc(w->symbols, n, sizeof *grown);
        if (!grown)
            return SC_ENOMEM;
        w->symbols = grown;
        w->cap = n;
    }
    for (size_t i = 0; i < n; i++)
        w->symbols[i] = t->byte_symbol[(uint8_t)s[i]];
    w->symbols[n - 1] += BPE_WORD_END;
    w->count = n;
    return SC_OK;
}

/* Again and again: the adjacent pair of the lowest rank, merged everywhere from left to right. */
static void merge_word(const bpe_table *t, word *w)
{
    while (w->count > 1) {
        const bpe_pair *best = NULL;
        for (size_t i = 0; i + 1 < w->count; i++) {
            const bpe_pair *p = bpe_find(t, w->symbols[i], w->symbols[i + 1]);
            if (p && (!best || p->rank < best->rank))
                best = p;
        }
        if (!best)
            return;
        const int32_t left = (int32_t)(best->key >> 32), right = (int32_t)(best->key & UINT32_MAX);
        size_t kept = 0;
        for (size_t i = 0; i < w->count; kept++) {
            const bool pair =
                i + 1 < w->count && w->symbols[i] == left && w->symbols[i + 1] == right;
            w->symbols[kept] = pair ? best->symbol : w->symbols[i];
            i += pair ? 2 : 1;
        }
        w->count = kept;
    }
}

static bool put_word(const bpe_table *t, const word *w, id_list *list)
{
    for (size_t i = 0; i < w->count; i++)
        if (!id_list_put(list, t->ids ? t->ids[w->symbols[i]] : w->symbols[i]))
            return false;
    return true;
}

/* One match of the pattern. *room: false when the context is full. */
static sc_status encode_match(const bpe_table *t, const char *s, size_t n, word *w, id_list *list,
                              bool *room)
{
    if (text_is(s, n, "<|startoftext|>")) {
        *room = id_list_put(list, t->start);
    } else if (text_is(s, n, "<|endoftext|>")) {
        *room = id_list_put(list, t->end);
    } else {
        SC_TRY(word_from_bytes(t, s, n, w));
        merge_word(t, w);
        *room = put_word(t, w, list);
    }
    return SC_OK;
}

static sc_status encode_words(const clip_tokenizer *t, const sc_text *clean, id_list *list)
{
    word w = {0};
    sc_status status = SC_OK;
    bool room = true;
    PCRE2_SIZE at = 0;
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(t->pattern, NULL);
    if (!match)
        return sc_fail(SC_ENOMEM, "out of memory while a text is tokenized");
    while (room && at < clean->len) {
        const int found = pcre2_match(t->pattern, (PCRE2_SPTR)clean->data, clean->len, at,
                                      at > 0 ? PCRE2_NO_UTF_CHECK : 0, match, NULL);
        if (found == PCRE2_ERROR_NOMATCH)
            break;
        if (found < 0) {
            status = sc_fail(SC_EINTERNAL, "cannot cut a text into words: PCRE2 error %d", found);
            break;
        }
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(match);
        status = encode_match(&t->table, clean->data + span[0], span[1] - span[0], &w, list, &room);
        if (status != SC_OK)
            break;
        at = span[1];
    }
    pcre2_match_data_free(match);
    free(w.symbols);
    return status;
}

sc_status clip_encode(const clip_tokenizer *t, const char *text, id_list *list)
{
    sc_text clean;
    sc_text_init(&clean);
    sc_status status = text_clean(text, &clean);
    id_list_put(list, t->table.start);
    if (status == SC_OK)
        status = encode_words(t, &clean, list);
    sc_text_free(&clean);
    id_list_end(list, t->table.end);
    return status;
}
