/* Private to weights: families of encoders, how their published files are found and become ours.
 *
 * A new family is one file map_NAME.c that defines `const sc_family sc_family_NAME`, and its line
 * in families.c (and its source in CMakeLists.txt). Nothing else changes: the search (find.c), the
 * strict check and the reading (pretrained.c) work from these rows.
 */
#ifndef SC_WEIGHTS_FAMILY_H
#define SC_WEIGHTS_FAMILY_H

#include "superclip/weights.h"

/* Does the file that is being mapped have a tensor of this name? For layouts with variants: an
 * optional prefix, LayerNorm.gamma for LayerNorm.weight. */
typedef struct sc_pretrained sc_names;
bool sc_names_has(const sc_names *names, const char *name);

/* Where a tensor of ours comes from. `names` are heap, freed by the caller of `map` in every case;
 * all that is not set stays zero. */
enum { SC_MOST_PARTS = 3 };
typedef struct sc_recipe {
    char *names[SC_MOST_PARTS]; /* in the file, without wrappers' prefixes (module., model., ...) */
    size_t sources[SC_MOST_PARTS]; /* filled by pretrained.c */
    int parts;       /* 1, or several that are stacked along the first dimension, equal in size */
    bool transposed; /* a matrix that lies the other way round there */
    bool squeezed;   /* dimensions of 1 do not count: [C, 1, 1] there is [C] here */
    bool may_lack;   /* a counter, or what nothing reads: 0 when the file has none */
} sc_recipe;
/* One source, whose name it takes over; NULL (no memory) gives SC_ENOMEM. */
sc_status sc_recipe_one(sc_recipe *r, char *name);

/* One way in which files of the family name their tensors. */
typedef struct sc_layout {
    const char *witness; /* a file that has this tensor has this layout */
    /* From a name of ours, without the family's tower prefix. SC_EINTERNAL: no such name. */
    sc_status (*map)(const sc_names *names, const char *ours, sc_recipe *r);
    /* What such files hold besides, dropped without a word; a trailing * stands for any end.
     * NULL ends the list. Any other tensor is an error. */
    const char *const *spare;
} sc_layout;

/* A model on Hugging Face: "ORG/NAME" or "NAME", and the files of it, the wanted one first. */
enum { SC_MOST_FILES = 4 };
typedef struct sc_hub_model {
    const char *name;
    const char *const *files;
} sc_hub_model;
extern const char *const sc_hub_files[];       /* model.safetensors, its index, pytorch_model.bin */
extern const char *const sc_open_clip_files[]; /* open_clip_model.safetensors, ... */

/* One encoder, named as in the registry of `model`, and the files with its published weights. An
 * encoder of which none are published has its name alone: explicit files and $SC_WEIGHTS_DIR. */
typedef struct sc_published {
    const char *encoder; /* NULL ends the table */
    /* In torch hub's cache, the wanted one first (torchvision's V1 before V2). The digits behind
     * the last '-' are the beginning of the file's SHA-256, which is checked. */
    const char *torch[SC_MOST_FILES];
    const char *clip, *clip_sha; /* in ~/.cache/clip, and the same digits */
    sc_hub_model hub[SC_MOST_FILES];
    const char *get; /* how to fetch it on a machine with a network: an address or a command */
} sc_published;

typedef struct sc_family {
    const char *what;  /* for messages: "ResNet of torchvision" */
    const char *tower; /* begins the names of ours that `map` gets: "image_encoder.backbone." */
    const sc_layout *layouts;
    size_t layout_count;
    const sc_published *encoders;
    /* Text encoders: the vocabulary's file names, the wanted one first; looked for beside the
     * weights and where weights are looked for, and in the folders of these Python packages.
     * NULL ends either list; NULL alone: none. */
    const char *const *vocabulary, *const *packages;
    const char *vocabulary_get; /* how to fetch it; NULL: as the weights */
    bool bytes_alone;           /* a tokenizer can do without a vocabulary file */
} sc_family;

/* The family and row of an encoder; NULL: unknown. */
const sc_family *sc_family_find(const char *encoder, const sc_published **row);

extern const sc_family sc_family_resnet, sc_family_convnext, sc_family_efficientnet,
    sc_family_starnet, sc_family_clip_text, sc_family_bert, sc_family_vit;

#endif
