/* text: tokenizers. CLIP's byte-pair encoding; without a merges file its 514-symbol byte vocabulary.
 * Facts and vectors: CLIP's own tokenizer (OpenAI), Hugging Face's file layout. */
#ifndef SUPERCLIP_TEXT_H
#define SUPERCLIP_TEXT_H

#include "superclip/base.h"

typedef struct sc_tokenizer sc_tokenizer;
/* path NULL: no merges. Else bpe_simple_vocab_16e6.txt(.gz), or a Hugging Face merges.txt / vocab.json
 * (the other one beside it). */
sc_status sc_tokenizer_open(const char *path, sc_tokenizer **out);
void sc_tokenizer_free(sc_tokenizer *t);
int sc_tokenizer_vocabulary(const sc_tokenizer *t); /* 512 + merges + 2 */
int sc_tokenizer_context(const sc_tokenizer *t);    /* 77 */
/* ids with start and end, at most context; longer texts are cut, the end token last (*cut set).
 * *ids is heap, *n its length. */
sc_status sc_tokenizer_encode(const sc_tokenizer *t, const char *text, int32_t **ids, int *n, bool *cut);

#endif
