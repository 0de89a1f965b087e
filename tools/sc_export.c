/* sc_export: a checkpoint's model as safetensors, whole or one tower. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "superclip/json.h"
#include "superclip/weights.h"

enum { TOWER, FORCE, HELP, VERSION, OPTIONS };
static const cli_option options[OPTIONS] = {
    [TOWER] = {"--tower", CLI_VALUE, NULL},
    [FORCE] = {"--force", CLI_NONE, NULL},
    [HELP] = {"--help", CLI_NONE, NULL},
    [VERSION] = {"--version", CLI_NONE, NULL},
};

static const char help[] =
    "Usage: sc_export CHECKPOINT OUT.safetensors [options]\n"
    "\n"
    "Writes the model_state_dict of a .pth checkpoint as safetensors, the tensors as they are. "
    "The\n"
    "file's metadata holds, as strings, the rest: config, class names, texts and token ids as "
    "JSON,\n"
    "epoch, fold and figures. The optimiser's state stays behind.\n"
    "\n"
    "  --tower image|text  only that encoder, its names without \"image_encoder.\" or\n"
    "                      \"text_encoder.\" before them: for its own load_state_dict\n"
    "  --force             replace OUT when it is there\n"
    "  --version, --help\n"
    "\n"
    "In Python: state = safetensors.torch.load_file(\"OUT.safetensors\"). Exit status: 0 written,\n"
    "1 not.\n";

typedef struct request {
    const char *checkpoint, *out, *tower; /* tower: "image", "text" or NULL */
    bool force, help, version;
} request;

static sc_status take(void *ctx, int option, const char *value)
{
    request *r = ctx;
    switch (option) {
    case -1:
        if (r->checkpoint && r->out)
            return sc_fail(SC_EUSAGE, "%s: a third file; expected CHECKPOINT OUT.safetensors only",
                           value);
        *(r->checkpoint ? &r->out : &r->checkpoint) = value;
        return SC_OK;
    case TOWER:
        if (strcmp(value, "image") != 0 && strcmp(value, "text") != 0)
            return sc_fail(SC_EUSAGE, "--tower %s: must be image or text", value);
        r->tower = value;
        return SC_OK;
    case FORCE:
        r->force = true;
        return SC_OK;
    default:
        r->help |= option == HELP;
        r->version |= option == VERSION;
        return SC_OK;
    }
}

/* ---- metadata
 * -------------------------------------------------------------------------------------- */

typedef struct metadata {
    char **items; /* key, value, ..., NULL */
    size_t count;
} metadata;

static void put_value(sc_json_writer *w, const char *key, const sc_object *v)
{
    switch (v->type) {
    case SC_OBJ_BOOL:
        sc_jw_bool(w, key, v->b);
        return;
    case SC_OBJ_INT:
        sc_jw_int(w, key, v->i);
        return;
    case SC_OBJ_FLOAT:
        sc_jw_number(w, key, v->f);
        return;
    case SC_OBJ_STRING:
        sc_jw_string(w, key, v->s);
        return;
    case SC_OBJ_LIST:
    case SC_OBJ_TUPLE:
        sc_jw_list(w, key);
        for (size_t i = 0; i < v->count; i++)
            put_value(w, NULL, v->items[i]);
        sc_jw_end(w);
        return;
    case SC_OBJ_DICT:
    case SC_OBJ_ORDERED_DICT:
        sc_jw_object(w, key);
        for (size_t i = 0; i < v->count; i++)
            if (v->keys[i]->type == SC_OBJ_STRING)
                put_value(w, v->keys[i]->s, v->items[i]);
        sc_jw_end(w);
        return;
    case SC_OBJ_NONE:
    case SC_OBJ_TENSOR:
        sc_jw_null(w, key);
        return;
    }
}

/* Strings stay as they are, everything else becomes JSON; NULL: out of memory. */
static char *as_text(const sc_object *v)
{
    if (v->type == SC_OBJ_STRING)
        return sc_strdup(v->s);
    sc_json_writer w;
    sc_jw_init(&w);
    w.compact = true;
    put_value(&w, NULL, v);
    while (w.text.len && w.text.data[w.text.len - 1] == '\n')
        w.text.data[--w.text.len] = '\0';
    char *text = sc_text_status(&w.text) == SC_OK ? sc_strdup(w.text.data) : NULL;
    sc_jw_free(&w);
    return text;
}

