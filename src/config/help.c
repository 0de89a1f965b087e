/* --help and docs/options.md: the option table as text. */
#include "option.h"

#include <stdlib.h>
#include <string.h>

enum { WIDTH = 80, COLUMN = 30 };

/* Words of `text` between the columns `indent` and WIDTH; the cursor stands at `at`. */
static void wrap(sc_text *out, const char *text, size_t at, size_t indent)
{
    while (*text) {
        size_t n = strcspn(text, " ");
        if (at > indent && at + 1 + n > WIDTH) {
            sc_text_putf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (at > indent) {
            sc_text_puts(out, " ");
            at++;
        }
        sc_text_add(out, text, n);
        at += n;
        text += n;
        text += *text == ' ';
    }
    sc_text_puts(out, "\n");
}

static void flag_column(const sc_option *o, sc_text *out)
{
    if (!o->flag) {
        sc_text_putf(out, "  --set %s=...", o->key);
        return;
    }
    sc_text_putf(out, "  --%s", o->flag);
    if (o->type == SC_OPT_BOOL && o->key)
        sc_text_puts(out, " [BOOL]");
    else if (o->value)
        sc_text_putf(out, " %s", o->value);
    if (o->off_flag)
        sc_text_putf(out, ", --%s", o->off_flag);
}

static void describe(const sc_option *o, sc_text *out)
{
    sc_text_puts(out, o->help);
    if (o->choices) {
        sc_text_puts(out, " (");
        sc_option_expects(o, out);
        sc_text_puts(out, ")");
    }
    bool plain_flag = o->type == SC_OPT_BOOL && !o->key;
    if (o->initial && !plain_flag)
        sc_text_putf(out, " [%s]", o->initial);
}

static void help_row(const sc_option *o, sc_text *out)
{
    sc_text line;
    sc_text_init(&line);
    flag_column(o, &line);
    size_t at = line.len;
    if (at + 1 >= COLUMN) {
        sc_text_puts(&line, "\n");
        at = 0;
    }
    sc_text_putf(&line, "%*s", (int)(COLUMN - at), "");
    sc_text_puts(out, line.data ? line.data : "");
    out->failed |= line.failed;
    sc_text_clear(&line);
    describe(o, &line);
    wrap(out, line.data ? line.data : "", COLUMN, COLUMN);
    out->failed |= line.failed;
    sc_text_free(&line);
}

static char *finish(sc_text *out)
{
    char *text = sc_text_status(out) == SC_OK ? sc_strdup(out->data) : NULL;
    sc_text_free(out);
    return text;
}

char *sc_options_help(const char *program)
{
    sc_text out;
    sc_text_init(&out);
    sc_text_putf(&out,
                 "Cross-validates CLIP-style image classifiers, on one machine or a cluster.\n\n"
                 "  mpirun -np 8 %s train_clip_config.json\n"
                 "      train every fold of every config in the file; the same again goes on\n"
                 "  %s train_clip_config.json --plan --plan-ranks 64\n"
                 "      show who would train what on 64 ranks, memory and time; train nothing\n"
                 "  mpirun -np 2 %s --data-dir DIR --pretrained false --epochs 20\n"
                 "      one config from flags alone\n\n"
                 "A flag overrides the config file for all its configs. --flag=VALUE works too;\n"
                 "BOOL is true or false, a flag without it says true. Defaults are in [].\n",
                 program, program, program);
    const char *group = "";
    for (int i = 0; i < sc_option_count; i++) {
        const sc_option *o = &sc_option_table[i];
        if (strcmp(o->group, group) != 0)
            sc_text_putf(&out, "\n%s\n", o->group);
        group = o->group;
        help_row(o, &out);
    }
    sc_text_puts(
        &out, "\nExit codes: 0 all jobs finished; 1 wrong usage, config or data, nothing trained;\n"
              "2 some jobs failed, the others finished; 42 stopped by SIGUSR1, resumable.\n");
    return finish(&out);
}

/* ---- Markdown ---------------------------------------------------------------------- */

static void escaped(sc_text *out, const char *text)
{
    for (const char *c = text; *c; c++) {
        if (*c == '|' || *c == '<' || *c == '*')
            sc_text_puts(out, "\\");
        sc_text_add(out, c, 1);
    }
}

static void markdown_row(const sc_option *o, sc_text *out)
{
    sc_text_puts(out, "| ");
    if (o->key)
        sc_text_putf(out, "`%s`", o->key);
    if (o->alias)
        sc_text_putf(out, ", `%s`", o->alias);
    if (o->flag)
        sc_text_putf(out, " | `--%s`", o->flag);
    else
        sc_text_puts(out, " | ");
    if (o->off_flag)
        sc_text_putf(out, ", `--%s`", o->off_flag);
    if (o->type == SC_OPT_ACTION || o->type == SC_OPT_SET)
        sc_text_puts(out, " | | ");
    else
        sc_text_putf(out, " | `%s` | ", o->initial ? o->initial : "null");
    if (o->type != SC_OPT_ACTION)
        sc_option_expects(o, out);
    sc_text_puts(out, " | ");
    escaped(out, o->help);
    if (o->needs)
        sc_text_putf(out, "; needs `%s`", o->needs);
    sc_text_puts(out, o->identity ? " | yes |\n" : " | |\n");
}

char *sc_options_markdown(void)
{
    sc_text out;
    sc_text_init(&out);
    sc_text_puts(
        &out, "# Options\n\n"
              "<!-- Made from the option table (src/config/table.c); a test holds the two equal. "
              "To renew it:\n"
              "     SC_UPDATE=1 ctest -R '^config_docs$' -->\n\n"
              "A config file is a JSON list of objects with the keys below, one object a config; "
              "`//` and\n"
              "`/* */` comments and trailing commas are fine. A flag overrides the file for all "
              "its configs;\n"
              "`--set key=value` does so for any key. Flags take their value as `--flag VALUE` or\n"
              "`--flag=VALUE`; a flag of a true-or-false key may stand alone for true.\n\n"
              "*Bound*: a checkpoint goes on only under the same value. The other options may be "
              "changed\n"
              "between a run and its continuation.\n");
    const char *group = "";
    for (int i = 0; i < sc_option_count; i++) {
        const sc_option *o = &sc_option_table[i];
        if (strcmp(o->group, group) != 0)
            sc_text_putf(&out,
                         "\n## %s\n\n| Key | Flag | Default | Value | Meaning | Bound |\n"
                         "|---|---|---|---|---|---|\n",
                         o->group);
        group = o->group;
        markdown_row(o, &out);
    }
    return finish(&out);
}
