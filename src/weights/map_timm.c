/* ConvNeXt, EfficientNet and StarNet, whose names are timm's: files of timm, of torchvision and of
 * the authors (which timm's older releases put into torch hub's cache).
 */
#include "family.h"

#include <string.h>

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}
static sc_status unknown(const char *ours, const char *what)
{
    return sc_fail(SC_EINTERNAL, "'%s' is no name of %s", ours, what);
}
static sc_status renamed(sc_recipe *r, const char *ours, char *name)
{
    r->may_lack = ends_with(ours, ".num_batches_tracked"); /* older files count no batches */
    return sc_recipe_one(r, name);
}

/* timm's own names. */
static sc_status unchanged(const sc_names *names, const char *ours, sc_recipe *r)
{
    (void)names;
    return renamed(r, ours, sc_strdup(ours));
}

/* ours = from + rest: what `to` makes of it. */
typedef struct rename_row {
    const char *from, *to;
} rename_row;
static char *renamed_by(const rename_row *rows, size_t n, const char *ours, const char *prefix)
{
    for (size_t i = 0; i < n; i++) {
        size_t length = strlen(rows[i].from);
        if (!strncmp(ours, rows[i].from, length))
            return sc_format("%s%s%s", prefix, rows[i].to, ours + length);
    }
    return NULL;
}
#define ROWS(table) table, sizeof(table) / sizeof(table)[0]

/* "stages.S.blocks.B." and so on: two numbers between three texts; the end of it, or NULL. */
static const char *numbered(const char *ours, const char *format, int *a, int *b)
{
    int used = 0;
    return sscanf(ours, format, a, b, &used) == 2 && used > 0 ? ours + used : NULL;
}

/* ---- ConvNeXt -------------------------------------------------------------------------------- */

/* Stage S is features.(2 S + 1), the step into it features.(2 S). */
static sc_status convnext_torchvision(const sc_names *names, const char *ours, sc_recipe *r)
{
    static const rename_row shell[] = {{"stem.", "features.0."}, {"head.norm.", "classifier.0."}};
    static const rename_row parts[] = {{"conv_dw.", "block.0."},
                                       {"norm.", "block.2."},
                                       {"mlp.fc1.", "block.3."},
                                       {"mlp.fc2.", "block.5."},
                                       {"gamma", "layer_scale"}};
    char prefix[64];
    int stage, i;
    const char *rest = numbered(ours, "stages.%d.blocks.%d.%n", &stage, &i);
    (void)names;
    if (rest) {
        snprintf(prefix, sizeof prefix, "features.%d.%d.", 2 * stage + 1, i);
        r->squeezed = strcmp(rest, "gamma") == 0; /* [C, 1, 1] there */
        return renamed(r, ours, renamed_by(ROWS(parts), rest, prefix));
    }
    if ((rest = numbered(ours, "stages.%d.downsample.%d%n", &stage, &i)) != NULL)
        return renamed(r, ours, sc_format("features.%d.%d%s", 2 * stage, i, rest));
    if (strncmp(ours, "stem.", 5) != 0 && strncmp(ours, "head.norm.", 10) != 0)
        return unknown(ours, "a ConvNeXt");
    return renamed(r, ours, renamed_by(ROWS(shell), ours, ""));
}

static sc_status convnext_authors(const sc_names *names, const char *ours, sc_recipe *r)
{
    static const rename_row shell[] = {{"stem.", "downsample_layers.0."}, {"head.norm.", "norm."}};
    static const rename_row parts[] = {{"conv_dw.", "dwconv."},
                                       {"norm.", "norm."},
                                       {"mlp.fc1.", "pwconv1."},
                                       {"mlp.fc2.", "pwconv2."},
                                       {"gamma", "gamma"}};
    char prefix[64];
    int stage, i;
    const char *rest = numbered(ours, "stages.%d.blocks.%d.%n", &stage, &i);
    (void)names;
    if (rest) {
        snprintf(prefix, sizeof prefix, "stages.%d.%d.", stage, i);
        return renamed(r, ours, renamed_by(ROWS(parts), rest, prefix));
    }
    if ((rest = numbered(ours, "stages.%d.downsample.%d%n", &stage, &i)) != NULL)
        return renamed(r, ours, sc_format("downsample_layers.%d.%d%s", stage, i, rest));
    if (strncmp(ours, "stem.", 5) != 0 && strncmp(ours, "head.norm.", 10) != 0)
        return unknown(ours, "a ConvNeXt");
    return renamed(r, ours, renamed_by(ROWS(shell), ours, ""));
}

