/* The table tests/golden/images/images.txt and its files. */
#ifndef GOLDEN_IMAGES_H
#define GOLDEN_IMAGES_H

#include "superclip/data.h"

typedef struct golden_image {
    char name[80], words[80]; /* words: a bad file's reason holds them; else empty */
    bool window;
    double lo, hi;
    int width, height;
    uint32_t crc[4]; /* of the image, and resized to golden_sizes */
    char *data;
    size_t n;
} golden_image;
extern const int golden_sizes[3][2]; /* width, height */

golden_image *golden_images(int *count);
void golden_images_free(golden_image *g, int count);

#endif
