/* The tables behind CLIP's byte-pair encoding, from OpenAI's merges file or Hugging Face's pair of
 * files. The numbering (bytes, bytes at a word's end, merges, start, end) is that of OpenAI's
 * simple_tokenizer.
 */
#include "superclip/codec.h"
#include "superclip/json.h"
#include "symbols.h"
#include "text_priv.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILE_BYTES ((size_t)64 << 20)
#define START_TEXT "<|startoftext|>"
#define END_TEXT "<|endoftext|>"

typedef struct merge_line {
    const char *left, *right, *joined; /* joined: left_len + right_len bytes */
    size_t left_len, right_len;
    int number; /* in the file, from 1 */
} merge_line;

/* ---- lines ---------------------------------------------------------------------------------- */
static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* "left right"; false when the line is anything else. */
static bool split_line(const char *s, size_t n, merge_line *out)
{
    size_t i = 0;
    while (i < n && !is_blank(s[i]))
        i++;
    out->left = s;
    out->left_len = i;
    out->right = s + i + 1;
    out->right_len = i < n ? n - i - 1 : 0;
    return i > 0 && out->right_len > 0 && !memchr(out->right, ' ', out->right_len) &&
           !memchr(out->right, '\t', out->right_len);
}

static size_t line_length(const char *s, const char *end, size_t *step)
{
    const char *newline = memchr(s, '\n', (size_t)(end - s));
    size_t n = newline ? (size_t)(newline - s) : (size_t)(end - s);
    *step = n + (newline != NULL);
    if (n > 0 && s[n - 1] == '\r')
        n--;
    return n;
}

/* Users strip the header now and then; then the first merge would be lost without a word. */
static sc_status check_header(const char *path, const symbol_map *m, const char *s, size_t n)
{
    merge_line line;
    if (split_line(s, n, &line) && symbol_find(m, line.left, line.left_len) >= 0 &&
        symbol_find(m, line.right, line.right_len) >= 0)
        return sc_fail(SC_EFORMAT,
                       "%s:1: the first line is a merge: put a header line such as '#version: 0.2' "
                       "before it",
                       path);
    return SC_OK;
}

/* Cuts the text into lines and gives every merge its symbol. */
static sc_status read_lines(const char *path, const char *text, size_t n, symbol_map *m,
                            merge_line *lines, int *count)
{
    const char *end = text + n;
    int number = 1;
    *count = 0;
    for (const char *s = text; s < end && *count < BPE_MAX_MERGES; number++) {
        size_t step;
        const size_t len = line_length(s, end, &step);
        merge_line *line = &lines[*count];
        if (!sc_utf8_valid(s, len))
            return sc_fail(SC_EFORMAT, "%s:%d: not UTF-8: the merges file is damaged", path,
                           number);
        if (number == 1) {
            SC_TRY(check_header(path, m, s, len));
        } else if (len > 0 || s + step < end) { /* the last line may be empty */
            if (!split_line(s, len, line))
                return sc_fail(SC_EFORMAT,
                               "%s:%d: '%.*s' is not two symbols with one space between them: the "
                               "merges file is damaged",
                               path, number, len > 40 ? 40 : (int)len, s);
            line->number = number;
            char *joined = sc_arena_alloc(m->arena, line->left_len + line->right_len + 1);
            if (!joined)
                return SC_ENOMEM;
            memcpy(joined, line->left, line->left_len);
            memcpy(joined + line->left_len, line->right, line->right_len);
            line->joined = joined;
            symbol_put(m, joined, line->left_len + line->right_len, BPE_FIRST_MERGE + *count);
            ++*count;
        }
        s += step;
    }
    if (*count == 0)
        return sc_fail(SC_EFORMAT, "%s: holds no merges", path);
    return SC_OK;
}

/* ---- pairs ---------------------------------------------------------------------------------- */
static bpe_pair *pair_place(const bpe_table *t, uint64_t key)
{
    uint64_t h = key * 0x9E3779B97F4A7C15u;
    size_t i = (size_t)(h >> 32) & t->pair_mask;
    while (t->pairs[i].key != UINT64_MAX && t->pairs[i].key != key)
        i = (i + 1) & t->pair_mask;
    return &t->pairs[i];
}

static uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

const bpe_pair *bpe_find(const bpe_table *t, int32_t left, int32_t right)
{
    if (!t->pairs)
        return NULL;
    const bpe_pair *p = pair_place(t, pair_key(left, right));
    return p->key == UINT64_MAX ? NULL : p;
}

static sc_status unknown_symbol(const char *path, int number, const char *s, size_t n)
{
    return sc_fail(
        SC_EFORMAT,
        "%s:%d: '%.*s' is neither a byte nor made by a merge: the merges file is damaged", path,
        number, n > 40 ? 40 : (int)n, s);
}

static sc_status build_pairs(const char *path, const symbol_map *m, const merge_line *lines,
                             int count, bpe_table *t)
{
    const size_t places = symbol_places((size_t)count);
    t->pairs = sc_alloc(places, sizeof *t->pairs);
    if (!t->pairs)
        return SC_ENOMEM;
    t->pair_mask = places - 1;
    for (size_t i = 0; i < places; i++)
        t->pairs[i].key = UINT64_MAX;
    for (int k = 0; k < count; k++) {
        const merge_line *l = &lines[k];
        const int32_t left = symbol_find(m, l->left, l->left_len);
        const int32_t right = symbol_find(m, l->right, l->right_len);
        if (left < 0)
            return unknown_symbol(path, l->number, l->left, l->left_len);
        if (right < 0)
            return unknown_symbol(path, l->number, l->right, l->right_len);
        bpe_pair *p = pair_place(t, pair_key(left, right));
        if (p->key != UINT64_MAX)
            return sc_fail(SC_EFORMAT,
                           "%s:%d: the merge of line %d again: the merges file is damaged", path,
                           l->number, lines[p->rank].number);
        *p = (bpe_pair){pair_key(left, right), k,
                        symbol_find(m, l->joined, l->left_len + l->right_len)};
    }
    return SC_OK;
}

/* ---- Hugging Face's vocab.json -------------------------------------------------------------- */
static sc_status take_id(const char *path, const sc_json_doc *doc, const sc_json *v,
                         const symbol_map *m, bpe_table *t, bool *used)
{
    const char *key = sc_json_key(v);
    int64_t id;
    if (sc_json_type_of(v) != SC_JSON_NUMBER || !sc_json_is_integer(v, &id) || id < 0 ||
        id >= t->vocabulary)
        return sc_json_fail(doc, v, "a token's number must be a whole number below %d",
                            t->vocabulary);
    if (used[id])
        return sc_json_fail(doc, v, "number %d is given to two tokens", (int)id);
    used[id] = true;
    const int32_t symbol = symbol_find(m, key, strlen(key));
    if (symbol >= 0)
        t->ids[symbol] = (int32_t)id;
    else if (strcmp(key, START_TEXT) == 0)
        t->start = (int32_t)id;
    else if (strcmp(key, END_TEXT) == 0)
        t->end = (int32_t)id;
    else
        return sc_json_fail(doc, v, "no such token in %s: the two files do not belong together",
                            path);
    return SC_OK;
}

static sc_status read_vocabulary(const char *merges_path, const char *path, const symbol_map *m,
                                 bpe_table *t)
{
    sc_json_doc *doc = NULL;
    bool *used = NULL;
    sc_status status = sc_json_read_file(path, &doc);
    if (status != SC_OK)
        return status;
    const sc_json *root = sc_json_root(doc);
    const size_t expected = m->count + 2;
    if (sc_json_type_of(root) != SC_JSON_OBJECT || sc_json_count(root) != expected) {
        status =
            sc_fail(SC_EFORMAT,
                    "%s: must be an object of %zu tokens (%s makes that many), it has %zu: the two "
                    "files do not belong together",
                    path, expected, merges_path, sc_json_count(root));
        goto done;
    }
    t->vocabulary = (int)expected;
    t->start = t->end = -1;
    t->ids = sc_alloc((size_t)(BPE_FIRST_MERGE + t->merges), sizeof *t->ids);
    used = sc_alloc(expected, sizeof *used);
    if (!t->ids || !used) {
        status = SC_ENOMEM;
        goto done;
    }
    for (const sc_json *v = sc_json_first(root); v; v = sc_json_next(v))
        SC_TRY_GOTO(take_id(merges_path, doc, v, m, t, used));
done:
    free(used);
    sc_json_free(doc);
    return status;
}

