#include "pack_tool.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum option { IMG_SIZE, SHARDS, WINDOW, SKIP_BAD, FORCE, HELP, VERSION, OPTIONS } option;
static const struct {
    const char *name;
    bool value;
} options[OPTIONS] = {
    [IMG_SIZE] = {"--img-size", true}, [SHARDS] = {"--shards", true},
    [WINDOW] = {"--window", true},     [SKIP_BAD] = {"--skip-bad", false},
    [FORCE] = {"--force", false},      [HELP] = {"--help", false},
    [VERSION] = {"--version", false},
};

const char pack_help[] =
    "Usage: pack_hdf5 SRC_DIR DST [options]\n"
    "       mpirun -np N pack_hdf5 SRC_DIR DST [options]\n"
    "\n"
    "Packs SRC_DIR/<class name>/<image> into DST: HDF5 shards and a manifest.json that\n"
    "sc_mpi --data-dir DST trains from. Images: .jpg .jpeg .png .bmp .tif .tiff .webp.\n"
    "\n"
    "  --img-size N    side of the packed images in pixels, 16..4096 (default 224); must be\n"
    "                  the config's img_size\n"
    "  --shards K      number of shard files (default: one per 2 GiB)\n"
    "  --skip-bad      leave unreadable images out and record them in the manifest, instead\n"
    "                  of refusing the whole set\n"
    "  --window LO,HI  16-bit grey images: LO becomes black, HI white (default 0,65535);\n"
    "                  0,4095 for 12-bit X-rays\n"
    "  --force         replace an existing packed set, in one rename\n"
    "  --version, --help\n"
    "\n"
    "All unreadable images are listed at the end. Exit status: 0 packed, 1 not packed.\n";

static sc_status parse_int(const char *name, const char *text, long lo, long hi, int *out)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (end == text || *end || errno || v < lo || v > hi)
        return sc_fail(SC_EUSAGE, "%s %s: must be an integer in %ld..%ld", name, text, lo, hi);
    *out = (int)v;
    return SC_OK;
}

static sc_status parse_window(const char *text, sc_decode_options *out)
{
    char *comma, *end = NULL;
    double lo = strtod(text, &comma), hi = 0;
    bool ok = comma != text && *comma == ',';
    if (ok) {
        hi = strtod(comma + 1, &end);
        ok = end != comma + 1 && *end == '\0';
    }
    if (!ok || !isfinite(lo) || !isfinite(hi) || lo >= hi)
        return sc_fail(SC_EUSAGE, "--window %s: must be two numbers LO,HI with LO below HI", text);
    out->window = true;
    out->window_lo = lo;
    out->window_hi = hi;
    return SC_OK;
}

/* The option that `arg` names up to its '=', or OPTIONS. */
static option find(const char *arg)
{
    size_t n = strcspn(arg, "=");
    for (int i = 0; i < OPTIONS; i++)
        if (strlen(options[i].name) == n && memcmp(options[i].name, arg, n) == 0)
            return (option)i;
    return OPTIONS;
}

static sc_status unknown(const char *arg)
{
    const char *names[OPTIONS];
    for (int i = 0; i < OPTIONS; i++)
        names[i] = options[i].name;
    const char *near = sc_nearest(arg, names, OPTIONS);
    return near ? sc_fail(SC_EUSAGE, "%s: unknown option; did you mean %s?", arg, near)
                : sc_fail(SC_EUSAGE, "%s: unknown option; see pack_hdf5 --help", arg);
}

static sc_status apply(option which, const char *value, sc_pack_options *out, pack_request *request)
{
    switch (which) {
    case IMG_SIZE:
        return parse_int("--img-size", value, 16, 4096, &out->img_size);
    case SHARDS:
        return parse_int("--shards", value, 1, 99999, &out->shards);
    case WINDOW:
        return parse_window(value, &out->decode);
    case SKIP_BAD:
        out->skip_bad = true;
        return SC_OK;
    case FORCE:
        out->force = true;
        return SC_OK;
    default:
        *request = which == HELP ? PACK_HELP : PACK_VERSION;
        return SC_OK;
    }
}

sc_status pack_options_parse(int argc, char **argv, sc_pack_options *out, pack_request *request)
{
    *request = PACK_RUN;
    *out = (sc_pack_options){.img_size = 224, .decode = {.max_pixels = 178e6}};
    bool only_names = false;
    for (int i = 1; i < argc; i++) {
        char *arg = argv[i];
        if (only_names || arg[0] != '-' || !arg[1]) {
            if (out->src && out->dst)
                return sc_fail(SC_EUSAGE, "%s: a third folder; expected SRC_DIR DST only", arg);
            if (!*arg)
                return sc_fail(SC_EUSAGE, "an empty folder name; expected SRC_DIR DST");
            *(out->src ? &out->dst : &out->src) = arg;
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            only_names = true;
            continue;
        }
        option which = strcmp(arg, "-h") == 0 ? HELP : find(arg);
        if (which == OPTIONS)
            return unknown(arg);
        char *value = strchr(arg, '=');
        if (value && !options[which].value)
            return sc_fail(SC_EUSAGE, "%s: takes no value", options[which].name);
        if (options[which].value && !value && i + 1 == argc)
            return sc_fail(SC_EUSAGE, "%s: its value is missing", arg);
        if (options[which].value)
            value = value ? value + 1 : argv[++i];
        SC_TRY(apply(which, value, out, request));
    }
    if (*request == PACK_RUN && !out->dst)
        return sc_fail(SC_EUSAGE, "expected two folders: pack_hdf5 SRC_DIR DST; see --help");
    return SC_OK;
}
