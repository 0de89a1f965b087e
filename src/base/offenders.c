#include "superclip/base.h"

void sc_offend(sc_offenders *o, const char *fmt, ...)
{
    char line[512];
    va_list args;
    if (o->count++ >= SC_OFFENDERS_SHOWN)
        return;
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    sc_text_putf(&o->text, "%s%s", o->count > 1 ? "; " : "", line);
}

sc_status sc_offenders_status(sc_offenders *o, const char *what, ...)
{
    char begin[512];
    va_list args;
    va_start(args, what);
    (void)vsnprintf(begin, sizeof begin, what, args);
    va_end(args);
    sc_status status = o->count ? sc_text_status(&o->text) : SC_OK;
    if (status == SC_OK && o->count > SC_OFFENDERS_SHOWN)
        status = sc_fail(SC_EFORMAT, "%s: %s; and %zu more", begin, o->text.data,
                         o->count - SC_OFFENDERS_SHOWN);
    else if (status == SC_OK && o->count)
        status = sc_fail(SC_EFORMAT, "%s: %s", begin, o->text.data);
    sc_text_free(&o->text);
    *o = (sc_offenders){0};
    return status;
}
