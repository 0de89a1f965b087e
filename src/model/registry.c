/* Every encoder the program knows, one row each. */
#include <string.h>

#include "encoders.h"

/* One row an encoder; KIND(name, smallest img_size or tokenizer, flops, parameters, summary,
 * shape). FLOPs: twice the multiply-adds of convolutions and matrices at 224 px, or of a token's
 * matrix products. Parameters: without the projection to embed_dim; text towers with CLIP's 49408
 * tokens.
 */
#define B(...)      \
    {               \
        __VA_ARGS__ \
    }
#define BASIC(...) B(.image = sc_record_resnet, .resnet = {false, __VA_ARGS__})
#define BOTTLENECK(...) B(.image = sc_record_resnet, .resnet = {true, __VA_ARGS__})
#define CONVNEXT(...) B(.image = sc_record_convnext, .convnext = {__VA_ARGS__})
#define EFFICIENTNET(...) B(.image = sc_record_efficientnet, .efficientnet = {__VA_ARGS__})
#define STARNET(...) B(.image = sc_record_starnet, .starnet = {__VA_ARGS__})
#define VIT(...) B(.image = sc_record_vit, .hf = {__VA_ARGS__})
#define CLIP(...) B(.text = sc_record_clip_text, .packs = true, .clip_text = {__VA_ARGS__})
#define BERT(...) B(.text = sc_record_bert, .hf = {__VA_ARGS__})
#define WIDE B(64, 128, 256, 512)
#define ENCODER_TABLE                                                                              \
    IMAGE("resnet18", 1, 3.63e9, 11176512, "torchvision ResNet-18",                                \
          BASIC(64, B(2, 2, 2, 2), WIDE))                                                          \
    IMAGE("resnet34", 1, 7.33e9, 21284672, "torchvision ResNet-34",                                \
          BASIC(64, B(3, 4, 6, 3), WIDE))                                                          \
    IMAGE("resnet50", 1, 8.17e9, 23508032, "torchvision ResNet-50",                                \
          BOTTLENECK(64, B(3, 4, 6, 3), WIDE))                                                     \
    IMAGE("resnet101", 1, 15.60e9, 42500160, "torchvision ResNet-101",                             \
          BOTTLENECK(64, B(3, 4, 23, 3), WIDE))                                                    \
    IMAGE("resnet152", 1, 23.03e9, 58143808, "torchvision ResNet-152",                             \
          BOTTLENECK(64, B(3, 8, 36, 3), WIDE))                                                    \
    IMAGE("resnet-tiny", 1, 0.158e9, 309456,                                                       \
          "narrow ResNet, one block a stage: tests and first tries",                               \
          BASIC(16, B(1, 1, 1, 1), B(16, 32, 64, 128)))                                            \
    IMAGE("convnext-tiny", 32, 8.910e9, 27820128, "timm ConvNeXt-T",                               \
          CONVNEXT(B(3, 3, 9, 3), B(96, 192, 384, 768)))                                           \
    IMAGE("convnext-small", 32, 17.366e9, 49454688, "timm ConvNeXt-S",                             \
          CONVNEXT(B(3, 3, 27, 3), B(96, 192, 384, 768)))                                          \
    IMAGE("convnext-base", 32, 30.707e9, 87566464, "timm ConvNeXt-B",                              \
          CONVNEXT(B(3, 3, 27, 3), B(128, 256, 512, 1024)))                                        \
    IMAGE("convnext-mini", 32, 0.090e9, 115080,                                                    \
          "narrow ConvNeXt, one block a stage: tests and first tries",                             \
          CONVNEXT(B(1, 1, 1, 1), B(24, 40, 48, 72)))                                              \
    IMAGE("efficientnet-b0", 1, 0.769e9, 4007548, "timm EfficientNet-B0", EFFICIENTNET(1.0, 1.0))  \
    IMAGE("efficientnet-b1", 1, 1.137e9, 6513184, "timm EfficientNet-B1", EFFICIENTNET(1.0, 1.1))  \
    IMAGE("efficientnet-b2", 1, 1.315e9, 7700994, "timm EfficientNet-B2", EFFICIENTNET(1.1, 1.2))  \
    IMAGE("efficientnet-b3", 1, 1.922e9, 10696232, "timm EfficientNet-B3", EFFICIENTNET(1.2, 1.4)) \
    IMAGE("efficientnet-mini", 1, 0.088e9, 331104,                                                 \
          "narrow, shallow EfficientNet: tests and first tries", EFFICIENTNET(0.35, 0.4))          \
    IMAGE("starnet_s1", 1, 0.843e9, 2676168, "StarNet-S1", STARNET(24, B(2, 2, 8, 3), 4))          \
    IMAGE("starnet_s2", 1, 1.088e9, 3425024, "StarNet-S2", STARNET(32, B(1, 2, 6, 2), 4))          \
    IMAGE("starnet_s3", 1, 1.507e9, 5493792, "StarNet-S3", STARNET(32, B(2, 2, 8, 4), 4))          \
    IMAGE("starnet_s4", 1, 2.099e9, 7225728, "StarNet-S4", STARNET(32, B(3, 3, 12, 5), 4))         \
    IMAGE("starnet-mini", 1, 0.065e9, 90224,                                                       \
          "narrow StarNet, one block a stage: tests and first tries",                              \
          STARNET(8, B(1, 1, 1, 1), 3))                                                            \
    IMAGE("vit", 16, 35.13e9, 86389248, "ViT-B/16 (Hugging Face)", VIT(768, 12, 12, 3072, 16))     \
    IMAGE("vit-tiny", 16, 0.065e9, 133120, "two layers of 64: tests and first tries",              \
          VIT(64, 2, 2, 128, 16))                                                                  \
    TEXT("clip:ViT-B/32", CLIP, 75.5e6, 63428096, "OpenAI CLIP text tower, 12 layers of 512",      \
         CLIP(512, 8, 12, 512))                                                                    \
    TEXT("clip:ViT-B/16", CLIP, 75.5e6, 63428096, "OpenAI CLIP text tower, 12 layers of 512",      \
         CLIP(512, 8, 12, 512))                                                                    \
    TEXT("clip:ViT-L/14", CLIP, 169.9e6, 123650304, "OpenAI CLIP text tower, 12 layers of 768",    \
         CLIP(768, 12, 12, 768))                                                                   \
    TEXT("clip:RN50", CLIP, 75.5e6, 63690240,                                                      \
         "OpenAI CLIP text tower, 12 layers of 512, embedding 1024", CLIP(512, 8, 12, 1024))       \
    TEXT("clip:tiny", CLIP, 0.197e6, 3271232, "two layers of 64: tests and first tries",           \
         CLIP(64, 2, 2, 64))                                                                       \
    TEXT("bert-base-chinese", BERT, 169.9e6, 102267648, "BERT, 12 layers of 768 (Hugging Face)",   \
         BERT(768, 12, 12, 3072))                                                                  \
    TEXT("bert-tiny", BERT, 0.131e6, 1456320, "two layers of 64: tests and first tries",           \
         BERT(64, 2, 2, 128))

