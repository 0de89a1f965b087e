/* The config file -> drafts: configs that remember where each value came from. */
#include "option.h"

#include <stdlib.h>
#include <string.h>

void sc_drafts_free(sc_drafts *all)
{
    for (int i = 0; i < all->count; i++)
        sc_config_clear(&all->items[i].config);
    free(all->items);
    *all = (sc_drafts){0};
}

void sc_draft_place(const sc_drafts *all, const sc_draft *d, const char *key, char *out, size_t n)
{
    const sc_option *o = sc_option_by_key(key);
    int from = d->from[sc_option_index(o)];
    if (from > 0)
        snprintf(out, n, "%s:%d: key '%s'", all->file, from, key);
    else if (from == SC_FROM_FLAG)
        snprintf(out, n, "%s%s%s%s%s", o->flag ? "--" : "--set ", o->flag ? o->flag : key,
                 all->file ? " (for " : "", all->file ? d->config.source : "",
                 all->file ? ")" : "");
    else
        snprintf(out, n, "%s: key '%s'", d->config.source, key);
}

sc_status sc_draft_fail(const sc_drafts *all, const sc_draft *d, const char *key, const char *fmt,
                        ...)
{
    char place[1024], message[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    sc_draft_place(all, d, key, place, sizeof place);
    return sc_fail(SC_EUSAGE, "%s: %s", place, message);
}

static sc_status set_defaults(sc_draft *d)
{
    for (int i = 0; i < sc_option_count; i++)
        if (sc_option_table[i].key)
            SC_TRY(sc_option_set_default(&sc_option_table[i], &d->config));
    return SC_OK;
}

static sc_status unknown_key(const sc_json_doc *doc, const sc_json *v)
{
    const char *key = sc_json_key(v);
    if (strstr(key, "metaclip"))
        return sc_json_fail(doc, v,
                            "MetaCLIP is not supported; remove it and use text_encoder_name "
                            "with one of the clip: encoders");
    const sc_option *run = sc_option_by_dashed(key);
    if (run && !run->key)
        return sc_json_fail(doc, v, "is not a config key; give it on the command line as --%s",
                            run->flag);
    const char *near = run ? run->key : sc_option_nearest_key(key);
    return sc_json_fail(doc, v, "unknown key%s%s%s; see docs/options.md",
                        near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}

static sc_status read_key(const sc_json_doc *doc, const sc_json *v, sc_draft *d)
{
    const sc_option *o = sc_option_by_key(sc_json_key(v));
    if (!o)
        return unknown_key(doc, v);
    int *from = &d->from[sc_option_index(o)];
    if (*from > 0)
        return sc_json_fail(doc, v,
                            "'%s' and '%s' are two names of one key, the other is in line %d; "
                            "keep one",
                            o->alias, o->key, *from);
    sc_status status = sc_option_set_json(o, &d->config, v);
    if (status == SC_EUSAGE) {
        char *message = sc_strdup(sc_message());
        if (!message)
            return SC_ENOMEM;
        status = sc_json_fail(doc, v, "%s", message);
        free(message);
    }
    *from = sc_json_line(v);
    return status;
}

static sc_status read_config(const sc_json_doc *doc, const sc_json *object, sc_draft *d)
{
    d->config.source = sc_format("%s:%d", sc_json_doc_name(doc), sc_json_line(object));
    if (!d->config.source)
        return SC_ENOMEM;
    if (sc_json_type_of(object) != SC_JSON_OBJECT)
        return sc_fail(SC_EUSAGE, "%s: a config is %s; it must be an object {...}",
                       d->config.source, sc_json_type_name(sc_json_type_of(object)));
    SC_TRY(set_defaults(d));
    for (const sc_json *v = sc_json_first(object); v; v = sc_json_next(v))
        SC_TRY(read_key(doc, v, d));
    return SC_OK;
}

static sc_status read_root(const sc_json_doc *doc, sc_drafts *out)
{
    const sc_json *root = sc_json_root(doc);
    bool list = sc_json_type_of(root) == SC_JSON_ARRAY;
    size_t n = list ? sc_json_count(root) : 1;
    if (n == 0)
        return sc_fail(SC_EUSAGE,
                       "%s: the list of configs is empty; write at least one {...} into it",
                       sc_json_doc_name(doc));
    if (n > 1000000)
        return sc_fail(SC_EUSAGE, "%s: %zu configs are too many; split the file",
                       sc_json_doc_name(doc), n);
    out->items = sc_alloc(n, sizeof *out->items);
    if (!out->items)
        return SC_ENOMEM;
    const sc_json *v = list ? sc_json_first(root) : root;
    for (; v; v = list ? sc_json_next(v) : NULL)
        SC_TRY(read_config(doc, v, &out->items[out->count++]));
    return SC_OK;
}

static sc_status without_file(sc_drafts *out)
{
    out->items = sc_alloc(1, sizeof *out->items);
    if (!out->items)
        return SC_ENOMEM;
    out->count = 1;
    out->items[0].config.source = sc_strdup("command line");
    return out->items[0].config.source ? set_defaults(&out->items[0]) : SC_ENOMEM;
}

sc_status sc_drafts_read(const char *path, sc_drafts *out)
{
    if (!path)
        return without_file(out);
    sc_json_doc *doc = NULL;
    sc_status status = sc_json_read_file(path, &doc);
    if (status == SC_EIO)
        return sc_fail_prefix(status, "config file");
    SC_TRY(status);
    out->file = path;
    status = read_root(doc, out);
    sc_json_free(doc);
    return status;
}
