/* The bytes are a merges file in OpenAI's layout, plain or gzip; a tokenizer that opens has to
 * encode. */
#include "fuzz.h"
#include "fuzz_tokens.h"

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
    fuzz_encode(t, texts, sizeof texts / sizeof texts[0]);
    sc_tokenizer_free(t);
    return 0;
}
