/* pack_bench FOLDER [SECONDS]: what packing does to an image, on one core, in milliseconds an image
 * (medians over rounds through all image files of FOLDER, which are read into memory first).
 */
#include "superclip/codec.h"
#include "superclip/data.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1000, SIDE = 224 };

typedef struct file {
    char *name, *data;
    size_t n;
} file;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const file *)a)->name, ((const file *)b)->name);
}

static int load(const char *folder, file *files)
{
    int n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && n < MOST && (e = readdir(dir));) {
        char *path = sc_path_join(folder, e->d_name);
        if (e->d_name[0] != '.' &&
            sc_read_file(path, 1 << 28, &files[n].data, &files[n].n) == SC_OK)
            files[n++].name = sc_strdup(e->d_name);
        free(path);
    }
    if (dir)
        closedir(dir);
    qsort(files, (size_t)n, sizeof *files, by_name);
    return n;
}

/* Seconds of decoding, of both resizes and of both checksums. */
static bool one(const file *f, uint8_t *eval, uint8_t *train, double part[3])
{
    sc_image im;
    int p = sc_train_size(SIDE);
    double t0 = sc_now();
    if (sc_image_decode(f->name, f->data, f->n, NULL, &im, NULL) != SC_OK)
        return false;
    double t1 = sc_now();
    bool ok = sc_image_resize(&im, SIDE, SIDE, eval) == SC_OK &&
              sc_image_resize(&im, p, p, train) == SC_OK;
    double t2 = sc_now();
    sc_image_free(&im);
    uint8_t digest[32];
    sc_sha256 h;
    sc_sha256_init(&h);
    sc_sha256_update(&h, f->data, f->n);
    sc_sha256_final(&h, digest);
    volatile uint32_t crc =
        sc_crc32c(0, eval, SIDE * SIDE * 3) ^ sc_crc32c(0, train, (size_t)(p * p * 3));
    (void)crc;
    double t3 = sc_now();
    part[0] += t1 - t0;
    part[1] += t2 - t1;
    part[2] += t3 - t2;
    return ok;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    static file files[MOST];
    static uint8_t eval[SIDE * SIDE * 3], train[(SIDE + 40) * (SIDE + 40) * 3];
    if (argc < 2) {
        fprintf(stderr, "usage: pack_bench FOLDER [SECONDS]\n");
        return 1;
    }
    int n = load(argv[1], files);
    double seconds = argc > 2 ? atof(argv[2]) : 5, start = sc_now();
    static double rounds[4][10000];
    int r = 0;
    while (n > 0 && r < 10000 && (r < 3 || sc_now() - start < seconds)) {
        double part[3] = {0, 0, 0};
        for (int i = 0; i < n; i++)
            if (!one(&files[i], eval, train, part)) {
                fprintf(stderr, "pack_bench: %s: %s\n", files[i].name, sc_message());
                return 1;
            }
        for (int k = 0; k < 3; k++)
            rounds[k][r] = part[k] / n * 1e3;
        rounds[3][r++] = (part[0] + part[1]) / n * 1e3;
    }
    if (n == 0) {
        fprintf(stderr, "pack_bench: %s: no files\n", argv[1]);
        return 1;
    }
    for (int k = 0; k < 4; k++)
        qsort(rounds[k], (size_t)r, sizeof(double), by_value);
    printf("decode %.3f resize %.3f checksums %.3f decode+resize %.3f ms\n", rounds[0][r / 2],
           rounds[1][r / 2], rounds[2][r / 2], rounds[3][r / 2]);
    return 0;
}
