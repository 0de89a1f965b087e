/* Reader of *.golden (written by tests/oracle/golden_format.py): cases of one op each, with
 * attributes and named tensors. Header only, plain C; the file stays in memory until golden_free.
 *
 *     golden_file *f = golden_open(SC_TEST_DIR "/golden/ops.golden");
 *     for (size_t i = 0; i < f->count; i++) { const golden_case *c = &f->cases[i]; ... }
 */
#ifndef SC_TESTS_GOLDEN_H
#define SC_TESTS_GOLDEN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "superclip/tensor.h"

typedef struct golden_tensor {
    char name[24];
    sc_dtype dtype; /* F64, F32, I32 or U8 */
    sc_shape shape;
    const void *data;
} golden_tensor;

typedef struct golden_case {
    char name[64], op[32];
    struct {
        char key[32];
        double value;
    } attrs[16];
    golden_tensor tensors[24];
    int n_attrs, n_tensors;
} golden_case;

typedef struct golden_file {
    golden_case *cases;
    size_t count;
    char *bytes;
} golden_file;

static inline void golden_free(golden_file *f)
{
    if (f == NULL)
        return;
    free(f->cases);
    free(f->bytes);
    free(f);
}

static inline bool golden_type(const char *text, sc_dtype *out)
{
    static const struct {
        const char *text;
        sc_dtype type;
    } types[] = {{"f64", SC_F64}, {"f32", SC_F32}, {"i32", SC_I32}, {"u8", SC_U8}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].text, text) == 0) {
            *out = types[i].type;
            return true;
        }
    return false;
}

/* One "tensor ..." line; offsets become addresses when the header's end is known. */
static inline bool golden_tensor_line(const char *line, golden_tensor *t)
{
    char type[8];
    unsigned long long offset;
    int used = 0;
    if (sscanf(line, "tensor %23s %7s %llu %d%n", t->name, type, &offset, &t->shape.n, &used) !=
            4 ||
        t->shape.n < 0 || t->shape.n > SC_MAX_DIMS || !golden_type(type, &t->dtype))
        return false;
    line += used;
    for (int i = 0; i < t->shape.n; i++) {
        char *end;
        t->shape.d[i] = strtoll(line, &end, 10);
        if (end == line)
            return false;
        line = end;
    }
    t->data = (const void *)(uintptr_t)offset;
    return true;
}

static inline bool golden_line(golden_file *f, const char *line)
{
    golden_case *c = f->count > 0 ? &f->cases[f->count - 1] : NULL;
    if (strncmp(line, "case ", 5) == 0) {
        c = &f->cases[f->count++];
        return sscanf(line, "case %63s %31s", c->name, c->op) == 2;
    }
    if (c == NULL)
        return false;
    if (strncmp(line, "attr ", 5) == 0)
        return c->n_attrs < 16 &&
               sscanf(line, "attr %31s %lf", c->attrs[c->n_attrs].key,
                      &c->attrs[c->n_attrs].value) == 2 &&
               ++c->n_attrs;
    return c->n_tensors < 24 && golden_tensor_line(line, &c->tensors[c->n_tensors]) &&
           ++c->n_tensors;
}

static inline bool golden_parse(golden_file *f, size_t n)
{
    char *line = f->bytes, *end = strstr(f->bytes, "\ndata\n");
    if (end == NULL || strncmp(line, "superclip-golden 1\n", 19) != 0)
        return false;
    end[1] = '\0';
    size_t data = ((size_t)(end + 6 - f->bytes) + 63) / 64 * 64, cases = 0;
    for (const char *p = line; (p = strstr(p, "\ncase ")) != NULL; p++)
        cases++;
    f->cases = calloc(cases + 1, sizeof *f->cases);
    if (f->cases == NULL)
        return false;
    for (line += 19; line < end; line += strlen(line) + 1) {
        line[strcspn(line, "\n")] = '\0';
        if (!golden_line(f, line))
            return false;
    }
    for (size_t i = 0; i < f->count; i++)
        for (int k = 0; k < f->cases[i].n_tensors; k++) {
            golden_tensor *t = &f->cases[i].tensors[k];
            size_t at = data + (uintptr_t)t->data;
            if (at + (size_t)sc_shape_count(&t->shape) * sc_dtype_size(t->dtype) > n)
                return false;
            t->data = f->bytes + at;
        }
    return true;
}

/* NULL with a line on standard error when the file cannot be read or is not of this format. */
static inline golden_file *golden_open(const char *path)
{
    size_t n = 0;
    golden_file *f = calloc(1, sizeof *f);
    if (f != NULL && sc_read_file(path, (size_t)1 << 30, &f->bytes, &n) == SC_OK &&
        golden_parse(f, n))
        return f;
    (void)fprintf(stderr, "%s: not a readable golden file\n", path);
    golden_free(f);
    return NULL;
}

/* NULL when the case has no such tensor. */
static inline const golden_tensor *golden_find(const golden_case *c, const char *name)
{
    for (int i = 0; i < c->n_tensors; i++)
        if (strcmp(c->tensors[i].name, name) == 0)
            return &c->tensors[i];
    return NULL;
}

static inline double golden_attr(const golden_case *c, const char *key, double otherwise)
{
    for (int i = 0; i < c->n_attrs; i++)
        if (strcmp(c->attrs[i].key, key) == 0)
            return c->attrs[i].value;
    return otherwise;
}

/* Element i as a double. */
static inline double golden_get(const golden_tensor *t, int64_t i)
{
    switch (t->dtype) {
    case SC_F64:
        return ((const double *)t->data)[i];
    case SC_F32:
        return (double)((const float *)t->data)[i];
    case SC_I32:
        return (double)((const int32_t *)t->data)[i];
    default:
        return (double)((const uint8_t *)t->data)[i];
    }
}

#endif
