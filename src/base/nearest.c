#include "superclip/base.h"

#include <ctype.h>
#include <string.h>

enum { LONGEST = 64 };

/* Letters that differ in case only, and '-' for '_', count as equal: they are the commonest slips.
 */
static int fold_char(char c)
{
    return c == '-' ? '_' : tolower((unsigned char)c);
}

/* Edit distance with swaps of neighbours (optimal string alignment); words beyond LONGEST are cut.
 */
static size_t distance(const char *a, const char *b)
{
    size_t n = strnlen(a, LONGEST), m = strnlen(b, LONGEST);
    size_t rows[3][LONGEST + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++)
        above[j] = j;
    memcpy(before, above, sizeof rows[0]);
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            bool same = fold_char(a[i - 1]) == fold_char(b[j - 1]);
            size_t best = above[j - 1] + (same ? 0 : 1);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && fold_char(a[i - 1]) == fold_char(b[j - 2]) &&
                fold_char(a[i - 2]) == fold_char(b[j - 1]) && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        size_t *spare = before;
        before = above;
        above = row;
        row = spare;
    }
    return above[m];
}

const char *sc_nearest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, names[i]);
        if (d < best_distance) {
            best_distance = d;
            best = names[i];
        }
    }
    /* a third of the word's letters may be wrong, two of a short word, never all */
    size_t letters = strnlen(word, LONGEST);
    size_t limit = letters / 3 > 2 ? letters / 3 : 2;
    if (limit >= letters)
        limit = letters ? letters - 1 : 0;
    return best_distance <= limit ? best : NULL;
}
