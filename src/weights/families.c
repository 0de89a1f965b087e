#include "family.h"

#include <string.h>

static const sc_family *const families[] = {
    &sc_family_resnet,
    &sc_family_convnext,
    &sc_family_efficientnet,
    &sc_family_starnet,
    &sc_family_clip_text,
    &sc_family_bert,
    &sc_family_vit,
};

const char *const sc_hub_files[] = {"model.safetensors", "model.safetensors.index.json",
                                    "pytorch_model.bin", NULL};
const char *const sc_open_clip_files[] = {"open_clip_model.safetensors",
                                          "open_clip_pytorch_model.bin", NULL};

const sc_family *sc_family_find(const char *encoder, const sc_published **row)
{
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++)
        for (const sc_published *p = families[f]->encoders; p->encoder; p++)
            if (!strcmp(p->encoder, encoder)) {
                *row = p;
                return families[f];
            }
    *row = NULL;
    return NULL;
}

sc_status sc_recipe_one(sc_recipe *r, char *name)
{
    r->names[0] = name;
    r->parts = 1;
    return name ? SC_OK : SC_ENOMEM;
}
