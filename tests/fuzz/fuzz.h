/* Fuzz targets: each hands arbitrary bytes to one reader of files that users download. A target is
 * libFuzzer's LLVMFuzzerTestOneInput; fuzz.sh builds it with clang and runs it, replay.c is the
 * plain main that runs it over the committed corpus in every build.
 */
#ifndef SC_TESTS_FUZZ_H
#define SC_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "superclip/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* A file of these bytes in this process's own folder; the same name is written over. The path lives
 * on. */
const char *fuzz_file(const char *name, const void *data, size_t n);
/* What a reader may answer for bytes that anybody may have made: fine, or a refusal in one line
 * that begins with the file. Anything else ends the process. */
void fuzz_judge(sc_status status, const char *path);

#endif
