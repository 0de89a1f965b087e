/* Which files a config's weights and vocabulary come from: rank 0 looks for them before anything
 * costs time, and tells the others the paths.
 */
#include <stdlib.h>
#include <string.h>

#include "app.h"

/* ---- looking, on rank 0 ---------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static sc_status copy_found(const sc_found *from, sc_found *to)
{
    *to = *from;
    to->path = from->path ? sc_strdup(from->path) : NULL;
    return from->path && !to->path ? SC_ENOMEM : SC_OK;
}

/* An earlier config with the same encoder and key has read the file's digest already. */
static const sc_found *found_before(const app *a, int i, bool image)
{
    const sc_config *c = a->cases[i].config;
    for (int e = 0; e < i; e++) {
        const sc_config *d = a->cases[e].config;
        if (d->pretrained != c->pretrained)
            continue;
        if (image ? same_text(d->image_encoder, c->image_encoder) &&
                        same_text(d->image_weights, c->image_weights)
                  : same_text(d->text_encoder, c->text_encoder) &&
                        same_text(d->text_weights, c->text_weights))
            return image ? &a->cases[e].weights.image : &a->cases[e].weights.text;
    }
    return NULL;
}

static sc_status find_tower(app *a, int i, bool image)
{
    app_case *k = &a->cases[i];
    const sc_config *c = k->config;
    sc_found *f = image ? &k->weights.image : &k->weights.text;
    const char *encoder = image ? c->image_encoder : c->text_encoder;
    const char *key = image ? "image_weights" : "text_weights";
    const char *path = image ? c->image_weights : c->text_weights;
    if (path && a->options.init_from) /* which gives every tensor */
        sc_warn(&a->log, "%s: key '%s': %s is not read: --init-from gives every tensor", c->source,
                key, path);
    if (!c->pretrained || a->options.init_from)
        return SC_OK;
    const sc_found *before = found_before(a, i, image);
    if (before)
        return copy_found(before, f);
    sc_status status = sc_weights_find(encoder, key, path, f);
    if (a->options.resume_from) /* only their digests are wanted; see app_train_options */
        return status == SC_ENOMEM ? status : SC_OK;
    if (status == SC_OK)
        sc_info(&a->log, "Weights of %s: %s (SHA-256 %.16s)", encoder, f->path, f->sha256);
    return status;
}

static bool same_vocabulary(const app_case *x, const app_case *y)
{
    const sc_config *c = x->config, *d = y->config;
    return c->pretrained == d->pretrained && same_text(c->text_encoder, d->text_encoder) &&
           same_text(c->tokenizer, d->tokenizer) &&
           same_text(x->weights.text.path, y->weights.text.path);
}

static sc_status find_vocabulary(app *a, int i)
{
    app_case *k = &a->cases[i];
    const sc_config *c = k->config;
    bool needed = sc_encoder_find(c->text_encoder)->tokenizer != SC_TOKENIZER_CLIP;
    if (!c->tokenizer && !c->pretrained && !needed)
        return SC_OK;
    for (int e = 0; e < i; e++)
        if (same_vocabulary(k, &a->cases[e]))
            return copy_found(&a->cases[e].weights.vocabulary, &k->weights.vocabulary);
    sc_status status = sc_vocabulary_find(c->text_encoder, "tokenizer", c->tokenizer,
                                          k->weights.text.path, &k->weights.vocabulary);
    if (status == SC_EUNSUPPORTED && !c->tokenizer) /* bytes alone, if the weights fit them */
        return SC_OK;
    SC_TRY(status);
    sc_info(&a->log, "Vocabulary of %s: %s", c->text_encoder, k->weights.vocabulary.path);
    return SC_OK;
}

/* What a config lacks, in one message: the first in full, the others by name. */
typedef struct lack {
    sc_status status;
    char message[1600], others[300];
} lack;

static void note_lack(lack *l, const sc_config *c, const char *key, const char *what,
                      sc_status status)
{
    size_t used = strlen(l->others);
    if (status == SC_OK)
        return;
    if (l->status == SC_OK) {
        snprintf(l->message, sizeof l->message, "%s: key '%s': %.1400s", c->source, key,
                 sc_message());
        l->status = status;
    } else
        snprintf(l->others + used, sizeof l->others - used, "%s%s", used ? " and " : "", what);
}