/* ---- files ---------------------------------------------------------------------------------- */
static sc_status read_text(const char *path, char **text, size_t *n)
{
    char *plain;
    size_t plain_n;
    SC_TRY(sc_read_file(path, MAX_FILE_BYTES, text, n));
    if (!sc_is_gzip(*text, *n))
        return SC_OK;
    const sc_status status = sc_gunzip(*text, *n, MAX_FILE_BYTES, &plain, &plain_n);
    free(*text);
    *text = NULL;
    if (status != SC_OK)
        return sc_fail_prefix(status, "%s", path);
    *text = plain;
    *n = plain_n;
    return SC_OK;
}

/* At most one merge a line, and no more than CLIP has: memory as the file needs it. */
static size_t most_merges(const char *text, size_t n)
{
    size_t lines = 1;
    for (size_t i = 0; i < n && lines < BPE_MAX_MERGES; i++)
        lines += text[i] == '\n';
    return lines;
}

static sc_status build_table(const char *path, const char *vocabulary, const char *text, size_t n,
                             bpe_table *t)
{
    const size_t most = most_merges(text, n), places = symbol_places(BPE_FIRST_MERGE + most);
    symbol_map m = {.arena = sc_arena_new(1 << 16)};
    merge_line *lines = sc_alloc(most, sizeof *lines);
    sc_status status = SC_OK;
    m.places = sc_alloc(places, sizeof *m.places);
    m.mask = places - 1;
    if (!m.arena || !lines || !m.places) {
        status = SC_ENOMEM;
        goto done;
    }
    SC_TRY_GOTO(symbol_put_bytes(&m, t->byte_symbol));
    SC_TRY_GOTO(read_lines(path, text, n, &m, lines, &t->merges));
    t->vocabulary = BPE_FIRST_MERGE + t->merges + 2;
    t->start = t->vocabulary - 2;
    t->end = t->vocabulary - 1;
    SC_TRY_GOTO(build_pairs(path, &m, lines, t->merges, t));
    if (vocabulary)
        SC_TRY_GOTO(read_vocabulary(path, vocabulary, &m, t));
done:
    free(m.places);
    free(lines);
    sc_arena_free(m.arena);
    return status;
}

static bool has_suffix(const char *s, const char *suffix)
{
    const size_t n = strlen(s), k = strlen(suffix);
    return n >= k && strcmp(s + n - k, suffix) == 0;
}

/* Whether the file is called `name`, wherever it lies. */
static bool is_called(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    return strcmp(slash ? slash + 1 : path, name) == 0;
}

sc_status bpe_table_load(const char *path, bpe_table *out)
{
    char *merges = NULL, *vocabulary = NULL, *text = NULL;
    size_t n = 0;
    sc_status status = SC_OK;

    *out = (bpe_table){
        .vocabulary = BPE_FIRST_MERGE + 2, .start = BPE_FIRST_MERGE, .end = BPE_FIRST_MERGE + 1};
    if (!path)
        return symbol_put_bytes(NULL, out->byte_symbol);
    const bool json = has_suffix(path, ".json");
    merges = json ? text_beside(path, "merges.txt") : sc_strdup(path);
    vocabulary = json                            ? sc_strdup(path)
                 : is_called(path, "merges.txt") ? text_beside(path, "vocab.json")
                                                 : NULL;
    if (!merges || (!vocabulary && (json || is_called(path, "merges.txt")))) {
        status = SC_ENOMEM;
        goto done;
    }
    if (!json && vocabulary && !sc_file_exists(vocabulary)) { /* merges alone say all */
        free(vocabulary);
        vocabulary = NULL;
    }
    SC_TRY_GOTO(read_text(merges, &text, &n));
    SC_TRY_GOTO(build_table(merges, vocabulary, text, n, out));
done:
    free(text);
    free(vocabulary);
    free(merges);
    if (status != SC_OK)
        bpe_table_free(out);
    return status;
}

void bpe_table_free(bpe_table *t)
{
    free(t->pairs);
    free(t->ids);
    *t = (bpe_table){0};
}
