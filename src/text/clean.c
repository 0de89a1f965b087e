/* What happens to a text before it is cut into words: the effects of ftfy.fix_text (all of them but
 * the repair of text decoded in a wrong encoding), html.unescape twice, white space collapsed,
 * lower case by the full Unicode rules (final sigma; U+0130 becomes two code points).
 */
#include "text_priv.h"

#include <stdlib.h>
#include <string.h>
#include <unicase.h>
#include <uninorm.h>
#include <unistr.h>

/* A text is repaired again until nothing changes ("&amp;lt;" -> "&lt;" -> "<"); every pass but the
 * last removes a level of nesting. */
#define MAX_PASSES 1000

void text_put_code_point(sc_text *out, uint32_t c)
{
    uint8_t bytes[6];
    const int n = u8_uctomb(bytes, c, sizeof bytes);
    if (n > 0)
        sc_text_add(out, bytes, (size_t)n);
}

uint32_t text_next_code_point(const char *s, size_t n, size_t *i)
{
    ucs4_t c = 0;
    const int used = u8_mbtouc(&c, (const uint8_t *)s + *i, n - *i);
    *i += used > 0 ? (size_t)used : 1;
    return c;
}

static const char *ligature(uint32_t c)
{
    static const struct {
        uint16_t from;
        const char *to;
    } table[] = {
        {0x0132, "IJ"},        {0x0133, "ij"},        {0x0149, "\312\274n"}, {0x01C4, "D\305\275"},
        {0x01C5, "D\305\276"}, {0x01C6, "d\305\276"}, {0x01C7, "LJ"},        {0x01C8, "Lj"},
        {0x01C9, "lj"},        {0x01CA, "NJ"},        {0x01CB, "Nj"},        {0x01CC, "nj"},
        {0x01F1, "DZ"},        {0x01F2, "Dz"},        {0x01F3, "dz"},        {0xFB00, "ff"},
        {0xFB01, "fi"},        {0xFB02, "fl"},        {0xFB03, "ffi"},       {0xFB04, "ffl"},
        {0xFB05, "\305\277t"}, {0xFB06, "st"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].from == c)
            return table[i].to;
    return NULL;
}

/* Full-width and half-width forms to their ordinary ones. */
static void put_ordinary_width(uint32_t c, sc_text *out)
{
    uint8_t bytes[6];
    size_t n = 0;
    const int used = u8_uctomb(bytes, c, sizeof bytes);
    uint8_t *wide = u8_normalize(UNINORM_NFKC, bytes, (size_t)used, NULL, &n);
    if (!wide) {
        out->failed = true;
        return;
    }
    sc_text_add(out, wide, n);
    free(wide);
}

static bool dropped_control(uint32_t c)
{
    return c <= 0x08 || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F ||
           (c >= 0x206A && c <= 0x206F) || c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFC);
}

/* The character by character repairs, each seeing the result of the one before: C1 controls as
 * windows-1252, ligatures, widths, quotes. Control characters go later: an escape sequence needs
 * its first one. */
static void put_repaired(uint32_t c, sc_text *out)
{
    if (c >= 0x80 && c <= 0x9F)
        c = text_windows_1252(c);
    const char *split = ligature(c);
    if (split && c != 0x0149) {
        sc_text_puts(out, split);
        return;
    }
    if (c == 0x0149) { /* the ligature's own apostrophe is a curly quote */
        sc_text_puts(out, "'n");
        return;
    }
    if (c == 0x3000)
        c = ' ';
    else if (c >= 0xFF01 && c <= 0xFFEF) {
        put_ordinary_width(c, out);
        return;
    }
    if (c == 0x02BC || (c >= 0x2018 && c <= 0x201B))
        c = '\'';
    else if (c >= 0x201C && c <= 0x201F)
        c = '"';
    text_put_code_point(out, c);
}

/* Length of a terminal's escape sequence "ESC [ 1 ; 31 m" at s, 0 when there is none. */
static size_t terminal_escape(const char *s, size_t n)
{
    size_t i = 2;
    if (n < 3 || s[0] != '\033' || s[1] != '[')
        return 0;
    while (i < n && ((s[i] >= '0' && s[i] <= '9') || s[i] == ';'))
        i++;
    return i < n && (s[i] | 0x20) >= 'a' && (s[i] | 0x20) <= 'z' ? i + 1 : 0;
}

static void drop_controls(const char *s, size_t n, sc_text *out)
{
    size_t i = 0;
    while (i < n) {
        const size_t escape = terminal_escape(s + i, n - i);
        const size_t from = i;
        if (escape > 0)
            i += escape;
        else if (!dropped_control(text_next_code_point(s, n, &i)))
            sc_text_add(out, s + from, i - from);
    }
}

