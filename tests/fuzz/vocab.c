/* The bytes are Hugging Face's vocab.json beside a small merges.txt; or both files, the merges
 * first, with a line "===" between them.
 */
#include "fuzz.h"
#include "fuzz_tokens.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char merges[] = "#version: 0.2\na b\nc d</w>\n", mark[] = "\n===\n";
    const uint8_t *cut = n > 5 ? memmem(data, n, mark, 5) : NULL;
    size_t before = cut ? (size_t)(cut - data) : 0;
    const char *other = cut ? fuzz_file("merges.txt", data, before)
                            : fuzz_file("merges.txt", merges, sizeof merges - 1);
    const char *path =
        cut ? fuzz_file("vocab.json", cut + 5, n - before - 5) : fuzz_file("vocab.json", data, n);
    sc_tokenizer *t;
    sc_status status = sc_tokenizer_open(SC_TOKENIZER_CLIP, path, &t);
    fuzz_judge(status,
               status != SC_OK && strncmp(sc_message(), other, strlen(other)) == 0 ? other : path);
    if (status != SC_OK)
        return 0;
    fuzz_encode(t, (const char *const[]){"ab cd abcd"}, 1);
    sc_tokenizer_free(t);
    return 0;
}
