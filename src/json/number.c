#include "superclip/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The numbers that round to a power of two reach twice as far above it as below: 16 digits may do
 * where the nearest 16 digits, which lie below, do not. `text` is replaced if so. */
static void round_up_power_of_two(double v, char text[48])
{
    int unused;
    char digits[40], shorter[48] = "";
    if (fabs(frexp(v, &unused)) != 0.5)
        return;
    snprintf(digits, sizeof digits, "%.15e", fabs(v)); /* d.ddddddddddddddde+xx */
    char *exponent = strchr(digits, 'e');
    long long last = exponent ? strtoll(exponent - 15, NULL, 10) : 0;
    if (last == 999999999999999)
        return; /* a carry would make a shorter number, which was tried */
    snprintf(shorter, sizeof shorter, "%s%.2s%015lld%s", v < 0 ? "-" : "", digits, last + 1,
             exponent);
    if (strtod(shorter, NULL) == v)
        memcpy(text, shorter, sizeof shorter);
}

/* The significant digits of |v|, shortest that read back the same, without trailing zeros; returns
 * the decimal exponent of the first digit. */
static int shortest_digits(double v, char digits[24])
{
    char text[48];
    /* Up to 15 digits survive the way through a double, so a short one shows itself at 15 already;
     * subnormal numbers hold fewer digits and start at one. */
    int precision = fabs(v) < 0x1p-1022 ? 1 : 15;
    for (;; precision++) {
        snprintf(text, sizeof text, "%.*e", precision - 1, v);
        if (precision == 17 || strtod(text, NULL) == v)
            break;
    }
    if (precision == 17)
        round_up_power_of_two(v, text);
    size_t n = 0;
    const char *p = text;
    for (; *p && *p != 'e'; p++) /* whatever the locale's decimal point is, it is no digit */
        if (*p >= '0' && *p <= '9' && n < 23)
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    digits[n] = '\0';
    return *p == 'e' ? atoi(p + 1) : 0;
}

/* Python's repr: plain notation for 1e-4 <= |v| < 1e16, else one digit, a point, an exponent. */
void sc_format_double(double v, char out[32])
{
    char digits[24], text[64] = "";
    if (!isfinite(v)) {
        snprintf(out, 32, "null");
        return;
    }
    const char *sign = signbit(v) ? "-" : "";
    int exponent = shortest_digits(v, digits);
    int n = (int)strlen(digits);
    if (exponent < -4 || exponent >= 16) {
        snprintf(text, sizeof text, "%s%c%s%se%c%02d", sign, digits[0], n > 1 ? "." : "",
                 digits + 1, exponent < 0 ? '-' : '+', abs(exponent) % 1000);
    } else if (exponent < 0) {
        snprintf(text, sizeof text, "%s0.%.*s%s", sign, -exponent - 1, "000", digits);
    } else if (n <= exponent + 1) {
        snprintf(text, sizeof text, "%s%s%.*s.0", sign, digits, exponent + 1 - n,
                 "0000000000000000");
    } else {
        snprintf(text, sizeof text, "%s%.*s.%s", sign, exponent + 1, digits, digits + exponent + 1);
    }
    memcpy(out, text, 31); /* the longest has 24 characters */
    out[31] = '\0';
}
