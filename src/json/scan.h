/* The strict pass over a JSON text before cJSON sees it. cJSON keeps no line numbers and lets pass
 * what we refuse; this pass walks the same grammar, refuses, and notes a line for every value. */
#ifndef SC_JSON_SCAN_H
#define SC_JSON_SCAN_H

#include "superclip/json.h"

enum { SC_JSON_MAX_DEPTH = 128 };

/* One value, in document order (a parent before its children: pre-order). */
typedef struct sc_json_mark {
    sc_json_type type;
    int line;        /* of the key where there is one, else of the value */
    bool is_integer; /* a number written without fraction and exponent that fits `integer` */
    int64_t integer;
} sc_json_mark;

typedef struct sc_json_marks {
    sc_json_mark *items;
    size_t count, cap;
} sc_json_marks;

/* Replaces comments, a byte-order mark and commas before a closing bracket by spaces; line ends
 * stay. `name` is for messages. */
sc_status sc_json_blank(const char *name, char *text, size_t n);
/* Checks `text` (already blanked) and fills `out`, which the caller frees (items) in every case. */
sc_status sc_json_scan(const char *name, const char *text, size_t n, sc_json_marks *out);

/* A number that its file writes without point and exponent, so that a copy can be written the same.
 */
bool sc_json_written_whole(const sc_json *v, int64_t *out);

#endif
