#include "utf8.h"

#include "superclip/base.h"

size_t sc_utf8_sequence(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char c = n > 0 ? s[0] : 0xFF;
    if (c < 0x80)
        return 1;
    size_t more = c >= 0xC2 && c <= 0xDF   ? 1
                  : c >= 0xE0 && c <= 0xEF ? 2
                  : c >= 0xF0 && c <= 0xF4 ? 3
                                           : 0;
    if (more == 0 || n <= more)
        return 0;
    unsigned char low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    unsigned char high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t k = 2; k <= more; k++)
        if ((s[k] & 0xC0) != 0x80)
            return 0;
    return more + 1;
}

bool sc_utf8_valid(const char *s, size_t n)
{
    for (size_t i = 0, step; i < n; i += step)
        if ((step = sc_utf8_sequence(s + i, n - i)) == 0)
            return false;
    return true;
}