static const char *const timm_head[] = {"head.fc.*", NULL};
static const char *const torchvision_head[] = {"classifier.2.*", NULL};
static const char *const authors_head[] = {"head.*", NULL};
static const sc_layout convnext_layouts[] = {
    {"stages.0.blocks.0.conv_dw.weight", unchanged, timm_head},
    {"features.1.0.block.0.weight", convnext_torchvision, torchvision_head},
    {"downsample_layers.0.0.weight", convnext_authors, authors_head}};

#define CONVNEXT(SIZE, DIGITS, FIRST, SECOND)                                             \
    {                                                                                     \
        .encoder = "convnext-" SIZE,                                                      \
        .torch = {"convnext_" SIZE "_1k_224_ema.pth", "convnext_" SIZE "_22k_1k_224.pth", \
                  "convnext_" SIZE "-" DIGITS ".pth"},                                    \
        .hub = {{"timm/convnext_" SIZE "." FIRST, sc_hub_files},                          \
                {"timm/convnext_" SIZE "." SECOND, sc_hub_files},                         \
                {"timm/convnext_" SIZE ".fb_in1k", sc_hub_files}},                        \
        .get = "huggingface-cli download timm/convnext_" SIZE "." FIRST                   \
    }
static const sc_published convnexts[] = {
    CONVNEXT("tiny", "983f1562", "in12k_ft_in1k", "fb_in22k_ft_in1k"),
    CONVNEXT("small", "0c510722", "in12k_ft_in1k", "fb_in22k_ft_in1k"),
    CONVNEXT("base", "6075fbad", "fb_in22k_ft_in1k", "clip_laion2b_augreg_ft_in12k_in1k"),
    {.encoder = "convnext-mini"},
    {0},
};
const sc_family sc_family_convnext = {
    .what = "ConvNeXt of timm, torchvision or its authors",
    .tower = "image_encoder.backbone.",
    .layouts = convnext_layouts,
    .layout_count = sizeof convnext_layouts / sizeof convnext_layouts[0],
    .encoders = convnexts,
};

/* ---- EfficientNet ---------------------------------------------------------------------------- */

/* Stage S is features.(S + 1), a block's layers are numbered; the first stage's blocks do not
 * widen. */
static sc_status efficientnet_torchvision(const sc_names *names, const char *ours, sc_recipe *r)
{
    static const rename_row shell[] = {{"conv_stem.", "features.0.0."},
                                       {"bn1.", "features.0.1."},
                                       {"conv_head.", "features.8.0."},
                                       {"bn2.", "features.8.1."}};
    static const rename_row first[] = {{"conv_dw.", "0.0."},          {"bn1.", "0.1."},
                                       {"se.conv_reduce.", "1.fc1."}, {"se.conv_expand.", "1.fc2."},
                                       {"conv_pw.", "2.0."},          {"bn2.", "2.1."}};
    static const rename_row others[] = {
        {"conv_pw.", "0.0."},          {"bn1.", "0.1."},
        {"conv_dw.", "1.0."},          {"bn2.", "1.1."},
        {"se.conv_reduce.", "2.fc1."}, {"se.conv_expand.", "2.fc2."},
        {"conv_pwl.", "3.0."},         {"bn3.", "3.1."}};
    char prefix[64];
    int stage, i;
    const char *rest = numbered(ours, "blocks.%d.%d.%n", &stage, &i);
    (void)names;
    if (!rest && strncmp(ours, "conv_", 5) != 0 && strncmp(ours, "bn", 2) != 0)
        return unknown(ours, "an EfficientNet");
    if (!rest)
        return renamed(r, ours, renamed_by(ROWS(shell), ours, ""));
    snprintf(prefix, sizeof prefix, "features.%d.%d.block.", stage + 1, i);
    return renamed(r, ours,
                   stage == 0 ? renamed_by(ROWS(first), rest, prefix)
                              : renamed_by(ROWS(others), rest, prefix));
}

