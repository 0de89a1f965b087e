/* The bytes are a merges file in OpenAI's layout, plain or gzip; a tokenizer that opens has to
 * encode. */
#include "fuzz.h"

#include <stdlib.h>

#include "superclip/text.h"

static const char *const texts[] = {"a photo of a Corail hip stem",
                                    "Hello, World!!  It's 2024 &amp; na\xC3\xAFve",
                                    "\xE4\xB8\xAD\xE6\x96\x87 x-ray <|endoftext|>", ""};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char *path = fuzz_file("bpe_simple_vocab.txt", data, n);
    sc_tokenizer *t;
    sc_status status = sc_tokenizer_open(SC_TOKENIZER_CLIP, path, &t);
    fuzz_judge(status, path);
    if (status != SC_OK)
        return 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
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
    sc_tokenizer_free(t);
    return 0;
}
