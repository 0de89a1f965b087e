/* manifest.json: what a packed set consists of, and the checksums that its reader trusts. */
#include "pack_priv.h"

#include <stdlib.h>
#include <string.h>

#include "superclip/codec.h"

void sc_shard_file_name(int shard, int shards, char out[40])
{
    snprintf(out, 40, "shard-%05d-of-%05d.h5", shard, shards);
}

sc_shard_shape sc_manifest_shape(const sc_manifest *m, int shard)
{
    return (sc_shard_shape){m->shards[shard].samples, m->img_size, m->path_bytes};
}

void sc_manifest_free(sc_manifest *m)
{
    for (int c = 0; m->class_names && c < m->classes; c++)
        free(m->class_names[c]);
    for (int64_t i = 0; m->skipped && i < m->skipped_count; i++) {
        free(m->skipped[i].path);
        free(m->skipped[i].reason);
    }
    free(m->class_names);
    free(m->skipped);
    free(m->shards);
    memset(m, 0, sizeof *m);
}

/* ---- writing -----------------------------------------------------------------------------------
 */

static void write_hex(sc_json_writer *w, const char *key, const uint8_t digest[32])
{
    char hex[65];
    sc_sha256_hex(digest, hex);
    sc_jw_string(w, key, hex);
}

static void write_shard(sc_json_writer *w, const sc_shard_entry *e)
{
    sc_jw_object(w, NULL);
    sc_jw_string(w, "file", e->file);
    sc_jw_int(w, "bytes", (int64_t)e->map.bytes);
    sc_jw_int(w, "samples", e->samples);
    write_hex(w, "sha256", e->sha256);
    write_hex(w, "metadata_sha256", e->metadata_sha256);
    sc_jw_object(w, "offsets");
    for (int s = 0; s < SC_SETS; s++)
        sc_jw_int(w, sc_set_name((sc_set)s), (int64_t)e->map.offset[s]);
    sc_jw_end(w);
    sc_jw_object(w, "crc32c");
    for (int s = SC_FIRST_SMALL_SET; s < SC_SETS; s++)
        sc_jw_int(w, sc_set_name((sc_set)s), e->crc32c[s]);
    sc_jw_end(w);
    sc_jw_end(w);
}

sc_status sc_manifest_save(const sc_manifest *m, const char *path)
{
    sc_json_writer w;
    sc_jw_init(&w);
    sc_jw_object(&w, NULL);
    sc_jw_string(&w, "format", SC_SHARD_FORMAT);
    sc_jw_int(&w, "format_version", SC_SHARD_VERSION);
    sc_jw_string(&w, "packer_version", SC_PACKER);
    sc_jw_int(&w, "img_size", m->img_size);
    sc_jw_int(&w, "train_size", sc_train_size(m->img_size));
    sc_jw_int(&w, "samples", m->samples);
    sc_jw_int(&w, "path_bytes", (int64_t)m->path_bytes);
    if (m->window) {
        sc_jw_inline_list(&w, "window");
        sc_jw_number(&w, NULL, m->window_lo);
        sc_jw_number(&w, NULL, m->window_hi);
        sc_jw_end(&w);
    } else {
        sc_jw_null(&w, "window");
    }
    sc_jw_list(&w, "class_names");
    for (int c = 0; c < m->classes; c++)
        sc_jw_string(&w, NULL, m->class_names[c]);
    sc_jw_end(&w);
    sc_jw_list(&w, "shards");
    for (int s = 0; s < m->shard_count; s++)
        write_shard(&w, &m->shards[s]);
    sc_jw_end(&w);
    sc_jw_list(&w, "skipped");
    for (int64_t i = 0; i < m->skipped_count; i++) {
        sc_jw_object(&w, NULL);
        sc_jw_string(&w, "path", m->skipped[i].path);
        sc_jw_string(&w, "reason", m->skipped[i].reason);
        sc_jw_end(&w);
    }
    sc_jw_end(&w);
    sc_jw_string(&w, "data_sha256", m->data_sha256);
    sc_jw_end(&w);
    sc_status status = sc_jw_save(&w, path);
    sc_jw_free(&w);
    return status;
}

/* ---- reading -----------------------------------------------------------------------------------
 */

