/* HTML character references, the two ways CLIP's Python code decodes them. Facts: the HTML
 * standard's table and its replacement rules for numeric references, as Python's html.unescape
 * applies them.
 */
#include "text_priv.h"

#include <stdlib.h>
#include <string.h>
#include <unicase.h>

typedef struct entity {
    const char *name, *value;
} entity;
static const entity ENTITIES[] = {
#include "html_entities.inc"
};
#define LONGEST_NAME 40 /* the table's longest name has 32 bytes */
#define LONGEST_STRICT 24

static const char *find_entity(const char *name, size_t n)
{
    size_t low = 0, high = sizeof ENTITIES / sizeof *ENTITIES;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        int order = strncmp(ENTITIES[mid].name, name, n);
        if (order == 0)
            order = ENTITIES[mid].name[n] != '\0';
        if (order == 0)
            return ENTITIES[mid].value;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* The longest table name, of 2 bytes at least, that begins s[0..n); its length in *used. */
static const char *find_prefix(const char *s, size_t n, size_t *used)
{
    if (n > LONGEST_NAME)
        n = LONGEST_NAME;
    for (*used = n; *used >= 2; (*used)--) {
        const char *value = find_entity(s, *used);
        if (value)
            return value;
    }
    return NULL;
}

uint32_t text_windows_1252(uint32_t c)
{
    static const uint16_t table[32] = {
        0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
        0x2039, 0x0152, 0x8D,   0x017D, 0x8F,   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
        0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178};
    return table[c - 0x80];
}

static void put_numeric(uint32_t c, sc_text *out)
{
    const bool control =
        (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F;
    const bool noncharacter = (c >= 0xFDD0 && c <= 0xFDEF) || (c & 0xFFFE) == 0xFFFE;
    if (c == 0 || (c >= 0xD800 && c <= 0xDFFF) || c > 0x10FFFF)
        text_put_code_point(out, 0xFFFD);
    else if (c >= 0x80 && c <= 0x9F)
        text_put_code_point(out, text_windows_1252(c));
    else if (!control && !noncharacter)
        text_put_code_point(out, c);
}

static int digit_value(char c, bool hex)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (hex && (c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

/* "&#123;", "&#x7b": bytes used of s (which begins with '&'), 0 when it is none. */
static size_t numeric_reference(const char *s, size_t n, uint32_t *c)
{
    size_t i = 2;
    if (n < 3 || s[1] != '#')
        return 0;
    const bool hex = s[2] == 'x' || s[2] == 'X';
    if (hex)
        i = 3;
    const size_t digits = i;
    *c = 0;
    for (; i < n && digit_value(s[i], hex) >= 0; i++)
        if (*c <= 0x10FFFF) /* once above it stays above */
            *c = *c * (hex ? 16 : 10) + (uint32_t)digit_value(s[i], hex);
    if (i == digits)
        return 0;
    return i < n && s[i] == ';' ? i + 1 : i;
}

/* Length of the name behind '&' as the standard's tokenizer takes it: up to 32 characters. */
static size_t name_length(const char *s, size_t n)
{
    size_t i = 0;
    for (int characters = 0; i < n && characters < 32; characters++) {
        if (strchr("\t\n\f <&#;", s[i]))
            break;
        text_next_code_point(s, n, &i);
    }
    return i > 0 && i < n && s[i] == ';' ? i + 1 : i;
}

void html_unescape(const char *s, size_t n, sc_text *out)
{
    size_t i = 0;
    while (i < n) {
        const char *amp = memchr(s + i, '&', n - i);
        const size_t to = amp ? (size_t)(amp - s) : n;
        sc_text_add(out, s + i, to - i);
        i = to;
        if (i == n)
            break;
        uint32_t c = 0;
        size_t used = numeric_reference(s + i, n - i, &c);
        if (used > 0) {
            put_numeric(c, out);
            i += used;
            continue;
        }
        const size_t name = name_length(s + i + 1, n - i - 1);
        const char *value = find_prefix(s + i + 1, name, &used);
        if (value) {
            sc_text_puts(out, value);
            i += 1 + used;
        } else {
            sc_text_add(out, s + i, 1 + name);
            i += 1 + name;
        }
    }
}

/* "&NTILDE;": the value of the lower-case name in capitals, unless the capitals mean something in
 * HTML themselves. `name` ends in ';'. */
static bool put_capitals(const char *name, size_t n, sc_text *out)
{
    char lower[LONGEST_STRICT + 2];
    size_t used, upper_n = 0;
    for (size_t i = 0; i < n; i++) {
        if (name[i] >= 'a' && name[i] <= 'z')
            return false;
        lower[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] | 0x20) : name[i];
    }
    const char *value = find_entity(lower, n);
    if (!value || find_prefix(name, n, &used))
        return false;
    uint8_t *upper = u8_toupper((const uint8_t *)value, strlen(value), NULL, NULL, NULL, &upper_n);
    if (!upper) {
        out->failed = true;
        return true;
    }
    sc_text_add(out, upper, upper_n);
    free(upper);
    return true;
}

/* Bytes of a whole "&name;" or "&#123;" at s, 0 when there is none. */
static size_t strict_length(const char *s, size_t n)
{
    const size_t from = n > 1 && s[1] == '#' ? 2 : 1;
    size_t i = from;
    while (i < n && i - from < LONGEST_STRICT &&
           ((s[i] >= '0' && s[i] <= '9') || ((s[i] | 0x20) >= 'a' && (s[i] | 0x20) <= 'z')))
        i++;
    return i > from && i < n && s[i] == ';' ? i + 1 : 0;
}

static bool put_strict(const char *s, size_t n, sc_text *out)
{
    uint32_t c = 0;
    if (s[1] == '#') {
        /* A semicolon is left for html_unescape: ftfy takes it for a leftover. */
        if (numeric_reference(s, n, &c) != n || s[n - 1] != ';' || c == ';')
            return false;
        put_numeric(c, out);
        return true;
    }
    const char *value = find_entity(s + 1, n - 1);
    if (value)
        sc_text_puts(out, value);
    return value || put_capitals(s + 1, n - 1, out);
}

void html_unescape_strict(const char *s, size_t n, sc_text *out)
{
    size_t i = 0;
    while (i < n) {
        const char *amp = memchr(s + i, '&', n - i);
        const size_t to = amp ? (size_t)(amp - s) : n;
        sc_text_add(out, s + i, to - i);
        i = to;
        if (i == n)
            break;
        size_t used = strict_length(s + i, n - i);
        if (used == 0 || !put_strict(s + i, used, out)) {
            used = used > 0 ? used : 1;
            sc_text_add(out, s + i, used);
        }
        i += used;
    }
}
