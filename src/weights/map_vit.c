/* ViT in Hugging Face's layouts: a bare ViTModel, or inside a classifier ("vit." before every
 * name).
 */
#include "family.h"

#include <string.h>

static sc_status with_prefix(const char *prefix, const char *ours, sc_recipe *r)
{
    r->may_lack = !strncmp(ours, "pooler.", 7); /* a classifier's file has none; nothing reads it */
    return sc_recipe_one(r, sc_format("%s%s", prefix, ours));
}

static sc_status from_headed(const sc_names *names, const char *ours, sc_recipe *r)
{
    (void)names;
    return with_prefix("vit.", ours, r);
}

static sc_status from_bare(const sc_names *names, const char *ours, sc_recipe *r)
{
    (void)names;
    return with_prefix("", ours, r);
}

static const char *const headed_spare[] = {"classifier.*", "vit.embeddings.mask_token", NULL};
static const char *const bare_spare[] = {"embeddings.mask_token", NULL};

static const sc_layout layouts[] = {
    {"vit.embeddings.cls_token", from_headed, headed_spare},
    {"embeddings.cls_token", from_bare, bare_spare},
};

static const sc_published encoders[] = {
    {.encoder = "vit",
     .hub = {{"google/vit-base-patch16-224", sc_hub_files}},
     .get = "huggingface-cli download google/vit-base-patch16-224"},
    {.encoder = "vit-tiny"},
    {0},
};

const sc_family sc_family_vit = {
    .what = "ViT of Hugging Face",
    .tower = "image_encoder.backbone.",
    .layouts = layouts,
    .layout_count = sizeof layouts / sizeof layouts[0],
    .encoders = encoders,
};
