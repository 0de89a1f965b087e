/* BERT's WordPiece tokenizer: special tokens -> clean text -> words -> pieces, the longest first.
 * It follows Hugging Face's Python BertTokenizer (transformers 4) step by step, in Unicode 14. Its
 * Rust twin differs from it in rare characters only: the newer ones (it knows an older Unicode),
 * the first 256 of CJK extension E (a typing error in its range), and it has no NFC.
 */
#include "text_priv.h"
#include "vocab.h"

#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>

#define LONGEST_WORD 100 /* code points; a longer word is unknown */

struct bert_tokenizer {
    vocab v;
};

/* Buffers of one encoding. */
typedef struct encoding {
    const vocab *v;
    id_list *list;
    sc_text a, b, word, piece;
} encoding;

sc_status bert_open(const char *path, bert_tokenizer **out)
{
    *out = NULL;
    if (!path)
        return sc_fail(SC_EUSAGE,
                       "a BERT text encoder needs its vocab.txt: name it by 'tokenizer'");
    bert_tokenizer *t = sc_alloc(1, sizeof *t);
    if (!t)
        return SC_ENOMEM;
    const sc_status status = vocab_load(path, &t->v);
    if (status != SC_OK)
        free(t);
    else
        *out = t;
    return status;
}

void bert_free(bert_tokenizer *t)
{
    if (!t)
        return;
    vocab_free(&t->v);
    free(t);
}

int bert_vocabulary(const bert_tokenizer *t)
{
    return t->v.size;
}

int32_t bert_unknown(const bert_tokenizer *t)
{
    return t->v.special[VOCAB_UNK];
}

/* ---- classes of characters ------------------------------------------------------------------ */

static bool in_category(uint32_t c, uint32_t mask)
{
    return uc_is_general_category_withtable(c, mask);
}

static bool is_dropped(uint32_t c)
{
    if (c == '\t' || c == '\n' || c == '\r')
        return false;
    return c == 0 || c == 0xFFFD || in_category(c, UC_CATEGORY_MASK_C);
}

/* What ends a word, once control characters are gone. */
static bool is_space(uint32_t c)
{
    return c == '\t' || c == '\n' || c == '\r' || in_category(c, UC_CATEGORY_MASK_Z);
}

static bool is_punctuation(uint32_t c)
{
    return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
           (c >= 123 && c <= 126) || in_category(c, UC_CATEGORY_MASK_P);
}

