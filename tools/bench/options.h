/* Options of the benchmark programs: --name value, a text or a number from 0. */
#ifndef SC_BENCH_OPTIONS_H
#define SC_BENCH_OPTIONS_H

#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct bench_option {
    const char *name;
    const char **text; /* or NULL, and then */
    int *number;
} bench_option;

static inline int bench_read_option(const bench_option *o, const char *value)
{
    char *end;
    if (o->text != NULL) {
        *o->text = value;
        return 0;
    }
    long v = strtol(value, &end, 10);
    if (*value == '\0' || *end != '\0' || v < 0 || v > INT_MAX)
        return 1;
    *o->number = (int)v;
    return 0;
}

/* 0, or 1 after one line on stderr that names the option. */
static inline int bench_read_options(const char *program, int argc, char **argv,
                                     const bench_option *table, size_t n)
{
    for (int i = 1; i < argc; i += 2) {
        size_t k = 0;
        while (k < n && strcmp(argv[i], table[k].name) != 0)
            k++;
        if (k == n || i + 1 == argc) {
            fprintf(stderr, "%s: %s: unknown, or without its value\n", program, argv[i]);
            return 1;
        }
        if (bench_read_option(&table[k], argv[i + 1]) != 0) {
            fprintf(stderr, "%s: %s: '%s' is no number from 0\n", program, argv[i], argv[i + 1]);
            return 1;
        }
    }
    return 0;
}

#endif
