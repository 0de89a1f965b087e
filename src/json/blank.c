#include "scan.h"

#include <string.h>

/* The end of the string that begins at `i`; a line end stops it, the scan will complain there. */
static size_t skip_string(const char *text, size_t n, size_t i)
{
    for (i++; i < n && text[i] != '\n'; i++) {
        if (text[i] == '\\' && i + 1 < n && text[i + 1] != '\n')
            i++;
        else if (text[i] == '"')
            return i + 1;
    }
    return i;
}

static sc_status blank_block_comment(const char *name, char *text, size_t n, size_t *at, int *line)
{
    size_t i = *at;
    int first = *line;
    for (size_t j = i + 2; j + 1 < n; j++) {
        if (text[j] == '\n')
            ++*line;
        if (text[j] != '*' || text[j + 1] != '/')
            continue;
        for (; i < j + 2; i++)
            if (text[i] != '\n')
                text[i] = ' ';
        *at = i;
        return SC_OK;
    }
    return sc_fail(SC_EUSAGE, "%s:%d: a comment begins with /* and never ends", name, first);
}

static bool ends_a_value(char c)
{
    return c && !strchr("[{,:", c);
}

sc_status sc_json_blank(const char *name, char *text, size_t n)
{
    char before = 0;         /* the last character that means something */
    size_t comma = SIZE_MAX; /* place of a comma that nothing has followed yet */
    int line = 1;
    size_t i = 0;
    if (n >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) {
        memset(text, ' ', 3);
        i = 3;
    }
    while (i < n) {
        char c = text[i];
        if (c == '/' && i + 1 < n && text[i + 1] == '/') {
            while (i < n && text[i] != '\n')
                text[i++] = ' ';
            continue;
        }
        if (c == '/' && i + 1 < n && text[i + 1] == '*') {
            SC_TRY(blank_block_comment(name, text, n, &i, &line));
            continue;
        }
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            line += c == '\n';
            i++;
            continue;
        }
        if ((c == ']' || c == '}') && comma != SIZE_MAX)
            text[comma] = ' ';
        comma = c == ',' && ends_a_value(before) ? i : SIZE_MAX;
        before = c;
        i = c == '"' ? skip_string(text, n, i) : i + 1;
    }
    return SC_OK;
}
