#include "scan.h"

#include <stdlib.h>
#include <string.h>

/* cJSON copies a number into 64 bytes. */
enum { LONGEST_NUMBER = 63 };

typedef struct scanner {
    const char *name, *text;
    size_t n, i;
    int line, depth;
    const char *key; /* of the value being read, as written; for messages */
    size_t key_len;
    sc_json_marks *marks;
} scanner;

static sc_status wrong(const scanner *s, int line, const char *what)
{
    int len = s->key_len < 60 ? (int)s->key_len : 60;
    if (s->key)
        return sc_fail(SC_EUSAGE, "%s:%d: key '%.*s': %s", s->name, line, len, s->key, what);
    return sc_fail(SC_EUSAGE, "%s:%d: %s", s->name, line, what);
}

/* "..., found 'x'" with the character that stands there. */
static sc_status wrong_here(const scanner *s, const char *what)
{
    char text[160];
    unsigned char c = s->i < s->n ? (unsigned char)s->text[s->i] : 0;
    if (s->i >= s->n)
        snprintf(text, sizeof text, "%s, but the text ends here", what);
    else if (c < 0x20 || c >= 0x7f)
        snprintf(text, sizeof text, "%s, found byte 0x%02x", what, c);
    else
        snprintf(text, sizeof text, "%s, found '%c'", what, c);
    return wrong(s, s->line, text);
}

static char peek(const scanner *s)
{
    return s->i < s->n ? s->text[s->i] : '\0';
}

static void skip_space(scanner *s)
{
    for (; s->i < s->n && strchr(" \t\r\n", s->text[s->i]) && s->text[s->i]; s->i++)
        s->line += s->text[s->i] == '\n';
}

static sc_status add_mark(scanner *s, sc_json_type type, int line, size_t *index)
{
    sc_json_marks *m = s->marks;
    if (m->count == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 64;
        sc_json_mark *items = sc_realloc(m->items, cap, sizeof *items);
        if (!items)
            return SC_ENOMEM;
        m->items = items;
        m->cap = cap;
    }
    *index = m->count;
    m->items[m->count++] = (sc_json_mark){.type = type, .line = line};
    return SC_OK;
}

/* Four hexadecimal digits, or -1. */
static int hex4(const scanner *s, size_t i)
{
    int v = 0;
    if (s->n - i < 4)
        return -1;
    for (size_t k = 0; k < 4; k++) {
        char c = s->text[i + k];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        v = v * 16 + digit;
    }
    return v;
}

/* At the backslash. Advances behind the escape. */
static sc_status scan_escape(scanner *s)
{
    s->i++;
    char c = peek(s);
    if (c && strchr("\"\\/bfnrt", c)) {
        s->i++;
        return SC_OK;
    }
    if (c != 'u')
        return wrong(s, s->line, "an unknown escape in a string (write \\\\ for a backslash)");
    int unit = hex4(s, s->i + 1);
    if (unit < 0)
        return wrong(s, s->line, "\\u needs four hexadecimal digits");
    if (unit == 0)
        return wrong(s, s->line, "a string cannot hold \\u0000");
    s->i += 5;
    if (unit >= 0xDC00 && unit <= 0xDFFF)
        return wrong(s, s->line, "half of a surrogate pair in a string");
    if (unit >= 0xD800 && unit <= 0xDBFF) {
        int low = s->n - s->i >= 6 && s->text[s->i] == '\\' && s->text[s->i + 1] == 'u'
                      ? hex4(s, s->i + 2)
                      : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return wrong(s, s->line, "half of a surrogate pair in a string");
        s->i += 6;
    }
    return SC_OK;
}

/* At the opening quote. */
static sc_status scan_string(scanner *s)
{
    size_t first = ++s->i;
    while (s->i < s->n) {
        unsigned char c = (unsigned char)s->text[s->i];
        if (c == '"') {
            if (!sc_utf8_valid(s->text + first, s->i - first))
                return wrong(s, s->line, "a string is not valid UTF-8: save the file as UTF-8");
            s->i++;
            return SC_OK;
        }
        if (c == '\n' || c == '\r')
            return wrong(s, s->line, "a string has no closing quote on its line");
        if (c < 0x20)
            return wrong(s, s->line, "a control character in a string (write a tab as \\t)");
        if (c == '\\')
            SC_TRY(scan_escape(s));
        else
            s->i++;
    }
    return wrong(s, s->line, "a string has no closing quote");
}

static bool digit_here(const scanner *s)
{
    return peek(s) >= '0' && peek(s) <= '9';
}

static void skip_digits(scanner *s)
{
    while (digit_here(s))
        s->i++;
}

