/* A tokenizer that opened has to encode, and every id has to be one of its own. */
#ifndef SC_TESTS_FUZZ_TOKENS_H
#define SC_TESTS_FUZZ_TOKENS_H

#include <stdlib.h>

#include "superclip/text.h"

static inline void fuzz_encode(sc_tokenizer *t, const char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int32_t *ids;
        int count;
        if (sc_tokenizer_encode(t, texts[i], &ids, &count, NULL) != SC_OK || count < 2 ||
            count > sc_tokenizer_context(t))
            abort();
        for (int k = 0; k < count; k++)
            if (ids[k] < 0 || ids[k] >= sc_tokenizer_vocabulary(t))
                abort();
        free(ids);
    }
}

#endif
