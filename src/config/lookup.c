/* Finding rows of the option table, and the loops over it that need no more. */
#include "option.h"

#include <string.h>

const sc_option *sc_option_by_key(const char *key)
{
    for (int i = 0; i < sc_option_count; i++) {
        const sc_option *o = &sc_option_table[i];
        if (o->key && (strcmp(o->key, key) == 0 || (o->alias && strcmp(o->alias, key) == 0)))
            return o;
    }
    return NULL;
}

static bool equals(const char *name, const char *word, size_t n)
{
    return name && strlen(name) == n && memcmp(name, word, n) == 0;
}

const sc_option *sc_option_by_flag(const char *flag, size_t n, bool *off)
{
    for (int i = 0; i < sc_option_count; i++) {
        const sc_option *o = &sc_option_table[i];
        if (equals(o->flag, flag, n) || equals(o->off_flag, flag, n)) {
            *off = !equals(o->flag, flag, n);
            return o;
        }
    }
    return NULL;
}

const sc_option *sc_option_by_dashed(const char *word)
{
    char flag[64];
    bool off;
    size_t n = strlen(word);
    if (n >= sizeof flag)
        return NULL;
    for (size_t i = 0; i < n; i++)
        flag[i] = word[i] == '_' ? '-' : word[i];
    return sc_option_by_flag(flag, n, &off);
}

int sc_option_index(const sc_option *o)
{
    return (int)(o - sc_option_table);
}

const char *sc_option_nearest_key(const char *word)
{
    const char *names[2 * SC_OPTION_MAX];
    size_t n = 0;
    for (int i = 0; i < sc_option_count; i++) {
        if (sc_option_table[i].key)
            names[n++] = sc_option_table[i].key;
        if (sc_option_table[i].alias)
            names[n++] = sc_option_table[i].alias;
    }
    return sc_nearest(word, names, n);
}

const char *sc_option_nearest_flag(const char *word)
{
    const char *names[2 * SC_OPTION_MAX];
    size_t n = 0;
    for (int i = 0; i < sc_option_count; i++) {
        if (sc_option_table[i].flag)
            names[n++] = sc_option_table[i].flag;
        if (sc_option_table[i].off_flag)
            names[n++] = sc_option_table[i].off_flag;
    }
    return sc_nearest(word, names, n);
}

void sc_config_write(const sc_config *c, sc_json_writer *w)
{
    for (int i = 0; i < sc_option_count; i++)
        if (sc_option_table[i].key)
            sc_option_write(&sc_option_table[i], c, w);
}

char *sc_config_identity(const sc_config *c)
{
    sc_json_writer w;
    sc_jw_init(&w);
    w.compact = true;
    sc_jw_object(&w, NULL);
    sc_status status = SC_OK;
    for (int i = 0; i < sc_option_count && status == SC_OK; i++)
        if (sc_option_table[i].key && sc_option_table[i].identity)
            status = sc_option_write_identity(&sc_option_table[i], c, &w);
    sc_jw_end(&w);
    if (status == SC_OK)
        status = sc_text_status(&w.text);
    char *identity = status == SC_OK ? sc_strdup(w.text.data) : NULL;
    sc_jw_free(&w);
    return identity;
}