/* The value under `key` when it has the wanted type. */
static sc_status want(const sc_json_doc *doc, const sc_json *object, const char *key,
                      sc_json_type type, const sc_json **out)
{
    *out = sc_json_get(object, key);
    if (!*out)
        return sc_json_fail(doc, object, "'%s' is missing", key);
    if (sc_json_type_of(*out) != type)
        return sc_json_fail(doc, *out, "must be %s", sc_json_type_name(type));
    return SC_OK;
}

static sc_status want_int(const sc_json_doc *doc, const sc_json *object, const char *key,
                          int64_t lo, int64_t hi, int64_t *out)
{
    const sc_json *v;
    SC_TRY(want(doc, object, key, SC_JSON_NUMBER, &v));
    if (!sc_json_is_integer(v, out) || *out < lo || *out > hi)
        return sc_json_fail(doc, v, "must be an integer in %lld..%lld", (long long)lo,
                            (long long)hi);
    return SC_OK;
}

static sc_status want_hex(const sc_json_doc *doc, const sc_json *object, const char *key,
                          uint8_t digest[32])
{
    const sc_json *v;
    SC_TRY(want(doc, object, key, SC_JSON_STRING, &v));
    const char *s = sc_json_string(v);
    bool ok = strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
    if (!ok)
        return sc_json_fail(doc, v, "must be 64 hexadecimal digits");
    for (int i = 0; i < 32; i++) {
        char byte[3] = {s[2 * i], s[2 * i + 1], 0};
        digest[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    return SC_OK;
}

static const int64_t largest = (int64_t)1 << 52;

static sc_status read_shard(const sc_json_doc *doc, const sc_json *v, int shard, sc_manifest *m)
{
    sc_shard_entry *e = &m->shards[shard];
    const sc_json *file, *inner;
    if (sc_json_type_of(v) != SC_JSON_OBJECT)
        return sc_json_fail(doc, v, "must be an object");
    SC_TRY(want(doc, v, "file", SC_JSON_STRING, &file));
    sc_shard_file_name(shard, m->shard_count, e->file);
    if (strcmp(sc_json_string(file), e->file) != 0)
        return sc_json_fail(doc, file, "must be \"%s\"", e->file);
    int64_t bytes, number;
    SC_TRY(want_int(doc, v, "bytes", 1, largest, &bytes));
    SC_TRY(want_int(doc, v, "samples", 1, largest / 4096 / 4096 / 3, &e->samples));
    e->map.bytes = (uint64_t)bytes;
    SC_TRY(want_hex(doc, v, "sha256", e->sha256));
    SC_TRY(want_hex(doc, v, "metadata_sha256", e->metadata_sha256));
    SC_TRY(want(doc, v, "offsets", SC_JSON_OBJECT, &inner));
    for (int s = 0; s < SC_SETS; s++) {
        SC_TRY(want_int(doc, inner, sc_set_name((sc_set)s), 1, bytes, &number));
        e->map.offset[s] = (uint64_t)number;
    }
    SC_TRY(want(doc, v, "crc32c", SC_JSON_OBJECT, &inner));
    for (int s = SC_FIRST_SMALL_SET; s < SC_SETS; s++) {
        SC_TRY(want_int(doc, inner, sc_set_name((sc_set)s), 0, UINT32_MAX, &number));
        e->crc32c[s] = (uint32_t)number;
    }
    return SC_OK;
}

static sc_status read_names(const sc_json_doc *doc, const sc_json *root, sc_manifest *m)
{
    const sc_json *list;
    SC_TRY(want(doc, root, "class_names", SC_JSON_ARRAY, &list));
    size_t n = sc_json_count(list);
    if (n == 0)
        return sc_json_fail(doc, list, "must name at least one class");
    m->class_names = sc_alloc(n, sizeof *m->class_names);
    if (!m->class_names)
        return SC_ENOMEM;
    for (const sc_json *v = sc_json_first(list); v; v = sc_json_next(v)) {
        if (sc_json_type_of(v) != SC_JSON_STRING)
            return sc_json_fail(doc, v, "must be a string");
        m->class_names[m->classes] = sc_strdup(sc_json_string(v));
        if (!m->class_names[m->classes++])
            return SC_ENOMEM;
    }
    return SC_OK;
}

static sc_status read_shards(const sc_json_doc *doc, const sc_json *root, sc_manifest *m)
{
    const sc_json *list;
    SC_TRY(want(doc, root, "shards", SC_JSON_ARRAY, &list));
    size_t n = sc_json_count(list);
    if (n == 0 || n > 99999)
        return sc_json_fail(doc, list, "must hold 1..99999 shards");
    m->shards = sc_alloc(n, sizeof *m->shards);
    if (!m->shards)
        return SC_ENOMEM;
    m->shard_count = (int)n;
    int64_t first = 0;
    int shard = 0;
    for (const sc_json *v = sc_json_first(list); v; v = sc_json_next(v), shard++) {
        SC_TRY(read_shard(doc, v, shard, m));
        m->shards[shard].first = first;
        first += m->shards[shard].samples;
    }
    if (first != m->samples)
        return sc_json_fail(doc, list, "hold %lld samples together, but 'samples' says %lld",
                            (long long)first, (long long)m->samples);
    return SC_OK;
}

static sc_status read_root(const sc_json_doc *doc, sc_manifest *m)
{
    const sc_json *root = sc_json_root(doc), *v;
    int64_t number;
    if (sc_json_type_of(root) != SC_JSON_OBJECT)
        return sc_json_fail(doc, root, "must be an object");
    SC_TRY(want(doc, root, "format", SC_JSON_STRING, &v));
    if (strcmp(sc_json_string(v), SC_SHARD_FORMAT) != 0)
        return sc_json_fail(doc, v, "is not \"%s\": this is another program's file",
                            SC_SHARD_FORMAT);
    SC_TRY(want_int(doc, root, "format_version", 1, 1 << 30, &number));
    if (number != SC_SHARD_VERSION)
        return sc_json_fail(doc, sc_json_get(root, "format_version"),
                            "this program reads version %d; pack the images again",
                            SC_SHARD_VERSION);
    SC_TRY(want_int(doc, root, "img_size", 16, 4096, &number));
    m->img_size = (int)number;
    SC_TRY(want_int(doc, root, "samples", 1, largest / 4096, &m->samples));
    SC_TRY(want_int(doc, root, "path_bytes", 1, 1 << 20, &number));
    m->path_bytes = (size_t)number;
    SC_TRY(read_names(doc, root, m));
    SC_TRY(read_shards(doc, root, m));
    uint8_t digest[32];
    SC_TRY(want_hex(doc, root, "data_sha256", digest));
    sc_sha256_hex(digest, m->data_sha256);
    return SC_OK;
}

/* `skipped` and `window` are for people and are not read back. */
sc_status sc_manifest_read(const char *path, sc_manifest *out)
{
    memset(out, 0, sizeof *out);
    sc_json_doc *doc = NULL;
    SC_TRY(sc_json_read_file(path, &doc));
    sc_status status = read_root(doc, out);
    sc_json_free(doc);
    if (status != SC_OK)
        sc_manifest_free(out);
    return status == SC_EUSAGE ? SC_EFORMAT : status;
}

/* ---- the data's hash
 * ----------------------------------------------------------------------------- */

/* One digest a set, so that where a shard ends leaves no trace. */
struct sc_data_hash {
    sc_sha256 head, sets[SC_SETS];
};

sc_data_hash *sc_data_hash_new(int img_size, char *const *class_names, int classes)
{
    sc_data_hash *h = sc_alloc(1, sizeof *h);
    if (!h)
        return NULL;
    char text[64];
    int n = snprintf(text, sizeof text, "%s %d", SC_SHARD_FORMAT, img_size);
    sc_sha256_init(&h->head);
    sc_sha256_update(&h->head, text, (size_t)n + 1);
    for (int c = 0; c < classes; c++)
        sc_sha256_update(&h->head, class_names[c], strlen(class_names[c]) + 1);
    for (int s = 0; s < SC_SETS; s++)
        sc_sha256_init(&h->sets[s]);
    return h;
}

void sc_data_hash_add(sc_data_hash *h, const sc_shard_shape *shape, void *const sets[SC_SETS])
{
    for (int s = SC_FIRST_SMALL_SET; s < SC_SETS; s++)
        sc_sha256_update(&h->sets[s], sets[s], (size_t)sc_set_bytes((sc_set)s, shape));
}

void sc_data_hash_end(sc_data_hash *h, char hex[65])
{
    uint8_t digest[32];
    for (int s = SC_FIRST_SMALL_SET; s < SC_SETS; s++) {
        sc_sha256_final(&h->sets[s], digest);
        sc_sha256_update(&h->head, digest, sizeof digest);
    }
    sc_sha256_final(&h->head, digest);
    sc_sha256_hex(digest, hex);
    free(h);
}