static sc_status scan_number(scanner *s, sc_json_mark *mark)
{
    size_t first = s->i;
    s->i += peek(s) == '-';
    if (!digit_here(s))
        return wrong_here(s, "a number needs a digit");
    if (peek(s) == '0') {
        s->i++;
        if (digit_here(s))
            return wrong(s, s->line, "a number must not begin with 0");
    }
    skip_digits(s);
    bool whole = true;
    if (peek(s) == '.') {
        whole = false;
        s->i++;
        if (!digit_here(s))
            return wrong_here(s, "a number needs a digit behind its point");
        skip_digits(s);
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        whole = false;
        s->i++;
        s->i += peek(s) == '-' || peek(s) == '+';
        if (!digit_here(s))
            return wrong_here(s, "a number needs a digit in its exponent");
        skip_digits(s);
    }
    if (s->i - first > LONGEST_NUMBER)
        return wrong(s, s->line, "a number of more than 63 characters");
    if (whole && s->i - first <= 18) { /* eighteen characters always fit an int64 */
        char digits[20] = {0};
        memcpy(digits, s->text + first, s->i - first);
        mark->integer = strtoll(digits, NULL, 10);
        mark->is_integer = true;
    }
    return SC_OK;
}

static sc_status scan_word(scanner *s, const char *word)
{
    size_t len = strlen(word);
    if (s->n - s->i < len || memcmp(s->text + s->i, word, len) != 0)
        return wrong_here(s, "expected a value (a string in double quotes, a number, true, false, "
                             "null, a list or an object)");
    s->i += len;
    return SC_OK;
}

static sc_status scan_value(scanner *s, int line);

/* Behind the opening bracket; `close` is ']' or '}'. */
static sc_status scan_members(scanner *s, char close)
{
    const char *outer = s->key;
    size_t outer_len = s->key_len;
    skip_space(s);
    if (peek(s) == close) {
        s->i++;
        return SC_OK;
    }
    for (;;) {
        skip_space(s);
        int line = s->line;
        if (close == '}') {
            if (peek(s) != '"')
                return wrong_here(s, "expected a key in double quotes");
            size_t first = s->i + 1;
            SC_TRY(scan_string(s));
            s->key = s->text + first;
            s->key_len = s->i - 1 - first;
            skip_space(s);
            if (peek(s) != ':')
                return wrong_here(s, "expected ':' behind the key");
            s->i++;
            skip_space(s);
        }
        SC_TRY(scan_value(s, line));
        skip_space(s);
        if (peek(s) != ',' && peek(s) != close)
            return wrong_here(s, close == '}' ? "expected ',' or '}' behind this value"
                                              : "expected ',' or ']' behind this value");
        s->key = outer;
        s->key_len = outer_len;
        if (s->text[s->i++] == close)
            return SC_OK;
    }
}

static sc_status scan_nested(scanner *s, char close)
{
    if (++s->depth > SC_JSON_MAX_DEPTH)
        return wrong(s, s->line, "lists and objects are nested too deeply");
    s->i++;
    SC_TRY(scan_members(s, close));
    s->depth--;
    return SC_OK;
}

static sc_status scan_value(scanner *s, int line)
{
    size_t mark;
    switch (peek(s)) {
    case '{':
        SC_TRY(add_mark(s, SC_JSON_OBJECT, line, &mark));
        return scan_nested(s, '}');
    case '[':
        SC_TRY(add_mark(s, SC_JSON_ARRAY, line, &mark));
        return scan_nested(s, ']');
    case '"':
        SC_TRY(add_mark(s, SC_JSON_STRING, line, &mark));
        return scan_string(s);
    case 't':
        SC_TRY(add_mark(s, SC_JSON_BOOL, line, &mark));
        return scan_word(s, "true");
    case 'f':
        SC_TRY(add_mark(s, SC_JSON_BOOL, line, &mark));
        return scan_word(s, "false");
    case '-':
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
    case '8':
    case '9':
        SC_TRY(add_mark(s, SC_JSON_NUMBER, line, &mark));
        return scan_number(s, &s->marks->items[mark]);
    default: /* null, or the message that lists what a value can be */
        SC_TRY(add_mark(s, SC_JSON_NULL, line, &mark));
        return scan_word(s, "null");
    }
}

sc_status sc_json_scan(const char *name, const char *text, size_t n, sc_json_marks *out)
{
    *out = (sc_json_marks){0};
    scanner s = {.name = name, .text = text, .n = n, .line = 1, .marks = out};
    skip_space(&s);
    if (s.i == s.n)
        return wrong(&s, s.line, "the file is empty");
    SC_TRY(scan_value(&s, s.line));
    skip_space(&s);
    if (s.i < s.n)
        return wrong_here(&s, "nothing may follow the end of the JSON value");
    return SC_OK;
}