static sc_status find_files(app *a, int i)
{
    const sc_config *c = a->cases[i].config;
    char text[120];
    lack l = {.status = SC_OK};
    snprintf(text, sizeof text, "the weights of %.60s (key 'text_weights')", c->text_encoder);
    note_lack(&l, c, "pretrained", "", find_tower(a, i, true));
    note_lack(&l, c, "pretrained", text, find_tower(a, i, false));
    note_lack(&l, c, "tokenizer", "its vocabulary (key 'tokenizer')", find_vocabulary(a, i));
    if (l.status == SC_OK)
        return SC_OK;
    return sc_fail(l.status, "%s%s%s", l.message,
                   *l.others ? "; not found or not in order either: " : "", l.others);
}

sc_status app_find_weights(app *a)
{
    for (int i = 0; i < a->options.configs_count; i++) {
        sc_status status = find_files(a, i);
        if (status != SC_OK && (status == SC_ENOMEM || a->options.action != SC_ACTION_PLAN))
            return status;
        if (status != SC_OK) /* a plan needs no weights */
            sc_warn(&a->log, "%s", sc_message());
    }
    return SC_OK;
}

/* ---- to the other ranks ---------------------------------------------------------------------- */

enum { FILES = 3 };

static sc_found *file_of(app_case *k, int i)
{
    sc_found *const files[FILES] = {&k->weights.image, &k->weights.text, &k->weights.vocabulary};
    return files[i];
}

/* Three pairs of a path and a digest a config, "" for what there is not. */
static void write_files(app *a, sc_text *t)
{
    for (int i = 0; i < a->options.configs_count * FILES; i++) {
        const sc_found *f = file_of(&a->cases[i / FILES], i % FILES);
        sc_text_add(t, f->path ? f->path : "", f->path ? strlen(f->path) + 1 : 1);
        sc_text_add(t, f->sha256, sizeof f->sha256);
    }
}

static sc_status read_files(app *a, const char *at)
{
    for (int i = 0; i < a->options.configs_count * FILES; i++) {
        sc_found *f = file_of(&a->cases[i / FILES], i % FILES);
        size_t n = strlen(at) + 1;
        f->path = n > 1 ? sc_strdup(at) : NULL;
        if (n > 1 && !f->path)
            return SC_ENOMEM;
        memcpy(f->sha256, at + n, sizeof f->sha256);
        at += n + sizeof f->sha256;
    }
    return SC_OK;
}

sc_status app_share_weights(app *a)
{
    return app_share(a, write_files, read_files);
}

void app_free_weights(app_case *k)
{
    for (int i = 0; i < FILES; i++)
        sc_found_free(file_of(k, i));
}

/* ---- config.json ----------------------------------------------------------------------------- */

static void write_one(sc_json_writer *w, const char *key, const char *origin, const char *file,
                      const char *sha256)
{
    sc_jw_object(w, key);
    sc_jw_string(w, "origin", origin);
    sc_jw_string(w, "file", file);
    sc_jw_string(w, "sha256", sha256);
    sc_jw_end(w);
}

static void write_tower(const app *a, sc_json_writer *w, const char *key, const sc_found *f)
{
    if (f->path)
        write_one(w, key, "published weights", f->path, f->sha256);
    else
        write_one(w, key, a->options.init_from ? "--init-from" : "random initialisation",
                  a->options.init_from, NULL);
}

void app_write_weights(const app *a, const app_case *k, sc_json_writer *w)
{
    const sc_found *v = &k->weights.vocabulary;
    sc_jw_object(w, "weights_used");
    write_tower(a, w, "image", &k->weights.image);
    write_tower(a, w, "text", &k->weights.text);
    write_one(w, "tokenizer", v->path ? "vocabulary file" : "bytes only, no merges", v->path,
              v->path ? v->sha256 : NULL);
    sc_jw_end(w);
}
