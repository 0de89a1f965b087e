#include "scan.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sc_json {
    sc_json_type type;
    int line;
    bool is_integer;
    int64_t integer;
    const cJSON *node;
    const sc_json *parent, *first, *next;
    size_t count;
};

struct sc_json_doc {
    char *name;
    cJSON *tree;
    sc_json *nodes; /* document order; nodes[0] is the root */
    size_t count;
};

static sc_json_type type_of_node(const cJSON *n)
{
    return cJSON_IsNull(n)     ? SC_JSON_NULL
           : cJSON_IsBool(n)   ? SC_JSON_BOOL
           : cJSON_IsNumber(n) ? SC_JSON_NUMBER
           : cJSON_IsString(n) ? SC_JSON_STRING
           : cJSON_IsArray(n)  ? SC_JSON_ARRAY
                               : SC_JSON_OBJECT;
}

static int by_key(const void *a, const void *b)
{
    const sc_json *x = *(const sc_json *const *)a, *y = *(const sc_json *const *)b;
    int order = strcmp(x->node->string, y->node->string);
    return order ? order : x < y ? -1 : 1; /* nodes lie in document order */
}

/* Sorted neighbours rather than all pairs: an index of weights has thousands of keys. */
static sc_status refuse_duplicates(const sc_json_doc *doc, const sc_json *object)
{
    if (object->count < 2)
        return SC_OK;
    const sc_json **sorted = sc_alloc(object->count, sizeof *sorted);
    if (!sorted)
        return SC_ENOMEM;
    size_t n = 0;
    for (const sc_json *v = object->first; v; v = v->next)
        sorted[n++] = v;
    qsort(sorted, n, sizeof *sorted, by_key);
    sc_status status = SC_OK;
    for (size_t i = 1; i < n && status == SC_OK; i++)
        if (!strcmp(sorted[i - 1]->node->string, sorted[i]->node->string))
            status = sc_json_fail(doc, sorted[i], "is given twice (first in line %d)",
                                  sorted[i - 1]->line);
    free(sorted);
    return status;
}

/* Walks cJSON's tree in the order of the marks; `used` counts both. */
static sc_status join(sc_json_doc *doc, const sc_json_marks *marks, const cJSON *node,
                      const sc_json *parent, size_t *used)
{
    if (*used >= marks->count || marks->items[*used].type != type_of_node(node))
        return sc_fail(SC_EINTERNAL, "%s: cJSON and the scan read different values", doc->name);
    const sc_json_mark *mark = &marks->items[*used];
    sc_json *v = &doc->nodes[(*used)++];
    *v = (sc_json){.type = mark->type,
                   .line = mark->line,
                   .is_integer = mark->is_integer,
                   .integer = mark->integer,
                   .node = node,
                   .parent = parent};
    if (v->type == SC_JSON_NUMBER && !isfinite(node->valuedouble))
        return sc_json_fail(doc, v, "the number is too large");
    sc_json *last = NULL;
    for (const cJSON *c = node->child; c; c = c->next) {
        sc_json *child = &doc->nodes[*used];
        SC_TRY(join(doc, marks, c, v, used));
        if (last)
            last->next = child;
        else
            v->first = child;
        last = child;
        v->count++;
    }
    return v->type == SC_JSON_OBJECT ? refuse_duplicates(doc, v) : SC_OK;
}

static sc_status build(sc_json_doc *doc, const char *text, size_t n, sc_json_marks *marks)
{
    SC_TRY(sc_json_scan(doc->name, text, n, marks));
    doc->tree = cJSON_ParseWithLength(text, n);
    if (!doc->tree) /* the scan accepted it, so only memory is left as a reason */
        return sc_fail(SC_ENOMEM, "%s: out of memory or a text that cJSON cannot hold", doc->name);
    doc->nodes = sc_alloc(marks->count, sizeof *doc->nodes);
    if (!doc->nodes)
        return SC_ENOMEM;
    doc->count = marks->count;
    size_t used = 0;
    SC_TRY(join(doc, marks, doc->tree, NULL, &used));
    if (used != marks->count)
        return sc_fail(SC_EINTERNAL, "%s: cJSON and the scan read different values", doc->name);
    return SC_OK;
}

