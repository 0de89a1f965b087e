#include "superclip/base.h"

#include <string.h>

#include "utf8.h"

/* One message a thread: a failure is reported by the thread that met it, and nobody has to lock. */
enum { MESSAGE_BYTES = 2048 };

static _Thread_local struct {
    char text[MESSAGE_BYTES];
    char place[256];
} last;

const char *sc_status_name(sc_status s)
{
    static const char *const names[] = {"ok",          "usage",       "io",      "format",
                                        "memory",      "unsupported", "numeric", "communication",
                                        "interrupted", "internal"};
    if ((unsigned)s >= sizeof names / sizeof names[0])
        return "unknown";
    return names[s];
}

/* Messages are one line of UTF-8 whatever a file name, a damaged file or a library's text holds,
 * and nothing in them steers a terminal. */
static void one_line(char *s)
{
    size_t n = strlen(s);
    for (size_t i = 0, step; i < n; i += step) {
        unsigned char c = (unsigned char)s[i];
        step = sc_utf8_sequence(s + i, n - i);
        if (step == 0) {
            s[i] = '?';
            step = 1;
        } else if (c < 0x20 || c == 0x7f) {
            s[i] = ' ';
        } else if (c == 0xC2 && (unsigned char)s[i + 1] < 0xA0) { /* the other control characters */
            s[i] = s[i + 1] = ' ';
        }
    }
}

/* A cut in the middle of a UTF-8 sequence would make the log invalid: drop the broken tail. */
static void trim_partial_utf8(char *s)
{
    size_t n = strlen(s), back = 0;
    if (n + 1 < MESSAGE_BYTES)
        return;
    while (back < 4 && back < n && ((unsigned char)s[n - 1 - back] & 0xC0) == 0x80)
        back++;
    if (back < n && (unsigned char)s[n - 1 - back] >= 0xC0)
        s[n - 1 - back] = '\0';
}

/* The build's absolute path tells a user nothing: "src/data/shard.c" of it does. */
static const char *from_root(const char *file)
{
    static const char *const roots[] = {"/src/", "/tools/", "/tests/"};
    for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++) {
        const char *found = NULL;
        for (const char *p = strstr(file, roots[i]); p; p = strstr(p + 1, roots[i]))
            found = p;
        if (found)
            return found + 1;
    }
    return file;
}

sc_status sc_fail_at(const char *file, int line, sc_status code, const char *fmt, ...)
{
    /* formatted aside: an argument may be sc_message() itself */
    char text[MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof text, fmt, args) < 0)
        text[0] = '\0';
    va_end(args);
    trim_partial_utf8(text);
    one_line(text);
    memcpy(last.text, text, sizeof text);
    snprintf(last.place, sizeof last.place, "%s:%d", from_root(file ? file : "?"), line);
    return code;
}

sc_status sc_fail_prefix(sc_status code, const char *fmt, ...)
{
    char text[MESSAGE_BYTES];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n < 0)
        n = 0;
    /* what no longer fits is the tail: the context, in front, stays whole */
    size_t used = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    const char *const parts[] = {used ? ": " : "", last.text};
    for (int i = 0; i < 2; i++) {
        size_t room = sizeof text - 1 - used, len = strnlen(parts[i], room);
        memcpy(text + used, parts[i], len);
        used += len;
    }
    text[used] = '\0';
    trim_partial_utf8(text);
    one_line(text);
    memcpy(last.text, text, sizeof text);
    return code;
}

const char *sc_message(void)
{
    return last.text;
}

const char *sc_message_place(void)
{
    return last.place;
}

void sc_message_clear(void)
{
    last.text[0] = '\0';
    last.place[0] = '\0';
}
