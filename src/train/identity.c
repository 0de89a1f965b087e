/* What a checkpoint is bound to: the settings that change the training and the data, as one JSON
 * object. Also JSON -> the Python values that a .pth holds.
 */
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

static bool value_text(const sc_json *v, char out[120])
{
    sc_json_writer w;
    sc_jw_init(&w);
    w.compact = true;
    sc_jw_value(&w, NULL, v);
    bool ok = sc_text_status(&w.text) == SC_OK;
    size_t n = ok ? w.text.len : 0;
    while (n > 0 && w.text.data[n - 1] == '\n')
        n--;
    if (n < 120) {
        memcpy(out, ok ? w.text.data : "", n);
        out[n] = '\0';
    } else
        snprintf(out, 120, "%.113s...", w.text.data);
    sc_jw_free(&w);
    return ok;
}

/* Deep comparison by the compact text: both sides come from the same writer. */
static bool same_value(const sc_json *a, const sc_json *b)
{
    sc_json_writer x, y;
    sc_jw_init(&x);
    sc_jw_init(&y);
    x.compact = y.compact = true;
    sc_jw_value(&x, NULL, a);
    sc_jw_value(&y, NULL, b);
    bool same = sc_text_status(&x.text) == SC_OK && sc_text_status(&y.text) == SC_OK &&
                x.text.len == y.text.len && memcmp(x.text.data, y.text.data, x.text.len) == 0;
    sc_jw_free(&x);
    sc_jw_free(&y);
    return same;
}

static void add_difference(sc_text *list, const char *key, const sc_json *have, const sc_json *want)
{
    char a[120] = "absent", b[120] = "absent";
    if (have)
        value_text(have, a);
    if (want)
        value_text(want, b);
    sc_text_putf(list, "%s%s (there %s, now %s)", list->len ? ", " : "", key, a, b);
}

/* Is key one of the words of list? */
static bool is_listed(const char *key, const char *list)
{
    size_t n = strlen(key);
    for (const char *at = list; at && (at = strstr(at, key)); at += n)
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
            return true;
    return false;
}

static void differences(const sc_json *have, const sc_json *want, const char *unknown,
                        sc_text *list)
{
    for (const sc_json *v = sc_json_first(want); v; v = sc_json_next(v)) {
        if (is_listed(sc_json_key(v), unknown))
            continue;
        const sc_json *h = sc_json_get(have, sc_json_key(v));
        if (!h || !same_value(h, v))
            add_difference(list, sc_json_key(v), h, v);
    }
    for (const sc_json *h = sc_json_first(have); h; h = sc_json_next(h))
        if (!sc_json_get(want, sc_json_key(h)) && !is_listed(sc_json_key(h), unknown))
            add_difference(list, sc_json_key(h), h, NULL);
}

sc_status sc_identity_check(const char *path, const char *have, const char *want,
                            const char *unknown, const char *advice)
{
    if (strcmp(have, want) == 0)
        return SC_OK;
    sc_json_doc *h = NULL, *w = NULL;
    sc_text list;
    sc_text_init(&list);
    sc_status status = SC_OK;
    if (sc_json_parse(path, have, strlen(have), &h) != SC_OK) {
        status = sc_fail(SC_EFORMAT, "%s: its identity is not readable", path);
        goto done;
    }
    SC_TRY_GOTO(sc_json_parse("identity", want, strlen(want), &w));
    differences(sc_json_root(h), sc_json_root(w), unknown, &list);
    SC_TRY_GOTO(sc_text_status(&list));
    if (list.len)
        status = sc_fail(SC_EUSAGE, "%s was trained with other settings: %s; %s", path, list.data,
                         advice);
done:
    sc_json_free(h);
    sc_json_free(w);
    sc_text_free(&list);
    return status;
}

static sc_object *convert(const sc_json *v)
{
    int64_t i;
    sc_object *o;
    switch (sc_json_type_of(v)) {
    case SC_JSON_NULL:
        return sc_obj_none();
    case SC_JSON_BOOL:
        return sc_obj_bool(sc_json_bool(v));
    case SC_JSON_NUMBER:
        return sc_json_is_integer(v, &i) ? sc_obj_int(i) : sc_obj_float(sc_json_number(v));
    case SC_JSON_STRING:
        return sc_obj_string(sc_json_string(v));
    case SC_JSON_ARRAY:
        o = sc_obj_list();
        for (const sc_json *c = sc_json_first(v); c; c = sc_json_next(c))
            sc_obj_append(o, convert(c));
        return o;
    case SC_JSON_OBJECT:
        o = sc_obj_dict();
        for (const sc_json *c = sc_json_first(v); c; c = sc_json_next(c))
            sc_obj_put(o, sc_json_key(c), convert(c));
        return o;
    }
    return sc_obj_none();
}

sc_status sc_object_from_json(const char *name, const char *text, sc_object **out)
{
    sc_json_doc *doc;
    *out = NULL;
    SC_TRY(sc_json_parse(name, text, strlen(text), &doc));
    *out = convert(sc_json_root(doc));
    sc_json_free(doc);
    return *out ? SC_OK : SC_ENOMEM;
}