static bool is_chinese(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
                  {0x2B740, 0x2B81F}, {0x2B820, 0x2CEAF}, {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}

/* ---- pieces of a word ----------------------------------------------------------------------- */

static size_t count_code_points(const char *s, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += ((uint8_t)s[i] & 0xC0) != 0x80;
    return count;
}

/* The longest token that s begins with; *used: its bytes. -1: none. */
static int32_t longest_token(encoding *e, const char *s, size_t n, bool first, size_t *used)
{
    const size_t mark = first ? 0 : 2;
    sc_text_clear(&e->piece);
    sc_text_add(&e->piece, "##", mark);
    sc_text_add(&e->piece, s, n);
    for (size_t k = n; !e->piece.failed && k > 0; k--) {
        if (k < n && ((uint8_t)s[k] & 0xC0) == 0x80)
            continue; /* inside a character */
        const int32_t id = symbol_find(&e->v->map, e->piece.data, mark + k);
        if (id >= 0) {
            *used = k;
            return id;
        }
    }
    return -1;
}

/* All the pieces, or [UNK] for the whole word. False: the context is full. */
static bool put_word(encoding *e, const char *s, size_t n)
{
    int32_t ids[LONGEST_WORD];
    int count = 0;
    bool known = count_code_points(s, n) <= LONGEST_WORD;
    for (size_t at = 0, used = 0; known && at < n; at += used) {
        const int32_t id = longest_token(e, s + at, n - at, at == 0, &used);
        known = id >= 0;
        if (known)
            ids[count++] = id;
    }
    if (!known)
        return id_list_put(e->list, e->v->special[VOCAB_UNK]);
    for (int i = 0; i < count; i++)
        if (!id_list_put(e->list, ids[i]))
            return false;
    return true;
}

/* ---- words of a text ------------------------------------------------------------------------ */

static sc_status normalize(uninorm_t form, const char *s, size_t n, sc_text *out)
{
    size_t length = 0;
    sc_text_clear(out);
    if (n == 0)
        return SC_OK;
    uint8_t *bytes = u8_normalize(form, (const uint8_t *)s, n, NULL, &length);
    if (!bytes)
        return sc_fail(SC_ENOMEM, "out of memory while a text is tokenized");
    sc_text_add(out, bytes, length);
    free(bytes);
    return sc_text_status(out);
}

/* NFD without the marks, into e->word. */
static sc_status strip_accents(encoding *e, const char *s, size_t n)
{
    SC_TRY(normalize(UNINORM_NFD, s, n, &e->piece));
    sc_text_clear(&e->word);
    for (size_t i = 0; i < e->piece.len;) {
        const size_t from = i;
        if (!in_category(text_next_code_point(e->piece.data, e->piece.len, &i),
                         UC_CATEGORY_MASK_Mn))
            sc_text_add(&e->word, e->piece.data + from, i - from);
    }
    return sc_text_status(&e->word);
}

static int32_t special_at(const vocab *v, const char *s, size_t n, size_t *length)
{
    for (int i = 0; i < VOCAB_SPECIALS; i++) {
        *length = strlen(vocab_specials[i]);
        if (v->special[i] >= 0 && *length <= n && memcmp(s, vocab_specials[i], *length) == 0)
            return v->special[i];
    }
    return -1;
}

/* What stood between two spaces: accents off, cut at punctuation, each part into pieces. */
static sc_status put_parts(encoding *e, const char *s, size_t n, bool *room)
{
    size_t length, start = 0;
    if (e->v->strip_accents)
        SC_TRY(strip_accents(e, s, n));
    else {
        sc_text_clear(&e->word);
        sc_text_add(&e->word, s, n);
        SC_TRY(sc_text_status(&e->word));
    }
    const char *w = e->word.data;
    const int32_t special = special_at(e->v, w, e->word.len, &length);
    if (special >= 0 && length == e->word.len) { /* one that dropped characters hid before */
        *room = id_list_put(e->list, special);
        return SC_OK;
    }
    for (size_t i = 0; *room && i < e->word.len;) {
        const size_t from = i;
        if (!is_punctuation(text_next_code_point(w, e->word.len, &i)))
            continue;
        if (from > start)
            *room = put_word(e, w + start, from - start);
        if (*room)
            *room = put_word(e, w + from, i - from);
        start = i;
    }
    if (*room && e->word.len > start)
        *room = put_word(e, w + start, e->word.len - start);
    return sc_text_status(&e->piece);
}

/* Character by character, so that no sigma is a final one. */
static sc_status put_lower(const char *s, size_t n, sc_text *out)
{
    uint8_t room[32];
    size_t length = sizeof room;
    uint8_t *lower = u8_tolower((const uint8_t *)s, n, NULL, NULL, room, &length);
    if (!lower)
        return sc_fail(SC_ENOMEM, "out of memory while a text is tokenized");
    sc_text_add(out, lower, length);
    if (lower != room)
        free(lower);
    return SC_OK;
}

/* Lower case into e->b, then without control characters and with spaces around Chinese ones into
 * e->a, then composed into e->b. */
static sc_status clean(encoding *e, const char *s, size_t n)
{
    sc_text_clear(&e->b);
    for (size_t i = 0; e->v->lower && i < n;) {
        const size_t from = i;
        (void)text_next_code_point(s, n, &i);
        SC_TRY(put_lower(s + from, i - from, &e->b));
    }
    if (!e->v->lower)
        sc_text_add(&e->b, s, n);
    SC_TRY(sc_text_status(&e->b));
    sc_text_clear(&e->a);
    for (size_t i = 0; i < e->b.len;) {
        const size_t from = i;
        const uint32_t c = text_next_code_point(e->b.data, e->b.len, &i);
        const bool apart = e->v->split_chinese && is_chinese(c);
        if (is_dropped(c))
            continue;
        if (is_space(c))
            sc_text_puts(&e->a, " ");
        else
            sc_text_putf(&e->a, "%s%.*s%s", apart ? " " : "", (int)(i - from), e->b.data + from,
                         apart ? " " : "");
    }
    SC_TRY(sc_text_status(&e->a));
    return normalize(UNINORM_NFC, e->a.data, e->a.len, &e->b);
}

/* The text between two special tokens. */
static sc_status put_segment(encoding *e, const char *s, size_t n, bool *room)
{
    SC_TRY(clean(e, s, n));
    if (e->b.len == 0)
        return SC_OK; /* it may have no memory at all */
    const char *at = e->b.data, *end = e->b.data + e->b.len;
    while (*room && at < end) {
        const char *space = memchr(at, ' ', (size_t)(end - at));
        const size_t length = space ? (size_t)(space - at) : (size_t)(end - at);
        if (length > 0)
            SC_TRY(put_parts(e, at, length, room));
        at += length + 1;
    }
    return SC_OK;
}

static sc_status put_text(encoding *e, const char *text)
{
    const size_t n = strlen(text);
    bool room = true;
    size_t from = 0, length;
    for (size_t i = 0; room && i < n;) {
        const int32_t special = special_at(e->v, text + i, n - i, &length);
        if (special < 0) {
            i++;
            continue;
        }
        SC_TRY(put_segment(e, text + from, i - from, &room));
        if (room)
            room = id_list_put(e->list, special);
        from = i += length;
    }
    return room ? put_segment(e, text + from, n - from, &room) : SC_OK;
}

sc_status bert_encode(const bert_tokenizer *t, const char *text, id_list *list)
{
    encoding e = {.v = &t->v, .list = list};
    sc_text *const buffers[] = {&e.a, &e.b, &e.word, &e.piece};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        sc_text_init(buffers[i]);
    id_list_put(list, t->v.special[VOCAB_CLS]);
    const sc_status status = put_text(&e, text);
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        sc_text_free(buffers[i]);
    id_list_end(list, t->v.special[VOCAB_SEP]);
    return status;
}
