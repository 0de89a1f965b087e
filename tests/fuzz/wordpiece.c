/* The bytes are BERT's vocab.txt; or the tokenizer_config.json beside it first, with a line "==="
 * between them.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "superclip/text.h"

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
