#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool cli_ends_with(const char *s, const char *ending)
{
    size_t n = strlen(s), k = strlen(ending);
    return n >= k && strcasecmp(s + n - k, ending) == 0;
}

sc_status cli_int(const char *option, const char *text, long least, long most, int *out)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (end == text || *end || errno || v < least || v > most)
        return sc_fail(SC_EUSAGE, "%s %s: must be an integer in %ld..%ld", option, text, least,
                       most);
    *out = (int)v;
    return SC_OK;
}

sc_status cli_window(const char *text, sc_decode_options *out)
{
    char *comma, *end = NULL;
    double lo = strtod(text, &comma), hi = 0;
    bool ok = comma != text && *comma == ',';
    if (ok) {
        hi = strtod(comma + 1, &end);
        ok = end != comma + 1 && *end == '\0';
    }
    if (!ok || !isfinite(lo) || !isfinite(hi) || lo >= hi)
        return sc_fail(SC_EUSAGE, "--window %s: must be two numbers LO,HI with LO below HI", text);
    out->window = true;
    out->window_lo = lo;
    out->window_hi = hi;
    return SC_OK;
}

/* The option that `arg` names up to its '=', or -1. */
static int find(const cli_option *options, int count, const char *arg)
{
    size_t n = strcspn(arg, "=");
    for (int i = 0; i < count; i++)
        if (strlen(options[i].name) == n && memcmp(options[i].name, arg, n) == 0)
            return i;
    return -1;
}

static sc_status unknown(const char *program, const cli_option *options, int count, const char *arg)
{
    enum { MOST = 64 };
    const char *names[MOST];
    int n = count < MOST ? count : MOST;
    for (int i = 0; i < n; i++)
        names[i] = options[i].name;
    const char *near = sc_nearest(arg, names, (size_t)n);
    return near ? sc_fail(SC_EUSAGE, "%s: unknown option; did you mean %s?", arg, near)
                : sc_fail(SC_EUSAGE, "%s: unknown option; see %s --help", arg, program);
}

/* One option with its value; *at moves on when the value is the next word. */
static sc_status take_option(const cli_option *o, int number, int argc, char **argv, int *at,
                             cli_take take, void *ctx)
{
    const char *value = strchr(argv[*at], '=');
    bool next = *at + 1 < argc;
    if (value && o->value == CLI_NONE)
        return sc_fail(SC_EUSAGE, "%s: takes no value", o->name);
    if (value && !value[1])
        return sc_fail(SC_EUSAGE, "%s: its value is empty", o->name);
    if (!value && o->value == CLI_VALUE && !next)
        return sc_fail(SC_EUSAGE, "%s: its value is missing", o->name);
    if (value)
        return take(ctx, number, value + 1);
    if (o->value == CLI_VALUE ||
        (o->value == CLI_FILE && next &&
         (strcmp(argv[*at + 1], "-") == 0 || cli_ends_with(argv[*at + 1], o->ending))))
        return take(ctx, number, argv[++*at]);
    return take(ctx, number, NULL);
}

sc_status cli_parse(const char *program, const cli_option *options, int count, int argc,
                    char **argv, cli_take take, void *ctx)
{
    bool only_words = false;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (only_words || arg[0] != '-' || !arg[1]) {
            if (!*arg)
                return sc_fail(SC_EUSAGE, "an empty argument; see %s --help", program);
            SC_TRY(take(ctx, -1, arg));
        } else if (strcmp(arg, "--") == 0) {
            only_words = true;
        } else {
            int o = find(options, count, strcmp(arg, "-h") == 0 ? "--help" : arg);
            if (o < 0)
                return unknown(program, options, count, arg);
            SC_TRY(take_option(&options[o], o, argc, argv, &i, take, ctx));
        }
    }
    return SC_OK;
}
