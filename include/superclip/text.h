/* text: tokenizers. CLIP's byte-pair encoding (without a merges file its 514-symbol byte vocabulary) and
 * BERT's WordPiece. Facts and vectors: CLIP's own tokenizer (OpenAI), Hugging Face's file layouts and Python
 * BertTokenizer.
 */
#ifndef SUPERCLIP_TEXT_H
#define SUPERCLIP_TEXT_H

#include "superclip/base.h"

typedef enum sc_tokenizer_kind { SC_TOKENIZER_CLIP, SC_TOKENIZER_BERT } sc_tokenizer_kind;
typedef struct sc_tokenizer sc_tokenizer;
/* CLIP. path NULL: no merges. Else bpe_simple_vocab_16e6.txt(.gz), or a Hugging Face merges.txt / vocab.json
 * (the other one beside it; a merges.txt alone will do). The first line is a header, at most 48,894 merges
 * are used. Ids: 0-255 the bytes in CLIP's order, 256-511 the same at a word's end, then one per merge, then
 * the start token (vocabulary - 2) and the end token (vocabulary - 1); a vocab.json may deal them otherwise.
 * BERT. A vocab.txt (NULL: SC_EUSAGE): ids are line numbers from 0. do_lower_case, strip_accents and
 * tokenize_chinese_chars are read from the tokenizer_config.json beside it; without one, or without the
 * key: cased, as bert-base-chinese is published.
 * A damaged file: SC_EFORMAT naming file and line. */
sc_status sc_tokenizer_open(sc_tokenizer_kind kind, const char *path, sc_tokenizer **out);
void sc_tokenizer_free(sc_tokenizer *t);
int sc_tokenizer_vocabulary(const sc_tokenizer *t); /* rows of the token embedding: largest id + 1 */
int sc_tokenizer_context(const sc_tokenizer *t);    /* 77; BERT 128 */
int32_t sc_tokenizer_unknown(const sc_tokenizer *t); /* BERT's [UNK]; -1: nothing is unknown (CLIP) */
/* ids with start and end ([CLS], [SEP]), at most context; longer texts are cut, the end token last (*cut
 * set; cut may be NULL). *ids is heap, *n its length. CLIP: cleaned first as its Python code does: ftfy (all
 * but its repair of wrongly decoded text), HTML references, white space, lower case. Not UTF-8: SC_EUSAGE.
 * Thread-safe. */
sc_status sc_tokenizer_encode(const sc_tokenizer *t, const char *text, int32_t **ids, int *n, bool *cut);

#endif
