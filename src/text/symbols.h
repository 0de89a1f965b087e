/* Private to the room: the symbols of a merges file by their spelling, while the file is read. */
#ifndef SUPERCLIP_TEXT_SYMBOLS_H
#define SUPERCLIP_TEXT_SYMBOLS_H

#include "superclip/base.h"

typedef struct symbol_name {
    const char *text; /* not NUL-terminated; NULL: an empty place */
    size_t len;
    int32_t symbol;
} symbol_name;
typedef struct symbol_map {
    symbol_name *places;
    size_t mask;
    size_t count; /* distinct spellings */
    sc_arena *arena;
} symbol_map;

/* Places of a table that holds n entries and stays half empty: a power of two. */
size_t symbol_places(size_t n);
int32_t symbol_find(const symbol_map *m, const char *s, size_t n); /* -1: no such symbol */
/* The spelling is kept by reference. Made twice, it keeps its later number, as in a Python dict. */
void symbol_put(symbol_map *m, const char *s, size_t n, int32_t symbol);
/* Bytes in CLIP's order: the 188 that show themselves, then the others, spelled U+0100, U+0101, ...
 * and all of them again at a word's end. m NULL: fills byte_symbol only. */
sc_status symbol_put_bytes(symbol_map *m, int32_t byte_symbol[256]);

#endif
