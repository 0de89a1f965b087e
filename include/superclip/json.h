/* json: strict reading with line numbers, and writing. Only home of cJSON.
 *
 * Reading: `//` and block comments and trailing commas are blanked in place first (line numbers
 * stay true), then the text is parsed; trailing garbage, duplicate keys, non-finite numbers
 * (1e999), invalid UTF-8, \u0000 and leading zeros are errors: "FILE:LINE: key 'x': what".
 */
#ifndef SUPERCLIP_JSON_H
#define SUPERCLIP_JSON_H

#include "superclip/base.h"

typedef enum sc_json_type {
    SC_JSON_NULL, SC_JSON_BOOL, SC_JSON_NUMBER, SC_JSON_STRING, SC_JSON_ARRAY, SC_JSON_OBJECT
} sc_json_type;

typedef struct sc_json sc_json;          /* one node; owned by its document */
typedef struct sc_json_doc sc_json_doc;  /* owns text and nodes */

/* `name` is what error messages call the text (a path). `data` need not live on. */
sc_status sc_json_parse(const char *name, const char *data, size_t n, sc_json_doc **out);
sc_status sc_json_read_file(const char *path, sc_json_doc **out); /* at most 64 MiB */
void sc_json_free(sc_json_doc *doc);

const sc_json *sc_json_root(const sc_json_doc *doc);
const char *sc_json_doc_name(const sc_json_doc *doc);
sc_json_type sc_json_type_of(const sc_json *v);
const char *sc_json_type_name(sc_json_type t); /* "a number", "a list", ... for messages */
int sc_json_line(const sc_json *v);            /* 1-based line of the value (of its key, if any) */
const char *sc_json_key(const sc_json *v);     /* key inside its object; NULL elsewhere */
const sc_json *sc_json_first(const sc_json *v); /* first child of a list or object, or NULL */
const sc_json *sc_json_next(const sc_json *v);  /* next sibling, or NULL */
size_t sc_json_count(const sc_json *v);
const sc_json *sc_json_get(const sc_json *object, const char *key); /* NULL when absent */
bool sc_json_bool(const sc_json *v);
double sc_json_number(const sc_json *v);
bool sc_json_is_integer(const sc_json *v, int64_t *out); /* exact, |x| <= 2^53 */
const char *sc_json_string(const sc_json *v);
/* "FILE:LINE: key 'K': " + message, as an error of code SC_EUSAGE. */
sc_status sc_json_fail(const sc_json_doc *doc, const sc_json *v, const char *fmt, ...)
    SC_PRINTF(3, 4);

/* Writing: two-space indentation, keys in call order, UTF-8 kept, doubles shortest-round-trip
 * ("%.17g" shortened), non-finite numbers as null. `key` is NULL inside lists. */
typedef struct sc_json_writer {
    sc_text text;
    int depth;
    bool comma;
    bool compact; /* set to get one line */
    int inline_depth;  /* private: depth of the open inline list, 0 when none */
    char closers[160]; /* private: the bracket that closes each depth */
} sc_json_writer;
void sc_jw_init(sc_json_writer *w);
void sc_jw_free(sc_json_writer *w);
void sc_jw_object(sc_json_writer *w, const char *key);
void sc_jw_list(sc_json_writer *w, const char *key);
void sc_jw_inline_list(sc_json_writer *w, const char *key); /* all its items on one line */
void sc_jw_end(sc_json_writer *w); /* closes the newest open object or list */
void sc_jw_null(sc_json_writer *w, const char *key);
void sc_jw_bool(sc_json_writer *w, const char *key, bool v);
void sc_jw_int(sc_json_writer *w, const char *key, int64_t v);
void sc_jw_number(sc_json_writer *w, const char *key, double v);
void sc_jw_string(sc_json_writer *w, const char *key, const char *v); /* NULL writes null */
void sc_jw_value(sc_json_writer *w, const char *key, const sc_json *v); /* a deep copy */
sc_status sc_jw_save(sc_json_writer *w, const char *path); /* atomic; a newline at the end */
/* Shortest decimal that reads back as the same double, e.g. "0.1", "1e-05"; integers as "3.0". */
void sc_format_double(double v, char out[32]);

#endif
