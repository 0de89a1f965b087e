/* Where published weights lie. One table of encoders; the places are those of torch hub, of
 * OpenAI's clip package and of huggingface_hub, with the environment variables that move them.
 */
#include "superclip/codec.h"
#include "superclip/weights.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FILES = 4 };

typedef struct published {
    const char *encoder;
    const char *torch[MOST_FILES]; /* in torch hub, the wanted one first; SHA-256 in the name */
    const char *clip;              /* in ~/.cache/clip */
    const char *clip_sha;
    const char *hub[MOST_FILES]; /* Hugging Face, ORG/NAME */
    const char *get;             /* how to fetch it on a machine with a network */
} published;

#define TORCH "https://download.pytorch.org/models/"
#define CLIP_LOAD(name) "python -c \"import clip; clip.load('" name "', device='cpu')\""

static const published table[] = {
    {"resnet18",
     {"resnet18-f37072fd.pth", "resnet18-5c106cde.pth"},
     NULL,
     NULL,
     {"timm/resnet18.tv_in1k"},
     TORCH "resnet18-f37072fd.pth"},
    {"resnet34",
     {"resnet34-b627a593.pth", "resnet34-333f7ec4.pth"},
     NULL,
     NULL,
     {"timm/resnet34.tv_in1k"},
     TORCH "resnet34-b627a593.pth"},
    {"resnet50",
     {"resnet50-0676ba61.pth", "resnet50-19c8e357.pth", "resnet50-11ad3fa6.pth"},
     NULL,
     NULL,
     {"timm/resnet50.tv_in1k"},
     TORCH "resnet50-0676ba61.pth"},
    {"resnet101",
     {"resnet101-63fe2227.pth", "resnet101-5d3b4d8f.pth", "resnet101-cd907fc2.pth"},
     NULL,
     NULL,
     {"timm/resnet101.tv_in1k"},
     TORCH "resnet101-63fe2227.pth"},
    {"resnet152",
     {"resnet152-394f9c45.pth", "resnet152-b121ed2d.pth", "resnet152-f82ba261.pth"},
     NULL,
     NULL,
     {"timm/resnet152.tv_in1k"},
     TORCH "resnet152-394f9c45.pth"},
    {"clip:ViT-B/32",
     {NULL},
     "ViT-B-32.pt",
     "40d36571",
     {"openai/clip-vit-base-patch32", "timm/vit_base_patch32_clip_224.openai"},
     CLIP_LOAD("ViT-B/32")},
    {"clip:ViT-B/16",
     {NULL},
     "ViT-B-16.pt",
     "5806e77c",
     {"openai/clip-vit-base-patch16", "timm/vit_base_patch16_clip_224.openai"},
     CLIP_LOAD("ViT-B/16")},
    {"clip:ViT-L/14",
     {NULL},
     "ViT-L-14.pt",
     "b8cca3fd",
     {"openai/clip-vit-large-patch14", "timm/vit_large_patch14_clip_224.openai"},
     CLIP_LOAD("ViT-L/14")},
    {"clip:RN50", {NULL}, "RN50.pt", "afeb0e10", {"timm/resnet50_clip.openai"}, CLIP_LOAD("RN50")},
};

static const char *const hub_files[] = {
    "model.safetensors", "model.safetensors.index.json", "open_clip_model.safetensors",
    "pytorch_model.bin", "open_clip_pytorch_model.bin",
};
enum { HUB_FILES = sizeof hub_files / sizeof hub_files[0] };

typedef struct search {
    const published *p;
    sc_text places; /* every folder that was looked into */
    char *found;
    const char *sha; /* prefix that the file's digest must have; may be NULL */
    sc_status status;
} search;

/* ---- folders --------------------------------------------------------------------------------- */

