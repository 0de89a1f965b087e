/* Where a text encoder's vocabulary lies: beside its weights, where weights are looked for, and in
 * the Python packages that bring it along.
 */
#include "find.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

static void try_names(sc_search *s, const char *folder)
{
    for (const char *const *file = s->family->vocabulary; *file; file++)
        sc_search_file(s, folder, *file, NULL);
}

static void try_folder(sc_search *s, const char *folder)
{
    if (sc_search_done(s) || !folder)
        return;
    sc_search_note(s, folder);
    try_names(s, folder);
}

static void look_beside(sc_search *s, const char *weights)
{
    const char *slash = weights ? strrchr(weights, '/') : NULL;
    if (!weights)
        return;
    char *folder = slash ? sc_strndup(weights, slash == weights ? 1 : (size_t)(slash - weights))
                         : sc_strdup(".");
    try_folder(s, folder);
    free(folder);
}

static void look_in_model(sc_search *s, const sc_hub_model *model, bool other)
{
    char *searched, *snapshot = sc_search_hub_snapshot(model->name, &searched);
    if (searched && !sc_search_done(s)) /* the same folder's path need not be read twice */
        sc_search_note(s, other ? strrchr(searched, '/') + 1 : searched);
    if (snapshot)
        try_names(s, snapshot);
    free(snapshot);
    free(searched);
}

/* CLIP's towers share one vocabulary, so another tower's will do where packages have it too. */
static void look_in_hub(sc_search *s)
{
    for (int i = 0; i < SC_MOST_FILES && s->row->hub[i].name; i++)
        look_in_model(s, &s->row->hub[i], i > 0);
    if (!s->family->packages)
        return;
    for (const sc_published *p = s->family->encoders; p->encoder; p++)
        for (int i = 0; i < SC_MOST_FILES && p->hub[i].name && !sc_search_done(s); i++)
            if (p != s->row)
                look_in_model(s, &p->hub[i], true);
}

/* The folder above bin, where the first python3 or python on PATH lies. Heap. */
static char *python_prefix(void)
{
    const char *path = sc_search_variable("PATH");
    char *copy = sc_strdup(path ? path : ""), *save = NULL, *prefix = NULL;
    for (char *dir = copy ? strtok_r(copy, ":", &save) : NULL; dir && !prefix;
         dir = strtok_r(NULL, ":", &save)) {
        static const char *const names[] = {"python3", "python"};
        char *slash = strrchr(dir, '/');
        for (int i = 0; i < 2 && !prefix && slash && !strcmp(slash, "/bin"); i++) {
            char *program = sc_path_join(dir, names[i]);
            if (program && sc_file_exists(program))
                prefix = sc_strndup(dir, (size_t)(slash - dir));
            free(program);
        }
    }
    free(copy);
    return prefix;
}

/* prefix/lib/python3.N/site-packages/PACKAGE; dist-packages is Debian's name for it. */
static void look_in_prefix(sc_search *s, const char *prefix)
{
    static const char *const kinds[] = {"site", "dist"};
    if (!prefix || sc_search_done(s))
        return;
    for (const char *const *package = s->family->packages; *package; package++) {
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            char *pattern = sc_format("%s/lib/python3*/%s-packages/%s", prefix, kinds[k], *package);
            glob_t g = {0};
            if (pattern && !sc_search_done(s) && glob(pattern, 0, NULL, &g) == 0)
                for (size_t i = 0; i < g.gl_pathc; i++)
                    try_names(s, g.gl_pathv[i]);
            if (pattern && k == 0)
                sc_search_note(s, pattern);
            globfree(&g);
            free(pattern);
        }
    }
}

static void look_in_packages(sc_search *s)
{
    static const char *const variables[] = {"VIRTUAL_ENV", "CONDA_PREFIX"};
    const char *home = sc_search_variable("HOME");
    if (!s->family->packages)
        return;
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        look_in_prefix(s, sc_search_variable(variables[i]));
    char *python = python_prefix(), *local = home ? sc_path_join(home, ".local") : NULL;
    look_in_prefix(s, python);
    look_in_prefix(s, local);
    free(python);
    free(local);
}

static sc_status not_found(sc_search *s, const char *key)
{
    sc_text names;
    sc_text_init(&names);
    for (const char *const *file = s->family->vocabulary; *file; file++)
        sc_text_putf(&names, "%s%s", names.len ? ", " : "", *file);
    sc_status status = sc_text_status(&names);
    if (status == SC_OK)
        status = sc_text_status(&s->places);
    const char *get = s->family->vocabulary_get ? s->family->vocabulary_get : s->row->get;
    if (status == SC_OK)
        status = sc_fail(
            s->row->get ? SC_EUSAGE : SC_EUNSUPPORTED,
            "no vocabulary of %s: looked in %s for %s; fetch it on a machine with a network (%s) "
            "and copy it to one of these places, to $SC_WEIGHTS_DIR, or name it by '%s'%s",
            s->row->encoder, s->places.len ? s->places.data : "no place", names.data,
            get ? get : "it comes with the weights", key,
            s->family->bytes_alone ? "; or set \"pretrained\": false" : "");
    sc_text_free(&names);
    return status;
}

sc_status sc_vocabulary_find(const char *encoder, const char *key, const char *explicit_path,
                             const char *weights, sc_found *out)
{
    sc_search s = {0};
    *out = (sc_found){0};
    if (explicit_path)
        return sc_search_explicit(key, explicit_path, out);
    s.family = sc_family_find(encoder, &s.row);
    if (!s.family || !s.family->vocabulary)
        return sc_fail(SC_EUNSUPPORTED, "%s has no vocabulary file; name one by '%s'", encoder,
                       key);
    look_beside(&s, weights);
    try_folder(&s, sc_search_variable("SC_WEIGHTS_DIR"));
    if (s.row->get) { /* what is not published is in nobody's cache */
        char *clip = s.row->clip ? sc_search_clip_folder() : NULL;
        try_folder(&s, clip);
        free(clip);
        look_in_hub(&s);
        look_in_packages(&s);
    }
    if (s.status == SC_OK && !s.found)
        s.status = not_found(&s, key);
    return sc_search_end(&s, out);
}
