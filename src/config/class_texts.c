/* The texts of the classes: read from an object, written back, matched with the data's classes. */
#include "option.h"

#include <stdlib.h>
#include <string.h>

void sc_class_texts_free(sc_class_text *t, int count)
{
    for (int i = 0; t && i < count; i++) {
        free(t[i].class_name);
        for (int k = 0; t[i].texts && k < t[i].count; k++)
            free(t[i].texts[k]);
        free(t[i].texts);
    }
    free(t);
}

static sc_status take_text(const sc_json *v, const char *class_name, char **out)
{
    if (sc_json_type_of(v) != SC_JSON_STRING)
        return sc_fail(SC_EUSAGE, "line %d: class '%s' has %s; give a text or a list of texts",
                       sc_json_line(v), class_name, sc_json_type_name(sc_json_type_of(v)));
    const char *text = sc_json_string(v);
    if (text[strspn(text, " \t\r\n")] == '\0')
        return sc_fail(SC_EUSAGE,
                       "line %d: class '%s' has an empty text; write one, or leave the "
                       "class out to use text_template",
                       sc_json_line(v), class_name);
    *out = sc_strdup(text);
    return *out ? SC_OK : SC_ENOMEM;
}

static sc_status take_class(const sc_json *v, sc_class_text *out)
{
    const char *class_name = sc_json_key(v);
    bool list = sc_json_type_of(v) == SC_JSON_ARRAY;
    size_t count = list ? sc_json_count(v) : 1;
    if (count == 0 || count > INT32_MAX)
        return sc_fail(SC_EUSAGE,
                       "line %d: class '%s' has an empty list; write a text into it, or "
                       "leave the class out to use text_template",
                       sc_json_line(v), class_name);
    out->class_name = sc_strdup(class_name);
    out->texts = sc_alloc(count, sizeof *out->texts);
    if (!out->class_name || !out->texts)
        return SC_ENOMEM;
    for (const sc_json *t = list ? sc_json_first(v) : v; t; t = list ? sc_json_next(t) : NULL) {
        SC_TRY(take_text(t, class_name, &out->texts[out->count]));
        out->count++;
    }
    return SC_OK;
}

sc_status sc_class_texts_of_json(const sc_json *object, sc_class_text **out, int *count)
{
    if (sc_json_type_of(object) != SC_JSON_OBJECT)
        return sc_fail(SC_EUSAGE, "is %s; it must be an object, class to text or list of texts",
                       sc_json_type_name(sc_json_type_of(object)));
    size_t n = sc_json_count(object);
    if (n == 0)
        return sc_fail(SC_EUSAGE,
                       "names no class; write \"class\": \"text\" into it, or remove it");
    sc_class_text *texts = sc_alloc(n, sizeof *texts);
    if (!texts)
        return SC_ENOMEM;
    size_t i = 0;
    for (const sc_json *v = sc_json_first(object); v; v = sc_json_next(v)) {
        sc_status status = take_class(v, &texts[i++]);
        if (status != SC_OK) {
            sc_class_texts_free(texts, (int)n);
            return status;
        }
    }
    *out = texts;
    *count = (int)n;
    return SC_OK;
}

static int by_class_name(const void *a, const void *b)
{
    return strcmp(((const sc_class_text *)a)->class_name, ((const sc_class_text *)b)->class_name);
}

sc_class_text *sc_class_texts_sorted(const sc_class_text *t, int count)
{
    sc_class_text *sorted = sc_alloc((size_t)count, sizeof *sorted);
    if (!sorted)
        return NULL;
    memcpy(sorted, t, (size_t)count * sizeof *t);
    qsort(sorted, (size_t)count, sizeof *sorted, by_class_name);
    return sorted;
}

void sc_class_texts_write(const sc_class_text *t, int count, const char *key, sc_json_writer *w)
{
    sc_jw_object(w, key);
    for (int i = 0; i < count; i++) {
        if (t[i].count == 1) {
            sc_jw_string(w, t[i].class_name, t[i].texts[0]);
            continue;
        }
        sc_jw_list(w, t[i].class_name);
        for (int k = 0; k < t[i].count; k++)
            sc_jw_string(w, NULL, t[i].texts[k]);
        sc_jw_end(w);
    }
    sc_jw_end(w);
}

/* ---- matching with the data -------------------------------------------------------- */

