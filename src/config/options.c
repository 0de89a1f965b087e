/* Command line and config file -> sc_options. */
#include "option.h"

#include <stdlib.h>
#include <string.h>

/* A config option given as a flag or by --set: applied to every config once the file is read. */
typedef struct override {
    const sc_option *option;
    const char *value;
    const char *spelling; /* "--epochs", "--set epochs" */
} override;

typedef struct parser {
    int argc;
    char **argv;
    int at;
    sc_options *out;
    override *overrides;
    int override_count;
    char **spellings; /* owned texts of the overrides */
} parser;

/* ---- flags ------------------------------------------------------------------------- */

static sc_status unknown_flag(const char *arg, size_t n)
{
    if (strstr(arg, "metaclip"))
        return sc_fail(SC_EUSAGE,
                       "%.*s: MetaCLIP is not supported; use --text-encoder with one of "
                       "the clip: encoders",
                       (int)n, arg);
    char *word = sc_strndup(arg + strspn(arg, "-"), n - strspn(arg, "-"));
    const char *near = word ? sc_option_nearest_flag(word) : NULL;
    free(word);
    return sc_fail(SC_EUSAGE, "%.*s: unknown option%s%s%s; see --help", (int)n, arg,
                   near ? " (did you mean --" : "", near ? near : "", near ? "?)" : "");
}

static sc_status add_override(parser *p, const sc_option *o, const char *value, char *spelling)
{
    if (!spelling)
        return SC_ENOMEM;
    p->spellings[p->override_count] = spelling;
    p->overrides[p->override_count++] = (override){o, value, spelling};
    return SC_OK;
}

static sc_status set_run_option(parser *p, const sc_option *o, const char *value)
{
    sc_status status = sc_option_set_text(o, p->out, value);
    return status == SC_OK ? SC_OK : sc_fail_prefix(status, "--%s", o->flag);
}

/* The next argument as a value; one that looks like a flag is a forgotten value. */
static sc_status next_value(parser *p, const sc_option *o, const char **value)
{
    const char *next = p->at < p->argc ? p->argv[p->at] : NULL;
    if (!next || strncmp(next, "--", 2) == 0)
        return sc_fail(SC_EUSAGE, "--%s needs a value: --%s %s", o->flag, o->flag, o->value);
    p->at++;
    *value = next;
    return SC_OK;
}