sc_status sc_json_parse(const char *name, const char *data, size_t n, sc_json_doc **out)
{
    *out = NULL;
    sc_json_marks marks = {0};
    sc_json_doc *doc = sc_alloc(1, sizeof *doc);
    char *text = sc_alloc(n + 1, 1);
    sc_status status = doc && text ? SC_OK : SC_ENOMEM;
    if (status == SC_OK) {
        if (n)
            memcpy(text, data, n);
        doc->name = sc_strdup(name);
        status = doc->name ? sc_json_blank(name, text, n) : SC_ENOMEM;
    }
    if (status == SC_OK)
        status = build(doc, text, n, &marks);
    free(marks.items);
    free(text);
    if (status != SC_OK)
        sc_json_free(doc);
    else
        *out = doc;
    return status;
}

sc_status sc_json_read_file(const char *path, sc_json_doc **out)
{
    char *data;
    size_t n;
    *out = NULL;
    SC_TRY(sc_read_file(path, (size_t)64 << 20, &data, &n));
    sc_status status = sc_json_parse(path, data, n, out);
    free(data);
    return status;
}

void sc_json_free(sc_json_doc *doc)
{
    if (!doc)
        return;
    cJSON_Delete(doc->tree);
    free(doc->nodes);
    free(doc->name);
    free(doc);
}

const sc_json *sc_json_root(const sc_json_doc *doc)
{
    return &doc->nodes[0];
}

const char *sc_json_doc_name(const sc_json_doc *doc)
{
    return doc->name;
}

sc_json_type sc_json_type_of(const sc_json *v)
{
    return v->type;
}

const char *sc_json_type_name(sc_json_type t)
{
    static const char *const names[] = {"null",     "true or false", "a number",
                                        "a string", "a list",        "an object"};
    return (unsigned)t <= SC_JSON_OBJECT ? names[t] : "unknown";
}

int sc_json_line(const sc_json *v)
{
    return v->line;
}

const char *sc_json_key(const sc_json *v)
{
    return v->node->string;
}

const sc_json *sc_json_first(const sc_json *v)
{
    return v->first;
}

const sc_json *sc_json_next(const sc_json *v)
{
    return v->next;
}

size_t sc_json_count(const sc_json *v)
{
    return v->count;
}

const sc_json *sc_json_get(const sc_json *object, const char *key)
{
    if (object->type != SC_JSON_OBJECT)
        return NULL;
    for (const sc_json *v = object->first; v; v = v->next)
        if (!strcmp(v->node->string, key))
            return v;
    return NULL;
}

bool sc_json_bool(const sc_json *v)
{
    return cJSON_IsTrue(v->node);
}

double sc_json_number(const sc_json *v)
{
    return v->node->valuedouble;
}

bool sc_json_is_integer(const sc_json *v, int64_t *out)
{
    const double limit = 0x1p53;
    double d = v->node->valuedouble;
    if (v->type != SC_JSON_NUMBER || !(fabs(d) <= limit) || d != floor(d))
        return false;
    int64_t value = v->is_integer ? v->integer : (int64_t)d;
    if (value > (int64_t)1 << 53 || value < -((int64_t)1 << 53))
        return false; /* 2^53 + 1 reads as the double 2^53 */
    *out = value;
    return true;
}

bool sc_json_written_whole(const sc_json *v, int64_t *out)
{
    *out = v->integer;
    return v->is_integer;
}

const char *sc_json_string(const sc_json *v)
{
    return v->node->valuestring;
}

sc_status sc_json_fail(const sc_json_doc *doc, const sc_json *v, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char what[1024];
    if (vsnprintf(what, sizeof what, fmt, args) < 0)
        what[0] = '\0';
    va_end(args);
    /* an item of a list is called by the key that holds the list */
    const sc_json *named = v;
    while (named && !named->node->string)
        named = named->parent;
    if (!v)
        return sc_fail(SC_EUSAGE, "%s: %s", doc->name, what);
    if (!named)
        return sc_fail(SC_EUSAGE, "%s:%d: %s", doc->name, v->line, what);
    return sc_fail(SC_EUSAGE, "%s:%d: key '%.60s': %s", doc->name, v->line, named->node->string,
                   what);
}