static sc_status put(metadata *m, const char *key, const sc_object *v)
{
    char **items = sc_realloc(m->items, m->count + 3, sizeof *items);
    if (!items)
        return SC_ENOMEM;
    m->items = items;
    items[m->count] = sc_strdup(key);
    items[m->count + 1] = as_text(v);
    items[m->count + 2] = NULL;
    m->count += 2;
    return items[m->count - 2] && items[m->count - 1] ? SC_OK : SC_ENOMEM;
}

/* Every key of the checkpoint but the states, and values that there are. */
static sc_status collect(const sc_object *root, const sc_object *model, const char *tower,
                         metadata *m)
{
    for (size_t i = 0; root != model && i < root->count && root->keys; i++) {
        const sc_object *key = root->keys[i], *v = root->items[i];
        if (key->type != SC_OBJ_STRING || v == model || v->type == SC_OBJ_NONE ||
            v->type == SC_OBJ_TENSOR || cli_ends_with(key->s, "_state_dict") ||
            strcmp(key->s, "sc_state") == 0)
            continue;
        SC_TRY(put(m, key->s, v));
    }
    if (!tower)
        return SC_OK;
    const sc_object name = {.type = SC_OBJ_STRING, .s = (char *)tower};
    return put(m, "tower", &name);
}

/* ---- tensors
 * --------------------------------------------------------------------------------------- */

static sc_status select_tensors(const sc_pth *f, const sc_object *model, const char *tower,
                                sc_pth_list *list)
{
    char prefix[32] = "";
    if (tower)
        snprintf(prefix, sizeof prefix, "%s_encoder.", tower);
    size_t n = strlen(prefix);
    for (size_t i = 0; i < model->count; i++) {
        const sc_object *key = model->keys[i], *v = model->items[i];
        if (key->type != SC_OBJ_STRING || v->type != SC_OBJ_TENSOR)
            return sc_fail(SC_EFORMAT, "%s: its model's entry %zu is not a named tensor",
                           sc_pth_path(f), i);
        if (strncmp(key->s, prefix, n) == 0)
            SC_TRY(sc_pth_list_add(list, key->s + n, v));
    }
    if (list->set.count == 0)
        return sc_fail(SC_EUSAGE, "%s: has no tensor%s%s", sc_pth_path(f), tower ? " named " : "",
                       tower ? prefix : "");
    return SC_OK;
}

static sc_status check_out(const request *r)
{
    struct stat in, out;
    if (stat(r->out, &out) != 0)
        return SC_OK;
    if (stat(r->checkpoint, &in) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        return sc_fail(SC_EUSAGE, "%s: is the checkpoint itself", r->out);
    if (!S_ISREG(out.st_mode))
        return sc_fail(SC_EUSAGE, "%s: is there and is no file", r->out);
    return r->force ? SC_OK
                    : sc_fail(SC_EUSAGE, "%s: is there already; --force replaces it", r->out);
}

static sc_status export(const request *r)
{
    sc_pth *f = NULL;
    metadata m = {0};
    const char *key;
    SC_TRY(check_out(r));
    SC_TRY(sc_pth_open(r->checkpoint, &f));
    sc_pth_list list = {.file = f};
    const sc_object *root = sc_pth_root(f), *model = sc_state_dict_find(root, &key);
    sc_status status =
        model && model->keys
            ? SC_OK
            : sc_fail(SC_EFORMAT, "%s: holds no model_state_dict and is no state dict itself",
                      r->checkpoint);
    if (status == SC_OK)
        status = select_tensors(f, model, r->tower, &list);
    if (status == SC_OK)
        status = collect(root, model, r->tower, &m);
    if (status == SC_OK) {
        const sc_tensor_reader reader = sc_pth_list_reader(&list);
        status = sc_safetensors_write(r->out, &reader, (const char *const *)m.items);
    }
    if (status == SC_OK)
        printf("%s: %zu tensors\n", r->out, list.set.count);
    for (size_t i = 0; i < m.count; i++)
        free(m.items[i]);
    free(m.items);
    sc_pth_list_free(&list);
    sc_pth_close(f);
    return status;
}

int main(int argc, char **argv)
{
    request r = {0};
    sc_status status = cli_parse("sc_export", options, OPTIONS, argc, argv, take, &r);
    if (status == SC_OK && (r.help || r.version))
        fputs(r.help ? help : "sc_export " SC_VERSION "\n", stdout);
    else if (status == SC_OK && !r.out)
        status = sc_fail(SC_EUSAGE,
                         "expected two files: sc_export CHECKPOINT OUT.safetensors; see --help");
    else if (status == SC_OK)
        status = export(&r);
    if (status != SC_OK)
        fprintf(stderr, "sc_export: error: %s\n", sc_message());
    return status == SC_OK ? 0 : 1;
}