static const char *variable(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

/* $name/rest, or NULL when the variable is not set. */
static char *below(const char *name, const char *rest)
{
    const char *v = variable(name);
    return v ? sc_format("%s%s%s", v, *rest ? "/" : "", rest) : NULL;
}

/* The first of these that is set; rest[i] follows it. */
static char *folder_of(const char *const names[], const char *const rest[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (variable(names[i]))
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

/* ---- looking --------------------------------------------------------------------------------- */

static bool done(const search *s)
{
    return s->found || s->status != SC_OK;
}

/* folder/file, if it is there. */
static void try_file(search *s, const char *folder, const char *file, const char *sha)
{
    if (done(s))
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

static void note(search *s, const char *folder)
{
    sc_text_putf(&s->places, "%s%s", s->places.len ? ", " : "", folder);
}

static void try_names(search *s, const char *folder)
{
    for (int i = 0; i < MOST_FILES && s->p->torch[i]; i++)
        try_file(s, folder, s->p->torch[i], sha_in(s->p->torch[i]));
    if (s->p->clip)
        try_file(s, folder, s->p->clip, s->p->clip_sha);
}

/* $SC_WEIGHTS_DIR: the published names, or the encoder's own. */
static void look_in_ours(search *s)
{
    static const char *const endings[] = {".safetensors", ".safetensors.index.json", ".pth", ".pt",
                                          ".bin"};
    const char *folder = variable("SC_WEIGHTS_DIR");
    if (!folder || done(s))
        return;
    note(s, folder);
    try_names(s, folder);
    const char *colon = strchr(s->p->encoder, ':');
    char *plain = sc_strdup(colon ? colon + 1 : s->p->encoder);
    for (char *c = plain; c && *c; c++)
        if (*c == '/')
            *c = '-';
    for (size_t i = 0; plain && i < sizeof endings / sizeof endings[0]; i++) {
        char *file = sc_format("%s%s", plain, endings[i]);
        if (file)
            try_file(s, folder, file, NULL);
        free(file);
    }
    free(plain);
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

static void look_in_hub(search *s)
{
    char *hub = hub_folder();
    for (int i = 0; hub && i < MOST_FILES && s->p->hub[i] && !done(s); i++) {
        const char *slash = strchr(s->p->hub[i], '/');
        char *model = sc_format("%s/models--%.*s--%s", hub, (int)(slash - s->p->hub[i]),
                                s->p->hub[i], slash + 1);
        char *snapshot = model ? snapshot_of(model) : NULL;
        if (model)
            note(s, model);
        for (int k = 0; snapshot && k < HUB_FILES; k++)
            try_file(s, snapshot, hub_files[k], NULL);
        free(snapshot);
        free(model);
    }
    free(hub);
}

static void look_in_cache(search *s, char *folder)
{
    if (folder && !done(s)) {
        note(s, folder);
        try_names(s, folder);
    }
    free(folder);
}

/* ---- checks and messages --------------------------------------------------------------------- */

/* Eight digits or more, as many as the name has. */
static sc_status check_digest(const search *s)
{
    uint8_t digest[32];
    char hex[65];
    size_t n = s->sha ? strspn(s->sha, "0123456789abcdef") : 0;
    if (n < 8)
        return SC_OK;
    SC_TRY(sc_sha256_file(s->found, digest));
    sc_sha256_hex(digest, hex);
    if (strncmp(hex, s->sha, n) != 0)
        return sc_fail(SC_EFORMAT,
                       "%s: is damaged or not the published file: its SHA-256 begins with %.*s, "
                       "not %.*s; download it again (%s)",
                       s->found, (int)n, hex, (int)n, s->sha, s->p->get);
    return SC_OK;
}

static sc_status not_found(search *s, const char *key)
{
    sc_text names;
    sc_text_init(&names);
    for (int i = 0; i < MOST_FILES && s->p->torch[i]; i++)
        sc_text_putf(&names, "%s%s", names.len ? ", " : "", s->p->torch[i]);
    if (s->p->clip)
        sc_text_puts(&names, s->p->clip);
    sc_text_putf(&names, "; or of a Hugging Face model: ");
    for (int i = 0; i < HUB_FILES; i++)
        sc_text_putf(&names, "%s%s", i ? ", " : "", hub_files[i]);
    sc_status status = sc_text_status(&names);
    if (status == SC_OK)
        status = sc_text_status(&s->places);
    if (status == SC_OK)
        status = sc_fail(
            SC_EUSAGE,
            "no pretrained weights of %s: looked in %s for %s; fetch them on a machine with a "
            "network (%s) and copy the file to one of these places, to $SC_WEIGHTS_DIR, or name "
            "it by '%s'; or set \"pretrained\": false",
            s->p->encoder, s->places.len ? s->places.data : "no place ($HOME is not set)",
            names.data, s->p->get, key);
    sc_text_free(&names);
    return status;
}

sc_status sc_weights_find(const char *encoder, const char *key, const char *explicit_path,
                          char **path)
{
    *path = NULL;
    if (explicit_path) {
        if (!sc_file_exists(explicit_path))
            return sc_fail(SC_EUSAGE, "key '%s': %s does not exist", key, explicit_path);
        *path = sc_strdup(explicit_path);
        return *path ? SC_OK : SC_ENOMEM;
    }
    search s = {0};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (!strcmp(table[i].encoder, encoder))
            s.p = &table[i];
    if (!s.p)
        return sc_fail(SC_EUNSUPPORTED,
                       "no pretrained weights of %s are published; set \"pretrained\": false, or "
                       "name a file by '%s'",
                       encoder, key);
    sc_text_init(&s.places);
    look_in_ours(&s);
    if (s.p->clip)
        look_in_cache(&s, below("HOME", ".cache/clip"));
    else
        look_in_cache(&s, torch_folder());
    look_in_hub(&s);
    if (s.status == SC_OK)
        s.status = s.found ? check_digest(&s) : not_found(&s, key);
    sc_text_free(&s.places);
    if (s.status == SC_OK)
        *path = s.found;
    else
        free(s.found);
    return s.status;
}
