/* One way to read a state dict, whatever its file. */
#include "safetensors.h"

#include "superclip/codec.h"
#include "superclip/json.h"

#include <stdlib.h>
#include <string.h>

typedef struct shard {
    char *path;
    sc_input_file file;
} shard;

typedef struct shard_place {
    size_t shard;
    uint64_t offset;
} shard_place;

struct sc_weights {
    char *path;
    sc_pth *pth;
    sc_pth_list list; /* of pth */
    shard *shards;
    size_t shard_count;
    sc_tensor_set set; /* of the shards */
    shard_place *places;
    size_t place_cap;
};

/* ---- .pth and TorchScript -------------------------------------------------------------------- */

/* Every tensor below a module under its path: the names of state_dict(). */
static sc_status flatten(sc_weights *w, const sc_object *module, const char *prefix)
{
    for (size_t i = 0; i < module->count; i++) {
        const sc_object *key = module->keys[i], *v = module->items[i];
        if (key->type != SC_OBJ_STRING || (v->type != SC_OBJ_TENSOR && v->type != SC_OBJ_DICT))
            continue;
        char *name = sc_format("%s%s%s", prefix, *prefix ? "." : "", key->s);
        if (!name)
            return SC_ENOMEM;
        sc_status status =
            v->type == SC_OBJ_TENSOR ? sc_pth_list_add(&w->list, name, v) : flatten(w, v, name);
        free(name);
        SC_TRY(status);
    }
    return SC_OK;
}

static sc_status open_pth(sc_weights *w)
{
    SC_TRY(sc_pth_open(w->path, &w->pth));
    w->list.file = w->pth;
    const sc_object *root = sc_pth_root(w->pth);
    if (sc_pth_is_script(w->pth)) {
        if (root->type != SC_OBJ_DICT)
            return sc_fail(SC_EFORMAT, "%s: holds no module", w->path);
        sc_status status = flatten(w, root, "");
        return status == SC_OK ? status : sc_fail_prefix(status, "%s", w->path);
    }
    const char *key;
    const sc_object *dict = sc_state_dict_find(root, &key);
    if (!dict)
        return sc_fail(SC_EFORMAT, "%s: holds no model_state_dict and is no state dict itself",
                       w->path);
    return sc_pth_list_dict(&w->list, key, dict);
}

/* ---- safetensors ----------------------------------------------------------------------------- */

/* Takes over path. */
static sc_status add_shard(sc_weights *w, char *path)
{
    shard *shards = path ? sc_realloc(w->shards, w->shard_count + 1, sizeof *shards) : NULL;
    if (!shards) {
        free(path);
        return SC_ENOMEM;
    }
    w->shards = shards;
    shards[w->shard_count] = (shard){.path = path, .file.fd = -1};
    return sc_input_open(path, &shards[w->shard_count++].file);
}

static sc_status add_place(sc_weights *w, sc_tensor *t, size_t which, uint64_t offset)
{
    if (w->set.count >= w->place_cap) {
        size_t cap = w->place_cap ? w->place_cap * 2 : 64;
        shard_place *places = sc_realloc(w->places, cap, sizeof *places);
        if (!places)
            return SC_ENOMEM;
        w->places = places;
        w->place_cap = cap;
    }
    w->places[w->set.count] = (shard_place){which, offset};
    return sc_tensor_set_add(&w->set, t);
}

/* The tensors of the newest shard; `map` NULL, or it has to name this file for each. */
static sc_status list_shard(sc_weights *w, const sc_json *map, const char *file)
{
    sc_tensor_set set;
    uint64_t *offsets;
    size_t which = w->shard_count - 1;
    const char *path = w->shards[which].path;
    sc_status status = sc_safetensors_list(&w->shards[which].file, &set, &offsets);
    for (size_t i = 0; i < set.count && status == SC_OK; i++) {
        const sc_json *told = map ? sc_json_get(map, set.items[i].name) : NULL;
        if (map && (!told || strcmp(sc_json_string(told), file) != 0))
            status = sc_fail(SC_EFORMAT, "%s: tensor '%.100s' of %s is not listed for it", w->path,
                             set.items[i].name, path);
        else
            status = add_place(w, &set.items[i], which, offsets[i]);
    }
    sc_tensor_set_free(&set);
    free(offsets);
    return status;
}

static sc_status check_shard_name(const sc_weights *w, const sc_json *v)
{
    if (sc_json_type_of(v) != SC_JSON_STRING || !*sc_json_string(v) ||
        strchr(sc_json_string(v), '/') || !strcmp(sc_json_string(v), ".."))
        return sc_fail(SC_EFORMAT, "%s: the file of '%.100s' is not a name of a file beside it",
                       w->path, sc_json_key(v));
    return SC_OK;
}

