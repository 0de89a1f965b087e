/* BERT in Hugging Face's layouts: a bare BertModel, or inside a model with a head ("bert." before
 * every name; the head is dropped). Older files call a layer norm's weight and bias gamma and beta.
 */
#include "family.h"

#include <stdlib.h>
#include <string.h>

static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), k = strlen(end);
    return n >= k && !strcmp(name + n - k, end);
}

/* PREFIX + ours, or the same under its older spelling when only that one is there. */
static sc_status with_prefix(const sc_names *names, const char *prefix, const char *ours,
                             sc_recipe *r)
{
    static const struct {
        const char *end, *older;
    } rows[] = {{"LayerNorm.weight", "gamma"}, {"LayerNorm.bias", "beta"}};
    r->may_lack = !strncmp(ours, "pooler.", 7); /* models with a head have none; nothing reads it */
    SC_TRY(sc_recipe_one(r, sc_format("%s%s", prefix, ours)));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!ends_with(ours, rows[i].end) || sc_names_has(names, r->names[0]))
            continue;
        const char *dot = strrchr(ours, '.');
        char *older = sc_format("%s%.*s%s", prefix, (int)(dot + 1 - ours), ours, rows[i].older);
        if (older && sc_names_has(names, older)) {
            char *newer = r->names[0];
            r->names[0] = older;
            older = newer;
        }
        const bool failed = !older;
        free(older);
        if (failed)
            return SC_ENOMEM;
    }
    return SC_OK;
}

static sc_status from_headed(const sc_names *names, const char *ours, sc_recipe *r)
{
    return with_prefix(names, "bert.", ours, r);
}

static sc_status from_bare(const sc_names *names, const char *ours, sc_recipe *r)
{
    return with_prefix(names, "", ours, r);
}

static const char *const headed_spare[] = {"cls.*", "classifier.*", "qa_outputs.*",
                                           "bert.embeddings.position_ids", NULL};
static const char *const bare_spare[] = {"embeddings.position_ids", NULL};

static const sc_layout layouts[] = {
    {"bert.embeddings.word_embeddings.weight", from_headed, headed_spare},
    {"embeddings.word_embeddings.weight", from_bare, bare_spare},
};

static const sc_published encoders[] = {
    {.encoder = "bert-base-chinese",
     .hub = {{"google-bert/bert-base-chinese", sc_hub_files}, {"bert-base-chinese", sc_hub_files}},
     .get = "huggingface-cli download google-bert/bert-base-chinese"},
    {.encoder = "bert-tiny"},
    {0},
};

static const char *const vocabulary[] = {"vocab.txt", NULL};

const sc_family sc_family_bert = {
    .what = "BERT of Hugging Face",
    .tower = "text_encoder.backbone.",
    .layouts = layouts,
    .layout_count = sizeof layouts / sizeof layouts[0],
    .encoders = encoders,
    .vocabulary = vocabulary,
};