static sc_status take_set(parser *p, const char *pair)
{
    const char *equals = strchr(pair, '=');
    if (!equals || equals == pair)
        return sc_fail(SC_EUSAGE, "--set %s: write it as --set KEY=VALUE", pair);
    char *key = sc_strndup(pair, (size_t)(equals - pair));
    if (!key)
        return SC_ENOMEM;
    sc_status status;
    const sc_option *o = sc_option_by_key(key);
    if (o) {
        status = add_override(p, o, equals + 1, sc_format("--set %s", key));
    } else if (strstr(key, "metaclip")) {
        status = sc_fail(SC_EUSAGE, "--set %s: MetaCLIP is not supported; remove it", key);
    } else if ((o = sc_option_by_dashed(key))) {
        status = sc_fail(SC_EUSAGE, "--set %s: that is no config key; use --%s", key, o->flag);
    } else {
        const char *near = sc_option_nearest_key(key);
        status = sc_fail(SC_EUSAGE, "--set %s: unknown key%s%s%s; see --help", key,
                         near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    }
    free(key);
    return status;
}

static sc_status take_action(parser *p, const sc_option *o)
{
    sc_action now = p->out->action;
    if (now != SC_ACTION_TRAIN && now != o->action)
        return sc_fail(SC_EUSAGE,
                       "--%s: another of --plan and --check was given before it; choose one",
                       o->flag);
    p->out->action = o->action;
    return SC_OK;
}

/* --no-amp, --no-amp=true, --use-cv, --use-cv false */
static sc_status take_bool(parser *p, const sc_option *o, const char *spelling, bool off,
                           const char *value)
{
    bool on = true;
    const char *next = p->at < p->argc ? p->argv[p->at] : NULL;
    if (!value && next && sc_parse_bool(next, &on)) {
        value = next;
        p->at++;
    }
    if (value && !sc_parse_bool(value, &on))
        return sc_fail(SC_EUSAGE, "%s: '%.60s' is not understood; it must be true or false",
                       spelling, value);
    const char *text = on != off ? "true" : "false";
    if (o->key)
        return add_override(p, o, text, sc_strdup(spelling));
    return set_run_option(p, o, text);
}

static sc_status take_second_value(parser *p, const sc_option *o)
{
    const char *text = "";
    SC_TRY(next_value(p, o, &text));
    char **second = (char **)(void *)((char *)p->out + o->second);
    free(*second);
    *second = sc_strdup(text);
    if (!*second)
        return SC_ENOMEM;
    return text[0] ? SC_OK
                   : sc_fail(SC_EUSAGE, "--%s: the second value is empty; give a folder", o->flag);
}

static sc_status take_config_file(sc_options *out, const char *path)
{
    if (out->config_file && strcmp(out->config_file, path) != 0)
        return sc_fail(SC_EUSAGE,
                       "%s: a config file was named before it (%s); put all configs into one", path,
                       out->config_file);
    free(out->config_file);
    out->config_file = sc_strdup(path);
    if (!out->config_file)
        return SC_ENOMEM;
    return path[0] ? SC_OK : sc_fail(SC_EUSAGE, "the config file's name is empty");
}

static sc_status take_flag(parser *p, const char *arg)
{
    const char *equals = strchr(arg, '=');
    size_t n = equals ? (size_t)(equals - arg) : strlen(arg);
    const char *value = equals ? equals + 1 : NULL;
    bool off;
    const sc_option *o = sc_option_by_flag(arg + 2, n - 2, &off);
    if (!o)
        return unknown_flag(arg, n);
    if (o->type == SC_OPT_ACTION) {
        if (value)
            return sc_fail(SC_EUSAGE, "--%s takes no value", o->flag);
        return take_action(p, o);
    }
    if (o->type == SC_OPT_BOOL) {
        char spelling[64];
        snprintf(spelling, sizeof spelling, "%.*s", (int)n, arg);
        return take_bool(p, o, spelling, off, value);
    }
    if (!value)
        SC_TRY(next_value(p, o, &value));
    if (o->type == SC_OPT_SET)
        return take_set(p, value);
    if (o->key)
        return add_override(p, o, value, sc_format("--%s", o->flag));
    if (strcmp(o->flag, "config-file") == 0)
        return take_config_file(p->out, value);
    SC_TRY(set_run_option(p, o, value));
    if (o->action != SC_ACTION_TRAIN)
        SC_TRY(take_action(p, o));
    return o->second ? take_second_value(p, o) : SC_OK;
}

/* --help and --version win over everything else on the line, mistakes included. */
static bool asks_for(int argc, char **argv, const char *one, const char *other)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], one) == 0 || strcmp(argv[i], other) == 0)
            return true;
    return false;
}

sc_action sc_options_only_tell(int argc, char **argv)
{
    if (asks_for(argc, argv, "--help", "-h"))
        return SC_ACTION_HELP;
    return asks_for(argc, argv, "--version", "-V") ? SC_ACTION_VERSION : SC_ACTION_TRAIN;
}

static sc_status parse_arguments(parser *p)
{
    while (p->at < p->argc) {
        const char *arg = p->argv[p->at++];
        if (strncmp(arg, "--", 2) == 0 && arg[2])
            SC_TRY(take_flag(p, arg));
        else if (arg[0] == '-')
            SC_TRY(unknown_flag(arg, strlen(arg)));
        else
            SC_TRY(take_config_file(p->out, arg));
    }
    return SC_OK;
}

/* ---- options of the run that contradict each other --------------------------------- */

static sc_status check_gpus(const char *list)
{
    for (const char *c = list; c; c = strchr(c, ',') ? strchr(c, ',') + 1 : NULL) {
        size_t digits = strspn(c, "0123456789");
        if (digits == 0 || digits > 4 || (c[digits] != ',' && c[digits] != '\0'))
            return sc_fail(SC_EUSAGE, "--gpus: '%.60s' is not a list of GPU numbers such as 0,2,5",
                           list);
    }
    return SC_OK;
}

