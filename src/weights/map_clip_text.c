/* CLIP's text tower in the layouts of OpenAI, open_clip (CustomTextCLIP) and Hugging Face. */
#include "family.h"

#include <stdlib.h>
#include <string.h>

static sc_status from_openai(const sc_names *names, const char *ours, sc_recipe *r)
{
    static const char blocks[] = "backbone.resblocks.";
    (void)names;
    if (!strncmp(ours, blocks, sizeof blocks - 1))
        return sc_recipe_one(r, sc_format("transformer.resblocks.%s", ours + sizeof blocks - 1));
    return sc_recipe_one(r, sc_strdup(ours));
}

static sc_status from_open_clip(const sc_names *names, const char *ours, sc_recipe *r)
{
    SC_TRY(from_openai(names, ours, r));
    char *inner = r->names[0];
    sc_status status = sc_recipe_one(r, sc_format("text.%s", inner));
    free(inner);
    return status;
}

/* One block's tensor: "attn.in_proj_weight" and the like. */
static sc_status from_hf_block(int block, const char *part, sc_recipe *r)
{
    static const struct {
        const char *ours, *theirs;
    } rows[] = {{"ln_1.", "layer_norm1."},
                {"ln_2.", "layer_norm2."},
                {"attn.out_proj.", "self_attn.out_proj."},
                {"mlp.c_fc.", "mlp.fc1."},
                {"mlp.c_proj.", "mlp.fc2."}};
    static const char stacked[] = "attn.in_proj_";
    if (!strncmp(part, stacked, sizeof stacked - 1)) {
        static const char letters[SC_MOST_PARTS] = {'q', 'k', 'v'};
        r->parts = SC_MOST_PARTS;
        for (int i = 0; i < SC_MOST_PARTS; i++)
            if (!(r->names[i] = sc_format("text_model.encoder.layers.%d.self_attn.%c_proj.%s",
                                          block, letters[i], part + sizeof stacked - 1)))
                return SC_ENOMEM;
        return SC_OK;
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t n = strlen(rows[i].ours);
        if (!strncmp(part, rows[i].ours, n))
            return sc_recipe_one(
                r, sc_format("text_model.encoder.layers.%d.%s%s", block, rows[i].theirs, part + n));
    }
    return sc_fail(SC_EINTERNAL, "'%s' is no name of a text block", part);
}

static sc_status from_hf(const sc_names *names, const char *ours, sc_recipe *r)
{
    static const struct {
        const char *ours, *theirs;
    } rows[] = {
        {"token_embedding.weight", "text_model.embeddings.token_embedding.weight"},
        {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
        {"ln_final.weight", "text_model.final_layer_norm.weight"},
        {"ln_final.bias", "text_model.final_layer_norm.bias"},
        {"text_projection", "text_projection.weight"},
    };
    int block, used = 0;
    (void)names;
    if (sscanf(ours, "backbone.resblocks.%d.%n", &block, &used) == 1 && used > 0)
        return from_hf_block(block, ours + used, r);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (!strcmp(ours, rows[i].ours)) {
            r->transposed = !strcmp(ours, "text_projection"); /* a Linear's weight there */
            return sc_recipe_one(r, sc_strdup(rows[i].theirs));
        }
    return sc_fail(SC_EINTERNAL, "'%s' is no name of a text tower", ours);
}

static const char *const clip_spare[] = {"visual.*",         "logit_scale",    "logit_bias",
                                         "input_resolution", "context_length", "vocab_size",
                                         "attn_mask",        "text.attn_mask", NULL};
static const char *const hf_spare[] = {"vision_model.*", "visual_projection.*", "logit_scale",
                                       "text_model.embeddings.position_ids", NULL};

static const sc_layout layouts[] = {
    {"transformer.resblocks.0.ln_1.weight", from_openai, clip_spare},
    {"text.transformer.resblocks.0.ln_1.weight", from_open_clip, clip_spare},
    {"text_model.encoder.layers.0.layer_norm1.weight", from_hf, hf_spare},
};

#define CLIP_LOAD(name) "python -c \"import clip; clip.load('" name "', device='cpu')\""

static const sc_published encoders[] = {
    {.encoder = "clip:ViT-B/32",
     .clip = "ViT-B-32.pt",
     .clip_sha = "40d36571",
     .hub = {{"openai/clip-vit-base-patch32", sc_hub_files},
             {"timm/vit_base_patch32_clip_224.openai", sc_open_clip_files}},
     .get = CLIP_LOAD("ViT-B/32")},
    {.encoder = "clip:ViT-B/16",
     .clip = "ViT-B-16.pt",
     .clip_sha = "5806e77c",
     .hub = {{"openai/clip-vit-base-patch16", sc_hub_files},
             {"timm/vit_base_patch16_clip_224.openai", sc_open_clip_files}},
     .get = CLIP_LOAD("ViT-B/16")},
    {.encoder = "clip:ViT-L/14",
     .clip = "ViT-L-14.pt",
     .clip_sha = "b8cca3fd",
     .hub = {{"openai/clip-vit-large-patch14", sc_hub_files},
             {"timm/vit_large_patch14_clip_224.openai", sc_open_clip_files}},
     .get = CLIP_LOAD("ViT-L/14")},
    {.encoder = "clip:RN50",
     .clip = "RN50.pt",
     .clip_sha = "afeb0e10",
     .hub = {{"timm/resnet50_clip.openai", sc_open_clip_files}},
     .get = CLIP_LOAD("RN50")},
    {.encoder = "clip:tiny"},
    {0},
};

/* A merges.txt brings the vocab.json beside it. All towers have one vocabulary. */
static const char *const vocabulary[] = {"bpe_simple_vocab_16e6.txt.gz",
                                         "bpe_simple_vocab_16e6.txt", "merges.txt", NULL};
static const char *const packages[] = {"clip", "open_clip", NULL};

const sc_family sc_family_clip_text = {
    .what = "text tower of OpenAI, open_clip or Hugging Face CLIP",
    .tower = "text_encoder.",
    .layouts = layouts,
    .layout_count = sizeof layouts / sizeof layouts[0],
    .encoders = encoders,
    .vocabulary = vocabulary,
    .packages = packages,
    .vocabulary_get = "https://github.com/openai/CLIP/raw/main/clip/bpe_simple_vocab_16e6.txt.gz",
    .bytes_alone = true,
};
