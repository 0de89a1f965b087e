/* Symbols by their spelling: an open-addressing table, and the 256 bytes of CLIP's alphabet. */
#include "symbols.h"

#include "text_priv.h"

#include <string.h>

size_t symbol_places(size_t n)
{
    size_t p = 16;
    while (p < 2 * n)
        p *= 2;
    return p;
}

static size_t hash_bytes(const char *s, size_t n)
{
    uint64_t h = 0xCBF29CE484222325u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)s[i]) * 0x100000001B3u;
    return (size_t)(h ^ h >> 32);
}

static symbol_name *map_place(const symbol_map *m, const char *s, size_t n)
{
    size_t i = hash_bytes(s, n) & m->mask;
    while (m->places[i].text && (m->places[i].len != n || memcmp(m->places[i].text, s, n) != 0))
        i = (i + 1) & m->mask;
    return &m->places[i];
}

int32_t symbol_find(const symbol_map *m, const char *s, size_t n)
{
    const symbol_name *p = map_place(m, s, n);
    return p->text ? p->symbol : -1;
}

void symbol_put(symbol_map *m, const char *s, size_t n, int32_t symbol)
{
    symbol_name *p = map_place(m, s, n);
    m->count += !p->text;
    *p = (symbol_name){s, n, symbol};
}

static bool shows_itself(int b)
{
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

sc_status symbol_put_bytes(symbol_map *m, int32_t byte_symbol[256])
{
    int32_t shown = 0, hidden = 188;
    for (int b = 0; b < 256; b++) {
        const bool shows = shows_itself(b);
        sc_text spelling;
        byte_symbol[b] = shows ? shown++ : hidden++;
        if (!m)
            continue;
        sc_text_init(&spelling);
        text_put_code_point(&spelling,
                            shows ? (uint32_t)b : 0x100u + (uint32_t)byte_symbol[b] - 188u);
        sc_text_puts(&spelling, "</w>");
        char *s = spelling.failed ? NULL : sc_arena_strdup(m->arena, spelling.data);
        const size_t n = spelling.len;
        sc_text_free(&spelling);
        if (!s)
            return SC_ENOMEM;
        symbol_put(m, s, n - 4, byte_symbol[b]);
        symbol_put(m, s, n, byte_symbol[b] + BPE_WORD_END);
    }
    return SC_OK;
}
