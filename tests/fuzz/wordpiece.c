/* The bytes are BERT's vocab.txt; or the tokenizer_config.json beside it first, with a line "==="
 * between them.
 */
#include "fuzz.h"
#include "fuzz_tokens.h"

#include <string.h>

static const char *const texts[] = {"a photo of a Corail hip stem, 2024",
                                    "\xE4\xB8\xAD\xE6\x96\x87 caf\xC3\xA9", "[MASK] un##known", ""};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char mark[] = "\n===\n";
    const uint8_t *cut = n > 5 ? memmem(data, n, mark, 5) : NULL;
    size_t before = cut ? (size_t)(cut - data) : 0, skip = cut ? before + 5 : 0;
    const char *config =
        fuzz_file("tokenizer_config.json", cut ? (const void *)data : "{}", cut ? before : 2);
    const char *path = fuzz_file("vocab.txt", data + skip, n - skip);
    sc_tokenizer *t;
    sc_status status = sc_tokenizer_open(SC_TOKENIZER_BERT, path, &t);
    fuzz_judge(status, status != SC_OK && strncmp(sc_message(), config, strlen(config)) == 0
                           ? config
                           : path);
    if (status != SC_OK)
        return 0;
    fuzz_encode(t, texts, sizeof texts / sizeof texts[0]);
    sc_tokenizer_free(t);
    return 0;
}
