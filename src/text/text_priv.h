/* Private to the room: the two kinds of tokenizer, cleaning a text as CLIP's Python code does, the
 * tables of a merges file and of a vocab.txt.
 */
#ifndef SUPERCLIP_TEXT_PRIV_H
#define SUPERCLIP_TEXT_PRIV_H

#include "superclip/text.h"

/* ---- tokenizer.c ---------------------------------------------------------------------------- */
#define TEXT_MOST_IDS 128
/* A text's ids: start, then what fits, then end. */
typedef struct id_list {
    int32_t ids[TEXT_MOST_IDS];
    int n, context;
    bool cut;
} id_list;
bool id_list_put(id_list *list, int32_t id); /* false: full, the last place is the end token's */
void id_list_end(id_list *list, int32_t id);
/* The path of `name` in the folder of the file `path`. Heap. */
char *text_beside(const char *path, const char *name);
bool text_is(const char *s, size_t n, const char *what);

/* ---- clip.c --------------------------------------------------------------------------------- */
typedef struct clip_tokenizer clip_tokenizer;
sc_status clip_open(const char *path, clip_tokenizer **out);
void clip_free(clip_tokenizer *t);
int clip_vocabulary(const clip_tokenizer *t);
sc_status clip_encode(const clip_tokenizer *t, const char *text, id_list *list);

/* ---- bert.c, vocab.c ------------------------------------------------------------------------ */
typedef struct bert_tokenizer bert_tokenizer;
sc_status bert_open(const char *path, bert_tokenizer **out);
void bert_free(bert_tokenizer *t);
int bert_vocabulary(const bert_tokenizer *t);
int32_t bert_unknown(const bert_tokenizer *t);
sc_status bert_encode(const bert_tokenizer *t, const char *text, id_list *list);

/* ---- clean.c, html.c: UTF-8 in, UTF-8 out --------------------------------------------------- */
/* Everything CLIP does to a text before the pattern: ftfy's repairs (without mojibake), HTML
 * references twice, white space, lower case. */
sc_status text_clean(const char *text, sc_text *out);
/* Python's html.unescape: numeric and named references, also without a semicolon. */
void html_unescape(const char *s, size_t n, sc_text *out);
/* ftfy's stricter reading: only whole references that end in a semicolon, and names in capitals. */
void html_unescape_strict(const char *s, size_t n, sc_text *out);
void text_put_code_point(sc_text *out, uint32_t c);
/* The code point at s[*i], i moved behind it. s is valid UTF-8. */
uint32_t text_next_code_point(const char *s, size_t n, size_t *i);
uint32_t text_windows_1252(uint32_t c); /* of a C1 control U+0080..U+009F; unassigned stay */

/* ---- merges.c ------------------------------------------------------------------------------- */
/* Symbols are numbered by the layout of OpenAI's tokenizer: 0-255 the bytes (see byte_symbol),
 * 256-511 the same at a word's end, then one per merge. */
#define BPE_WORD_END 256
#define BPE_FIRST_MERGE 512
#define BPE_MAX_MERGES 48894 /* more lines of a file are not part of CLIP's vocabulary */

typedef struct bpe_pair {
    uint64_t key; /* left << 32 | right; UINT64_MAX: an empty place */
    int32_t rank, symbol;
} bpe_pair;

typedef struct bpe_table {
    int32_t byte_symbol[256];
    int merges;
    bpe_pair *pairs; /* open addressing; NULL without merges */
    size_t pair_mask;
    int32_t *ids; /* symbol -> id when a vocab.json says so; NULL: the same number */
    int32_t start, end;
    int vocabulary;
} bpe_table;

sc_status bpe_table_load(const char *path, bpe_table *out); /* path NULL: no merges */
void bpe_table_free(bpe_table *t);
/* The merge of two adjacent symbols, or NULL. */
const bpe_pair *bpe_find(const bpe_table *t, int32_t left, int32_t right);

#endif
