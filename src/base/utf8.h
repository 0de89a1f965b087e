/* Private to base. */
#ifndef SC_BASE_UTF8_H
#define SC_BASE_UTF8_H

#include <stddef.h>

/* Bytes of the character at s, of which n bytes are there; 0: not UTF-8. RFC 3629: no overlong
 * forms, no surrogates, nothing above U+10FFFF. */
size_t sc_utf8_sequence(const char *s, size_t n);

#endif
