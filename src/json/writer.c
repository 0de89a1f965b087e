#include "scan.h"

#include <inttypes.h>
#include <string.h>

void sc_jw_init(sc_json_writer *w)
{
    *w = (sc_json_writer){0};
    sc_text_init(&w->text);
}

void sc_jw_free(sc_json_writer *w)
{
    sc_text_free(&w->text);
    *w = (sc_json_writer){0};
}

static bool one_line(const sc_json_writer *w)
{
    return w->compact || w->inline_depth > 0;
}

static void indent(sc_json_writer *w)
{
    sc_text_puts(&w->text, "\n");
    for (int i = 0; i < w->depth; i++)
        sc_text_puts(&w->text, "  ");
}

static void escape(sc_text *t, const char *s)
{
    static const char short_form[][3] = {
        ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f", ['\r'] = "\\r"};
    sc_text_puts(t, "\"");
    while (*s) {
        unsigned char c = (unsigned char)*s;
        size_t len = c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
        if (c == '"' || c == '\\')
            sc_text_putf(t, "\\%c", c);
        else if (c < sizeof short_form / sizeof short_form[0] && short_form[c][0])
            sc_text_puts(t, short_form[c]);
        else if (c < 0x20 || c == 0x7f)
            sc_text_putf(t, "\\u%04x", c);
        else if (strnlen(s, len) == len && sc_utf8_valid(s, len)) {
            sc_text_add(t, s, len);
            s += len;
            continue;
        } else
            sc_text_puts(t, "\xEF\xBF\xBD"); /* a byte that is no UTF-8: U+FFFD */
        s++;
    }
    sc_text_puts(t, "\"");
}

/* What comes before every value: a comma, a new line, the key. */
static void begin(sc_json_writer *w, const char *key)
{
    if (w->comma)
        sc_text_puts(&w->text, one_line(w) ? ", " : ",");
    if (w->depth > 0 && !one_line(w))
        indent(w);
    if (key) {
        escape(&w->text, key);
        sc_text_puts(&w->text, ": ");
    }
    w->comma = true;
}

static void open(sc_json_writer *w, const char *key, char bracket)
{
    begin(w, key);
    if (w->depth >= (int)sizeof w->closers) {
        w->text.failed = true;
        return;
    }
    w->closers[w->depth++] = bracket == '{' ? '}' : ']';
    sc_text_add(&w->text, &bracket, 1);
    w->comma = false;
}

void sc_jw_object(sc_json_writer *w, const char *key)
{
    open(w, key, '{');
}

void sc_jw_list(sc_json_writer *w, const char *key)
{
    open(w, key, '[');
}

void sc_jw_inline_list(sc_json_writer *w, const char *key)
{
    open(w, key, '[');
    if (w->inline_depth == 0)
        w->inline_depth = w->depth;
}

void sc_jw_end(sc_json_writer *w)
{
    if (w->depth == 0) {
        w->text.failed = true;
        return;
    }
    bool plain = !one_line(w);
    if (w->inline_depth == w->depth)
        w->inline_depth = 0;
    w->depth--;
    if (w->comma && plain) /* something is inside */
        indent(w);
    sc_text_add(&w->text, &w->closers[w->depth], 1);
    w->comma = true;
}

void sc_jw_null(sc_json_writer *w, const char *key)
{
    begin(w, key);
    sc_text_puts(&w->text, "null");
}

void sc_jw_bool(sc_json_writer *w, const char *key, bool v)
{
    begin(w, key);
    sc_text_puts(&w->text, v ? "true" : "false");
}

void sc_jw_int(sc_json_writer *w, const char *key, int64_t v)
{
    begin(w, key);
    sc_text_putf(&w->text, "%" PRId64, v);
}

void sc_jw_number(sc_json_writer *w, const char *key, double v)
{
    char text[32];
    begin(w, key);
    sc_format_double(v, text);
    sc_text_puts(&w->text, text);
}

void sc_jw_string(sc_json_writer *w, const char *key, const char *v)
{
    if (!v) {
        sc_jw_null(w, key);
        return;
    }
    begin(w, key);
    escape(&w->text, v);
}

void sc_jw_value(sc_json_writer *w, const char *key, const sc_json *v)
{
    int64_t integer;
    switch (sc_json_type_of(v)) {
    case SC_JSON_NULL:
        sc_jw_null(w, key);
        return;
    case SC_JSON_BOOL:
        sc_jw_bool(w, key, sc_json_bool(v));
        return;
    case SC_JSON_NUMBER:
        if (sc_json_written_whole(v, &integer))
            sc_jw_int(w, key, integer);
        else
            sc_jw_number(w, key, sc_json_number(v));
        return;
    case SC_JSON_STRING:
        sc_jw_string(w, key, sc_json_string(v));
        return;
    case SC_JSON_ARRAY:
        sc_jw_list(w, key);
        break;
    case SC_JSON_OBJECT:
        sc_jw_object(w, key);
        break;
    }
    for (const sc_json *c = sc_json_first(v); c; c = sc_json_next(c))
        sc_jw_value(w, sc_json_key(c), c);
    sc_jw_end(w);
}

sc_status sc_jw_save(sc_json_writer *w, const char *path)
{
    if (w->depth != 0)
        return sc_fail(SC_EINTERNAL, "%s: a JSON list or object was not closed", path);
    sc_text_puts(&w->text, "\n");
    sc_status status = sc_text_status(&w->text);
    if (status == SC_OK)
        status = sc_write_file(path, w->text.data, w->text.len);
    return status;
}
