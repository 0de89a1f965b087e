/* torchvision's ResNets; timm's copies of them have the same names. */
#include "family.h"

#include <string.h>

/* nn.Sequential's numbers to torchvision's names. */
static sc_status from_torchvision(const sc_names *names, const char *ours, sc_recipe *r)
{
    static const char *const children[] = {"conv1",  "bn1",    NULL,     NULL,
                                           "layer1", "layer2", "layer3", "layer4"};
    static const char counter[] = ".num_batches_tracked";
    int child = ours[0] - '0';
    size_t n = strlen(ours);
    (void)names;
    if (child < 0 || child > 7 || !children[child] || ours[1] != '.')
        return sc_fail(SC_EINTERNAL, "'%s' is no name of a ResNet", ours);
    /* older files count no batches */
    r->may_lack = n >= sizeof counter && !strcmp(ours + n - (sizeof counter - 1), counter);
    return sc_recipe_one(r, sc_format("%s%s", children[child], ours + 1));
}

static const char *const spare[] = {"fc.weight", "fc.bias", NULL};

static const sc_layout layouts[] = {{"layer1.0.conv1.weight", from_torchvision, spare}};

#define TORCH "https://download.pytorch.org/models/"
#define RESNET(NAME, V1, OLD, V2, TIMM)                                                         \
    {                                                                                           \
        .encoder = NAME, .torch = {V1, OLD, V2}, .hub = {{TIMM, sc_hub_files}}, .get = TORCH V1 \
    }

static const sc_published encoders[] = {
    RESNET("resnet18", "resnet18-f37072fd.pth", "resnet18-5c106cde.pth", NULL,
           "timm/resnet18.tv_in1k"),
    RESNET("resnet34", "resnet34-b627a593.pth", "resnet34-333f7ec4.pth", NULL,
           "timm/resnet34.tv_in1k"),
    RESNET("resnet50", "resnet50-0676ba61.pth", "resnet50-19c8e357.pth", "resnet50-11ad3fa6.pth",
           "timm/resnet50.tv_in1k"),
    RESNET("resnet101", "resnet101-63fe2227.pth", "resnet101-5d3b4d8f.pth",
           "resnet101-cd907fc2.pth", "timm/resnet101.tv_in1k"),
    RESNET("resnet152", "resnet152-394f9c45.pth", "resnet152-b121ed2d.pth",
           "resnet152-f82ba261.pth", "timm/resnet152.tv_in1k"),
    {.encoder = "resnet-tiny"},
    {0},
};

const sc_family sc_family_resnet = {
    .what = "ResNet of torchvision",
    .tower = "image_encoder.backbone.",
    .layouts = layouts,
    .layout_count = sizeof layouts / sizeof layouts[0],
    .encoders = encoders,
};