static const char *const classifier[] = {"classifier.weight", "classifier.bias", NULL};
static const char *const torchvision_classifier[] = {"classifier.1.*", NULL};
static const sc_layout efficientnet_layouts[] = {
    {"conv_stem.weight", unchanged, classifier},
    {"features.1.0.block.0.0.weight", efficientnet_torchvision, torchvision_classifier}};

#define RELEASE "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
static const sc_published efficientnets[] = {
    {.encoder = "efficientnet-b0",
     .torch = {"efficientnet_b0_ra-3dd342df.pth", "efficientnet_b0_rwightman-3dd342df.pth",
               "efficientnet_b0_rwightman-7f5810bc.pth"},
     .hub = {{"timm/efficientnet_b0.ra_in1k", sc_hub_files}},
     .get = RELEASE "efficientnet_b0_ra-3dd342df.pth"},
    {.encoder = "efficientnet-b1",
     .torch = {"efficientnet_b1-533bc792.pth", "efficientnet_b1_rwightman-bac287d4.pth",
               "efficientnet_b1_rwightman-533bc792.pth", "efficientnet_b1-c27df63c.pth"},
     .hub = {{"timm/efficientnet_b1.ft_in1k", sc_hub_files},
             {"timm/efficientnet_b1.ra4_e3600_r240_in1k", sc_hub_files}},
     .get = RELEASE "efficientnet_b1-533bc792.pth"},
    {.encoder = "efficientnet-b2",
     .torch = {"efficientnet_b2_ra-bcdf34b7.pth", "efficientnet_b2_rwightman-bcdf34b7.pth",
               "efficientnet_b2_rwightman-c35c1473.pth"},
     .hub = {{"timm/efficientnet_b2.ra_in1k", sc_hub_files}},
     .get = RELEASE "efficientnet_b2_ra-bcdf34b7.pth"},
    {.encoder = "efficientnet-b3",
     .torch = {"efficientnet_b3_ra2-cf984f9c.pth", "efficientnet_b3_rwightman-cf984f9c.pth",
               "efficientnet_b3_rwightman-b3899882.pth"},
     .hub = {{"timm/efficientnet_b3.ra2_in1k", sc_hub_files}},
     .get = RELEASE "efficientnet_b3_ra2-cf984f9c.pth"},
    {.encoder = "efficientnet-mini"},
    {0},
};
const sc_family sc_family_efficientnet = {
    .what = "EfficientNet of timm or torchvision",
    .tower = "image_encoder.backbone.",
    .layouts = efficientnet_layouts,
    .layout_count = sizeof efficientnet_layouts / sizeof efficientnet_layouts[0],
    .encoders = efficientnets,
};

/* ---- StarNet --------------------------------------------------------------------------------- */

static const char *const star_head[] = {"head.weight", "head.bias", NULL};
static const sc_layout starnet_layouts[] = {{"stem.0.conv.weight", unchanged, star_head}};

#define STARS "https://github.com/ma-xu/Rewrite-the-Stars/releases/download/checkpoints_v1/"
#define STARNET(NAME)                                                               \
    {                                                                               \
        .encoder = NAME, .torch = {NAME ".pth.tar"},                                \
        .hub = {{"timm/" NAME ".in1k", sc_hub_files}}, .get = STARS NAME ".pth.tar" \
    }
static const sc_published starnets[] = {
    STARNET("starnet_s1"), STARNET("starnet_s2"),       STARNET("starnet_s3"),
    STARNET("starnet_s4"), {.encoder = "starnet-mini"}, {0},
};
const sc_family sc_family_starnet = {
    .what = "StarNet of its authors or timm",
    .tower = "image_encoder.backbone.",
    .layouts = starnet_layouts,
    .layout_count = sizeof starnet_layouts / sizeof starnet_layouts[0],
    .encoders = starnets,
};
