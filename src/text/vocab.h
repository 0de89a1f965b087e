/* Private to the room: what a vocab.txt and the tokenizer_config.json beside it say. */
#ifndef SUPERCLIP_TEXT_VOCAB_H
#define SUPERCLIP_TEXT_VOCAB_H

#include "symbols.h"

typedef enum special_token {
    VOCAB_PAD,
    VOCAB_UNK,
    VOCAB_CLS,
    VOCAB_SEP,
    VOCAB_MASK,
    VOCAB_SPECIALS
} special_token;
extern const char *const vocab_specials[VOCAB_SPECIALS]; /* "[PAD]" ... */

typedef struct vocab {
    char *text;                      /* the file: the map's spellings lie in it */
    symbol_map map;                  /* spelling -> line number from 0 */
    int size;                        /* lines: one more than the largest id */
    int32_t special[VOCAB_SPECIALS]; /* -1: not there ([MASK] alone may be missing) */
    bool lower, strip_accents, split_chinese;
} vocab;

sc_status vocab_load(const char *path, vocab *out);
void vocab_free(vocab *v);

#endif
