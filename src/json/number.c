#include "superclip/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The significant digits of |v|, shortest that read back the same, without trailing zeros; returns
 * the decimal exponent of the first digit. */
static int shortest_digits(double v, char digits[24])
{
    char text[40];
    /* Up to 15 digits survive the way through a double, so a short one shows itself at 15 already;
     * subnormal numbers hold fewer digits and start at one. */
    int precision = fabs(v) < 0x1p-1022 ? 1 : 15;
    for (; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision - 1, v);
        if (strtod(text, NULL) == v)
            break;
    }
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
