#include "golden_images.h"

#include <stdlib.h>
#include <string.h>

#define FOLDER SC_TEST_DIR "/golden/images/"

const int golden_sizes[3][2] = {{17, 23}, {64, 64}, {90, 30}};

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "%s: %s\n", what, sc_message());
        abort();
    }
}

golden_image *golden_images(int *count)
{
    char *table;
    size_t n;
    must(sc_read_file(FOLDER "images.txt", 1 << 20, &table, &n) == SC_OK, "golden images");
    golden_image *all = calloc(1000, sizeof *all);
    *count = 0;
    for (char *line = strtok(table, "\n"); line; line = strtok(NULL, "\n")) {
        golden_image *g = &all[(*count)++];
        char window[40], rest[200];
        must(sscanf(line, "%79s %39s %199[^\n]", g->name, window, rest) == 3, line);
        g->window = sscanf(window, "%lf,%lf", &g->lo, &g->hi) == 2;
        if (sscanf(rest, "bad %79[^\n]", g->words) != 1)
            must(sscanf(rest, "%d %d %x %x %x %x", &g->width, &g->height, &g->crc[0], &g->crc[1],
                        &g->crc[2], &g->crc[3]) == 6,
                 line);
        char path[400];
        snprintf(path, sizeof path, FOLDER "%s", g->name);
        must(sc_read_file(path, 1 << 24, &g->data, &g->n) == SC_OK, path);
    }
    free(table);
    return all;
}

void golden_images_free(golden_image *g, int count)
{
    for (int i = 0; i < count; i++)
        free(g[i].data);
    free(g);
}
