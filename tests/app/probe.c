/* What the scripts of this folder need and a shell has not:
 *   probe images DIR N...        class folders c0, c1, ... of N small images each
 *   probe json FILE PATH...      prints the values at PATHs like a.b.0; fails when one is missing
 *   probe close FILE FILE TOL    every number of two JSON files: |a-b| <= TOL * max(1, |a|); same
 * shape
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "superclip/base.h"
#include "superclip/json.h"

static int fail(const char *what)
{
    fprintf(stderr, "probe: %s\n", what);
    return 1;
}

static void put32(uint8_t *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> (8 * i));
}

/* A 24-bit BMP: noise on a colour of the class. */
static bool write_image(const char *path, int class_index, int image)
{
    enum { W = 24, H = 20, BYTES = W * H * 3, HEAD = 54 };
    uint8_t bmp[HEAD + BYTES] = {'B', 'M'};
    put32(bmp + 2, sizeof bmp);
    put32(bmp + 10, HEAD);
    put32(bmp + 14, 40);
    put32(bmp + 18, W);
    put32(bmp + 22, H);
    bmp[26] = 1;
    bmp[28] = 24;
    uint32_t key[2] = {(uint32_t)class_index, (uint32_t)image};
    for (uint32_t i = 0; i < BYTES; i++) {
        uint32_t counter[4] = {i, 0, 0, 0}, word[4];
        sc_philox4x32(key, counter, word);
        bmp[HEAD + i] = (uint8_t)(word[0] % 100 + (i % 3 == (uint32_t)class_index % 3 ? 120 : 0));
    }
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(bmp, sizeof bmp, 1, f) == 1;
    return f && fclose(f) == 0 && ok;
}

static int images(int argc, char **argv)
{
    for (int c = 3; c < argc; c++) {
        char *dir = sc_format("%s/c%d", argv[2], c - 3);
        if (!dir || sc_make_dirs(dir) != SC_OK)
            return fail(sc_message());
        for (int i = 0; i < atoi(argv[c]); i++) {
            char *path = sc_format("%s/%03d.bmp", dir, i);
            if (!path || !write_image(path, c - 3, i))
                return fail("cannot write an image");
            free(path);
        }
        free(dir);
    }
    return 0;
}

static const sc_json *child(const sc_json *v, const char *name)
{
    if (sc_json_type_of(v) == SC_JSON_OBJECT)
        return sc_json_get(v, name);
    const sc_json *c = sc_json_first(v);
    for (long i = strtol(name, NULL, 10); c && i > 0; i--)
        c = sc_json_next(c);
    return c;
}

static int json(int argc, char **argv)
{
    sc_json_doc *doc;
    if (sc_json_read_file(argv[2], &doc) != SC_OK)
        return fail(sc_message());
    for (int i = 3; i < argc; i++) {
        const sc_json *v = sc_json_root(doc);
        char *save = NULL;
        for (char *name = strtok_r(argv[i], ".", &save); v && name;
             name = strtok_r(NULL, ".", &save))
            v = child(v, name);
        if (!v)
            return fail(argv[i]);
        if (sc_json_type_of(v) == SC_JSON_STRING)
            printf("%s\n", sc_json_string(v));
        else if (sc_json_type_of(v) == SC_JSON_NUMBER)
            printf("%.10g\n", sc_json_number(v));
        else
            printf("%s %zu\n", sc_json_type_name(sc_json_type_of(v)), sc_json_count(v));
    }
    sc_json_free(doc);
    return 0;
}

static bool close_values(const sc_json *a, const sc_json *b, double tolerance, double *worst)
{
    if (sc_json_type_of(a) != sc_json_type_of(b))
        return false;
    if (sc_json_type_of(a) == SC_JSON_NUMBER) {
        double x = sc_json_number(a), y = sc_json_number(b);
        double error = fabs(x - y) / fmax(1, fabs(x));
        if (error > *worst)
            *worst = error;
        return error <= tolerance;
    }
    const sc_json *x = sc_json_first(a), *y = sc_json_first(b);
    bool ok = true;
    for (; x && y; x = sc_json_next(x), y = sc_json_next(y))
        ok = close_values(x, y, tolerance, worst) && ok;
    return ok && !x && !y;
}

static int close_files(char **argv)
{
    sc_json_doc *a, *b;
    if (sc_json_read_file(argv[2], &a) != SC_OK || sc_json_read_file(argv[3], &b) != SC_OK)
        return fail(sc_message());
    double worst = 0;
    bool ok = close_values(sc_json_root(a), sc_json_root(b), atof(argv[4]), &worst);
    printf("%s %s: worst %.3g, allowed %s\n", argv[2], argv[3], worst, argv[4]);
    sc_json_free(a);
    sc_json_free(b);
    return ok ? 0 : fail("not close");
}

int main(int argc, char **argv)
{
    if (argc > 3 && strcmp(argv[1], "images") == 0)
        return images(argc, argv);
    if (argc > 3 && strcmp(argv[1], "json") == 0)
        return json(argc, argv);
    if (argc == 5 && strcmp(argv[1], "close") == 0)
        return close_files(argv);
    return fail("usage: see probe.c");
}
