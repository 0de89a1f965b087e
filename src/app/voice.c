/* What the user reads: the console and one log file a config, both on rank 0. */
#include <string.h>

#include "app.h"

/* Until everything was judged lines wait: a mistake is answered by one line and nothing else. */
static void hold(app *a, sc_log_level level, const char *line)
{
    char mark = (char)('0' + (int)level);
    sc_text_add(&a->held, &mark, 1);
    sc_text_add(&a->held, line, strlen(line) + 1);
}

void app_begin_talking(app *a)
{
    a->talking = true;
    for (size_t at = 0; at < a->held.len; at += strlen(a->held.data + at) + 1)
        fprintf(a->held.data[at] == '0' ? stdout : stderr, "%s\n", a->held.data + at + 1);
}

void app_repeat_held(app *a, sc_run_log *log)
{
    for (size_t at = 0; at < a->held.len; at += strlen(a->held.data + at) + 1)
        sc_run_log_line(log, 0, a->held.data + at + 1);
}

static void to_console(app *a, sc_log_level level, const char *line)
{
    if (!a->talking)
        hold(a, level, line);
    else if (a->console)
        sc_console_line(a->console, line);
    else
        fprintf(level == SC_LOG_INFO ? stdout : stderr, "%s\n", line);
}

void app_say(app *a, int config, int fold, sc_log_level level, const char *line)
{
    if (!app_is_root(a))
        return;
    char text[4096];
    snprintf(text, sizeof text, "%s%s",
             level == SC_LOG_WARN    ? "Warning: "
             : level == SC_LOG_ERROR ? "Error: "
                                     : "",
             line);
    for (int i = 0; i < a->options.configs_count && a->cases; i++)
        if (a->cases[i].log && (config < 0 || i == config))
            sc_run_log_line(a->cases[i].log, fold, text);
    if (fold <= 0 || config < 0 || a->job_count == 1) {
        to_console(a, level, text);
        return;
    }
    char marked[4400];
    if (a->options.configs_count > 1)
        snprintf(marked, sizeof marked, "[%s fold %d] %s", a->options.configs[config].name, fold,
                 text);
    else
        snprintf(marked, sizeof marked, "[fold %d] %s", fold, text);
    to_console(a, level, marked);
}

void app_voice_write(void *ctx, sc_log_level level, const char *line)
{
    app_voice *v = ctx;
    app_say(v->app, v->config, v->fold, level, line);
}

sc_log app_log_of(app_voice *v)
{
    return (sc_log){app_voice_write, v};
}

void app_print_error(const app *a, const char *message)
{
    fflush(stdout);
    if (!a->world || app_is_root(a))
        fprintf(stderr, "sc_mpi: error: %s\n", message);
    fflush(stderr);
}