static bool is_open(const sc_weights *w, size_t folder, const char *file)
{
    for (size_t i = 0; i < w->shard_count; i++)
        if (!strcmp(w->shards[i].path + folder, file))
            return true;
    return false;
}

static sc_status open_map(sc_weights *w, const sc_json *map)
{
    const char *slash = strrchr(w->path, '/');
    size_t folder = slash ? (size_t)(slash + 1 - w->path) : 0;
    for (const sc_json *v = sc_json_first(map); v; v = sc_json_next(v))
        SC_TRY(check_shard_name(w, v));
    for (const sc_json *v = sc_json_first(map); v; v = sc_json_next(v)) {
        if (is_open(w, folder, sc_json_string(v)))
            continue;
        SC_TRY(add_shard(w, sc_format("%.*s%s", (int)folder, w->path, sc_json_string(v))));
        SC_TRY(list_shard(w, map, sc_json_string(v)));
    }
    for (const sc_json *v = sc_json_first(map); v; v = sc_json_next(v))
        if (!sc_tensor_set_find(&w->set, sc_json_key(v)))
            return sc_fail(SC_EFORMAT, "%s: tensor '%.100s' is not in %s", w->path, sc_json_key(v),
                           sc_json_string(v));
    return SC_OK;
}

static sc_status open_index(sc_weights *w)
{
    sc_json_doc *doc;
    sc_status status = sc_json_read_file(w->path, &doc);
    if (status == SC_EUSAGE) /* nobody wrote it by hand */
        return sc_fail(SC_EFORMAT, "%s", sc_message());
    SC_TRY(status);
    const sc_json *root = sc_json_root(doc);
    const sc_json *map =
        sc_json_type_of(root) == SC_JSON_OBJECT ? sc_json_get(root, "weight_map") : NULL;
    if (!map || sc_json_type_of(map) != SC_JSON_OBJECT)
        status =
            sc_fail(SC_EFORMAT, "%s: is no index of safetensors: it has no 'weight_map'", w->path);
    else
        status = open_map(w, map);
    sc_json_free(doc);
    return status;
}

static sc_status open_safetensors(sc_weights *w)
{
    SC_TRY(add_shard(w, sc_strdup(w->path)));
    return list_shard(w, NULL, NULL);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static sc_status open_any(sc_weights *w)
{
    uint8_t head[9] = {0};
    sc_input_file f;
    if (ends_with(w->path, ".json"))
        return open_index(w);
    SC_TRY(sc_input_open(w->path, &f));
    sc_status status = f.size >= sizeof head ? sc_input_read(&f, head, sizeof head, 0) : SC_OK;
    sc_input_close(&f);
    SC_TRY(status);
    bool zip = !memcmp(head, "PK\3\4", 4);
    return !zip && head[8] == '{' ? open_safetensors(w) : open_pth(w);
}

sc_status sc_weights_open(const char *path, sc_weights **out)
{
    *out = NULL;
    sc_weights *w = sc_alloc(1, sizeof *w);
    if (!w)
        return SC_ENOMEM;
    w->path = sc_strdup(path);
    sc_status status = w->path ? open_any(w) : SC_ENOMEM;
    if (status == SC_OK)
        *out = w;
    else
        sc_weights_close(w);
    return status;
}

static sc_status read_shard(void *ctx, size_t i, void *dst)
{
    const sc_weights *w = ctx;
    return sc_input_read(&w->shards[w->places[i].shard].file, dst,
                         sc_tensor_bytes(&w->set.items[i]), w->places[i].offset);
}

sc_tensor_reader sc_weights_reader(const sc_weights *w)
{
    if (w->pth)
        return sc_pth_list_reader((sc_pth_list *)&w->list);
    return (sc_tensor_reader){w->set.items, w->set.count, read_shard, (void *)w};
}

const char *sc_weights_path(const sc_weights *w)
{
    return w->path;
}

sc_status sc_weights_digest(const sc_weights *w, uint8_t digest[32])
{
    if (!ends_with(w->path, ".json"))
        return sc_sha256_file(w->path, digest);
    sc_sha256 all;
    sc_sha256_init(&all);
    for (size_t i = 0; i < w->shard_count; i++) {
        SC_TRY(sc_sha256_file(w->shards[i].path, digest));
        sc_sha256_update(&all, digest, 32);
    }
    sc_sha256_final(&all, digest);
    return SC_OK;
}

void sc_weights_close(sc_weights *w)
{
    if (!w)
        return;
    sc_pth_list_free(&w->list);
    sc_pth_close(w->pth);
    for (size_t i = 0; i < w->shard_count; i++) {
        sc_input_close(&w->shards[i].file);
        free(w->shards[i].path);
    }
    free(w->shards);
    sc_tensor_set_free(&w->set);
    free(w->places);
    free(w->path);
    free(w);
}
