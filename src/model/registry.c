/* Every encoder the program knows, one row each. */
#include <string.h>

#include "encoders.h"

/* One row an encoder; KIND(name, flops, parameters, summary, shape).
 * FLOPs: twice the multiply-adds of the convolutions at 224 px, or of a token's matrix products.
 * Parameters: without the projection to embed_dim; text towers with CLIP's 49408 tokens. */
#define BASIC(...)                       \
    {                                    \
        .resnet = { false, __VA_ARGS__ } \
    }
#define BOTTLENECK(...)                 \
    {                                   \
        .resnet = { true, __VA_ARGS__ } \
    }
#define CLIP(...)                    \
    {                                \
        .clip_text = { __VA_ARGS__ } \
    }
#define B(...)      \
    {               \
        __VA_ARGS__ \
    }
#define WIDE B(64, 128, 256, 512)
#define ENCODER_TABLE                                                                            \
    IMAGE("resnet18", 3.63e9, 11176512, "torchvision ResNet-18", BASIC(64, B(2, 2, 2, 2), WIDE)) \
    IMAGE("resnet34", 7.33e9, 21284672, "torchvision ResNet-34", BASIC(64, B(3, 4, 6, 3), WIDE)) \
    IMAGE("resnet50", 8.17e9, 23508032, "torchvision ResNet-50",                                 \
          BOTTLENECK(64, B(3, 4, 6, 3), WIDE))                                                   \
    IMAGE("resnet101", 15.60e9, 42500160, "torchvision ResNet-101",                              \
          BOTTLENECK(64, B(3, 4, 23, 3), WIDE))                                                  \
    IMAGE("resnet152", 23.03e9, 58143808, "torchvision ResNet-152",                              \
          BOTTLENECK(64, B(3, 8, 36, 3), WIDE))                                                  \
    IMAGE("resnet-tiny", 0.158e9, 309456,                                                        \
          "narrow ResNet, one block a stage: tests and first tries",                             \
          BASIC(16, B(1, 1, 1, 1), B(16, 32, 64, 128)))                                          \
    TEXT("clip:ViT-B/32", 75.5e6, 63428096, "OpenAI CLIP text tower, 12 layers of 512",          \
         CLIP(512, 8, 12, 512))                                                                  \
    TEXT("clip:ViT-B/16", 75.5e6, 63428096, "OpenAI CLIP text tower, 12 layers of 512",          \
         CLIP(512, 8, 12, 512))                                                                  \
    TEXT("clip:ViT-L/14", 169.9e6, 123650304, "OpenAI CLIP text tower, 12 layers of 768",        \
         CLIP(768, 12, 12, 768))                                                                 \
    TEXT("clip:RN50", 75.5e6, 63690240,                                                          \
         "OpenAI CLIP text tower, 12 layers of 512, embedding 1024", CLIP(512, 8, 12, 1024))     \
    TEXT("clip:tiny", 0.197e6, 3271232, "two layers of 64: tests and first tries",               \
         CLIP(64, 2, 2, 64))                                                                     \
    LATER("vit", true, "ViT-B/16 (Hugging Face)")                                                \
    LATER("convnext-tiny", true, "timm ConvNeXt-T")                                              \
    LATER("convnext-small", true, "timm ConvNeXt-S")                                             \
    LATER("convnext-base", true, "timm ConvNeXt-B")                                              \
    LATER("efficientnet-b0", true, "timm EfficientNet-B0")                                       \
    LATER("efficientnet-b1", true, "timm EfficientNet-B1")                                       \
    LATER("efficientnet-b2", true, "timm EfficientNet-B2")                                       \
    LATER("efficientnet-b3", true, "timm EfficientNet-B3")                                       \
    LATER("starnet_s1", true, "StarNet-S1")                                                      \
    LATER("starnet_s2", true, "StarNet-S2")                                                      \
    LATER("starnet_s3", true, "StarNet-S3")                                                      \
    LATER("starnet_s4", true, "StarNet-S4")                                                      \
    LATER("bert-base-chinese", false, "BERT (Hugging Face)")

#define IMAGE(NAME, FLOPS, PARAMS, SUMMARY, ...) \
    {NAME, true, true, FLOPS, PARAMS, SUMMARY, SC_TOKENIZER_CLIP},
#define TEXT(NAME, FLOPS, PARAMS, SUMMARY, ...) \
    {NAME, false, true, FLOPS, PARAMS, SUMMARY, SC_TOKENIZER_CLIP},
#define LATER(NAME, IS_IMAGE, SUMMARY) {NAME, IS_IMAGE, false, 0, 0, SUMMARY, SC_TOKENIZER_CLIP},
static const sc_encoder_info infos[] = {ENCODER_TABLE};
#undef IMAGE
#undef TEXT
#undef LATER
#define IMAGE(NAME, FLOPS, PARAMS, SUMMARY, ...) __VA_ARGS__,
#define TEXT(NAME, FLOPS, PARAMS, SUMMARY, ...) __VA_ARGS__,
#define LATER(NAME, IS_IMAGE, SUMMARY) {.resnet = {0}},
static const sc_encoder shapes[] = {ENCODER_TABLE};

enum { ENCODERS = sizeof infos / sizeof infos[0] };

const sc_encoder_info *sc_encoder_list(size_t *count)
{
    *count = ENCODERS;
    return infos;
}

static int find(const char *name)
{
    for (int i = 0; i < ENCODERS; i++)
        if (strcmp(infos[i].name, name) == 0)
            return i;
    return -1;
}

const sc_encoder *sc_encoder_lookup(const char *name)
{
    int i = find(name);
    return i < 0 ? NULL : &shapes[i];
}

const sc_encoder_info *sc_encoder_find(const char *name)
{
    int i = find(name);
    return i < 0 ? NULL : &infos[i];
}

bool sc_encoder_has_projection(const char *name, int embed_dim)
{
    int i = find(name);
    return i >= 0 && (infos[i].image || shapes[i].clip_text.embed != embed_dim);
}

sc_status sc_encoder_check(const char *name, bool image)
{
    const char *kind = image ? "image" : "text";
    const char *key = image ? "image_encoder_name" : "text_encoder_name";
    const sc_encoder_info *e = sc_encoder_find(name);
    if (e && e->image == image) {
        if (e->available)
            return SC_OK;
        return sc_fail(SC_EUNSUPPORTED, "%s encoder '%s' comes with a later version; use %s", kind,
                       name,
                       image ? "resnet18, 34, 50, 101 or 152" : "one of the clip: text towers");
    }
    if (e)
        return sc_fail(SC_EUSAGE, "'%s' is %s encoder; %s wants %s encoder", name,
                       e->image ? "an image" : "a text", key, image ? "an image" : "a text");
    const char *names[ENCODERS];
    size_t n = 0;
    for (int i = 0; i < ENCODERS; i++)
        if (infos[i].image == image)
            names[n++] = infos[i].name;
    const char *near = sc_nearest(name, names, n);
    if (near)
        return sc_fail(SC_EUSAGE, "unknown %s encoder '%s'; did you mean '%s'?", kind, name, near);
    return sc_fail(SC_EUSAGE, "unknown %s encoder '%s'; see sc_mpi --help for the list", kind,
                   name);
}
