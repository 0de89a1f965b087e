/* Plans kept on disk. The file:
 *     superclip-plans 1 PROFILE
 *     KEY<tab>CRC<tab>BYTES
 *     JSON, one line of BYTES bytes
 *     ... */
#include "dnn.h"

#include <stdlib.h>
#include <string.h>

#define HEAD "superclip-plans 1 "

typedef struct entry {
    char *key, *json;
} entry;
struct dnn_cache {
    char *folder, *path, *profile;
    entry *entries;
    size_t count, room;
    bool changed;
};

static sc_status append(dnn_cache *c, const char *key, size_t key_length, const char *json,
                        size_t bytes)
{
    if (c->count == c->room) {
        const size_t room = c->room * 2 + 64;
        entry *more = sc_realloc(c->entries, room, sizeof *more);
        if (more == NULL)
            return SC_ENOMEM;
        c->entries = more;
        c->room = room;
    }
    entry e = {sc_strndup(key, key_length), sc_strndup(json, bytes)};
    if (e.key == NULL || e.json == NULL) {
        free(e.key);
        free(e.json);
        return SC_ENOMEM;
    }
    c->entries[c->count++] = e;
    return SC_OK;
}
/* As many whole entries as there are: what comes after damage is forgotten. */
static sc_status parse(dnn_cache *c, const char *text)
{
    const size_t head = strlen(HEAD), profile = strlen(c->profile);
    if (strncmp(text, HEAD, head) != 0 || strncmp(text + head, c->profile, profile) != 0 ||
        text[head + profile] != '\n')
        return SC_OK;
    const char *at = text + head + profile + 1;
    for (;;) {
        const char *tab = strchr(at, '\t');
        unsigned crc = 0;
        size_t bytes = 0;
        int used = 0;
        if (tab == NULL || sscanf(tab, "\t%8x\t%zu%n", &crc, &bytes, &used) != 2 ||
            tab[used] != '\n' || memchr(at, '\n', (size_t)(tab - at)) != NULL)
            return SC_OK;
        const char *json = tab + used + 1;
        if (strnlen(json, bytes + 1) != bytes + 1 || json[bytes] != '\n' ||
            sc_crc32c(0, json, bytes) != crc)
            return SC_OK;
        SC_TRY(append(c, at, (size_t)(tab - at), json, bytes));
        at = json + bytes + 1;
    }
}

sc_status dnn_cache_open(const char *folder, const char *profile, dnn_cache **out)
{
    enum { LARGEST = 256 << 20 };
    dnn_cache *c = sc_alloc(1, sizeof *c);
    char *text = NULL;
    size_t bytes = 0;
    sc_status status = SC_OK;
    *out = NULL;
    if (c == NULL)
        return SC_ENOMEM;
    c->folder = sc_strdup(folder);
    c->profile = sc_strdup(profile);
    c->path = sc_format("%s/plans-%08x.txt", folder, sc_crc32c(0, profile, strlen(profile)));
    if (c->folder == NULL || c->profile == NULL || c->path == NULL)
        status = SC_ENOMEM;
    else if (sc_file_exists(c->path) && sc_read_file(c->path, LARGEST, &text, &bytes) == SC_OK)
        status = parse(c, text);
    free(text);
    if (status == SC_OK)
        *out = c;
    else
        dnn_cache_free(c);
    return status;
}
const char *dnn_cache_get(const dnn_cache *c, const char *key)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->entries[i].key, key) == 0)
            return c->entries[i].json;
    return NULL;
}
sc_status dnn_cache_put(dnn_cache *c, const char *key, const char *json)
{
    if (strchr(json, '\n') != NULL)
        return SC_OK; /* one line an entry; cuDNN writes none that has more */
    c->changed = true;
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->entries[i].key, key) == 0) {
            char *copy = sc_strdup(json);
            if (copy == NULL)
                return SC_ENOMEM;
            free(c->entries[i].json);
            c->entries[i].json = copy;
            return SC_OK;
        }
    return append(c, key, strlen(key), json, strlen(json));
}
sc_status dnn_cache_write(dnn_cache *c)
{
    if (!c->changed)
        return SC_OK;
    c->changed = false; /* a folder that cannot be written is not tried again */
    SC_TRY(sc_make_dirs(c->folder));
    sc_text t;
    sc_text_init(&t);
    sc_text_putf(&t, HEAD "%s\n", c->profile);
    for (size_t i = 0; i < c->count; i++) {
        const entry *e = &c->entries[i];
        const size_t bytes = strlen(e->json);
        sc_text_putf(&t, "%s\t%08x\t%zu\n", e->key, sc_crc32c(0, e->json, bytes), bytes);
        sc_text_add(&t, e->json, bytes);
        sc_text_puts(&t, "\n");
    }
    sc_status status = sc_text_status(&t);
    if (status == SC_OK)
        status = sc_write_file(c->path, t.data, t.len);
    sc_text_free(&t);
    return status;
}
void dnn_cache_free(dnn_cache *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->count; i++) {
        free(c->entries[i].key);
        free(c->entries[i].json);
    }
    free(c->entries);
    free(c->folder);
    free(c->path);
    free(c->profile);
    free(c);
}
