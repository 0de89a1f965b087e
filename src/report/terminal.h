/* What standard output is, and how wide. Private to report. */
#ifndef SC_REPORT_TERMINAL_H
#define SC_REPORT_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

/* True when people watch: standard output is a terminal, the launcher's too if there is one, and
 * the environment does not ask for plain text (TERM=dumb or unset, NO_COLOR). */
bool sc_terminal_is_live(void);
/* Columns and rows of that terminal; COLUMNS and LINES where it does not tell, else 80 x 24. */
void sc_terminal_size(int *columns, int *rows);
/* Bytes of `line` that fill at most `columns` columns (UTF-8; wide letters count two). */
size_t sc_terminal_fit(const char *line, int columns);

#endif