#define IMAGE(NAME, SMALLEST, FLOPS, PARAMS, SUMMARY, ...) \
    {NAME, true, FLOPS, PARAMS, SMALLEST, SUMMARY, SC_TOKENIZER_CLIP},
#define TEXT(NAME, TOKENIZER, FLOPS, PARAMS, SUMMARY, ...) \
    {NAME, false, FLOPS, PARAMS, 0, SUMMARY, SC_TOKENIZER_##TOKENIZER},
static const sc_encoder_info infos[] = {ENCODER_TABLE};
#undef IMAGE
#undef TEXT
#define IMAGE(NAME, SMALLEST, FLOPS, PARAMS, SUMMARY, ...) __VA_ARGS__,
#define TEXT(NAME, TOKENIZER, FLOPS, PARAMS, SUMMARY, ...) __VA_ARGS__,
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
    return i >= 0 &&
           (shapes[i].text != sc_record_clip_text || shapes[i].clip_text.embed != embed_dim);
}

sc_status sc_encoder_check(const char *name, bool image)
{
    const char *kind = image ? "image" : "text";
    const char *key = image ? "image_encoder_name" : "text_encoder_name";
    const sc_encoder_info *e = sc_encoder_find(name);
    if (e && e->image == image)
        return SC_OK;
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

sc_status sc_encoder_check_size(const char *name, int img_size)
{
    const int i = find(name);
    if (i < 0)
        return sc_fail(SC_EINTERNAL, "unknown image encoder '%s'", name);
    const int smallest = infos[i].min_img_size, patch = shapes[i].hf.patch;
    if (img_size < smallest)
        return sc_fail(SC_EUSAGE, "img_size %d is too small for image encoder '%s': %d or more",
                       img_size, name, smallest);
    if (shapes[i].image == sc_record_vit && img_size % patch != 0)
        return sc_fail(SC_EUSAGE,
                       "img_size %d is no multiple of %d, the side of the patches of image encoder "
                       "'%s'",
                       img_size, patch, name);
    return SC_OK;
}
