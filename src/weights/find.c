/* Where published weights lie: our own folder, and the caches of torch hub, of OpenAI's clip
 * package and of huggingface_hub, with the environment variables that move them.
 */
#include "find.h"

#include "superclip/codec.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- folders --------------------------------------------------------------------------------- */

const char *sc_search_variable(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

/* $name/rest, or NULL when the variable is not set. */
static char *below(const char *name, const char *rest)
{
    const char *v = sc_search_variable(name);
    return v ? sc_format("%s%s%s", v, *rest ? "/" : "", rest) : NULL;
}

/* The first of these that is set; rest[i] follows it. */
static char *folder_of(const char *const names[], const char *const rest[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (sc_search_variable(names[i]))
            return below(names[i], rest[i]);
    return NULL;
}

static char *torch_folder(void)
{
    static const char *const names[] = {"TORCH_HOME", "XDG_CACHE_HOME", "HOME"};
    static const char *const rest[] = {"hub/checkpoints", "torch/hub/checkpoints",
                                       ".cache/torch/hub/checkpoints"};
    return folder_of(names, rest, 3);
}

static char *hub_folder(void)
{
    static const char *const names[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME",
                                        "XDG_CACHE_HOME", "HOME"};
    static const char *const rest[] = {"", "", "hub", "huggingface/hub", ".cache/huggingface/hub"};
    return folder_of(names, rest, 5);
}

char *sc_search_clip_folder(void)
{
    return below("HOME", ".cache/clip");
}

/* The commit that refs/main names; without it the snapshot whose name comes first. */
static char *snapshot_of(const char *model)
{
    char *ref = sc_path_join(model, "refs/main"), *commit = NULL, *text;
    size_t n;
    if (ref && sc_file_exists(ref) && sc_read_file(ref, 256, &text, &n) == SC_OK) {
        text[strcspn(text, " \r\n")] = '\0';
        if (*text && !strchr(text, '/'))
            commit = sc_strdup(text);
        free(text);
    }
    free(ref);
    char *snapshots = sc_path_join(model, "snapshots");
    DIR *d = !commit && snapshots ? opendir(snapshots) : NULL;
    for (const struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.' && (!commit || strcmp(e->d_name, commit) < 0)) {
            free(commit);
            commit = sc_strdup(e->d_name);
        }
    if (d)
        closedir(d);
    char *path = snapshots && commit ? sc_path_join(snapshots, commit) : NULL;
    free(snapshots);
    free(commit);
    return path;
}

char *sc_search_hub_snapshot(const char *model, char **searched)
{
    char *hub = hub_folder();
    const char *slash = strchr(model, '/');
    *searched = NULL;
    if (hub && slash)
        *searched = sc_format("%s/models--%.*s--%s", hub, (int)(slash - model), model, slash + 1);
    else if (hub)
        *searched = sc_format("%s/models--%s", hub, model);
    free(hub);
    return *searched ? snapshot_of(*searched) : NULL;
}

/* ---- looking --------------------------------------------------------------------------------- */

void sc_search_note(sc_search *s, const char *folder)
{
    sc_text_putf(&s->places, "%s%s", s->places.len ? ", " : "", folder);
}

void sc_search_file(sc_search *s, const char *folder, const char *file, const char *sha)
{
    if (sc_search_done(s))
        return;
    char *path = sc_path_join(folder, file);
    if (!path)
        s->status = SC_ENOMEM;
    else if (sc_file_exists(path)) {
        s->found = path;
        s->sha = sha;
        return;
    }
    free(path);
}

/* The digits between the last '-' and the ending of a file of torch hub. */
static const char *sha_in(const char *file)
{
    const char *dash = strrchr(file, '-');
    return dash ? dash + 1 : NULL;
}

static void try_torch_names(sc_search *s, const char *folder)
{
    for (int i = 0; i < SC_MOST_FILES; i++)
        if (s->row->torch[i])
            sc_search_file(s, folder, s->row->torch[i], sha_in(s->row->torch[i]));
}

/* The encoder's name as a file's: what stands behind "clip:", '-' for '/'. */
static char *own_name(const char *encoder)
{
    const char *colon = strchr(encoder, ':');
    char *plain = sc_strdup(colon ? colon + 1 : encoder);
    for (char *c = plain; c && *c; c++)
        if (*c == '/')
            *c = '-';
    return plain;
}

/* $SC_WEIGHTS_DIR: the published names, or the encoder's own, of any format and origin. */
static void look_in_ours(sc_search *s)
{
    static const char *const endings[] = {".safetensors", ".safetensors.index.json", ".pth", ".pt",
                                          ".bin"};
    const char *folder = sc_search_variable("SC_WEIGHTS_DIR");
    if (!folder)
        return;
    sc_search_note(s, folder);
    try_torch_names(s, folder);
    char *plain = own_name(s->row->encoder);
    for (size_t i = 0; plain && i < sizeof endings / sizeof endings[0]; i++) {
        char *file = sc_format("%s%s", plain, endings[i]);
        if (file)
            sc_search_file(s, folder, file, NULL);
        free(file);
    }
    free(plain);
}

static void look_in_torch(sc_search *s)
{
    char *folder = s->row->torch[0] ? torch_folder() : NULL;
    if (folder && !sc_search_done(s)) {
        sc_search_note(s, folder);
        try_torch_names(s, folder);
    }
    free(folder);
}

static void look_in_clip(sc_search *s)
{
    char *folder = s->row->clip ? sc_search_clip_folder() : NULL;
    if (folder && !sc_search_done(s)) {
        sc_search_note(s, folder);
        sc_search_file(s, folder, s->row->clip, s->row->clip_sha);
    }
    free(folder);
}

static void look_in_hub(sc_search *s)
{
    for (int i = 0; i < SC_MOST_FILES && s->row->hub[i].name && !sc_search_done(s); i++) {
        char *searched, *snapshot = sc_search_hub_snapshot(s->row->hub[i].name, &searched);
        if (searched)
            sc_search_note(s, searched);
        for (const char *const *file = s->row->hub[i].files; snapshot && *file; file++)
            sc_search_file(s, snapshot, *file, NULL);
        free(snapshot);
        free(searched);
    }
}

/* ---- checks and messages --------------------------------------------------------------------- */

/* What the file's name or place promises: eight digits or more. */
static sc_status check_digest(const sc_search *s, const sc_found *f)
{
    size_t n = s->sha ? strspn(s->sha, "0123456789abcdef") : 0;
    if (n < 8 || strncmp(f->sha256, s->sha, n) == 0)
        return SC_OK;
    return sc_fail(SC_EFORMAT,
                   "%s: is damaged or not the published file: its SHA-256 begins with %.*s, "
                   "not %.*s; download it again (%s)",
                   f->path, (int)n, f->sha256, (int)n, s->sha, s->row->get);
}

static void list_names(const sc_published *row, sc_text *names)
{
    for (int i = 0; i < SC_MOST_FILES; i++)
        if (row->torch[i])
            sc_text_putf(names, "%s%s", names->len ? ", " : "", row->torch[i]);
    if (row->clip)
        sc_text_puts(names, row->clip);
    for (int i = 0; i < SC_MOST_FILES && row->hub[i].name; i++)
        for (const char *const *f = row->hub[i].files; *f; f++)
            if (i == 0 || row->hub[i].files != row->hub[i - 1].files)
                sc_text_putf(names, "%s%s", names->len ? ", " : "", *f);
    char *plain = own_name(row->encoder);
    if (plain)
        sc_text_putf(names, "%s%s.safetensors", names->len ? ", " : "", plain);
    free(plain);
}

static sc_status not_found(sc_search *s, const char *key)
{
    sc_text names;
    sc_text_init(&names);
    list_names(s->row, &names);
    sc_status status = sc_text_status(&names);
    if (status == SC_OK)
        status = sc_text_status(&s->places);
    if (status == SC_OK && s->row->get)
        status = sc_fail(
            SC_EUSAGE,
            "no pretrained weights of %s: looked in %s for %s; fetch them on a machine with a "
            "network (%s) and copy the file to one of these places, to $SC_WEIGHTS_DIR, or name "
            "it by '%s'; or set \"pretrained\": false",
            s->row->encoder, s->places.len ? s->places.data : "no place ($HOME is not set)",
            names.data, s->row->get, key);
    else if (status == SC_OK)
        status = sc_fail(SC_EUNSUPPORTED,
                         "no pretrained weights of %s are published (looked in %s for %s); set "
                         "\"pretrained\": false, or name a file by '%s'",
                         s->row->encoder,
                         s->places.len ? s->places.data : "no place: $SC_WEIGHTS_DIR is not set",
                         names.data, key);
    sc_text_free(&names);
    return status;
}

/* ---- the result ------------------------------------------------------------------------------ */

void sc_found_free(sc_found *f)
{
    free(f->path);
    *f = (sc_found){0};
}

static sc_status digest_of(const char *path, uint8_t digest[32])
{
    size_t n = strlen(path);
    if (n < 5 || strcmp(path + n - 5, ".json") != 0)
        return sc_sha256_file(path, digest);
    sc_weights *w; /* an index: what it names counts, too */
    SC_TRY(sc_weights_open(path, &w));
    sc_status status = sc_weights_digest(w, digest);
    sc_weights_close(w);
    return status;
}

/* Takes over path. */
static sc_status take(char *path, sc_found *out)
{
    uint8_t digest[32];
    *out = (sc_found){.path = path};
    sc_status status = path ? digest_of(path, digest) : SC_ENOMEM;
    if (status == SC_OK)
        sc_sha256_hex(digest, out->sha256);
    else
        sc_found_free(out);
    return status;
}

sc_status sc_search_explicit(const char *key, const char *path, sc_found *out)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return sc_fail(SC_EUSAGE, "key '%s': cannot open %s: %s", key, path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return sc_fail(SC_EUSAGE, "key '%s': %s is not a file", key, path);
    return take(sc_strdup(path), out);
}

sc_status sc_search_end(sc_search *s, sc_found *out)
{
    sc_text_free(&s->places);
    if (s->status == SC_OK)
        return take(s->found, out);
    free(s->found);
    return s->status;
}

/* A file that bears a published name has to be the published file, wherever it lies. */
static const char *promise_of(const sc_published *row, const char *path)
{
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    for (int i = 0; i < SC_MOST_FILES; i++)
        if (row->torch[i] && !strcmp(row->torch[i], file))
            return sha_in(row->torch[i]);
    return NULL;
}

sc_status sc_weights_find(const char *encoder, const char *key, const char *explicit_path,
                          sc_found *out)
{
    sc_search s = {0};
    *out = (sc_found){0};
    s.family = sc_family_find(encoder, &s.row);
    if (!s.family)
        return sc_fail(SC_EUNSUPPORTED,
                       "pretrained weights of %s cannot be read; set \"pretrained\": false",
                       encoder);
    if (explicit_path) {
        s.sha = promise_of(s.row, explicit_path);
        SC_TRY(sc_search_explicit(key, explicit_path, out));
    } else {
        look_in_ours(&s);
        look_in_torch(&s);
        look_in_clip(&s);
        look_in_hub(&s);
        if (s.status == SC_OK && !s.found)
            s.status = not_found(&s, key);
        SC_TRY(sc_search_end(&s, out));
    }
    sc_status status = check_digest(&s, out);
    if (status != SC_OK)
        sc_found_free(out);
    return status;
}
