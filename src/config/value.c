/* Reading, checking and writing one option's value. */
#include "option.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void *member(const sc_option *o, void *base)
{
    return (char *)base + o->offset;
}

static const void *member_const(const sc_option *o, const void *base)
{
    return (const char *)base + o->offset;
}

/* class_texts and its count are two members: the count has no offset of its own in the table. */
static int *texts_count(void *base)
{
    return &((sc_config *)base)->class_texts_count;
}

static bool is_integer(const sc_option *o)
{
    return o->type == SC_OPT_INT || o->type == SC_OPT_UINT32;
}

static void choices_in_words(const char *choices, sc_text *out)
{
    for (const char *c = choices; *c; c++) {
        if (*c != '|')
            sc_text_add(out, c, 1);
        else
            sc_text_puts(out, strchr(c + 1, '|') ? ", " : " or ");
    }
}

void sc_option_expects(const sc_option *o, sc_text *out)
{
    switch (o->type) {
    case SC_OPT_BOOL:
        sc_text_puts(out, "true or false");
        break;
    case SC_OPT_INT:
    case SC_OPT_UINT32:
        sc_text_putf(out, "an integer from %.0f to %.0f", o->least, o->most);
        break;
    case SC_OPT_REAL:
        if (o->above)
            sc_text_putf(out, "a number above %g, at most %g", o->least, o->most);
        else
            sc_text_putf(out, "a number from %g to %g", o->least, o->most);
        break;
    case SC_OPT_TEXT:
        if (o->choices)
            choices_in_words(o->choices, out);
        else
            sc_text_puts(out, "a text");
        break;
    case SC_OPT_CLASS_TEXTS:
        sc_text_puts(out, "an object, class to text or list of texts");
        break;
    case SC_OPT_SET:
        sc_text_puts(out, "KEY=VALUE");
        break;
    case SC_OPT_ACTION:
        sc_text_puts(out, "no value");
        break;
    }
    if (o->nullable && o->key)
        sc_text_puts(out, ", or null");
}

/* "WHAT; it must be EXPECTED". */
static sc_status refuse(const sc_option *o, const char *what)
{
    sc_text expected;
    sc_text_init(&expected);
    sc_option_expects(o, &expected);
    sc_status status = sc_text_status(&expected);
    if (status == SC_OK)
        status = sc_fail(SC_EUSAGE, "%s; it must be %s", what, expected.data);
    sc_text_free(&expected);
    return status;
}

static sc_status store_null(const sc_option *o, void *base)
{
    sc_option_clear(o, base);
    if (o->type == SC_OPT_INT)
        *(int *)member(o, base) = -1;
    return SC_OK;
}

static sc_status store_number(const sc_option *o, void *base, double v)
{
    char what[64];
    if (!(o->above ? v > o->least : v >= o->least) || !(v <= o->most)) {
        snprintf(what, sizeof what, "%.17g is out of range", v);
        double shorter;
        char brief[48];
        snprintf(brief, sizeof brief, "%g", v);
        shorter = strtod(brief, NULL);
        if (shorter >= v && shorter <= v)
            snprintf(what, sizeof what, "%s is out of range", brief);
        return refuse(o, what);
    }
    if (o->type == SC_OPT_REAL)
        *(double *)member(o, base) = v;
    else if (o->type == SC_OPT_INT)
        *(int *)member(o, base) = (int)v;
    else
        *(uint32_t *)member(o, base) = (uint32_t)v;
    return SC_OK;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t n = strlen(text);
    for (const char *c = choices; *c; c += strcspn(c, "|"), c += *c == '|')
        if (strcspn(c, "|") == n && memcmp(c, text, n) == 0)
            return true;
    return false;
}

static sc_status store_text(const sc_option *o, void *base, const char *text)
{
    if (text[0] == '\0')
        return sc_fail(SC_EUSAGE, "is empty; %s",
                       o->nullable && o->key ? "give a text, or null" : "give a text");
    if (!sc_utf8_valid(text, strlen(text)))
        return sc_fail(SC_EUSAGE, "is not valid UTF-8; write it in UTF-8");
    for (const char *c = text; *c; c++)
        if (iscntrl((unsigned char)*c))
            return sc_fail(SC_EUSAGE, "holds the control character 0x%02x; remove it",
                           (unsigned char)*c);
    if (o->choices && !is_choice(o->choices, text)) {
        char what[96];
        snprintf(what, sizeof what, "'%.60s' is unknown", text);
        return refuse(o, what);
    }
    char *copy = sc_strdup(text);
    if (!copy)
        return SC_ENOMEM;
    sc_option_clear(o, base);
    *(char **)member(o, base) = copy;
    return SC_OK;
}

