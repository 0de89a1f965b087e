/* Pictures like X-rays of hips, one of nine kinds of implant in each: something small to learn
 * from. */
#ifndef TOOLS_DEMO_SCENE_H
#define TOOLS_DEMO_SCENE_H

#include "superclip/data.h"

#define DEMO_CLASSES 9

typedef struct demo_class {
    const char *name; /* the folder */
    int share;        /* of 450 images */
} demo_class;
extern const demo_class DEMO_CLASS[DEMO_CLASSES];

/* A sequence of random numbers that depends on its three numbers only. */
typedef struct demo_random {
    uint32_t key[2], counter[4], words[4];
    int left;
} demo_random;
demo_random demo_random_of(uint32_t seed, uint32_t kind, uint32_t index);
double demo_uniform(demo_random *r, double low, double high);
int demo_below(demo_random *r, int n);

/* Draws picture number `index` of a class. The caller frees im->rgb with sc_image_free. */
sc_status demo_draw(uint32_t seed, int kind, int index, int width, int height, sc_image *im);

#endif
