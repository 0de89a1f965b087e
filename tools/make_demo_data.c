/* make_demo_data: a folder of class folders with pictures like X-rays of hip implants, for a first
 * try of pack_hdf5 and sc_mpi. Nine imbalanced classes, sizes and image formats mixed; the same
 * arguments give the same pixels.
 */
#include "demo_scene.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char USAGE[] =
    "usage: make_demo_data DST [--images N] [--seed N] [--size-min PX] [--size-max PX]\n"
    "\n"
    "Draws a data folder for a first try of sc_mpi: nine classes of X-ray-like hip implants.\n"
    "  DST             the folder to make; it must not exist\n"
    "  --images N      pictures in all, 9 to 1000000 (default 450)\n"
    "  --seed N        another seed, other pictures (default 1)\n"
    "  --size-min PX   least side of a picture, 32 to 4096 (default 160)\n"
    "  --size-max PX   largest side (default 480)\n";

typedef struct options {
    const char *dst;
    long images, seed, size_min, size_max;
} options;

/* Which formats, in how many of a hundred pictures. */
static const struct {
    const char *extension;
    bool grey;
    int percent;
} FORMATS[] = {{".jpg", true, 30}, {".jpg", false, 14}, {".JPG", false, 4}, {".jpeg", false, 6},
               {".png", true, 14}, {".png", false, 8},  {".bmp", true, 4},  {".bmp", false, 4},
               {".tiff", true, 4}, {".tif", false, 4},  {".webp", false, 8}};
#define FORMAT_COUNT ((int)(sizeof FORMATS / sizeof *FORMATS))

static int pick_format(demo_random *r)
{
    int left = demo_below(r, 100), f = 0;
    while (f + 1 < FORMAT_COUNT && left >= FORMATS[f].percent)
        left -= FORMATS[f++].percent;
    return f;
}

/* Images of each class: in the table's proportions, one at least, `images` in all. */
static void share_out(long images, long count[DEMO_CLASSES])
{
    long total = 0, given = 0, shares = 0;
    for (int c = 0; c < DEMO_CLASSES; c++)
        total += DEMO_CLASS[c].share;
    for (int c = 0; c < DEMO_CLASSES; c++) { /* by differences of rounded running sums */
        shares += DEMO_CLASS[c].share;
        const long until = DEMO_CLASSES + ((images - DEMO_CLASSES) * shares + total / 2) / total;
        count[c] = until - DEMO_CLASSES - given + 1;
        given += count[c] - 1;
    }
}

static sc_status write_picture(const options *o, const char *folder, int kind, int index)
{
    /* A sequence of its own: the picture does not depend on sizes and formats of others. */
    demo_random r =
        demo_random_of((uint32_t)o->seed, (uint32_t)(DEMO_CLASSES + kind), (uint32_t)index);
    const double low = (double)o->size_min, high = (double)o->size_max;
    const double width = demo_uniform(&r, low, high + 1);
    double height = width * demo_uniform(&r, 0.8, 1.25);
    height = height < low ? low : height > high ? high : height;
    const int format = pick_format(&r);
    sc_image im;
    char *path = sc_format("%s/hip_%04d%s", folder, index + 1, FORMATS[format].extension);
    if (!path)
        return SC_ENOMEM;
    sc_status status = demo_draw((uint32_t)o->seed, kind, index, (int)width, (int)height, &im);
    if (status == SC_OK) {
        status = sc_image_write(path, &im, FORMATS[format].grey);
        sc_image_free(&im);
    }
    free(path);
    return status;
}

static sc_status write_classes(const options *o, const char *dir)
{
    long count[DEMO_CLASSES];
    share_out(o->images, count);
    for (int c = 0; c < DEMO_CLASSES; c++) {
        char *folder = sc_path_join(dir, DEMO_CLASS[c].name);
        sc_status status = folder ? sc_make_dirs(folder) : SC_ENOMEM;
        for (int i = 0; status == SC_OK && i < count[c]; i++)
            status = write_picture(o, folder, c, i);
        free(folder);
        SC_TRY(status);
    }
    return SC_OK;
}

/* Into a neighbour first, so that DST is whole or not there. */
static sc_status make_data(const options *o)
{
    struct stat st;
    if (lstat(o->dst, &st) == 0)
        return sc_fail(SC_EUSAGE, "%s exists already: remove it or choose another name", o->dst);
    size_t n = strlen(o->dst);
    while (n > 1 && o->dst[n - 1] == '/')
        n--;
    char *part = sc_format("%.*s.part.%ld", (int)n, o->dst, (long)getpid());
    if (!part)
        return SC_ENOMEM;
    sc_status status = write_classes(o, part);
    if (status == SC_OK && rename(part, o->dst) != 0)
        status = sc_fail(SC_EIO, "%s: cannot rename %s: %s", o->dst, part, strerror(errno));
    if (status != SC_OK) {
        char *message = sc_strdup(sc_message());
        sc_remove_tree(part);
        status = sc_fail(status, "%s", message ? message : "out of memory");
        free(message);
    }
    free(part);
    return status;
}

static sc_status read_number(const char *name, const char *text, long low, long high, long *out)
{
    char *end;
    errno = 0;
    *out = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || *out < low || *out > high)
        return sc_fail(SC_EUSAGE, "--%s %s: must be a whole number from %ld to %ld", name, text,
                       low, high);
    return SC_OK;
}

/* *help: --help was given. */
static sc_status read_options(int argc, char **argv, options *o, bool *help)
{
    static const struct option known[] = {
        {"images", required_argument, NULL, 'n'},   {"seed", required_argument, NULL, 's'},
        {"size-min", required_argument, NULL, 'l'}, {"size-max", required_argument, NULL, 'h'},
        {"help", no_argument, NULL, '?' + 128},     {NULL, 0, NULL, 0}};
    int c;
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":", known, NULL)) != -1) {
        if (c == 'n')
            SC_TRY(read_number("images", optarg, DEMO_CLASSES, 1000000, &o->images));
        else if (c == 's')
            SC_TRY(read_number("seed", optarg, 0, UINT32_MAX, &o->seed));
        else if (c == 'l')
            SC_TRY(read_number("size-min", optarg, 32, 4096, &o->size_min));
        else if (c == 'h')
            SC_TRY(read_number("size-max", optarg, 32, 4096, &o->size_max));
        else if (c == '?' + 128)
            *help = true;
        else if (c == ':')
            return sc_fail(SC_EUSAGE, "%s needs a value", argv[optind - 1]);
        else
            return sc_fail(SC_EUSAGE, "unknown option %s: see --help", argv[optind - 1]);
    }
    if (*help)
        return SC_OK;
    if (optind + 1 != argc)
        return sc_fail(SC_EUSAGE, optind == argc ? "the folder to make is missing: see --help"
                                                 : "more than one folder is named: see --help");
    if (o->size_min > o->size_max)
        return sc_fail(SC_EUSAGE, "--size-min %ld is above --size-max %ld", o->size_min,
                       o->size_max);
    o->dst = argv[optind];
    return SC_OK;
}

int main(int argc, char **argv)
{
    options o = {.images = 450, .seed = 1, .size_min = 160, .size_max = 480};
    bool help = false;
    sc_status status = read_options(argc, argv, &o, &help);
    if (status == SC_OK && help) {
        fputs(USAGE, stdout);
        return 0;
    }
    if (status == SC_OK)
        status = make_data(&o);
    if (status != SC_OK) {
        fprintf(stderr, "make_demo_data: %s\n", sc_message());
        return 1;
    }
    printf("%s: %ld pictures in %d classes\n", o.dst, o.images, DEMO_CLASSES);
    return 0;
}