static sc_status check_run(sc_options *o, const sc_log *log)
{
    if (o->multi_config && !o->config_file)
        return sc_fail(SC_EUSAGE,
                       "--multi-config: there is no config file; name one, or leave the flag out");
    if (o->resume_from && o->restart)
        return sc_fail(SC_EUSAGE,
                       "--resume-from and --restart contradict each other; leave one out");
    if (o->resume_from && o->init_from)
        return sc_fail(SC_EUSAGE,
                       "--resume-from and --init-from contradict each other; leave one out");
    int64_t jobs = 0;
    for (int i = 0; i < o->configs_count; i++)
        jobs += o->configs[i].use_cv ? o->configs[i].n_splits : 1;
    if (o->resume_from && jobs > 1)
        return sc_fail(SC_EUSAGE,
                       "--resume-from is for one job, this run has %lld; use one config with "
                       "--use-cv false (a run of many jobs goes on by itself)",
                       (long long)jobs);
    if (o->gpus)
        SC_TRY(check_gpus(o->gpus));
    if (o->gpus && (strcmp(o->backend, "cpu") == 0 || strcmp(o->backend, "ref") == 0))
        sc_warn(log, "--gpus has no effect with --backend %s", o->backend);
    return SC_OK;
}

/* ---- the whole --------------------------------------------------------------------- */

static sc_status set_run_defaults(sc_options *out)
{
    for (int i = 0; i < sc_option_count; i++) {
        const sc_option *o = &sc_option_table[i];
        if (!o->key && o->type != SC_OPT_ACTION && o->type != SC_OPT_SET)
            SC_TRY(sc_option_set_default(o, out));
    }
    return SC_OK;
}

static sc_status apply_overrides(const parser *p, sc_drafts *drafts)
{
    for (int i = 0; i < drafts->count; i++) {
        sc_draft *d = &drafts->items[i];
        for (int k = 0; k < p->override_count; k++) {
            const override *v = &p->overrides[k];
            sc_status status = sc_option_set_text(v->option, &d->config, v->value);
            if (status != SC_OK)
                return sc_fail_prefix(status, "%s", v->spelling);
            d->from[sc_option_index(v->option)] = SC_FROM_FLAG;
        }
    }
    return SC_OK;
}

static sc_status read_configs(parser *p, const sc_log *log)
{
    sc_options *out = p->out;
    sc_drafts drafts = {0};
    sc_status status;
    SC_TRY_GOTO(sc_drafts_read(out->config_file, &drafts));
    SC_TRY_GOTO(apply_overrides(p, &drafts));
    SC_TRY_GOTO(sc_drafts_resolve(&drafts, log));
    out->configs = sc_alloc((size_t)drafts.count, sizeof *out->configs);
    if (!out->configs) {
        status = SC_ENOMEM;
        goto done;
    }
    for (int i = 0; i < drafts.count; i++) {
        out->configs[i] = drafts.items[i].config;
        drafts.items[i].config = (sc_config){0};
    }
    out->configs_count = drafts.count;
done:
    sc_drafts_free(&drafts);
    return status;
}

static sc_status parse_into(parser *p, const sc_log *log)
{
    SC_TRY(set_run_defaults(p->out));
    p->out->action = sc_options_only_tell(p->argc, p->argv);
    if (p->out->action != SC_ACTION_TRAIN)
        return SC_OK;
    SC_TRY(parse_arguments(p));
    SC_TRY(read_configs(p, log));
    return check_run(p->out, log);
}

sc_status sc_options_parse(int argc, char **argv, const sc_log *log, sc_options *out)
{
    *out = (sc_options){0};
    size_t n = (size_t)(argc > 0 ? argc : 1);
    parser p = {.argc = argc, .argv = argv, .at = 1, .out = out};
    p.overrides = sc_alloc(n, sizeof *p.overrides);
    p.spellings = sc_alloc(n, sizeof *p.spellings);
    sc_status status = p.overrides && p.spellings ? parse_into(&p, log) : SC_ENOMEM;
    for (int i = 0; i < p.override_count; i++)
        free(p.spellings[i]);
    free(p.spellings);
    free(p.overrides);
    if (status != SC_OK)
        sc_options_free(out);
    return status;
}

static void clear_members(void *base, bool of_config)
{
    for (int i = 0; i < sc_option_count; i++)
        if ((sc_option_table[i].key != NULL) == of_config)
            sc_option_clear(&sc_option_table[i], base);
}

void sc_config_clear(sc_config *c)
{
    clear_members(c, true);
    free(c->source);
    *c = (sc_config){0};
}

void sc_options_free(sc_options *o)
{
    for (int i = 0; i < o->configs_count; i++)
        sc_config_clear(&o->configs[i]);
    free(o->configs);
    free(o->dump_dir);
    clear_members(o, false);
    *o = (sc_options){0};
}