static const sc_class_text *find(const sc_config *c, const char *class_name)
{
    for (int i = 0; i < c->class_texts_count; i++)
        if (strcmp(c->class_texts[i].class_name, class_name) == 0)
            return &c->class_texts[i];
    return NULL;
}

static sc_status check_known(const sc_config *c, const char *const *class_names, int classes)
{
    for (int i = 0; i < c->class_texts_count; i++) {
        const char *given = c->class_texts[i].class_name;
        int k = 0;
        while (k < classes && strcmp(class_names[k], given) != 0)
            k++;
        if (k < classes)
            continue;
        const char *near = sc_nearest(given, class_names, (size_t)classes);
        return sc_fail(SC_EUSAGE,
                       "%s: class '%s' has a text but no folder in the data%s%s%s; "
                       "correct the name or remove it",
                       c->class_texts_file ? c->class_texts_file : c->source, given,
                       near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    }
    return SC_OK;
}

static char *fill_template(const char *template, const char *class_name)
{
    static const char slot[] = "{class_name}";
    sc_text t;
    sc_text_init(&t);
    const char *at = template;
    for (const char *hit; (hit = strstr(at, slot)); at = hit + sizeof slot - 1) {
        sc_text_add(&t, at, (size_t)(hit - at));
        sc_text_puts(&t, class_name);
    }
    sc_text_puts(&t, at);
    char *filled = sc_text_status(&t) == SC_OK ? sc_strdup(t.data ? t.data : "") : NULL;
    sc_text_free(&t);
    return filled;
}

static sc_status make_class(const sc_config *c, const sc_class_text *given, const char *class_name,
                            sc_class_text *out)
{
    int count = given ? given->count : 1;
    out->class_name = sc_strdup(class_name);
    out->texts = sc_alloc((size_t)count, sizeof *out->texts);
    if (!out->class_name || !out->texts)
        return SC_ENOMEM;
    for (; out->count < count; out->count++) {
        char *text = given ? sc_strdup(given->texts[out->count])
                           : fill_template(c->text_template, class_name);
        if (!text)
            return SC_ENOMEM;
        out->texts[out->count] = text;
    }
    return SC_OK;
}

static bool same_texts(const sc_class_text *a, const sc_class_text *b)
{
    if (a->count != b->count)
        return false;
    for (int k = 0; k < a->count; k++)
        if (strcmp(a->texts[k], b->texts[k]) != 0)
            return false;
    return true;
}

/* Classes with one text cannot be told apart: one warning names the first such pair. */
static void warn_of_twins(const sc_config *c, const sc_class_text *t, int classes,
                          int from_template, const sc_log *log)
{
    if (from_template > 1 && !strstr(c->text_template, "{class_name}")) {
        sc_warn(log,
                "%s: text_template '%s' has no {class_name}: %d classes share one text and "
                "cannot be told apart",
                c->source, c->text_template, from_template);
        return;
    }
    for (int i = 0; i < classes; i++) {
        for (int k = i + 1; k < classes; k++) {
            if (!same_texts(&t[i], &t[k]))
                continue;
            sc_warn(log, "%s: classes '%s' and '%s' have the same text and cannot be told apart",
                    c->source, t[i].class_name, t[k].class_name);
            return;
        }
    }
}

sc_status sc_config_class_texts(const sc_config *c, const char *const *class_names, int classes,
                                const sc_log *log, sc_class_text **out)
{
    SC_TRY(check_known(c, class_names, classes));
    sc_class_text *t = sc_alloc((size_t)classes, sizeof *t);
    if (!t)
        return SC_ENOMEM;
    int from_template = 0;
    for (int i = 0; i < classes; i++) {
        const sc_class_text *given = find(c, class_names[i]);
        from_template += !given;
        sc_status status = make_class(c, given, class_names[i], &t[i]);
        if (status != SC_OK) {
            sc_class_texts_free(t, classes);
            return status;
        }
        if (!given && c->class_texts_count > 0)
            sc_warn(log, "%s: class '%s' has no text of its own; text_template makes it '%s'",
                    c->class_texts_file ? c->class_texts_file : c->source, class_names[i],
                    t[i].texts[0]);
    }
    warn_of_twins(c, t, classes, from_template, log);
    *out = t;
    return SC_OK;
}
