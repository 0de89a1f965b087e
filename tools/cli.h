/* Private to tools: one way to read a command line, one progress line. */
#ifndef SC_TOOLS_CLI_H
#define SC_TOOLS_CLI_H

#include "superclip/data.h"

typedef enum cli_value {
    CLI_NONE,
    CLI_VALUE, /* the next word, or what stands behind '=' */
    CLI_FILE /* may be left out: behind '=', or the next word when that is '-' or has the ending */
} cli_value;
typedef struct cli_option {
    const char *name; /* "--top" */
    cli_value value;
    const char *ending; /* of CLI_FILE: ".csv" */
} cli_option;
/* Gets an option's number with its value (NULL: none), or -1 with a word that is no option. */
typedef sc_status (*cli_take)(void *ctx, int option, const char *value);
/* All words of argv, in order; -h is --help, behind -- everything is a word. SC_EUSAGE names the
 * argument. */
sc_status cli_parse(const char *program, const cli_option *options, int count, int argc,
                    char **argv, cli_take take, void *ctx);

sc_status cli_int(const char *option, const char *text, long least, long most, int *out);
/* --window LO,HI of 16-bit grey images. */
sc_status cli_window(const char *text, sc_decode_options *out);
bool cli_ends_with(const char *s, const char *ending); /* in any case */

/* "Packing:  45%|####      | 108/240 [00:03<00:04, 31.2 images/s]" on standard error: redrawn in
 * place ten times a second when live; else a line for every tenth, at most one a second. */
typedef struct cli_progress {
    const char *what;
    int64_t total;
    bool live;
    double start, shown;
    int shown_tenth;
} cli_progress;
void cli_progress_begin(cli_progress *p, const char *what, int64_t total, bool live);
void cli_progress_show(cli_progress *p, int64_t done, bool last);

#endif