static void normalize_nfc(const sc_text *in, sc_text *out)
{
    size_t n = 0;
    uint8_t *nfc = u8_normalize(UNINORM_NFC, (const uint8_t *)in->data, in->len, NULL, &n);
    if (!nfc) {
        out->failed = true;
        return;
    }
    sc_text_add(out, nfc, n);
    free(nfc);
}

/* One pass of ftfy over a line. `line` is replaced; `spare` and `other` are scratch. */
static sc_status repair_pass(bool unescape, sc_text *line, sc_text *spare, sc_text *other,
                             bool *changed)
{
    sc_text_clear(spare);
    if (unescape)
        html_unescape_strict(line->data, line->len, spare);
    else
        sc_text_add(spare, line->data, line->len);
    SC_TRY(sc_text_status(spare));
    sc_text_clear(other);
    for (size_t i = 0; i < spare->len;)
        put_repaired(text_next_code_point(spare->data, spare->len, &i), other);
    SC_TRY(sc_text_status(other));
    sc_text_clear(spare);
    drop_controls(other->data, other->len, spare);
    SC_TRY(sc_text_status(spare));
    sc_text_clear(other);
    if (spare->len > 0)
        normalize_nfc(spare, other);
    SC_TRY(sc_text_status(other));
    *changed = line->len != other->len ||
               (line->len > 0 && memcmp(line->data, other->data, line->len) != 0);
    const sc_text swap = *line;
    *line = *other;
    *other = swap;
    return SC_OK;
}

/* ftfy works line by line. It decodes HTML references in a line only while no line so far had a '<'
 * (then the text is taken for HTML source). */
static sc_status repair(const char *text, sc_text *out)
{
    sc_status status = SC_OK;
    sc_text line, spare, other;
    bool unescape = true;
    sc_text_init(&line);
    sc_text_init(&spare);
    sc_text_init(&other);
    for (const char *p = text; *p != '\0';) {
        const char *end = strchr(p, '\n');
        const size_t n = end ? (size_t)(end - p) + 1 : strlen(p);
        bool changed = true;
        sc_text_clear(&line);
        sc_text_add(&line, p, n);
        SC_TRY_GOTO(sc_text_status(&line));
        if (memchr(p, '<', n))
            unescape = false;
        for (int pass = 0; pass < MAX_PASSES && changed; pass++)
            SC_TRY_GOTO(repair_pass(unescape, &line, &spare, &other, &changed));
        if (line.len > 0)
            sc_text_add(out, line.data, line.len);
        p += n;
    }
    status = sc_text_status(out);
done:
    sc_text_free(&line);
    sc_text_free(&spare);
    sc_text_free(&other);
    return status;
}

/* Python's str.isspace. */
static bool is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

static void collapse_spaces(const sc_text *in, sc_text *out)
{
    bool gap = false;
    for (size_t i = 0; i < in->len;) {
        const size_t from = i;
        if (is_space(text_next_code_point(in->data, in->len, &i))) {
            gap = true;
            continue;
        }
        if (gap && out->len > 0)
            sc_text_puts(out, " ");
        gap = false;
        sc_text_add(out, in->data + from, i - from);
    }
}

static sc_status lower_case(const sc_text *in, sc_text *out)
{
    size_t n = 0;
    if (in->len == 0)
        return SC_OK;
    uint8_t *lower = u8_tolower((const uint8_t *)in->data, in->len, NULL, NULL, NULL, &n);
    if (!lower)
        return sc_fail(SC_ENOMEM, "cannot lower-case a text of %zu bytes", in->len);
    sc_text_add(out, lower, n);
    free(lower);
    return sc_text_status(out);
}

sc_status text_clean(const char *text, sc_text *out)
{
    sc_status status = SC_OK;
    sc_text a, b;
    sc_text_init(&a);
    sc_text_init(&b);
    SC_TRY_GOTO(repair(text, &a));
    html_unescape(a.data, a.len, &b);
    SC_TRY_GOTO(sc_text_status(&b));
    sc_text_clear(&a);
    html_unescape(b.data, b.len, &a);
    SC_TRY_GOTO(sc_text_status(&a));
    sc_text_clear(&b);
    collapse_spaces(&a, &b);
    SC_TRY_GOTO(sc_text_status(&b));
    SC_TRY_GOTO(lower_case(&b, out));
done:
    sc_text_free(&a);
    sc_text_free(&b);
    return status;
}
