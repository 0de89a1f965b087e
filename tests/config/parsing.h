/* Parsing a command line in a test: texts in, options and warnings out. */
#ifndef TESTS_CONFIG_PARSING_H
#define TESTS_CONFIG_PARSING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "superclip/config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct parsing {
    char dir[64], file[96],
        texts[96]; /* a folder of its own, a config file and a text file in it */
    sc_text warnings;
    sc_log log;
    sc_options options;
    bool parsed;
} parsing;

static inline void parsing_log(void *ctx, sc_log_level level, const char *line)
{
    (void)level;
    sc_text_putf(ctx, "%s\n", line);
}

static inline int parsing_setup(void **state)
{
    parsing *p = sc_alloc(1, sizeof *p);
    strcpy(p->dir, "/tmp/sc_config_XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->file, sizeof p->file, "%s/c.json", p->dir);
    snprintf(p->texts, sizeof p->texts, "%s/texts.json", p->dir);
    sc_text_init(&p->warnings);
    p->log = (sc_log){parsing_log, &p->warnings};
    *state = p;
    return 0;
}

static inline int parsing_teardown(void **state)
{
    parsing *p = *state;
    if (p->parsed)
        sc_options_free(&p->options);
    sc_text_free(&p->warnings);
    sc_remove_tree(p->dir);
    free(p);
    return 0;
}

static inline void write_text(const char *path, const char *text)
{
    assert_int_equal(sc_write_file(path, text, strlen(text)), SC_OK);
}

/* Words of `line`, split at blanks; "@" is the config file, "%" in a word the text file. */
static inline sc_status parse(parsing *p, const char *json, const char *line)
{
    char words[1024], expanded[40][192];
    char *argv[40] = {(char *)(uintptr_t) "sc_mpi"};
    int argc = 1;
    if (p->parsed)
        sc_options_free(&p->options);
    sc_text_clear(&p->warnings);
    if (json)
        write_text(p->file, json);
    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " ")) {
        const char *mark = strchr(w, '%');
        if (strcmp(w, "@") == 0)
            snprintf(expanded[argc], sizeof expanded[0], "%s", p->file);
        else if (mark)
            snprintf(expanded[argc], sizeof expanded[0], "%.*s%s%s", (int)(mark - w), w, p->texts,
                     mark + 1);
        else
            snprintf(expanded[argc], sizeof expanded[0], "%s", w);
        argv[argc] = expanded[argc];
        argc++;
    }
    sc_status status = sc_options_parse(argc, argv, &p->log, &p->options);
    p->parsed = status == SC_OK;
    return status;
}

static inline void expect_ok(parsing *p, const char *json, const char *line)
{
    if (parse(p, json, line) != SC_OK)
        fail_msg("'%s': %s", line, sc_message());
}

static inline const char *warnings(const parsing *p)
{
    return p->warnings.data ? p->warnings.data : "";
}

#endif
