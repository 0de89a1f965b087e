#include "superclip/tensor.h"

/* Each operation rounds to float by itself, as torchvision's ToTensor and Normalize do; reciprocals
 * or a merged scale and shift differ in the last bit of hundreds of entries. */
void sc_normalize_table(float table[3][256])
{
    static const float mean[3] = {0.485f, 0.456f, 0.406f};
    static const float deviation[3] = {0.229f, 0.224f, 0.225f};
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) {
            volatile float unit = (float)v / 255.0f;
            volatile float centred = unit - mean[c];
            table[c][v] = centred / deviation[c];
        }
}