static sc_status store_class_texts(const sc_option *o, void *base, const sc_json *v)
{
    sc_class_text *texts = NULL;
    int count = 0;
    SC_TRY(sc_class_texts_of_json(v, &texts, &count));
    sc_option_clear(o, base);
    *(sc_class_text **)member(o, base) = texts;
    *texts_count(base) = count;
    return SC_OK;
}

bool sc_parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *out = strcasecmp(text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

/* A whole decimal number and nothing else: no blanks, no hexadecimal, no inf or nan. */
static bool parse_number(const char *text, bool integer, double *out)
{
    bool digit = false;
    for (const char *c = text; *c; c++) {
        if (isdigit((unsigned char)*c))
            digit = true;
        else if (!strchr(integer ? "+-" : "+-.eE", *c))
            return false;
    }
    char *end = NULL;
    double v = strtod(text, &end);
    *out = v;
    return digit && *end == '\0' && isfinite(v);
}

static bool says_null(const char *text)
{
    return strcasecmp(text, "null") == 0 || strcasecmp(text, "none") == 0;
}

static sc_status set_class_texts_text(const sc_option *o, void *base, const char *text)
{
    sc_json_doc *doc = NULL;
    SC_TRY(sc_json_parse("value", text, strlen(text), &doc));
    sc_status status = store_class_texts(o, base, sc_json_root(doc));
    sc_json_free(doc);
    return status;
}

sc_status sc_option_set_text(const sc_option *o, void *base, const char *text)
{
    char what[96];
    double number = 0;
    if (o->nullable && o->key && says_null(text))
        return store_null(o, base);
    snprintf(what, sizeof what, "'%.60s' is not understood", text);
    switch (o->type) {
    case SC_OPT_BOOL:
        return sc_parse_bool(text, member(o, base)) ? SC_OK : refuse(o, what);
    case SC_OPT_INT:
    case SC_OPT_UINT32:
    case SC_OPT_REAL:
        if (!parse_number(text, is_integer(o), &number))
            return refuse(o, what);
        return store_number(o, base, number);
    case SC_OPT_TEXT:
        return store_text(o, base, text);
    case SC_OPT_CLASS_TEXTS:
        return set_class_texts_text(o, base, text);
    case SC_OPT_ACTION:
    case SC_OPT_SET:
        break;
    }
    return sc_fail(SC_EINTERNAL, "option %s holds no value", o->flag);
}

sc_status sc_option_set_default(const sc_option *o, void *base)
{
    return o->initial ? sc_option_set_text(o, base, o->initial) : store_null(o, base);
}

static sc_status wrong_type(const sc_option *o, const sc_json *v)
{
    char what[64];
    snprintf(what, sizeof what, "is %s", sc_json_type_name(sc_json_type_of(v)));
    return refuse(o, what);
}

sc_status sc_option_set_json(const sc_option *o, void *base, const sc_json *v)
{
    sc_json_type type = sc_json_type_of(v);
    if (type == SC_JSON_NULL)
        return o->nullable ? store_null(o, base) : wrong_type(o, v);
    switch (o->type) {
    case SC_OPT_BOOL:
        if (type != SC_JSON_BOOL)
            return wrong_type(o, v);
        *(bool *)member(o, base) = sc_json_bool(v);
        return SC_OK;
    case SC_OPT_INT:
    case SC_OPT_UINT32:
        if (type != SC_JSON_NUMBER)
            return wrong_type(o, v);
        int64_t integer;
        if (!sc_json_is_integer(v, &integer)) {
            char what[64];
            snprintf(what, sizeof what, "%.10g is not an integer", sc_json_number(v));
            return refuse(o, what);
        }
        return store_number(o, base, (double)integer);
    case SC_OPT_REAL:
        if (type != SC_JSON_NUMBER)
            return wrong_type(o, v);
        return store_number(o, base, sc_json_number(v));
    case SC_OPT_TEXT:
        return type == SC_JSON_STRING ? store_text(o, base, sc_json_string(v)) : wrong_type(o, v);
    case SC_OPT_CLASS_TEXTS:
        return type == SC_JSON_OBJECT ? store_class_texts(o, base, v) : wrong_type(o, v);
    case SC_OPT_ACTION:
    case SC_OPT_SET:
        break;
    }
    return sc_fail(SC_EINTERNAL, "option %s holds no value", o->flag);
}

void sc_option_clear(const sc_option *o, void *base)
{
    if (o->type == SC_OPT_TEXT) {
        char **text = member(o, base);
        free(*text);
        *text = NULL;
    } else if (o->type == SC_OPT_CLASS_TEXTS) {
        sc_class_text **texts = member(o, base);
        sc_class_texts_free(*texts, *texts_count(base));
        *texts = NULL;
        *texts_count(base) = 0;
    }
}

static bool is_null(const sc_option *o, const void *base)
{
    if (o->type == SC_OPT_INT)
        return o->nullable && *(const int *)member_const(o, base) < 0;
    if (o->type == SC_OPT_TEXT)
        return !*(char *const *)member_const(o, base);
    return o->type == SC_OPT_CLASS_TEXTS && !*(sc_class_text *const *)member_const(o, base);
}

bool sc_option_is_on(const sc_option *o, const void *base)
{
    return o->type == SC_OPT_BOOL ? *(const bool *)member_const(o, base) : !is_null(o, base);
}

bool sc_option_is_default(const sc_option *o, const void *base)
{
    double number = 0;
    bool flag = false;
    if (!o->initial || is_null(o, base))
        return !o->initial && is_null(o, base);
    if (o->type == SC_OPT_TEXT)
        return strcmp(*(char *const *)member_const(o, base), o->initial) == 0;
    if (o->type == SC_OPT_BOOL)
        return sc_parse_bool(o->initial, &flag) && flag == *(const bool *)member_const(o, base);
    if (!parse_number(o->initial, false, &number))
        return false;
    double v;
    if (o->type == SC_OPT_REAL)
        v = *(const double *)member_const(o, base);
    else if (o->type == SC_OPT_INT)
        v = *(const int *)member_const(o, base);
    else
        v = *(const uint32_t *)member_const(o, base);
    return v >= number && v <= number;
}

void sc_option_write(const sc_option *o, const void *base, sc_json_writer *w)
{
    const void *at = member_const(o, base);
    const sc_config *c = base;
    /* texts that came from a file are dumped by the file's name, so that the dump reads back */
    if (is_null(o, base) || (o->type == SC_OPT_CLASS_TEXTS && c->class_texts_file)) {
        sc_jw_null(w, o->key);
        return;
    }
    switch (o->type) {
    case SC_OPT_BOOL:
        sc_jw_bool(w, o->key, *(const bool *)at);
        break;
    case SC_OPT_INT:
        sc_jw_int(w, o->key, *(const int *)at);
        break;
    case SC_OPT_UINT32:
        sc_jw_int(w, o->key, *(const uint32_t *)at);
        break;
    case SC_OPT_REAL:
        sc_jw_number(w, o->key, *(const double *)at);
        break;
    case SC_OPT_TEXT:
        sc_jw_string(w, o->key, *(char *const *)at);
        break;
    case SC_OPT_CLASS_TEXTS:
        sc_class_texts_write(c->class_texts, c->class_texts_count, o->key, w);
        break;
    case SC_OPT_ACTION:
    case SC_OPT_SET:
        break;
    }
}

/* A checkpoint does not care by which of its names a method was called. */
static bool is_synonym(const sc_option *o, const char *text, const char **canonical)
{
    const char *equals = o->synonyms ? strchr(o->synonyms, '=') : NULL;
    if (!equals || !text || strlen(text) != (size_t)(equals - o->synonyms) ||
        strncmp(text, o->synonyms, strlen(text)) != 0)
        return false;
    *canonical = equals + 1;
    return true;
}

sc_status sc_option_write_identity(const sc_option *o, const sc_config *c, sc_json_writer *w)
{
    const char *canonical;
    if (o->type == SC_OPT_CLASS_TEXTS && c->class_texts_count > 0) {
        sc_class_text *sorted = sc_class_texts_sorted(c->class_texts, c->class_texts_count);
        if (!sorted)
            return SC_ENOMEM;
        sc_class_texts_write(sorted, c->class_texts_count, o->key, w);
        free(sorted);
    } else if (o->type == SC_OPT_TEXT &&
               is_synonym(o, *(char *const *)member_const(o, c), &canonical)) {
        sc_jw_string(w, o->key, canonical);
    } else {
        sc_option_write(o, c, w);
    }
    return SC_OK;
}
