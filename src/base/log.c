#include "superclip/base.h"

void sc_log_line(const sc_log *log, sc_log_level level, const char *fmt, ...)
{
    char line[4096];
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(line, sizeof line, fmt, args) < 0)
        line[0] = '\0';
    va_end(args);
    for (char *p = line; *p; p++)
        if (*p == '\n' || *p == '\r')
            *p = ' ';
    if (log && log->write) {
        log->write(log->ctx, level, line);
        return;
    }
    static const char *const prefix[] = {"", "warning: ", "error: "};
    /* one call a line, so that the lines of several threads do not mix */
    fprintf(stderr, "%s%s\n", prefix[(unsigned)level <= SC_LOG_ERROR ? level : SC_LOG_ERROR], line);
}
